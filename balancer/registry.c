#include "balancer/registry.h"

#include <stdlib.h>

#include "balancer/discovery.h"
#include "balancer/health.h"
#include "balancer/resolve.h"
#include "core/log.h"

/* A server that is attached. */
struct member {
    struct member *next; /* in its bucket */
    uint64_t hash;
    struct server *server; /* held */
    struct list uses;      /* of struct server_use; the last one counts */
    struct checker *checker;
    struct resolve_name *name;
    struct list kept; /* among those that are remembered: nobody uses it */
    msec_t kept_at;
};

#define GROUP_BUCKETS 64u

struct server_registry {
    struct registry_options options;
    struct server_ids *ids;
    struct resolver *resolver; /* made with the first name */
    struct checks checks;
    struct member **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;        /* attached ones */
    struct discovery *discovery;
    struct list kept; /* the one that has been gone longest first */
    size_t kept_count;
    struct timer kept_timer;
    struct server_group *groups[GROUP_BUCKETS]; /* by name; each as long as the registry */
    struct timer tick;                          /* runs while a group is watched */
};

static struct resolver *resolver_of(void *argument);
static void on_kept(struct timer *t);
static void on_health(struct server *s, void *argument);
static void on_address(struct server *s, void *argument);
static void on_tick(struct timer *t);
static void free_groups(struct server_registry *r);
static struct member *find(struct server_registry *r, struct slice upstream, struct slice name,
                           struct slice host);
static struct member *add(struct server_registry *r, struct server *s);
static void apply_use(struct server_registry *r, struct member *m);
static void revive(struct server_registry *r, struct member *m);
static void retire(struct server_registry *r, struct member *m);
static void forget(struct server_registry *r, struct member *m);

struct server_registry *registry_create(const struct registry_options *o)
{
    struct server_registry *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->options = *o;
    r->ids = server_ids_create();
    r->bucket_count = 64;
    r->buckets = calloc(r->bucket_count, sizeof(struct member *));
    r->discovery = discovery_create(o->loop, resolver_of, r);
    list_init(&r->kept);
    timer_init(&r->kept_timer, on_kept);
    if (!r->ids || !r->buckets || !r->discovery) {
        discovery_free(r->discovery);
        server_ids_release(r->ids);
        free(r->buckets);
        free(r);
        return NULL;
    }
    timer_init(&r->tick, on_tick);
    checks_init(&r->checks, o->loop, o->tls_worker, on_health, r);
    return r;
}

void registry_free(struct server_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->bucket_count; i++)
        while (r->buckets[i])
            forget(r, r->buckets[i]);
    loop_timer_clear(r->options.loop, &r->tick);
    loop_timer_clear(r->options.loop, &r->kept_timer);
    free_groups(r);
    discovery_free(r->discovery);
    resolver_free(r->resolver);
    checks_close(&r->checks);
    server_ids_release(r->ids);
    free(r->buckets);
    free(r);
}

struct server_ids *registry_ids(struct server_registry *r)
{
    return r->ids;
}

struct discovery *registry_discovery(struct server_registry *r)
{
    return r->discovery;
}

void registry_settle(struct server_registry *r, msec_t at_most)
{
    if (r->resolver)
        resolver_settle(r->resolver, at_most);
}

struct loop *registry_loop(struct server_registry *r)
{
    return r->options.loop;
}

bool registry_has_workers(const struct server_registry *r)
{
    return r->options.worker != NULL;
}

struct loop *registry_worker(struct server_registry *r, unsigned index)
{
    return r->options.worker ? r->options.worker(r->options.argument, index) : NULL;
}

size_t registry_count(const struct server_registry *r)
{
    return r->count;
}

struct server *registry_find(struct server_registry *r, struct slice upstream, struct slice name)
{
    struct member *m = find(r, upstream, name, (struct slice){0});
    return m && !list_empty(&m->uses) ? m->server : NULL;
}

struct server *registry_recall(struct server_registry *r, struct slice upstream, struct slice name,
                               struct slice host)
{
    struct member *m = find(r, upstream, name, host);
    return m ? m->server : NULL;
}

static void tell(struct server_registry *r, struct server *s)
{
    if (r->options.on_change)
        r->options.on_change(s, r->options.argument);
}

/* A server that does not answer may have moved. */
static void on_health(struct server *s, void *argument)
{
    struct server_registry *r = argument;
    struct member *m = find(r, s->upstream, s->name, s->host);
    if (m && m->name && atomic_load_explicit(&s->health, memory_order_relaxed) == HEALTH_DOWN)
        resolver_hurry(m->name);
    tell(r, s);
}

static void on_address(struct server *s, void *argument)
{
    tell(argument, s);
}

/* Attaching. */

