/* What a route asks of a request besides host and path: `headers`, `query` and `cookies`.
 *
 *   x-canary: "1"                 the value is exactly that
 *   x-canary: {regex: "^[a-m]"}   the value matches
 *   x-canary: {present: true}     it is there, with any value; false: it is not there
 *
 * Of a name that comes several times the first counts (header names without case; names of arguments and
 * cookies as written). Arguments and cookies are compared as they came: nothing is decoded. `?debug`,
 * `?debug=` are both there, and empty. */
#pragma once

#include "config/option.h"
#include "proxy/http/message.h"
#include "proxy/http/regex.h"

enum condition_source { CONDITION_HEADER, CONDITION_QUERY, CONDITION_COOKIE };
enum condition_kind { CONDITION_EXACT, CONDITION_REGEX, CONDITION_PRESENT, CONDITION_ABSENT };

struct condition {
    enum condition_source source;
    enum condition_kind kind;
    uint16_t field_id; /* of a header */
    struct slice name;
    struct slice value;  /* exact value, or the pattern's text */
    struct regex *regex; /* owned; NULL but for CONDITION_REGEX */
    const struct config_node *node;
};

struct conditions {
    struct condition *at;
    size_t count;
};

/* Reads three maps (each may be NULL) into c's arena. 0, or -1 with faults. */
int conditions_compile(struct config *c, const struct config_node *headers, const struct config_node *query,
                       const struct config_node *cookies, struct conditions *out);
void conditions_free(struct conditions *s);

/* The first condition that does not hold, or NULL. */
const struct condition *conditions_fail(const struct conditions *s, const struct http_request *request,
                                        struct regex_scratch *scratch);

/* No request meets both: one name is asked for with two values, or to be there and not to be. Two patterns,
 * different ones, are taken to exclude each other; a request that meets both goes to the route that is
 * earlier in the file. */
bool conditions_exclude(const struct conditions *a, const struct conditions *b,
                        struct regex_scratch *scratch);

/* The first value of an argument in a query, of a cookie in all Cookie fields. False when it is not there. */
bool query_value(struct slice query, struct slice name, struct slice *value);
bool cookie_value(const struct fields *fields, struct slice name, struct slice *value);

/* `header x-canary`, for messages; in the arena. */
const char *condition_name(struct arena *arena, const struct condition *s);
