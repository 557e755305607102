/* A request that is made up for a route, and asked of the router: the example of a warning. A probe is a
 * value: it is copied and changed. Its texts live in the lint's scratch or in the snapshot. */
#pragma once

#include "proxy/lint/internal.h"

#define PROBE_VALUES_MAX 24

struct probe_value {
    enum condition_source source;
    struct slice name, value;
    bool present;
};

struct probe {
    const struct listener_config *listener;
    struct slice method, host, path;
    struct probe_value values[PROBE_VALUES_MAX];
    size_t value_count;
};

/* Sets a header, an argument of the query or a cookie, or takes it away. False when there are too many. */
bool probe_set(struct probe *t, enum condition_source source, struct slice name, struct slice value,
               bool present);
/* Whether it has one; its value in *value. */
bool probe_get(const struct probe *t, enum condition_source source, struct slice name, struct slice *value);

/* As the router sees it, as far as it looks. 0, or -1 when out of memory. */
int probe_view(struct lint *l, const struct probe *t, struct plain_request *out);
/* The whole request, as it would come over the wire. 0; -1 when no such request can be sent. */
int probe_make(struct lint *l, const struct probe *t, struct plain_request *out);

/* Whether the route's own conditions hold. */
bool probe_matches(struct lint *l, const struct plain_request *p, const struct route *r);

/* Whom the router gives it to; NULL = nobody. */
const struct route *probe_find(struct lint *l, const struct plain_request *p);

/* The whole of it as one text, to tell probes apart; in the scratch. */
const char *probe_key(struct lint *l, const struct probe *t);
/* `GET http://a.example:8080/x?y=1`; in the config's arena. */
const char *probe_url(struct lint *l, const struct probe *t);
/* `"GET http://a.example/x" with x-canary: 1`: for words. */
const char *probe_words(struct lint *l, const struct probe *t);
/* `GET http://a.example/x -H 'x-canary: 1'`: what `weir explain` takes. */
const char *probe_example(struct lint *l, const struct probe *t);
