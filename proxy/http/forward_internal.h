/* What the files of the upstream responder share among themselves; nobody else includes it.
 *
 *     forward.c          choosing a server, the clock, ending
 *     forward_retry.c    what becomes of an attempt that failed
 *     forward_queue.c    waiting for a server that is not at max_connections
 *     forward_hedge.c    two attempts at once
 *     forward_request.c  the request as a server sees it
 *     forward_send.c     sending it, and keeping its body as long as it may have to be sent again
 *     forward_h1.c       a server that speaks HTTP/1.1: connecting, writing
 *     forward_receive.c  and taking its response
 *     forward_tunnel.c   an upgraded connection: bytes both ways
 *     forward_h2.c       a server that speaks HTTP/2, or of which only ALPN will tell (h2/upstream.h) */
#pragma once

#include "proxy/http/affinity.h"
#include "proxy/http/forward.h"
#include "proxy/http/h1/parse.h"

#define FORWARD_MAGIC        0x46575244u
#define FORWARD_ATTEMPTS_MAX 12
#define FORWARD_VECTORS      48

struct forward;

/* The server's side of an attempt: what a protocol does for it. Nothing here ends the exchange, or calls
 * back. */
struct forward_side {
    /* The head, with what of the body may go in the same write (f->ahead), and the request's end if nothing
     * follows. 0, or -1 when it is larger than a head may be. */
    int (*send_head)(struct forward *f);
    /* Decoded bytes of the body, of at most FORWARD_VECTORS vectors, and its end (with x->trailers) if
     * `last`. */
    void (*send_body)(struct forward *f, const struct iovec *iov, int count, bool last);
    /* Bytes accepted and not yet sent, and a number that grows while they are. */
    size_t (*backlog)(const struct forward *f);
    uint64_t (*progress)(const struct forward *f);
    /* Stops reading the response, and goes on with it. */
    void (*pause)(struct forward *f);
    void (*read_on)(struct forward *f);
    /* forward_timeout() after `delay`; 0 stops the clock. */
    void (*timer)(struct forward *f, msec_t delay);
    /* Lets go of the connection: the response was whole, and it may be used again, or the request is given
     * up. */
    void (*let_go)(struct forward *f, bool reusable);
    /* A request can come back unprocessed, whatever its method: its body is kept for that. */
    bool may_refuse;
};

/* Why the last attempt failed: what the client gets if there is no further one. */
struct forward_failure {
    enum termination as;
    uint16_t status;
    const char *reason; /* static text, or in the exchange's arena */
};

/* Lives in the exchange's arena. Ends with the exchange, or earlier when both messages are through. */
struct forward {
    uint32_t magic;
    bool sent;                 /* the head is on its way on this connection */
    bool sending_done;         /* and the body's end */
    bool replayable;           /* x->body still holds the whole body from its start */
    bool head_begun;           /* some of a response has come */
    bool head_received;        /* the final one's head */
    bool last_reused;          /* the attempt's connection had been idle before */
    bool wants_new;            /* a connection was lost: another idle one may be as dead */
    bool says_nothing;         /* the attempt's end is not the server's fault: it may be asked again */
    bool server_counted;       /* upstream_done is owed */
    bool passes_over;          /* the last server could not be connected to: this attempt is no second one */
    bool hedged;               /* there was a second attempt */
    bool hedge_waits;          /* for `hedge_timer` */
    bool waits;                /* for `backoff` */
    bool paused;               /* the client takes no more of the response: it is not read */
    enum outcome_kind outcome; /* of the attempt, so far */
    bool watches_sending;      /* the timer runs for the server to take more of the request */
    /* What every answer asks for stands together: many requests are under way, and each line of memory is
     * one that the cache has lost since the last event. */
    struct exchange *x;
    struct upstream *upstream;
    const struct forward_side *side; /* NULL between attempts */
    struct upstream_conn *uc;        /* over HTTP/1.1; NULL between attempts */
    struct server *server;           /* of this attempt */
    struct server *next;     /* picked and counted in already, for the attempt to come; NULL = not yet */
    struct forward *twin;    /* the other attempt of a hedged request; NULL = there is none */
    struct attempt *attempt; /* what is told of this one */
    /* The response. */
    uint16_t status;
    unsigned interim; /* 1xx so far */
    enum body_kind body;
    uint64_t body_left;
    size_t scanned;
    usec_t attempt_us;
    struct attempt first_attempt;
    struct h1_chunked chunked;
    /* From here on what an answer that simply comes has little use for. */
    struct fields fields; /* of the request, as servers see it */
    struct affinity affinity;
    struct forward_h2 *h2; /* made with the first attempt that needs it */
    struct forward_failure failure;
    size_t ahead;          /* bytes of the body that went with the head, and are not to be sent once more */
    unsigned resent;       /* attempts after one that had been sent */
    unsigned refused;      /* attempts that the server did not process, and said so */
    usec_t limit_us;       /* retries.timeout runs from here: without what the client took for its body */
    uint64_t progress_out; /* side->progress() when that timer was set */
    struct tunnel *tunnel; /* forward_tunnel.c's; NULL until there is one */
    unsigned tried_count;
    struct queue_waiter waiter; /* its `queue` begins cleared, as all before it; what follows does not */
    struct server *tried[FORWARD_ATTEMPTS_MAX];
    struct timer hedge_timer, backoff;
};

