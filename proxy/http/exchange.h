/* One request, its response, and everything known of them. Both sides plug into it, and neither knows the
 * other's protocol:
 *
 *     client bytes -> codec (h1 | h2) -> EXCHANGE -> responder (upstream | cache | files | redirect | respond
 * | error)
 *
 * Ownership: made by the client's codec (exchange_create), freed by exchange_end() (after the pass). The
 * exchange owns its responder's state, and cancels it. All runs on one worker.
 *
 * The order of calls, from the codec: exchange_begin() once the head is there, exchange_body() for what
 * follows, exchange_resume() when its backlog is low again, exchange_abort() when the client is gone. From
 * the responder: exchange_inform()* for 1xx, then exchange_respond(), exchange_respond_body()*, the last with
 * `end`; or exchange_fail() at any time. Whatever a call does, it may end the exchange: after it, look at
 * x->phase == EXCHANGE_ENDED before touching more than the exchange's memory (which stays readable until the
 * pass is over). */
#pragma once

#include "core/arena.h"
#include "core/buffer.h"
#include "proxy/http/cache/cache.h"
#include "proxy/http/grpc.h"
#include "proxy/http/message.h"
#include "proxy/http/route.h"
#include "proxy/http/router.h"
#include "proxy/http/template.h"
#include "proxy/http/termination.h"
#include "proxy/listener.h"
#include "proxy/worker.h"

#define EXCHANGE_MAGIC      0x45584348u
#define EXCHANGE_ARENA      6144
#define RESPOND_VECTORS_MAX 60          /* in one call of respond and respond_body */
#define EXCHANGE_BODY_KEPT  (64u << 10) /* of a request body, while it may have to be sent again */

struct exchange;

/* The client's side: what a codec does for the exchange. None of these calls back into the exchange, but that
 * cut and done end it (exchange_end). */
struct downstream_ops {
    /* An interim response (RFC 9110 §15.2). */
    void (*inform)(struct exchange *x, const struct http_response *r);
    /* The head, and the first bytes of the body; `end` when they are the last. r->body says how the body is
     * framed as far as is known: BODY_LENGTH with content_length, BODY_CHUNKED when the length is not known,
     * BODY_NONE. 0, or -1 when the head is larger than a head may be: nothing was sent. */
    int (*respond)(struct exchange *x, const struct http_response *r, const struct iovec *body, int count,
                   bool end);
    void (*respond_body)(struct exchange *x, const struct iovec *body, int count, bool end,
                         const struct fields *trailers);
    /* Sends of a body's bytes what the client takes now, and keeps nothing: the bytes taken, and resume()
     * follows when that is not all; or -1: respond_body() takes them. The end is said by respond_body().
     * NULL = -1. */
    ssize_t (*respond_some)(struct exchange *x, const struct iovec *body, int count);
    /* The same for bytes of a file, which stand still until they are sent; where takes_files() says so. NULL
     * = nowhere. After a head with file_follows it is called at once. */
    bool (*takes_files)(const struct exchange *x);
    size_t (*respond_file)(struct exchange *x, int fd, uint64_t offset, size_t bytes);
    /* The same for bytes of a server's connection (core/conn.h); SPLICE_NOT where they do not go on as they
     * are. NULL = nowhere. */
    enum conn_spliced (*respond_splice)(struct exchange *x, struct conn *from, uint64_t max, size_t *moved);
    bool takes_lines; /* respond() takes a head in lines; the body's length is known */
    /* The response cannot be completed, or not even begun: ends the exchange, and the client must see that it
     * was cut. */
    void (*cut)(struct exchange *x);
    /* No answer came, and weir's own would be made: ends the exchange. NULL = it is made. */
    void (*failed)(struct exchange *x, unsigned status, const char *reason);
    /* Stops or goes on with reading the request's body. */
    void (*want_body)(struct exchange *x, bool want);
    /* Bytes accepted and not yet sent. */
    size_t (*backlog)(const struct exchange *x);
    /* After an answer that upgrades was sent: what is between the two becomes a stream of bytes, which go to
     * exchange_body and come from respond_body. */
    void (*upgrade)(struct exchange *x);
    /* The response's last byte was handed over, and the request is all read or will not be: ends the
     * exchange, and the codec goes on to the next one. */
    void (*done)(struct exchange *x);
    /* The client's connection, for what templates ask of it (TLS, ports); NULL = there is none (any more). */
    const struct conn *(*connection)(const struct exchange *x);
};

