/* The words of `weir explain`: what a request would meet, and why. Used by the command line on a file, and by
 * the API on the configuration that is served. Nothing is sent. */
#pragma once

#include <stdio.h>

#include "proxy/http/explain.h"
#include "proxy/snapshot.h"

struct explained {
    const struct snapshot *snapshot;
    struct plain_request request;
    const struct listener_config *stream;   /* not NULL: its bytes go on unread, and no route is looked for */
    const struct upstream *stream_upstream; /* whom to; NULL = nobody, it is refused */
    const struct plain_listener *listener;  /* NULL: none serves HTTP; nothing below is set then */
    struct explanation why;
};

struct explain_input {
    struct slice method, url;
    const struct field *headers;
    size_t header_count;
    struct slice client; /* empty: 127.0.0.1 */
};

/* Everything goes to the arena. 0, or -1 with *why (static text): what the caller asked is no request. */
int explain_request(const struct snapshot *s, const struct explain_input *in, struct arena *arena,
                    struct explained *out, const char **why);

/* Text for people. */
void explain_print(const struct explained *e, FILE *out);
/* What is done with it, in a few words: "upstream api", "404, no route matches". */
void explain_print_action(const struct explained *e, FILE *out);
