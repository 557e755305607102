/* Bodies on one thread: what readers get, what it costs of the budget, streams. Threads: see
 * test_cache_body_threads.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/chunk.h"

#define KIB  1024u
#define SIZE (1024 * KIB)

static struct {
    struct loop loop;
    struct cache_budget budget;
    uint64_t reclaimable;
    int reclaims;
    char data[SIZE];
    struct cache_reader reader, other;
    struct cache_waiter ahead;
    int woken, appender_woken;
} t;

static bool reclaim(void *argument, uint64_t bytes)
{
    (void)argument;
    t.reclaims++;
    if (t.reclaimable < bytes)
        return false;
    t.reclaimable -= bytes;
    cache_budget_give(&t.budget, bytes);
    return true;
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    uint32_t number = 1;
    for (size_t i = 0; i < SIZE; i++)
        t.data[i] = (char)((number = number * 1664525u + 1013904223u) >> 24);
    t.budget.limit = 64u << 20;
    t.budget.reclaim = reclaim;
    return loop_init(&t.loop, 0);
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(&t.loop);
    assert_int_equal(t.budget.used, 0);
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

static void wake(struct cache_reader *r)
{
    (void)r;
    t.woken++;
}

static void wake_appender(struct cache_waiter *w)
{
    (void)w;
    t.appender_woken++;
}

/* Appends the bytes of t.data from the body's end on. */
static int append(struct cache_body *b, size_t bytes)
{
    char *from = t.data + cache_body_bytes(b);
    struct iovec iov[3] = {{from, bytes / 3}, {from + bytes / 3, 0}, {from + bytes / 3, bytes - bytes / 3}};
    return cache_body_append(b, iov, 3);
}

static void open_reader(struct cache_reader *r, struct cache_body *b)
{
    assert_int_equal(cache_reader_open(r, b, &t.loop, wake), 0);
}

/* Reads what is there, `max` vectors and `limit` bytes at once, and compares it. The bytes. */
static uint64_t read_some(struct cache_reader *r, int max, uint64_t limit)
{
    struct iovec iov[8];
    uint64_t bytes, sum = 0;
    int count = cache_reader_peek(r, iov, max, limit, &bytes);
    assert_true(count <= max && bytes <= limit);
    for (int i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        assert_memory_equal(iov[i].iov_base, t.data + r->at + sum, iov[i].iov_len);
        sum += iov[i].iov_len;
    }
    assert_int_equal(sum, bytes);
    cache_reader_skip(r, bytes);
    return bytes;
}

static uint64_t read_all(struct cache_reader *r, int max, uint64_t limit)
{
    uint64_t sum = 0, bytes;
    while ((bytes = read_some(r, max, limit)) > 0)
        sum += bytes;
    return sum;
}

static size_t chunks_of(const struct cache_body *b)
{
    size_t count = 0;
    for (const struct cache_chunk *c = b->first; c; c = c->next)
        count += c != &b->head;
    return count;
}

static void test_a_body_is_read_as_it_was_written_whatever_the_pieces(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {
        0, 1, 4095, 4096, 4097, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 200 * KIB + 7, SIZE};
    static const size_t pieces[] = {777, 4096, 70000, SIZE};
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (size_t p = 0; p < COUNT_OF(pieces); p++)
            for (int known = 0; known < 2; known++) {
                struct cache_body *b = cache_body_create(&t.budget, known ? sizes[s] : CACHE_BODY_UNKNOWN);
                open_reader(&t.reader, b);
                for (uint64_t left = sizes[s]; left > 0;) {
                    size_t piece = left < pieces[p] ? (size_t)left : pieces[p];
                    assert_int_equal(append(b, piece), 0);
                    left -= piece;
                    read_some(&t.reader, 2, 5000);
                }
                cache_body_finish(b);
                read_all(&t.reader, 3, 100000);
                assert_int_equal(t.reader.at, sizes[s]);
                open_reader(&t.other, b);
                assert_int_equal(read_all(&t.other, 8, UINT64_MAX), sizes[s]);
                cache_reader_close(&t.reader);
                cache_reader_close(&t.other);
                assert_int_equal(cache_body_memory(b), t.budget.used);
                cache_body_release(b);
            }
}

static void test_a_small_announced_body_is_one_piece_of_memory(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, 1024);
    uint64_t before = t.budget.used;
    assert_in_range(before, 1024, 1024 + 256);
    assert_int_equal(append(b, 1024), 0);
    assert_int_equal(t.budget.used, before);
    assert_int_equal(cache_body_memory(b), cache_memory_size(b));
    cache_body_release(b);
}