/* What answers. `cancel` frees the responder's state whatever it is at; no call after it. Any but start and
 * cancel may be NULL. */
struct responder {
    const char *name;
    /* The route's request steps are done. What of the request's body has come before is in x->body. */
    void (*start)(struct exchange *x);
    /* More of the request's body, or its end (count may be 0 then; x->request_done is set). What cannot be
     * used now goes to exchange_keep_body(). NULL = the body is of no interest and is dropped. */
    void (*body)(struct exchange *x, const struct iovec *iov, int count);
    /* Moves more of the request's body, of known length, from the client's connection to where it goes; its
     * end always comes by body(). NULL = SPLICE_NOT. */
    enum conn_spliced (*splice)(struct exchange *x, struct conn *from, uint64_t max, size_t *moved);
    /* The client takes more again: go on sending. */
    void (*resume)(struct exchange *x);
    /* weir stops, and will cut what is left when the time to drain is over. Says nothing and ends nothing in
     * this call: a connection's streams are being walked. */
    void (*drain)(struct exchange *x);
    void (*cancel)(struct exchange *x);
};

enum exchange_phase {
    EXCHANGE_HEAD,      /* being made */
    EXCHANGE_WAITING,   /* a responder works on it; no byte of the final response yet */
    EXCHANGE_ANSWERING, /* the response's head was sent */
    EXCHANGE_TUNNEL,    /* upgraded: bytes both ways */
    EXCHANGE_ENDED,
};

/* Who ended an exchange that did not end by itself; for logs. */
enum exchange_end {
    END_COMPLETE,
    END_CLIENT_GONE,   /* the client closed or reset before the answer was complete */
    END_SERVER_FAILED, /* the server closed, reset or broke the protocol after the head was sent */
    END_TIMEOUT,
    END_CUT, /* weir stopped */
};

/* One try of a server, for who wants the story later. Times in microseconds from the exchange's start; 0 =
 * it did not come to that. */
struct attempt {
    struct attempt *next;
    const struct server *server;
    const char *reason; /* static text or in the arena: why it failed; NULL = it did not */
    uint32_t started_us, connected_us, sent_us, head_us, ended_us;
    uint32_t tls_us; /* of the time until it was connected: the handshake */
    uint16_t status; /* of the response; 0 = none came */
    uint8_t outcome; /* enum outcome_kind */
    bool reused;     /* the connection */
};

struct exchange {
    uint32_t magic;
    enum exchange_phase phase;
    struct worker *worker;
    struct listener *listener;
    struct snapshot *snapshot; /* held */
    const struct route *route; /* NULL: none, or not yet */
    const struct downstream_ops *down_ops;
    void *down; /* the codec's */
    const struct responder *responder;
    void *responder_state;

    bool request_done;  /* the whole request body has come */
    bool head_sent;     /* of the final response */
    bool response_done; /* the response's end was handed to the codec */
    bool want_body;     /* what the codec was last told */
    bool is_tls;
    bool is_two_way;    /* the answer began before the request's end: both go on, at their own pace */
    bool is_counted;    /* in the in_flight of its route */
    bool was_tunnel;    /* it became a stream of bytes */
    bool drop_body;     /* what still comes of the request's body is not wanted */
    bool keep_alive_ok; /* false: this answer ends the connection (h1), and the request need not be read */
    bool is_fetch;      /* weir's own, for the cache: it is not counted, and no route's edits are made */
    bool is_grpc;       /* by its content-type, over HTTP/2: weir's errors are statuses of gRPC */
    uint8_t protocol;   /* of the client: 10, 11, 20 */

