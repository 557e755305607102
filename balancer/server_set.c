#include "balancer/server_set.h"

#include "balancer/sticky.h"

#include <stdlib.h>

static int make_tiers(struct server_set *set, const struct policy_options *options,
                      struct server *const *servers, const size_t *sizes);
static int make_states(struct server_set *set, unsigned turn);
static int index_tiers(struct server_set *set);
static void on_released(struct letter *letter);

struct server_set *server_set_create(const struct policy *policy, const struct policy_options *options,
                                     unsigned workers, unsigned turn, struct loop *control,
                                     struct server *const *servers, const size_t *sizes, size_t tier_count)
{
    ASSERT(tier_count && tier_count <= SERVER_SET_TIERS);
    struct server_set *set = calloc(1, sizeof *set);
    if (!set)
        return NULL;
    set->magic = SERVER_SET_MAGIC;
    list_init(&set->link);
    set->policy = policy;
    set->workers = workers;
    set->control = control;
    set->tier_count = tier_count;
    set->holds = aligned_alloc(64, workers * sizeof *set->holds);
    if (!set->holds || make_tiers(set, options, servers, sizes) != 0 || index_tiers(set) != 0 ||
        make_states(set, turn) != 0) {
        server_set_free(set);
        return NULL;
    }
    for (unsigned w = 0; w < workers; w++)
        set->holds[w] = (struct server_set_hold){.count = 1, .letter.deliver = on_released, .set = set};
    set->holding = workers;
    return set;
}

static int make_tiers(struct server_set *set, const struct policy_options *options,
                      struct server *const *servers, const size_t *sizes)
{
    size_t count = 0;
    for (size_t t = 0; t < set->tier_count; t++)
        count += sizes[t];
    set->tiers = calloc(set->tier_count, sizeof *set->tiers);
    set->servers = calloc(count + 1, sizeof(struct server *));
    if (!set->tiers || !set->servers)
        return -1;
    while (set->count < count) {
        set->servers[set->count] = server_hold(servers[set->count]);
        set->count++;
    }
    struct server **first = set->servers;
    for (size_t t = 0; t < set->tier_count; t++) {
        struct tier *tier = &set->tiers[t];
        *tier = (struct tier){.servers = first, .count = sizes[t], .options = options};
        first += sizes[t];
        if (set->policy->share && !(tier->shared = set->policy->share(tier)))
            return -1;
    }
    return 0;
}

/* Servers without a number (dry runs) are looked for. */
static int index_tiers(struct server_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->servers[i]->id < SERVER_ID_MAX && set->servers[i]->id >= set->ids)
            set->ids = set->servers[i]->id + 1;
    set->tier_of = calloc(set->ids + 1, 1);
    if (!set->tier_of)
        return -1;
    for (size_t t = 0; t < set->tier_count; t++)
        for (size_t i = 0; i < set->tiers[t].count; i++)
            if (set->tiers[t].servers[i]->id < set->ids)
                set->tier_of[set->tiers[t].servers[i]->id] = (uint8_t)t;
    return 0;
}

/* Whole cache lines, so that no worker writes to another's. */
static void *make_state(const struct server_set *set, const struct tier *t, unsigned start)
{
    size_t size = (set->policy->size(t) + 64) & ~(size_t)63;
    void *state = aligned_alloc(64, size);
    if (!state)
        return NULL;
    memset(state, 0, size);
    set->policy->init(state, t, start);
    return state;
}

static int make_states(struct server_set *set, unsigned turn)
{
    size_t tiers = set->tier_count;
    set->states = calloc(set->workers * tiers + 1, sizeof(void *));
    for (size_t i = 0; set->states && i < set->workers * tiers; i++) {
        set->states[i] = make_state(set, &set->tiers[i % tiers], (unsigned)(i / tiers) + turn);
        if (!set->states[i])
            return -1;
    }
    return set->states ? 0 : -1;
}

void server_set_free(struct server_set *set)
{
    if (!set)
        return;
    ASSERT(set->magic == SERVER_SET_MAGIC);
    list_remove(&set->link);
    for (size_t i = 0; set->states && i < set->workers * set->tier_count; i++)
        free(set->states[i]);
    for (size_t t = 0; set->tiers && t < set->tier_count; t++)
        if (set->tiers[t].shared)
            set->policy->unshare(set->tiers[t].shared);
    for (size_t i = 0; i < set->count; i++)
        server_release(set->servers[i]);
    sticky_free(set->sticky);
    free(set->states);
    free(set->tiers);
    free(set->servers);
    free(set->tier_of);
    free(set->holds);
    set->magic = 0;
    free(set);
}

/* Holds. */

static void on_released(struct letter *letter)
{
    struct server_set *set = CONTAINER_OF(letter, struct server_set_hold, letter)->set;
    ASSERT(set->magic == SERVER_SET_MAGIC && set->holding);
    if (--set->holding == 0)
        server_set_free(set);
}

void server_set_release(struct server_set *set, unsigned worker)
{
    struct server_set_hold *hold = &set->holds[worker];
    ASSERT(hold->count);
    if (--hold->count)
        return;
    if (set->control)
        loop_post(set->control, &hold->letter);
    else
        on_released(&hold->letter);
}

void server_set_forgo(struct server_set *set, unsigned worker)
{
    struct server_set_hold *hold = &set->holds[worker];
    ASSERT(hold->count == 1);
    hold->count = 0;
    on_released(&hold->letter);
}

/* Picking. */

