/* What the tests of balancing policies share: a tier of many servers, a worker's state over it, and counting
 * who is picked. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "balancer/draw.h"
#include "balancer/policy.h"

#define WORKERS_MAX 8

struct bench_tier {
    const struct policy *policy;
    struct policy_options options;
    struct tier tier;
    struct server **servers;
    void *states[WORKERS_MAX];
    unsigned workers;
};

static inline void tier_states(struct bench_tier *b)
{
    if (b->policy->share)
        assert_non_null(b->tier.shared = b->policy->share(&b->tier));
    for (unsigned w = 0; w < b->workers; w++) {
        b->states[w] = calloc(1, b->policy->size(&b->tier) + 1);
        assert_non_null(b->states[w]);
        b->policy->init(b->states[w], &b->tier, w);
    }
}

static inline void tier_drop_states(struct bench_tier *b)
{
    if (b->policy->unshare)
        b->policy->unshare(b->tier.shared);
    for (unsigned w = 0; w < b->workers; w++)
        free(b->states[w]);
}

/* Server i is 10.0.0.0 + i; `weights` may be NULL: 1 each. */
static inline void tier_make(struct bench_tier *b, const struct policy *policy, size_t count,
                             const uint32_t *weights, unsigned workers)
{
    *b = (struct bench_tier){.policy = policy, .options = {.bound = 125, .seed = 7}, .workers = workers};
    b->servers = calloc(count + 1, sizeof(struct server *));
    assert_non_null(b->servers);
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "10.0.%zu.%zu:80", i / 256, i % 256);
        b->servers[i] = server_create(NULL, S("up"), slice_text(name));
        assert_non_null(b->servers[i]);
        server_configure(b->servers[i], weights ? weights[i] : 1, 0, false);
    }
    b->tier = (struct tier){.servers = b->servers, .count = count, .options = &b->options};
    tier_states(b);
}

static inline void tier_free(struct bench_tier *b)
{
    tier_drop_states(b);
    for (size_t i = 0; i < b->tier.count; i++)
        server_release(b->servers[i]);
    free(b->servers);
}

static inline struct server *tier_pick(struct bench_tier *b, unsigned worker, const struct pick *p)
{
    return b->policy->pick(b->states[worker], &b->tier, p);
}

static inline size_t tier_index(const struct bench_tier *b, const struct server *s)
{
    for (size_t i = 0; i < b->tier.count; i++)
        if (b->servers[i] == s)
            return i;
    fail_msg("picked a server that is not there");
    return 0;
}

/* The hash of the k-th key. */
static inline uint64_t key(uint64_t k)
{
    return random_mix(k + 1) | 1;
}

/* `count` requests one after the other, each with a key of its own, by the workers in turn; how many each
 * server got (to be freed). */
static inline size_t *tier_count(struct bench_tier *b, size_t count)
{
    size_t *got = calloc(b->tier.count + 1, sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < count; i++) {
        struct server *s = tier_pick(b, (unsigned)(i % b->workers), &(struct pick){.hash = key(i)});
        assert_non_null(s);
        got[tier_index(b, s)]++;
    }
    return got;
}
