#include "admin/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"
#include "core/slice.h"

#define ANSWER_MAX (256u << 20)

static msec_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec_t)t.tv_sec * 1000 + (msec_t)t.tv_nsec / 1000000;
}

/* 0, or -1 with errno. */
static int wait_for(int fd, short what, msec_t until)
{
    for (;;) {
        msec_t now = now_ms();
        struct pollfd p = {.fd = fd, .events = what};
        int n = now < until ? poll(&p, 1, (int)(until - now)) : 0;
        if (n > 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ETIMEDOUT;
        return -1;
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof to.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(to.sun_path, path, len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int send_text(int fd, const char *text, size_t len, msec_t until)
{
    while (len) {
        ssize_t n = wait_for(fd, POLLOUT, until) == 0 ? send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return -1;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Until the end of the connection; malloc'ed, NUL-terminated. */
static char *receive_all(int fd, size_t *len, msec_t until)
{
    size_t size = 16384;
    char *all = malloc(size);
    *len = 0;
    while (all && wait_for(fd, POLLIN, until) == 0) {
        ssize_t n = recv(fd, all + *len, size - *len - 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            break;
        if (n == 0) {
            all[*len] = 0;
            return all;
        }
        *len += (size_t)n;
        if (size - *len > 1)
            continue;
        char *larger = size < ANSWER_MAX ? realloc(all, size * 2) : NULL;
        if (!larger) {
            errno = ENOMEM;
            break;
        }
        all = larger;
        size *= 2;
    }
    free(all);
    return NULL;
}

/* "HTTP/1.1 200 OK"; the connection ends with the body, whose length is looked at so that a cut answer is
 * none. */
static int read_answer(char *all, size_t len, int *status, char **answer)
{
    char *head_end = memmem(all, len, "\r\n\r\n", 4);
    uint64_t code, length;
    errno = EPROTO;
    if (!head_end || len < 12 || memcmp(all, "HTTP/1.", 7) != 0 ||
        slice_to_u64(slice_of(all + 9, 3), &code) != 0)
        return -1;
    size_t body_len = len - (size_t)(head_end + 4 - all);
    char *field = memmem(all, (size_t)(head_end + 2 - all), "\r\nContent-Length: ", 18);
    if (!field)
        return -1;
    struct slice value = slice_of(field + 18, (size_t)(head_end + 2 - field) - 18);
    value.len = slice_find(value, '\r');
    if (slice_to_u64(value, &length) != 0 || length != body_len)
        return -1;
    *answer = strndup(head_end + 4, body_len);
    *status = (int)code;
    return *answer ? 0 : -1;
}

int client_call(const char *socket_path, const char *method, const char *path, const char *body, int *status,
                char **answer)
{
    msec_t until = now_ms() + CLIENT_DEADLINE_MS;
    char *request = NULL, *all = NULL;
    size_t len = 0;
    int result = -1, fd = connect_to(socket_path);
    if (fd < 0)
        return -1;
    int n = asprintf(&request,
                     "%s %s HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Type: "
                     "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     method, path, body ? strlen(body) : (size_t)0, body ? body : "");
    if (n < 0)
        request = NULL;
    else if (send_text(fd, request, (size_t)n, until) == 0 && (all = receive_all(fd, &len, until)))
        result = read_answer(all, len, status, answer);
    int error = errno;
    free(request);
    free(all);
    close(fd);
    errno = error;
    return result;
}
