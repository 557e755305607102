/* What the search for a request that reaches a route is made of: reach.c (the search), reach_choices.c (the
 * requests that it begins with). */
#pragma once

#include "proxy/lint/reach.h"

#define REACH_ASKED_MAX   200
#define REACH_CHOICES_MAX 16

struct reach_choices {
    struct slice at[REACH_CHOICES_MAX];
    size_t count, most; /* one at first, as one is mostly enough */
};

/* One route's search. It is a proof that nothing reaches the route when every way out was tried: what a
 * request may be was not narrowed to samples where something else might have got past. */
struct reach_search {
    struct lint *l;
    const struct route *route;
    struct reach_result *out;
    struct reach_choices paths, hosts, methods;
    uint64_t seen[REACH_ASKED_MAX]; /* hashes of the requests that were asked */
    unsigned asked;
    bool gave_up, proof;
};

/* What the request may be: at most so many of each kind. */
void reach_make_choices(struct reach_search *s, size_t most);
/* The first of each, with what the route's conditions ask for. False when nothing is known that would do. */
bool reach_make_first(struct reach_search *s, struct probe *t);
/* The listener of that number; NULL when the route is not on it. */
const struct listener_config *reach_listener(const struct reach_search *s, size_t i);
