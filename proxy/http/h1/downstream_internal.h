/* What the files of the client's side of HTTP/1.1 share among themselves; nobody else includes it.
 *
 *     downstream.c        a connection's beginning and end, its clock, and what befalls it
 *     downstream_read.c   requests and their bodies
 *     downstream_write.c  responses: what the exchange asks for */
#pragma once

#include "proxy/http/exchange.h"
#include "proxy/http/h1/downstream.h"
#include "proxy/http/h1/parse.h"

#define H1_DOWNSTREAM_MAGIC 0x48314453u
#define LINGER_MS           2000
#define FIRST_REQUEST_MS    1000  /* that a client which has just come is given for its first, at a stop */
#define LINGER_BODY_MS      10000 /* a client that still sends a body gets time to see the answer */

enum request_body { REQUEST_BODY_NONE, REQUEST_BODY_LENGTH, REQUEST_BODY_CHUNKED, REQUEST_BODY_TUNNEL };

/* What the connection's timer runs for. */
enum downstream_clock {
    CLOCK_NONE,    /* the turn is not the client's */
    CLOCK_IDLE,    /* a request, or the handshake */
    CLOCK_HEAD,    /* the rest of a head */
    CLOCK_BODY,    /* more of a body */
    CLOCK_WRITING, /* the client takes what was written */
};

/* Owned by itself: from h1_accept until downstream_hang_up(). */
struct h1_downstream {
    uint32_t magic;
    bool close_after; /* no request after this one */
    bool taking;      /* inside take_input(): a finished exchange does not start the next itself */
    bool head_begun;  /* some of a head has come: its clock runs */
    bool chunked_out; /* the response is sent in chunks */
    bool until_close; /* the response ends with the connection (HTTP/1.0 clients) */
    bool lingering;
    bool used;         /* it has had a request */
    bool last_said;    /* the client's last request said that it is, and had no body */
    bool drain;        /* no request after the next */
    bool stopping;     /* nor is the next waited for as usual */
    uint8_t body_kind; /* enum request_body */
    uint8_t clock;     /* enum downstream_clock */
    struct worker *worker;
    struct exchange *x; /* NULL between requests */
    uint64_t body_left;
    struct h1_chunked chunked;
    size_t scanned;        /* of a head (or trailer section) that comes in pieces */
    uint64_t progress_out; /* conn.bytes_out when CLOCK_WRITING was set */
    uint64_t counted_in, counted_out;
    struct client client;
    struct conn conn;
};

static inline struct h1_downstream *downstream_of_conn(struct conn *c)
{
    struct h1_downstream *d = CONTAINER_OF(c, struct h1_downstream, conn);
    ASSERT(d->magic == H1_DOWNSTREAM_MAGIC);
    return d;
}

static inline struct h1_downstream *downstream_of_exchange(const struct exchange *x)
{
    struct h1_downstream *d = x->down;
    ASSERT(d->magic == H1_DOWNSTREAM_MAGIC);
    return d;
}

static inline const struct timeouts *downstream_timeouts(const struct h1_downstream *d)
{
    return &d->client.listener->config->settings->timeouts;
}

/* The client has so much to take that it gets no further answer: a request behind waits. */
static inline bool downstream_is_full(const struct h1_downstream *d)
{
    return conn_backlog(&d->conn) >= CONN_HIGH_WATER;
}

/* downstream.c */

/* Sets the timer for what the client has to do next. */
void downstream_watch(struct h1_downstream *d);
/* Since the last call, into the listener's counters. */
void downstream_count_bytes(struct h1_downstream *d);
/* Hands the connection over to the h2 codec, with what was read of it. */
void downstream_speaks_h2(struct h1_downstream *d, struct slice in);
/* Closes at once. Nothing may be in progress. */
void downstream_hang_up(struct h1_downstream *d);
/* Closes when what was written is out. The client may still be sending: closing on unread bytes would reset
 * the connection, and with it the answer (RFC 9112 §9.6). */
void downstream_finish(struct h1_downstream *d, msec_t linger_ms);
/* The client is gone. */
void downstream_lost(struct h1_downstream *d);

/* downstream_read.c */

void downstream_readable(struct conn *c);
/* Answers instead of an exchange, and closes. */
void downstream_refuse(struct h1_downstream *d, unsigned status, const char *reason);

/* downstream_write.c */

extern const struct downstream_ops h1_downstream_ops;
