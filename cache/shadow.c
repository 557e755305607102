#include "cache/shadow.h"

#include <pthread.h>
#include <stdlib.h>

#include "cache/miniature.h"

enum { AS_IT_IS, OTHER_POLICY, DOUBLE, MINIATURES };

enum {
    MINUTES = 60,
    NODES_MIN = 64,
    NODES_MAX = 16384,
    BYTES_PER_NODE =
        4 * 76, /* in all three: one, one and two nodes, with their share of tables and ghost queues */
    MEMORY_SHARE = 100,   /* of the memory, one part in so many is the shadow's */
    MEAN_GUESSED = 16384, /* of an object, until it is known */
    MEAN_OF = 32,         /* so many make a mean */
    SAMPLES_MIN = 2000    /* for an advice */
};

#define SHARE_WANTED 0.01
#define SHARE_MAX    0.125
#define ALL_KEYS     4294967296.0

/* Requests of a span of time, and how many of them would have missed. */
struct span {
    double requests, misses[MINIATURES];
    uint64_t sampled;
};

struct cache_shadow_state {
    pthread_mutex_t lock; /* for all below, but for `skipped` */
    const struct cache_policy_ops *policy;
    uint64_t memory;
    uint32_t threshold;
    bool on;      /* the miniatures are made */
    bool is_warm; /* they are counted */
    struct miniature miniatures[MINIATURES];
    uint64_t seen, seen_until_full; /* sampled requests since they were made; until the first eviction */

    /* Since the current minute began, or since counting did. */
    uint64_t minute;
    uint64_t requests_before; /* of all workers, at its beginning */
    uint64_t sampled, misses[MINIATURES];
    _Atomic uint64_t skipped; /* the lock was taken */

    struct span minutes[MINUTES], total; /* before the current one */
    uint64_t minute_numbers[MINUTES];
};

/* Counting. */

static uint64_t requests_of(const struct cache_shadow *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < CACHE_SHADOW_WORKERS; i++)
        sum += counter_get(&s->workers[i].requests);
    return sum;
}

static void begin_counting(struct cache_shadow *s)
{
    struct cache_shadow_state *state = s->state;
    state->requests_before = requests_of(s);
    state->sampled = 0;
    for (size_t i = 0; i < MINIATURES; i++)
        state->misses[i] = 0;
    atomic_store_explicit(&state->skipped, 0, memory_order_relaxed);
}

static void add_span(struct span *to, const struct span *more)
{
    to->requests += more->requests;
    to->sampled += more->sampled;
    for (size_t i = 0; i < MINIATURES; i++)
        to->misses[i] += more->misses[i];
}

/* What was counted since the minute began, for all keys: a miss in the sample stands for several. */
static struct span current(const struct cache_shadow *s)
{
    const struct cache_shadow_state *state = s->state;
    if (!state->is_warm || !state->sampled)
        return (struct span){0};
    double skipped = (double)atomic_load_explicit(&state->skipped, memory_order_relaxed);
    double each = ALL_KEYS / state->threshold * (1 + skipped / (double)state->sampled);
    struct span now = {.requests = (double)(requests_of(s) - state->requests_before),
                       .sampled = state->sampled};
    for (size_t i = 0; i < MINIATURES; i++)
        now.misses[i] = (double)state->misses[i] * each;
    return now;
}

/* Puts the current span away, if there is anything in it. */
static void close_span(struct cache_shadow *s)
{
    struct cache_shadow_state *state = s->state;
    struct span now = current(s);
    if (!now.sampled)
        return;
    size_t at = state->minute % MINUTES;
    if (state->minute_numbers[at] != state->minute)
        state->minutes[at] = (struct span){0};
    state->minute_numbers[at] = state->minute;
    add_span(&state->minutes[at], &now);
    add_span(&state->total, &now);
    begin_counting(s);
}

/* The sample. */

static uint32_t nodes_for(uint64_t memory)
{
    uint64_t nodes = memory / MEMORY_SHARE / BYTES_PER_NODE;
    return nodes < NODES_MIN ? NODES_MIN : nodes > NODES_MAX ? NODES_MAX : (uint32_t)nodes;
}

