#include "balancer/queue.h"

#include <limits.h>
#include <stdlib.h>

#include "balancer/group.h"

static const struct option queue_options[] = {
    OPTION_AT(struct queue_settings, size, "size", OPTION_COUNT, .fallback = "1024", .min = 1, .max = 1000000,
              .help = "The most that wait, over all workers. More get a 503 at once."),
    OPTION_AT(struct queue_settings, timeout, "timeout", OPTION_DURATION, .fallback = "5s", .min = 1,
              .max = 86400000, .help = "How long one waits; then it is a 503."),
};

const struct option_table queue_table = {
    .name = "queue",
    .help = "Where requests and streams wait while every server is at `max_connections`.",
    .options = queue_options,
    .count = COUNT_OF(queue_options),
    .size = sizeof(struct queue_settings),
};

#define SWEEP_MAX 64u

static void serve_task(struct task *t);
static void on_look(struct timer *t);
static void on_letter(struct letter *letter);
static void wake_first(struct queue *q, unsigned but, struct queue_local *own);

struct queue *queue_create(struct server_group *g, unsigned workers)
{
    struct queue *q = aligned_alloc(64, sizeof *q + workers * sizeof(struct queue_local));
    if (!q)
        return NULL;
    memset(q, 0, sizeof *q + workers * sizeof(struct queue_local));
    q->group = g;
    q->workers = workers;
    for (unsigned i = 0; i < workers; i++) {
        struct queue_local *l = &q->locals[i];
        l->queue = q;
        l->index = i;
        l->letter.deliver = on_letter;
        list_init(&l->waiters);
        task_init(&l->task);
        timer_init(&l->look, on_look);
    }
    return q;
}

void queue_free(struct queue *q)
{
    ASSERT(!q || queue_waiting(q) == 0);
    free(q);
}

/* Waiting. */

static struct queue_waiter *waiter_at(struct list *node)
{
    return CONTAINER_OF(node, struct queue_waiter, link);
}

/* Smaller goes first. Clocks of microseconds stay below 2^60 for ages. */
static uint64_t rank_of(const struct queue_waiter *w)
{
    return (uint64_t)(w->level - QUEUE_HIGH) << 60 | w->since_us;
}

/* The first of the list became another one. */
static void tell_first(struct queue_local *l)
{
    uint64_t rank = list_empty(&l->waiters) ? 0 : rank_of(waiter_at(l->waiters.next));
    if (rank != atomic_load_explicit(&l->rank, memory_order_relaxed))
        atomic_store_explicit(&l->rank, rank, memory_order_release);
}

/* Behind all of its level. */
static void put_in_line(struct queue_local *l, struct queue_waiter *w)
{
    struct list *before = l->waiters.prev;
    while (before != &l->waiters && waiter_at(before)->level > w->level)
        before = before->prev;
    list_prepend(before, &w->link);
}

static void on_late(struct timer *t)
{
    struct queue_waiter *w = CONTAINER_OF(t, struct queue_waiter, timer);
    atomic_fetch_add_explicit(&w->queue->timeouts, 1, memory_order_relaxed);
    queue_leave(w);
    w->late(w);
}

