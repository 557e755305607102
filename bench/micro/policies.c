/* How long a pick takes, by policy and number of servers: nanoseconds, the best of several rounds, with the
 * request counted in and out as upstream_pick and upstream_done do; and how long the policy's tables take to
 * make. Every tenth server is down, weights are 1 to 3. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "balancer/draw.h"

enum { ROUNDS = 7, PICKS = 20000, HELD = 64 };

static const struct policy *const policies[] = {
    &policy_round_robin, &policy_least_connections, &policy_random_two, &policy_ewma, &policy_ring_hash,
    &policy_maglev,      &policy_source_hash};
static const size_t counts[] = {10, 100, 1000, 10000};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_servers(struct server **servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "10.%zu.%zu.%zu:80", i >> 16, i >> 8 & 255, i & 255);
        servers[i] = server_create(NULL, S("bench"), slice_of(name, (size_t)len));
        if (!servers[i])
            exit(1);
        server_configure(servers[i], 1 + (uint32_t)(i % 3), 0, false);
        if (i % 10 == 9)
            server_set_health(servers[i], HEALTH_DOWN, "bench", 1);
    }
}

/* HELD requests are in flight at any time. */
static double round_of(const struct policy *policy, void *state, const struct tier *t)
{
    struct server *held[HELD] = {0};
    const struct outcome o = {
        .kind = OUTCOME_ANSWERED, .status = 200, .head_us = 1000, .took_us = 1000, .now_us = 2000000};
    double start = seconds();
    for (uint64_t i = 0; i < PICKS; i++) {
        struct server **slot = &held[i % HELD];
        if (*slot) {
            server_end(*slot);
            if (policy->done)
                policy->done(state, t, *slot, &o);
        }
        *slot = policy->pick(state, t, &(struct pick){.hash = random_mix(i) | 1, .now_us = 2000000 + i});
        server_begin(*slot);
    }
    double took = seconds() - start;
    for (size_t i = 0; i < HELD; i++)
        server_end(held[i]);
    return took * 1e9 / PICKS;
}

static void measure(const struct policy *policy, struct server **servers, size_t count, double *pick_ns,
                    double *make_ms)
{
    struct tier t = {.servers = servers, .count = count};
    double start = seconds();
    t.shared = policy->share ? policy->share(&t) : NULL;
    void *state = calloc(1, policy->size(&t) + 1);
    if (!state || (policy->share && !t.shared))
        exit(1);
    policy->init(state, &t, 0);
    *make_ms = (seconds() - start) * 1e3;
    *pick_ns = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        double ns = round_of(policy, state, &t);
        *pick_ns = ns < *pick_ns ? ns : *pick_ns;
    }
    free(state);
    if (policy->unshare)
        policy->unshare(t.shared);
}

int main(void)
{
    double pick[COUNT_OF(policies)][COUNT_OF(counts)], make[COUNT_OF(policies)][COUNT_OF(counts)];
    struct server **servers = calloc(counts[COUNT_OF(counts) - 1], sizeof(struct server *));
    if (!servers)
        return 1;
    make_servers(servers, counts[COUNT_OF(counts) - 1]);
    for (size_t p = 0; p < COUNT_OF(policies); p++)
        for (size_t c = 0; c < COUNT_OF(counts); c++)
            measure(policies[p], servers, counts[c], &pick[p][c], &make[p][c]);

    printf("| `balance` | 10 servers | 100 | 1,000 | 10,000 | tables of 10,000 |\n| --- | --- | --- | --- | "
           "--- | --- |\n");
    for (size_t p = 0; p < COUNT_OF(policies); p++) {
        printf("| `%s` |", policies[p]->name);
        for (size_t c = 0; c < COUNT_OF(counts); c++)
            printf(" %.0f ns |", pick[p][c]);
        printf(" %.1f ms |\n", make[p][COUNT_OF(counts) - 1]);
    }
    for (size_t i = 0; i < counts[COUNT_OF(counts) - 1]; i++)
        server_release(servers[i]);
    free(servers);
    return 0;
}
