/* The server of uploads: reads each request with its body (Content-Length), throws it away and answers "ok",
 * with keep-alive. Static servers answer a POST before they have read it, or keep it in a file; either would
 * be measured with the proxy.
 *
 *     sink PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 8192, BUFFER = 256 * 1024 };

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

struct client {
    size_t head_len, body_left;
    int fd;
    bool in_body;
    char head[HEAD];
};

static bool answer(struct client *c)
{
    c->head_len = 0;
    c->in_body = false;
    return send(c->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof ANSWER - 1);
}

/* Takes what came; false when the connection is of no more use. One request is under way at a time. */
static bool take(struct client *c, const char *bytes, size_t len)
{
    if (!c->in_body) {
        size_t had = c->head_len, room = HEAD - 1 - had, copied = len < room ? len : room;
        memcpy(c->head + had, bytes, copied);
        c->head_len += copied;
        c->head[c->head_len] = '\0';
        const char *end = strstr(c->head, "\r\n\r\n");
        if (!end)
            return copied == len;
        const char *length = strcasestr(c->head, "\r\ncontent-length:");
        c->body_left =
            length && length < end ? strtoul(length + sizeof "\r\ncontent-length:" - 1, NULL, 10) : 0;
        c->in_body = true;
        len -= (size_t)(end + 4 - c->head) - had;
    }
    c->body_left -= len < c->body_left ? len : c->body_left;
    return c->body_left > 0 || answer(c);
}

static bool serve(struct client *c)
{
    static char buffer[BUFFER];
    for (;;) {
        ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
        if (got < 0)
            return errno == EAGAIN;
        if (got == 0 || !take(c, buffer, (size_t)got))
            return false;
    }
}

static void accept_all(int listener, int epoll)
{
    const int on = 1;
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (c)
            c->fd = fd;
        if (!c || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            free(c);
            close(fd);
        }
    }
}

int main(int argc, char **argv)
{
    const int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    if (argc != 2) {
        fprintf(stderr, "sink PORT\n");
        return 2;
    }
    at.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
        epoll = epoll_create1(EPOLL_CLOEXEC);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 8192) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        perror("sink");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct client *c = events[i].data.ptr;
            if (!c)
                accept_all(listener, epoll);
            else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
