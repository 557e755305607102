#include "balancer/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "balancer/keepalive.h"
#include "tls/client.h"

#define SWEEP_MS        5000
#define SPARE_MS        100 /* idle for less, it is kept though there are too many: the next burst takes it */
#define SLOTS_AT_A_TIME 64u

/* One server's idle connections. */
struct pool_slot {
    struct list link; /* in pool.used while there are any */
    struct list idle; /* the most recently used first */
    struct list listed;
    uint32_t count; /* of idle ones */
    uint32_t limit; /* of them, at rest */
    struct pool_notes notes;
};

static const struct conn_handler idle_handler;

static void on_sweep(struct timer *t);
static void on_spare(struct timer *t);
static void close_idle(struct upstream_conn *uc);
static void retire_listed(struct pool *p, bool all);

void pool_init(struct pool *p, struct loop *l, unsigned worker, struct counters *counters)
{
    *p = (struct pool){.loop = l, .worker = worker, .counters = counters};
    list_init(&p->used);
    timer_init(&p->sweep, on_sweep);
    timer_init(&p->spare, on_spare);
}

void pool_close(struct pool *p)
{
    p->closed = true;
    pool_close_idle(p, NULL);
    retire_listed(p, true);
    loop_timer_clear(p->loop, &p->sweep);
    loop_timer_clear(p->loop, &p->spare);
}

void pool_free(struct pool *p)
{
    for (uint32_t i = 0; i < p->slot_count; i++)
        free(p->slots[i]);
    free(p->slots);
    p->slots = NULL;
    p->slot_count = 0;
}

static struct pool_slot *find_slot(const struct pool *p, const struct server *s)
{
    return s->id < p->slot_count ? p->slots[s->id] : NULL;
}

static struct pool_slot *find_or_make_slot(struct pool *p, const struct server *s)
{
    struct pool_slot *slot = find_slot(p, s);
    if (slot || s->id >= SERVER_ID_MAX)
        return slot;
    if (s->id >= p->slot_count) {
        uint32_t count = (s->id / SLOTS_AT_A_TIME + 1) * SLOTS_AT_A_TIME;
        struct pool_slot **slots = realloc(p->slots, count * sizeof(struct pool_slot *));
        if (!slots)
            return NULL;
        for (uint32_t i = p->slot_count; i < count; i++)
            slots[i] = NULL;
        p->slots = slots;
        p->slot_count = count;
    }
    slot = malloc(sizeof *slot);
    if (!slot)
        return NULL;
    *slot = (struct pool_slot){0};
    list_init(&slot->link);
    list_init(&slot->idle);
    list_init(&slot->listed);
    p->slots[s->id] = slot;
    return slot;
}

/* Into the idle list and out of it. */

static void use_slot(struct pool *p, struct pool_slot *slot)
{
    if (!list_linked(&slot->link))
        list_append(&p->used, &slot->link);
    if (p->idle_count++ == 0)
        loop_timer(p->loop, &p->sweep, SWEEP_MS);
}

static void leave_slot(struct pool *p, struct pool_slot *slot)
{
    if (slot->count == 0 && list_empty(&slot->listed))
        list_remove(&slot->link);
    p->idle_count--;
}

static void put_in(struct pool_slot *slot, struct upstream_conn *uc)
{
    list_prepend(&slot->idle, &uc->link);
    slot->count++;
    use_slot(uc->pool, slot);
    pool_count_idle(uc, true);
}

static void take_out(struct pool_slot *slot, struct upstream_conn *uc)
{
    list_remove(&uc->link);
    slot->count--;
    leave_slot(uc->pool, slot);
    pool_count_idle(uc, false);
}

/* Whether an idle connection still leads where a new one would. */
static bool has_future(const struct upstream_conn *uc)
{
    const struct server *s = uc->server;
    const struct conn *c = &uc->conn;
    return !c->broken && !c->hangup && !c->eof && server_usable(s) &&
           !atomic_load_explicit(&s->retired, memory_order_relaxed) &&
           atomic_load_explicit(&s->address_version, memory_order_relaxed) == uc->address_version;
}

static msec_t idled(const struct upstream_conn *uc)
{
    return (loop_now_us(uc->pool->loop) - uc->since_us) / 1000;
}

