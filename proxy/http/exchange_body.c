#include "proxy/http/exchange_internal.h"

void exchange_want_body(struct exchange *x, bool want)
{
    if (x->want_body == want)
        return;
    x->want_body = want;
    x->down_ops->want_body(x, want);
}

void exchange_keep_body(struct exchange *x, const struct iovec *iov, int count_)
{
    if (buffer_append(&x->body, &x->worker->loop.blocks, iov, count_, 0) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    if (x->body.bytes >= EXCHANGE_BODY_KEPT)
        exchange_want_body(x, false);
}

/* The answer is out, and the rest of the request's body is only read to find where the next request begins.
 */
static void drop_body(struct exchange *x, bool end)
{
    x->request_done = end;
    if (!end && x->request_bytes <= x->drop_until)
        return;
    x->keep_alive_ok = x->keep_alive_ok && end;
    x->down_ops->done(x);
}

void exchange_body(struct exchange *x, const struct iovec *iov, int count_, bool end)
{
    if (x->drop_body) {
        for (int i = 0; i < count_; i++)
            x->request_bytes += iov[i].iov_len;
        drop_body(x, end);
        return;
    }
    if (end)
        x->request_done = true;
    uint64_t limit = x->phase == EXCHANGE_TUNNEL ? 0 : exchange_body_limit(x);
    for (int i = 0; i < count_; i++)
        x->request_bytes += iov[i].iov_len;
    if (limit && x->request_bytes > limit) {
        x->termination = TERMINATION_REQUEST_REFUSED;
        exchange_fail(x, 413, "the body is larger than the limit");
        return;
    }
    if (x->responder && x->responder->body)
        x->responder->body(x, iov, count_);
    if (x->phase != EXCHANGE_ENDED)
        exchange_check_done(x);
}

enum conn_spliced exchange_splice_body(struct exchange *x, struct conn *from, uint64_t max, size_t *moved)
{
    *moved = 0;
    if (x->drop_body || !x->responder || !x->responder->splice)
        return SPLICE_NOT;
    enum conn_spliced result = x->responder->splice(x, from, max, moved);
    x->request_bytes += *moved;
    return result;
}

void exchange_resume(struct exchange *x)
{
    if (x->responder && x->responder->resume)
        x->responder->resume(x);
}

void exchange_drain(struct exchange *x)
{
    if (!x->worker->draining || !x->responder || !x->responder->drain)
        return;
    uint64_t bytes = x->response_bytes;
    x->responder->drain(x);
    ASSERT(x->phase != EXCHANGE_ENDED && x->response_bytes == bytes);
}

void exchange_check_done(struct exchange *x)
{
    if (!x->response_done || (x->phase == EXCHANGE_TUNNEL && !x->request_done))
        return;
    if (x->request_done || !x->keep_alive_ok) {
        x->down_ops->done(x);
        return;
    }
    x->drop_body = true;
    x->drop_until = x->request_bytes + EXCHANGE_DROP_MAX;
    exchange_want_body(x, true);
}
