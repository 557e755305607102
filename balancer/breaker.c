#include "balancer/breaker.h"

#include <stdlib.h>
#include <string.h>

static const struct option breaker_options[] = {
    OPTION_AT(struct breaker_settings, errors, "errors", OPTION_NUMBER, .fallback = "50%", .min = 0.01,
              .max = 1, .flags = OPTION_FLAG_PERCENT,
              .help =
                  "Opens when this share of the window's attempts has failed: no connection, none in time, a "
                  "cut or malformed answer, or a status of 500 and above."),
    OPTION_AT(struct breaker_settings, window, "window", OPTION_DURATION, .fallback = "10s", .min = 100,
              .max = 3600000, .help = "The time that is looked at."),
    OPTION_AT(struct breaker_settings, min_requests, "min_requests", OPTION_COUNT, .fallback = "20", .min = 1,
              .max = UINT32_MAX, .help = "With fewer attempts in the window it stays closed."),
    OPTION_AT(struct breaker_settings, open, "open", OPTION_DURATION, .fallback = "5s", .min = 10,
              .max = 3600000, .help = "How long requests get 503 before one is let through to try."),
};

const struct option_table breaker_table = {
    .name = "breaker",
    .help =
        "A circuit breaker: while most of what is sent to the upstream fails, requests are refused at once.",
    .options = breaker_options,
    .count = COUNT_OF(breaker_options),
    .size = sizeof(struct breaker_settings),
};

struct breaker *breaker_create(const struct breaker_settings *settings, unsigned workers)
{
    struct breaker *b = aligned_alloc(64, sizeof *b);
    if (!b)
        return NULL;
    memset(b, 0, sizeof *b);
    b->settings = settings;
    b->workers = workers;
    b->at = aligned_alloc(64, workers * sizeof *b->at);
    if (!b->at) {
        free(b);
        return NULL;
    }
    memset(b->at, 0, workers * sizeof *b->at);
    return b;
}

void breaker_free(struct breaker *b)
{
    if (!b)
        return;
    free(b->at);
    free(b);
}

bool breaker_admits(struct breaker *b, usec_t now_us)
{
    if (LIKELY(breaker_state(b) == BREAKER_CLOSED))
        return true;
    uint64_t until = atomic_load_explicit(&b->until_us, memory_order_relaxed);
    if (now_us < until)
        return false;
    /* One of all workers' requests wins the try; should it never come back, there is another one later. */
    uint64_t next = now_us + b->settings->open * 1000;
    if (!atomic_compare_exchange_strong(&b->until_us, &until, next))
        return false;
    atomic_store_explicit(&b->since_us, now_us, memory_order_relaxed);
    atomic_store_explicit(&b->state, BREAKER_HALF_OPEN, memory_order_release);
    return true;
}

static bool has_failed(const struct outcome *o)
{
    return o->kind != OUTCOME_ANSWERED || o->status >= 500;
}

static uint64_t tick_of(const struct breaker *b, usec_t now_us)
{
    usec_t slice = b->settings->window * 1000 / BREAKER_SLICES;
    return now_us / slice + BREAKER_SLICES; /* above 0, which is a slice that was never used */
}

static void count(struct breaker *b, unsigned worker, uint64_t tick, bool failed)
{
    struct breaker_slice *s = &b->at[worker].slices[tick % BREAKER_SLICES];
    if (counter_get(&s->tick) != tick) {
        atomic_store_explicit(&s->attempts, 0, memory_order_relaxed);
        atomic_store_explicit(&s->failures, 0, memory_order_relaxed);
        atomic_store_explicit(&s->tick, tick, memory_order_relaxed);
    }
    counter_add(&s->attempts, 1);
    if (failed)
        counter_add(&s->failures, 1);
}

static bool is_past_share(const struct breaker *b, uint64_t tick)
{
    uint64_t attempts = 0, failures = 0;
    uint64_t since = tick_of(b, atomic_load_explicit(&b->since_us, memory_order_relaxed));
    for (unsigned w = 0; w < b->workers; w++) {
        for (unsigned i = 0; i < BREAKER_SLICES; i++) {
            const struct breaker_slice *s = &b->at[w].slices[i];
            uint64_t of = counter_get(&s->tick);
            if (of + BREAKER_SLICES <= tick || of > tick || of < since)
                continue;
            attempts += counter_get(&s->attempts);
            failures += counter_get(&s->failures);
        }
    }
    return attempts >= b->settings->min_requests &&
           (double)failures >= b->settings->errors * (double)attempts;
}

static bool open_from(struct breaker *b, int state, usec_t now_us)
{
    if (!atomic_compare_exchange_strong(&b->state, &state, BREAKER_OPEN))
        return false;
    atomic_store_explicit(&b->until_us, now_us + b->settings->open * 1000, memory_order_relaxed);
    atomic_store_explicit(&b->since_us, now_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->opened, 1, memory_order_relaxed);
    return true;
}

bool breaker_learn(struct breaker *b, unsigned worker, const struct outcome *o)
{
    bool failed = has_failed(o);
    uint64_t tick = tick_of(b, o->now_us);
    count(b, worker, tick, failed);
    switch (breaker_state(b)) {
    case BREAKER_CLOSED:
        return UNLIKELY(failed) && is_past_share(b, tick) && open_from(b, BREAKER_CLOSED, o->now_us);
    case BREAKER_OPEN:
        return false; /* it began before */
    case BREAKER_HALF_OPEN:
        break;
    }
    if (o->now_us - o->took_us < atomic_load_explicit(&b->since_us, memory_order_relaxed))
        return false; /* so did this: it is not the one that was let through */
    if (failed)
        return open_from(b, BREAKER_HALF_OPEN, o->now_us);
    int half = BREAKER_HALF_OPEN;
    if (atomic_compare_exchange_strong(&b->state, &half, BREAKER_CLOSED))
        atomic_store_explicit(&b->since_us, o->now_us + b->settings->window * 1000 / BREAKER_SLICES,
                              memory_order_relaxed); /* the window begins anew with the next slice */
    return false;
}
