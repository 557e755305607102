/* The addresses of one host, of both families, as a source keeps them: each family's last answer stays while
 * it is not answered anew. */
#pragma once

#include "balancer/resolve.h"

struct host_family {
    int family;
    struct resolve_query *query;
    struct address *at; /* without ports */
    size_t count;
    uint32_t ttl; /* seconds */
    bool told, found;
};

struct host {
    struct list link; /* its user's */
    struct resolver *resolver;
    struct host_family families[2];
    unsigned pending;
    bool found;      /* the last look-up gave something */
    uint32_t ttl;    /* the least of what it gave */
    char reason[64]; /* why it gave nothing */
    void (*done)(struct host *);
    void *argument;
    char name[];
};

/* NULL when out of memory. */
struct host *host_create(struct resolver *r, struct slice name, void (*done)(struct host *), void *argument);
void host_free(struct host *h);

/* done() is called when both families are through, never from within. A look-up that is under way goes on.
 * 0, or -1 when out of memory. */
int host_look_up(struct host *h);
