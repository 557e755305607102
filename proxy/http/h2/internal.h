/* What the files of the h2 codec share. connection.c: a connection's beginning, reading. connection_end.c:
 * its time, and its end. output.c: writing. request_head.c, stream.c, request.c: from frames to the exchange.
 * response.c, response_head.c, response_frames.c: from the exchange to frames.
 * abuse.c: counting. strict.c: what nghttp2 does not see. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "proxy/http/exchange.h"
#include "proxy/http/h2/abuse.h"
#include "proxy/http/h2/connection.h"
#include "proxy/http/h2/strict.h"

#define H2_CONNECTION_MAGIC 0x48324343u
#define H2_STREAM_MAGIC     0x48325354u

#define H2_STREAMS_MAX         128
#define H2_CONNECTION_WINDOW   (1u << 20)
#define H2_STREAM_WINDOW       65535u
#define H2_GROWN_WINDOW        (4 * H2_STREAM_WINDOW) /* of a stream whose body is taken as it comes */
#define H2_HELD_MAX            (8u << 20) /* of bodies that no responder takes; past it the connection waits */
#define H2_STREAM_HIGH_WATER   (64u << 10)  /* of a response that was not taken yet */
#define H2_FEW_STREAMS         4            /* so few may each have CONN_HIGH_WATER */
#define H2_REST_WAIT_MS        1000         /* for the rest of a request that is answered already … */
#define H2_TUNNEL_REST_WAIT_MS 100          /* where only an END_STREAM is still to come */
#define H2_REST_MAX            (16u << 10)  /* … and how much of it is read */
#define H2_HEAD_KEPT           (8u << 10)   /* memory for a head that an idle connection keeps */
#define H2_GATHER_MAX          (128u << 10) /* of what leaves in one write */
#define H2_LENT_MAX            16
#define H2_LENT_MIN            (4u << 10) /* a smaller piece is gathered */

/* A head (or trailer section) as it is decoded: "name: value" CRLF, line after line, pseudo-header fields
 * too. */
struct h2_line {
    uint32_t at, name_len, value_len;
};
struct h2_head {
    char *bytes;
    struct h2_line *lines;
    uint32_t len, capacity;
    uint32_t count, room;
    uint32_t decoded;  /* bytes of all fields, with those that were not stored */
    const char *fault; /* why it is refused; NULL = it is not */
    uint16_t status;   /* that says so; 0 = a reset */
};

/* A part of a response's body while its responder is on the stack (h2_send_now): where the windows let it, it
 * goes out from where it is. */
struct h2_now {
    struct h2_stream *stream;
    const struct iovec *body;
    int count;
    size_t taken, left; /* of the body */
    unsigned lent_count;
    struct {
        size_t behind; /* so many bytes that were gathered */
        struct iovec bytes;
    } lent[H2_LENT_MAX];
};

enum h2_clock { H2_CLOCK_NONE, H2_CLOCK_IDLE, H2_CLOCK_HEAD, H2_CLOCK_WRITE };

/* Owned by itself, from h2_take_over until h2_hang_up (after the pass). */
struct h2_connection {
    uint32_t magic;
    struct conn *conn; /* in the memory that gone() frees; its owner is this */
    struct client client;
    struct worker *worker;
    void (*gone)(struct conn *);
    nghttp2_session *session;
    struct list streams;
    struct h2_stream *recent; /* the stream that was looked for last; NULL = it is gone */
    struct list resumable;    /* streams whose backlog is low again */
    struct list closed;       /* streams that closed while a responder was on the stack: freed by the flush */
    unsigned stream_count;
    bool in_library;  /* a call of nghttp2's is on the stack */
    bool head_open;   /* a header block has begun and not ended */
    bool half_closed; /* the client says no more; it still gets what it asked for */
    bool lingering;
    bool ending;    /* the session is terminated: what is left is to tell */
    bool calmed;    /* it ends for a flood */
    bool out_full;  /* the last flush stopped because the socket took no more */
    uint8_t goaway; /* 0 none, 1 the notice was sent, 2 the last */
    uint8_t clock;  /* enum h2_clock */
    uint64_t progress_out, counted_in, counted_out;
    size_t held; /* the sum of the streams' `unconsumed` */
    size_t owed; /* received, and not yet given back to the connection's window */
    uint64_t late,
        late_allowed; /* bytes of DATA on streams that weir has reset; what can have been under way */
    struct h2_head head;
    struct h2_abuse abuse;
    struct h2_strict strict;
    struct task flush;
    struct timer goaway_timer;
    struct buffer out;  /* gathered in this pass, for one write */
    struct h2_now *now; /* during h2_send_now */
    bool out_failed;    /* there was no memory for it */
};