/* The server may be closing it now: it was learnt meanwhile how long it keeps them, or the timer is late. */
static bool is_stale(const struct upstream_conn *uc)
{
    return idled(uc) >= keepalive_time(uc->server, uc->keepalive_ms, loop_now_us(uc->pool->loop));
}

struct upstream_conn *pool_take(struct pool *p, struct upstream *u, struct server *s,
                                const struct conn_handler *h, void *user)
{
    struct pool_slot *slot = find_slot(p, s);
    if (!slot || slot->count == 0 || u->settings->proxy_protocol != PROXY_NONE)
        return NULL;
    LIST_EACH_SAFE (node, &slot->idle) {
        struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
        if (uc->on_trial)
            continue;
        if (!has_future(uc) || uc->transport != u->transport || is_stale(uc)) {
            close_idle(uc);
            continue;
        }
        /* Something came that was not looked at yet: it will be, after this pass. */
        if (uc->conn.can_read || uc->conn.transport_pending)
            continue;
        take_out(slot, uc);
        conn_timer_pause(&uc->conn);
        uc->conn.handler = h;
        uc->user = user;
        uc->reused = true;
        uc->idled_ms = idled(uc);
        uc->requests++;
        counter_add(&uc->counters->reused, 1);
        return uc;
    }
    return NULL;
}

/* Making. */

static void count_failure(struct server *s, struct server_counters *c)
{
    counter_add(&c->failed, 1);
    atomic_fetch_add_explicit(&s->connect_failures, 1, memory_order_relaxed);
}

