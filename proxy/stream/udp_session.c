#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <unistd.h>

#include "balancer/hashing.h"
#include "core/log.h"
#include "proxy/failure_log.h"
#include "proxy/stream/udp_internal.h"

#define SESSION_MAGIC 0x55445053u
#define WARN_MS       1000 /* between two lines of one listener's trouble */

static bool find_server(struct udp_session *s, enum pick_failure *why);
static void on_answers(evutil_socket_t fd, short what, void *argument);
static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

static struct worker *worker_of(const struct udp_session *s)
{
    return s->client.listener->worker;
}

static bool may_warn(struct listener *l)
{
    msec_t now = loop_now(&l->worker->loop);
    bool may = l->udp->warned_ms == 0 || now - l->udp->warned_ms >= WARN_MS;
    if (may)
        l->udp->warned_ms = now;
    return may;
}

/* The beginning. */

/* Whether the listener is full, and not the client over its own limit: only then others make room. */
static bool is_full(struct listener *l, const struct ip *ip)
{
    struct connection_limits *limits = &l->config->stats->limits;
    const struct limits *max = &l->config->settings->limits;
    if (!max->connections || atomic_load_explicit(&limits->open, memory_order_relaxed) < max->connections)
        return false;
    if (max->connections_per_ip == 0)
        return true;
    if (!connection_limits_enter_ip(limits, ip, max->connections_per_ip))
        return false;
    connection_limits_leave_ip(limits, ip);
    return true;
}

static bool evict(struct listener *l)
{
    struct udp_session *oldest = udp_oldest(l->udp);
    if (!oldest)
        return false;
    counter_add(&l->stats->udp_evicted, 1);
    udp_session_end(oldest);
    return true;
}

static bool enter(struct udp_session *s, struct listener *l, const struct arrival *a)
{
    if (client_enter(&s->client, l, a))
        return true;
    return !l->removed && is_full(l, &a->ip) && l->udp->count > 0 && evict(l) &&
           client_enter(&s->client, l, a);
}

static struct udp_session *create(struct udp_port *p, const struct udp_key *key, uint64_t hash)
{
    struct udp_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->magic = SESSION_MAGIC;
    s->fd = -1;
    s->key = *key;
    s->hash = hash;
    s->port = p;
    s->first = s->last = -1;
    s->client.drain = drain_client;
    s->client.cut = cut_client;
    list_init(&s->age);
    task_init(&s->bury);
    return s;
}

static void let_go(struct udp_session *s)
{
    unsigned worker = worker_of(s)->index;
    if (s->servers)
        upstream_leave(s->upstream, s->servers, worker);
    if (s->snapshot)
        snapshot_release(s->snapshot, worker);
    s->servers = NULL;
    s->snapshot = NULL;
}

/* The configuration and the servers of now. */
static void take_up(struct udp_session *s)
{
    struct listener *l = s->client.listener;
    struct upstream *u = l->config->upstream;
    snapshot_hold(l->snapshot, l->worker->index);
    struct server_set *servers = upstream_enter(u, l->worker->index);
    let_go(s);
    s->snapshot = l->snapshot;
    s->upstream = u;
    s->servers = servers;
}

static void no_server(struct listener *l, const struct upstream *u, enum pick_failure why)
{
    if (may_warn(l))
        log_warn("no server for datagrams", LOG_SLICE("listener", l->name), LOG_SLICE("upstream", u->name),
                 LOG_TEXT("reason", pick_failure_text(why)));
}

struct udp_session *udp_session_begin(struct udp_port *p, const struct udp_key *key, uint64_t hash)
{
    struct listener *l = p->listener;
    struct upstream *u = l->config->upstream;
    enum pick_failure why = server_set_state(u->locals[l->worker->index].set);
    if (why != PICK_OK) {
        no_server(l, u, why);
        udp_count_drop(l, UDP_DROP_NO_SERVER, 1);
        return NULL;
    }
    struct udp_session *s = create(p, key, hash);
    struct arrival a = {.fd = -1, .ip = udp_ip(&key->client, key->client_port)};
    if (!s || !enter(s, l, &a)) {
        counter_add(&l->stats->connections_refused, 1);
        udp_count_drop(l, UDP_DROP_LIMIT, 1);
        free(s);
        return NULL;
    }
    if (udp_insert(l->udp, s) != 0) {
        client_leave(&s->client);
        udp_count_drop(l, UDP_DROP_LIMIT, 1);
        free(s);
        return NULL;
    }
    p->session_count++;
    take_up(s);
    if (find_server(s, &why))
        return s;
    no_server(l, s->upstream, why);
    udp_count_drop(l, UDP_DROP_NO_SERVER, 1);
    udp_session_end(s);
    return NULL;
}

