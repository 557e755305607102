#include "cache/signal.h"

#include <stdlib.h>

/* In the signal's list as long as somebody waits in it; freed then, or, when its letter (or its task) is on
 * the way, by the delivery. So a signal without waiters can be freed at any time. Who comes after the letter
 * was sent waits in a new one. */
struct cache_audience {
    struct letter letter;
    struct task task;            /* instead of the letter, on the loop's own thread */
    struct cache_audience *next; /* in the signal, and among those to be posted; signal's lock */
    struct cache_signal *signal; /* NULL = nobody waits (any more); loop's thread */
    struct loop *loop;
    pthread_t thread; /* the loop's */
    struct list waiters;
    bool posted; /* signal's lock */
};

static struct cache_audience *find(struct cache_signal *s, struct loop *loop);
static bool detach(struct cache_audience *a);
static void deliver(struct cache_audience *a);
static void deliver_letter(struct letter *l);
static void deliver_task(struct task *t);

void cache_signal_init(struct cache_signal *s)
{
    pthread_mutex_init(&s->lock, NULL);
    s->audiences = NULL;
    atomic_init(&s->waiting, 0);
}

void cache_signal_free(struct cache_signal *s)
{
    ASSERT(!s->audiences);
    pthread_mutex_destroy(&s->lock);
}

int cache_signal_wait(struct cache_signal *s, struct loop *loop, struct cache_waiter *w,
                      void (*wake)(struct cache_waiter *))
{
    w->wake = wake;
    if (w->audience)
        return 0;
    pthread_mutex_lock(&s->lock);
    struct cache_audience *a = find(s, loop);
    pthread_mutex_unlock(&s->lock);
    if (!a) {
        a = malloc(sizeof *a);
        if (!a)
            return -1;
        *a = (struct cache_audience){.letter.deliver = deliver_letter, .signal = s, .loop = loop};
        a->thread = pthread_self();
        task_init(&a->task);
        list_init(&a->waiters);
        pthread_mutex_lock(&s->lock);
        a->next = s->audiences;
        s->audiences = a;
        pthread_mutex_unlock(&s->lock);
        /* Last: see cache_signal_raise(). */
        atomic_fetch_add_explicit(&s->waiting, 1, memory_order_acq_rel);
    }
    w->audience = a;
    list_append(&a->waiters, &w->link);
    return 0;
}

void cache_signal_cancel(struct cache_waiter *w)
{
    struct cache_audience *a = w->audience;
    if (!a)
        return;
    w->audience = NULL;
    list_remove(&w->link);
    /* Without a signal it is being delivered at this moment. */
    if (!a->signal || !list_empty(&a->waiters))
        return;
    if (!detach(a))
        free(a);
}

void cache_signal_raise(struct cache_signal *s)
{
    /* A read-modify-write, not a load: of two on the same variable one comes first. If it is the waiter's,
     * it is seen here; if it is this one, the waiter's acquires what was stored before. */
    if (atomic_fetch_add_explicit(&s->waiting, 0, memory_order_acq_rel) == 0)
        return;

    struct letter *letters = NULL;
    pthread_mutex_lock(&s->lock);
    for (struct cache_audience *a = s->audiences; a; a = a->next) {
        if (a->posted)
            continue;
        a->posted = true; /* lives until it is delivered, from now on */
        if (pthread_equal(a->thread, pthread_self())) {
            loop_defer(a->loop, &a->task, deliver_task);
        } else {
            a->letter.next = letters;
            letters = &a->letter;
        }
    }
    pthread_mutex_unlock(&s->lock);
    while (letters) {
        struct letter *next = letters->next;
        struct cache_audience *a = CONTAINER_OF(letters, struct cache_audience, letter);
        loop_post(a->loop, letters);
        letters = next;
    }
}

/* Where one who comes now may wait; NULL = nowhere yet. Under the lock. */
static struct cache_audience *find(struct cache_signal *s, struct loop *loop)
{
    for (struct cache_audience *a = s->audiences; a; a = a->next)
        if (a->loop == loop && !a->posted)
            return a;
    return NULL;
}

/* Whether a delivery is on its way. */
static bool detach(struct cache_audience *a)
{
    struct cache_signal *s = a->signal;
    a->signal = NULL;
    pthread_mutex_lock(&s->lock);
    struct cache_audience **at = &s->audiences;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    bool posted = a->posted;
    atomic_fetch_sub_explicit(&s->waiting, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    return posted;
}

/* While the first waiter is not woken he holds the signal's object; afterwards it may be gone. */
static void deliver(struct cache_audience *a)
{
    if (a->signal)
        detach(a);
    while (!list_empty(&a->waiters)) {
        struct cache_waiter *w = CONTAINER_OF(a->waiters.next, struct cache_waiter, link);
        list_remove(&w->link);
        w->audience = NULL;
        w->wake(w);
    }
    free(a);
}

static void deliver_letter(struct letter *l)
{
    deliver(CONTAINER_OF(l, struct cache_audience, letter));
}

static void deliver_task(struct task *t)
{
    deliver(CONTAINER_OF(t, struct cache_audience, task));
}
