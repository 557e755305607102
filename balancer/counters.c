#include "balancer/counters.h"

#include <stdlib.h>

/* Slots 0 to 5 are for what has no slot of its own, by class; 0 = no response, or a status that is none. */
static const uint16_t known[] = {
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400,
    401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504,
};
static const char *const texts[] = {
    "none", "1xx", "2xx", "3xx", "4xx", "5xx", "101", "200", "201", "202", "204",
    "206",  "301", "302", "303", "304", "307", "308", "400", "401", "403", "404",
    "405",  "408", "409", "413", "422", "429", "500", "502", "503", "504",
};
_Static_assert(COUNT_OF(texts) == COUNTERS_STATUSES, "a slot, a text");
_Static_assert(COUNT_OF(known) + 6 == COUNTERS_STATUSES, "a known status, a slot");

static const uint32_t bounds[COUNTERS_DURATIONS - 1] = {500,     1000,    2500,    5000,     10000,
                                                        25000,   50000,   100000,  250000,   500000,
                                                        1000000, 2500000, 5000000, 10000000, 30000000};
static const uint32_t fine_bounds[COUNTERS_FINE - 1] = {
    50,      63,      80,      100,      125,      160,      200,     250,     315,     400,
    500,     630,     800,     1000,     1250,     1600,     2000,    2500,    3150,    4000,
    5000,    6300,    8000,    10000,    12500,    16000,    20000,   25000,   31500,   40000,
    50000,   63000,   80000,   100000,   125000,   160000,   200000,  250000,  315000,  400000,
    500000,  630000,  800000,  1000000,  1250000,  1600000,  2000000, 2500000, 3150000, 4000000,
    5000000, 6300000, 8000000, 10000000, 15000000, 20000000, 30000000};
/* The first whose bound is at least 2^(bits - 1): where the search begins. */
static const uint8_t fine_starts[] = {0,  0,  0,  0,  0,  0,  0,  2,  5,  8,  11, 14, 17,
                                      20, 23, 26, 29, 32, 35, 38, 41, 44, 47, 50, 53, 55};
static const uint8_t coarse_of[COUNTERS_FINE] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,  1,  2,  2,  2,  2,  3,  3,  3,  4,  4,  4,  5,  5,  5,  5,  6,
    6, 6, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15};

unsigned counters_status_slot(unsigned status)
{
    /* By far the most. */
    if (status == 200)
        return 7;
    if (status < 100 || status > 599)
        return 0;
    unsigned low = 0, high = COUNT_OF(known);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (known[middle] < status)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < COUNT_OF(known) && known[low] == status)
        return low + 6;
    return status / 100;
}

const char *counters_status_text(unsigned slot)
{
    return slot < COUNTERS_STATUSES ? texts[slot] : NULL;
}

unsigned counters_fine_slot(usec_t took_us)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(took_us | 1);
    if (bits >= COUNT_OF(fine_starts))
        return COUNTERS_FINE - 1;
    unsigned bucket = fine_starts[bits];
    while (bucket < COUNT_OF(fine_bounds) && took_us > fine_bounds[bucket])
        bucket++;
    return bucket;
}

usec_t counters_fine_bound(unsigned bucket)
{
    return bucket < COUNT_OF(fine_bounds) ? fine_bounds[bucket] : 0;
}

unsigned counters_fine_duration(unsigned fine)
{
    return coarse_of[fine];
}

unsigned counters_duration_slot(usec_t took_us)
{
    return counters_fine_duration(counters_fine_slot(took_us));
}

usec_t counters_duration_bound(unsigned bucket)
{
    return bucket < COUNT_OF(bounds) ? bounds[bucket] : 0;
}

void counters_init(struct counters *t)
{
    memset(t, 0, sizeof *t);
}

void counters_free(struct counters *t)
{
    for (size_t i = 0; i < COUNTERS_BLOCKS; i++) {
        struct counters_block *b = atomic_load_explicit(&t->blocks[i], memory_order_relaxed);
        for (size_t k = 0; b && k < COUNTERS_BLOCK; k++)
            exemplars_free(&b->at[k].exemplars);
        free(b);
    }
    exemplars_free(&t->spare.exemplars);
    memset(t, 0, sizeof *t);
}

/* A number that served another server before begins anew. Nobody reads it as the old one's: its id was given
 * back with the last who held it. */