static void test_an_announced_length_wastes_nothing(void **state)
{
    (void)state;
    uint64_t length = 200 * KIB + 1;
    struct cache_body *b = cache_body_create(&t.budget, length);
    for (int i = 0; i < 200; i++)
        assert_int_equal(append(b, i < 199 ? KIB : KIB + 1), 0);
    assert_int_equal(chunks_of(b), 4);
    assert_in_range(t.budget.used, length, length + 512);
    cache_body_finish(b);
    cache_body_release(b);
}

static void test_more_than_was_announced_is_kept_too(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, 100);
    assert_int_equal(append(b, 90), 0);
    assert_int_equal(append(b, 90000), 0);
    cache_body_finish(b);
    open_reader(&t.reader, b);
    assert_int_equal(read_all(&t.reader, 8, UINT64_MAX), 90090);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_the_end_trims_the_last_chunk(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    assert_int_equal(append(b, 4000), 0);
    assert_int_equal(append(b, 1000), 0);
    assert_true(t.budget.used > 20000);
    cache_body_finish(b);
    assert_in_range(t.budget.used, 5000, 5700);
    assert_int_equal(cache_body_memory(b), t.budget.used);
    open_reader(&t.reader, b);
    assert_int_equal(read_all(&t.reader, 8, UINT64_MAX), 5000);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_the_last_reader_that_leaves_trims_what_the_end_could_not(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    open_reader(&t.reader, b);
    assert_int_equal(append(b, 100), 0);
    uint64_t full = t.budget.used;
    read_all(&t.reader, 8, UINT64_MAX);
    cache_body_finish(b);
    open_reader(&t.other, b);
    assert_int_equal(t.budget.used, full);
    cache_reader_close(&t.reader);
    assert_int_equal(t.budget.used, full);
    cache_reader_close(&t.other);
    assert_in_range(t.budget.used, 100, 600);
    open_reader(&t.other, b);
    assert_int_equal(read_all(&t.other, 8, UINT64_MAX), 100);
    cache_reader_close(&t.other);
    cache_body_release(b);
}

static void test_readers_are_counted(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, 10);
    open_reader(&t.reader, b);
    open_reader(&t.other, b);
    assert_int_equal(cache_body_readers(b), 2);
    cache_reader_close(&t.reader);
    cache_reader_close(&t.reader);
    assert_int_equal(cache_body_readers(b), 1);
    cache_body_finish(b);
    open_reader(&t.reader, b);
    assert_int_equal(cache_body_readers(b), 2);
    cache_body_release(b); /* the readers hold it */
    cache_reader_close(&t.reader);
    cache_reader_close(&t.other);
}

