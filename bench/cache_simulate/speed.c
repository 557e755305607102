#include "bench/cache_simulate/speed.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/cache_simulate/reference.h"
#include "bench/cache_simulate/trace.h"
#include "cache/shadow.h"

enum { ROUNDS = 5, NODES = 100000 };

static const struct cache_policy_ops *const policies[] = {&cache_policy_lru, &cache_policy_s3fifo,
                                                          &reference_sieve};

struct steps {
    double insert, touch, hot_touch, promote, evict; /* ns */
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void keep_least(double *least, double start, size_t steps)
{
    double took = (now_ns() - start) / (double)steps;
    if (*least == 0 || took < *least)
        *least = took;
}

/* In an order that no prefetcher knows. */
static struct cache_policy_node *some(struct cache_policy_node *nodes, size_t i)
{
    return &nodes[i * 61291 % NODES];
}

static void round_of(const struct cache_policy_ops *ops, struct cache_policy_node *nodes, struct steps *s)
{
    struct cache_policy p;
    cache_policy_init(&p, ops);
    for (size_t i = 0; i < NODES; i++)
        cache_policy_node_init(&nodes[i], trace_mix(i), 1000);

    double start = now_ns();
    for (size_t i = 0; i < NODES; i++)
        cache_policy_insert(&p, some(nodes, i), 1000);
    keep_least(&s->insert, start, NODES);

    size_t wanted = 0;
    start = now_ns();
    for (size_t i = 0; i < NODES; i++)
        wanted += cache_policy_touch(&p, some(nodes, i * 7), 1000 + CACHE_POLICY_PROMOTE_MS);
    keep_least(&s->touch, start, NODES);

    start = now_ns();
    for (size_t i = 0; i < NODES; i++)
        wanted += cache_policy_touch(&p, &nodes[i & 15], 1000 + CACHE_POLICY_PROMOTE_MS);
    keep_least(&s->hot_touch, start, NODES);

    start = now_ns();
    for (size_t i = 0; wanted && i < NODES; i++)
        cache_policy_promote(&p, some(nodes, i * 7));
    if (wanted)
        keep_least(&s->promote, start, NODES);

    start = now_ns();
    while (cache_policy_victim(&p))
        ;
    keep_least(&s->evict, start, NODES);
    cache_policy_clear(&p);
}

/* One request of a key that is in the sample, or is not. */
static double shadow_ns(bool sampled)
{
    struct cache_shadow *s = cache_shadow_create(&cache_policy_lru, UINT64_C(256) << 20);
    uint64_t *hashes = malloc(NODES * sizeof *hashes), key = 0;
    double least = 0;
    if (!s || !hashes)
        exit(1);
    for (size_t i = 0; i < NODES; i++)
        do
            hashes[i] = trace_mix(key++);
        while ((cache_shadow_bits(hashes[i]) < s->threshold) != sampled);
    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (size_t i = 0; i < NODES; i++)
            cache_shadow_access(s, 0, hashes[i], 16384, 1000 + round);
        keep_least(&least, start, NODES);
    }
    free(hashes);
    cache_shadow_free(s);
    return least;
}

void speed_print(void)
{
    struct cache_policy_node *nodes = calloc(NODES, sizeof *nodes);
    if (!nodes)
        exit(1);
    printf("Nanoseconds a step, 100,000 nodes in random order:\n\n"
           "| policy | insert | touch | touch of a hot one | promote | evict |\n| --- | --- | --- | --- | "
           "--- | --- |\n");
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct steps s = {0};
        for (unsigned round = 0; round < ROUNDS; round++)
            round_of(policies[i], nodes, &s);
        printf("| %s | %.1f | %.1f | %.1f | %.1f | %.1f |\n", policies[i]->name, s.insert, s.touch,
               s.hot_touch, s.promote, s.evict);
    }
    free(nodes);
    printf("\nThe shadow: %.1f ns for a key that is not in the sample, %.1f for one that is and misses in "
           "all.\n",
           shadow_ns(false), shadow_ns(true));
}
