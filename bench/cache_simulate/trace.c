#include "bench/cache_simulate/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/miniature.h"

#define MEDIAN         4096.0
#define SIGMA          1.5
#define SIZE_MIN       64.0
#define SIZE_MAX_BYTES (8.0 * 1024 * 1024)
#define ONCE           (UINT64_C(1) << 40) /* keys from here on come once */

uint64_t trace_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* From 0 to below 1. */
static double fraction(uint64_t random)
{
    return (double)(random >> 11) / 9007199254740992.0;
}

static void add(struct trace *t, uint64_t hash, uint64_t bytes)
{
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 1 << 20;
        t->requests = realloc(t->requests, t->room * sizeof *t->requests);
        if (!t->requests)
            exit(1);
    }
    t->requests[t->count++] = (struct request){hash, bytes};
}

void trace_free(struct trace *t)
{
    free(t->requests);
    *t = (struct trace){0};
}

/* A key has the same size at every request: Box and Muller's normal numbers out of its hash. */
static uint64_t size_of_key(const struct trace_spec *spec, uint64_t key)
{
    if (!spec->has_sizes)
        return 1;
    uint64_t h = trace_mix(key ^ UINT64_C(0x5bd1e995) << 32);
    double normal = sqrt(-2 * log(1 - fraction(h))) * cos(2 * M_PI * fraction(trace_mix(h)));
    return (uint64_t)fmin(fmax(MEDIAN * exp(SIGMA * normal), SIZE_MIN), SIZE_MAX_BYTES);
}

/* Ranks from 0. */
struct zipf {
    double *sums; /* of the first i + 1 weights; exact */
    uint64_t objects;
    double alpha, zeta, eta; /* Gray's */
    bool by_gray;
};

static void zipf_init(struct zipf *z, const struct trace_spec *spec)
{
    *z = (struct zipf){.objects = spec->objects, .alpha = spec->alpha, .by_gray = spec->by_gray};
    z->sums = malloc(spec->objects * sizeof *z->sums);
    if (!z->sums)
        exit(1);
    for (uint64_t i = 0; i < spec->objects; i++)
        z->sums[i] = z->zeta += pow((double)(i + 1), -spec->alpha);
    z->eta =
        (1 - pow(2 / (double)spec->objects, 1 - spec->alpha)) / (1 - (1 + pow(2, -spec->alpha)) / z->zeta);
}

static uint64_t zipf_exact(const struct zipf *z, double at)
{
    uint64_t low = 0, high = z->objects - 1;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (z->sums[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994, figure 3. */
static uint64_t zipf_draw(const struct zipf *z, uint64_t random)
{
    double u = fraction(random);
    if (!z->by_gray)
        return zipf_exact(z, u * z->zeta);
    if (u * z->zeta < z->sums[0])
        return 0;
    if (u * z->zeta < z->sums[1])
        return 1;
    return (uint64_t)((double)z->objects * pow(z->eta * u - z->eta + 1, 1 / (1 - z->alpha)));
}

/* Whether the i-th request is for a key that comes once: a share here and there, or by bursts. */
static bool is_once(const struct trace_spec *spec, size_t i, uint64_t random)
{
    if (spec->once_burst <= 1)
        return fraction(trace_mix(random)) < spec->once;
    double period = (double)spec->once_burst / spec->once;
    return fmod((double)i, period) >= period - (double)spec->once_burst;
}

void trace_make(struct trace *t, const struct trace_spec *spec)
{
    *t = (struct trace){0};
    struct zipf z;
    zipf_init(&z, spec);
    for (uint64_t key = 0; key < spec->objects; key++)
        t->footprint += size_of_key(spec, key);
    for (size_t i = 0; i < spec->requests; i++) {
        uint64_t random = trace_mix(spec->seed << 32 ^ i);
        uint64_t key = is_once(spec, i, random) ? ONCE + i : zipf_draw(&z, random);
        add(t, trace_mix(key), size_of_key(spec, key));
    }
    free(z.sums);
}

/* The third field's number; -1 = it is none. */
static long long size_field(const char *line, uint64_t *key)
{
    const char *first = strchr(line, ','), *second = first ? strchr(first + 1, ',') : NULL;
    if (!second)
        return -1;
    *key = UINT64_C(14695981039346656037);
    for (const char *at = first + 1; at < second; at++)
        *key = (*key ^ (unsigned char)*at) * UINT64_C(1099511628211);
    char *end;
    long long bytes = strtoll(second + 1, &end, 10);
    return end == second + 1 || bytes < 0 ? -1 : bytes;
}

int trace_read(struct trace *t, const char *path)
{
    *t = (struct trace){0};
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0) {
        uint64_t key;
        long long bytes = size_field(line, &key);
        if (bytes >= 0)
            add(t, trace_mix(key), bytes ? (uint64_t)bytes : 1);
    }
    free(line);
    fclose(file);
    if (!t->count || t->count > UINT32_MAX / 4)
        return -1;

    struct miniature all; /* of unbounded capacity: its bytes are the footprint */
    if (miniature_init(&all, &cache_policy_lru, UINT64_MAX / 2, (uint32_t)t->count) < 0)
        return -1;
    for (size_t i = 0; i < t->count; i++)
        miniature_access(&all, t->requests[i].hash, t->requests[i].bytes, 0);
    t->footprint = cache_policy_bytes(&all.policy);
    miniature_clear(&all);
    return 0;
}
