/* Timers: against a plain list, over long sleeps, and from inside each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/loop.h"

#define START  1000003u /* no multiple of a tick */
#define TIMERS 400

struct alarm {
    struct timer timer;
    msec_t due; /* what the plain list says; 0 = not set */
    msec_t set_at;
    msec_t fired;
    int times;
};

static struct {
    struct wheel wheel;
    msec_t now;
    struct alarm alarms[TIMERS];
} t;

static void alarm_fires(struct timer *timer)
{
    struct alarm *a = CONTAINER_OF(timer, struct alarm, timer);
    assert_int_not_equal(a->due, 0); /* neither cleared nor fired before */
    assert_true(t.now >= a->due);
    a->fired = t.now;
    a->due = 0;
    a->times++;
}

static int set_up(void **state)
{
    (void)state;
    t.now = START;
    wheel_init(&t.wheel, t.now);
    for (int i = 0; i < TIMERS; i++) {
        t.alarms[i] = (struct alarm){0};
        timer_init(&t.alarms[i].timer, alarm_fires);
    }
    return 0;
}

static bool arm(int i, msec_t deadline)
{
    t.alarms[i].due = deadline ? deadline : 1;
    t.alarms[i].set_at = t.now;
    return wheel_set(&t.wheel, &t.alarms[i].timer, deadline);
}

static void disarm(int i)
{
    t.alarms[i].due = 0;
    wheel_clear(&t.wheel, &t.alarms[i].timer);
}

static void run_to(msec_t now)
{
    t.now = now;
    wheel_run(&t.wheel, now);
}

/* Nothing that the plain list holds may be overdue by two ticks, and the wheel must wake for the next. */
static void check_against_the_list(void)
{
    msec_t first = 0;
    for (int i = 0; i < TIMERS; i++) {
        msec_t due = t.alarms[i].due;
        if (!due)
            continue;
        msec_t since = due > t.alarms[i].set_at ? due : t.alarms[i].set_at;
        if (t.now >= since + 2 * WHEEL_TICK_MS)
            fail_msg("timer %d: due at %llu, now %llu", i, (unsigned long long)due,
                     (unsigned long long)t.now);
        if (!first || due < first)
            first = due;
    }
    msec_t next = wheel_next(&t.wheel);
    if (first) {
        assert_int_not_equal(next, 0);
        msec_t latest = first > t.now ? first : t.now;
        assert_true(next < latest + 2 * WHEEL_TICK_MS);
    }
}

static uint32_t dice_state;

static uint32_t dice(uint32_t sides)
{
    dice_state = dice_state * 1664525u + 1013904223u;
    return (dice_state >> 8) % sides;
}

static void test_random_use_fires_as_a_sorted_list_would(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        set_up(NULL);
        dice_state = seed;
        for (int step = 0; step < 3000; step++) {
            for (uint32_t n = dice(6); n; n--) {
                int i = (int)dice(TIMERS);
                static const uint32_t spans[] = {1, 20, 300, 5000, 9000, 60000};
                switch (dice(8)) {
                case 0:
                    disarm(i);
                    break;
                case 1:
                    t.alarms[i].due = 0;
                    timer_pause(&t.alarms[i].timer);
                    break;
                default: { /* set, moved earlier or later; some in the past */
                    msec_t before = wheel_next(&t.wheel);
                    msec_t deadline = t.now + dice(spans[dice(6)]) - (dice(10) ? 0 : 50);
                    bool sooner = arm(i, deadline);
                    msec_t after = wheel_next(&t.wheel);
                    assert_int_equal(sooner, before == 0 || after < before);
                    break;
                }
                }
            }
            static const uint32_t sleeps[] = {1, 8, 9, 30, 200};
            run_to(t.now + (dice(400) ? dice(sleeps[dice(5)] + 1) : dice(30000)));
            check_against_the_list();
        }
        run_to(t.now + 70000); /* the last of them */
        for (int turn = 0; turn < 12; turn++)
            run_to(t.now + WHEEL_SLOTS * WHEEL_TICK_MS);
        for (int i = 0; i < TIMERS; i++)
            assert_int_equal(t.alarms[i].due, 0);
    }
}

static void test_a_loop_that_sleeps_as_told_is_never_late(void **state)
{
    (void)state;
    set_up(NULL);
    dice_state = 99;
    for (int i = 0; i < TIMERS; i++)
        arm(i, t.now + dice(40000));
    int wakes = 0;
    for (msec_t next; (next = wheel_next(&t.wheel)) != 0; wakes++) {
        run_to(next > t.now ? next : t.now);
        check_against_the_list();
    }
    for (int i = 0; i < TIMERS; i++)
        assert_int_equal(t.alarms[i].times, 1);
    assert_true(wakes <= 5 * TIMERS);
}

