/* A request that waits for a server: all that it might have are at max_connections (balancer/queue.h). Its
 * body is kept meanwhile as before any connection, and its client's leaving ends it as ever. */
#include "core/log.h"
#include "proxy/http/forward_internal.h"

static struct forward *forward_of(struct queue_waiter *w)
{
    struct forward *f = CONTAINER_OF(w, struct forward, waiter);
    ASSERT(f->magic == FORWARD_MAGIC);
    return f;
}

/* Servers may have come or gone while it waited. One that belongs to one, or of which attempts are told,
 * stays with them. */
static void look_anew(struct forward *f)
{
    struct exchange *x = f->x;
    unsigned worker = x->worker->index;
    if (x->tries || f->affinity.server)
        return;
    struct server_set *before = x->servers;
    x->servers = upstream_enter(f->upstream, worker);
    upstream_leave(f->upstream, before, worker);
    f->waiter.choice = x->servers;
}

static enum queue_turn turn(struct queue_waiter *w)
{
    struct forward *f = forward_of(w);
    enum pick_failure why = PICK_OK;
    look_anew(f);
    struct server *s = forward_pick(f, &why);
    if (!s && why == PICK_ALL_BUSY)
        return f->tried_count ? QUEUE_PASSED : QUEUE_BUSY;
    queue_leave(w);
    f->next = s;
    if (s)
        forward_attempt(f);
    else
        forward_no_server(f, why);
    return QUEUE_DONE;
}

/* A client of HTTP/1.1 that has shut its side has most likely closed: no place is wasted on it. */
static bool gone(struct queue_waiter *w)
{
    struct forward *f = forward_of(w);
    const struct conn *c = f->x->down_ops->connection(f->x);
    if (!c || !(c->hangup || c->eof))
        return false;
    queue_leave(w);
    f->x->keep_alive_ok = false;
    f->x->termination = TERMINATION_CLIENT_LEFT_WAITING;
    exchange_fail(f->x, 503, "the client ended its side while it waited for a server");
    return true;
}

static void late(struct queue_waiter *w)
{
    struct forward *f = forward_of(w);
    f->x->termination = TERMINATION_QUEUE_TIMEOUT;
    exchange_fail(f->x, 503, "no server had a place in time");
}

bool forward_wait(struct forward *f)
{
    struct exchange *x = f->x;
    if (!f->upstream->queue)
        return false;
    f->sent = false;
    f->waiter.level = (int8_t)x->route->priority;
    f->waiter.choice = x->servers;
    f->waiter.turn = turn;
    f->waiter.gone = gone;
    f->waiter.late = late;
    if (upstream_wait(f->upstream, x->worker->index, &x->worker->loop, &f->waiter))
        return true;
    x->termination = TERMINATION_QUEUE_FULL;
    exchange_fail(x, 503, "the queue for a server is full");
    return true;
}
