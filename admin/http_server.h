/* A small HTTP/1.1 server on the control thread's loop: for the admin interface on TCP, and for the control
 * socket, which speaks HTTP too so that `curl --unix-socket` can. It shares the parser with the data path and
 * nothing else: it may be slow, and it is never proxied.
 *
 * A table of endpoints says who answers. As soon as a head is there it is known who would answer, and `guard`
 * is asked: what it refuses, and what no endpoint takes, is answered without a byte of the body being read. A
 * handler runs once the whole request is there and answers before it returns, by http_call_reply() or
 * http_call_stream(). Connections are kept alive; a pipelined request waits for the one before, and for other
 * connections' turn; a client that does not take its answer is read from no more.
 *
 * What clients can make it hold is bounded: connections, by the descriptors of the process too - a new one
 * takes the place of the one that has been idle longest -; the time for a head, a body and an answer that
 * does not move; one body, all bodies, all answers that are not taken yet, a stream's backlog, and streams.
 *
 * Every answer says to browsers that it is not to be stored, guessed at, framed, or embedded by other sites.
 *
 * Ownership: a server owns its listening descriptor and its connections. Closed, it is freed after its last
 * connection. */
#pragma once

#include "core/arena.h"
#include "core/conn.h"
#include "proxy/http/h1/parse.h"

#define HTTP_BODY_MAX        (1u << 20)
#define HTTP_BODIES_MAX      (16u << 20) /* of all connections; past it 503 */
#define HTTP_BACKLOG_MAX     (64u << 20) /* of all connections; past it the one that is furthest behind ends */
#define HTTP_FIELDS_MAX      64u
#define HTTP_ARGUMENTS_MAX   3u
#define HTTP_CONNECTIONS_MAX 512u         /* over all TCP listeners, and as many over the others */
#define HTTP_STREAMS_MAX     128u         /* likewise; past it 503 */
#define HTTP_STREAM_MAX      (256u << 10) /* a stream's backlog; past it the client is too slow and is closed */

struct http_server;
struct http_connection;

/* One request, while its handler runs. */
struct http_call {
    void *context; /* the server's options' */
    bool is_local; /* it came by the control socket */
    struct http_request request;
    struct slice body;
    struct slice arguments[HTTP_ARGUMENTS_MAX]; /* what stood for the pattern's {}, decoded */
    size_t argument_count;
    struct arena arena; /* until the call returns */
    struct http_connection *connection;
    struct field fields[HTTP_FIELDS_MAX];
};

struct http_endpoint {
    const char *method; /* GET is for HEAD too */
    const char *path;   /* `/a/{}/b`: {} is one segment, a {*} at the end is one or more */
    void (*answer)(struct http_call *c);
    unsigned flags; /* the owner's, for `guard` */
};

struct http_server_options {
    struct loop *loop;
    const struct http_endpoint *endpoints;
    size_t endpoint_count;
    void *context;
    bool is_local;
    struct list *servers; /* which the server is in until it is freed */
    /* Asked when a request's head is there and before anything is said of it, also of one that no endpoint
     * has (NULL); its body is not there yet. False: it has answered. May be NULL. */
    bool (*guard)(struct http_call *c, const struct http_endpoint *e);
    /* Answers instead of a handler: 404, 405 (with the head line "Allow: …\r\n"), and what cannot be parsed.
     */
    void (*problem)(struct http_call *c, unsigned status, const char *detail, const char *extra);
};

/* Takes over a listening, non-blocking descriptor. NULL when out of memory (the descriptor is closed). */
struct http_server *http_server_create(const struct http_server_options *o, int fd);
/* Accepts no more; connections end with the answer that they are at, or `now`. The descriptor is closed. */
void http_server_close(struct http_server *s, bool now);
/* Every one in a list of servers, now; the closed ones too, which may still be answering. */
void http_servers_close(struct list *servers);
int http_server_fd(const struct http_server *s);

/* Answers. `type` NULL = no body; `extra`: further head lines, each with its CRLF, or NULL. Nothing is kept.
 */
void http_call_reply(struct http_call *c, unsigned status, const char *type, struct slice body,
                     const char *extra);

/* Answers with an endless body; until the client leaves. */
struct http_stream {
    struct list link; /* in the list that was given */
};
void http_call_stream(struct http_call *c, const char *type, const char *extra, struct list *streams);
void http_stream_send(struct http_stream *s, struct slice text);
void http_stream_close(struct http_stream *s);
/* What of it is not out yet, in bytes. */
size_t http_stream_backlog(const struct http_stream *s);

/* The value of a header field, or {NULL, 0}; the first of several. */
struct slice http_call_field(const struct http_call *c, const char *name);
/* How often the field is there. */
size_t http_call_field_count(const struct http_call *c, const char *name);
/* Whether a body comes, or came. */
bool http_call_has_body(const struct http_call *c);
/* The client's address. 0 or -1. */
int http_call_peer(const struct http_call *c, struct address *out);
