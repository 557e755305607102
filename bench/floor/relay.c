/* The floor: a bare relay with epoll, the least that user space can pay to pass bytes on. No parsing, no
 * pools, no limits. Each client gets a connection to the server of its own; one 64 KiB buffer;
 * edge-triggered, registered once.
 *
 *     relay LISTEN_PORT SERVER_PORT
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 * 1024, EVENTS = 512 };

/* One end of a pair. `pending` is what the other end sent and this end's socket did not take yet. */
struct side {
    struct pair *pair;
    struct side *other;
    char *pending;
    size_t pending_len;
    size_t pending_sent;
    int fd;
    bool hung_up;   /* EPOLLRDHUP was seen: read to the end */
    bool read_done; /* the end was read and passed on */
};

struct pair {
    struct side client, server;
    struct pair *next_dead;
    bool dead;
};

struct relay {
    int epoll, listener;
    struct sockaddr_in server;
    struct pair *graveyard;
    char buffer[BUFFER_BYTES];
};

static void accept_all(struct relay *r);
static void pump(struct relay *r, struct side *from);
static bool flush(struct side *to);
static void close_pair(struct relay *r, struct pair *pair);
static int listen_on(uint16_t port);
static struct sockaddr_in loopback(uint16_t port);

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "relay LISTEN_PORT SERVER_PORT\n");
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    struct relay *r = calloc(1, sizeof *r);
    if (!r)
        return 1;
    r->server = loopback((uint16_t)strtoul(argv[2], NULL, 10));
    r->listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10));
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (r->listener < 0 || r->epoll < 0 || epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->listener, &listening) != 0) {
        perror("relay");
        return 1;
    }

    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(r->epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct side *side = events[i].data.ptr;
            if (!side) {
                accept_all(r);
                continue;
            }
            if (side->pair->dead)
                continue;
            if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                side->hung_up = true;
            if (side->pending_len > 0 && (events[i].events & EPOLLOUT) && flush(side))
                pump(r, side->other);
            if (!side->pair->dead && (events[i].events & ~(uint32_t)EPOLLOUT))
                pump(r, side);
        }
        while (r->graveyard) {
            struct pair *dead = r->graveyard;
            r->graveyard = dead->next_dead;
            free(dead);
        }
    }
}

static void accept_all(struct relay *r)
{
    for (;;) {
        int client = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0)
            return;
        int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct pair *pair = calloc(1, sizeof *pair);
        if (server < 0 || !pair) {
            free(pair);
            close(client);
            if (server >= 0)
                close(server);
            continue;
        }
        pair->client = (struct side){.pair = pair, .other = &pair->server, .fd = client};
        pair->server = (struct side){.pair = pair, .other = &pair->client, .fd = server};
        int on = 1;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

        const uint32_t all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        struct epoll_event c = {.events = all, .data.ptr = &pair->client};
        struct epoll_event s = {.events = all, .data.ptr = &pair->server};
        bool connecting =
            connect(server, (struct sockaddr *)&r->server, sizeof r->server) == 0 || errno == EINPROGRESS;
        if (!connecting || epoll_ctl(r->epoll, EPOLL_CTL_ADD, client, &c) != 0 ||
            epoll_ctl(r->epoll, EPOLL_CTL_ADD, server, &s) != 0)
            close_pair(r, pair);
    }
}

/* Passes on what `from` has to read, until it has no more or the other side takes no more. */
static void pump(struct relay *r, struct side *from)
{
    struct side *to = from->other;
    while (to->pending_len == 0 && !from->read_done) {
        ssize_t got = recv(from->fd, r->buffer, sizeof r->buffer, 0);
        if (got < 0) {
            if (errno != EAGAIN)
                close_pair(r, from->pair);
            return;
        }
        if (got == 0) {
            from->read_done = true;
            shutdown(to->fd, SHUT_WR);
            if (to->read_done)
                close_pair(r, from->pair);
            return;
        }

        ssize_t sent = send(to->fd, r->buffer, (size_t)got, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != ENOTCONN) {
            close_pair(r, from->pair);
            return;
        }
        if (sent < got) {
            size_t done = sent > 0 ? (size_t)sent : 0;
            to->pending_len = (size_t)got - done;
            to->pending_sent = 0;
            to->pending = malloc(to->pending_len);
            if (!to->pending) {
                to->pending_len = 0;
                close_pair(r, from->pair);
                return;
            }
            memcpy(to->pending, r->buffer + done, to->pending_len);
            return;
        }
        if ((size_t)got < sizeof r->buffer && !from->hung_up)
            return; /* all read: the next byte brings the next edge */
    }
}

/* True when nothing waits any more. */
static bool flush(struct side *to)
{
    ssize_t sent =
        send(to->fd, to->pending + to->pending_sent, to->pending_len - to->pending_sent, MSG_NOSIGNAL);
    if (sent > 0)
        to->pending_sent += (size_t)sent;
    else if (errno == EAGAIN || errno == ENOTCONN)
        return false;
    else
        to->pending_sent = to->pending_len; /* broken: the next read finds it */
    if (to->pending_sent < to->pending_len)
        return false;

    free(to->pending);
    to->pending = NULL;
    to->pending_len = 0;
    return true;
}

static void close_pair(struct relay *r, struct pair *pair)
{
    if (pair->dead)
        return;
    pair->dead = true;
    close(pair->client.fd);
    close(pair->server.fd);
    free(pair->client.pending);
    free(pair->server.pending);
    pair->next_dead = r->graveyard;
    r->graveyard = pair;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = loopback(port);
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

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}
