/* Connections to servers: their making and their end. */
#include "balancer/pool_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "tls/client.h"

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