static int connect_to(struct pool *p, struct upstream *u, struct upstream_conn *uc, struct slice alpn,
                      const struct conn_handler *h)
{
    struct address to;
    if (!server_address(uc->server, &to, &uc->address_version)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    if (conn_connect(&uc->conn, p->loop, &to, NULL, h) != 0)
        return -1;
    if (u->tls && tls_client_connect(u->tls, p->worker, &uc->conn, uc->server->host, alpn) != 0) {
        int error = errno;
        conn_close(&uc->conn);
        errno = error;
        return -1;
    }
    return 0;
}

struct upstream_conn *pool_connect(struct pool *p, struct upstream *u, struct server *s,
                                   const struct conn_handler *h, void *user)
{
    return pool_connect_alpn(p, u, s, S(""), h, user);
}

struct upstream_conn *pool_connect_alpn(struct pool *p, struct upstream *u, struct server *s,
                                        struct slice alpn, const struct conn_handler *h, void *user)
{
    struct upstream_conn *uc = calloc(1, sizeof *uc);
    if (!uc)
        return NULL;
    uc->magic = UPSTREAM_CONN_MAGIC;
    uc->requests = 1;
    uc->conn.closed = true;
    uc->transport = u->transport;
    uc->server = s;
    uc->pool = p;
    uc->counters = counters_of(p->counters, s);
    uc->since_us = loop_now_us(p->loop);
    uc->user = user;
    list_init(&uc->link);
    task_init(&uc->bury);
    counter_add(&uc->counters->opened, 1);
    if (connect_to(p, u, uc, alpn, h) != 0) {
        int error = errno;
        count_failure(s, uc->counters);
        /* The transport may have been closed from within: the loop may still look at it in this pass. */
        server_hold(s);
        counter_add(&uc->counters->busy, 1);
        pool_discard(uc);
        errno = error;
        return NULL;
    }
    server_hold(s);
    counter_add(&uc->counters->busy, 1);
    return uc;
}

/* The end. */

static void bury(struct task *t)
{
    struct upstream_conn *uc = CONTAINER_OF(t, struct upstream_conn, bury);
    ASSERT(uc->magic == UPSTREAM_CONN_MAGIC);
    uc->magic = 0;
    server_release(uc->server);
    free(uc);
}

void pool_discard(struct upstream_conn *uc)
{
    ASSERT(uc->magic == UPSTREAM_CONN_MAGIC && uc->pool);
    pool_unlist(uc);
    pool_count_idle(uc, false);
    pool_count_bytes(uc);
    counter_add(&uc->counters->busy, UINT64_MAX);
    conn_close(&uc->conn);
    struct loop *l = uc->pool->loop;
    uc->pool = NULL;
    loop_bury(l, &uc->bury, bury);
}

void pool_fail(struct upstream_conn *uc)
{
    count_failure(uc->server, uc->counters);
    server_address_failed(uc->server, uc->address_version);
    pool_discard(uc);
}

void pool_count_bytes(struct upstream_conn *uc)
{
    counter_add(&uc->counters->bytes_in, uc->conn.bytes_in - uc->bytes_in);
    counter_add(&uc->counters->bytes_out, uc->conn.bytes_out - uc->bytes_out);
    uc->bytes_in = uc->conn.bytes_in;
    uc->bytes_out = uc->conn.bytes_out;
}

/* Giving back. */

/* Bytes that nobody asked for make the next response a lie. A plain socket is asked at once; what TLS has is
 * looked at after the pass, and the connection is not taken before. */
static bool is_clean(struct upstream_conn *uc)
{
    struct conn *c = &uc->conn;
    if (c->closed || c->connecting || c->handshaking || c->shutdown_wanted || conn_backlog(c) ||
        conn_kept(c).len)
        return false;
    if (!c->can_read || c->transport)
        return true;
    char byte;
    if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return false;
    c->can_read = false;
    return true;
}

/* Too many: the oldest make room, as their servers close them first. Where requests come in bursts (the
 * streams of HTTP/2), all are idle for a moment and then in use again. */
static bool close_spare(struct pool_slot *slot)
{
    while (slot->count > slot->limit) {
        struct upstream_conn *oldest = CONTAINER_OF(slot->idle.prev, struct upstream_conn, link);
        if (idled(oldest) < SPARE_MS)
            return false;
        close_idle(oldest);
    }
    return true;
}

static void on_spare(struct timer *t)
{
    struct pool *p = CONTAINER_OF(t, struct pool, spare);
    bool all = true;
    LIST_EACH_SAFE (node, &p->used) {
        all &= close_spare(CONTAINER_OF(node, struct pool_slot, link));
    }
    if (!all)
        loop_timer(p->loop, &p->spare, SPARE_MS);
}

void pool_give(struct pool *p, struct upstream *u, struct upstream_conn *uc, msec_t keepalive_ms)
{
    ASSERT(uc->magic == UPSTREAM_CONN_MAGIC && uc->pool == p && !uc->idle);
    const struct keepalive_settings *k = &u->settings->keepalive;
    struct pool_slot *slot = NULL;
    /* What began with a PROXY header is that client's alone. */
    bool personal = u->settings->proxy_protocol != PROXY_NONE;
    if (!p->closed && !personal && keepalive_ms && k->idle && !(k->requests && uc->requests >= k->requests) &&
        uc->transport == u->transport && has_future(uc) && is_clean(uc))
        slot = find_or_make_slot(p, uc->server);
    if (!slot) {
        pool_discard(uc);
        return;
    }
    pool_count_bytes(uc);
    uc->user = NULL;
    if (uc->told_ms)
        keepalive_told(uc->server, uc->told_ms, loop_now_us(p->loop));
    uc->conn.handler = &idle_handler;
    uc->conn.want_read = true;
    conn_timer(&uc->conn, pool_idle_time(uc, keepalive_ms));
    put_in(slot, uc);
    slot->limit = (uint32_t)k->idle;
    if (slot->count > k->idle) {
        close_spare(slot);
        loop_timer(p->loop, &p->spare, SPARE_MS);
    }
    conn_yield(&uc->conn);
}

/* While idle. */

msec_t pool_idle_time(struct upstream_conn *uc, msec_t keepalive_ms)
{
    uc->since_us = loop_now_us(uc->pool->loop);
    uc->keepalive_ms = keepalive_ms;
    uc->on_trial = false;
    return keepalive_time(uc->server, keepalive_ms, uc->since_us);
}

msec_t pool_idle_over(struct upstream_conn *uc)
{
    usec_t now_us = loop_now_us(uc->pool->loop);
    if (uc->on_trial) {
        keepalive_lasted(uc->server, idled(uc), uc->keepalive_ms);
        return 0;
    }
    msec_t more = has_future(uc) ? keepalive_try(uc->server, idled(uc), uc->keepalive_ms, now_us) : 0;
    uc->on_trial = more != 0;
    return more;
}

void pool_idle_ended(struct upstream_conn *uc)
{
    keepalive_ended(uc->server, idled(uc), loop_now_us(uc->pool->loop));
}

void pool_was_dead(struct upstream_conn *uc)
{
    keepalive_ended(uc->server, uc->idled_ms, loop_now_us(uc->pool->loop));
}

static void close_idle(struct upstream_conn *uc)
{
    const struct conn *c = &uc->conn;
    if (c->eof || c->hangup || c->broken)
        pool_idle_ended(uc);
    take_out(find_slot(uc->pool, uc->server), uc);
    pool_discard(uc);
}

static void idle_readable(struct conn *c)
{
    struct upstream_conn *uc = upstream_conn_of(c);
    struct slice in;
    enum conn_status status = conn_read(c, &in);
    if (status == CONN_AGAIN && in.len == 0)
        return;
    if (status == CONN_ERROR)
        pool_idle_ended(uc);
    close_idle(uc);
}

static void idle_over(struct conn *c)
{
    struct upstream_conn *uc = upstream_conn_of(c);
    msec_t more = pool_idle_over(uc);
    if (more)
        conn_timer(c, more);
    else
        close_idle(uc);
}

static void idle_failed(struct conn *c, int error)
{
    (void)error;
    close_idle(upstream_conn_of(c));
}

static const struct conn_handler idle_handler = {
    .connected = idle_over,
    .readable = idle_readable,
    .timeout = idle_over,
    .failed = idle_failed,
};

static void close_slot(struct pool_slot *slot, bool all)
{
    LIST_EACH_SAFE (node, &slot->idle) {
        struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
        if (all || !has_future(uc))
            close_idle(uc);
    }
}

void pool_close_idle(struct pool *p, struct server *s)
{
    if (s) {
        struct pool_slot *slot = find_slot(p, s);
        if (slot)
            close_slot(slot, true);
        return;
    }
    LIST_EACH_SAFE (node, &p->used) {
        close_slot(CONTAINER_OF(node, struct pool_slot, link), true);
    }
}

/* Those that carry many requests. */

int pool_list(struct upstream_conn *uc, void (*retire)(struct upstream_conn *))
{
    struct pool_slot *slot = find_or_make_slot(uc->pool, uc->server);
    ASSERT(!uc->retire);
    if (!slot)
        return -1;
    uc->retire = retire;
    list_prepend(&slot->listed, &uc->link);
    use_slot(uc->pool, slot);
    return 0;
}

void pool_unlist(struct upstream_conn *uc)
{
    if (!uc->retire)
        return;
    uc->retire = NULL;
    list_remove(&uc->link);
    leave_slot(uc->pool, find_slot(uc->pool, uc->server));
}

struct list *pool_listed(struct pool *p, const struct server *s)
{
    struct pool_slot *slot = find_slot(p, s);
    return slot && !list_empty(&slot->listed) ? &slot->listed : NULL;
}

bool pool_has_future(const struct upstream_conn *uc, const struct upstream *u)
{
    return has_future(uc) && uc->transport == u->transport;
}

void pool_count_idle(struct upstream_conn *uc, bool idle)
{
    if (uc->idle == idle)
        return;
    uc->idle = idle;
    counter_add(&uc->counters->idle, idle ? 1 : UINT64_MAX);
    counter_add(&uc->counters->busy, idle ? UINT64_MAX : 1);
}

struct pool_notes *pool_notes(struct pool *p, const struct server *s)
{
    struct pool_slot *slot = find_or_make_slot(p, s);
    return slot ? &slot->notes : NULL;
}

static void retire_listed(struct pool *p, bool all)
{
    LIST_EACH_SAFE (slot_node, &p->used) {
        struct pool_slot *slot = CONTAINER_OF(slot_node, struct pool_slot, link);
        LIST_EACH_SAFE (node, &slot->listed) {
            struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
            void (*retire)(struct upstream_conn *) = uc->retire;
            if (!all && has_future(uc))
                continue;
            pool_unlist(uc);
            retire(uc);
        }
    }
}

void pool_sweep(struct pool *p)
{
    retire_listed(p, false);
    LIST_EACH_SAFE (node, &p->used) {
        close_slot(CONTAINER_OF(node, struct pool_slot, link), false);
    }
}

static void on_sweep(struct timer *t)
{
    struct pool *p = CONTAINER_OF(t, struct pool, sweep);
    pool_sweep(p);
    if (p->idle_count)
        loop_timer(p->loop, &p->sweep, SWEEP_MS);
}
