/* Texts with variables: `https://${host}${target}`. Compiled when the file is read, expanded per request.
 *
 * `${name}` or `${group.NAME}` is a variable; `$$` is one `$`; a `$` before anything else is itself. (So
 * `$${` gives the text `${`.) A variable that has no value is empty. Where a value comes from is the
 * caller's: the exchange, or a request that `weir explain` made up. */
#pragma once

#include "config/tree.h"

enum template_id {
    TEMPLATE_CLIENT,
    TEMPLATE_CLIENT_PORT,
    TEMPLATE_METHOD,
    TEMPLATE_SCHEME,
    TEMPLATE_HOST,   /* as matched: lower case, no port */
    TEMPLATE_PORT,   /* of the Host, else the scheme's default */
    TEMPLATE_TARGET, /* path and query, as the client sent them: begins with "/" */
    TEMPLATE_PATH,
    TEMPLATE_QUERY,    /* without "?" */
    TEMPLATE_PROTOCOL, /* HTTP/1.1 */
    TEMPLATE_STATUS,
    TEMPLATE_DURATION_MS,
    TEMPLATE_BYTES_IN,
    TEMPLATE_BYTES_OUT,
    TEMPLATE_REQUEST_ID,
    TEMPLATE_ROUTE,
    TEMPLATE_UPSTREAM,
    TEMPLATE_SERVER,
    TEMPLATE_UPSTREAM_MS,
    TEMPLATE_CACHE,
    TEMPLATE_TLS_VERSION,
    TEMPLATE_TLS_CIPHER,
    TEMPLATE_TLS_SNI,
    TEMPLATE_TLS_CLIENT_CN,
    TEMPLATE_HEADER,          /* .NAME */
    TEMPLATE_RESPONSE_HEADER, /* .NAME */
    TEMPLATE_COOKIE,          /* .NAME */
    TEMPLATE_ARG,             /* .NAME: of the query, as it came */
    TEMPLATE_TIME,            /* RFC 3339 */
    TEMPLATE_LISTENER,
    TEMPLATE_GRPC_STATUS, /* a number; empty where none was told */
    TEMPLATE_TERMINATION, /* how it ended: termination.h */
    TEMPLATE_TRACE_ID,    /* 32 digits; with tracing, or where the request brings one */
    TEMPLATE_SPAN_ID,     /* 16 digits, of the request's own span; with tracing alone */
    TEMPLATE_QUEUE_MS,    /* phases: timings.h */
    TEMPLATE_CONNECT_MS,
    TEMPLATE_TLS_MS,
    TEMPLATE_SEND_MS,
    TEMPLATE_FIRST_BYTE_MS,
    TEMPLATE_BODY_MS,
    TEMPLATE_ID_COUNT,
};

/* When a template is expanded. What is not known then is refused when it is compiled. */
enum template_stage {
    TEMPLATE_AT_REQUEST,  /* no status, response header, or what is measured at the end */
    TEMPLATE_AT_RESPONSE, /* everything */
};

struct template_variable {
    enum template_id id;
    uint16_t field_id; /* enum field_id of `name`, for header and response_header */
    struct slice name; /* of header, response_header (lower case), cookie and arg; empty otherwise */
};

struct template_piece {
    struct slice text; /* literal; goes before the variable */
    bool has_variable;
    struct template_variable variable;
};

/* Zeroed: the empty text. */
struct template
{
    struct slice literal; /* the whole text when count is 0 */
    struct template_piece *pieces;
    size_t count;
};

/* Compiles into c's arena; faults at `at` (may be NULL). `text` must live as long as the template. 0 or -1.
 */
int template_compile(struct config *c, const struct config_node *at, struct slice text,
                     enum template_stage stage, struct template *out);

static inline bool template_is_empty(const struct template *t)
{
    return t->count == 0 && t->literal.len == 0;
}

static inline bool template_is_literal(const struct template *t)
{
    return t->count == 0;
}

/* The value of a variable; it must stay until the expansion returns. */
typedef struct slice template_lookup(void *context, const struct template_variable *variable);

/* 0 with *out: the template's own text when it is a literal, one copied variable's value or a text from the
 * arena otherwise. -1 when out of memory. */
int template_expand(const struct template *t, struct arena *arena, template_lookup *lookup, void *context,
                    struct slice *out);

/* The variable's name as it is written, without NAME: "client", "header". */
const char *template_name(enum template_id id);
