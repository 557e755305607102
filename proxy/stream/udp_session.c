#include <stdlib.h>

#include "core/log.h"
#include "proxy/stream/udp_internal.h"

#define SESSION_MAGIC 0x55445053u
#define WARN_MS       1000 /* between two lines of one listener's trouble */

static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

bool udp_may_warn(struct listener *l)
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

bool udp_evict(struct listener *l)
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
    return !l->removed && is_full(l, &a->ip) && l->udp->count > 0 && udp_evict(l) &&
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
    unsigned worker = udp_worker(s)->index;
    if (s->servers)
        upstream_leave(s->upstream, s->servers, worker);
    if (s->snapshot)
        snapshot_release(s->snapshot, worker);
    s->servers = NULL;
    s->snapshot = NULL;
}

/* The configuration and the servers of now. */
void udp_take_up(struct udp_session *s)
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

void udp_say_no_server(struct listener *l, const struct upstream *u, enum pick_failure why)
{
    if (udp_may_warn(l))
        log_warn("no server for datagrams", LOG_SLICE("listener", l->name), LOG_SLICE("upstream", u->name),
                 LOG_TEXT("reason", pick_failure_text(why)));
}

struct udp_session *udp_session_begin(struct udp_port *p, const struct udp_key *key, uint64_t hash)
{
    struct listener *l = p->listener;
    struct upstream *u = l->config->upstream;
    enum pick_failure why = server_set_state(u->locals[l->worker->index].set);
    if (why != PICK_OK) {
        udp_say_no_server(l, u, why);
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
    udp_take_up(s);
    if (udp_find_server(s, &why))
        return s;
    udp_say_no_server(l, s->upstream, why);
    udp_count_drop(l, UDP_DROP_NO_SERVER, 1);
    udp_session_end(s);
    return NULL;
}

/* Answers. */

void udp_on_answers(evutil_socket_t fd, short what, void *argument)
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
    udp_leave_server(s, s->answered ? OUTCOME_ANSWERED : OUTCOME_ABANDONED);
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