/* Objects that the whole cache holds, by the mean of what is there. */
static double objects_of(const struct cache_shadow_state *state)
{
    const struct cache_policy *p = &state->miniatures[AS_IT_IS].policy;
    double mean = MEAN_GUESSED;
    if (state->on && cache_policy_count(p) >= MEAN_OF)
        mean = (double)cache_policy_bytes(p) / (double)cache_policy_count(p);
    return (double)state->memory / (mean < 1 ? 1 : mean);
}

static double share_wanted(const struct cache_shadow_state *state)
{
    double objects = objects_of(state), share = SHARE_WANTED;
    double most = 0.75 * nodes_for(state->memory);
    if (share * objects < CACHE_SHADOW_NODES)
        share = CACHE_SHADOW_NODES / objects;
    if (share * objects > most)
        share = most / objects;
    return share > SHARE_MAX ? SHARE_MAX : share;
}

static void clear_miniatures(struct cache_shadow_state *state)
{
    for (size_t i = 0; state->on && i < MINIATURES; i++)
        miniature_clear(&state->miniatures[i]);
    state->on = false;
}

/* Empty miniatures for this share of the keys; off when out of memory. */
static void begin(struct cache_shadow *s, double share)
{
    struct cache_shadow_state *state = s->state;
    const struct cache_policy_ops *other = cache_policies[cache_policies[0] == state->policy];
    uint64_t capacity = (uint64_t)((double)state->memory * share);
    uint32_t nodes = nodes_for(state->memory);

    clear_miniatures(state);
    state->is_warm = false;
    state->seen = state->seen_until_full = 0;
    state->threshold = (uint32_t)(share * ALL_KEYS);
    int made = 0;
    made += miniature_init(&state->miniatures[AS_IT_IS], state->policy, capacity, nodes) == 0;
    made += miniature_init(&state->miniatures[OTHER_POLICY], other, capacity, nodes) == 0;
    made += miniature_init(&state->miniatures[DOUBLE], state->policy, capacity * 2, nodes * 2) == 0;
    state->on = true;
    if (made < MINIATURES)
        clear_miniatures(state);
    atomic_store_explicit(&s->threshold, state->on ? state->threshold : 0, memory_order_relaxed);
}

/* Begins anew with another share when the present one is far from what is wanted. What was counted stays. */
static void mend_share(struct cache_shadow *s)
{
    double wanted = share_wanted(s->state), share = s->state->threshold / ALL_KEYS;
    if (wanted < share * 2 && wanted > share / 2)
        return;
    close_span(s);
    begin(s, wanted);
}

/* A request. */

/* The miniatures are warm when they have seen as much again as it took to fill the first. */
static void watch(struct cache_shadow *s)
{
    struct cache_shadow_state *state = s->state;
    bool is_full = state->miniatures[AS_IT_IS].evicted > 0, is_crowded = false;
    for (size_t i = 0; i < MINIATURES; i++) {
        is_crowded |= state->miniatures[i].crowded;
        state->miniatures[i].crowded = false;
    }
    if (is_crowded || (is_full && !state->seen_until_full)) {
        state->seen_until_full = state->seen;
        mend_share(s);
    } else if (!state->is_warm && state->seen_until_full && state->seen >= 2 * state->seen_until_full) {
        state->is_warm = true;
        begin_counting(s);
    }
}

static void sample(struct cache_shadow *s, uint64_t hash, uint64_t bytes, msec_t now)
{
    struct cache_shadow_state *state = s->state;
    if (now / 60000 > state->minute) { /* clocks of workers differ by a little */
        close_span(s);
        state->minute = now / 60000;
        mend_share(s);
    }
    if (!state->on || bytes > state->miniatures[AS_IT_IS].capacity / 2)
        return;
    for (size_t i = 0; i < MINIATURES; i++)
        state->misses[i] += !miniature_access(&state->miniatures[i], hash, bytes, now);
    state->sampled++;
    state->seen++;
    watch(s);
}

void cache_shadow_sample(struct cache_shadow *s, uint64_t hash, uint64_t bytes, msec_t now)
{
    if (pthread_mutex_trylock(&s->state->lock) != 0) {
        atomic_fetch_add_explicit(&s->state->skipped, 1, memory_order_relaxed);
        return;
    }
    sample(s, hash, bytes, now);
    pthread_mutex_unlock(&s->state->lock);
}

/* Life. */

