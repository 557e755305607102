#include "core/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SYSLOG_PATH   "/dev/log"
#define SYSLOG_PREFIX "syslog:"
#define SYSLOG_HEAD   80
#define LOOK_US       UINT64_C(100000) /* for a socket that is gone, at most so often */
#define PIPE_PIECE    4096u            /* PIPE_BUF: what a pipe that is ready takes without waiting */

static usec_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (usec_t)t.tv_sec * 1000000 + (usec_t)t.tv_nsec / 1000;
}

bool log_output_is_syslog(struct slice name)
{
    return slice_equal(name, S("syslog")) || slice_begins(name, S(SYSLOG_PREFIX));
}

/* Opening. */

/* In the folder of a user of few rights a link leads where that user wants root to write: root follows its
 * own alone (/dev/stdout). A FIFO that nobody reads is refused, not waited for. */
static int open_file(const char *path)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK;
    int fd = open(path, geteuid() == 0 ? flags | O_NOFOLLOW : flags, 0640);
    struct stat st;
    if (fd < 0 && errno == ELOOP && lstat(path, &st) == 0 && st.st_uid == 0)
        return open(path, flags, 0640);
    return fd;
}

static void look_at_kind(struct log_output *o)
{
    struct stat st;
    bool known = fstat(o->fd, &st) == 0;
    o->kind = known && S_ISREG(st.st_mode) ? LOG_OUTPUT_FILE : LOG_OUTPUT_STREAM;
    o->is_socket = known && S_ISSOCK(st.st_mode);
}

/* The socket, or -1 with errno. */
static int open_syslog(const char *name)
{
    const char *path =
        strlen(name) > sizeof SYSLOG_PREFIX - 1 ? name + sizeof SYSLOG_PREFIX - 1 : SYSLOG_PATH;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int log_output_open(struct log_output *o, const char *name)
{
    *o = (struct log_output){.name = name, .fd = -1};
    if (log_output_is_syslog(slice_text(name))) {
        o->kind = LOG_OUTPUT_SYSLOG;
        o->fd = open_syslog(name);
        return 0;
    }
    o->fd = strcmp(name, "stdout") == 0   ? STDOUT_FILENO
            : strcmp(name, "stderr") == 0 ? STDERR_FILENO
                                          : open_file(name);
    if (o->fd < 0)
        return -1;
    look_at_kind(o);
    return 0;
}

void log_output_close(struct log_output *o)
{
    if (o->fd > STDERR_FILENO)
        close(o->fd);
    o->fd = -1;
}

int log_output_reopen(struct log_output *o)
{
    if (o->kind == LOG_OUTPUT_SYSLOG || o->fd <= STDERR_FILENO)
        return 0;
    int fd = open_file(o->name);
    if (fd < 0)
        return -1;
    close(o->fd);
    o->fd = fd;
    o->is_torn = false;
    look_at_kind(o);
    return 0;
}

/* Writing. */

uint64_t log_output_count_lines(const char *bytes, size_t len)
{
    uint64_t lines = 0;
    for (const char *at = bytes; (at = memchr(at, '\n', len - (size_t)(at - bytes))) != NULL; at++)
        lines++;
    return lines;
}

static bool is_ready(const struct log_output *o)
{
    struct pollfd p = {.fd = o->fd, .events = POLLOUT};
    return poll(&p, 1, 0) != 0;
}

static ssize_t write_some(const struct log_output *o, const char *bytes, size_t len)
{
    if (o->kind == LOG_OUTPUT_FILE)
        return write(o->fd, bytes, len);
    if (o->is_socket)
        return send(o->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!is_ready(o)) {
        errno = EAGAIN;
        return -1;
    }
    return write(o->fd, bytes, len < PIPE_PIECE ? len : PIPE_PIECE);
}

/* Of a line whose end the disk did not take: out of the file again, where nobody has written behind it. */
static void mend(struct log_output *o, const char *bytes, size_t done)
{
    struct stat st;
    const char *line = memrchr(bytes, '\n', done);
    size_t torn = line ? done - (size_t)(line + 1 - bytes) : done;
    off_t at = lseek(o->fd, 0, SEEK_CUR);
    o->is_torn = torn != 0;
    if (torn && o->kind == LOG_OUTPUT_FILE && fstat(o->fd, &st) == 0 && st.st_size == at &&
        ftruncate(o->fd, at - (off_t)torn) == 0)
        o->is_torn = false;
}

static int write_bytes(struct log_output *o, const char *bytes, size_t len, size_t *done, uint64_t *lost)
{
    while (*done < len) {
        if (o->is_torn && *done == 0 && write_some(o, "\n", 1) == 1)
            o->is_torn = false;
        ssize_t n = write_some(o, bytes + *done, len - *done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 1;
        if (n < 0) {
            o->error = errno;
            *lost = log_output_count_lines(bytes + *done, len - *done);
            mend(o, bytes, *done);
            *done = len;
            return 0;
        }
        *done += (size_t)n;
    }
    o->error = 0;
    return 0;
}

/* RFC 3164 §4.1; local time, as everybody there has it. */
static size_t syslog_head(char head[SYSLOG_HEAD])
{
    time_t now = time(NULL);
    struct tm tm;
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    localtime_r(&now, &tm);
    return (size_t)snprintf(
        head, SYSLOG_HEAD, "<%d>%.3s %2d %02d:%02d:%02d weir[%d]: ", LOG_DAEMON | LOG_INFO,
        months + 3 * tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)getpid());
}

/* 0, or -1 with errno: EAGAIN when it takes nothing now. */
static int send_line(struct log_output *o, const char *line, size_t len)
{
    char head[SYSLOG_HEAD];
    struct iovec iov[2] = {{head, syslog_head(head)}, {(void *)(uintptr_t)line, len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    for (int tries = 0; tries < 2; tries++) {
        usec_t now = now_us();
        if (o->fd < 0 && (!o->tried_us || now - o->tried_us >= LOOK_US)) {
            o->tried_us = now;
            o->fd = open_syslog(o->name);
            o->error = o->fd < 0 ? errno : 0;
        }
        if (o->fd < 0) {
            errno = o->error ? o->error : ENOTCONN;
            return -1;
        }
        if (sendmsg(o->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) {
            errno = EAGAIN;
            return -1;
        }
        if (errno == EMSGSIZE)
            return -1;
        log_output_close(o); /* it went: another may be there already */
    }
    return -1;
}

static int write_syslog(struct log_output *o, const char *bytes, size_t len, size_t *done, uint64_t *lost)
{
    while (*done < len) {
        const char *line = bytes + *done, *end = memchr(line, '\n', len - *done);
        size_t line_len = end ? (size_t)(end - line) : len - *done;
        if (send_line(o, line, line_len) == 0) {
            o->error = 0;
        } else if (errno == EAGAIN) {
            return 1;
        } else {
            o->error = errno;
            *lost += 1;
        }
        *done += line_len + (end != NULL);
    }
    return 0;
}

int log_output_write(struct log_output *o, const char *bytes, size_t len, size_t *done, uint64_t *lost)
{
    *lost = 0;
    return (o->kind == LOG_OUTPUT_SYSLOG ? write_syslog : write_bytes)(o, bytes, len, done, lost);
}
