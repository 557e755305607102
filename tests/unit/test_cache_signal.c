/* Signals: who waits is woken once, on its own loop, never from inside; no wake-up is lost, and nothing is
 * used after it was freed, nor leaks (the sanitizers look). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/signal.h"
#include "tests/unit/patience.h"

#define PEOPLE 4

static struct {
    struct loop loop, other;
    struct cache_signal signal;
    struct person {
        struct cache_waiter waiter;
        struct cache_waiter *cancels; /* in its wake() */
        bool waits_again;
        int woken;
    } people[PEOPLE];
} t;

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    cache_signal_init(&t.signal);
    return loop_init(&t.loop, 0) | loop_init(&t.other, 1);
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < PEOPLE; i++)
        cache_signal_cancel(&t.people[i].waiter);
    cache_signal_free(&t.signal);
    loop_free(&t.loop);
    loop_free(&t.other);
    return 0;
}

static void nothing(struct task *task)
{
    (void)task;
}

/* One that does not wait. */
static void pass(struct loop *l)
{
    struct task awake;
    task_init(&awake);
    loop_defer(l, &awake, nothing);
    loop_pass(l);
}

static void wake(struct cache_waiter *w)
{
    struct person *p = CONTAINER_OF(w, struct person, waiter);
    p->woken++;
    if (p->cancels)
        cache_signal_cancel(p->cancels);
    if (p->waits_again)
        assert_int_equal(cache_signal_wait(&t.signal, &t.loop, w, wake), 0);
}

static struct person *waits(int i, struct loop *loop)
{
    assert_int_equal(cache_signal_wait(&t.signal, loop, &t.people[i].waiter, wake), 0);
    return &t.people[i];
}

static void *raise_elsewhere(void *argument)
{
    cache_signal_raise(argument);
    return NULL;
}

/* Raises on a thread that has none of the loops, so that letters are sent. */
static void raise_by_letter(void)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, raise_elsewhere, &t.signal), 0);
    pthread_join(thread, NULL);
}

static void test_everybody_is_woken_once_and_not_from_inside(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop), *b = waits(1, &t.loop), *c = waits(2, &t.other);
    cache_signal_raise(&t.signal);
    assert_int_equal(a->woken + b->woken + c->woken, 0);
    pass(&t.loop);
    assert_int_equal(a->woken, 1);
    assert_int_equal(b->woken, 1);
    assert_int_equal(c->woken, 0);
    pass(&t.other);
    assert_int_equal(c->woken, 1);
    assert_int_equal(atomic_load(&t.signal.waiting), 0);
}

static void test_a_letter_from_another_thread_wakes_everybody_of_a_loop(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop), *b = waits(1, &t.loop), *c = waits(2, &t.other);
    raise_by_letter();
    pass(&t.loop);
    assert_int_equal(a->woken + b->woken, 2);
    pass(&t.other);
    assert_int_equal(c->woken, 1);
}

static void test_a_signal_raised_often_before_delivery_wakes_once(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop);
    raise_by_letter();
    cache_signal_raise(&t.signal);
    raise_by_letter();
    pass(&t.loop);
    assert_int_equal(a->woken, 1);
    assert_null(a->waiter.audience);
}

static void test_who_cancelled_is_not_woken(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop), *b = waits(1, &t.loop);
    cache_signal_cancel(&a->waiter);
    cache_signal_cancel(&a->waiter);
    raise_by_letter();
    cache_signal_cancel(&b->waiter);
    struct person *c = waits(2, &t.other);
    cache_signal_raise(&t.signal);
    cache_signal_cancel(&c->waiter);
    pass(&t.loop);
    pass(&t.other);
    assert_int_equal(a->woken + b->woken + c->woken, 0);
}

static void test_a_wake_up_may_cancel_the_next_one(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop), *b = waits(1, &t.loop), *c = waits(2, &t.loop);
    a->cancels = &b->waiter;
    c->cancels = &a->waiter;
    cache_signal_raise(&t.signal);
    pass(&t.loop);
    assert_int_equal(a->woken, 1);
    assert_int_equal(b->woken, 0);
    assert_int_equal(c->woken, 1);
}

static void test_who_waits_again_when_woken_is_woken_by_the_next_raise_alone(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop);
    a->waits_again = true;
    for (int raise = 1; raise <= 3; raise++) {
        raise_by_letter();
        pass(&t.loop);
        assert_int_equal(a->woken, raise);
    }
}

static void test_who_comes_after_a_raise_waits_for_the_next(void **state)
{
    (void)state;
    struct person *a = waits(0, &t.loop);
    raise_by_letter();
    struct person *b = waits(1, &t.loop);
    pass(&t.loop);
    assert_int_equal(a->woken, 1);
    assert_int_equal(b->woken, 0);
    cache_signal_raise(&t.signal);
    pass(&t.loop);
    assert_int_equal(b->woken, 1);
}

static void test_a_loop_that_ends_takes_its_letters_with_it(void **state)
{
    (void)state;
    waits(0, &t.loop);
    waits(1, &t.other);
    raise_by_letter();
    cache_signal_raise(&t.signal);
    /* Cancelled and freed by tear_down, the letters undelivered. */
}

