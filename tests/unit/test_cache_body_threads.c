/* Bodies on several threads: one appends, readers on three loops read at their own pace, come late and leave
 * early. Each byte is compared; nothing is left in the budget. Mostly for the sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/chunk.h"
#include "tests/unit/patience.h"

#define KIB       1024u
#define LOOPS     3
#define BY_LOOP   8
#define PIECE_MAX (60 * KIB)
#define LENGTH    (900 * KIB + 321)

static struct cache_budget budget;
static char data[LENGTH];
static _Atomic int wrong_bytes;
static _Atomic bool appender_waited;

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*seed * below) >> 32);
}

enum how { ENDED_NOT, ENDED_WHOLE, ENDED_CUT, ENDED_LEFT, ENDED_REFUSED };

/* A reader's story: come after some passes, read in pieces of a size of its own, perhaps leave. */
struct story {
    struct cache_reader reader;
    struct task task;
    struct side *side;
    struct cache_body *body;
    uint32_t seed, passes_before, piece_max, leaves_at;
    bool dawdles;
    enum how ended;
};

struct side {
    struct loop loop;
    pthread_t thread;
    struct story stories[BY_LOOP];
    unsigned left;
    _Atomic unsigned opened;
};

static void step(struct story *s);

static void step_task(struct task *t)
{
    step(CONTAINER_OF(t, struct story, task));
}

static void step_wake(struct cache_reader *r)
{
    step(CONTAINER_OF(r, struct story, reader));
}

static void end_story(struct story *s, enum how how)
{
    s->ended = how;
    cache_reader_close(&s->reader);
    cache_body_release(s->body);
    if (--s->side->left == 0)
        loop_stop(&s->side->loop);
}

static void compare(const struct story *s, const struct iovec *iov, int count)
{
    uint64_t at = s->reader.at;
    for (int i = 0; i < count; i++) {
        if (at + iov[i].iov_len > LENGTH || memcmp(iov[i].iov_base, data + at, iov[i].iov_len) != 0)
            atomic_fetch_add(&wrong_bytes, 1);
        at += iov[i].iov_len;
    }
}

static void step(struct story *s)
{
    struct cache_reader *r = &s->reader;
    if (!r->body) {
        if (s->passes_before > 0 && s->passes_before--) {
            loop_defer(&s->side->loop, &s->task, step_task);
            return;
        }
        int opened = cache_reader_open(r, s->body, &s->side->loop, step_wake);
        atomic_fetch_add(&s->side->opened, 1);
        if (opened != 0) {
            end_story(s, ENDED_REFUSED);
            return;
        }
    }
    if (s->dawdles && !atomic_load(&appender_waited)) {
        loop_defer(&s->side->loop, &s->task, step_task);
        return;
    }
    enum cache_body_state state = cache_body_state(s->body);
    struct iovec iov[4];
    uint64_t bytes;
    int count =
        cache_reader_peek(r, iov, 1 + (int)draw(&s->seed, 4), 1 + draw(&s->seed, s->piece_max), &bytes);
    compare(s, iov, count);
    cache_reader_skip(r, bytes);
    if (r->at >= s->leaves_at)
        end_story(s, ENDED_LEFT);
    else if (bytes > 0)
        loop_defer(&s->side->loop, &s->task, step_task);
    else if (state != CACHE_BODY_GROWING)
        end_story(s, state == CACHE_BODY_WHOLE ? ENDED_WHOLE : ENDED_CUT);
    else if (cache_reader_wait(r) != 0)
        abort();
}

static void *run_side(void *argument)
{
    struct side *side = argument;
    for (int i = 0; i < BY_LOOP; i++)
        step(&side->stories[i]);
    loop_run(&side->loop);
    return NULL;
}

/* The appender, on a loop of its own. */
struct writer {
    struct loop loop;
    struct task task;
    struct cache_waiter ahead;
    struct cache_body *body;
    struct side *sides;
    unsigned opened_first; /* readers that it waits for */
    uint64_t length, cut_at;
    uint64_t held_most; /* by the stream */
    uint32_t seed;
    bool is_stream;
};

static void write_more(struct writer *w);

