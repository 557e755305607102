/* What the files of conn share: conn.c (a connection's life and its events), conn_read.c, conn_write.c,
 * conn_splice.c, conn_linger.c. */
#pragma once

#include "core/conn.h"

/* Looks at everything that is owed to the handler, after this pass. */
void conn_later(struct conn *c);

/* Asks the loop for the connection's events, if it was not yet. */
void conn_watch_now(struct conn *c);
static inline void conn_watch(struct conn *c)
{
    if (UNLIKELY(!c->watched))
        conn_watch_now(c);
}

/* The socket takes no more: an event will tell when it does. One of a connection that never was full would be
 * for nothing, and come at once: so it is not asked for before. */
void conn_is_full(struct conn *c);

/* failed() will be told after the pass. */
void conn_fail_later(struct conn *c, int error);

/* Likewise, when a write failed: what the peer said before may still be read. */
void conn_write_failed(struct conn *c, int error);

/* Sends what waits, as far as the socket takes it. drained() is told after the pass, or here from an event:
 * never from inside a write. */
void conn_flush(struct conn *c);

/* Sends what waits in the pipe. What is left waits for the next edge: can_write is false then. */
void conn_flush_pipe(struct conn *c);

/* What is in the pipe is lost. */
void conn_drop_pipe(struct conn *c);

/* Lets a last segment go that the kernel holds back because more was said to follow. */
void conn_push(struct conn *c);

#define LOOK_AFTER_MS 100

/* The second look after a short read (see conn_raw_read). */
void conn_on_look(struct timer *t);
