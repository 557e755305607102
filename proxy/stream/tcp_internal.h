/* What the files of TCP streams share: tcp.c (a stream's begin and end), tcp_attempt.c (finding it a server),
 * tcp_relay.c (the events of both connections, and passing bytes on). */
#pragma once

#include "proxy/stream/tcp.h"
#include "proxy/worker.h"

#define TCP_MAGIC        0x54435053u
#define TCP_ATTEMPTS_MAX 8

/* Owned by itself, from tcp_accept until tcp_end(). */
struct tcp_stream {
    uint32_t magic;
    bool relaying; /* the server is there */
    bool relayed;  /* a byte has gone one way or the other */
    bool answered; /* the server has sent one */
    bool counted;  /* upstream_done is owed */
    bool client_eof, server_eof;
    bool up_is_bulk, down_is_bulk; /* more came than one read takes: it is spliced */
    bool broke;                    /* the server's connection did */
    bool client_gone;              /* both have ended; the server has not taken all yet */
    unsigned tried_count;
    struct worker *worker;
    struct snapshot *snapshot; /* held: the upstream is its */
    struct upstream *upstream;
    struct server_set *servers; /* held: `server` and those that were tried are its */
    char *server_name; /* that the client asked for, when TLS does not end here; NULL = nothing known */
    struct server *server;
    struct upstream_conn *uc;
    struct server *tried[TCP_ATTEMPTS_MAX];
    struct queue_waiter waiter;
    usec_t attempt_us;
    usec_t active_us; /* the last byte that came, either way */
    uint64_t
        moved; /* bytes on both connections when the clock was set: some may leave without any that come */
    struct client client;
    struct conn conn;
};

static inline struct tcp_stream *tcp_of_client(struct conn *c)
{
    struct tcp_stream *s = CONTAINER_OF(c, struct tcp_stream, conn);
    ASSERT(s->magic == TCP_MAGIC);
    return s;
}

static inline struct tcp_stream *tcp_of_server(struct conn *c)
{
    struct tcp_stream *s = upstream_conn_of(c)->user;
    ASSERT(s->magic == TCP_MAGIC);
    return s;
}

static inline const struct timeouts *tcp_timeouts(const struct tcp_stream *s)
{
    return &s->client.listener->config->settings->timeouts;
}

/* tcp.c */

/* Of both sides at once: by a reset, or with what is sent already. Once. */
void tcp_end(struct tcp_stream *s, bool reset);
/* Each side has said its last word: what is not sent yet still goes out. */
void tcp_both_ended(struct tcp_stream *s);

/* tcp_attempt.c */

/* The next server, or none: then the stream has ended. */
void tcp_attempt(struct tcp_stream *s);
/* The present one could not be reached: the next. */
void tcp_connect_failed(struct tcp_stream *s, int error);
/* Its outcome is told. */
void tcp_tell(struct tcp_stream *s, enum outcome_kind kind);

/* tcp_relay.c */

extern const struct conn_handler tcp_client_handler, tcp_server_handler;