/* Made with its HEADERS, freed when nghttp2 closes the stream. The exchange ends before it or with it. */
struct h2_stream {
    uint32_t magic;
    int32_t id;
    struct h2_connection *connection;
    struct exchange *x; /* NULL: not begun, or ended */
    struct list link;
    bool request_done; /* END_STREAM came */
    bool deferred;     /* nghttp2 waits for more of the response */
    bool ended;        /* the response's end was handed over */
    bool end_sent;     /* and sent */
    bool drop_rest;    /* the rest of the request's body is of no use: it is not waited for long */
    bool over;         /* the backlog was over the high-water mark */
    bool closed;       /* nghttp2 knows it no more */
    bool connects;     /* an extended CONNECT (RFC 8441) */
    bool tunnel;       /* that was agreed to */
    bool timed_out;
    bool window_grown;
    bool has_length;
    uint32_t heads_wait; /* that nghttp2 has, and has not sent yet */
    uint32_t dropped;    /* of the rest of the request's body */
    struct list resume;
    struct buffer pending;  /* of the response's body */
    struct buffer early;    /* came before the tunnel was there */
    struct field *trailers; /* of the response: one block of memory */
    uint32_t trailer_count;
    uint64_t sent, progress;
    struct timer timer;
    uint64_t length, received; /* of the request's body: told, and come */
    size_t unconsumed;         /* received, and not yet given back to the window */
    msec_t begun;
};

static inline const struct timeouts *h2_timeouts(const struct h2_connection *c)
{
    return &c->client.listener->config->settings->timeouts;
}

static inline struct h2_connection *h2_connection_of(const struct conn *conn)
{
    struct h2_connection *c = conn->owner;
    ASSERT(c->magic == H2_CONNECTION_MAGIC);
    return c;
}

/* connection.c */

/* One write per pass: gathers and sends what nghttp2 has to say, after the pass's events. */
void h2_flush_later(struct h2_connection *c);
/* Whatever was asked of the session: is there something to say, or is it over? */
void h2_after_call(struct h2_connection *c);

/* connection_end.c */

void h2_set_clock(struct h2_connection *c);
void h2_on_timeout(struct conn *conn);
void h2_on_failed(struct conn *conn, int error);
/* Counts one of that kind; past the limit the connection is told to calm down and ends. */
void h2_count_abuse(struct h2_connection *c, enum h2_abuse_kind kind);
void h2_calm(struct h2_connection *c, enum h2_abuse_kind kind);
/* Into the listener's counters. */
void h2_count_bytes(struct h2_connection *c);
/* Nothing is taken any more; what is left is to tell it. */
void h2_end_session(struct h2_connection *c, uint32_t error);
/* Those that closed while a responder was on the stack. */
void h2_free_closed(struct h2_connection *c, enum exchange_end why);
/* At once. Not from within nghttp2. */
void h2_hang_up(struct h2_connection *c, enum exchange_end why);
/* All is said: closes when it is out. */
void h2_finish(struct h2_connection *c);
/* A client's drain and cut. */
void h2_drain_client(struct client *client, bool close_idle);
void h2_cut_client(struct client *client);
void h2_on_goaway_timer(struct timer *t);

/* output.c: what nghttp2 says is gathered, and leaves in one write at the pass's end. */

