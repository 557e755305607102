/* HTTP/2 towards servers (RFC 9113), by nghttp2: the requests of many exchanges share few connections of
 * their worker. A connection owns itself; it is listed in the worker's pool under its server, and takes
 * requests while fewer are under way than the server allows. It ends when it was idle for long enough, when
 * its server is retired, when the peer says GOAWAY (its streams may finish), or when it breaks: with requests
 * under way and nothing heard for a while it asks by a PING whether anybody is there.
 *
 * A call is one request on such a connection. It lives in its caller's memory, until it is over: after
 * response() with `end`, unreachable(), refused(), lost(), bad(), speaks_http1(), again(), or
 * h2_call_leave(). Events come from the loop, never from inside one of these functions.
 *
 * Flow control: what is written waits in the call until the server's windows take it, and drained() tells
 * when there is room again. What a paused call has received opens no window; a stream holds at most
 * H2_CALL_WINDOW bytes, all paused ones of a connection little more than H2_CALLS_HELD_MAX. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "balancer/pool.h"
#include "core/arena.h"
#include "proxy/http/h1/parse.h"
#include "proxy/introduce.h"

#define H2_CALL_MAGIC       0x48324341u
#define H2_CALL_WINDOW      (256u << 10)
#define H2_CALLS_WINDOW     (4u << 20) /* of a connection */
#define H2_CALLS_HELD_MAX   (8u << 20)
#define H2_CALLS_UNKNOWN    100u /* wait for one connection, until its server has said how many it allows … */
#define H2_CALLS_MAX        1000u /* … and at most */
#define H2_CALL_HIGH_WATER  (64u << 10)
#define H2_CALL_LOW_WATER   (16u << 10)
#define H2_CALL_VECTORS     24
#define H2_CALL_INTERIM_MAX 100 /* 1xx before one final response */

struct h2_call;
struct h2_server;

struct h2_call_events {
    /* The connection that was waited for is there: h2_call_send(). */
    void (*ready)(struct h2_call *);
    /* ALPN chose HTTP/1.1 (of a call with may_be_http1): the connection is the caller's. */
    void (*speaks_http1)(struct h2_call *, struct upstream_conn *uc);
    /* Likewise, but the connection went to another call: open one anew. */
    void (*again)(struct h2_call *);
    /* No connection, or not one that speaks HTTP/2: nothing was sent. As forward_unreachable(). */
    void (*unreachable)(struct h2_call *, int error, const char *why);
    /* The server has not looked at the request (RFC 9113 §8.7): it may be sent again, whatever it is. */
    void (*refused)(struct h2_call *, const char *reason);
    /* The connection or the stream ended before the response did. */
    void (*lost)(struct h2_call *, const char *reason);
    /* The response is malformed (RFC 9113 §8.1.1). */
    void (*bad)(struct h2_call *, const char *reason);
    /* A 1xx. Must not end the call. */
    void (*interim)(struct h2_call *, struct http_response *r);
    /* What has come: the final head first (NULL when it has been told), bytes of the body, its end. The
     * head's fields are in the call's arena, the bytes are there until this returns. */
    void (*response)(struct h2_call *, struct http_response *head, const struct iovec *body, int count,
                     bool end, const struct fields *trailers);
    /* Written bytes are gone: there is room for more. */
    void (*drained)(struct h2_call *);
};

enum h2_call_fate { H2_CALL_GOES_ON, H2_CALL_REFUSED, H2_CALL_LOST, H2_CALL_BAD };

struct h2_call {
    uint32_t magic;
    /* Set by the caller before h2_call_open(). */
    const struct h2_call_events *events;
    struct arena *arena; /* for the response's heads */
    const struct h1_limits *limits;
    const struct fields *trailers; /* of the request: read when its end is sent; may be NULL */
    enum http_method method;
    bool may_be_http1;
    bool connects; /* an extended CONNECT (RFC 8441): ready() comes when the server's SETTINGS have */

    struct h2_server *connection; /* NULL = over */
    struct list link, due;
    int32_t id;      /* of the stream; 0 = nothing was sent */
    bool opened;     /* on a connection that took it at once */
    bool on_wire;    /* its HEADERS went out */
    bool ready_due;  /* ready() was waited for, and is to be told */
    bool closed;     /* nghttp2 has forgotten the stream */
    bool out_ended;  /* the request's end was written */
    bool deferred;   /* nghttp2 waits for more of the request */
    bool over;       /* the backlog was over the high-water mark */
    bool room;       /* drained() is due */
    bool paused;     /* what comes is not given back to the stream's window */
    bool reset;      /* by the peer */
    bool head_known; /* the final head has come */
    bool head_due;   /* and was not told */
    bool ended;      /* the response's end has come */
    uint8_t fate;    /* enum h2_call_fate */
    uint8_t interim;
    const char *reason; /* static text: of the fate */
    uint32_t head_bytes;
    struct http_response response;
    struct fields response_trailers;
    struct iovec body[H2_CALL_VECTORS];
    int body_count;
    size_t unconsumed;
    struct buffer pending; /* of the request's body */
    uint64_t sent;         /* of it */
};

/* What a connection is made with, where none has room. */
struct h2_open {
    struct pool *pool;
    struct upstream *upstream;
    struct server *server;
    const struct introduction *introduction;
    msec_t connect_ms, handshake_ms, keepalive_ms;
};

/* 1 = on a connection that is open: h2_call_send() now; 0 = ready() will come, or a failure; -errno = not
 * even a socket could be had, and the call is over. */
int h2_call_open(struct h2_call *call, const struct h2_open *o);

/* The request's head, pseudo-header fields first; what it points to is copied. `end`: nothing follows. */
void h2_call_send(struct h2_call *call, const nghttp2_nv *head, size_t count, bool end);
/* More of the body, or its end, with call->trailers. */
void h2_call_write(struct h2_call *call, const struct iovec *iov, int count, bool end);
/* Stops, or goes on, giving windows for the response's body. */
void h2_call_pause(struct h2_call *call, bool pause);
/* Whether the connection has carried a call before this one, and no other beside it. */
bool h2_call_is_on_idle(const struct h2_call *call);
/* It waits for more than the connection that was made for it: for one that another call has made, or for the
 * server's SETTINGS. */
bool h2_call_joins(const struct h2_call *call);
/* The server takes an extended CONNECT (RFC 8441 §3). Known when a call that `connects` is ready. */
bool h2_call_may_connect(const struct h2_call *call);
/* Of no more interest: a stream that is not over is reset. Idempotent. */
void h2_call_leave(struct h2_call *call);
