#include "balancer/upstream_internal.h"

#include <stdlib.h>
#include <sys/random.h>

#include "balancer/outlier.h"
#include "balancer/sticky.h"
#include "core/log.h"
#include "tls/client.h"
#include "tls/settings.h"

static int make_tls(struct upstream *u, struct config *c, const struct config_node *node);
static int make_members(struct upstream *u);
static int make_locals(struct upstream *u);
static void take_set(struct letter *letter);

static const struct policy *const policies[] = {
    [BALANCE_ROUND_ROBIN] = &policy_round_robin, [BALANCE_LEAST_CONNECTIONS] = &policy_least_connections,
    [BALANCE_RANDOM_TWO] = &policy_random_two,   [BALANCE_EWMA] = &policy_ewma,
    [BALANCE_RING_HASH] = &policy_ring_hash,     [BALANCE_MAGLEV] = &policy_maglev,
    [BALANCE_SOURCE_HASH] = &policy_source_hash,
};

struct upstream *upstream_create(struct config *c, const struct config_node *node, struct slice name,
                                 const struct upstream_settings *settings, struct server_registry *registry,
                                 unsigned workers)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->magic = UPSTREAM_MAGIC;
    u->name = name;
    u->settings = settings;
    u->policy = policies[settings->balance];
    u->policy_options = (struct policy_options){.bound = (uint32_t)(settings->hash_balance * 100 + 0.5)};
    if (getrandom(&u->policy_options.seed, sizeof u->policy_options.seed, GRND_NONBLOCK) < 0)
        u->policy_options.seed = (uint64_t)(uintptr_t)u; /* any will do */
    u->registry = registry;
    u->workers = workers;
    list_init(&u->sets);
    if (settings->breaker)
        u->breaker = breaker_create(settings->breaker, workers);
    if ((settings->breaker && !u->breaker) || make_tls(u, c, node) != 0 || make_members(u) != 0 ||
        make_locals(u) != 0) {
        upstream_free(u);
        return NULL;
    }
    return u;
}

/* FNV-1a over what the file says of TLS. */
static uint64_t fingerprint(uint64_t hash, const struct config_node *node)
{
    const struct slice parts[] = {node->key, node->text};
    hash = (hash ^ (uint64_t)node->kind) * UINT64_C(0x100000001b3);
    for (size_t p = 0; p < COUNT_OF(parts); p++) {
        for (size_t i = 0; i < parts[p].len; i++)
            hash = (hash ^ (unsigned char)parts[p].at[i]) * UINT64_C(0x100000001b3);
        hash = (hash ^ 0xff) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i < node->count; i++)
        hash = fingerprint(hash, node->items[i]);
    return hash;
}

/* The contexts of one more thread than there are workers: the control thread's checks. */
static int make_tls(struct upstream *u, struct config *c, const struct config_node *node)
{
    const struct check_settings *check = u->settings->health_check;
    if (u->settings->tls) {
        const struct config_node *at = node ? config_get(node, "tls") : NULL;
        u->transport = at ? fingerprint(UINT64_C(0xcbf29ce484222325), at) | 1 : 1;
        u->tls = tls_client_create(c, at ? at : node, u->settings->tls, u->workers + 1);
        return u->tls ? 0 : -1;
    }
    if (check && check->type == CHECK_TLS) {
        const struct tls_client_settings unverified = {.node = node, .verify = false};
        u->check_tls = tls_client_create(c, node, &unverified, u->workers + 1);
        return u->check_tls ? 0 : -1;
    }
    return 0;
}

static int make_members(struct upstream *u)
{
    bool changed;
    u->by_name = table_create();
    return u->by_name ? upstream_collect(u, &changed) : -1;
}

/* Primaries, then backups; among each those of weir's own zone first. */
enum { TIER_NEAR, TIER_FAR, TIER_NEAR_BACKUP, TIER_FAR_BACKUP, TIERS };

static unsigned tier_of(const struct upstream *u, const struct server_settings *s)
{
    bool far = u->settings->prefer_zone.len && !slice_equal(u->settings->prefer_zone, s->zone);
    return (s->backup ? TIER_NEAR_BACKUP : TIER_NEAR) + (far ? 1u : 0u);
}

static int complete_set(struct upstream *u, struct server_set *set)
{
    set->tiers[TIER_NEAR].spills = set->tiers[TIER_NEAR_BACKUP].spills = true;
    if (!u->settings->sticky)
        return 0;
    set->sticky = sticky_make(u->settings->sticky, u->name, set->servers, set->count);
    return set->sticky ? 0 : -1;
}

