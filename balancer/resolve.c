#include "balancer/resolve_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"

#define INTERVAL_MS      30000
#define FIRST_BACKOFF_MS 1000
#define QUERY_MS         2000
#define QUERY_TRIES      3

/* One of c-ares' sockets. */
struct resolve_socket {
    struct list link;
    struct resolver *resolver;
    struct event event;
};

struct resolve_name {
    struct resolver *resolver;
    struct server *server; /* held */
    uint16_t port;
    unsigned failures; /* in a row */
    bool busy;         /* c-ares has it, and will call back */
    bool removed;      /* freed when it has */
    bool resolved;
    struct timer timer;
    void (*changed)(struct server *, void *);
    void *argument;
    char host[];
};

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable);
static void on_socket(evutil_socket_t fd, short what, void *argument);
static void on_time_limit(struct timer *t);
static void on_due(struct timer *t);
static void look_up(struct resolve_name *n);
static void on_answer(void *argument, int status, int timeouts, struct ares_addrinfo *answer);

struct resolver *resolver_create(struct loop *l, const char *servers, msec_t interval)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->loop = l;
    r->interval = interval ? interval : INTERVAL_MS;
    list_init(&r->sockets);
    list_init(&r->queries);
    timer_init(&r->timer, on_time_limit);
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        free(r);
        return NULL;
    }
    struct ares_options options = {
        .timeout = QUERY_MS, .tries = QUERY_TRIES, .sock_state_cb = on_socket_state, .sock_state_cb_data = r};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (ares_init_options(&r->channel, &options, mask) != ARES_SUCCESS) {
        ares_library_cleanup();
        free(r);
        return NULL;
    }
    if (servers && ares_set_servers_ports_csv(r->channel, servers) != ARES_SUCCESS)
        log_error("DNS servers cannot be used", LOG_TEXT("servers", servers));
    return r;
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    ares_destroy(r->channel); /* calls back for all that is under way, and closes its sockets */
    resolver_free_queries(r);
    loop_timer_clear(r->loop, &r->timer);
    ares_library_cleanup();
    ASSERT(list_empty(&r->sockets));
    free(r);
}

/* Waiting, for once: at the start, when there is nothing else to do yet. */

static usec_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (usec_t)t.tv_sec * 1000000 + (usec_t)t.tv_nsec / 1000;
}

/* Until something comes, c-ares' own time limit, or `left_ms`. */
static void wait_for_sockets(struct resolver *r, int left_ms)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd fds[ARES_GETSOCK_MAXNUM];
    nfds_t count = 0;
    /* c-ares' own macros shift into the sign. */
    uint32_t wanted = (uint32_t)ares_getsock(r->channel, sockets, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool in = wanted >> i & 1, out = wanted >> (i + ARES_GETSOCK_MAXNUM) & 1;
        if (in || out)
            fds[count++] =
                (struct pollfd){.fd = sockets[i], .events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0))};
    }
    poll(fds, count, left_ms < 50 ? left_ms : 50);
    for (nfds_t i = 0; i < count; i++)
        if (fds[i].revents)
            ares_process_fd(r->channel, fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
                            fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

void resolver_settle(struct resolver *r, msec_t at_most)
{
    struct timeval unused;
    usec_t end = clock_us() + at_most * 1000, now;
    do {
        resolver_deliver(r); /* which may ask for more */
        now = clock_us();
        if (now >= end || !ares_timeout(r->channel, NULL, &unused))
            break;
        wait_for_sockets(r, (int)((end - now) / 1000) + 1);
    } while (true);
    resolver_deliver(r);
    resolver_arm(r);
}

/* Names. */

struct resolve_name *resolver_add(struct resolver *r, struct server *s, struct slice host, uint16_t port,
                                  void (*changed)(struct server *, void *), void *argument)
{
    struct resolve_name *n = calloc(1, sizeof *n + host.len + 1);
    if (!n)
        return NULL;
    n->resolver = r;
    n->server = server_hold(s);
    n->port = port;
    n->changed = changed;
    n->argument = argument;
    n->resolved = atomic_load_explicit(&s->address_version, memory_order_relaxed) != 0;
    memcpy(n->host, host.at, host.len);
    timer_init(&n->timer, on_due);
    look_up(n);
    return n;
}

static void free_name(struct resolve_name *n)
{
    server_release(n->server);
    free(n);
}

void resolver_remove(struct resolve_name *n)
{
    loop_timer_clear(n->resolver->loop, &n->timer);
    n->removed = true;
    if (!n->busy)
        free_name(n);
}

void resolver_hurry(struct resolve_name *n)
{
    if (!n->busy && n->failures == 0)
        loop_timer(n->resolver->loop, &n->timer, FIRST_BACKOFF_MS);
}

static void on_due(struct timer *t)
{
    look_up(CONTAINER_OF(t, struct resolve_name, timer));
}

static void look_up(struct resolve_name *n)
{
    struct resolver *r = n->resolver;
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    n->busy = true;
    ares_getaddrinfo(r->channel, n->host, NULL, &hints, on_answer, n);
    resolver_arm(r);
}

/* IPv4 first: a name that has both often stands for a server that listens on IPv4 alone ("localhost"); when
 * it does not, the next one is tried after the first failure (server_address_failed). */
static size_t read_answer(const struct ares_addrinfo *answer, uint16_t port, struct address *out)
{
    static const int families[] = {AF_INET, AF_INET6};
    size_t count = 0;
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        for (const struct ares_addrinfo_node *a = answer->nodes; a && count < SERVER_ADDRESSES;
             a = a->ai_next) {
            if (a->ai_family != families[f] || a->ai_addrlen > sizeof(struct sockaddr_in6))
                continue;
            out[count] = (struct address){.len = (socklen_t)a->ai_addrlen};
            memcpy(&out[count].any, a->ai_addr, (size_t)a->ai_addrlen);
            address_set_port(&out[count], port);
            count++;
        }
    }
    return count;
}