static void test_moving_later_costs_no_list(void **state)
{
    (void)state;
    arm(0, START + 100);
    struct list *slot = t.alarms[0].timer.link.next;
    assert_false(arm(0, START + 5000));
    assert_ptr_equal(t.alarms[0].timer.link.next, slot);
    run_to(START + 4999);
    assert_int_equal(t.alarms[0].times, 0);
    run_to(START + 5000 + WHEEL_TICK_MS);
    assert_int_equal(t.alarms[0].times, 1);
}

static void test_moving_earlier_wakes_earlier(void **state)
{
    (void)state;
    assert_true(arm(0, START + 5000));
    assert_true(arm(0, START + 100));
    assert_true(wheel_next(&t.wheel) < START + 100 + WHEEL_TICK_MS);
    run_to(START + 100 + WHEEL_TICK_MS);
    assert_int_equal(t.alarms[0].times, 1);
}

static void test_past_the_horizon_a_timer_goes_round_again(void **state)
{
    (void)state;
    msec_t far = START + 5 * WHEEL_SLOTS * WHEEL_TICK_MS + 77;
    arm(0, far);
    for (msec_t next; (next = wheel_next(&t.wheel)) != 0;)
        run_to(next > t.now ? next : t.now);
    assert_int_equal(t.alarms[0].times, 1);
    assert_true(t.alarms[0].fired >= far && t.alarms[0].fired < far + 2 * WHEEL_TICK_MS);
}

static void test_a_long_sleep_fires_what_was_missed_once(void **state)
{
    (void)state;
    for (int i = 0; i < TIMERS; i++)
        arm(i, START + (msec_t)i * 40);
    arm(1, START + 1000000000);
    run_to(START + 999999000);
    for (int i = 0; i < TIMERS; i++)
        assert_int_equal(t.alarms[i].times, i == 1 ? 0 : 1);
    run_to(START + 1000000000 + WHEEL_TICK_MS);
    assert_int_equal(t.alarms[1].times, 1);
}

static void test_a_clock_that_stands_or_goes_back_fires_nothing_twice(void **state)
{
    (void)state;
    arm(0, START + 10);
    run_to(START + 30);
    run_to(START + 30);
    wheel_run(&t.wheel, START);
    assert_int_equal(t.alarms[0].times, 1);
    arm(1, START + 31);
    run_to(START + 48);
    assert_int_equal(t.alarms[1].times, 1);
}

static void test_a_paused_timer_can_be_set_again(void **state)
{
    (void)state;
    arm(0, START + 50);
    timer_pause(&t.alarms[0].timer);
    arm(0, START + 20);
    timer_pause(&t.alarms[0].timer);
    arm(0, START + 90);
    run_to(START + 89);
    assert_int_equal(t.alarms[0].times, 0);
    run_to(START + 100);
    assert_int_equal(t.alarms[0].times, 1);
}

/* From inside: arms itself, its neighbours, and clears one that is due in the same tick. */

static int chain;

static void chain_fires(struct timer *timer)
{
    struct alarm *a = CONTAINER_OF(timer, struct alarm, timer);
    a->times++;
    if (chain == 0) {
        wheel_clear(&t.wheel, &t.alarms[1].timer);
        wheel_set(&t.wheel, &t.alarms[2].timer, t.now + 500);
    }
    if (++chain < 5)
        wheel_set(&t.wheel, timer, t.now); /* at once: the next tick, not for ever */
}

static void test_timers_may_be_set_and_cleared_while_the_wheel_runs(void **state)
{
    (void)state;
    chain = 0;
    t.alarms[0].timer.fire = chain_fires;
    wheel_set(&t.wheel, &t.alarms[0].timer, START + 5);
    arm(1, START + 5);
    arm(2, START + 5);
    run_to(START + 16);
    assert_int_equal(chain, 1);
    assert_int_equal(t.alarms[1].times + t.alarms[2].times, 0);
    t.alarms[2].due = START + 516;
    for (int i = 0; i < 6; i++)
        run_to(t.now + WHEEL_TICK_MS);
    assert_int_equal(chain, 5);
    run_to(START + 515);
    assert_int_equal(t.alarms[2].times, 0);
    run_to(START + 532);
    assert_int_equal(t.alarms[2].times, 1);
}