static void start_anew(struct server_counters *c, uint64_t serial)
{
    counter *const single[] = {&c->opened,   &c->reused,     &c->failed,     &c->retries,
                               &c->hedges,   &c->hedges_won, &c->idle,       &c->busy,
                               &c->bytes_in, &c->bytes_out,  &c->duration_us};
    for (size_t i = 0; i < COUNT_OF(single); i++)
        atomic_store_explicit(single[i], 0, memory_order_relaxed);
    for (size_t i = 0; i < COUNTERS_FINE; i++)
        atomic_store_explicit(&c->fine[i], 0, memory_order_relaxed);
    for (size_t i = 0; i < COUNTERS_STATUSES; i++)
        atomic_store_explicit(&c->statuses[i], 0, memory_order_relaxed);
    exemplars_forget(&c->exemplars);
    atomic_store_explicit(&c->serial, serial, memory_order_release);
}

struct server_counters *counters_make(struct counters *t, const struct server *s)
{
    if (s->id >= SERVER_ID_MAX)
        return &t->spare;
    size_t number = s->id / COUNTERS_BLOCK;
    struct counters_block *b = atomic_load_explicit(&t->blocks[number], memory_order_relaxed);
    if (UNLIKELY(!b)) {
        b = calloc(1, sizeof *b);
        if (!b)
            return &t->spare;
        atomic_store_explicit(&t->blocks[number], b, memory_order_release);
    }
    struct server_counters *c = &b->at[s->id % COUNTERS_BLOCK];
    if (UNLIKELY(atomic_load_explicit(&c->serial, memory_order_relaxed) != s->serial))
        start_anew(c, s->serial);
    return c;
}

unsigned counters_response(struct server_counters *c, unsigned status, usec_t took_us)
{
    unsigned fine = counters_fine_slot(took_us), bucket = counters_fine_duration(fine);
    counter_add(&c->fine[fine], 1);
    counter_add(&c->duration_us, took_us);
    counter_add(&c->statuses[counters_status_slot(status)], 1);
    return bucket;
}

static void add(struct server_totals *out, const struct server_counters *c)
{
    out->opened += counter_get(&c->opened);
    out->reused += counter_get(&c->reused);
    out->failed += counter_get(&c->failed);
    out->retries += counter_get(&c->retries);
    out->hedges += counter_get(&c->hedges);
    out->hedges_won += counter_get(&c->hedges_won);
    out->idle += counter_get(&c->idle);
    out->busy += counter_get(&c->busy);
    out->bytes_in += counter_get(&c->bytes_in);
    out->bytes_out += counter_get(&c->bytes_out);
    out->duration_us += counter_get(&c->duration_us);
    for (unsigned i = 0; i < COUNTERS_FINE; i++) {
        uint64_t count = counter_get(&c->fine[i]);
        out->fine[i] += count;
        out->durations[counters_fine_duration(i)] += count;
    }
    for (size_t i = 0; i < COUNTERS_STATUSES; i++)
        out->statuses[i] += counter_get(&c->statuses[i]);
}

/* The caller holds the server, so while the serial is its own it stays so. */
static struct server_counters *find(struct counters *t, const struct server *s)
{
    if (s->id >= SERVER_ID_MAX)
        return NULL;
    struct counters_block *b = atomic_load_explicit(&t->blocks[s->id / COUNTERS_BLOCK], memory_order_acquire);
    struct server_counters *c = b ? &b->at[s->id % COUNTERS_BLOCK] : NULL;
    return c && atomic_load_explicit(&c->serial, memory_order_acquire) == s->serial ? c : NULL;
}

void counters_sum(struct counters *const *tables, size_t count, const struct server *s,
                  struct server_totals *out)
{
    *out = (struct server_totals){0};
    for (size_t i = 0; i < count; i++) {
        const struct server_counters *c = find(tables[i], s);
        if (c)
            add(out, c);
    }
}

bool counters_exemplar(struct counters *const *tables, size_t count, const struct server *s, unsigned bucket,
                       struct exemplar_text *out)
{
    *out = (struct exemplar_text){0};
    for (size_t i = 0; i < count; i++) {
        struct exemplar_text text;
        const struct server_counters *c = find(tables[i], s);
        if (c && exemplars_get(&c->exemplars, bucket, &text) && text.wall_us >= out->wall_us)
            *out = text;
    }
    return out->id_len != 0;
}
