/* What fraction of the requests misses, by eviction policy: the policies that weir runs, and some to compare
 * with, on traces. Prints the tables that docs/caching.md has.
 *
 *     bench_cache_simulate                          made-up traces, beside what is published; and how long a
 * step takes bench_cache_simulate speed                    only the latter bench_cache_simulate trace FILE
 * [RATE]        a trace: lines of TIME,KEY,SIZE; with caches of 0.1, 1 and 10 % of its footprint. RATE:
 * requests a second; lru promotes a node once a second at most. Without it: at every hit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cache_simulate/published.h"
#include "bench/cache_simulate/reference.h"
#include "bench/cache_simulate/speed.h"
#include "bench/cache_simulate/trace.h"
#include "cache/miniature.h"

static const struct cache_policy_ops *const policies[] = {
    &reference_fifo, &reference_clock, &cache_policy_lru, &cache_policy_s3fifo, &reference_sieve};
enum { POLICIES = COUNT_OF(policies) };

static const double shares[] = {0.001, 0.01, 0.1};

struct misses {
    double requests, bytes; /* shares of all */
};

/* `gap_us`: the time between two requests. */
static struct misses run(const struct trace *t, const struct cache_policy_ops *ops, double share,
                         uint64_t gap_us)
{
    struct miniature m;
    uint64_t capacity = (uint64_t)((double)t->footprint * share), bytes = 0, missed_bytes = 0;
    size_t missed = 0;
    if (miniature_init(&m, ops, capacity ? capacity : 1, (uint32_t)t->count) < 0)
        exit(1);
    for (size_t i = 0; i < t->count; i++) {
        const struct request *r = &t->requests[i];
        bool hit = miniature_access(&m, r->hash, r->bytes, i * gap_us / 1000);
        bytes += r->bytes;
        missed += !hit;
        missed_bytes += hit ? 0 : r->bytes;
    }
    miniature_clear(&m);
    return (struct misses){(double)missed / (double)t->count, (double)missed_bytes / (double)bytes};
}

static void print_heads(const char *first)
{
    printf("| %s | cache |", first);
    for (size_t i = 0; i < POLICIES; i++)
        printf(" %s |", policies[i]->name);
    printf("\n| --- | --- |");
    for (size_t i = 0; i < POLICIES; i++)
        printf(" --- |");
    printf("\n");
}

/* A row for each size of the cache. `sums`: of the reductions from fifo, by policy; NULL = not wanted. */
static void print_rows(const struct trace *t, const char *name, uint64_t gap_us, bool of_bytes, double *sums)
{
    for (size_t s = 0; s < COUNT_OF(shares); s++) {
        double fifo = 1;
        printf("| %s | %g %% |", name, shares[s] * 100);
        for (size_t i = 0; i < POLICIES; i++) {
            struct misses m = run(t, policies[i], shares[s], gap_us);
            double missed = of_bytes ? m.bytes : m.requests;
            fifo = i == 0 ? missed : fifo;
            if (sums)
                sums[i] += (fifo - missed) / fifo;
            printf(" %.2f |", missed * 100);
        }
        printf("\n");
        fflush(stdout);
    }
}

#define EVERY_HIT (CACHE_POLICY_PROMOTE_MS * UINT64_C(1000)) /* a request a promotion's time */

static void made_up(const char *name, const struct trace_spec *spec, bool of_bytes, double *sums)
{
    struct trace t;
    trace_make(&t, spec);
    print_rows(&t, name, EVERY_HIT, of_bytes, sums);
    trace_free(&t);
}

static void zipf_table(void)
{
    static const double alphas[] = {0.6, 0.8, 1.0, 1.2};
    double sums[POLICIES] = {0};
    printf("\nMiss ratios in percent, 100,000 objects of one size, 2,000,000 requests by Zipf's law:\n\n");
    print_heads("alpha");
    for (size_t i = 0; i < COUNT_OF(alphas); i++) {
        char name[16];
        snprintf(name, sizeof name, "%.1f", alphas[i]);
        made_up(name,
                &(struct trace_spec){.alpha = alphas[i], .objects = 100000, .requests = 2000000, .seed = 1},
                false, sums);
    }
    printf("| mean reduction from fifo | |");
    for (size_t i = 0; i < POLICIES; i++)
        printf(" %.1f %% |", 100 * sums[i] / (double)(COUNT_OF(alphas) * COUNT_OF(shares)));
    printf("\n\n%s", published_reductions);
}

static void other_tables(void)
{
    const struct trace_spec plain = {.alpha = 1.0, .objects = 100000, .requests = 2000000, .seed = 2};
    struct trace_spec spec = plain;
    printf("\nThe same, alpha 1.0, with keys that never come again:\n\n");
    print_heads("trace");
    spec.once = 0.5;
    made_up("every second request, here and there", &spec, false, NULL);
    spec.once = 1.0 / 3;
    spec.once_burst = 50000;
    made_up("scans of 50,000 after each 100,000 requests", &spec, false, NULL);

    printf("\nThe same, alpha 1.0, with sizes (lognormal, median 4 KiB, sigma 1.5, up to 8 MiB):\n\n");
    print_heads("misses of");
    spec = plain;
    spec.has_sizes = true;
    made_up("requests", &spec, false, NULL);
    made_up("bytes", &spec, true, NULL);
}

static void published_tables(void)
{
    printf("Hit ratios in percent beside published ones:\n\n"
           "| trace | cache | policy | measured | published | by |\n| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < published_count; i++) {
        const struct published *p = &published[i];
        struct trace t;
        trace_make(&t, &p->trace);
        for (size_t j = 0; j < POLICIES; j++) {
            const char *name = policies[j]->name;
            double hits = 0;
            for (size_t k = 0; k < PUBLISHED_POLICIES; k++)
                hits = p->hits[k].policy && strcmp(p->hits[k].policy, name) == 0 ? p->hits[k].percent : hits;
            if (hits > 0)
                printf("| %s | %g %% | %s | %.2f | %.2f | %s |\n", p->name, p->share * 100, name,
                       100 * (1 - run(&t, policies[j], p->share, EVERY_HIT).requests), hits, p->by);
            fflush(stdout);
        }
        trace_free(&t);
    }
}

static int of_file(const char *path, const char *rate)
{
    struct trace t;
    double per_second = rate ? strtod(rate, NULL) : 1;
    if (!(per_second > 0) || trace_read(&t, path) < 0) {
        fprintf(stderr, "bench_cache_simulate: %s: no requests there, or no rate\n", path);
        return 1;
    }
    printf("%zu requests, footprint %llu bytes. Miss ratios in percent:\n\n", t.count,
           (unsigned long long)t.footprint);
    uint64_t gap_us = rate ? (uint64_t)(1e6 / per_second) : EVERY_HIT;
    print_heads("misses of");
    print_rows(&t, "requests", gap_us, false, NULL);
    print_rows(&t, "bytes", gap_us, true, NULL);
    trace_free(&t);
    return 0;
}

int main(int argc, char **argv)
{
    if ((argc == 3 || argc == 4) && strcmp(argv[1], "trace") == 0)
        return of_file(argv[2], argv[3]);
    if (argc > 2 || (argc == 2 && strcmp(argv[1], "speed") != 0)) {
        fprintf(stderr, "usage: bench_cache_simulate [speed | trace FILE [RATE]]\n");
        return 2;
    }
    if (argc == 1) {
        published_tables();
        zipf_table();
        other_tables();
        printf("\n");
    }
    speed_print();
    return 0;
}
