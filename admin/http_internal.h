/* What the files of the small HTTP server share; nobody else includes it.
 *
 *     http_server.c      listening, accepting, how many connections there may be
 *     http_connection.c  reading requests
 *     http_routing.c     who answers: patterns, methods
 *     http_answer.c      answers and streams */
#pragma once

#include "admin/http_server.h"

#define HTTP_CONNECTION_MAGIC 0x41444d43u
#define HTTP_HEAD_MS          10000 /* the whole head, from its first byte; also before a connection's first */
#define HTTP_BODY_MS          30000 /* the whole body */
#define HTTP_IDLE_MS          60000 /* between requests; and an answer must move in that time */
#define HTTP_LINGER_MS        5000

struct http_server {
    struct http_server_options options;
    int fd; /* -1 when closed */
    struct event event;
    struct timer pause;
    struct list link;        /* in options.servers */
    struct list connections; /* who has waited longest for a request comes first */
    unsigned connection_count;
    struct task bury;
};

/* HTTP_HEAD also between requests. */
enum http_state { HTTP_HEAD, HTTP_BODY, HTTP_CHUNKS, HTTP_TRAILERS, HTTP_STREAM, HTTP_ENDING };

struct http_connection {
    uint32_t magic;
    enum http_state state;
    bool keep_alive;
    bool replied;
    bool turn_over; /* a request was answered; what is behind it waits for the next pass */
    struct http_server *server;
    struct conn conn;
    struct http_stream stream;
    struct http_call *call;               /* from a request's first byte to its answer */
    const struct http_endpoint *endpoint; /* of the call, once its head is there */
    char *body;
    size_t body_len, body_size; /* bytes there; bytes allocated */
    size_t scanned;
    uint64_t seen_out; /* bytes that were out when the timer was set */
    struct h1_chunked chunked;
    struct list link;
    struct task bury;
};

/* http_server.c */
void http_connection_close(struct http_connection *h);
/* What was written goes out, then the connection ends. */
void http_connection_finish(struct http_connection *h);
/* The call is over. */
void http_connection_drop_call(struct http_connection *h);
/* It waits for a request from now on. */
void http_connection_waits(struct http_connection *h);
/* Sums over the connections of all servers of the same kind. */
struct http_load {
    size_t connections, streams, bodies, backlog; /* the last two in bytes */
};
struct http_load http_server_load(const struct http_server *s);
/* Of all servers of the same kind; NULL when nobody is behind. */
struct http_connection *http_server_slowest(const struct http_server *s);

/* http_connection.c */
extern const struct conn_handler http_connection_handler;

/* http_routing.c */
/* Sets h->endpoint and the call's arguments; NULL when no endpoint takes it. */
void http_route(struct http_connection *h);
/* 404 or 405. */
void http_answer_without_endpoint(struct http_connection *h);