struct server_set *upstream_make_set(struct upstream *u)
{
    struct server **servers = calloc(u->member_count + 1, sizeof(struct server *));
    size_t sizes[TIERS] = {0}, count = 0;
    for (unsigned t = 0; servers && t < TIERS; t++) {
        for (size_t i = 0; i < u->member_count; i++) {
            if (tier_of(u, &u->members[i]->settings) != t)
                continue;
            servers[count++] = u->members[i]->server;
            sizes[t]++;
        }
    }
    struct loop *control =
        u->registry && registry_has_workers(u->registry) ? registry_loop(u->registry) : NULL;
    struct server_set *set = servers ? server_set_create(u->policy, &u->policy_options, u->workers, u->turn++,
                                                         control, servers, sizes, COUNT_OF(sizes))
                                     : NULL;
    free(servers);
    if (set && complete_set(u, set) != 0) {
        server_set_free(set);
        return NULL;
    }
    return set;
}

static int make_locals(struct upstream *u)
{
    u->locals = aligned_alloc(64, (u->workers + 1) * sizeof *u->locals);
    u->budgets = aligned_alloc(64, (u->workers + 1) * sizeof *u->budgets);
    if (!u->locals || !u->budgets)
        return -1;
    for (unsigned w = 0; w < u->workers; w++) {
        u->locals[w] = (struct upstream_worker){.letter.deliver = take_set, .index = w};
        budget_init(&u->budgets[w]);
    }
    u->set = upstream_make_set(u);
    if (!u->set)
        return -1;
    list_append(&u->sets, &u->set->link);
    for (unsigned w = 0; w < u->workers; w++)
        u->locals[w].set = u->set;
    return 0;
}

/* Replacing the servers. */

/* On the worker's thread. */
static void take_set(struct letter *letter)
{
    struct upstream_worker *local = CONTAINER_OF(letter, struct upstream_worker, letter);
    struct server_set *before = local->set;
    local->set = atomic_exchange_explicit(&local->next, NULL, memory_order_acq_rel);
    server_set_release(before, local->index);
}

void upstream_replace(struct upstream *u, struct server_set *set)
{
    list_append(&u->sets, &set->link);
    u->set = set;
    for (unsigned w = 0; w < u->workers; w++) {
        struct upstream_worker *local = &u->locals[w];
        struct loop *loop = u->registry ? registry_worker(u->registry, w) : NULL;
        struct server_set *missed = atomic_exchange_explicit(&local->next, set, memory_order_acq_rel);
        if (missed)
            server_set_forgo(missed, w); /* the letter that was to bring it brings this one */
        else if (loop)
            loop_post(loop, &local->letter);
        else
            take_set(&local->letter);
    }
}

int upstream_reweigh(struct upstream *u)
{
    if (!u->policy->share)
        return 0;
    struct server_set *set = upstream_make_set(u);
    if (!set)
        return -1;
    upstream_replace(u, set);
    return 0;
}

/* The registry knew some of the servers by now. No worker has seen the upstream yet. */
static int correct_set(struct upstream *u)
{
    struct server_set *set = upstream_make_set(u);
    if (!set) {
        upstream_deactivate(u);
        return -1;
    }
    server_set_free(u->set);
    list_append(&u->sets, &set->link);
    u->set = set;
    for (unsigned w = 0; w < u->workers; w++)
        u->locals[w].set = set;
    return 0;
}

/* *other: the registry knew a server by another struct by now, or with a weight that the set was not made
 * with.
 */
static int attach(struct upstream *u, bool *other)
{
    for (size_t i = 0; i < u->member_count; i++) {
        struct upstream_member *m = u->members[i];
        const struct server *before = m->server;
        uint32_t weight = server_full_weight(m->server);
        /* The name is the key, and is the server's. */
        table_remove(u->by_name, m->server->name);
        if (registry_attach(u->registry, &m->server, &m->use) != 0) {
            while (i-- > 0)
                registry_detach(u->registry, u->members[i]->server, &u->members[i]->use);
            return -1;
        }
        *other |= m->server != before || server_full_weight(m->server) != weight;
        if (table_put(u->by_name, m->server->name, (uint64_t)(uintptr_t)m) != 0)
            log_error("a server cannot be found by its name: out of memory",
                      LOG_SLICE("server", m->server->name));
    }
    return 0;
}

static int make_queue(struct upstream *u)
{
    struct server_group *g = registry_group(u->registry, u->name);
    if (group_make_queue(g, u->workers) != 0)
        return -1;
    u->queue = group_queue(g);
    return 0;
}