static void write_task(struct task *t)
{
    write_more(CONTAINER_OF(t, struct writer, task));
}

static void write_wake(struct cache_waiter *waiter)
{
    write_more(CONTAINER_OF(waiter, struct writer, ahead));
}

static unsigned opened(const struct writer *w)
{
    unsigned sum = 0;
    for (int i = 0; i < LOOPS; i++)
        sum += atomic_load(&w->sides[i].opened);
    return sum;
}

static void watch_memory(struct writer *w)
{
    body_lock(w->body);
    uint64_t held = cache_body_bytes(w->body) - w->body->first->start;
    body_unlock(w->body);
    if (held > w->held_most)
        w->held_most = held;
}

static void write_more(struct writer *w)
{
    uint64_t at = cache_body_bytes(w->body);
    if (at == 0 && opened(w) < w->opened_first) {
        loop_defer(&w->loop, &w->task, write_task);
        return;
    }
    if (w->is_stream && cache_body_is_ahead(w->body, &w->loop, &w->ahead, write_wake)) {
        atomic_store(&appender_waited, true);
        return;
    }
    if (at == w->length || at >= w->cut_at) {
        if (at == w->length)
            cache_body_finish(w->body);
        else
            cache_body_cut(w->body);
        loop_stop(&w->loop);
        return;
    }
    uint64_t piece = 1 + draw(&w->seed, PIECE_MAX);
    if (piece > w->length - at)
        piece = w->length - at;
    struct iovec iov = {data + at, (size_t)piece};
    if (cache_body_append(w->body, &iov, 1) != 0) {
        cache_body_stream(w->body);
        w->is_stream = true;
        if (cache_body_append(w->body, &iov, 1) != 0)
            abort();
    } else if (w->is_stream)
        watch_memory(w);
    loop_defer(&w->loop, &w->task, write_task);
}

struct scenario {
    uint64_t announced, limit, cut_at;
    uint32_t late_passes; /* half of the readers come after up to so many */
    bool some_leave;
    bool some_dawdle; /* read nothing until the appender waits for them */
};

struct outcome {
    unsigned ended[ENDED_REFUSED + 1];
    bool became_stream;
    uint64_t held_most;
};

static void prepare_story(struct side *side, int i, struct cache_body *b, const struct scenario *s,
                          uint32_t seed)
{
    struct story *story = &side->stories[i];
    *story = (struct story){.side = side, .body = cache_body_hold(b), .seed = seed * 2654435761u};
    task_init(&story->task);
    static const uint32_t pieces[] = {9000, 40000, 150000};
    story->piece_max = pieces[i % 3];
    story->passes_before = i % 2 ? draw(&story->seed, s->late_passes + 1) : 0;
    story->dawdles = s->some_dawdle && i == 0;
    story->leaves_at = s->some_leave && i % 4 == 2 ? draw(&story->seed, LENGTH / 2) : UINT32_MAX;
}

static void run(const struct scenario *s, struct outcome *out)
{
    alarm(30 * test_scale()); /* a lost wake-up */
    *out = (struct outcome){0};
    budget = (struct cache_budget){.limit = s->limit};
    struct side *sides = calloc(LOOPS, sizeof *sides);
    struct writer w = {.length = LENGTH, .cut_at = s->cut_at, .sides = sides, .seed = 7};
    w.body = cache_body_create(&budget, s->announced);
    w.opened_first = s->late_passes > 0 ? LOOPS * BY_LOOP / 2 : LOOPS * BY_LOOP;
    atomic_store(&appender_waited, false);
    task_init(&w.task);
    assert_int_equal(loop_init(&w.loop, LOOPS), 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        sides[i].left = BY_LOOP;
        assert_int_equal(loop_init(&sides[i].loop, i), 0);
        for (int k = 0; k < BY_LOOP; k++)
            prepare_story(&sides[i], k, w.body, s, i * 100 + (uint32_t)k + 1);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&sides[i].thread, NULL, run_side, &sides[i]), 0);
    write_more(&w);
    loop_run(&w.loop);
    cache_signal_cancel(&w.ahead);
    cache_body_release(w.body); /* as if evicted: the readers have it */
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(sides[i].thread, NULL);

    for (unsigned i = 0; i < LOOPS; i++) {
        for (int k = 0; k < BY_LOOP; k++) {
            struct story *story = &sides[i].stories[k];
            out->ended[story->ended]++;
            if (story->ended == ENDED_WHOLE)
                assert_int_equal(story->reader.at, LENGTH);
        }
        loop_free(&sides[i].loop);
    }
    loop_free(&w.loop);
    free(sides);
    out->became_stream = w.is_stream;
    out->held_most = w.held_most;
    assert_int_equal(out->ended[ENDED_NOT], 0);
    assert_int_equal(atomic_load(&wrong_bytes), 0);
    assert_int_equal(atomic_load(&budget.used), 0);
    alarm(0);
}