static void test_nothing_is_appended_when_the_budget_is_at_its_end(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    open_reader(&t.reader, b);
    assert_int_equal(append(b, 100), 0);
    t.budget.limit = t.budget.used + 70 * KIB;
    uint64_t before = t.budget.used;
    assert_int_equal(append(b, 200 * KIB), -1);
    assert_int_equal(t.budget.used, before);
    assert_int_equal(cache_body_bytes(b), 100);

    cache_body_stream(b);
    assert_true(t.budget.used < 512);
    assert_int_equal(cache_body_memory(b), t.budget.used);
    before = t.budget.used;
    assert_int_equal(append(b, 200 * KIB), 0);
    assert_int_equal(t.budget.used, before);
    cache_body_finish(b);
    assert_int_equal(cache_body_state(b), CACHE_BODY_WHOLE);
    assert_false(cache_body_can_seek(b));
    assert_int_equal(read_all(&t.reader, 8, 3000), 200 * KIB + 100);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_room_is_made_by_evicting_as_much_as_is_missing(void **state)
{
    (void)state;
    t.budget.limit = 100;
    assert_true(cache_budget_take(&t.budget, 90));
    t.reclaimable = 40;
    assert_true(cache_budget_take(&t.budget, 30));
    assert_int_equal(t.reclaimable, 20);
    assert_int_equal(t.budget.used, 100);
    assert_false(cache_budget_try(&t.budget, 1));
    assert_false(cache_budget_take(&t.budget, 21));
    assert_int_equal(t.reclaims, 2);
    assert_false(cache_budget_take(&t.budget, 101)); /* never fits: evicts nothing */
    assert_int_equal(t.reclaims, 2);
    t.budget.limit = 50;
    assert_false(cache_budget_try(&t.budget, 0));
    t.budget.limit = 200;
    assert_true(cache_budget_take(&t.budget, 100));
    cache_budget_give(&t.budget, 200);
}

static void test_a_piece_from_the_budget_takes_what_it_takes_from_the_heap(void **state)
{
    (void)state;
    for (size_t size = 0; size < 3000; size += 7) {
        uint64_t taken = 0;
        void *piece = cache_budget_alloc(&t.budget, size, &taken);
        assert_non_null(piece);
        assert_int_equal(taken, cache_memory_size(piece));
        assert_int_equal(t.budget.used, taken);
        free(piece);
        cache_budget_give(&t.budget, taken);
    }
}

static void test_a_stream_frees_what_the_slowest_reader_has_passed(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, SIZE);
    open_reader(&t.reader, b);
    open_reader(&t.other, b);
    assert_int_equal(append(b, 640 * KIB), 0);
    assert_int_equal(chunks_of(b), 10);
    cache_body_stream(b);
    assert_int_equal(chunks_of(b), 10);
    read_some(&t.reader, 8, 256 * KIB);
    assert_int_equal(chunks_of(b), 10);
    read_some(&t.other, 8, 128 * KIB);
    assert_int_equal(chunks_of(b), 8);
    cache_reader_close(&t.other);
    assert_int_equal(chunks_of(b), 6);

    struct cache_reader late = {0};
    assert_int_equal(cache_reader_open(&late, b, &t.loop, wake), -1);
    cache_reader_close(&late);
    assert_int_equal(cache_body_readers(b), 1);

    assert_int_equal(append(b, 384 * KIB), 0);
    cache_body_finish(b);
    read_all(&t.reader, 8, 10000);
    assert_int_equal(t.reader.at, SIZE);
    assert_int_equal(chunks_of(b), 1);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_the_appender_of_a_stream_waits_for_its_slowest_reader(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    open_reader(&t.reader, b);
    open_reader(&t.other, b);
    assert_int_equal(append(b, 600 * KIB), 0);
    assert_false(cache_body_is_ahead(b, &t.loop, &t.ahead, wake_appender)); /* no stream yet */
    cache_body_stream(b);
    assert_true(cache_body_is_ahead(b, NULL, NULL, NULL));
    assert_true(cache_body_is_ahead(b, &t.loop, &t.ahead, wake_appender));

    read_all(&t.other, 8, 64 * KIB);
    assert_int_equal(cache_reader_wait(&t.other), 0);
    pass(&t.loop);
    read_some(&t.reader, 8, 64 * KIB);
    pass(&t.loop);
    assert_int_equal(t.appender_woken, 0);
    read_some(&t.reader, 8, 64 * KIB);
    assert_int_equal(t.appender_woken, 0);
    pass(&t.loop);
    assert_int_equal(t.appender_woken, 1);
    assert_int_equal(t.woken, 0); /* who waits for bytes is not disturbed */
    assert_false(cache_body_is_ahead(b, &t.loop, &t.ahead, wake_appender));

    assert_int_equal(append(b, 200 * KIB), 0);
    assert_true(cache_body_is_ahead(b, &t.loop, &t.ahead, wake_appender));
    cache_reader_close(&t.reader);
    cache_reader_close(&t.other);
    pass(&t.loop);
    assert_int_equal(t.appender_woken, 2);
    assert_false(cache_body_is_ahead(b, &t.loop, &t.ahead, wake_appender));
    cache_body_cut(b);
    cache_body_release(b);
}

static void test_a_body_is_wanted_by_who_will_read_it(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    assert_false(cache_body_is_wanted(b));
    struct cache_body *other = cache_body_hold(b); /* an object, which is held by those who were told of it */
    assert_true(cache_body_is_wanted(b));
    assert_int_equal(cache_reader_open(&t.reader, b, &t.loop, NULL), 0);
    cache_body_release(other);
    assert_true(cache_body_is_wanted(b));
    cache_reader_close(&t.reader);
    assert_false(cache_body_is_wanted(b));
    cache_body_release(b);
}

static void test_a_stream_that_nobody_reads_yet_keeps_its_first_bytes_for_a_while(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    cache_body_stream(b);
    assert_int_equal(append(b, 100 * KIB), 0);
    assert_int_equal(append(b, 100 * KIB), 0);
    assert_int_equal(cache_body_readers(b), 0);
    open_reader(&t.reader, b);
    assert_int_equal(read_all(&t.reader, 8, UINT64_MAX), 200 * KIB);
    cache_reader_close(&t.reader);
    cache_body_release(b);

    b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    cache_body_stream(b);
    for (int i = 0; i < 16; i++)
        assert_int_equal(append(b, 64 * KIB), 0);
    assert_true(chunks_of(b) <= 2);
    assert_int_equal(cache_reader_open(&t.reader, b, &t.loop, wake), -1);
    cache_body_release(b);
}

static void test_any_byte_of_a_whole_body_can_be_sought(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, SIZE);
    assert_int_equal(append(b, SIZE), 0);
    assert_false(cache_body_can_seek(b));
    cache_body_finish(b);
    assert_true(cache_body_can_seek(b));
    open_reader(&t.reader, b);
    uint64_t at = 12345;
    for (int i = 0; i < 200; i++) {
        at = i % 8 ? (at * 7919 + 13) % SIZE : at / (64 * KIB) * (64 * KIB);
        cache_reader_seek(&t.reader, at);
        assert_int_equal(read_some(&t.reader, 2, 1), 1);
    }
    cache_reader_seek(&t.reader, SIZE);
    assert_int_equal(read_some(&t.reader, 2, 1), 0);
    cache_reader_seek(&t.reader, 0);
    assert_int_equal(read_all(&t.reader, 8, UINT64_MAX), SIZE);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_a_reader_is_woken_by_what_is_new_and_never_from_inside(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    open_reader(&t.reader, b);
    assert_int_equal(cache_reader_wait(&t.reader), 0);
    assert_int_equal(append(b, 10), 0);
    assert_int_equal(append(b, 10), 0);
    assert_int_equal(t.woken, 0);
    pass(&t.loop);
    assert_int_equal(t.woken, 1);

    /* There is something already. */
    assert_int_equal(cache_reader_wait(&t.reader), 0);
    assert_int_equal(cache_reader_wait(&t.reader), 0);
    assert_int_equal(t.woken, 1);
    pass(&t.loop);
    assert_int_equal(t.woken, 2);

    assert_int_equal(read_all(&t.reader, 8, UINT64_MAX), 20);
    assert_int_equal(cache_reader_wait(&t.reader), 0);
    cache_body_cut(b);
    pass(&t.loop);
    assert_int_equal(t.woken, 3);
    assert_int_equal(cache_body_state(b), CACHE_BODY_CUT);
    assert_int_equal(cache_reader_wait(&t.reader), 0);
    pass(&t.loop);
    assert_int_equal(t.woken, 4);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_a_reader_that_closed_is_not_woken(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, CACHE_BODY_UNKNOWN);
    open_reader(&t.reader, b);
    open_reader(&t.other, b);
    assert_int_equal(cache_reader_wait(&t.reader), 0);
    assert_int_equal(append(b, 10), 0);
    assert_int_equal(cache_reader_wait(&t.other), 0);
    cache_reader_close(&t.reader);
    cache_reader_close(&t.other);
    cache_body_release(b);
    assert_int_equal(t.budget.used, 0);
    pass(&t.loop); /* the letter is there: it does not wait */
    assert_int_equal(t.woken, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_body_is_read_as_it_was_written_whatever_the_pieces),
        TEST(test_a_small_announced_body_is_one_piece_of_memory),
        TEST(test_an_announced_length_wastes_nothing),
        TEST(test_more_than_was_announced_is_kept_too),
        TEST(test_the_end_trims_the_last_chunk),
        TEST(test_the_last_reader_that_leaves_trims_what_the_end_could_not),
        TEST(test_readers_are_counted),
        TEST(test_nothing_is_appended_when_the_budget_is_at_its_end),
        TEST(test_room_is_made_by_evicting_as_much_as_is_missing),
        TEST(test_a_piece_from_the_budget_takes_what_it_takes_from_the_heap),
        TEST(test_a_stream_frees_what_the_slowest_reader_has_passed),
        TEST(test_the_appender_of_a_stream_waits_for_its_slowest_reader),
        TEST(test_a_body_is_wanted_by_who_will_read_it),
        TEST(test_a_stream_that_nobody_reads_yet_keeps_its_first_bytes_for_a_while),
        TEST(test_any_byte_of_a_whole_body_can_be_sought),
        TEST(test_a_reader_is_woken_by_what_is_new_and_never_from_inside),
        TEST(test_a_reader_that_closed_is_not_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
