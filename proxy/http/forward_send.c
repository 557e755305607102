#include "proxy/http/forward_internal.h"
#include "proxy/http/forward_request.h"
#include "proxy/http/trace.h"
#include "tls/info.h"

/* What had come of the body before there was a connection. */
static void send_kept_body(struct forward *f)
{
    struct exchange *x = f->x;
    struct iovec iov[FORWARD_VECTORS];
    size_t sent = x->body.bytes ? f->ahead : 0;
    while (sent < x->body.bytes) {
        int count = buffer_peek_from(&x->body, sent, iov, FORWARD_VECTORS);
        for (int i = 0; i < count; i++)
            sent += iov[i].iov_len;
        f->side->send_body(f, iov, count, sent == x->body.bytes && x->request_done);
    }
    if (x->body.bytes)
        f->ahead = 0;
    else if (x->request_done)
        f->side->send_body(f, NULL, 0, true);
}

static void forget_body(struct forward *f)
{
    f->replayable = false;
    buffer_clear(&f->x->body, &f->x->worker->loop.blocks);
}

static void all_sent(struct forward *f)
{
    f->attempt->sent_us = forward_stamp(f);
    if (UNLIKELY(f->upstream->settings->hedge != NULL))
        forward_hedge_later(f);
}

/* It is a new one. */
static void note_connection(struct forward *f)
{
    const struct tls_info *tls = f->uc && f->upstream->tls ? tls_info(&f->uc->conn) : NULL;
    f->attempt->connected_us = forward_stamp(f);
    f->attempt->tls_us = tls ? tls->handshake_us : 0;
}

void forward_send_request(struct forward *f)
{
    struct exchange *x = f->x;
    if (x->expires_us)
        forward_put_deadline(x, &f->fields);
    if (UNLIKELY(x->trace != NULL))
        trace_attempt(x, f->attempt);
    if (f->side->send_head(f) != 0) {
        forward_let_go(f, false);
        exchange_fail(x, 431, "the request's head is too large to be passed on");
        return;
    }
    f->sent = true;
    if (!f->last_reused)
        note_connection(f);
    if (x->request.body != BODY_NONE) {
        send_kept_body(f);
        bool once = !method_is_idempotent(x->request.method_id) && !f->side->may_refuse &&
                    x->route->retries.methods == RETRY_IDEMPOTENT;
        if (once || x->body.bytes > EXCHANGE_BODY_KEPT)
            forget_body(f);
    }
    f->sending_done = x->request_done;
    if (f->sending_done)
        all_sent(f);
    forward_watch(f);
    if (!f->sending_done)
        exchange_want_body(x, f->side->backlog(f) < CONN_HIGH_WATER);
}

void forward_body(struct exchange *x, const struct iovec *iov, int count)
{
    struct forward *f = x->responder_state;
    if (!f->sent) {
        exchange_keep_body(x, iov, count);
        return;
    }
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    /* Kept as long as it may have to be sent again: until a response comes, and while it is small. */
    if (f->replayable && !f->head_received && x->body.bytes + bytes <= EXCHANGE_BODY_KEPT) {
        if (buffer_append(&x->body, &x->worker->loop.blocks, iov, count, 0) != 0)
            forget_body(f);
    } else if (f->replayable) {
        forget_body(f);
    }
    if (f->ahead) { /* what was at hand, all of it */
        ASSERT(f->ahead == bytes);
        f->ahead = 0;
        count = 0;
    }
    for (; count > FORWARD_VECTORS; iov += FORWARD_VECTORS, count -= FORWARD_VECTORS)
        f->side->send_body(f, iov, FORWARD_VECTORS, false);
    f->side->send_body(f, iov, count, x->request_done);
    f->sending_done = x->request_done;
    f->limit_us = loop_now_us(&x->worker->loop);
    if (f->sending_done)
        all_sent(f);
    forward_watch(f);
    if (!f->sending_done && f->side->backlog(f) >= CONN_HIGH_WATER)
        exchange_want_body(x, false);
}

/* A body that need not be sent again, to a plain connection. */
enum conn_spliced forward_splice(struct exchange *x, struct conn *from, uint64_t max, size_t *moved)
{
    struct forward *f = x->responder_state;
    if (!f->sent || f->replayable || !f->uc || x->request.body != BODY_LENGTH)
        return SPLICE_NOT;
    enum conn_spliced result = conn_splice(from, &f->uc->conn, max, moved);
    if (*moved)
        f->limit_us = loop_now_us(&x->worker->loop);
    forward_watch(f);
    if (result == SPLICE_FULL)
        exchange_want_body(x, false);
    return result;
}