    uint8_t grpc_status;   /* that the client was told; GRPC_STATUS_NONE: none, or none yet */
    uint16_t status;       /* that was sent; 0 = none */
    uint16_t meant_status; /* of an error of weir's own that gRPC carries as a 200; 0 = `status` is meant */
    uint16_t attempts;
    enum exchange_end end;
    uint8_t termination; /* enum termination, where whoever ends it knows better than termination_of() */
    struct attempt *tries, *last_try; /* the responder's, in the arena; the first and the last */
    const char *reason; /* static text: why weir answered an error, or why it ended; NULL = nothing to say */
    uint64_t request_bytes, response_bytes; /* of bodies */
    uint64_t drop_until;                    /* of request_bytes */
    usec_t started_us, upstream_started_us, upstream_head_us;
    struct server *server;        /* that answered, or was tried last; held by `servers` */
    struct server *session;       /* that the request's sticky cookie names; NULL = none */
    struct exchange_cache *cache; /* cache/internal.h; NULL = the route has none */
    struct upstream *upstream;
    struct server_set *servers; /* the upstream's, held until the exchange ends; NULL = not entered */
    const struct http_response
        *response;         /* during exchange_respond, for templates and the access log's hook; else NULL */
    struct buffer body;    /* of the request: come, but not taken by the responder */
    struct timer deadline; /* the route's `timeout`, or what grpc-timeout says */
    usec_t expires_us;     /* when it runs out, of a gRPC request with a grpc-timeout; 0 = of others */
    struct trace *trace;   /* trace.h; NULL = none, or not asked for yet */
    struct arena arena;
    struct list link; /* in the worker's free ones */
    struct task bury;

    /* What the beginning makes, and the answer's way back seldom looks at: that stands before. */
    struct http_request request; /* in the arena */
    struct slice host;           /* normalised: lower case, no port */
    struct slice path;           /* normalised; what was matched, and (after a rewrite) what is sent */
    struct route_match match;
    const struct ip *destination; /* where a PROXY header says that the connection came to; NULL = nothing
                                   * said */
    struct ip peer;               /* of the connection */
    struct ip client;             /* the true one */
    struct slice client_text;
    struct slice request_id;
    struct fields logged;   /* response fields that the access log asked for (copied) */
    struct fields trailers; /* of the request; set before its end is told */
    /* While exchange_begin() runs: what exchange_body() will be given next, if it is known already. A
     * responder may use it at once, and pass over it when it is told. */
    struct iovec at_hand;
    char first[EXCHANGE_ARENA];
};

/* Frees what exchange_end keeps for the next one. At the worker's end. */
void exchange_free_spares(struct worker *w);

/* NULL when out of memory. `request` is to be filled in by the codec (from x->arena). */
struct exchange *exchange_create(struct worker *w, struct listener *l, const struct downstream_ops *ops,
                                 void *down);

/* Codec side. */

/* The request's head is complete: routes it, runs the route's request steps, starts the responder. */
void exchange_begin(struct exchange *x);
/* The head was no good: answers with `status` (what a parser's fault says) and closes. */
void exchange_refuse(struct exchange *x, unsigned status, const char *reason);
/* Decoded bytes of the request's body; count may be 0 with `end`. */
void exchange_body(struct exchange *x, const struct iovec *iov, int count, bool end);
/* As conn_splice(), from the client: what is moved is not given to exchange_body(). */
enum conn_spliced exchange_splice_body(struct exchange *x, struct conn *from, uint64_t max, size_t *moved);
void exchange_resume(struct exchange *x);
/* The worker drains: what would have to be cut in the end may say so before. May be called again. */
void exchange_drain(struct exchange *x);
/* The client is gone. Ends the exchange; the codec must not be called any more. */
void exchange_abort(struct exchange *x, enum exchange_end why);
/* The end in order: counts, logs, frees after the pass. Called by the codec from its done() and cut(). */
void exchange_end(struct exchange *x);

