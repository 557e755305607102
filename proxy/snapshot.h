/* One configuration, compiled: what workers look at. Immutable once published.
 *
 * Built whole and checked whole on the control thread, then handed to every worker by a letter. Held by each
 * worker that uses it (its current one, and one hold for each open exchange or stream that began under it);
 * the counts are per worker and not shared, so that taking a hold costs nothing. When the last worker has let
 * go, the control thread frees it. */
#pragma once

#include "balancer/upstream.h"
#include "core/loop.h"
#include "proxy/http/h1/parse.h"
#include "proxy/http/router.h"
#include "proxy/names.h"
#include "proxy/settings.h"
#include "proxy/stats.h"
#include "tls/server.h"

struct snapshot;

/* A listener of the configuration. */
struct listener_config {
    struct slice name;
    unsigned slot; /* index in the snapshot's listeners, for the router */
    enum listener_protocol protocol;
    const struct listener_settings *settings;
    struct address *addresses; /* where it listens, each once in the whole file */
    size_t address_count;
    struct tls_server *tls;     /* NULL = plain; owned */
    struct upstream *upstream;  /* tcp, udp */
    struct server_names *names; /* `sni` or `passthrough`; NULL = none; owned */
    struct h1_limits head_limits;
    struct cidr_set trusted;
    struct listener_stats *stats;
    void *access; /* the access log of this listener (admin's); NULL = none */
    void (*access_free)(void *access);
};

struct snapshot_hold {
    uint64_t count;
    struct letter letter; /* to the control thread: this worker has let go */
    struct snapshot *snapshot;
} __attribute__((aligned(64)));

struct snapshot {
    uint64_t generation;
    struct config config; /* owns the tree and every setting */
    struct settings settings;
    struct listener_config *listeners;
    size_t listener_count;
    struct route *routes;
    size_t route_count;
    struct router *router;
    const struct tracing_settings
        *tracing; /* NULL = none; beside the router, as each request asks for both */
    struct upstream **upstreams;
    size_t upstream_count;
    uint32_t *route_stats_ids; /* by route index */
    char *file;                /* that it was read from */
    int64_t loaded_at_us;      /* wall clock */
    size_t tests_passed;
    /* The holds. */
    struct snapshot_hold *holds; /* by worker; NULL for one that is never published */
    unsigned workers;
    unsigned holding; /* workers that have not let go; control thread */
    struct loop *control;
    void (*released)(struct snapshot *); /* on the control thread, when the last has let go */
};

/* What building needs of the running process; all NULL or 0 for `weir check`. */
struct snapshot_context {
    unsigned workers;
    struct server_registry *servers;
    struct tls_tickets *tickets;
    struct stats *stats;
    struct loop *control;
    /* The access log of a listener: checks, and opens when `dry` is false; -1 after a fault. May be NULL. */
    int (*access)(void *argument, struct config *c, const struct access_settings *s, bool dry, void **out);
    void (*access_free)(void *access);
    void *argument;
    /* As in struct config; NULL = neither. */
    struct config_source *keep;
    const struct config_source *kept;
    bool dry;  /* check only: nothing live is touched, no log opened */
    bool lint; /* look for what is valid but hardly meant (proxy/lint/lint.h): the warnings */
};

/* Always gives a snapshot (NULL only when out of memory): with config.error_count != 0 it may only be looked
 * at for its errors and freed. */
struct snapshot *snapshot_build(const char *path, const struct snapshot_context *context);

/* Frees one that is not published, or that everybody has let go. Control thread. */
void snapshot_free(struct snapshot *s);

/* Makes it ready to be held by every worker, each of which holds it once from the letter that brings it
 * (worker_apply) until it goes over to a newer one. `released` is called on the control thread when the last
 * hold is gone. 0, or -1. */
int snapshot_publish(struct snapshot *s, void (*released)(struct snapshot *));

/* On a worker's thread. */
static inline void snapshot_hold(struct snapshot *s, unsigned worker)
{
    s->holds[worker].count++;
}
void snapshot_release(struct snapshot *s, unsigned worker);

const struct listener_config *snapshot_listener(const struct snapshot *s, struct slice name);
struct upstream *snapshot_upstream(const struct snapshot *s, struct slice name);

/* The HTTP listeners as `explain` and `tests:` choose among them; in the arena. NULL in *out when out of
 * memory. */
struct plain_listener;
size_t snapshot_plain_listeners(const struct snapshot *s, struct arena *a, struct plain_listener **out);