int upstream_activate(struct upstream *u)
{
    ASSERT(u->magic == UPSTREAM_MAGIC && u->registry && !u->active);
    u->group.settings = u->settings;
    if (registry_use_group(u->registry, u->name, &u->group) != 0)
        return -1;
    bool other = false;
    /* What a source said since the upstream was made counts. */
    if (upstream_use_sources(u) != 0 || upstream_collect(u, &other) != 0 || attach(u, &other) != 0) {
        upstream_leave_sources(u);
        registry_unuse_group(u->registry, u->name, &u->group);
        return -1;
    }
    u->active = true;
    if (u->settings->queue && make_queue(u) != 0) {
        upstream_deactivate(u);
        return -1;
    }
    return other ? correct_set(u) : 0;
}

int upstream_settle(struct upstream *u)
{
    bool changed = false;
    loop_timer_clear(registry_loop(u->registry), &u->gather);
    if (upstream_collect(u, &changed) != 0)
        log_error("servers are left out: out of memory", LOG_SLICE("upstream", u->name));
    return changed ? correct_set(u) : 0;
}

void upstream_deactivate(struct upstream *u)
{
    if (!u->active)
        return;
    u->active = false;
    upstream_leave_sources(u);
    for (size_t i = 0; i < u->member_count; i++)
        registry_detach(u->registry, u->members[i]->server, &u->members[i]->use);
    registry_unuse_group(u->registry, u->name, &u->group);
}

void upstream_free(struct upstream *u)
{
    if (!u)
        return;
    ASSERT(u->magic == UPSTREAM_MAGIC);
    upstream_deactivate(u);
    /* Whoever held a set has let go of it before the snapshot. */
    LIST_EACH_SAFE (node, &u->sets) {
        server_set_free(CONTAINER_OF(node, struct server_set, link));
    }
    upstream_drop_members(u);
    table_free(u->by_name);
    tls_client_free(u->tls);
    tls_client_free(u->check_tls);
    free(u->locals);
    free(u->budgets);
    breaker_free(u->breaker);
    u->magic = 0;
    free(u);
}

bool upstream_wait(struct upstream *u, unsigned worker, struct loop *l, struct queue_waiter *w)
{
    return u->queue && queue_join(u->queue, u->settings->queue, worker, l, w);
}

/* Picking. */

struct server *upstream_pick(struct upstream *u, struct server_set *set, unsigned worker,
                             const struct pick *p, enum pick_failure *why)
{
    enum pick_failure ignored;
    why = why ? why : &ignored;
    if (UNLIKELY(u->breaker != NULL) && !breaker_admits(u->breaker, p->now_us)) {
        *why = PICK_BREAKER_OPEN;
        return NULL;
    }
    return server_set_pick(set, worker, p, why);
}

void upstream_done(struct upstream *u, struct server_set *set, unsigned worker, struct server *s,
                   const struct outcome *o)
{
    struct queue *queue = s->group ? group_queue(s->group) : NULL;
    server_end(s);
    if (UNLIKELY(queue != NULL))
        queue_wake(queue, worker);
    if (!o || o->kind == OUTCOME_ABANDONED)
        return;
    if (LIKELY(o->kind == OUTCOME_ANSWERED && o->status < 500))
        budget_answered(&u->budgets[worker], o->now_us);
    if (UNLIKELY(!suspicion_knows(s, o)))
        suspicion_learn(s, o);
    if (u->settings->outlier)
        outlier_note(u->settings->outlier, s, o); /* behind it: it may hold what an answer has just ended */
    if (UNLIKELY(u->settings->hedge != NULL))
        hedge_learn(&u->locals[worker].hedge, u->settings->hedge, o);
    if (u->policy->done)
        server_set_learn(set, worker, s, o);
    if (UNLIKELY(u->breaker != NULL) && breaker_learn(u->breaker, worker, o))
        log_warn("the breaker opens: too much of what was sent has failed", LOG_SLICE("upstream", u->name));
}

enum pick_failure upstream_state(const struct upstream *u)
{
    return server_set_state(u->set);
}

const char *pick_failure_text(enum pick_failure why)
{
    switch (why) {
    case PICK_OK:
        return "";
    case PICK_NONE_UP:
        return "no server is up";
    case PICK_BREAKER_OPEN:
        return "the upstream's breaker is open";
    case PICK_ALL_BUSY:
        return "every server is at max_connections";
    case PICK_ALL_TRIED:
        return "every server that is up has failed this request";
    }
    return "";
}
