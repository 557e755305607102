#include "proxy/http/file_body.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    struct arena arena;
    struct file_body body;
    struct slice type;
    char piece[FILE_BODY_PIECE];
    char taken[1u << 20];
    size_t taken_len;
    unsigned pieces;
};

/* A file of `size` bytes that tell where they stand. */
static int make_file(size_t size)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    assert_true(fd >= 0);
    for (size_t at = 0; at < size; at++) {
        char c = (char)('0' + at % 10 + (at >> 16));
        assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
    }
    return fd;
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    arena_init(&p->arena, NULL, 0);
    p->type = (struct slice)SLICE("text/plain");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    close(p->body.fd);
    arena_reset(&p->arena);
    free(p);
    return 0;
}

static void plan(struct place *p, size_t size, const struct byte_range *ranges, unsigned count)
{
    p->body.fd = make_file(size);
    assert_int_equal(file_body_plan(&p->body, &p->arena, size, ranges, count, "B", &p->type), 0);
}

/* One piece more; false when it cannot be had. */
static bool take(struct place *p)
{
    struct iovec iov[FILE_BODY_VECTORS];
    size_t bytes, sum = 0;
    int count = file_body_next(&p->body, p->piece, iov, &bytes);
    if (count < 0)
        return false;
    for (int i = 0; i < count; i++) {
        assert_in_range(iov[i].iov_len, 1, sizeof p->taken - p->taken_len);
        memcpy(p->taken + p->taken_len, iov[i].iov_base, iov[i].iov_len);
        p->taken_len += iov[i].iov_len;
        sum += iov[i].iov_len;
    }
    assert_int_equal(bytes, sum);
    p->pieces++;
    return true;
}

static void take_all(struct place *p)
{
    while (!file_body_done(&p->body))
        assert_true(take(p));
    assert_int_equal(p->taken_len, p->body.length);
}

static void test_a_small_file_is_one_piece(void **state)
{
    struct place *p = *state;
    plan(p, 10, NULL, 0);
    take_all(p);
    assert_int_equal(p->pieces, 1);
    assert_memory_equal(p->taken, "0123456789", 10);
    assert_true(slice_equal(p->type, S("text/plain")));
}

static void test_a_range_is_what_was_asked_for(void **state)
{
    struct place *p = *state;
    struct byte_range range = {4, 3};
    plan(p, 10, &range, 1);
    take_all(p);
    assert_int_equal(p->taken_len, 3);
    assert_memory_equal(p->taken, "456", 3);
    assert_true(slice_equal(file_body_range(&p->arena, &range, 10), S("bytes 4-6/10")));
}

static void test_several_ranges_are_parts(void **state)
{
    struct place *p = *state;
    struct byte_range ranges[] = {{5, 2}, {0, 1}};
    static const char expected[] =
        "--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-6/10\r\n\r\n56\r\n"
        "--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n"
        "--B--\r\n";
    plan(p, 10, ranges, 2);
    take_all(p);
    assert_int_equal(p->pieces, 1);
    assert_int_equal(p->taken_len, sizeof expected - 1);
    assert_memory_equal(p->taken, expected, sizeof expected - 1);
    assert_true(slice_equal(p->type, S("multipart/byteranges; boundary=B")));
}

static void test_a_large_file_comes_in_pieces(void **state)
{
    struct place *p = *state;
    size_t size = 2 * FILE_BODY_PIECE + 77;
    plan(p, size, NULL, 0);
    take_all(p);
    assert_int_equal(p->pieces, 3);
    for (size_t at = 0; at < size; at++)
        if (p->taken[at] != (char)('0' + at % 10 + (at >> 16)))
            fail_msg("byte %zu", at);
}

static void test_parts_as_many_and_as_large_as_may_be_come_whole(void **state)
{
    struct place *p = *state;
    struct byte_range ranges[RANGES_MAX];
    size_t step = 20000;
    for (unsigned i = 0; i < RANGES_MAX; i++)
        ranges[i] = (struct byte_range){i * step, step - 1};
    plan(p, step * RANGES_MAX, ranges, RANGES_MAX);
    take_all(p);
    assert_true(p->pieces >= 3);
    assert_memory_equal(p->taken + p->taken_len - 9, "\r\n--B--\r\n", 9);
}

static void test_a_file_that_became_shorter_is_never_padded(void **state)
{
    struct place *p = *state;
    plan(p, FILE_BODY_PIECE + 100, NULL, 0);
    assert_true(take(p));
    assert_int_equal(ftruncate(p->body.fd, FILE_BODY_PIECE + 40), 0);
    assert_true(take(p));
    assert_false(file_body_done(&p->body));
    assert_int_equal(p->taken_len, FILE_BODY_PIECE + 40);
    assert_false(take(p));
    assert_int_equal(errno, 0);
}

static void test_a_file_that_grew_is_sent_as_long_as_it_was(void **state)
{
    struct place *p = *state;
    plan(p, 10, NULL, 0);
    assert_int_equal(pwrite(p->body.fd, "0123456789more", 14, 0), 14);
    take_all(p);
    assert_int_equal(p->taken_len, 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_small_file_is_one_piece),
        TEST(test_a_range_is_what_was_asked_for),
        TEST(test_several_ranges_are_parts),
        TEST(test_a_large_file_comes_in_pieces),
        TEST(test_parts_as_many_and_as_large_as_may_be_come_whole),
        TEST(test_a_file_that_became_shorter_is_never_padded),
        TEST(test_a_file_that_grew_is_sent_as_long_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
