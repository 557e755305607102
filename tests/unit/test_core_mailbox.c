/* Letters between threads: none lost, in order, no wake-up missed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <pthread.h>

#include "core/loop.h"

#define SENDERS 4
#define LETTERS 20000

struct note {
    struct letter letter;
    int sender, number;
};

static struct {
    struct loop loop;
    int expected[SENDERS]; /* the next number of each */
    int delivered, out_of_order;
    struct timer guard;
} t;

static void guard_fires(struct timer *timer)
{
    (void)timer;
    fail_msg("a wake-up was lost: %d letters", t.delivered);
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    timer_init(&t.guard, guard_fires);
    return loop_init(&t.loop, 0);
}

static int tear_down(void **state)
{
    (void)state;
    loop_timer_clear(&t.loop, &t.guard);
    loop_free(&t.loop);
    return 0;
}

static void note_arrives(struct letter *letter)
{
    struct note *n = CONTAINER_OF(letter, struct note, letter);
    if (n->number != t.expected[n->sender]++)
        t.out_of_order++;
    t.delivered++;
    free(n);
}

static void post(int sender, int number)
{
    struct note *n = malloc(sizeof *n);
    *n = (struct note){.letter.deliver = note_arrives, .sender = sender, .number = number};
    loop_post(&t.loop, &n->letter);
}

static void pass_until(int delivered)
{
    loop_timer(&t.loop, &t.guard, 20000);
    while (t.delivered < delivered)
        loop_pass(&t.loop);
}

static void *send_all(void *argument)
{
    int sender = (int)(intptr_t)argument;
    for (int i = 0; i < LETTERS; i++) {
        post(sender, i);
        if (i % 1000 == 0)
            usleep(200); /* so that the mailbox is empty at times */
    }
    return NULL;
}

static void test_letters_of_many_threads_arrive_once_and_in_order(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, (void *)(intptr_t)i), 0);
    pass_until(SENDERS * LETTERS);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(t.out_of_order, 0);
    assert_int_equal(t.delivered, SENDERS * LETTERS);
}

static _Atomic int answered;

static void *send_one_at_a_time(void *argument)
{
    (void)argument;
    for (int i = 0; i < 2000; i++) {
        post(0, i);
        while (atomic_load(&answered) <= i) /* the next goes to an empty mailbox */
            sched_yield();
    }
    return NULL;
}

static void test_every_letter_to_an_empty_mailbox_wakes_the_loop(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_store(&answered, 0);
    assert_int_equal(pthread_create(&thread, NULL, send_one_at_a_time, NULL), 0);
    loop_timer(&t.loop, &t.guard, 20000);
    while (t.delivered < 2000) {
        loop_pass(&t.loop);
        atomic_store(&answered, t.delivered);
    }
    pthread_join(thread, NULL);
    assert_int_equal(t.out_of_order, 0);
}

static void post_another(struct letter *letter)
{
    free(CONTAINER_OF(letter, struct note, letter));
    t.delivered++;
    if (t.delivered < 5) {
        struct note *n = malloc(sizeof *n);
        n->letter.deliver = post_another;
        loop_post(&t.loop, &n->letter);
    }
}

static void test_a_letter_may_send_a_letter_to_its_own_loop(void **state)
{
    (void)state;
    struct note *n = malloc(sizeof *n);
    n->letter.deliver = post_another;
    loop_post(&t.loop, &n->letter);
    loop_timer(&t.loop, &t.guard, 20000);
    loop_pass(&t.loop);
    assert_int_equal(t.delivered, 1); /* one a pass: events get their turn */
    pass_until(5);
}

static void test_letters_that_are_left_are_delivered_at_the_end(void **state)
{
    (void)state;
    post(0, 0);
    post(0, 1);
    loop_free(&t.loop);
    assert_int_equal(t.delivered, 2);
    assert_int_equal(t.out_of_order, 0);
    assert_int_equal(loop_init(&t.loop, 0), 0);
}

/* The loop's lists. */

static struct task first, second;
static char order[16];
static size_t order_len;

static void run_first(struct task *task)
{
    (void)task;
    order[order_len++] = '1';
    if (order_len < 4)
        loop_defer(&t.loop, &first, run_first);
}

static void run_second(struct task *task)
{
    (void)task;
    order[order_len++] = '2';
}

static void bury(struct task *task)
{
    order[order_len++] = 'b';
    free(task);
}

static void count_pass(struct loop *l)
{
    (void)l;
    order[order_len++] = '.';
}

static void test_deferred_tasks_run_once_a_pass_and_graves_are_filled_last(void **state)
{
    (void)state;
    order_len = 0;
    task_init(&first);
    task_init(&second);
    struct task *dead = malloc(sizeof *dead);
    task_init(dead);
    t.loop.after_pass = count_pass;
    loop_defer(&t.loop, &first, run_first);
    loop_defer(&t.loop, &second, run_second);
    loop_defer(&t.loop, &first, run_first); /* waits already */
    loop_defer(&t.loop, dead, run_second);
    loop_bury(&t.loop, dead, bury); /* is taken out of the ready list */
    loop_timer(&t.loop, &t.guard, 20000);
    for (int i = 0; i < 2; i++)
        loop_pass(&t.loop);
    order[order_len] = 0;
    t.loop.after_pass = NULL;
    assert_string_equal(order, "12.b1.");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_letters_of_many_threads_arrive_once_and_in_order),
        TEST(test_every_letter_to_an_empty_mailbox_wakes_the_loop),
        TEST(test_a_letter_may_send_a_letter_to_its_own_loop),
        TEST(test_letters_that_are_left_are_delivered_at_the_end),
        TEST(test_deferred_tasks_run_once_a_pass_and_graves_are_filled_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