static struct server *pick_and_begin(const struct server_set *set, void *state, const struct tier *t,
                                     const struct pick *p)
{
    /* Another worker may fill the chosen one between the look and the count; then the policy sees it full. */
    for (size_t turn = 0; turn < t->count + 8; turn++) {
        struct server *s = set->policy->pick(state, t, p);
        if (!s)
            return NULL;
        if (server_begin(s))
            return s;
    }
    return NULL;
}

__attribute__((noinline)) static struct server *pick_suspect(const struct server_set *set, void *state,
                                                             const struct tier *t, const struct pick *p)
{
    struct pick any = *p;
    any.suspects_too = true;
    struct server *s = pick_and_begin(set, state, t, &any);
    if (s)
        suspicion_try(s, p->now_us);
    return s;
}

/* One that nobody suspects, else any. */
static struct server *pick_from(const struct server_set *set, void *state, const struct tier *t,
                                const struct pick *p)
{
    struct server *s = set->policy->pick(state, t, p);
    if (UNLIKELY(s == NULL))
        return pick_suspect(set, state, t, p);
    if (UNLIKELY(!server_begin(s)) && !(s = pick_and_begin(set, state, t, p)))
        return pick_suspect(set, state, t, p);
    suspicion_try(s, p->now_us);
    return s;
}

static enum pick_failure why_none(const struct tier *t, const struct pick *p)
{
    enum pick_failure why = PICK_NONE_UP;
    for (size_t i = 0; i < t->count; i++) {
        if (!server_usable(t->servers[i]))
            continue;
        if (!pick_tried(p, t->servers[i]))
            return PICK_ALL_BUSY;
        why = PICK_ALL_TRIED;
    }
    return why;
}

/* A session's server, also one that gets nothing new: drained by hand, or of weight 0. */
static bool takes_session(const struct pick *p)
{
    const struct server *s = p->prefer;
    if (pick_tried(p, s) || server_is_suspect(s, p->now_us))
        return false;
    return server_usable(s) ||
           (atomic_load_explicit(&s->address_version, memory_order_relaxed) != 0 &&
            !atomic_load_explicit(&s->ejected, memory_order_relaxed) && !server_is_down(s));
}

/* The least busy of those that are out without being known to be bad. Suspects only when there is nothing
 * else that the request could have failed at. */
static struct server *pick_spare(const struct server_set *set, const struct pick *p, enum pick_failure *why)
{
    struct server *best = NULL;
    for (size_t i = 0; i < set->count; i++) {
        struct server *s = set->servers[i];
        if (!server_is_spare(s) || pick_tried(p, s) || (p->tried_count && server_is_suspect(s, p->now_us)))
            continue;
        *why = PICK_ALL_BUSY;
        if (!server_full(s) && (!best || server_in_flight(s) < server_in_flight(best)))
            best = s;
    }
    if (!best || !server_begin(best))
        return NULL;
    suspicion_try(best, p->now_us);
    *why = PICK_OK;
    return best;
}

static struct server *pick_usable(struct server_set *set, unsigned worker, const struct pick *p,
                                  enum pick_failure *why)
{
    *why = PICK_NONE_UP;
    for (size_t t = 0; t < set->tier_count; t++) {
        const struct tier *tier = &set->tiers[t];
        struct server *s =
            tier->count ? pick_from(set, set->states[worker * set->tier_count + t], tier, p) : NULL;
        if (LIKELY(s != NULL)) {
            *why = PICK_OK;
            return s;
        }
        enum pick_failure none = why_none(tier, p);
        if (none != PICK_NONE_UP && *why != PICK_ALL_BUSY)
            *why = none;
        if (*why == PICK_ALL_BUSY && !tier->spills)
            return NULL;
    }
    return NULL;
}

struct server *server_set_pick(struct server_set *set, unsigned worker, const struct pick *p,
                               enum pick_failure *why)
{
    ASSERT(worker < set->workers);
    *why = PICK_OK;
    if (p->prefer && takes_session(p) && server_begin(p->prefer))
        return p->prefer;
    struct server *s = pick_usable(set, worker, p, why);
    if (LIKELY(s != NULL) || !p->spares || *why == PICK_ALL_BUSY)
        return s;
    return pick_spare(set, p, why);
}

size_t server_set_tier(const struct server_set *set, const struct server *s)
{
    if (s->id < set->ids)
        return set->tier_of[s->id];
    for (size_t t = 0; t < set->tier_count; t++)
        for (size_t i = 0; i < set->tiers[t].count; i++)
            if (set->tiers[t].servers[i] == s)
                return t;
    return 0;
}

void server_set_learn(struct server_set *set, unsigned worker, struct server *s, const struct outcome *o)
{
    if (!set->policy->done || !o || o->kind == OUTCOME_ABANDONED)
        return;
    size_t t = server_set_tier(set, s);
    set->policy->done(set->states[worker * set->tier_count + t], &set->tiers[t], s, o);
}

enum pick_failure server_set_state(const struct server_set *set)
{
    const struct pick none = {.suspects_too = true};
    enum pick_failure state = PICK_NONE_UP;
    for (size_t t = 0; t < set->tier_count && (state == PICK_NONE_UP || (t && set->tiers[t - 1].spills));
         t++) {
        for (size_t i = 0; i < set->tiers[t].count; i++) {
            if (pick_weight(&none, set->tiers[t].servers[i]))
                return PICK_OK;
            if (server_usable(set->tiers[t].servers[i]))
                state = PICK_ALL_BUSY;
        }
    }
    return state;
}

struct server *server_set_find(const struct server_set *set, struct slice name)
{
    for (size_t i = 0; i < set->count; i++)
        if (slice_equal(set->servers[i]->name, name))
            return set->servers[i];
    return NULL;
}
