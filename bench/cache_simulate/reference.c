#include "bench/cache_simulate/reference.h"

static void insert(struct cache_policy *p, struct cache_policy_node *n)
{
    cache_policy_link(p, n, CACHE_POLICY_MAIN);
}

static bool touch_nothing(struct cache_policy_node *n, msec_t now)
{
    (void)n, (void)now;
    return false;
}

/* The one bit is freq. */
static bool set_bit(struct cache_policy_node *n, msec_t now)
{
    (void)now;
    if (!atomic_load_explicit(&n->freq, memory_order_relaxed))
        atomic_store_explicit(&n->freq, 1, memory_order_relaxed);
    return false;
}

static bool take_bit(struct cache_policy_node *n)
{
    return atomic_exchange_explicit(&n->freq, 0, memory_order_relaxed);
}

static struct cache_policy_node *take_first(struct cache_policy *p)
{
    struct cache_policy_node *n = cache_policy_first(p, CACHE_POLICY_MAIN);
    cache_policy_unlink(p, n);
    return n;
}

static struct cache_policy_node *clock_victim(struct cache_policy *p)
{
    for (;;) {
        struct cache_policy_node *n = take_first(p);
        if (!take_bit(n))
            return n;
        cache_policy_link(p, n, CACHE_POLICY_MAIN);
    }
}

/* The main queue is what lies before the hand, up to the newest; the small one what the hand has passed,
 * oldest first. At the end of the one it begins again with the other. */
static struct cache_policy_node *sieve_victim(struct cache_policy *p)
{
    for (;;) {
        while (p->queues[CACHE_POLICY_MAIN].count) {
            struct cache_policy_node *n = take_first(p);
            if (!take_bit(n))
                return n;
            cache_policy_link(p, n, CACHE_POLICY_SMALL);
        }
        while (p->queues[CACHE_POLICY_SMALL].count) {
            struct cache_policy_node *n = cache_policy_first(p, CACHE_POLICY_SMALL);
            cache_policy_unlink(p, n);
            cache_policy_link(p, n, CACHE_POLICY_MAIN);
        }
    }
}

const struct cache_policy_ops reference_fifo = {
    .name = "fifo", .insert = insert, .touch = touch_nothing, .victim = take_first};
const struct cache_policy_ops reference_clock = {
    .name = "clock", .insert = insert, .touch = set_bit, .victim = clock_victim};
const struct cache_policy_ops reference_sieve = {
    .name = "sieve", .insert = insert, .touch = set_bit, .victim = sieve_victim};