/* Made with the first name. */
static struct resolver *resolver_of(void *argument)
{
    struct server_registry *r = argument;
    if (!r->resolver)
        r->resolver = resolver_create(r->options.loop, r->options.dns_servers, r->options.resolve_interval);
    return r->resolver;
}

/* Names are looked up as long as the server is attached, by whichever use. */
static int resolve(struct server_registry *r, struct member *m)
{
    struct address address;
    struct slice host = {0};
    uint16_t port = 0;
    const char *why;
    if (address_parse(m->server->name, &address, &host, &port, &why) != ADDRESS_NAME)
        return 0;
    if (!resolver_of(r))
        return -1;
    m->name = resolver_add(r->resolver, m->server, host, port, on_address, r);
    return m->name ? 0 : -1;
}

int registry_attach(struct server_registry *r, struct server **s, struct server_use *use)
{
    struct member *m = find(r, (*s)->upstream, (*s)->name, (*s)->host);
    if (!m) {
        m = add(r, *s);
        if (!m)
            return -1;
    }
    bool was_kept = list_linked(&m->kept);
    if (list_empty(&m->uses)) {
        struct server_group *g = registry_group(r, (*s)->upstream);
        revive(r, m);
        if (g)
            group_join(g, m->server);
        if (!g || resolve(r, m) != 0) {
            forget(r, m);
            return -1;
        }
    }
    if (m->server != *s) {
        server_release(*s);
        *s = server_hold(m->server);
    }
    atomic_store_explicit(&m->server->retired, false, memory_order_relaxed);
    list_append(&m->uses, &use->link);
    /* What the checks of then said holds while there are checks. */
    if (was_kept && !use->check)
        server_set_health(m->server, HEALTH_UNKNOWN, "", loop_wall_us(r->options.loop));
    apply_use(r, m);
    return 0;
}

static struct member *take_use(struct server_registry *r, struct server *s, struct server_use *use)
{
    struct member *m = find(r, s->upstream, s->name, s->host);
    ASSERT(m && m->server == s && list_linked(&use->link));
    bool counted = m->uses.prev == &use->link;
    list_remove(&use->link);
    if (counted && !list_empty(&m->uses))
        apply_use(r, m);
    return m;
}

void registry_detach(struct server_registry *r, struct server *s, struct server_use *use)
{
    struct member *m = take_use(r, s, use);
    if (list_empty(&m->uses))
        forget(r, m);
}

void registry_leave(struct server_registry *r, struct server *s, struct server_use *use)
{
    struct member *m = take_use(r, s, use);
    if (!list_empty(&m->uses))
        return;
    retire(r, m);
    m->kept_at = loop_now(r->options.loop);
    list_append(&r->kept, &m->kept);
    if (r->kept_count++ == 0)
        loop_timer(r->options.loop, &r->kept_timer, REGISTRY_KEPT_MS);
    if (r->kept_count > REGISTRY_KEPT_MAX)
        forget(r, CONTAINER_OF(r->kept.next, struct member, kept));
}

void registry_refresh(struct server_registry *r, struct server *s)
{
    struct member *m = find(r, s->upstream, s->name, s->host);
    ASSERT(m && !list_empty(&m->uses));
    apply_use(r, m);
}

static void on_kept(struct timer *t)
{
    struct server_registry *r = CONTAINER_OF(t, struct server_registry, kept_timer);
    msec_t now = loop_now(r->options.loop);
    while (!list_empty(&r->kept)) {
        struct member *m = CONTAINER_OF(r->kept.next, struct member, kept);
        if (now - m->kept_at < REGISTRY_KEPT_MS) {
            loop_timer(r->options.loop, &r->kept_timer, m->kept_at + REGISTRY_KEPT_MS - now);
            return;
        }
        forget(r, m);
    }
}

static void apply_check(struct server_registry *r, struct member *m, const struct server_use *use)
{
    if (use->check && m->checker) {
        checker_update(m->checker, use);
    } else if (use->check) {
        m->checker = checker_create(&r->checks, m->server, use);
        if (!m->checker)
            log_error("server is not checked: out of memory", LOG_SLICE("server", m->server->name));
    } else if (m->checker) {
        checker_free(m->checker);
        m->checker = NULL;
        if (server_set_health(m->server, HEALTH_UNKNOWN, "", loop_wall_us(r->options.loop)))
            tell(r, m->server);
    }
}

static void apply_use(struct server_registry *r, struct member *m)
{
    const struct server_use *use = CONTAINER_OF(m->uses.prev, struct server_use, link);
    server_configure(m->server, (uint32_t)use->settings->weight, (uint32_t)use->settings->max_connections,
                     use->settings->backup);
    apply_check(r, m, use);
}

/* Groups. */

static uint64_t hash_of(struct slice upstream, struct slice name);

