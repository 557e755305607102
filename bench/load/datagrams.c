/* Load for UDP proxies, and the server behind them.
 *
 *     datagrams serve PORT                         echoes; bursts as they come
 *     datagrams load PORT SECONDS CLIENTS BYTES    a closed loop: each of CLIENTS sockets asks, waits for the
 * answer, asks again; after 200 ms it takes it for lost. Prints answers a second, and losses datagrams flow
 * PORT SECONDS BYTES SEGMENTS   one client sends datagrams of BYTES, SEGMENTS at a time (UDP_SEGMENT; 1 =
 * without), at most 256 KiB ahead of the echo. Prints datagrams a second
 *
 * The proxy's CPU is its own to be looked at: /proc/PID/task/?/schedstat. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 65536, LOST_MS = 200, AHEAD = 256 << 10 };

struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_in peers[BATCH];
    char control[BATCH][64];
    char *bytes;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 8 << 20;
    if (fd < 0) {
        perror("socket");
        exit(1);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return fd;
}

static int64_t segment_of(struct msghdr *h)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        int segment;
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            return segment;
        }
    }
    return 0;
}

static void set_segment(struct msghdr *h, char *control, uint16_t segment)
{
    h->msg_control = control;
    h->msg_controllen = CMSG_SPACE(sizeof segment);
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    *c = (struct cmsghdr){
        .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof segment)};
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
}

static int receive(struct batch *b, int fd, int flags)
{
    for (int i = 0; i < BATCH; i++) {
        b->iov[i] = (struct iovec){b->bytes + (size_t)i * ROOM, ROOM};
        b->headers[i].msg_hdr = (struct msghdr){.msg_name = &b->peers[i],
                                                .msg_namelen = sizeof b->peers[i],
                                                .msg_iov = &b->iov[i],
                                                .msg_iovlen = 1,
                                                .msg_control = b->control[i],
                                                .msg_controllen = sizeof b->control[i]};
    }
    return recvmmsg(fd, b->headers, BATCH, flags, NULL);
}

static int serve(const char *port)
{
    struct batch b = {.bytes = malloc((size_t)BATCH * ROOM)};
    struct sockaddr_in at = loopback(port);
    int fd = open_socket(), on = 1;
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        perror("bind");
        return 1;
    }
    for (;;) {
        int n = receive(&b, fd, MSG_WAITFORONE);
        for (int i = 0; i < n; i++) {
            struct msghdr *h = &b.headers[i].msg_hdr;
            int64_t segment = segment_of(h);
            b.iov[i].iov_len = b.headers[i].msg_len;
            h->msg_control = NULL;
            h->msg_controllen = 0;
            if (segment && segment < b.headers[i].msg_len)
                set_segment(h, b.control[i], (uint16_t)segment);
        }
        for (int at_message = 0; at_message < n;) {
            int sent = sendmmsg(fd, b.headers + at_message, (unsigned)(n - at_message), 0);
            at_message += sent > 0 ? sent : 1;
        }
    }
}

struct client {
    int fd;
    uint32_t turn;
    int64_t asked_ms;
};

static void ask(struct client *c, char *question, size_t len, int64_t now)
{
    c->turn++;
    memcpy(question, &c->turn, sizeof c->turn);
    c->asked_ms = now;
    (void)!send(c->fd, question, len, MSG_DONTWAIT);
}

static int load(char **arguments)
{
    struct sockaddr_in to = loopback(arguments[0]);
    int64_t end = now_ms() + 1000 * strtol(arguments[1], NULL, 10), begin = now_ms(), looked = begin;
    size_t count = strtoul(arguments[2], NULL, 10), len = strtoul(arguments[3], NULL, 10);
    struct client *clients = calloc(count, sizeof *clients);
    char *question = calloc(1, len < 8 ? 8 : len), answer[ROOM];
    int poller = epoll_create1(0);
    uint64_t answers = 0, lost = 0;
    for (size_t i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = open_socket();
        if (connect(clients[i].fd, (struct sockaddr *)&to, sizeof to) != 0)
            perror("connect");
        epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &e);
        ask(&clients[i], question, len, now_ms());
    }
    for (int64_t now = begin; now < end; now = now_ms()) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, 20);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            ssize_t got = recv(c->fd, answer, sizeof answer, MSG_DONTWAIT);
            if (got != (ssize_t)len || memcmp(answer, &c->turn, sizeof c->turn) != 0)
                continue;
            answers++;
            ask(c, question, len, now);
        }
        for (size_t i = 0; now - looked > LOST_MS && i < count; i++)
            if (now - clients[i].asked_ms > LOST_MS) {
                lost++;
                ask(&clients[i], question, len, now);
            }
        looked = now - looked > LOST_MS ? now : looked;
    }
    printf("%llu %llu %.0f\n", (unsigned long long)answers, (unsigned long long)lost,
           (double)answers * 1000 / (double)(now_ms() - begin));
    return 0;
}

static int flow(char **arguments)
{
    struct sockaddr_in to = loopback(arguments[0]);
    int64_t begin = now_ms(), end = begin + 1000 * strtol(arguments[1], NULL, 10), heard = begin;
    size_t len = strtoul(arguments[2], NULL, 10), segments = strtoul(arguments[3], NULL, 10);
    struct batch b = {.bytes = malloc((size_t)BATCH * ROOM)};
    char *data = calloc(segments, len), control[64];
    int fd = open_socket(), on = 1;
    uint64_t sent = 0, got = 0, written_off = 0;
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        perror("connect");
    for (int64_t now = begin; now < end; now = now_ms()) {
        struct iovec iov = {data, len * segments};
        struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
        if (segments > 1)
            set_segment(&h, control, (uint16_t)len);
        while (sent - got - written_off < AHEAD && sendmsg(fd, &h, MSG_DONTWAIT) > 0)
            sent += iov.iov_len;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, 20);
        int n = receive(&b, fd, MSG_DONTWAIT);
        for (int i = 0; i < n; i++)
            got += b.headers[i].msg_len;
        if (n > 0)
            heard = now;
        else if (now - heard > LOST_MS) {
            written_off = sent - got;
            heard = now;
        }
    }
    printf("%llu %llu %.0f\n", (unsigned long long)(got / len), (unsigned long long)(written_off / len),
           (double)got / (double)len * 1000 / (double)(now_ms() - begin));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2]);
    if (argc == 6 && strcmp(argv[1], "load") == 0)
        return load(argv + 2);
    if (argc == 6 && strcmp(argv[1], "flow") == 0)
        return flow(argv + 2);
    fprintf(stderr,
            "datagrams serve PORT | load PORT SECONDS CLIENTS BYTES | flow PORT SECONDS BYTES SEGMENTS\n");
    return 2;
}
