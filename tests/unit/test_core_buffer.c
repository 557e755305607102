/* Buffers: a chain of blocks behaves as one long string. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buffer.h"

#define ROOM sizeof(((struct block *)0)->bytes)

static struct block_pool pool;

static int set_up(void **state)
{
    (void)state;
    block_pool_init(&pool);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    block_pool_free(&pool);
    return 0;
}

static void append(struct buffer *b, const char *bytes, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    assert_int_equal(buffer_append(b, &pool, &iov, 1, 0), 0);
}

static void assert_holds(const struct buffer *b, const char *bytes, size_t len)
{
    struct iovec iov[64];
    int count = buffer_peek(b, iov, 64);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        assert_memory_equal(iov[i].iov_base, bytes + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_int_equal(at, len);
    assert_int_equal(b->bytes, len);
}

static void test_a_buffer_behaves_as_one_long_string(void **state)
{
    (void)state;
    static char all[4 << 20];
    uint32_t seed = 5;
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)(i * 131 + i / 257);
    struct buffer b = {0};
    size_t from = 0, to = 0;
    for (int step = 0; step < 4000; step++) {
        seed = seed * 1664525u + 1013904223u;
        size_t n = (seed >> 10) % (seed & 1 ? 50 : 40000);
        if ((seed >> 8 & 3) && to + n <= sizeof all && to - from + n < 60 * ROOM) {
            append(&b, all + to, n);
            to += n;
        } else {
            n = n < to - from ? n : to - from;
            buffer_consume(&b, &pool, n);
            from += n;
        }
        if (from == to)
            assert_null(b.first);
        assert_int_equal(b.bytes, to - from);
        if (step % 16 == 0)
            assert_holds(&b, all + from, to - from);
    }
    assert_true(to > sizeof all / 2);
    buffer_clear(&b, &pool);
    assert_null(b.first);
    assert_null(b.last);
    assert_int_equal(b.bytes, 0);
}

static void test_what_was_sent_is_skipped_over_vectors(void **state)
{
    (void)state;
    struct iovec iov[] = {{(char[]){"abc"}, 3}, {NULL, 0}, {(char[]){"defg"}, 4}, {(char[]){"h"}, 1}};
    for (size_t skip = 0; skip <= 8; skip++) {
        struct buffer b = {0};
        assert_int_equal(buffer_append(&b, &pool, iov, 4, skip), 0);
        assert_holds(&b, &"abcdefgh"[skip], 8 - skip);
        if (skip == 8)
            assert_null(b.first);
        buffer_clear(&b, &pool);
    }
}

static void test_blocks_are_filled_to_their_edge(void **state)
{
    (void)state;
    static char all[3 * 16384];
    struct iovec iov[8];
    memset(all, 'x', sizeof all);
    struct buffer b = {0};
    append(&b, all, ROOM);
    assert_int_equal(buffer_peek(&b, iov, 8), 1);
    append(&b, all, 1);
    assert_int_equal(buffer_peek(&b, iov, 8), 2);
    append(&b, all, ROOM - 1);
    assert_int_equal(buffer_peek(&b, iov, 8), 2);
    assert_int_equal(buffer_peek(&b, iov, 1), 1);
    buffer_consume(&b, &pool, ROOM);
    assert_int_equal(buffer_peek(&b, iov, 8), 1);
    buffer_consume(&b, &pool, 0);
    assert_int_equal(b.bytes, ROOM);
    buffer_clear(&b, &pool);
}

static void test_peeking_behind_a_part_gives_the_rest(void **state)
{
    (void)state;
    static char all[3 * 16384];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)(i % 253);
    struct buffer b = {0};
    append(&b, all, sizeof all);
    static const size_t skips[] = {0, 1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, sizeof all - 1, sizeof all};
    for (size_t i = 0; i < sizeof skips / sizeof skips[0]; i++) {
        struct iovec iov[8];
        size_t at = skips[i];
        for (int k = 0, count = buffer_peek_from(&b, skips[i], iov, 8); k < count; k++) {
            assert_memory_equal(iov[k].iov_base, all + at, iov[k].iov_len);
            at += iov[k].iov_len;
        }
        assert_int_equal(at, sizeof all);
    }
    buffer_clear(&b, &pool);
}

static void test_the_pool_keeps_some_blocks_and_not_all(void **state)
{
    (void)state;
    static char all[200 * 16384];
    struct buffer b = {0};
    append(&b, all, sizeof all);
    buffer_clear(&b, &pool);
    assert_true(pool.count > 0 && pool.count <= 64);
    unsigned kept = pool.count;
    append(&b, all, 100);
    assert_int_equal(pool.count, kept - 1);
    buffer_clear(&b, &pool);
    assert_int_equal(pool.count, kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_buffer_behaves_as_one_long_string),    TEST(test_what_was_sent_is_skipped_over_vectors),
        TEST(test_blocks_are_filled_to_their_edge),        TEST(test_peeking_behind_a_part_gives_the_rest),
        TEST(test_the_pool_keeps_some_blocks_and_not_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
