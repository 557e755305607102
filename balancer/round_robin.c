/* Round robin by weight. Of few servers by smooth weighted round robin, as nginx has done it since 1.3.1:
 * each server's current weight grows by its weight; the largest is chosen and pays the sum. Weights 5, 1, 1
 * give a a b a c a a: no server gets its share in a lump.
 *
 * That looks at every server. Of many, whoever's turn falls due first is taken (edf.h): O(log n) and as
 * smooth. Each pick also looks at a few servers in turn, whether their weight has become another: one that
 * went down leaves, one that comes back enters at a random place of the round (so that not all of them come
 * first), one whose weight has changed is due sooner or later from then on. */
#include <stdatomic.h>

#include "balancer/draw.h"
#include "balancer/edf.h"

#define SMOOTH_MAX 64  /* servers */
#define STARTS     16u /* each costs a walk over the servers when a set is made */
#define LOOKED_AT  8   /* servers, by each pick */
#define GOLDEN     0x9e3779b9u
#define NOW_MAX    (UINT64_C(1) << 62) /* then time begins anew: a busy worker is there within months */
#define SKIPS      32 /* servers that are due and cannot be picked, before all are looked at */

struct many {
    struct edf edf;
    uint64_t now;
    uint64_t random;
    size_t look;     /* where to look at weights next */
    uint32_t *noted; /* each server's weight when it was looked at last */
};

static size_t size(const struct tier *t)
{
    if (t->count <= SMOOTH_MAX)
        return t->count * sizeof(int64_t);
    return sizeof(struct many) + edf_bytes(t->count) + t->count * sizeof(uint32_t);
}

/* Few: a worker's own words, which any thread may read meanwhile (explain tells whose turn it is). */

typedef _Atomic int64_t turn;

static int64_t turn_of(const turn *t)
{
    return atomic_load_explicit(t, memory_order_relaxed);
}

static int64_t turn_add(turn *t, int64_t n)
{
    int64_t sum = turn_of(t) + n;
    atomic_store_explicit(t, sum, memory_order_relaxed);
    return sum;
}

/* Workers start at different places: as if that many picks had been made. */
static void init_few(turn *current, const struct tier *t, unsigned start)
{
    for (unsigned picks = 0; picks < start % STARTS && t->count; picks++) {
        size_t best = 0;
        int64_t total = 0;
        for (size_t i = 0; i < t->count; i++) {
            int64_t weight = server_full_weight(t->servers[i]);
            total += weight;
            if (turn_add(&current[i], weight) > turn_of(&current[best]))
                best = i;
        }
        turn_add(&current[best], -total);
    }
}

static struct server *pick_of_few(turn *current, const struct tier *t, const struct pick *p)
{
    size_t best = SIZE_MAX;
    int64_t total = 0, most = 0;
    for (size_t i = 0; i < t->count; i++) {
        uint32_t weight = pick_weight(p, t->servers[i]);
        if (weight == 0)
            continue;
        int64_t now = turn_add(&current[i], weight);
        total += weight;
        if (best == SIZE_MAX || now > most) {
            best = i;
            most = now;
        }
    }
    if (best == SIZE_MAX)
        return NULL;
    turn_add(&current[best], -total);
    return t->servers[best];
}

/* Many. */

/* `phase` 2^32ths of the time until the next turn. */
static uint64_t part(uint64_t span, uint32_t phase)
{
    return (uint64_t)((__extension__(unsigned __int128) span * phase) >> 32);
}

static void look_at(struct many *m, const struct tier *t, uint32_t i)
{
    uint32_t weight = server_weight(t->servers[i]), before = m->noted[i];
    if (LIKELY(weight == before))
        return;
    m->noted[i] = weight;
    if (weight == 0) {
        edf_remove(&m->edf, i);
    } else if (before == 0) {
        edf_insert(&m->edf, i, m->now + part(edf_step(weight), (uint32_t)random_next(&m->random)));
    } else {
        uint64_t due = edf_due(&m->edf, i), left = due > m->now ? due - m->now : 0;
        left = (uint64_t)(__extension__(unsigned __int128) left * before / weight);
        edf_move(&m->edf, i, m->now + left);
    }
}

/* The first turns are spread evenly over the round: steps of the golden section, from anywhere. */
static void init_many(struct many *m, const struct tier *t, unsigned start)
{
    edf_init(&m->edf, m + 1, t->count);
    m->noted = (uint32_t *)(void *)((char *)(m + 1) + edf_bytes(t->count));
    m->random = random_seed(t, start);
    uint32_t phase = (uint32_t)random_next(&m->random);
    for (uint32_t i = 0; i < t->count; i++, phase += GOLDEN) {
        m->noted[i] = server_weight(t->servers[i]);
        if (m->noted[i])
            edf_insert(&m->edf, i, part(edf_step(m->noted[i]), phase));
    }
}

static void look_around(struct many *m, const struct tier *t, size_t count)
{
    for (; count; count--) {
        look_at(m, t, (uint32_t)m->look);
        if (++m->look == t->count)
            m->look = 0;
    }
}

/* So many are full, were tried or have just gone down that luck finds none. */
static struct server *pick_any(struct many *m, const struct tier *t, const struct pick *p)
{
    size_t first = random_below(&m->random, t->count);
    look_around(m, t, t->count);
    for (size_t n = 0, i = first; n < t->count; n++, i = i + 1 < t->count ? i + 1 : 0)
        if (pick_weight(p, t->servers[i]))
            return t->servers[i];
    return NULL;
}

static void turn_clock_back(struct many *m)
{
    edf_advance(&m->edf, m->now);
    m->now = 0;
}

static struct server *pick_of_many(struct many *m, const struct tier *t, const struct pick *p)
{
    if (UNLIKELY(m->now >= NOW_MAX))
        turn_clock_back(m);
    look_around(m, t, LOOKED_AT);
    for (int skips = 0; skips < SKIPS && m->edf.count; skips++) {
        uint32_t i = m->edf.heap[0].index;
        look_at(m, t, i);
        if (!edf_has(&m->edf, i))
            continue;
        if (m->edf.heap[0].index != i)
            continue; /* it weighs less now: another is due */
        m->now = m->edf.heap[0].due;
        edf_move(&m->edf, i, m->now + edf_step(m->noted[i]));
        if (LIKELY(pick_weight(p, t->servers[i]) != 0))
            return t->servers[i];
    }
    return pick_any(m, t, p);
}

static void init(void *state, const struct tier *t, unsigned start)
{
    if (t->count <= SMOOTH_MAX)
        init_few(state, t, start);
    else
        init_many(state, t, start);
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    return t->count <= SMOOTH_MAX ? pick_of_few(state, t, p) : pick_of_many(state, t, p);
}

const struct policy policy_round_robin = {.name = "round_robin", .size = size, .init = init, .pick = pick};