static void free_and_forget(struct timer *timer)
{
    free(timer);
    chain++;
}

static void test_a_timer_may_free_itself(void **state)
{
    (void)state;
    chain = 0;
    for (int i = 0; i < 3; i++) {
        struct timer *own = malloc(sizeof *own);
        timer_init(own, free_and_forget);
        wheel_set(&t.wheel, own, START + 10);
    }
    run_to(START + 20);
    assert_int_equal(chain, 3);
}

/* In the loop. */

static struct {
    struct loop loop;
    struct timer first, second;
    int fired;
    msec_t at;
} l;

static void note(struct timer *timer)
{
    (void)timer;
    l.fired++;
    l.at = loop_now(&l.loop);
}

static void arm_second(struct timer *timer)
{
    (void)timer;
    l.fired++;
    loop_timer(&l.loop, &l.second, 15);
}

static void run_until_fired(int count)
{
    loop_read_clock(&l.loop);
    for (msec_t limit = loop_now(&l.loop) + 5000; l.fired < count && loop_now(&l.loop) < limit;)
        loop_pass(&l.loop);
    assert_int_equal(l.fired, count);
}

static int loop_up(void **state)
{
    (void)state;
    memset(&l, 0, sizeof l);
    return loop_init(&l.loop, 0);
}

static int loop_down(void **state)
{
    (void)state;
    loop_timer_clear(&l.loop, &l.first);
    loop_timer_clear(&l.loop, &l.second);
    loop_free(&l.loop);
    return 0;
}

static void test_a_timer_set_inside_a_timer_wakes_the_loop(void **state)
{
    (void)state;
    timer_init(&l.first, arm_second);
    timer_init(&l.second, note);
    msec_t start = loop_now(&l.loop);
    loop_timer(&l.loop, &l.first, 10);
    run_until_fired(2); /* a pass sleeps until something happens: a lost wake-up would hang */
    assert_true(l.at >= start + 25);
}

static void set_it_again(struct timer *timer)
{
    if (++l.fired < 4)
        loop_timer(&l.loop, timer, 10);
}

static void test_a_timer_that_sets_itself_again_goes_on(void **state)
{
    (void)state;
    timer_init(&l.first, set_it_again);
    timer_init(&l.second, note);
    loop_timer(&l.loop, &l.first, 0);
    run_until_fired(4);
}

static void test_an_earlier_timer_wakes_the_loop_earlier(void **state)
{
    (void)state;
    timer_init(&l.first, note);
    timer_init(&l.second, note);
    msec_t start = loop_now(&l.loop);
    loop_timer(&l.loop, &l.first, 60000);
    loop_timer(&l.loop, &l.second, 20);
    run_until_fired(1);
    assert_true(l.at >= start + 20 && l.at < start + 5000);
    loop_timer(&l.loop, &l.first, 20); /* was far, is near */
    run_until_fired(2);
}

static void test_after_all_timers_are_gone_a_new_one_wakes_the_loop(void **state)
{
    (void)state;
    timer_init(&l.first, note);
    timer_init(&l.second, note);
    loop_timer(&l.loop, &l.second, 20);
    loop_timer_clear(&l.loop, &l.second);
    loop_timer(&l.loop, &l.first, 40);
    run_until_fired(1);
    loop_timer(&l.loop, &l.first, 10);
    run_until_fired(2);
}

#define WHEEL(name) cmocka_unit_test_setup(name, set_up)
#define LOOP(name)  cmocka_unit_test_setup_teardown(name, loop_up, loop_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_use_fires_as_a_sorted_list_would),
        cmocka_unit_test(test_a_loop_that_sleeps_as_told_is_never_late),
        WHEEL(test_moving_later_costs_no_list),
        WHEEL(test_moving_earlier_wakes_earlier),
        WHEEL(test_past_the_horizon_a_timer_goes_round_again),
        WHEEL(test_a_long_sleep_fires_what_was_missed_once),
        WHEEL(test_a_clock_that_stands_or_goes_back_fires_nothing_twice),
        WHEEL(test_a_paused_timer_can_be_set_again),
        WHEEL(test_timers_may_be_set_and_cleared_while_the_wheel_runs),
        WHEEL(test_a_timer_may_free_itself),
        LOOP(test_a_timer_set_inside_a_timer_wakes_the_loop),
        LOOP(test_a_timer_that_sets_itself_again_goes_on),
        LOOP(test_an_earlier_timer_wakes_the_loop_earlier),
        LOOP(test_after_all_timers_are_gone_a_new_one_wakes_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