static void take_answer(struct resolve_name *n, const struct address *addresses, size_t count)
{
    struct server *s = n->server;
    uint32_t before = atomic_load_explicit(&s->address_version, memory_order_relaxed);
    server_set_addresses(s, addresses, count);
    if (n->failures || !n->resolved)
        log_info("server's name resolves", LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name));
    n->failures = 0;
    n->resolved = true;
    loop_timer(n->resolver->loop, &n->timer, n->resolver->interval);
    if (n->changed && atomic_load_explicit(&s->address_version, memory_order_relaxed) != before)
        n->changed(s, n->argument);
}

static void take_failure(struct resolve_name *n, int status)
{
    struct server *s = n->server;
    char reason[SERVER_REASON_MAX];
    snprintf(reason, sizeof reason, "its name does not resolve: %s", ares_strerror(status));
    server_set_address_failure(s, reason);
    if (n->failures == 0)
        log_warn(n->resolved ? "server's name does not resolve; its last address is used"
                             : "server's name does not resolve; it is down",
                 LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name),
                 LOG_TEXT("reason", ares_strerror(status)));
    msec_t wait = (msec_t)FIRST_BACKOFF_MS << (n->failures < 8 ? n->failures : 8);
    n->failures++;
    loop_timer(n->resolver->loop, &n->timer, wait < n->resolver->interval ? wait : n->resolver->interval);
}

static void on_answer(void *argument, int status, int timeouts, struct ares_addrinfo *answer)
{
    struct resolve_name *n = argument;
    struct address addresses[SERVER_ADDRESSES];
    (void)timeouts;
    n->busy = false;
    size_t count = answer && !n->removed ? read_answer(answer, n->port, addresses) : 0;
    if (answer)
        ares_freeaddrinfo(answer);
    if (n->removed)
        free_name(n);
    else if (count)
        take_answer(n, addresses, count);
    else
        take_failure(n, status == ARES_SUCCESS ? ARES_ENODATA : status);
}

/* c-ares on the loop. */

static struct resolve_socket *find_socket(struct resolver *r, ares_socket_t fd)
{
    LIST_EACH (node, &r->sockets) {
        struct resolve_socket *s = CONTAINER_OF(node, struct resolve_socket, link);
        if (event_get_fd(&s->event) == fd)
            return s;
    }
    return NULL;
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = data;
    struct resolve_socket *s = find_socket(r, fd);
    if (s)
        event_del(&s->event);
    if (!readable && !writable) {
        if (s)
            list_remove(&s->link);
        free(s);
        return;
    }
    if (!s) {
        s = malloc(sizeof *s);
        if (!s)
            return; /* the query runs into its time limit */
        s->resolver = r;
        list_append(&r->sockets, &s->link);
    }
    short what = (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    event_assign(&s->event, r->loop->base, fd, what, on_socket, s);
    event_add(&s->event, NULL);
}

static void on_socket(evutil_socket_t fd, short what, void *argument)
{
    struct resolver *r = ((struct resolve_socket *)argument)->resolver;
    ares_process_fd(r->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    resolver_arm(r);
}

static void on_time_limit(struct timer *t)
{
    struct resolver *r = CONTAINER_OF(t, struct resolver, timer);
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    resolver_arm(r);
}

void resolver_arm(struct resolver *r)
{
    struct timeval left;
    if (!ares_timeout(r->channel, NULL, &left)) {
        loop_timer_clear(r->loop, &r->timer);
        return;
    }
    loop_timer(r->loop, &r->timer, (msec_t)left.tv_sec * 1000 + (msec_t)left.tv_usec / 1000 + 1);
}
