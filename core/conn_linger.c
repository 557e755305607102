/* Closing when the peer may still be sending. */
#include "core/conn_internal.h"

static void linger_end(struct conn *c)
{
    conn_close(c);
    c->gone(c);
}

static void linger_readable(struct conn *c)
{
    for (int turns = 0; turns < 16; turns++) {
        ssize_t n = conn_raw_read(c, c->loop->read_buffer, LOOP_READ_BUFFER);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            c->can_read = false;
            c->eof = true;
            if (n < 0 || conn_backlog(c) == 0)
                linger_end(c);
            return;
        }
        if (!c->can_read)
            return;
    }
    conn_yield(c);
}

static void linger_drained(struct conn *c)
{
    if (conn_backlog(c))
        c->draining_told = true;
    else if (c->eof)
        linger_end(c);
    else
        conn_timer(c, c->linger_ms);
}

/* As long as the backlog moves the peer is given time. */
static void linger_timeout(struct conn *c)
{
    if (conn_backlog(c) == 0 || c->bytes_out == c->linger_sent) {
        linger_end(c);
        return;
    }
    c->linger_sent = c->bytes_out;
    conn_timer(c, c->linger_ms);
}

static void linger_failed(struct conn *c, int error)
{
    (void)error;
    linger_end(c);
}

static const struct conn_handler linger_handler = {
    .connected = linger_readable,
    .readable = linger_readable,
    .drained = linger_drained,
    .timeout = linger_timeout,
    .failed = linger_failed,
};

void conn_linger(struct conn *c, msec_t for_ms, void (*gone)(struct conn *))
{
    c->gone = gone;
    if (c->closed) {
        gone(c);
        return;
    }
    conn_shutdown(c);
    conn_keep(c, slice_of(NULL, 0));
    conn_drop_transport(c);
    c->handler = &linger_handler;
    c->linger_ms = for_ms < UINT32_MAX ? (uint32_t)for_ms : UINT32_MAX;
    c->linger_sent = c->bytes_out;
    c->draining_told = true;
    conn_timer(c, for_ms);
    /* The transport's end was not the socket's; and a failure was told to another. */
    c->eof = c->failure_told = false;
    c->want_read = c->can_read = true;
    conn_later(c);
}
