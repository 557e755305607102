/* All servers that active snapshots use, by (upstream, address), and what goes on around them on the control
 * thread: names are resolved (resolve.h), health is checked (health.h). Control thread alone; the servers
 * themselves may be read by everyone (server.h).
 *
 * A snapshot's upstreams attach their servers when they are activated and detach them when the snapshot is
 * replaced (upstream_activate, upstream_deactivate): activate the new one first, so that what is in both
 * never stops. A server that nobody uses any more is retired: its checks end, pools close its idle
 * connections, and it is gone with the last connection or snapshot that holds it. One that discovery takes
 * away is remembered for a while (registry_leave): when it comes back it is the same server, with its health,
 * its weight by hand and its counters. */
#pragma once

#include "balancer/group.h"
#include "balancer/server.h"
#include "balancer/settings.h"
#include "core/loop.h"

#define REGISTRY_KEPT_MS  600000
#define REGISTRY_KEPT_MAX 4096u /* the one that has been gone longest is forgotten */

struct discovery;
struct server_registry;
struct tls_client;

struct registry_options {
    struct loop *loop; /* the control thread's */
    /* A server's health or address changed, or it was retired; may be NULL. On the control thread. */
    void (*on_change)(struct server *s, void *argument);
    void *argument;
    /* `127.0.0.1:5353,…` instead of resolv.conf; NULL = as the system says. */
    const char *dns_servers;
    msec_t resolve_interval; /* 0 = 30 s */
    unsigned tls_worker;     /* which worker's contexts the checks use: see tls_client_connect */
    /* A worker's loop, by its number, with `argument`. NULL: there are no other threads (tests). */
    struct loop *(*worker)(void *argument, unsigned index);
    /* A server's numbers of all workers, with `argument`; NULL: latencies are not compared (outlier.h). */
    void (*totals)(const struct server *s, struct server_totals *out, void *argument);
};

/* NULL when out of memory. Does nothing until servers are attached. */
struct server_registry *registry_create(const struct registry_options *o);
/* Ends every check and look-up at once; before loop_free, after every upstream is deactivated. Servers may be
 * released later. */
void registry_free(struct server_registry *r);

struct server_ids *registry_ids(struct server_registry *r);
/* The control thread's loop, and a worker's; the latter NULL when there are none. */
struct loop *registry_loop(struct server_registry *r);
struct discovery *registry_discovery(struct server_registry *r);
/* At the start, ahead of the loop: waits for names that are looked up, at most so long. */
void registry_settle(struct server_registry *r, msec_t at_most);
bool registry_has_workers(const struct server_registry *r);
struct loop *registry_worker(struct server_registry *r, unsigned index);

/* The server, not held; NULL when no active snapshot has it. */
struct server *registry_find(struct server_registry *r, struct slice upstream, struct slice name);
/* The same, and those that are remembered; with the host that it is called by (empty: as its address says).
 */
struct server *registry_recall(struct server_registry *r, struct slice upstream, struct slice name,
                               struct slice host);

/* How one snapshot uses a server. It, and what it points to, must live until it is detached. */
struct server_use {
    const struct server_settings *settings;
    const struct check_settings *check; /* NULL = none */
    struct tls_client *tls;             /* over which the check goes; NULL = plain */
    int proxy_protocol;                 /* enum upstream_proxy_protocol: what the check sends first */
    int protocol;                       /* enum upstream_protocol: what a check of type http speaks */
    struct list link;                   /* the registry's */
};

/* *s is the caller's reference; when the registry knows the server by another struct already, that one is put
 * there (held) and the other is released. The last use that was attached and not detached counts. 0, or -1
 * when out of memory. */
int registry_attach(struct server_registry *r, struct server **s, struct server_use *use);
void registry_detach(struct server_registry *r, struct server *s, struct server_use *use);
/* Detaches; the server is remembered for REGISTRY_KEPT_MS when that was the last use. */
void registry_leave(struct server_registry *r, struct server *s, struct server_use *use);
/* The settings of one of its uses have changed. */
void registry_refresh(struct server_registry *r, struct server *s);

/* The group of an upstream's servers, not held; made when there is none yet. NULL when out of memory. */
struct server_group *registry_group(struct server_registry *r, struct slice upstream);
/* The settings count for the upstream's group until they are given up; the last ones that were not. Before
 * its servers are attached. 0, or -1 when out of memory. */
int registry_use_group(struct server_registry *r, struct slice upstream, struct group_use *use);
void registry_unuse_group(struct server_registry *r, struct slice upstream, struct group_use *use);

/* How many servers are attached. */
size_t registry_count(const struct server_registry *r);
