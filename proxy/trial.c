#include "proxy/trial.h"

struct trial_limits trial_limits_default(void)
{
    return (struct trial_limits){.confirm = 60000,
                                 .errors = 0.05,
                                 .unhealthy = 0.2,
                                 .latency = 2,
                                 .latency_least = 50,
                                 .requests = 50,
                                 .latency_requests = 200};
}

/* Counting. */

static void add_row(struct trial_period *p, const struct route_stats *row)
{
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++) {
        uint64_t n = counter_get(&row->statuses[i]);
        p->requests += n;
        p->errors += counters_status_text(i)[0] == '5' ? n : 0;
    }
    for (unsigned i = 0; i < COUNTERS_FINE; i++)
        p->durations[i] += counter_get(&row->fine[i]);
}

/* By chunks, for most of a large table was never touched. */
static void add_worker(struct trial_period *p, const struct listener_worker_stats *w, uint32_t routes)
{
    for (uint32_t i = 0; i * 256 < routes; i++) {
        struct route_stats_chunk *chunk = atomic_load_explicit(&w->chunks[i], memory_order_acquire);
        for (unsigned k = 0; chunk && k < 256; k++) {
            const struct route_stats *row = atomic_load_explicit(&chunk->rows[k], memory_order_acquire);
            if (row)
                add_row(p, row);
        }
    }
}

void trial_count(const struct stats *s, struct trial_period *out)
{
    *out = (struct trial_period){0};
    for (const struct listener_stats *l = s->listeners; l; l = l->next)
        for (unsigned i = 0; i < s->workers; i++)
            add_worker(out, l->worker[i], s->route_count);
}

struct trial_period trial_between(const struct trial_period *earlier, const struct trial_period *later)
{
    struct trial_period p = {.us = later->us - earlier->us,
                             .requests = later->requests - earlier->requests,
                             .errors = later->errors - earlier->errors};
    for (unsigned i = 0; i < COUNTERS_FINE; i++)
        p.durations[i] = later->durations[i] - earlier->durations[i];
    return p;
}

double trial_error_ratio(const struct trial_period *p)
{
    return p->requests ? (double)p->errors / (double)p->requests : 0;
}

static uint64_t measured(const struct trial_period *p)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < COUNTERS_FINE; i++)
        n += p->durations[i];
    return n;
}

double trial_p95(const struct trial_period *p)
{
    double wanted = (double)measured(p) * 0.95, below = 0, from = 0;
    for (unsigned i = 0; i < COUNTERS_FINE; i++) {
        double in = (double)p->durations[i], to = (double)counters_fine_bound(i);
        if (in > 0 && below + in >= wanted)
            return to > 0 ? from + (to - from) * (wanted - below) / in : from * 2;
        below += in;
        from = to;
    }
    return 0;
}

/* Judging. */

/* Of few requests a share says little: one that failed in a quiet minute would allow every error since. What
 * is missing to as many as are judged counts as good. */
static double errors_before(const struct trial_limits *l, const struct trial_period *before)
{
    uint64_t requests = before->requests > l->requests ? before->requests : l->requests;
    return requests ? (double)before->errors / (double)requests : 0;
}

static bool errors_worse(const struct trial_limits *l, const struct trial_period *before,
                         const struct trial_period *now, char *words, size_t size)
{
    double was = trial_error_ratio(before), is = trial_error_ratio(now);
    if (now->requests < l->requests || is <= errors_before(l, before) + l->errors)
        return false;
    snprintf(words, size, "errors: %.1f%% of %llu requests, %.1f%% of %llu before; more than %g points worse",
             is * 100, (unsigned long long)now->requests, was * 100, (unsigned long long)before->requests,
             l->errors * 100);
    return true;
}

static bool latency_worse(const struct trial_limits *l, const struct trial_period *before,
                          const struct trial_period *now, char *words, size_t size)
{
    double was = trial_p95(before), is = trial_p95(now);
    if (measured(now) < l->latency_requests || measured(before) < l->latency_requests ||
        is <= was * l->latency || is <= was + (double)l->latency_least * 1000)
        return false;
    snprintf(words, size,
             "latency: p95 is %.3g ms over %llu requests, %.3g ms before; more than %g times and %llu ms "
             "longer",
             is / 1000, (unsigned long long)measured(now), was / 1000, l->latency,
             (unsigned long long)l->latency_least);
    return true;
}

bool trial_requests_worse(const struct trial_limits *l, const struct trial_period *before,
                          const struct trial_period *now, char *words, size_t size)
{
    return errors_worse(l, before, now, words, size) || latency_worse(l, before, now, words, size);
}

bool trial_servers_worse(const struct trial_limits *l, const struct trial_servers *s, char *words,
                         size_t size)
{
    uint64_t lost = s->before - s->now;
    if (s->bare[0]) {
        snprintf(words, size, "servers: upstream %s had servers that were well, and has none now", s->bare);
        return true;
    }
    if (lost == 0 || (double)lost <= l->unhealthy * (double)s->before)
        return false;
    snprintf(words, size, "servers: %llu of %llu are well that were before, more than %g%% fewer (%s)",
             (unsigned long long)s->now, (unsigned long long)s->before, l->unhealthy * 100, s->ill);
    return true;
}
