#include "balancer/keepalive.h"

#define MARGIN_LEAST_MS 50u
#define MARGIN_MOST_MS  1000u
#define TOLERANCE_MS    100u               /* of two times that are about the same, or an eighth of them */
#define TOLD_AGAIN_US   UINT64_C(60000000) /* what is told all the time is written down so often */

static uint64_t packed(uint32_t value, usec_t now_us)
{
    return (uint64_t)value << 32 | (uint32_t)(now_us / 1000);
}

static uint32_t value_of(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static msec_t age_of(uint64_t word, usec_t now_us)
{
    uint32_t ms = (uint32_t)(now_us / 1000) - (uint32_t)word;
    return ms > INT32_MAX ? 0 : ms; /* another worker's clock is a moment ahead */
}

static uint32_t seen(const struct server *s)
{
    return atomic_load_explicit(&s->idle_seen_ms, memory_order_relaxed);
}

static void see(struct server *s, msec_t limit)
{
    atomic_store_explicit(&s->idle_seen_ms, (uint32_t)limit, memory_order_relaxed);
}

static uint32_t told(const struct server *s, usec_t now_us)
{
    uint64_t word = atomic_load_explicit(&s->idle_told, memory_order_relaxed);
    return LIKELY(word == 0) || age_of(word, now_us) > KEEPALIVE_TOLD_FOR_US / 1000 ? 0 : value_of(word);
}

msec_t keepalive_limit(const struct server *s, usec_t now_us)
{
    uint32_t said = told(s, now_us), known = seen(s);
    return said == 0 || (known && known < said) ? known : said;
}

msec_t keepalive_time(const struct server *s, msec_t wanted, usec_t now_us)
{
    msec_t limit = keepalive_limit(s, now_us);
    if (LIKELY(limit == 0))
        return wanted;
    msec_t margin = limit / 10;
    if (margin < MARGIN_LEAST_MS)
        margin = MARGIN_LEAST_MS;
    if (margin > MARGIN_MOST_MS)
        margin = MARGIN_MOST_MS;
    return limit - margin < wanted ? limit - margin : wanted;
}

void keepalive_told(struct server *s, msec_t limit, usec_t now_us)
{
    if (limit < KEEPALIVE_LEAST_MS || limit > KEEPALIVE_MOST_MS)
        return;
    uint64_t word = atomic_load_explicit(&s->idle_told, memory_order_relaxed);
    if (value_of(word) != limit || age_of(word, now_us) > TOLD_AGAIN_US / 1000)
        atomic_store_explicit(&s->idle_told, packed((uint32_t)limit, now_us), memory_order_relaxed);
}

static msec_t tolerance(msec_t idle)
{
    return idle / 8 > TOLERANCE_MS ? idle / 8 : TOLERANCE_MS;
}

static void learn(struct server *s, msec_t idle, usec_t now_us)
{
    if (seen(s) == 0)
        atomic_store_explicit(&s->idle_tried_us, now_us, memory_order_relaxed);
    see(s, idle);
}

void keepalive_ended(struct server *s, msec_t idle, usec_t now_us)
{
    if (idle < KEEPALIVE_LEAST_MS || idle > KEEPALIVE_MOST_MS)
        return;
    uint32_t known = seen(s);
    if (known && idle + tolerance(idle) >= known) {
        if (idle < known || idle > known + known / 4)
            see(s, idle);
        return;
    }
    uint64_t last = atomic_load_explicit(&s->idle_ended, memory_order_relaxed);
    msec_t before = value_of(last), near = tolerance(idle);
    atomic_store_explicit(&s->idle_ended, packed((uint32_t)idle, now_us), memory_order_relaxed);
    msec_t apart = before < idle ? idle - before : before - idle;
    if (before && apart <= near && age_of(last, now_us) > near)
        learn(s, before < idle ? before : idle, now_us);
}

msec_t keepalive_try(struct server *s, msec_t idle, msec_t wanted, usec_t now_us)
{
    uint32_t known = seen(s);
    if (LIKELY(known == 0) || idle >= wanted)
        return 0;
    uint64_t tried = atomic_load_explicit(&s->idle_tried_us, memory_order_relaxed);
    if (now_us < tried + KEEPALIVE_TRY_US ||
        !atomic_compare_exchange_strong(&s->idle_tried_us, &tried, now_us))
        return 0;
    msec_t until = (msec_t)known * 2 < wanted ? (msec_t)known * 2 : wanted;
    return until > idle ? until - idle : 0;
}

void keepalive_lasted(struct server *s, msec_t idle, msec_t wanted)
{
    if (idle >= wanted)
        see(s, 0);
    else if (idle > seen(s))
        see(s, idle);
}
