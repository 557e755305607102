#include "proxy/http/forward_internal.h"
#include "proxy/http/forward_request.h"

/* Writes decoded bytes of the body in the request's framing, and what ends it if `last`. */
static void send_body(struct forward *f, const struct iovec *body, int count, bool last)
{
    struct exchange *x = f->x;
    bool chunked = x->request.body == BODY_CHUNKED;
    struct iovec iov[FORWARD_VECTORS + 4];
    char line[H1_CHUNK_LINE];
    uint64_t total = 0;
    int n = 0;
    ASSERT(count <= FORWARD_VECTORS);
    for (int i = 0; i < count; i++)
        total += body[i].iov_len;
    if (total && chunked)
        iov[n++] = (struct iovec){line, h1_chunk_line(total, line)};
    for (int i = 0; i < count; i++)
        if (body[i].iov_len)
            iov[n++] = body[i];
    if (total && chunked)
        iov[n++] = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
    if (chunked && last) {
        struct head_writer w;
        head_init(&w, x->worker->head_buffer, HEAD_BUFFER);
        head_put(&w, S("0\r\n"));
        head_put_fields(&w, &x->trailers, 0);
        head_put(&w, S("\r\n"));
        iov[n++] = head_iovec(&w);
    }
    if (n)
        conn_write(&f->uc->conn, iov, n);
}

/* What had come of the body before there was a connection. */
static void send_kept_body(struct forward *f)
{
    struct exchange *x = f->x;
    struct iovec iov[FORWARD_VECTORS];
    size_t sent = 0;
    while (sent < x->body.bytes) {
        int count = buffer_peek_from(&x->body, sent, iov, FORWARD_VECTORS);
        for (int i = 0; i < count; i++)
            sent += iov[i].iov_len;
        send_body(f, iov, count, sent == x->body.bytes && x->request_done);
    }
    if (sent == 0 && x->request_done)
        send_body(f, iov, 0, true);
}

static void forget_body(struct forward *f)
{
    f->replayable = false;
    buffer_clear(&f->x->body, &f->x->worker->loop.blocks);
}

void forward_send_request(struct forward *f)
{
    struct exchange *x = f->x;
    struct head_writer w;
    head_init(&w, x->worker->head_buffer, HEAD_BUFFER);
    forward_write_head(x, &f->fields, &w);
    if (w.overflow) {
        forward_let_go(f, false);
        exchange_fail(x, 431, "the request's head is too large to be passed on");
        return;
    }
    f->sent = true;
    struct iovec head = head_iovec(&w);
    conn_write(&f->uc->conn, &head, 1);
    if (x->request.body != BODY_NONE) {
        send_kept_body(f);
        if (!method_is_idempotent(x->request.method_id) || x->body.bytes > EXCHANGE_BODY_KEPT)
            forget_body(f);
    }
    f->sending_done = x->request_done;
    forward_watch(f);
    if (!f->sending_done)
        exchange_want_body(x, conn_backlog(&f->uc->conn) < CONN_HIGH_WATER);
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
    for (; count > FORWARD_VECTORS; iov += FORWARD_VECTORS, count -= FORWARD_VECTORS)
        send_body(f, iov, FORWARD_VECTORS, false);
    send_body(f, iov, count, x->request_done);
    f->sending_done = x->request_done;
    forward_watch(f);
    if (!f->sending_done && conn_backlog(&f->uc->conn) >= CONN_HIGH_WATER)
        exchange_want_body(x, false);
}
