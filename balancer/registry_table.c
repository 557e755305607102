/* The servers of the registry by upstream and name. */
#include <stdlib.h>

#include "balancer/counters.h"
#include "balancer/registry_internal.h"

/* FNV-1a. */
uint64_t registry_hash(struct slice upstream, struct slice name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const struct slice parts[] = {upstream, name};
    for (size_t p = 0; p < COUNT_OF(parts); p++) {
        for (size_t i = 0; i < parts[p].len; i++)
            hash = (hash ^ (unsigned char)parts[p].at[i]) * UINT64_C(0x100000001b3);
        hash = (hash ^ 0xff) * UINT64_C(0x100000001b3);
    }
    return hash ^ hash >> 32;
}

struct registry_member *registry_member(struct server_registry *r, struct slice upstream, struct slice name,
                                        struct slice host)
{
    uint64_t hash = registry_hash(upstream, name);
    struct registry_member *m = r->buckets[hash & (r->bucket_count - 1)];
    while (m && !(m->hash == hash && slice_equal(m->server->name, name) &&
                  slice_equal(m->server->upstream, upstream) &&
                  (host.len == 0 || slice_equal(m->server->host, host))))
        m = m->next;
    return m;
}

static void put(struct registry_member **buckets, size_t bucket_count, struct registry_member *m)
{
    struct registry_member **bucket = &buckets[m->hash & (bucket_count - 1)];
    m->next = *bucket;
    *bucket = m;
}

/* When there is no memory for more buckets, chains grow. */
static void grow(struct server_registry *r)
{
    size_t count = r->bucket_count * 2;
    struct registry_member **buckets = calloc(count, sizeof(struct registry_member *));
    if (!buckets)
        return;
    for (size_t i = 0; i < r->bucket_count; i++) {
        for (struct registry_member *m = r->buckets[i], *next; m; m = next) {
            next = m->next;
            put(buckets, count, m);
        }
    }
    free(r->buckets);
    r->buckets = buckets;
    r->bucket_count = count;
}

struct registry_member *registry_add(struct server_registry *r, struct server *s)
{
    struct registry_member *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->hash = registry_hash(s->upstream, s->name);
    m->server = server_hold(s);
    list_init(&m->uses);
    list_init(&m->kept);
    if (r->count + r->kept_count >= r->bucket_count)
        grow(r);
    put(r->buckets, r->bucket_count, m);
    return m;
}

void registry_revive(struct server_registry *r, struct registry_member *m)
{
    r->count++;
    if (!list_linked(&m->kept))
        return;
    list_remove(&m->kept);
    r->kept_count--;
    struct server_group *g = m->server->group;
    if (!g)
        return;
    g->past.retries -= m->past.retries;
    g->past.hedges -= m->past.hedges;
    g->past.hedges_won -= m->past.hedges_won;
}

/* What it did stays in its upstream's sums. */
static void leave_counts(struct server_registry *r, struct registry_member *m)
{
    struct server_group *g = m->server->group;
    struct server_totals t;
    if (!g || !r->options.totals)
        return;
    r->options.totals(m->server, &t, r->options.argument);
    m->past = (struct attempt_counts){t.retries, t.hedges, t.hedges_won};
    g->past.retries += t.retries;
    g->past.hedges += t.hedges;
    g->past.hedges_won += t.hedges_won;
}

void registry_retire(struct server_registry *r, struct registry_member *m)
{
    r->count--;
    leave_counts(r, m);
    if (m->checker)
        checker_free(m->checker);
    if (m->name)
        resolver_remove(m->name);
    m->checker = NULL;
    m->name = NULL;
    atomic_store_explicit(&m->server->retired, true, memory_order_relaxed);
    if (m->server->group)
        group_leave(m->server->group, m->server, loop_now_us(r->options.loop));
    registry_tell(r, m->server);
}

void registry_forget(struct server_registry *r, struct registry_member *m)
{
    struct registry_member **at = &r->buckets[m->hash & (r->bucket_count - 1)];
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    if (list_linked(&m->kept)) {
        list_remove(&m->kept);
        r->kept_count--;
    } else {
        registry_retire(r, m);
    }
    server_release(m->server);
    free(m);
}