/* So many bytes of it begin cleared. */
#define FORWARD_CLEARED (offsetof(struct forward, waiter.queue) + sizeof(void *))

static inline struct forward *forward_of_conn(struct conn *c)
{
    struct forward *f = upstream_conn_of(c)->user;
    ASSERT(f->magic == FORWARD_MAGIC);
    return f;
}

static inline const struct timeouts *forward_timeouts(const struct exchange *x)
{
    return &x->listener->config->settings->timeouts;
}

static inline uint32_t forward_stamp_of(const struct forward *f, usec_t now_us)
{
    usec_t us = now_us - f->x->started_us;
    return us == 0 ? 1 : us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* Now, as struct attempt tells it. */
static inline uint32_t forward_stamp(const struct forward *f)
{
    return forward_stamp_of(f, loop_now_us(&f->x->worker->loop));
}

/* forward.c. Each of these may end the exchange, but for those that give something. */

/* Out of the upstream's budget, for a retry; false when there is none. */
bool forward_takes_token(const struct forward *f);
/* A server that has not been asked yet, counted in; or, when all have, the last one if its failure says
 * nothing about it. */
struct server *forward_pick(struct forward *f, enum pick_failure *why);
/* Asks the next server. */
void forward_attempt(struct forward *f);
/* There is none, for that reason. */
void forward_no_server(struct forward *f, enum pick_failure why);
/* For connecting, and for the TLS handshake then. */
msec_t forward_connect_time(const struct forward *f);
msec_t forward_handshake_time(const struct forward *f);
/* retries.timeout has passed. */
bool forward_attempt_is_over(const struct forward *f);

/* Lets go of the connection and the server, and tells the upstream how the attempt went (f->outcome);
 * `reusable`: the connection may serve others. */
void forward_let_go(struct forward *f, bool reusable);
/* Sets the timer for what the server has to do next: take the request, answer it, or go on answering. */
void forward_watch(struct forward *f);

/* forward_retry.c. Each of these may end the exchange. */

/* No further attempt: the client gets what the last one's failure says. */
void forward_give_up(struct forward *f);
/* Ends a wait for the next attempt, as the exchange ends. */
void forward_stop_waiting(struct forward *f);
/* There is no connection, so nothing was sent: another server is asked whatever the method. `error` is an
 * errno; `why`, if it is not NULL, says more. */
void forward_unreachable(struct forward *f, int error, const char *why);
/* The connection ended, or broke, before the response was complete: tries again if that is safe. */
void forward_lost(struct forward *f, const char *reason);
/* The server has not processed the request, and said so: tries again, whatever the method. */
void forward_refused(struct forward *f, const char *reason);
/* The timer ran out that forward_watch() set. */
void forward_timeout(struct forward *f);
/* The server broke the protocol. */
void forward_bad_response(struct forward *f, const char *reason);
/* A final head came whose status is one of retries.on: true when another server is asked instead, and the
 * connection was let go of (`reusable`: nothing of the answer is still to come). */
bool forward_answers_again(struct forward *f, const struct http_response *r, bool reusable);

/* forward_queue.c: what there is no server for just now waits until there is; or gets its 503. False when
 * nothing of that was done: the upstream has no queue. */
bool forward_wait(struct forward *f);

/* forward_hedge.c */

/* The request is all sent: a second attempt is made if the answer is late, where the upstream says so. */
void forward_hedge_later(struct forward *f);
void forward_hedge_stop(struct forward *f);
/* This attempt has failed: true when there is another one, whose the request is from now on. */
bool forward_leaves_to_twin(struct forward *f);
/* The final head has come to this one first. */
void forward_wins(struct forward *f);

/* forward_send.c */
void forward_send_request(struct forward *f);
void forward_body(struct exchange *x, const struct iovec *iov, int count);
enum conn_spliced forward_splice(struct exchange *x, struct conn *from, uint64_t max, size_t *moved);

/* forward_h1.c */

/* Takes an idle connection, or makes one. 0, or an errno when there is not even a socket. */
int forward_h1_open(struct forward *f);
/* An idle one alone. */
bool forward_h1_take(struct forward *f);
/* Sends the request on a connection that is open already. */
void forward_h1_adopt(struct forward *f, struct upstream_conn *uc);

/* forward_receive.c */
void forward_readable(struct conn *c);

/* forward_h2.c: likewise. Servers of an `auto` upstream may turn out to speak HTTP/1.1. */
int forward_h2_open(struct forward *f);

/* forward_tunnel.c: the server has answered 101; `rest` came behind its head. */
void forward_tunnel(struct forward *f, struct http_response *r, struct slice rest);
/* Over HTTP/2 it is a 2xx to an extended CONNECT, and what comes is handed over: the end is the call's, too.
 * Both may end the exchange. */
void forward_tunnel_connect(struct forward *f, struct http_response *r);
void forward_tunnel_take(struct forward *f, const struct iovec *iov, int count, bool end);