static void test_everybody_gets_all_of_an_announced_body(void **state)
{
    (void)state;
    struct outcome o;
    run(&(struct scenario){.announced = LENGTH, .limit = 64u << 20, .cut_at = UINT64_MAX, .late_passes = 60},
        &o);
    assert_int_equal(o.ended[ENDED_WHOLE], LOOPS * BY_LOOP);
}

static void test_readers_come_late_and_leave_early(void **state)
{
    (void)state;
    struct outcome o;
    run(&(struct scenario){.announced = CACHE_BODY_UNKNOWN,
                           .limit = 64u << 20,
                           .cut_at = UINT64_MAX,
                           .late_passes = 200,
                           .some_leave = true},
        &o);
    assert_int_equal(o.ended[ENDED_WHOLE] + o.ended[ENDED_LEFT], LOOPS * BY_LOOP);
    assert_true(o.ended[ENDED_LEFT] > 0);
}

static void test_a_body_that_is_cut_ends_for_everybody(void **state)
{
    (void)state;
    struct outcome o;
    run(&(struct scenario){.announced = LENGTH, .limit = 64u << 20, .cut_at = LENGTH / 2, .some_leave = true},
        &o);
    assert_int_equal(o.ended[ENDED_CUT] + o.ended[ENDED_LEFT], LOOPS * BY_LOOP);
    assert_true(o.ended[ENDED_CUT] > 0);
}

static void test_a_budget_at_its_end_makes_a_stream_that_everybody_gets_whole(void **state)
{
    (void)state;
    struct outcome o;
    run(
        &(struct scenario){
            .announced = CACHE_BODY_UNKNOWN, .limit = 300 * KIB, .cut_at = UINT64_MAX, .some_dawdle = true},
        &o);
    assert_true(atomic_load(&appender_waited));
    assert_true(o.became_stream);
    assert_int_equal(o.ended[ENDED_WHOLE], LOOPS * BY_LOOP);
    assert_in_range(o.held_most, 1, CACHE_STREAM_WINDOW + PIECE_MAX + CACHE_CHUNK_MAX);
}

static void test_a_stream_refuses_who_comes_late_and_outlives_who_leaves(void **state)
{
    (void)state;
    struct outcome o;
    run(&(struct scenario){.announced = LENGTH,
                           .limit = 200 * KIB,
                           .cut_at = UINT64_MAX,
                           .late_passes = 400,
                           .some_leave = true},
        &o);
    assert_true(o.became_stream);
    assert_true(o.ended[ENDED_WHOLE] >= LOOPS);
    assert_int_equal(o.ended[ENDED_WHOLE] + o.ended[ENDED_LEFT] + o.ended[ENDED_REFUSED], LOOPS * BY_LOOP);
}

/* A byte at a time, and none before all have the last one: each wake-up is the only one there is. */

#define BYTES 4000

struct sipper {
    struct cache_reader reader;
    struct loop loop;
    pthread_t thread;
};
static _Atomic unsigned sipped;

static void spin(unsigned times)
{
    for (volatile unsigned left = times; left > 0; left--)
        ;
}

static void never(struct cache_reader *r)
{
    (void)r;
}