/* The server. */

static void tell(struct udp_session *s, enum outcome_kind kind)
{
    usec_t now = loop_now_us(&worker_of(s)->loop);
    struct outcome o = {.kind = kind, .head_us = s->answer_us, .took_us = now - s->attempt_us, .now_us = now};
    upstream_done(s->upstream, s->servers, worker_of(s)->index, s->server, &o);
}

static void leave_server(struct udp_session *s, enum outcome_kind kind)
{
    if (s->fd >= 0) {
        event_del(&s->event);
        close(s->fd);
        s->fd = -1;
        counter_add(&s->counters->busy, UINT64_MAX);
    }
    if (s->counted)
        tell(s, kind);
    s->counted = false;
    s->answered = false;
    s->introduced = false;
    s->whole = false;
    s->answer_us = 0;
}

/* A socket that hears that server alone. 0, or -1: errno, and whether it is the server's fault. */
static int connect_to(struct udp_session *s, bool *own_fault)
{
    struct address to;
    int on = 1;
    *own_fault = false;
    if (!server_address(s->server, &to, &s->address_version)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    int fd = socket(to.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *own_fault = fd < 0;
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    if (connect(fd, &to.any, to.len) != 0) {
        int error = errno;
        *own_fault = error == EAGAIN || error == EADDRINUSE; /* there is no local port left */
        close(fd);
        errno = error;
        return -1;
    }
    s->fd = fd;
    event_assign(&s->event, worker_of(s)->loop.base, fd, EV_READ | EV_PERSIST, on_answers, s);
    event_add(&s->event, NULL);
    return 0;
}

/* Without descriptors or ports, the oldest session's are taken. */
static int open_socket(struct udp_session *s, bool *own_fault)
{
    struct listener *l = s->client.listener;
    s->counters = counters_of(&l->worker->counters, s->server);
    counter_add(&s->counters->opened, 1);
    int rc = connect_to(s, own_fault);
    if (rc != 0 && *own_fault && udp_oldest(l->udp) != s && evict(l))
        rc = connect_to(s, own_fault);
    if (rc == 0)
        counter_add(&s->counters->busy, 1);
    return rc;
}

static void count_unreachable(struct udp_session *s, int error)
{
    counter_add(&s->counters->failed, 1);
    atomic_fetch_add_explicit(&s->server->connect_failures, 1, memory_order_relaxed);
    server_address_failed(s->server, s->address_version);
    failure_log(worker_of(s), "server cannot be reached", s->server, strerror(error));
}

/* The next server that takes it; false when none does. */
static bool find_server(struct udp_session *s, enum pick_failure *why)
{
    struct worker *w = worker_of(s);
    *why = PICK_ALL_TRIED;
    while (s->tried_count < UDP_TRIED_MAX) {
        struct pick p = {.tried = s->tried,
                         .tried_count = s->tried_count,
                         .hash = s->upstream->policy->hashes ? hash_of_ip(&s->client.ip) : 0,
                         .now_us = loop_now_us(&w->loop)};
        bool own_fault;
        s->server = upstream_pick(s->upstream, s->servers, w->index, &p, why);
        if (!s->server)
            return false;
        s->counted = true;
        s->attempt_us = loop_now_us(&w->loop);
        s->tried[s->tried_count++] = s->server;
        if (open_socket(s, &own_fault) == 0)
            return true;
        if (own_fault) {
            if (may_warn(s->client.listener))
                log_warn("no socket for a session", LOG_SLICE("listener", s->client.listener->name),
                         LOG_TEXT("reason", strerror(errno)));
            leave_server(s, OUTCOME_ABANDONED);
            return false;
        }
        count_unreachable(s, errno);
        leave_server(s, OUTCOME_UNREACHABLE);
    }
    return false;
}

/* Whether the server is still where the session belongs; takes up a new configuration that has it too. */
static bool is_in_place(struct udp_session *s)
{
    struct listener *l = s->client.listener;
    const struct server_set *now = l->config->upstream->locals[l->worker->index].set;
    if (s->snapshot != l->snapshot || s->servers != now) {
        bool there = false;
        for (size_t i = 0; i < now->count && !there; i++)
            there = now->servers[i] == s->server;
        if (!there)
            return false;
        take_up(s);
    }
    /* Its name has another address by now, and nobody answers at that which it had. */
    if (s->waits &&
        s->address_version != atomic_load_explicit(&s->server->address_version, memory_order_relaxed))
        return false;
    if (s->upstream->settings->on_down == ON_DOWN_KEEP)
        return true;
    return !server_is_down(s->server) &&
           atomic_load_explicit(&s->server->admin, memory_order_relaxed) != ADMIN_DRAIN;
}

/* To another server, for good reasons: nothing is sent again. False when there is none: it has ended. */
static bool move(struct udp_session *s)
{
    enum pick_failure why;
    leave_server(s, s->answered ? OUTCOME_ANSWERED : OUTCOME_ABANDONED);
    udp_forget_kept(s);
    take_up(s);
    s->tried_count = 0;
    if (find_server(s, &why))
        return true;
    no_server(s->client.listener, s->upstream, why);
    udp_session_end(s);
    return false;
}

bool udp_session_is_placed(struct udp_session *s)
{
    return is_in_place(s) || move(s);
}

bool udp_session_refused(struct udp_session *s, int error, bool has_datagram)
{
    enum pick_failure why;
    if (s->answered) {
        struct server *gone = s->server;
        leave_server(s, OUTCOME_RESET);
        if (!has_datagram) {
            udp_session_end(s);
            return false;
        }
        /* That datagram begins a new one. */
        s->tried[0] = gone;
        s->tried_count = 1;
        take_up(s);
    } else {
        count_unreachable(s, error);
        leave_server(s, OUTCOME_UNREACHABLE);
    }
    while (find_server(s, &why)) {
        if (udp_send_kept(s) == 0)
            return true;
        count_unreachable(s, errno);
        leave_server(s, OUTCOME_UNREACHABLE);
    }
    no_server(s->client.listener, s->upstream, why);
    udp_session_end(s);
    return false;
}

/* Answers. */

static void on_answers(evutil_socket_t fd, short what, void *argument)
{
    struct udp_session *s = argument;
    (void)fd, (void)what;
    ASSERT(s->magic == SESSION_MAGIC && !s->closed);
    struct listener *l = s->client.listener;
    uint64_t bytes;
    int n = udp_relay_answers(l->worker->udp, s, &bytes);
    if (n < 0) {
        if (udp_is_refusal(errno))
            udp_session_refused(s, errno, false);
        return;
    }
    if (!s->answered) {
        s->answered = true;
        s->tried_count = 0;
        s->answer_us = loop_now_us(&l->worker->loop) - s->attempt_us;
        udp_forget_kept(s);
    }
    s->waits = false;
    counter_add(&s->counters->bytes_in, bytes);
    udp_touch(l->udp, s);
    if (s->ends_answered)
        udp_session_end(s);
}

/* The end. */

static void bury(struct task *t)
{
    struct udp_session *s = CONTAINER_OF(t, struct udp_session, bury);
    free(s);
}

void udp_session_end(struct udp_session *s)
{
    if (s->closed)
        return;
    struct listener *l = s->client.listener;
    struct loop *loop = &l->worker->loop;
    s->closed = true;
    s->magic = 0;
    leave_server(s, s->answered ? OUTCOME_ANSWERED : OUTCOME_ABANDONED);
    udp_forget_kept(s);
    udp_remove(l->udp, s);
    s->port->session_count--;
    udp_port_left(s->port);
    let_go(s);
    client_leave(&s->client);
    loop_bury(loop, &s->bury, bury);
}

void udp_session_drain(struct udp_session *s, bool when_answered)
{
    struct udp_sessions *t = s->client.listener->udp;
    if (!s->draining) {
        s->draining = true;
        t->draining++;
        udp_look(t, UDP_LINGER_MS);
    }
    s->ends_answered = s->ends_answered || when_answered;
    if (s->ends_answered && !s->waits)
        udp_session_end(s);
}

static void drain_client(struct client *client, bool close_idle)
{
    udp_session_drain(CONTAINER_OF(client, struct udp_session, client), close_idle);
}

static void cut_client(struct client *client)
{
    udp_session_end(CONTAINER_OF(client, struct udp_session, client));
}
