/* How long a server keeps idle connections, learned, so that weir closes first: a request on a connection
 * that the server is just closing must be sent again, and one that may not be is lost. Two sources:
 *
 * - what it says: `Keep-Alive: timeout=N` in its answers (RFC 2068 §19.7.1.1). Believed until it has not
 *   been said for KEEPALIVE_TOLD_FOR_US.
 * - what is seen: it ends connections that were idle for a time t. Two ends that are apart from each other,
 * of connections that had been idle for about the same time, tell the limit: a server that stops or restarts
 *   ends all at once, whatever their age. The smaller one counts. Shorter times than KEEPALIVE_LEAST_MS have
 *   other reasons.
 *
 * A limit that was seen is tried now and then, at no risk: a connection that is to be closed stays open up to
 * twice as long, but takes no request. If it lasts, the limit grows.
 *
 * Numbers in struct server, of all workers: they survive reloads. Lost updates are of no weight. Any thread;
 * times are of CLOCK_MONOTONIC. */
#pragma once

#include "balancer/server.h"

#define KEEPALIVE_LEAST_MS    250u
#define KEEPALIVE_MOST_MS     (24u * 3600 * 1000)
#define KEEPALIVE_TOLD_FOR_US UINT64_C(600000000)
#define KEEPALIVE_TRY_US      UINT64_C(30000000) /* from one trial to the next */

/* The server's limit; 0 = nothing is known. */
msec_t keepalive_limit(const struct server *s, usec_t now_us);
/* How long a connection may be idle where at most `wanted` is wished: a tenth less than the limit, at least
 * 50 ms and at most a second. */
msec_t keepalive_time(const struct server *s, msec_t wanted, usec_t now_us);

/* It says so in an answer. */
void keepalive_told(struct server *s, msec_t limit, usec_t now_us);
/* It ended a connection that had been idle for so long. */
void keepalive_ended(struct server *s, msec_t idle, usec_t now_us);
/* A connection has been idle for so long and is to be closed: how long it is to be kept as a trial instead; 0
 * = not at all. */
msec_t keepalive_try(struct server *s, msec_t idle, msec_t wanted, usec_t now_us);
/* A trial is over, and the server has not ended it. */
void keepalive_lasted(struct server *s, msec_t idle, msec_t wanted);