/* For the cache: begins a request of weir's own, whose route is chosen and whose request is filled in. */
void exchange_start(struct exchange *x);
/* Runs the route's action, after all that comes before it. May end the exchange. */
void exchange_act(struct exchange *x);
enum cache_result exchange_cache_result(const struct exchange *x);
/* Makes it the exemplar of a bucket that exemplars_due() says that it is time for. */
void exchange_exemplar(struct exchange *x, struct exemplars *e, unsigned bucket, usec_t value);

/* Responder side. */

void exchange_inform(struct exchange *x, struct http_response *r);
/* r's fields are edited in place (hop-by-hop removed, the route's edits made): they must be the responder's
 * to change. */
void exchange_respond(struct exchange *x, struct http_response *r, const struct iovec *body, int count,
                      bool end);
/* The final response's head may be in lines (r->lines), Date and Via among them: nobody changes its fields,
 * or looks at them. */
bool exchange_takes_lines(const struct exchange *x);
/* The value of Via, for what came by HTTP/1.`minor` or HTTP/2. */
static inline struct slice exchange_via(uint8_t minor, bool is_http2)
{
    return is_http2 ? S("2.0 weir") : minor ? S("1.1 weir") : S("1.0 weir");
}
void exchange_respond_body(struct exchange *x, const struct iovec *body, int count, bool end,
                           const struct fields *trailers);
/* As downstream_ops.respond_some. Of a responder that can give the same bytes again. */
ssize_t exchange_respond_some(struct exchange *x, const struct iovec *body, int count);
/* As downstream_ops.respond_file; of a body whose length was announced. */
bool exchange_takes_files(const struct exchange *x);
size_t exchange_respond_file(struct exchange *x, int fd, uint64_t offset, size_t bytes);
/* As conn_splice(), to the client. The end is said by exchange_respond_body(). */
enum conn_spliced exchange_respond_splice(struct exchange *x, struct conn *from, uint64_t max, size_t *moved);
/* weir's own answer: the route's error page, problem+json or a short page. After the head was sent: the
 * response is cut. */
void exchange_fail(struct exchange *x, unsigned status, const char *reason);
/* A whole answer of weir's own in one call: `type` may be empty. The body must live until the call returns.
 */
void exchange_answer(struct exchange *x, unsigned status, struct slice type, struct slice body,
                     const struct fields *extra);
/* The client's backlog is so high that the responder should wait for resume(). */
static inline bool exchange_blocked(const struct exchange *x)
{
    return x->down_ops->backlog(x) >= CONN_HIGH_WATER;
}
/* Appends to x->body; the client is told to wait when that is more than EXCHANGE_BODY_KEPT. */
void exchange_keep_body(struct exchange *x, const struct iovec *iov, int count);
/* Tells the client's codec to stop or go on sending the request's body; idempotent. */
void exchange_want_body(struct exchange *x, bool want);

/* The largest body that this request may have, in bytes; 0 = no limit. */
uint64_t exchange_body_limit(const struct exchange *x);

/* The longest time between two reads of a body, of either side; of a two-way exchange, and of
 * gRPC, timeouts.idle. */
msec_t exchange_body_timeout(const struct exchange *x);

/* For who counts: the status that weir meant, where what was sent does not say it. */
static inline unsigned exchange_meant_status(const struct exchange *x)
{
    return x->meant_status ? x->meant_status : x->status;
}

/* Values of `${…}`, as template_expand() asks for them; context is the exchange. */
struct slice exchange_variable(void *exchange, const struct template_variable *v);
