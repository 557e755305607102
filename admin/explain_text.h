/* The words of `weir explain`: what a request would meet, and why. Used by the command line on a file, and by
 * the API on the configuration that is served. Nothing is sent. */
#pragma once

#include <stdio.h>

#include "proxy/http/explain.h"
#include "proxy/snapshot.h"

struct cache_store;

/* What the URL says that is spoken. */
enum explained_scheme { EXPLAIN_HTTP, EXPLAIN_TCP, EXPLAIN_TLS, EXPLAIN_UDP };

struct explained {
    const struct snapshot *snapshot;
    struct cache_store *cache; /* of the running process; NULL = of a file */
    enum explained_scheme scheme;
    struct slice url; /* as it was asked for */
    struct plain_request request;
    const struct listener_config *stream;   /* not NULL: its bytes go on unread, and no route is looked for */
    const struct upstream *stream_upstream; /* whom to; NULL = nobody, it is refused */
    bool no_stream;                         /* a stream was asked about, and no listener is for it */
    const struct plain_listener *listener;  /* NULL: none serves HTTP; nothing below is set then */
    struct explanation why;
};

struct explain_input {
    struct slice method, url;
    const struct field *headers;
    size_t header_count;
    struct slice client;   /* who connects; empty: 127.0.0.1 */
    struct slice listener; /* name; empty: the one that the URL leads to */
    struct slice sni;      /* that the connection was made for; empty: the URL's host */
    struct cache_store *cache;
};

/* Everything goes to the arena. 0, or -1 with *why (static text): what the caller asked is no request. */
int explain_request(const struct snapshot *s, const struct explain_input *in, struct arena *arena,
                    struct explained *out, const char **why);

/* Every listener in a line: why it is the one, or why it is not. The text is in the arena. */
const char *explain_listener_reason(const struct explained *e, const struct listener_config *l,
                                    struct arena *a);
bool explain_is_listener(const struct explained *e, const struct listener_config *l);

/* Who decides about the client's address, "deny 10.0.0.0/8 (weir.yaml:9)"; NULL = nobody. In the arena. */
const char *explain_access(const struct explained *e, struct arena *a);

/* Text for people. */
void explain_print(const struct explained *e, FILE *out);
/* What is done with it, in a few words: "upstream api", "404, no route matches". */
void explain_print_action(const struct explained *e, FILE *out);
