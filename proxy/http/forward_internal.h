/* What the files of the upstream responder share among themselves; nobody else includes it.
 *
 *     forward.c          choosing a server, connecting, trying again, ending
 *     forward_request.c  the request as a server sees it
 *     forward_send.c     sending it, and its body
 *     forward_receive.c  taking the response
 *     forward_tunnel.c   an upgraded connection: bytes both ways */
#pragma once

#include "proxy/http/affinity.h"
#include "proxy/http/forward.h"
#include "proxy/http/h1/parse.h"

#define FORWARD_MAGIC        0x46575244u
#define FORWARD_ATTEMPTS_MAX 8
#define FORWARD_VECTORS      48

/* Lives in the exchange's arena. Ends with the exchange, or earlier when both messages are through. */
struct forward {
    uint32_t magic;
    bool sent;                 /* the head is on its way on this connection */
    bool sending_done;         /* and the body's end */
    bool replayable;           /* x->body still holds the whole body from its start */
    bool head_begun;           /* some of a response has come */
    bool head_received;        /* the final one's head */
    bool last_reused;          /* the attempt's connection had been idle before */
    bool server_counted;       /* upstream_done is owed */
    enum outcome_kind outcome; /* of the attempt, so far */
    bool watches_sending;      /* the timer runs for the server to take more of the request */
    struct exchange *x;
    struct upstream *upstream;
    struct affinity affinity;
    struct upstream_conn *uc; /* NULL between attempts */
    struct server *tried[FORWARD_ATTEMPTS_MAX];
    unsigned tried_count;
    unsigned resent; /* attempts after one that had been sent */
    usec_t attempt_us;
    uint64_t progress_out; /* the connection's bytes_out when that timer was set */
    struct fields fields;  /* of the request, as servers see it */
    /* The response. */
    uint16_t status;
    unsigned interim; /* 1xx so far */
    enum body_kind body;
    uint64_t body_left;
    struct h1_chunked chunked;
    size_t scanned;
    struct tunnel *tunnel; /* forward_tunnel.c's; NULL until there is one */
};

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

/* forward.c. Each of these may end the exchange. */

/* Lets go of the connection and the server, and tells the upstream how the attempt went (f->outcome);
 * `reusable`: the connection may go back to the pool. */
void forward_let_go(struct forward *f, bool reusable);
/* The connection ended, or broke, before the response was complete: tries again if that is safe. */
void forward_lost(struct forward *f, const char *reason);
/* Sets the timer for what the server has to do next: take the request, answer it, or go on answering. */
void forward_watch(struct forward *f);
/* The server broke the protocol. */
void forward_bad_response(struct forward *f, const char *reason);

/* forward_send.c */
void forward_send_request(struct forward *f);
void forward_body(struct exchange *x, const struct iovec *iov, int count);

/* forward_receive.c */
void forward_readable(struct conn *c);
void forward_resume(struct exchange *x);

/* forward_tunnel.c: the server has answered 101; `rest` came behind its head. */
void forward_tunnel(struct forward *f, struct http_response *r, struct slice rest);
