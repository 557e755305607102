/* Peak EWMA: of two servers drawn at random by weight, the one that will probably answer sooner: learned time
 * × (1 + requests in flight for its weight). After Finagle's PeakEwma (twitter/finagle, p2c/PeakEwma.scala)
 * and Mitzenmacher's two choices. The first one drawn stands unless the other is better by a fifth: so
 * servers that are alike get their weights' shares, and noise decides nothing. */
#include "balancer/ewma.h"

#include "balancer/draw.h"

#define REDRAWS 3

/* The atomic holds the average in microseconds above, and below the millisecond it was learned at. */
static uint64_t packed(uint32_t value_us, usec_t now_us)
{
    return (uint64_t)value_us << 32 | (uint32_t)(now_us / 1000);
}

/* e^-x for x >= 0, to a percent or so up to 8: (e^(-x/8))^8. */
static double fade(double x)
{
    double y = x / 8;
    y = 1 / (1 + y + y * y / 2 + y * y * y / 6);
    y *= y;
    y *= y;
    return y * y;
}

static double age_of(uint64_t word, usec_t now_us)
{
    uint32_t ms = (uint32_t)(now_us / 1000) - (uint32_t)word;
    return ms > INT32_MAX ? 0 : (double)ms * 1000 / (double)EWMA_DECAY_US; /* learned a moment later */
}

uint32_t ewma_value(const struct server *s, usec_t now_us)
{
    uint64_t word = atomic_load_explicit(&s->ewma, memory_order_relaxed);
    uint32_t value = (uint32_t)(word >> 32);
    if (now_us == 0 || value == 0)
        return value;
    double age = age_of(word, now_us);
    if (LIKELY(age < 0.02))
        return value;
    value = (uint32_t)((double)value * fade(age));
    return value ? value : 1;
}

static bool is_failure(const struct outcome *o)
{
    return o->kind != OUTCOME_ANSWERED || o->status >= 500;
}

/* Lost updates of two workers at once are of no weight. */
void ewma_learn(struct server *s, const struct outcome *o)
{
    uint64_t sample = is_failure(o) ? o->took_us : o->head_us;
    if (is_failure(o) && sample < EWMA_FAILURE_US)
        sample = EWMA_FAILURE_US;
    if (sample == 0)
        return; /* a stream: it has no answer to wait for */
    if (sample > UINT32_MAX)
        sample = UINT32_MAX;

    uint64_t word = atomic_load_explicit(&s->ewma, memory_order_relaxed);
    double value = (double)(word >> 32), kept = fade(age_of(word, o->now_us));
    if ((double)sample < value * kept)
        sample = (uint64_t)(value * kept + (double)sample * (1 - kept));
    uint32_t learned = sample ? (uint32_t)sample : 1;
    atomic_store_explicit(&s->ewma, packed(learned, o->now_us), memory_order_relaxed);
}

static size_t size(const struct tier *t)
{
    (void)t;
    return sizeof(uint64_t);
}

static void init(void *state, const struct tier *t, unsigned start)
{
    *(uint64_t *)state = random_seed(t, start);
}

static void *share(const struct tier *t)
{
    return draw_make(t);
}

/* One of which nothing is known gets a single request to be known by. */
static double cost(const struct server *s, const struct draw *d, usec_t now_us)
{
    uint32_t in_flight = server_in_flight(s), weight = server_weight(s), value = ewma_value(s, now_us);
    double load = (double)in_flight * (double)d->total / ((double)d->count * (weight ? weight : 1));
    return value ? (double)value * (1 + load) : (double)EWMA_FAILURE_US * load;
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    const struct draw *d = t->shared;
    uint64_t *random = state;
    struct server *one = draw_one(d, random, t, p), *two = one;
    if (!one)
        return NULL;
    for (int i = 0; two == one && i < REDRAWS; i++)
        two = draw_one(d, random, t, p);
    if (!two || two == one)
        return one;
    return cost(two, d, p->now_us) * 1.25 < cost(one, d, p->now_us) ? two : one;
}

static void done(void *state, const struct tier *t, struct server *s, const struct outcome *o)
{
    (void)state, (void)t;
    ewma_learn(s, o);
}

const struct policy policy_ewma = {
    .name = "ewma", .size = size, .init = init, .share = share, .unshare = free, .pick = pick, .done = done};
