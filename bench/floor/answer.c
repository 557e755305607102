/* The floor of the cache's cases: an epoll loop that sends stored answers, the least that user space can pay
 * for a hit without the kernel's help (sendfile). It looks at nothing but the path; one recv() and one send()
 * a request; edge-triggered, registered once.
 *
 *     answer PORT FOLDER NAME...      answers /cached/NAME with the file
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, ANSWERS_MAX = 8, HEAD_MAX = 512 };

struct answer {
    char path[64]; /* with the space behind it */
    char *bytes;   /* head and body */
    size_t len;
};

struct client {
    int fd;
    const struct answer *answer; /* that is being sent */
    size_t sent;
};

static int load(struct answer *a, const char *folder, const char *name);
static int listen_on(uint16_t port);
static void accept_all(int epoll, int listener);
static bool serve(struct client *c, const struct answer *answers, int count);

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 3 + ANSWERS_MAX) {
        fprintf(stderr, "answer PORT FOLDER NAME...\n");
        return 2;
    }
    struct answer answers[ANSWERS_MAX];
    int count = argc - 3;
    for (int i = 0; i < count; i++) {
        if (load(&answers[i], argv[2], argv[3 + i])) {
            perror(argv[3 + i]);
            return 1;
        }
    }

    int listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10)), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (listener < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) != 0) {
        perror("answer");
        return 1;
    }
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            if (!c) {
                accept_all(epoll, listener);
            } else if (!serve(c, answers, count)) {
                close(c->fd);
                free(c);
            }
        }
    }
}

static int load(struct answer *a, const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(a->path, sizeof a->path, "GET /cached/%s ", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    rewind(file);
    a->bytes = size < 0 ? NULL : malloc(HEAD_MAX + (size_t)size);
    if (!a->bytes) {
        fclose(file);
        return -1;
    }
    int head = snprintf(a->bytes, HEAD_MAX,
                        "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
                        "Content-Type: application/octet-stream\r\nContent-Length: %ld\r\n"
                        "Last-Modified: Sat, 21 Nov 2026 11:00:00 GMT\r\n"
                        "Cache-Control: public, max-age=86400\r\nAge: 1\r\n\r\n",
                        size);
    a->len = (size_t)head + fread(a->bytes + head, 1, (size_t)size, file);
    fclose(file);
    return a->len == (size_t)head + (size_t)size ? 0 : -1;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 8192) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void accept_all(int epoll, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *c = calloc(1, sizeof *c);
        struct epoll_event all = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (!c || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &all) != 0) {
            free(c);
            close(fd);
            continue;
        }
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
}

/* False when the connection is over. */
static bool serve(struct client *c, const struct answer *answers, int count)
{
    if (!c->answer) {
        char request[4096];
        ssize_t got = recv(c->fd, request, sizeof request - 1, 0);
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        for (int i = 0; i < count && !c->answer; i++) {
            size_t len = strlen(answers[i].path);
            if ((size_t)got >= len && memcmp(request, answers[i].path, len) == 0)
                c->answer = &answers[i];
        }
        if (!c->answer)
            return false;
        c->sent = 0;
    }
    ssize_t sent = send(c->fd, c->answer->bytes + c->sent, c->answer->len - c->sent, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN;
    c->sent += (size_t)sent;
    if (c->sent == c->answer->len)
        c->answer = NULL;
    return true; /* what is left goes when the socket has room: the next edge */
}