static bool count_in(struct queue *q, uint64_t size, bool *first)
{
    uint32_t now = queue_waiting(q);
    do {
        if (now >= size)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&q->waiting, &now, now + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    *first = now == 0;
    return true;
}

bool queue_join(struct queue *q, const struct queue_settings *s, unsigned worker, struct loop *l,
                struct queue_waiter *w)
{
    struct queue_local *local = &q->locals[worker];
    ASSERT(worker < q->workers && !w->queue);
    bool first = false;
    if (!count_in(q, s->size, &first)) {
        atomic_fetch_add_explicit(&q->refused, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&q->joined, 1, memory_order_relaxed);
    if (!local->loop)
        local->loop = l; /* others read it, once they see rank */
    w->queue = q;
    w->worker = worker;
    w->since_us = loop_now_us(l);
    timer_init(&w->timer, on_late);
    loop_timer(l, &w->timer, s->timeout);
    if (list_empty(&local->waiters))
        loop_timer(l, &local->look, QUEUE_LOOK_MS);
    put_in_line(local, w);
    tell_first(local);
    /* Beside the one in queue_wake: either we see the place, or who freed it sees us. Where others wait
     * already, they have looked, and are woken first. */
    atomic_thread_fence(memory_order_seq_cst);
    if (first)
        loop_defer(l, &local->task, serve_task);
    return true;
}

void queue_leave(struct queue_waiter *w)
{
    struct queue *q = w->queue;
    if (!q)
        return;
    struct queue_local *l = &q->locals[w->worker];
    w->queue = NULL;
    loop_timer_clear(l->loop, &w->timer);
    list_remove(&w->link);
    tell_first(l);
    atomic_fetch_sub_explicit(&q->waiting, 1, memory_order_relaxed);
    if (list_empty(&l->waiters))
        loop_timer_clear(l->loop, &l->look);
}

/* Serving. */

static struct queue_waiter *waiter_number(struct queue_local *l, size_t number)
{
    LIST_EACH (node, &l->waiters)
        if (number-- == 0)
            return waiter_at(node);
    return NULL;
}

/* From the first on, until there is no place. True when there may be one that none of them could have. */
static bool serve(struct queue_local *l)
{
    bool had_none = list_empty(&l->waiters), served = false;
    size_t passed = 0;
    for (struct queue_waiter *w; (w = waiter_number(l, passed)) != NULL;) {
        if (w->gone && w->gone(w))
            continue;
        enum queue_turn turn = w->turn(w);
        if (turn == QUEUE_BUSY)
            return false;
        served |= turn == QUEUE_DONE;
        passed += turn == QUEUE_PASSED;
    }
    return had_none || served;
}

static void serve_task(struct task *t)
{
    struct queue_local *l = CONTAINER_OF(t, struct queue_local, task);
    if (serve(l))
        wake_first(l->queue, l->index, NULL);
}

/* With one that is gone others may be, so the list is begun anew; the rest of very many has its turn at the
 * next look. */
static void sweep(struct queue_local *l)
{
    unsigned gone = 0;
    for (struct list *node = l->waiters.next; node != &l->waiters && gone < SWEEP_MAX;) {
        struct queue_waiter *w = waiter_at(node);
        bool is_gone = w->gone && w->gone(w);
        gone += is_gone;
        node = is_gone ? l->waiters.next : node->next;
    }
}

static void on_look(struct timer *t)
{
    struct queue_local *l = CONTAINER_OF(t, struct queue_local, look);
    sweep(l);
    if (list_empty(&l->waiters))
        return;
    loop_timer(l->loop, &l->look, QUEUE_LOOK_MS);
    serve(l);
}

static void on_letter(struct letter *letter)
{
    struct queue_local *l = CONTAINER_OF(letter, struct queue_local, letter);
    struct server_group *g = l->queue->group;
    atomic_store_explicit(&l->posted, false, memory_order_release);
    serve_task(&l->task);
    group_release(g);
}

static void post(struct queue_local *l)
{
    if (atomic_exchange_explicit(&l->posted, true, memory_order_acq_rel))
        return;
    group_hold(l->queue->group);
    loop_post(l->loop, &l->letter);
}

/* The one whose first goes first; not `but`. `own` is the caller's, woken without a letter. */
static void wake_first(struct queue *q, unsigned but, struct queue_local *own)
{
    struct queue_local *first = NULL;
    uint64_t least = 0;
    for (unsigned i = 0; i < q->workers; i++) {
        uint64_t rank = atomic_load_explicit(&q->locals[i].rank, memory_order_acquire);
        if (i == but || rank == 0 || (first && rank >= least))
            continue;
        first = &q->locals[i];
        least = rank;
    }
    if (first && first == own)
        loop_defer(own->loop, &own->task, serve_task);
    else if (first)
        post(first);
}

void queue_wake(struct queue *q, unsigned worker)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (UNLIKELY(queue_waiting(q) != 0))
        wake_first(q, UINT_MAX, &q->locals[worker]);
}