/* Takes bytes into what is being gathered for the pass's write. */
void h2_put(struct h2_connection *c, const void *at, size_t len);
/* The socket takes no more for now; but a head that stands in its responder's memory is let through. */
bool h2_is_full(const struct h2_connection *c);
/* Gathers all that nghttp2 has to say, as far as the socket takes it. 0, or -1: it cannot go on. */
int h2_send_all(struct h2_connection *c);
void h2_write_out(struct h2_connection *c);
/* Lets nghttp2 say what it has to say, now->body with it; large pieces of that are written at once. Streams
 * that end by it are freed by the flush. Not from within nghttp2. */
void h2_send_now(struct h2_connection *c, struct h2_now *now);

/* request_head.c: fields as they are decoded (head.h), held against the listener's limits, and a request made
 * of them. */

void h2_request_head_begin(struct h2_connection *c);
void h2_request_head_add(struct h2_connection *c, struct slice name, struct slice value);
void h2_request_head_end(struct h2_connection *c);
/* Makes s->x's request. What is wrong with it, or NULL; *status is what the client gets. */
const char *h2_request_read(struct h2_stream *s, const struct h2_head *h, unsigned *status);

/* stream.c: a stream's life, and what its body does to the windows. */

struct h2_stream *h2_stream_of(struct h2_connection *c, int32_t id);
/* nghttp2 knows it no more. */
void h2_stream_closed(struct h2_stream *s);
/* NULL when out of memory. */
struct h2_stream *h2_stream_create(struct h2_connection *c, int32_t id);
/* Ends what there is of the exchange, and frees the stream. */
void h2_stream_free(struct h2_stream *s, enum exchange_end why);
/* More of the request's body, and its end. */
void h2_stream_data(struct h2_stream *s, const uint8_t *data, size_t len);
void h2_stream_end(struct h2_stream *s);
/* Gives back what was received to the stream's window, and the connection's. */
void h2_consume(struct h2_stream *s);
void h2_reset(struct h2_stream *s, uint32_t error);
/* Its backlog is low again, or it has become a tunnel: what waited for that goes on. */
void h2_resume(struct h2_stream *s);
/* (Re)starts the stream's clock, or stops it when it waits for nobody. */
void h2_stream_clock(struct h2_stream *s);

/* request.c: what nghttp2 tells of frames that came. */

void h2_request_callbacks(nghttp2_session_callbacks *to);
/* DATA (`length` bytes) or HEADERS (0) have come on a stream: when it is gone, nghttp2 passes over them. */
void h2_check_late(struct h2_connection *c, int32_t id, uint32_t length);

/* response.c: what the exchange asks for. */

extern const struct downstream_ops h2_ops;
/* Of s->pending. Few streams get long stretches of their server's answer at once: reading and writing in
 * turns costs. */
size_t h2_high_water(const struct h2_stream *s);

/* response_head.c: heads and trailers as nghttp2 takes them. */

struct h2_response_head {
    nghttp2_nv *at;
    size_t count;
    uint8_t flags; /* of each */
    char status[3], length[20];
    nghttp2_nv few[32];
};
/* Points to x's arena, to r's own memory and to h's; `skip` is of FIELD_BITs. With `at_once` nghttp2 will
 * copy nothing: the head is to be sent (h2_send_now) before any of that is gone. 0, or -1 when out of memory.
 */
int h2_response_head(struct h2_response_head *h, struct exchange *x, const struct http_response *r,
                     uint64_t skip, bool at_once);
size_t h2_response_head_size(const struct h2_response_head *h);
/* In a block of the stream's memory, as the responder's are gone after the call. 0, or -1 when there is none.
 */
int h2_keep_trailers(struct h2_stream *s, const struct fields *f);
int h2_submit_trailers(struct h2_stream *s);

/* response_frames.c: the body, as nghttp2 asks for it, and what it tells of frames that were sent. */

ssize_t h2_read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size, uint32_t *flags,
                     nghttp2_data_source *source, void *user_data);
void h2_response_callbacks(nghttp2_session_callbacks *to);
