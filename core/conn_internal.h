/* What the files of conn share: conn.c (a connection's life and its events), conn_read.c, conn_write.c,
 * conn_linger.c. */
#pragma once

#include "core/conn.h"

/* Looks at everything that is owed to the handler, after this pass. */
void conn_later(struct conn *c);

/* failed() will be told after the pass. */
void conn_fail_later(struct conn *c, int error);

/* Likewise, when a write failed: what the peer said before may still be read. */
void conn_write_failed(struct conn *c, int error);

/* Sends what waits, as far as the socket takes it. drained() is told after the pass, or here from an event:
 * never from inside a write. */
void conn_flush(struct conn *c);

/* The second look after a short read (see conn_raw_read). */
void conn_on_look(struct timer *t);