/* Several threads. A state that grows; people on several loops who wait for each of its changes, by the
 * pattern of signal.h; and each is told when it is at its end, or waits for ever. */

#define LOOPS   3
#define CHANGES 3000u
#define BY_LOOP 5
#define OBJECTS 400

/* Counted: freed by whoever lets go last, with letters on their way. */
struct object {
    _Atomic unsigned refs, state, last;
    _Atomic unsigned seen; /* changes, by all watchers */
    struct cache_signal signal;
};

static void let_go(struct object *o)
{
    if (atomic_fetch_sub(&o->refs, 1) != 1)
        return;
    cache_signal_free(&o->signal);
    free(o);
}

struct watcher {
    struct cache_waiter waiter;
    struct worker *worker;
    struct object *object;
    unsigned seen;
};

struct worker {
    pthread_t thread;
    struct loop loop;
    struct watcher *watchers;
    unsigned count, left;
};

static void spin(unsigned times)
{
    for (volatile unsigned left = times; left > 0; left--)
        ;
}

static void watch(struct cache_waiter *w)
{
    struct watcher *p = CONTAINER_OF(w, struct watcher, waiter);
    struct object *o = p->object;
    for (;;) {
        unsigned now = atomic_load_explicit(&o->state, memory_order_acquire);
        atomic_fetch_add(&o->seen, now - p->seen);
        p->seen = now;
        spin(300); /* so that the next change may come before, while and after it begins to wait */
        if (p->seen == atomic_load(&o->last))
            break;
        if (cache_signal_wait(&o->signal, &p->worker->loop, w, watch) != 0)
            abort();
        if (atomic_load_explicit(&o->state, memory_order_acquire) == p->seen)
            return;
        cache_signal_cancel(w);
    }
    let_go(o);
    if (--p->worker->left == 0)
        loop_stop(&p->worker->loop);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    for (unsigned i = 0; i < w->count; i++)
        watch(&w->watchers[i].waiter);
    loop_run(&w->loop);
    return NULL;
}

static void wait_for_all(struct object *o, unsigned change)
{
    for (unsigned tries = 1; atomic_load(&o->seen) < change * LOOPS * BY_LOOP; tries++)
        if (tries % 1024 == 0)
            sched_yield();
    spin(change % 256 * 4); /* a little later each time: through all places of the watchers' code */
}

/* `in_step`: no change before all have seen the last one, so that each wake-up is the only one there is. */
static void run(unsigned objects, unsigned changes, bool in_step)
{
    alarm(20 * test_scale()); /* a lost wake-up */
    struct object **all = calloc(objects, sizeof *all);
    struct worker workers[LOOPS] = {0};
    for (unsigned i = 0; i < objects; i++) {
        all[i] = calloc(1, sizeof **all);
        cache_signal_init(&all[i]->signal);
        atomic_init(&all[i]->refs, 1 + LOOPS * BY_LOOP);
        atomic_init(&all[i]->last, changes);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        struct worker *w = &workers[i];
        w->count = w->left = objects * BY_LOOP;
        w->watchers = calloc(w->count, sizeof *w->watchers);
        for (unsigned k = 0; k < w->count; k++)
            w->watchers[k] = (struct watcher){.worker = w, .object = all[k / BY_LOOP]};
        assert_int_equal(loop_init(&w->loop, i), 0);
        assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
    }
    for (unsigned i = 0; i < objects; i++) {
        for (unsigned k = 1; k <= changes; k++) {
            atomic_store_explicit(&all[i]->state, k, memory_order_release);
            cache_signal_raise(&all[i]->signal);
            if (in_step)
                wait_for_all(all[i], k);
        }
        let_go(all[i]);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < LOOPS; i++) {
        for (unsigned k = 0; k < workers[i].count; k++)
            assert_int_equal(workers[i].watchers[k].seen, changes);
        loop_free(&workers[i].loop);
        free(workers[i].watchers);
    }
    free(all);
    alarm(0);
}

static void test_no_change_goes_unseen(void **state)
{
    (void)state;
    run(1, CHANGES, true);
}

static void test_objects_come_and_go_while_letters_are_on_their_way(void **state)
{
    (void)state;
    run(OBJECTS, 2, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_everybody_is_woken_once_and_not_from_inside),
        TEST(test_a_letter_from_another_thread_wakes_everybody_of_a_loop),
        TEST(test_a_signal_raised_often_before_delivery_wakes_once),
        TEST(test_who_cancelled_is_not_woken),
        TEST(test_a_wake_up_may_cancel_the_next_one),
        TEST(test_who_waits_again_when_woken_is_woken_by_the_next_raise_alone),
        TEST(test_who_comes_after_a_raise_waits_for_the_next),
        TEST(test_a_loop_that_ends_takes_its_letters_with_it),
        cmocka_unit_test(test_no_change_goes_unseen),
        cmocka_unit_test(test_objects_come_and_go_while_letters_are_on_their_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
