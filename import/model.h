/* What nginx and haproxy configurations are converted into before it is printed: listeners, routes,
 * upstreams, and tests of the routes, in the order in which the source names them. */
#pragma once

#include "import/report.h"
#include "import/yaml_out.h"

struct import_listener {
    const char *name, *origin; /* origin: FILE:LINE, for the comment above */
    struct yaml_node *body;
    bool tls;
    const char *port; /* of its first bind; NULL = a Unix socket */
    struct import_listener *next;
};

enum import_path { IMPORT_PATH_ANY, IMPORT_PATH_PREFIX, IMPORT_PATH_EXACT, IMPORT_PATH_REGEX };

struct import_route {
    const char *name, *origin;
    struct yaml_node *listeners; /* list of names; empty = all */
    struct yaml_node *hosts;     /* list; empty = any */
    enum import_path kind;
    const char *path;
    struct yaml_node *conditions; /* map: methods, headers, query, cookies */
    struct yaml_node *body;       /* the action and the rest */
    struct import_route *next;
};

struct import_upstream {
    const char *name, *origin;
    struct yaml_node *body;
    struct import_upstream *next;
};

struct import {
    struct arena *arena;
    const char *from; /* "nginx", "haproxy" */
    const char *file;
    struct report report;
    struct yaml_node *top; /* workers, user, log, admin, limits, timeouts, cache */
    struct import_listener *listeners, **last_listener;
    struct import_route *routes, **last_route;
    struct import_upstream *upstreams, **last_upstream;
    struct yaml_node *tests;
};

void import_init(struct import *in, struct arena *a, const char *from, const char *file);

/* Names become letters, digits, `-`, `_` and `.`; a name that is taken gets a number. */
struct import_listener *import_listener(struct import *in, const char *name, const char *origin);
struct import_route *import_route(struct import *in, const char *name, const char *origin);
struct import_upstream *import_upstream(struct import *in, const char *name, const char *origin);

/* Another route has the same match: weir would refuse the two. */
bool import_route_is_taken(const struct import *in, const struct import_route *r);
/* Takes the last route back. */
void import_route_drop(struct import *in, struct import_route *r);

/* A setting that weir has once, at the top (`group` may be NULL). False when another value is there already.
 */
bool import_once(struct import *in, const char *group, const char *key, const char *value);

/* `${…}` in a text that weir takes for a template: a `$` becomes `$$`. */
const char *import_literal(struct arena *a, const char *s);

/* Milliseconds as weir writes a duration. */
const char *import_duration(struct arena *a, long long ms);

/* An address that a route's allow and deny let in: NULL = any, "" = none was found. */
const char *import_client(struct arena *a, const struct yaml_node *body);

/* Adds a test: url without scheme and authority; they are the route's listener's and `host`. */
struct import_test {
    const struct import_listener *listener;
    const char *method, *host, *target, *client;
    struct yaml_node *headers; /* map or NULL */
    const char *route, *upstream, *location, *path;
    int status; /* 0 = not told */
};
void import_test(struct import *in, const struct import_test *t);

/* The whole file. */
void import_emit(const struct import *in, struct text *out);
