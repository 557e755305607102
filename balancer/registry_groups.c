/* The groups of the registry: one for each upstream's name, for as long as the registry is there. */
#include "balancer/registry_internal.h"

struct server_group *registry_group(struct server_registry *r, struct slice upstream)
{
    struct server_group **bucket = &r->groups[registry_hash(upstream, S("")) % REGISTRY_GROUP_BUCKETS];
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
    registry_tell(argument, s);
}

static void sum_totals(const struct server *s, struct server_totals *out, void *argument)
{
    struct server_registry *r = argument;
    r->options.totals(s, out, r->options.argument);
}

void registry_on_tick(struct timer *t)
{
    struct server_registry *r = CONTAINER_OF(t, struct server_registry, tick);
    struct group_watch w = {
        .changed = on_ejection, .totals = r->options.totals ? sum_totals : NULL, .argument = r};
    bool watched = false;
    for (size_t i = 0; i < REGISTRY_GROUP_BUCKETS; i++) {
        for (struct server_group *g = r->groups[i]; g; g = g->next) {
            group_tick(g, loop_now_us(r->options.loop), &w);
            watched |= group_watched(g);
        }
    }
    if (watched)
        loop_timer(r->options.loop, t, GROUP_TICK_MS);
}

void registry_free_groups(struct server_registry *r)
{
    for (size_t i = 0; i < REGISTRY_GROUP_BUCKETS; i++) {
        for (struct server_group *g = r->groups[i], *next; g; g = next) {
            next = g->next;
            group_release(g);
        }
    }
}
