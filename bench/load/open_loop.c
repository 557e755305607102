/* Load at a constant rate: requests are due at fixed moments, whether the answers before have come or not,
 * and each latency is counted from the moment at which its request was due (so that a proxy that stops for a
 * while pays for all who waited: no coordinated omission). Who finds no free connection waits for one. Prints
 * one line as bench/load/report.lua does.
 *
 *     open_loop PORT CONNECTIONS SECONDS RATE keepalive|close PATH
 *
 * `lost` are requests whose connection ended before their answer did, or that never had one; they are in
 * `errors` too, beside connections that could not be made and answers other than 200.
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 4096, STEPS = 128, BUCKETS = 34 * STEPS }; /* a bucket is at most 1/128 of its value wide */

static const uint64_t SECOND = 1000000000, LAST_ANSWERS = 2 * SECOND;

enum client_state { CLOSED, CONNECTING, FREE, ASKED };

struct client {
    uint64_t due_ns; /* of the request under way */
    struct client *next_free;
    size_t head_len, body_left;
    int fd;
    enum client_state state;
    bool head_done, good, closes, has_request;
    char head[HEAD];
};

struct load {
    struct client *first_free, **last_free; /* the one that is free for longest is used next */
    struct client *clients;
    unsigned connections;
    uint16_t port;
    bool close_each;
    char request[512];
    size_t request_len;
    int epoll;
    uint64_t start_ns, sent, wanted, answered, errors, lost;
    double interval_ns;
    uint64_t histogram[BUCKETS], max_us;
};

static void send_request(struct load *load, struct client *c);

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* --- latencies
 * ---------------------------------------------------------------------------------------------------- */

static size_t bucket_of(uint64_t us)
{
    unsigned shift = us < 2 * STEPS ? 0 : 56 - (unsigned)__builtin_clzll(us);
    size_t at = (size_t)shift * STEPS + (size_t)(us >> shift);
    return at < BUCKETS ? at : BUCKETS - 1;
}

static uint64_t highest_in(size_t bucket)
{
    if (bucket < 2 * STEPS)
        return bucket;
    unsigned shift = (unsigned)(bucket / STEPS) - 1;
    return ((bucket - (size_t)shift * STEPS + 1) << shift) - 1;
}

static void note_latency(struct load *load, uint64_t us)
{
    load->histogram[bucket_of(us)]++;
    if (us > load->max_us)
        load->max_us = us;
}

static unsigned long percentile(const struct load *load, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)load->answered), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += load->histogram[i];
        if (seen > wanted)
            return (unsigned long)(highest_in(i) < load->max_us ? highest_in(i) : load->max_us);
    }
    return (unsigned long)load->max_us;
}

/* --- connections
 * -------------------------------------------------------------------------------------------------- */

static void put_free(struct load *load, struct client *c)
{
    c->state = c->fd < 0 ? CLOSED : FREE;
    c->next_free = NULL;
    *load->last_free = c;
    load->last_free = &c->next_free;
}

static struct client *take_free(struct load *load)
{
    struct client *c = load->first_free;
    load->first_free = c->next_free;
    if (!load->first_free)
        load->last_free = &load->first_free;
    return c;
}

static void disconnect(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
}

static bool begin_connect(struct load *load, struct client *c)
{
    const int on = 1;
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(load->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        disconnect(c);
        return false;
    }
    c->state = CONNECTING;
    return true;
}

/* The exchange under way is over; `good` when it had a whole answer. */
static void finish(struct load *load, struct client *c, bool good)
{
    if (good) {
        load->answered++;
        note_latency(load, (now_ns() - c->due_ns) / 1000);
    }
    if (!good || !c->good)
        load->errors++;
    if (!good || c->closes || load->close_each)
        disconnect(c);
    c->has_request = false;
    put_free(load, c);
}

static void fail(struct load *load, struct client *c)
{
    if (c->state == ASKED)
        load->lost++;
    finish(load, c, false);
}

/* --- requests
 * ----------------------------------------------------------------------------------------------------- */

static void ask(struct load *load, uint64_t due_ns)
{
    struct client *c = take_free(load);
    c->due_ns = due_ns;
    c->has_request = true;
    c->head_len = c->body_left = 0;
    c->head_done = c->good = c->closes = false;
    if (c->state == FREE)
        send_request(load, c);
    else if (!begin_connect(load, c))
        finish(load, c, false);
}

static void send_request(struct load *load, struct client *c)
{
    c->state = ASKED;
    if (send(c->fd, load->request, load->request_len, MSG_NOSIGNAL) != (ssize_t)load->request_len)
        fail(load, c);
}

/* The value of a field of the head, or NULL. */
static const char *field(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : NULL;
}

static void read_head(struct client *c)
{
    const char *length = field(c->head, "\r\ncontent-length:"),
               *connection = field(c->head, "\r\nconnection:");
    c->head_done = true;
    c->good = strncmp(c->head, "HTTP/1.1 200", 12) == 0;
    c->body_left = length ? strtoul(length, NULL, 10) : 0;
    c->closes = connection && strncasecmp(connection + strspn(connection, " "), "close", 5) == 0;
}

