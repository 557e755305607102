#include "core/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "core/list.h"
#include "core/log.h"

struct piece {
    struct piece *next;
    char *bytes;
    size_t len;
};

struct sink {
    struct list link;
    struct writer *writer;
    char *output;
    int fd; /* -1 for syslog */
    unsigned references;
    struct piece *first, **tail;
    size_t queued; /* with what the thread is writing now */
    bool reopen;
    _Atomic uint64_t lost;
};

struct writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list sinks;
    bool started, stopping, ended;
    pthread_cond_t end;
};

static void *write_all(void *argument);
static void free_writer(struct writer *w);

struct writer *writer_create(void)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    list_init(&w->sinks);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_cond_init(&w->end, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return w;
}

int writer_start(struct writer *w)
{
    /* No signal is the thread's business, SIGPIPE of an output that is gone least of all. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&w->thread, NULL, write_all, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return -1;
    }
    w->started = true;
    return 0;
}

/* In the folder of a user of few rights a link leads where that user wants root to write: root follows its
 * own alone (/dev/stdout). */
static int open_output(const char *output)
{
    if (strcmp(output, "stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(output, "stderr") == 0)
        return STDERR_FILENO;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
    int fd = open(output, geteuid() == 0 ? flags | O_NOFOLLOW : flags, 0640);
    struct stat st;
    if (fd < 0 && errno == ELOOP && lstat(output, &st) == 0 && st.st_uid == 0)
        return open(output, flags, 0640);
    return fd;
}

static void close_output(int fd)
{
    if (fd > STDERR_FILENO)
        close(fd);
}

struct sink *writer_open(struct writer *w, struct slice output)
{
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks) {
        struct sink *s = CONTAINER_OF(node, struct sink, link);
        if (slice_equal(slice_text(s->output), output)) {
            s->references++;
            pthread_mutex_unlock(&w->lock);
            return s;
        }
    }
    pthread_mutex_unlock(&w->lock);
    struct sink *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->output = strndup(output.at, output.len);
    s->writer = w;
    s->references = 1;
    s->tail = &s->first;
    s->fd = -1;
    if (s->output && strcmp(s->output, "syslog") == 0)
        openlog("weir", LOG_PID, LOG_DAEMON);
    else if (!s->output || (s->fd = open_output(s->output)) < 0) {
        int error = errno;
        free(s->output);
        free(s);
        errno = error;
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    list_append(&w->sinks, &s->link);
    pthread_mutex_unlock(&w->lock);
    return s;
}

void sink_release(struct sink *s)
{
    if (!s)
        return;
    struct writer *w = s->writer;
    pthread_mutex_lock(&w->lock);
    s->references--; /* the thread frees it when its queue is empty */
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t lines = 0;
    for (const char *at = bytes; (at = memchr(at, '\n', len - (size_t)(at - bytes))) != NULL; at++)
        lines++;
    return lines;
}

void sink_push(struct sink *s, char *lines, size_t len)
{
    struct piece *p = malloc(sizeof *p);
    pthread_mutex_lock(&s->writer->lock);
    if (!p || s->queued + sizeof *p + len > WRITER_QUEUE_BYTES) {
        atomic_fetch_add(&s->lost, count_lines(lines, len));
        pthread_mutex_unlock(&s->writer->lock);
        free(p);
        free(lines);
        return;
    }
    *p = (struct piece){.bytes = lines, .len = len};
    *s->tail = p;
    s->tail = &p->next;
    s->queued += sizeof *p + len;
    pthread_cond_signal(&s->writer->wake);
    pthread_mutex_unlock(&s->writer->lock);
}

void sink_line(struct sink *s, const char *line, size_t len)
{
    char *copy = malloc(len);
    if (!copy) {
        atomic_fetch_add(&s->lost, 1);
        return;
    }
    memcpy(copy, line, len);
    sink_push(s, copy, len);
}

uint64_t sink_lost(const struct sink *s)
{
    return atomic_load(&s->lost);
}

void writer_give_to(struct writer *w, uid_t user, gid_t group)
{
    struct stat st;
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks) {
        int fd = CONTAINER_OF(node, struct sink, link)->fd;
        if (fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
            st.st_uid != user)
            (void)!fchown(fd, user, group);
    }
    pthread_mutex_unlock(&w->lock);
}

void writer_reopen(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks)
        CONTAINER_OF(node, struct sink, link)->reopen = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* The thread. */

static void write_piece(struct sink *s, const struct piece *p)
{
    if (s->fd < 0) {
        for (const char *at = p->bytes, *end = at + p->len; at < end;) {
            const char *line_end = memchr(at, '\n', (size_t)(end - at));
            size_t len = line_end ? (size_t)(line_end - at) : (size_t)(end - at);
            syslog(LOG_INFO, "%.*s", (int)len, at);
            at += len + 1;
        }
        return;
    }
    size_t done = 0;
    while (done < p->len) {
        ssize_t n = write(s->fd, p->bytes + done, p->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) { /* a standard stream that somebody made non-blocking */
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
            continue;
        }
        if (n < 0) {
            atomic_fetch_add(&s->lost, count_lines(p->bytes + done, p->len - done));
            return;
        }
        done += (size_t)n;
    }
}

static void reopen_sink(struct sink *s)
{
    if (s->fd <= STDERR_FILENO)
        return;
    int fd = open_output(s->output);
    if (fd < 0) {
        /* Better the old file than none. */
        log_error("a log file cannot be opened anew; lines go to the one that was open",
                  LOG_TEXT("file", s->output), LOG_TEXT("reason", strerrordesc_np(errno)));
        return;
    }
    close_output(s->fd);
    s->fd = fd;
}

static void free_sink(struct sink *s)
{
    list_remove(&s->link);
    close_output(s->fd);
    free(s->output);
    free(s);
}

/* The next sink that has something to do, which goes to the end of the line; frees those that nobody holds.
 * Called with the lock held. */
static struct sink *next_busy(struct writer *w)
{
    LIST_EACH_SAFE (node, &w->sinks) {
        struct sink *s = CONTAINER_OF(node, struct sink, link);
        if (s->first || s->reopen) {
            list_remove(&s->link);
            list_append(&w->sinks, &s->link);
            return s;
        }
        if (s->references == 0)
            free_sink(s);
    }
    return NULL;
}

static void *write_all(void *argument)
{
    struct writer *w = argument;
    pthread_setname_np(pthread_self(),
                       "weir-log"); /* another thread's name is a file, out of a sandbox's reach */
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct sink *s = next_busy(w);
        if (!s) {
            if (w->stopping)
                break;
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        struct piece *p = s->first;
        bool reopen = s->reopen;
        s->first = NULL;
        s->tail = &s->first;
        s->reopen = false;
        s->references++;
        pthread_mutex_unlock(&w->lock);
        if (reopen)
            reopen_sink(s);
        size_t written = 0;
        while (p) {
            struct piece *next = p->next;
            write_piece(s, p);
            written += sizeof *p + p->len;
            free(p->bytes);
            free(p);
            p = next;
        }
        pthread_mutex_lock(&w->lock);
        s->queued -= written;
        s->references--;
    }
    w->ended = true;
    pthread_cond_signal(&w->end);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void free_writer(struct writer *w)
{
    LIST_EACH_SAFE (node, &w->sinks)
        free_sink(CONTAINER_OF(node, struct sink, link));
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->end);
    free(w);
}

void writer_free(struct writer *w, msec_t wait_ms)
{
    if (!w)
        return;
    if (!w->started) {
        free_writer(w);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    until.tv_sec += (time_t)(wait_ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    while (!w->ended && pthread_cond_timedwait(&w->end, &w->lock, &until) == 0)
        ;
    bool ended = w->ended;
    pthread_mutex_unlock(&w->lock);
    if (!ended)
        return; /* stuck on an output that takes nothing: the process is about to end */
    pthread_join(w->thread, NULL);
    free_writer(w);
}