struct cache_shadow *cache_shadow_create(const struct cache_policy_ops *policy, uint64_t memory)
{
    struct cache_shadow *s = aligned_alloc(_Alignof(struct cache_shadow), sizeof *s);
    if (!s)
        return NULL;
    *s = (struct cache_shadow){.state = calloc(1, sizeof *s->state)};
    if (!s->state) {
        free(s);
        return NULL;
    }
    pthread_mutex_init(&s->state->lock, NULL);
    cache_shadow_configure(s, policy, memory);
    return s;
}

void cache_shadow_free(struct cache_shadow *s)
{
    if (!s)
        return;
    clear_miniatures(s->state);
    pthread_mutex_destroy(&s->state->lock);
    free(s->state);
    free(s);
}

void cache_shadow_configure(struct cache_shadow *s, const struct cache_policy_ops *policy, uint64_t memory)
{
    struct cache_shadow_state *state = s->state;
    pthread_mutex_lock(&state->lock);
    if (!state->on || state->policy != policy || state->memory != memory) {
        clear_miniatures(state);
        state->policy = policy;
        state->memory = memory;
        state->total = (struct span){0};
        for (size_t i = 0; i < MINUTES; i++)
            state->minutes[i] = (struct span){0};
        begin(s, share_wanted(state));
    }
    pthread_mutex_unlock(&state->lock);
}

size_t cache_shadow_bytes(struct cache_shadow *s)
{
    size_t bytes = sizeof *s + sizeof *s->state;
    pthread_mutex_lock(&s->state->lock);
    for (size_t i = 0; s->state->on && i < MINIATURES; i++)
        bytes += miniature_bytes(&s->state->miniatures[i]);
    pthread_mutex_unlock(&s->state->lock);
    return bytes;
}

/* The report. */

static double hit_ratio(const struct span *span, size_t miniature)
{
    double misses = span->misses[miniature] / span->requests;
    return misses > 1 ? 0 : 1 - misses;
}

static struct cache_shadow_figures figures_of(const struct span *span)
{
    struct cache_shadow_figures f = {.sampled = span->sampled, .requests = span->requests};
    if (!span->sampled || !(span->requests > 0))
        return (struct cache_shadow_figures){0};
    f.hit_ratio = hit_ratio(span, AS_IT_IS);
    f.other_hit_ratio = hit_ratio(span, OTHER_POLICY);
    f.double_hit_ratio = hit_ratio(span, DOUBLE);
    f.other_points = 100 * (span->misses[AS_IT_IS] - span->misses[OTHER_POLICY]) / span->requests;
    f.double_points = 100 * (span->misses[AS_IT_IS] - span->misses[DOUBLE]) / span->requests;
    return f;
}

static enum cache_shadow_standing standing_of(const struct cache_shadow_state *state, uint64_t sampled)
{
    if (!state->on || state->seen < MEAN_OF)
        return CACHE_SHADOW_LEARNING;
    if (objects_of(state) * SHARE_MAX < NODES_MIN)
        return CACHE_SHADOW_SMALL;
    if (!state->seen_until_full)
        return state->seen >= SAMPLES_MIN ? CACHE_SHADOW_FITS : CACHE_SHADOW_LEARNING;
    return sampled >= SAMPLES_MIN ? CACHE_SHADOW_READY : CACHE_SHADOW_LEARNING;
}

void cache_shadow_report(struct cache_shadow *s, msec_t now, struct cache_shadow_report *out)
{
    struct cache_shadow_state *state = s->state;
    pthread_mutex_lock(&state->lock);
    struct span hour = current(s), total = hour;
    uint64_t minute = now / 60000;
    if (state->minute + MINUTES <= minute)
        hour = (struct span){0};
    for (size_t i = 0; i < MINUTES; i++)
        if (state->minute_numbers[i] + MINUTES > minute)
            add_span(&hour, &state->minutes[i]);
    add_span(&total, &state->total);
    *out = (struct cache_shadow_report){
        .standing = standing_of(state, hour.sampled),
        .policy = state->policy->name,
        .other_policy = cache_policies[cache_policies[0] == state->policy]->name,
        .memory = state->memory,
        .sample = state->threshold / ALL_KEYS,
        .nodes = state->on ? cache_policy_count(&state->miniatures[AS_IT_IS].policy) : 0,
        .hour = figures_of(&hour),
        .total = figures_of(&total),
    };
    pthread_mutex_unlock(&state->lock);
}
