#include "balancer/registry.h"

#include <stdlib.h>

#include "balancer/discovery.h"
#include "balancer/registry_internal.h"
#include "core/log.h"

static struct resolver *resolver_of(void *argument);
static void on_kept(struct timer *t);
static void on_health(struct server *s, void *argument);
static void apply_use(struct server_registry *r, struct registry_member *m);

struct server_registry *registry_create(const struct registry_options *o)
{
    struct server_registry *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->options = *o;
    r->ids = server_ids_create();
    r->bucket_count = 64;
    r->buckets = calloc(r->bucket_count, sizeof(struct registry_member *));
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
    timer_init(&r->tick, registry_on_tick);
    checks_init(&r->checks, o->loop, o->tls_worker, on_health, r);
    return r;
}

void registry_free(struct server_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->bucket_count; i++)
        while (r->buckets[i])
            registry_forget(r, r->buckets[i]);
    loop_timer_clear(r->options.loop, &r->tick);
    loop_timer_clear(r->options.loop, &r->kept_timer);
    registry_free_groups(r);
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
    struct registry_member *m = registry_member(r, upstream, name, (struct slice){0});
    return m && !list_empty(&m->uses) ? m->server : NULL;
}

struct server *registry_recall(struct server_registry *r, struct slice upstream, struct slice name,
                               struct slice host)
{
    struct registry_member *m = registry_member(r, upstream, name, host);
    return m ? m->server : NULL;
}

void registry_tell(struct server_registry *r, struct server *s)
{
    if (r->options.on_change)
        r->options.on_change(s, r->options.argument);
}

/* A server that does not answer may have moved. */
static void on_health(struct server *s, void *argument)
{
    struct server_registry *r = argument;
    struct registry_member *m = registry_member(r, s->upstream, s->name, s->host);
    if (m && m->name && atomic_load_explicit(&s->health, memory_order_relaxed) == HEALTH_DOWN)
        resolver_hurry(m->name);
    registry_tell(r, s);
}

static void on_address(struct server *s, void *argument)
{
    registry_tell(argument, s);
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
static int resolve(struct server_registry *r, struct registry_member *m)
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
    struct registry_member *m = registry_member(r, (*s)->upstream, (*s)->name, (*s)->host);
    if (!m) {
        m = registry_add(r, *s);
        if (!m)
            return -1;
    }
    bool was_kept = list_linked(&m->kept);
    if (list_empty(&m->uses)) {
        struct server_group *g = registry_group(r, (*s)->upstream);
        registry_revive(r, m);
        if (g)
            group_join(g, m->server);
        if (!g || resolve(r, m) != 0) {
            registry_forget(r, m);
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

static struct registry_member *take_use(struct server_registry *r, struct server *s, struct server_use *use)
{
    struct registry_member *m = registry_member(r, s->upstream, s->name, s->host);
    ASSERT(m && m->server == s && list_linked(&use->link));
    bool counted = m->uses.prev == &use->link;
    list_remove(&use->link);
    if (counted && !list_empty(&m->uses))
        apply_use(r, m);
    return m;
}

void registry_detach(struct server_registry *r, struct server *s, struct server_use *use)
{
    struct registry_member *m = take_use(r, s, use);
    if (list_empty(&m->uses))
        registry_forget(r, m);
}

void registry_leave(struct server_registry *r, struct server *s, struct server_use *use)
{
    struct registry_member *m = take_use(r, s, use);
    if (!list_empty(&m->uses))
        return;
    registry_retire(r, m);
    m->kept_at = loop_now(r->options.loop);
    list_append(&r->kept, &m->kept);
    if (r->kept_count++ == 0)
        loop_timer(r->options.loop, &r->kept_timer, REGISTRY_KEPT_MS);
    if (r->kept_count > REGISTRY_KEPT_MAX)
        registry_forget(r, CONTAINER_OF(r->kept.next, struct registry_member, kept));
}

void registry_refresh(struct server_registry *r, struct server *s)
{
    struct registry_member *m = registry_member(r, s->upstream, s->name, s->host);
    ASSERT(m && !list_empty(&m->uses));
    apply_use(r, m);
}

static void on_kept(struct timer *t)
{
    struct server_registry *r = CONTAINER_OF(t, struct server_registry, kept_timer);
    msec_t now = loop_now(r->options.loop);
    while (!list_empty(&r->kept)) {
        struct registry_member *m = CONTAINER_OF(r->kept.next, struct registry_member, kept);
        if (now - m->kept_at < REGISTRY_KEPT_MS) {
            loop_timer(r->options.loop, &r->kept_timer, m->kept_at + REGISTRY_KEPT_MS - now);
            return;
        }
        registry_forget(r, m);
    }
}

static void apply_check(struct server_registry *r, struct registry_member *m, const struct server_use *use)
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
            registry_tell(r, m->server);
    }
}

static void apply_use(struct server_registry *r, struct registry_member *m)
{
    const struct server_use *use = CONTAINER_OF(m->uses.prev, struct server_use, link);
    server_configure(m->server, (uint32_t)use->settings->weight, (uint32_t)use->settings->max_connections,
                     use->settings->backup);
    apply_check(r, m, use);
}
