#include "balancer/suspicion.h"

static usec_t moment(uint32_t failures)
{
    usec_t us = SUSPICION_MIN_US << (failures < 6 ? failures : 6);
    return us < SUSPICION_MAX_US ? us : SUSPICION_MAX_US;
}

void suspicion_learn(struct server *s, const struct outcome *o)
{
    uint64_t until = atomic_load_explicit(&s->suspect_until_us, memory_order_relaxed);
    uint32_t failures = atomic_load_explicit(&s->suspect_failures, memory_order_relaxed);
    if (o->kind == OUTCOME_UNREACHABLE || o->kind == OUTCOME_TIMEOUT) {
        /* Many that fail in the same moment are one failure. */
        bool again =
            o->now_us - o->took_us >= atomic_load_explicit(&s->suspect_since_us, memory_order_relaxed);
        if (until && !again)
            return;
        atomic_store_explicit(&s->suspect_since_us, o->now_us, memory_order_relaxed);
        atomic_store_explicit(&s->suspect_failures, failures < 6 ? failures + 1 : failures,
                              memory_order_relaxed);
        atomic_store_explicit(&s->suspect_until_us, o->now_us + moment(failures), memory_order_relaxed);
    } else if (UNLIKELY(until != 0) && o->kind == OUTCOME_ANSWERED) {
        suspicion_end(s);
    }
}

void suspicion_end(struct server *s)
{
    atomic_store_explicit(&s->suspect_failures, 0, memory_order_relaxed);
    atomic_store_explicit(&s->suspect_until_us, 0, memory_order_relaxed);
}

void suspicion_tried(struct server *s, uint64_t until, usec_t now_us)
{
    uint32_t failures = atomic_load_explicit(&s->suspect_failures, memory_order_relaxed);
    if (now_us >= until)
        atomic_compare_exchange_strong(&s->suspect_until_us, &until, now_us + moment(failures));
}

void suspicion_hold(struct server *s, usec_t until_us)
{
    if (atomic_load_explicit(&s->suspect_until_us, memory_order_relaxed) < until_us)
        atomic_store_explicit(&s->suspect_until_us, until_us, memory_order_relaxed);
}
