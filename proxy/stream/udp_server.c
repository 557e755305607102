/* A session's server: chosen, connected to, left for another one. */
#include <errno.h>
#include <netinet/udp.h>
#include <unistd.h>

#include "balancer/hashing.h"
#include "core/log.h"
#include "proxy/failure_log.h"
#include "proxy/stream/udp_internal.h"

static void tell(struct udp_session *s, enum outcome_kind kind)
{
    usec_t now = loop_now_us(&udp_worker(s)->loop);
    struct outcome o = {.kind = kind, .head_us = s->answer_us, .took_us = now - s->attempt_us, .now_us = now};
    upstream_done(s->upstream, s->servers, udp_worker(s)->index, s->server, &o);
}

void udp_leave_server(struct udp_session *s, enum outcome_kind kind)
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
    event_assign(&s->event, udp_worker(s)->loop.base, fd, EV_READ | EV_PERSIST, udp_on_answers, s);
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
    if (rc != 0 && *own_fault && udp_oldest(l->udp) != s && udp_evict(l))
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
    failure_log(udp_worker(s), "server cannot be reached", s->server, strerror(error));
}

/* The next server that takes it; false when none does. */
bool udp_find_server(struct udp_session *s, enum pick_failure *why)
{
    struct worker *w = udp_worker(s);
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
            if (udp_may_warn(s->client.listener))
                log_warn("no socket for a session", LOG_SLICE("listener", s->client.listener->name),
                         LOG_TEXT("reason", strerror(errno)));
            udp_leave_server(s, OUTCOME_ABANDONED);
            return false;
        }
        count_unreachable(s, errno);
        udp_leave_server(s, OUTCOME_UNREACHABLE);
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
        udp_take_up(s);
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
    udp_leave_server(s, s->answered ? OUTCOME_ANSWERED : OUTCOME_ABANDONED);
    udp_forget_kept(s);
    udp_take_up(s);
    s->tried_count = 0;
    if (udp_find_server(s, &why))
        return true;
    udp_say_no_server(s->client.listener, s->upstream, why);
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
        udp_leave_server(s, OUTCOME_RESET);
        if (!has_datagram) {
            udp_session_end(s);
            return false;
        }
        /* That datagram begins a new one. */
        s->tried[0] = gone;
        s->tried_count = 1;
        udp_take_up(s);
    } else {
        count_unreachable(s, error);
        udp_leave_server(s, OUTCOME_UNREACHABLE);
    }
    while (udp_find_server(s, &why)) {
        if (udp_send_kept(s) == 0)
            return true;
        count_unreachable(s, errno);
        udp_leave_server(s, OUTCOME_UNREACHABLE);
    }
    udp_say_no_server(s->client.listener, s->upstream, why);
    udp_session_end(s);
    return false;
}