static void sip(struct cache_reader *r)
{
    struct sipper *s = CONTAINER_OF(r, struct sipper, reader);
    for (;;) {
        bool ended = cache_body_state(r->body) != CACHE_BODY_GROWING;
        struct iovec iov;
        uint64_t bytes;
        if (cache_reader_peek(r, &iov, 1, 1, &bytes) == 0) {
            if (ended)
                loop_stop(&s->loop);
            else if (cache_reader_wait(r) != 0)
                abort();
            return;
        }
        cache_reader_skip(r, bytes);
        atomic_fetch_add(&sipped, 1);
        spin(300); /* so that the next byte may come before, while and after it begins to wait */
    }
}

static void *run_sipper(void *argument)
{
    struct sipper *s = argument;
    sip(&s->reader);
    loop_run(&s->loop);
    cache_reader_close(&s->reader);
    return NULL;
}

static void test_no_byte_is_waited_for_in_vain(void **state)
{
    (void)state;
    alarm(30 * test_scale());
    budget = (struct cache_budget){.limit = 64u << 20};
    atomic_store(&sipped, 0);
    struct cache_body *b = cache_body_create(&budget, CACHE_BODY_UNKNOWN);
    static struct sipper sippers[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(loop_init(&sippers[i].loop, i), 0);
        assert_int_equal(cache_reader_open(&sippers[i].reader, b, &sippers[i].loop, sip), 0);
        assert_int_equal(pthread_create(&sippers[i].thread, NULL, run_sipper, &sippers[i]), 0);
    }
    for (unsigned i = 1; i <= BYTES; i++) {
        assert_int_equal(cache_body_append(b, &(struct iovec){data, 1}, 1), 0);
        for (unsigned tries = 1; atomic_load(&sipped) < i * LOOPS; tries++)
            if (tries % 1024 == 0)
                sched_yield();
        spin(i % 256 * 4); /* a little later each time: through all places of the reader's code */
    }
    cache_body_finish(b);
    cache_body_release(b);
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(sippers[i].thread, NULL);
    for (unsigned i = 0; i < LOOPS; i++)
        loop_free(&sippers[i].loop);
    assert_int_equal(atomic_load(&budget.used), 0);
    alarm(0);
}

/* A stream whose window is filled at once and then read at once: each wake-up of the appender is the only
 * one. */

#define WINDOWS 250

struct filler {
    struct loop loop;
    struct task task;
    struct cache_waiter ahead;
    struct cache_body *body;
    _Atomic int filled;
};

static void fill(struct filler *f);

static void fill_task(struct task *t)
{
    fill(CONTAINER_OF(t, struct filler, task));
}

static void fill_wake(struct cache_waiter *w)
{
    fill(CONTAINER_OF(w, struct filler, ahead));
}

static void fill(struct filler *f)
{
    while (!cache_body_is_ahead(f->body, &f->loop, &f->ahead, fill_wake)) {
        if (atomic_load(&f->filled) == WINDOWS) {
            loop_stop(&f->loop);
            return;
        }
        if (cache_body_append(f->body, &(struct iovec){data, CACHE_STREAM_WINDOW}, 1) != 0)
            abort();
        atomic_fetch_add(&f->filled, 1);
        spin(300); /* so that it may be read before, while and after it begins to wait */
    }
}

static void *run_drainer(void *argument)
{
    struct filler *f = argument;
    struct loop loop;
    struct cache_reader r = {0};
    if (loop_init(&loop, 0) != 0 || cache_reader_open(&r, f->body, &loop, never) != 0)
        abort();
    for (int i = 1; i <= WINDOWS; i++) {
        for (unsigned tries = 1; atomic_load(&f->filled) < i; tries++)
            if (tries % 1024 == 0)
                sched_yield();
        spin((unsigned)i % 64 * 16);
        cache_reader_skip(&r, (uint64_t)i * CACHE_STREAM_WINDOW - r.at);
    }
    cache_reader_close(&r);
    loop_free(&loop);
    return NULL;
}

