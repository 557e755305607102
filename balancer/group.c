#include "balancer/group.h"

#include <stdlib.h>

#include "balancer/outlier.h"
#include "balancer/queue.h"
#include "core/log.h"

struct server_group *group_create(struct slice name)
{
    struct server_group *g = calloc(1, sizeof *g + name.len + 1);
    if (!g)
        return NULL;
    atomic_init(&g->references, 1);
    list_init(&g->servers);
    list_init(&g->uses);
    char *text = (char *)(g + 1);
    if (name.len)
        memcpy(text, name.at, name.len);
    g->name = slice_of(text, name.len);
    return g;
}

void group_release(struct server_group *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) != 1)
        return;
    queue_free(group_queue(g));
    free(g);
}

int group_make_queue(struct server_group *g, unsigned workers)
{
    struct queue *q = group_queue(g) ? group_queue(g) : queue_create(g, workers);
    atomic_store_explicit(&g->queue, q, memory_order_release);
    return q ? 0 : -1;
}

/* What it consists of. */

const struct upstream_settings *group_settings(const struct server_group *g)
{
    return list_empty(&g->uses) ? NULL : CONTAINER_OF(g->uses.prev, struct group_use, link)->settings;
}

static void apply(struct server_group *g)
{
    const struct upstream_settings *settings = group_settings(g);
    atomic_store_explicit(&g->slow_start, settings ? settings->slow_start : 0, memory_order_relaxed);
    group_stir(g);
}

void group_use(struct server_group *g, struct group_use *use)
{
    list_append(&g->uses, &use->link);
    apply(g);
}

void group_unuse(struct server_group *g, struct group_use *use)
{
    list_remove(&use->link);
    apply(g);
}

void group_join(struct server_group *g, struct server *s)
{
    server_join(s, g);
    list_append(&g->servers, &s->group_link);
    atomic_fetch_add_explicit(&g->count, 1, memory_order_relaxed);
}

void group_leave(struct server_group *g, struct server *s, usec_t now_us)
{
    server_readmit(s, now_us);
    list_remove(&s->group_link);
    atomic_fetch_sub_explicit(&g->count, 1, memory_order_relaxed);
    group_stir(g);
}

/* Time goes on. */

bool group_watched(const struct server_group *g)
{
    const struct upstream_settings *s = group_settings(g);
    bool asked = s && (s->slow_start || s->outlier || s->panic_threshold > 0);
    return asked || g->restless || group_in_panic(g) ||
           atomic_load_explicit(&g->ejected, memory_order_relaxed);
}

static struct server *server_at(struct list *node)
{
    return CONTAINER_OF(node, struct server, group_link);
}

static void log_return(const struct server *s)
{
    log_info("server is let back", LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name));
}

static void tick_server(struct server_group *g, struct server *s, bool eject, usec_t now_us,
                        const struct group_watch *w)
{
    bool over = !eject && server_readmit(s, now_us), over_by_itself = false;
    g->restless |= server_tick(s, now_us, &over_by_itself);
    if (over || over_by_itself)
        log_return(s);
    bool ejected = server_ejected(s);
    if (ejected == s->ejection_told && !over_by_itself)
        return;
    s->ejection_told = ejected;
    if (w->changed)
        w->changed(s, w->argument);
}

static bool is_panic(struct server_group *g, double threshold, bool *any_ready)
{
    unsigned ready[2] = {0, 0}, wanted[2] = {0, 0};
    LIST_EACH (node, &g->servers) {
        struct server *s = server_at(node);
        enum server_standing standing = server_standing(s);
        bool backup = atomic_load_explicit(&s->backup, memory_order_relaxed);
        wanted[backup] += standing != STANDING_UNWANTED;
        ready[backup] += standing == STANDING_READY;
    }
    *any_ready = ready[0] + ready[1] != 0;
    if (wanted[0] == 0 || (ready[0] == 0 && ready[1] != 0))
        return false;
    return (double)ready[0] < threshold * (double)wanted[0];
}

static void log_panic(const struct server_group *g, bool panic)
{
    if (panic)
        log_warn("too few servers are healthy: all are used", LOG_SLICE("upstream", g->name));
    else
        log_info("enough servers are healthy again", LOG_SLICE("upstream", g->name));
}

static void judge_panic(struct server_group *g, usec_t now_us)
{
    const struct upstream_settings *settings = group_settings(g);
    bool serving = false;
    bool panic = is_panic(g, settings ? settings->panic_threshold : 0, &serving);
    atomic_store_explicit(&g->serving, serving, memory_order_relaxed);
    if (panic == group_in_panic(g))
        return;
    atomic_store_explicit(&g->panic, panic, memory_order_relaxed);
    log_panic(g, panic);
    LIST_EACH (node, &g->servers)
        server_tick(server_at(node), now_us, NULL);
}

void group_tick(struct server_group *g, usec_t now_us, const struct group_watch *w)
{
    const struct upstream_settings *settings = group_settings(g);
    const struct outlier_settings *outlier = settings ? settings->outlier : NULL;
    if (outlier && outlier->latency > 0 && w->totals)
        outlier_compare(g, outlier, now_us, w);
    bool stirred = atomic_exchange_explicit(&g->stirred, false, memory_order_relaxed);
    if (!stirred && !g->restless)
        return;
    g->restless = false;
    LIST_EACH (node, &g->servers)
        tick_server(g, server_at(node), outlier != NULL, now_us, w);
    judge_panic(g, now_us);
}

/* Ejections. */

uint32_t group_may_eject(uint32_t count, double share)
{
    uint32_t most = (uint32_t)((double)count * share + 1e-9);
    return most == 0 && share > 0 && count > 1 ? 1 : most;
}

bool group_begin_ejection(struct server_group *g, double share)
{
    uint32_t most = group_may_eject(atomic_load_explicit(&g->count, memory_order_relaxed), share);
    uint32_t now = atomic_load_explicit(&g->ejected, memory_order_relaxed);
    do {
        if (now >= most)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&g->ejected, &now, now + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}
