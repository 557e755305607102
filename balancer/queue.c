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

static void serve_task(struct task *t);
static void on_look(struct timer *t);
static void on_letter(struct letter *letter);
static void wake_first(struct queue *q, unsigned but, uint64_t after, struct queue_local *own);

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
        l->next = &l->waiters;
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

static bool count_in(struct queue *q, uint64_t size)
{
    uint32_t now = queue_waiting(q);
    do {
        if (now >= size)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&q->waiting, &now, now + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static void note_choice(struct queue *q, const void *choice)
{
    ASSERT(choice);
    if (atomic_load_explicit(&q->newest, memory_order_relaxed) != choice)
        atomic_store_explicit(&q->newest, choice, memory_order_relaxed);
}

bool queue_join(struct queue *q, const struct queue_settings *s, unsigned worker, struct loop *l,
                struct queue_waiter *w)
{
    struct queue_local *local = &q->locals[worker];
    ASSERT(worker < q->workers && !w->queue);
    if (!count_in(q, s->size)) {
        atomic_fetch_add_explicit(&q->refused, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&q->joined, 1, memory_order_relaxed);
    note_choice(q, w->choice);
    if (!local->loop)
        local->loop = l; /* others read it, once they see rank */
    w->queue = q;
    w->worker = worker;
    w->since_us = loop_now_us(l);
    timer_init(&w->timer, on_late);
    loop_timer(l, &w->timer, s->timeout);
    bool is_first = list_empty(&local->waiters);
    if (is_first)
        loop_timer(l, &local->look, QUEUE_LOOK_MS);
    put_in_line(local, w);
    tell_first(local);
    /* Beside the one in queue_wake: either we see the place, or who freed it sees us. Who goes first looks
     * for all. */
    atomic_thread_fence(memory_order_seq_cst);
    if (is_first || local->passed || (local->full && local->full != w->choice))
        wake_first(q, UINT_MAX, 0, local);
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
    if (l->next == &w->link)
        l->next = w->link.next;
    list_remove(&w->link);
    tell_first(l);
    atomic_fetch_sub_explicit(&q->waiting, 1, memory_order_relaxed);
    if (!list_empty(&l->waiters))
        return;
    l->full = NULL;
    l->passed = false;
    loop_timer_clear(l->loop, &l->look);
}

/* Serving. */

/* The next one of a walk that begins at l->waiters.next, whoever leaves meanwhile; NULL = it is over. */
static struct queue_waiter *walk(struct queue_local *l)
{
    if (l->next == &l->waiters)
        return NULL;
    struct queue_waiter *w = waiter_at(l->next);
    l->next = l->next->next;
    return w;
}

/* Whether anyone behind may find a place where `choice` had none: servers came or went, or there was a
 * reload.
 */
static bool others_choose_otherwise(const struct queue_local *l, const void *choice)
{
    return waiter_at(l->waiters.prev)->choice != choice;
}

/* What becomes of a wake-up when a worker's have had their turns. */
enum rest {
    REST_NONE,  /* there is no place left */
    REST_ANY,   /* there may be one: for whoever waits elsewhere */
    REST_LATER, /* none of those here could have it; nor, then, those ahead of them elsewhere */
};

/* From the first on, until there is no place. */
static enum rest serve(struct queue_local *l)
{
    bool had_none = list_empty(&l->waiters), served = false;
    l->full = NULL;
    l->passed = !had_none;
    l->next = l->waiters.next;
    for (struct queue_waiter *w; (w = walk(l)) != NULL;) {
        if (w->choice == l->full || (w->gone && w->gone(w)))
            continue;
        enum queue_turn turn = w->turn(w);
        served |= turn == QUEUE_DONE;
        if (turn == QUEUE_BUSY) {
            l->full = w->choice;
            l->passed = others_choose_otherwise(l, l->full);
            if (!l->passed)
                break;
        }
    }
    if (l->full && l->full == atomic_load_explicit(&l->queue->newest, memory_order_relaxed))
        return REST_NONE;
    return had_none || served ? REST_ANY : REST_LATER;
}

static void serve_task(struct task *t)
{
    struct queue_local *l = CONTAINER_OF(t, struct queue_local, task);
    uint64_t first = atomic_load_explicit(&l->rank, memory_order_relaxed);
    enum rest rest = serve(l);
    if (rest != REST_NONE)
        wake_first(l->queue, l->index, rest == REST_LATER ? first : 0, NULL);
}

static void sweep(struct queue_local *l)
{
    l->next = l->waiters.next;
    for (struct queue_waiter *w; (w = walk(l)) != NULL;)
        if (w->gone)
            w->gone(w);
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

/* The one whose first goes first; not `but`, and none of a rank ahead of `after`, unless that is 0. `own` is
 * the caller's, woken without a letter. */
static void wake_first(struct queue *q, unsigned but, uint64_t after, struct queue_local *own)
{
    struct queue_local *first = NULL;
    uint64_t least = 0;
    for (unsigned i = 0; i < q->workers; i++) {
        uint64_t rank = atomic_load_explicit(&q->locals[i].rank, memory_order_acquire);
        bool is_ahead = rank < after || (rank == after && i < but);
        if (i == but || rank == 0 || (after && is_ahead) || (first && rank >= least))
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
        wake_first(q, UINT_MAX, 0, &q->locals[worker]);
}