static void test_no_appender_waits_in_vain(void **state)
{
    (void)state;
    alarm(30 * test_scale());
    budget = (struct cache_budget){.limit = 64u << 20};
    struct filler f = {.body = cache_body_create(&budget, CACHE_BODY_UNKNOWN)};
    cache_body_stream(f.body);
    task_init(&f.task);
    assert_int_equal(loop_init(&f.loop, 1), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_drainer, &f), 0);
    while (cache_body_readers(f.body) == 0)
        sched_yield();
    loop_defer(&f.loop, &f.task, fill_task);
    loop_run(&f.loop);
    pthread_join(thread, NULL);
    cache_signal_cancel(&f.ahead);
    cache_body_release(f.body);
    loop_free(&f.loop);
    assert_int_equal(atomic_load(&budget.used), 0);
    alarm(0);
}

/* Small bodies of unknown length, whose last chunk is trimmed while readers come and go. */

#define SMALL_BODIES 1000

static struct cache_body *small[SMALL_BODIES];

static uint32_t small_length(int i)
{
    return (uint32_t)i * 13 % 9000;
}

static void *read_small(void *argument)
{
    struct loop loop;
    if (loop_init(&loop, *(unsigned *)argument) != 0)
        abort();
    for (int i = 0; i < SMALL_BODIES; i++) {
        for (bool whole = false; !whole;) {
            struct cache_reader r = {0};
            if (cache_reader_open(&r, small[i], &loop, never) != 0)
                abort();
            whole = cache_body_state(small[i]) == CACHE_BODY_WHOLE;
            struct iovec iov[4];
            uint64_t bytes;
            int count = cache_reader_peek(&r, iov, 4, UINT64_MAX, &bytes);
            for (int k = 0; k < count; k++) {
                if (memcmp(iov[k].iov_base, data + r.at, iov[k].iov_len) != 0)
                    atomic_fetch_add(&wrong_bytes, 1);
                cache_reader_skip(&r, iov[k].iov_len);
            }
            if (whole && r.at != small_length(i))
                atomic_fetch_add(&wrong_bytes, 1);
            cache_reader_close(&r);
        }
    }
    loop_free(&loop);
    return NULL;
}

static void test_trimming_never_meets_a_reader(void **state)
{
    (void)state;
    alarm(30 * test_scale());
    budget = (struct cache_budget){.limit = 64u << 20};
    for (int i = 0; i < SMALL_BODIES; i++)
        small[i] = cache_body_create(&budget, CACHE_BODY_UNKNOWN);
    pthread_t threads[LOOPS];
    unsigned numbers[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, read_small, &numbers[i]), 0);
    }
    for (int i = 0; i < SMALL_BODIES; i++) {
        struct iovec iov[2] = {{data, small_length(i) / 2}, {data + small_length(i) / 2, 0}};
        iov[1].iov_len = small_length(i) - iov[0].iov_len;
        assert_int_equal(cache_body_append(small[i], &iov[0], 1), 0);
        assert_int_equal(cache_body_append(small[i], &iov[1], 1), 0);
        cache_body_finish(small[i]);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    uint64_t memory = 0;
    for (int i = 0; i < SMALL_BODIES; i++) {
        memory += cache_body_memory(small[i]);
        assert_int_equal(cache_body_readers(small[i]), 0);
        assert_in_range(cache_body_memory(small[i]), small_length(i), small_length(i) + 700);
    }
    assert_int_equal(memory, atomic_load(&budget.used));
    for (int i = 0; i < SMALL_BODIES; i++)
        cache_body_release(small[i]);
    assert_int_equal(atomic_load(&budget.used), 0);
    assert_int_equal(atomic_load(&wrong_bytes), 0);
    alarm(0);
}

static int fill_data(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = (char)draw(&seed, 256);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_gets_all_of_an_announced_body),
        cmocka_unit_test(test_readers_come_late_and_leave_early),
        cmocka_unit_test(test_a_body_that_is_cut_ends_for_everybody),
        cmocka_unit_test(test_a_budget_at_its_end_makes_a_stream_that_everybody_gets_whole),
        cmocka_unit_test(test_a_stream_refuses_who_comes_late_and_outlives_who_leaves),
        cmocka_unit_test(test_no_byte_is_waited_for_in_vain),
        cmocka_unit_test(test_no_appender_waits_in_vain),
        cmocka_unit_test(test_trimming_never_meets_a_reader),
    };
    return cmocka_run_group_tests(tests, fill_data, NULL);
}
