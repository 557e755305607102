#include "balancer/discovery_host.h"

#include <stdio.h>
#include <stdlib.h>

static void on_answer(struct host *h, struct host_family *f, const struct resolve_result *r);
static void on_v4(void *argument, const struct resolve_result *r);
static void on_v6(void *argument, const struct resolve_result *r);

struct host *host_create(struct resolver *r, struct slice name, void (*done)(struct host *), void *argument)
{
    struct host *h = calloc(1, sizeof *h + name.len + 1);
    if (!h)
        return NULL;
    h->resolver = r;
    h->done = done;
    h->argument = argument;
    h->families[0].family = AF_INET;
    h->families[1].family = AF_INET6;
    list_init(&h->link);
    memcpy(h->name, name.at, name.len);
    return h;
}

void host_free(struct host *h)
{
    for (size_t i = 0; i < COUNT_OF(h->families); i++) {
        resolve_cancel(h->families[i].query);
        free(h->families[i].at);
    }
    list_remove(&h->link);
    free(h);
}

int host_look_up(struct host *h)
{
    static resolve_done *const done[] = {on_v4, on_v6};
    if (h->pending)
        return 0;
    for (size_t i = 0; i < COUNT_OF(h->families); i++) {
        struct host_family *f = &h->families[i];
        f->told = f->found = false;
        f->query = resolver_ask_addresses(h->resolver, h->name, f->family, done[i], h);
        h->pending += f->query != NULL;
    }
    h->reason[0] = '\0';
    return h->pending ? 0 : -1;
}

static void on_v4(void *argument, const struct resolve_result *r)
{
    struct host *h = argument;
    on_answer(h, &h->families[0], r);
}

static void on_v6(void *argument, const struct resolve_result *r)
{
    struct host *h = argument;
    on_answer(h, &h->families[1], r);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct address));
}

/* Sorted, so that the order of servers does not change with every answer. */
static void take(struct host_family *f, const struct resolve_result *r)
{
    struct address *at = calloc(r->count, sizeof *at);
    if (!at)
        return;
    f->ttl = UINT32_MAX;
    for (size_t i = 0; i < r->count; i++) {
        at[i].len = r->records[i].address.len;
        memcpy(&at[i].any, &r->records[i].address.any, at[i].len);
        f->ttl = r->records[i].ttl < f->ttl ? r->records[i].ttl : f->ttl;
    }
    qsort(at, r->count, sizeof *at, by_bytes);
    free(f->at);
    f->at = at;
    f->count = r->count;
    f->found = true;
}

/* A family of which there is nothing any more goes, but only when the other one is there: a name that is gone
 * altogether keeps its last answer. */
static void conclude(struct host *h)
{
    struct host_family *f = h->families;
    h->found = f[0].found || f[1].found;
    h->ttl = UINT32_MAX;
    for (size_t i = 0; i < COUNT_OF(h->families); i++) {
        if (f[i].found)
            h->ttl = f[i].ttl < h->ttl ? f[i].ttl : h->ttl;
        else if (f[i].told && h->found)
            f[i].count = 0;
    }
    if (h->found)
        h->reason[0] = '\0';
    h->done(h);
}

static void on_answer(struct host *h, struct host_family *f, const struct resolve_result *r)
{
    f->query = NULL;
    f->told = r->told;
    if (r->count)
        take(f, r);
    /* Of two reasons the one that is no server's word is the graver one. */
    else if (!h->reason[0] || !r->told)
        snprintf(h->reason, sizeof h->reason, "%s", r->reason);
    if (--h->pending == 0)
        conclude(h);
}