struct server_group *registry_group(struct server_registry *r, struct slice upstream)
{
    struct server_group **bucket = &r->groups[hash_of(upstream, S("")) % GROUP_BUCKETS];
    for (struct server_group *g = *bucket; g; g = g->next)
        if (slice_equal(g->name, upstream))
            return g;
    struct server_group *g = group_create(upstream);
    if (g) {
        g->next = *bucket;
        *bucket = g;
    }
    return g;
}

int registry_use_group(struct server_registry *r, struct slice upstream, struct group_use *use)
{
    struct server_group *g = registry_group(r, upstream);
    if (!g)
        return -1;
    group_use(g, use);
    loop_timer(r->options.loop, &r->tick, GROUP_TICK_MS);
    return 0;
}

void registry_unuse_group(struct server_registry *r, struct slice upstream, struct group_use *use)
{
    group_unuse(registry_group(r, upstream), use);
    loop_timer(r->options.loop, &r->tick, GROUP_TICK_MS);
}

static void on_ejection(struct server *s, void *argument)
{
    tell(argument, s);
}

static void sum_totals(const struct server *s, struct server_totals *out, void *argument)
{
    struct server_registry *r = argument;
    r->options.totals(s, out, r->options.argument);
}

static void on_tick(struct timer *t)
{
    struct server_registry *r = CONTAINER_OF(t, struct server_registry, tick);
    struct group_watch w = {
        .changed = on_ejection, .totals = r->options.totals ? sum_totals : NULL, .argument = r};
    bool watched = false;
    for (size_t i = 0; i < GROUP_BUCKETS; i++) {
        for (struct server_group *g = r->groups[i]; g; g = g->next) {
            group_tick(g, loop_now_us(r->options.loop), &w);
            watched |= group_watched(g);
        }
    }
    if (watched)
        loop_timer(r->options.loop, t, GROUP_TICK_MS);
}

static void free_groups(struct server_registry *r)
{
    for (size_t i = 0; i < GROUP_BUCKETS; i++) {
        for (struct server_group *g = r->groups[i], *next; g; g = next) {
            next = g->next;
            group_release(g);
        }
    }
}

/* The table. */

/* FNV-1a. */
static uint64_t hash_of(struct slice upstream, struct slice name)
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

/* Without `host`: whichever host it is called by. */
static struct member *find(struct server_registry *r, struct slice upstream, struct slice name,
                           struct slice host)
{
    uint64_t hash = hash_of(upstream, name);
    struct member *m = r->buckets[hash & (r->bucket_count - 1)];
    while (m && !(m->hash == hash && slice_equal(m->server->name, name) &&
                  slice_equal(m->server->upstream, upstream) &&
                  (host.len == 0 || slice_equal(m->server->host, host))))
        m = m->next;
    return m;
}

static void put(struct member **buckets, size_t bucket_count, struct member *m)
{
    struct member **bucket = &buckets[m->hash & (bucket_count - 1)];
    m->next = *bucket;
    *bucket = m;
}

/* When there is no memory for more buckets, chains grow. */
static void grow(struct server_registry *r)
{
    size_t count = r->bucket_count * 2;
    struct member **buckets = calloc(count, sizeof(struct member *));
    if (!buckets)
        return;
    for (size_t i = 0; i < r->bucket_count; i++) {
        for (struct member *m = r->buckets[i], *next; m; m = next) {
            next = m->next;
            put(buckets, count, m);
        }
    }
    free(r->buckets);
    r->buckets = buckets;
    r->bucket_count = count;
}

static struct member *add(struct server_registry *r, struct server *s)
{
    struct member *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->hash = hash_of(s->upstream, s->name);
    m->server = server_hold(s);
    list_init(&m->uses);
    list_init(&m->kept);
    if (r->count + r->kept_count >= r->bucket_count)
        grow(r);
    put(r->buckets, r->bucket_count, m);
    return m;
}

static void revive(struct server_registry *r, struct member *m)
{
    r->count++;
    if (!list_linked(&m->kept))
        return;
    list_remove(&m->kept);
    r->kept_count--;
}

/* Nobody uses it any more. */
static void retire(struct server_registry *r, struct member *m)
{
    r->count--;
    if (m->checker)
        checker_free(m->checker);
    if (m->name)
        resolver_remove(m->name);
    m->checker = NULL;
    m->name = NULL;
    atomic_store_explicit(&m->server->retired, true, memory_order_relaxed);
    if (m->server->group)
        group_leave(m->server->group, m->server, loop_now_us(r->options.loop));
    tell(r, m->server);
}

static void forget(struct server_registry *r, struct member *m)
{
    struct member **at = &r->buckets[m->hash & (r->bucket_count - 1)];
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    if (list_linked(&m->kept)) {
        list_remove(&m->kept);
        r->kept_count--;
    } else {
        retire(r, m);
    }
    server_release(m->server);
    free(m);
}
