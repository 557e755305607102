/* What the registry's files share: registry.c (attaching and leaving), registry_table.c (the servers by name,
 * and those that are remembered), registry_groups.c (the groups of upstreams, and their ticks). */
#pragma once

#include "balancer/health.h"
#include "balancer/registry.h"
#include "balancer/resolve.h"

/* A server that is attached. */
struct registry_member {
    struct registry_member *next; /* in its bucket */
    uint64_t hash;
    struct server *server; /* held */
    struct list uses;      /* of struct server_use; the last one counts */
    struct checker *checker;
    struct resolve_name *name;
    struct list kept; /* among those that are remembered: nobody uses it */
    msec_t kept_at;
    struct attempt_counts past; /* while it is kept: its part of the group's */
};

#define REGISTRY_GROUP_BUCKETS 64u

struct server_registry {
    struct registry_options options;
    struct server_ids *ids;
    struct resolver *resolver; /* made with the first name */
    struct checks checks;
    struct registry_member **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;        /* attached ones */
    struct discovery *discovery;
    struct list kept; /* the one that has been gone longest first */
    size_t kept_count;
    struct timer kept_timer;
    struct server_group *groups[REGISTRY_GROUP_BUCKETS]; /* by name; each as long as the registry */
    struct timer tick;                                   /* runs while a group is watched */
};

/* registry.c */

/* Something of it has changed. */
void registry_tell(struct server_registry *r, struct server *s);

/* registry_table.c */

uint64_t registry_hash(struct slice upstream, struct slice name);
/* Attached or remembered. Without `host`: whichever host it is called by. */
struct registry_member *registry_member(struct server_registry *r, struct slice upstream, struct slice name,
                                        struct slice host);
/* NULL when out of memory. */
struct registry_member *registry_add(struct server_registry *r, struct server *s);
/* It is used, for the first time or again. */
void registry_revive(struct server_registry *r, struct registry_member *m);
/* Nobody uses it any more: it may be remembered. */
void registry_retire(struct server_registry *r, struct registry_member *m);
void registry_forget(struct server_registry *r, struct registry_member *m);

/* registry_groups.c */

void registry_on_tick(struct timer *t);
void registry_free_groups(struct server_registry *r);
