/* What the files of HTTP/2 towards servers share. upstream_open.c: finding a connection, or making one.
 * upstream.c: reading, writing, and the end. upstream_call.c: its calls, and what is said of them.
 * upstream_frames.c: what nghttp2 tells. */
#pragma once

#include "proxy/http/h2/abuse.h"
#include "proxy/http/h2/head.h"
#include "proxy/http/h2/upstream.h"

#define H2_SERVER_MAGIC 0x48325356u

enum h2_server_clock {
    H2_SERVER_CONNECTING,
    H2_SERVER_IDLE,
    H2_SERVER_BUSY,   /* something is to be heard until then */
    H2_SERVER_PINGED, /* at least the PING's answer */
    H2_SERVER_ALIVE,  /* it has answered: the next PING is far off */
};

/* Owned by itself, until h2_server_end() (after the pass). */
struct h2_server {
    uint32_t magic;
    struct upstream_conn *uc; /* owned; NULL when it was given away or closed */
    struct pool *pool;
    struct loop *loop;
    nghttp2_session *session; /* NULL while connecting */
    struct list waiting;      /* calls, until it is open */
    struct list calls;        /* with a stream, or about to have one */
    struct list due;          /* of which something is to be told */
    unsigned call_count;      /* of both lists */
    uint32_t limit;           /* for it … */
    uint32_t allowed;         /* … and what the server's SETTINGS say, or said last time; 0 = not known */
    uint64_t requests_max;    /* keepalive.requests; 0 = no limit */
    uint64_t requests;
    msec_t keepalive_ms; /* 0 = it is not kept */
    bool must_be_http2;
    bool personal; /* for one call alone */
    bool shared;   /* listed, for others to find */
    bool draining; /* takes no more calls */
    bool in_library;
    bool input_paused; /* a call's vectors are full */
    bool settings_seen;
    bool begun;                 /* a call was sent on it */
    bool over;                  /* h2_server_end() was called */
    bool out_full;              /* the last flush stopped because the socket took no more */
    uint8_t clock;              /* enum h2_server_clock */
    const char *doomed;         /* it is to end, and why: from within nghttp2, where it cannot be closed */
    uint64_t heard, heard_mark; /* frames but the answers to PINGs */
    uint64_t bytes_mark;
    size_t held; /* the sum of the calls' `unconsumed` */
    size_t owed; /* received, and not yet given back to the connection's window */
    struct h2_head head;
    struct h2_abuse abuse;
    struct task flush;
    char *out; /* during a flush: the loop's buffer */
    size_t out_len;
};

static inline struct h2_call *h2_call_of(struct h2_server *c, int32_t id)
{
    struct h2_call *call = nghttp2_session_get_stream_user_data(c->session, id);
    ASSERT(!call || call->magic == H2_CALL_MAGIC);
    return call;
}

static inline struct h2_server *h2_server_of(struct conn *conn)
{
    struct h2_server *c = upstream_conn_of(conn)->user;
    ASSERT(c->magic == H2_SERVER_MAGIC);
    return c;
}

static inline struct h2_call *h2_server_first(struct list *calls)
{
    return list_empty(calls) ? NULL : CONTAINER_OF(calls->next, struct h2_call, link);
}

/* upstream_open.c */

/* A connection with room, or a new one. NULL with errno. */
struct h2_server *h2_server_find(const struct h2_open *o, bool may_be_http1);
void h2_server_connected(struct conn *conn);
/* `why` goes with the connection; NULL = `error` says it. */
void h2_server_fail_to_connect(struct h2_server *c, int error, const char *why);
/* Calls that have waited long enough are due to be told. */
void h2_server_open_calls(struct h2_server *c);

/* upstream.c */

extern const struct conn_handler h2_server_handler;
void h2_server_set_clock(struct h2_server *c, enum h2_server_clock clock);
/* The pool's word: it has no future. */
void h2_server_retire(struct upstream_conn *uc);
/* Closes, and tells the calls that are left; `reason` is for them. May be called when the connection was
 * given away or closed before. */
void h2_server_lose(struct h2_server *c, const char *reason);
/* Writes, and tells what is due, after the pass's events. */
void h2_server_flush_later(struct h2_server *c);
void h2_server_put(struct h2_server *c, const char *at, size_t n);
bool h2_server_is_full(const struct h2_server *c);
/* No more calls; it ends with the last. */
void h2_server_drain(struct h2_server *c);
/* A call was put on it, or is off it. */
void h2_server_called(struct h2_server *c);

/* upstream_call.c */

/* There is nothing more to wait for before it is sent. Until a server has said how many requests it allows at
 * once, it gets one. */
static inline bool h2_call_is_ready(const struct h2_call *call, const struct h2_server *c)
{
    return c->session && (c->settings_seen || (!call->connects && (c->allowed || !c->begun)));
}

void h2_call_attach(struct h2_call *call, struct h2_server *c);
void h2_call_detach(struct h2_call *call);
/* Something is to be told of it. */
void h2_call_is_due(struct h2_call *call);
void h2_call_set_fate(struct h2_call *call, enum h2_call_fate fate, const char *reason);
/* Tells all that is due. The connection may be over afterwards. */
void h2_calls_tell(struct h2_server *c);
/* Gives back to the connection's window what may be. */
void h2_calls_give_back(struct h2_server *c);
void h2_call_callbacks(nghttp2_session_callbacks *to);

/* upstream_frames.c */

void h2_server_callbacks(nghttp2_session_callbacks *to);
