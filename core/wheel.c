#include "core/wheel.h"

#include <string.h>

void wheel_init(struct wheel *w, msec_t now)
{
    memset(w->used, 0, sizeof w->used);
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
    w->tick = now / WHEEL_TICK_MS;
}

void timer_init(struct timer *t, void (*fire)(struct timer *))
{
    list_init(&t->link);
    t->deadline = 0;
    t->tick = 0;
    t->fire = fire;
}

static void link_timer(struct wheel *w, struct timer *t)
{
    /* Rounded up, so that a timer never fires early; past the horizon it waits in the last slot and goes on.
     */
    uint64_t tick = (t->deadline + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    if (tick < w->tick)
        tick = w->tick;
    if (tick > w->tick + WHEEL_SLOTS - 1)
        tick = w->tick + WHEEL_SLOTS - 1;
    unsigned slot = (unsigned)(tick % WHEEL_SLOTS);
    t->tick = tick;
    list_append(&w->slots[slot], &t->link);
    w->used[slot / 64] |= 1ull << (slot % 64);
}

bool wheel_set(struct wheel *w, struct timer *t, msec_t deadline)
{
    if (timer_move(t, deadline))
        return false;
    t->deadline = deadline ? deadline : 1;
    list_remove(&t->link);
    msec_t before = wheel_next(w);
    link_timer(w, t);
    return before == 0 || t->tick * WHEEL_TICK_MS < before;
}

void wheel_clear(struct wheel *w, struct timer *t)
{
    (void)w;
    t->deadline = 0;
    list_remove(&t->link);
}

void wheel_run(struct wheel *w, msec_t now)
{
    uint64_t until = now / WHEEL_TICK_MS;
    struct list due;
    list_init(&due);
    /* After a long sleep every slot is visited once, not once a lap. */
    uint64_t laps = until >= w->tick ? until - w->tick + 1 : 0;
    for (uint64_t i = 0; i < laps && i < WHEEL_SLOTS; i++) {
        unsigned slot = (unsigned)((w->tick + i) % WHEEL_SLOTS);
        if (!(w->used[slot / 64] & (1ull << (slot % 64))))
            continue;
        w->used[slot / 64] &= ~(1ull << (slot % 64));
        list_splice(&due, &w->slots[slot]);
    }
    if (laps)
        w->tick = until + 1;
    while (!list_empty(&due)) {
        struct timer *t = CONTAINER_OF(due.next, struct timer, link);
        list_remove(&t->link);
        if (t->deadline == 0)
            continue;
        if (t->deadline > now) {
            link_timer(w, t);
            continue;
        }
        t->deadline = 0;
        t->fire(t);
    }
}

msec_t wheel_next(const struct wheel *w)
{
    unsigned start = (unsigned)(w->tick % WHEEL_SLOTS);
    for (unsigned i = 0; i <= WHEEL_SLOTS / 64; i++) {
        unsigned word = (start / 64 + i) % (WHEEL_SLOTS / 64);
        uint64_t bits = w->used[word];
        if (i == 0)
            bits &= ~0ull << (start % 64);
        else if (i == WHEEL_SLOTS / 64)
            bits &= (1ull << (start % 64)) - 1;
        if (!bits)
            continue;
        unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
        uint64_t ahead = (slot + WHEEL_SLOTS - start) % WHEEL_SLOTS;
        return (w->tick + ahead) * WHEEL_TICK_MS;
    }
    return 0;
}