/* Takes `len` bytes; true when the answer is whole. */
static bool take(struct client *c, const char *bytes, size_t len)
{
    if (!c->head_done) {
        size_t had = c->head_len, room = HEAD - 1 - had, copied = len < room ? len : room;
        memcpy(c->head + had, bytes, copied);
        c->head_len += copied;
        c->head[c->head_len] = '\0';
        const char *end = strstr(c->head, "\r\n\r\n");
        if (!end)
            return false;
        size_t used = (size_t)(end + 4 - c->head) - had;
        read_head(c);
        len -= used;
    }
    c->body_left -= len < c->body_left ? len : c->body_left;
    return c->body_left == 0;
}

/* `ended`: the other side will send no more, which an edge tells but once. */
static void readable(struct load *load, struct client *c, bool ended)
{
    static char buffer[65536];
    for (;;) {
        ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            if (c->state == ASKED)
                fail(load, c);
            else
                disconnect(
                    c); /* it is on the list of free ones already, and is made anew when its turn comes */
            return;
        }
        if (c->state != ASKED || !take(c, buffer, (size_t)got))
            continue;
        finish(load, c, true);
        if (!ended || c->fd < 0)
            return;
    }
}

static void on_event(struct load *load, struct client *c, uint32_t events)
{
    if (c->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP))
            finish(load, c, false);
        else if (events & EPOLLOUT)
            send_request(load, c);
    } else if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
        readable(load, c, (events & EPOLLRDHUP) != 0);
}

/* --- the run
 * ------------------------------------------------------------------------------------------------------ */

static uint64_t due(const struct load *load, uint64_t number)
{
    return load->start_ns + (uint64_t)((double)number * load->interval_ns);
}

static void wait_for_events(struct load *load, uint64_t until_ns)
{
    struct epoll_event events[256];
    uint64_t now = now_ns(), wait_ns = until_ns > now ? until_ns - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait_ns / SECOND), .tv_nsec = (long)(wait_ns % SECOND)};
    int count = epoll_pwait2(load->epoll, events, 256, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        struct client *c = events[i].data.ptr;
        if (c->fd >= 0)
            on_event(load, c, events[i].events);
    }
}

static void run(struct load *load)
{
    load->start_ns = now_ns();
    while (load->sent < load->wanted) {
        uint64_t now = now_ns();
        while (load->sent < load->wanted && due(load, load->sent) <= now && load->first_free)
            ask(load, due(load, load->sent++));
        /* Without a free connection only an answer helps; 100 ms is for one that never comes. */
        wait_for_events(load, load->first_free ? due(load, load->sent) : now + SECOND / 10);
        if (now_ns() > due(load, load->wanted) + LAST_ANSWERS)
            break;
    }
    uint64_t end_ns = now_ns() + LAST_ANSWERS;
    while (load->answered + load->errors < load->sent && now_ns() < end_ns)
        wait_for_events(load, now_ns() + SECOND / 100);
    uint64_t silent = 0;
    for (unsigned i = 0; i < load->connections; i++)
        silent += load->clients[i].has_request;
    load->lost += silent;
    load->errors += silent + (load->wanted - load->sent);
}

int main(int argc, char **argv)
{
    if (argc != 7 || strtod(argv[4], NULL) <= 0) {
        fprintf(stderr, "open_loop PORT CONNECTIONS SECONDS RATE keepalive|close PATH\n");
        return 2;
    }
    static struct load load;
    double seconds = strtod(argv[3], NULL), rate = strtod(argv[4], NULL);
    load.port = (uint16_t)strtoul(argv[1], NULL, 10);
    load.connections = (unsigned)strtoul(argv[2], NULL, 10);
    load.close_each = strcmp(argv[5], "close") == 0;
    load.wanted = (uint64_t)(seconds * rate);
    load.interval_ns = 1e9 / rate;
    load.last_free = &load.first_free;
    load.request_len =
        (size_t)snprintf(load.request, sizeof load.request, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                         argv[6], load.close_each ? "Connection: close\r\n" : "");
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.clients = calloc(load.connections, sizeof *load.clients);
    if (load.request_len >= sizeof load.request || load.epoll < 0 || !load.clients)
        return 1;
    prctl(PR_SET_TIMERSLACK, 1ul); /* else each wait is 50 us too long */
    for (unsigned i = 0; i < load.connections; i++) {
        load.clients[i].fd = -1;
        put_free(&load, &load.clients[i]);
    }
    run(&load);
    printf("RESULT requests=%lu us=%lu p50_us=%lu p99_us=%lu p999_us=%lu max_us=%lu errors=%lu lost=%lu\n",
           (unsigned long)load.answered, (unsigned long)((now_ns() - load.start_ns) / 1000),
           percentile(&load, 0.5), percentile(&load, 0.99), percentile(&load, 0.999),
           (unsigned long)load.max_us, (unsigned long)load.errors, (unsigned long)load.lost);
    return 0;
}
