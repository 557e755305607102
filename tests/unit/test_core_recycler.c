/* Small pieces that are kept for who asks next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/recycler.h"

static void test_pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct recycler r = {0};
    unsigned char *pieces[COUNT];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            pieces[i] = recycler_alloc(&r, i * 11);
            assert_non_null(pieces[i]);
            assert_int_equal((uintptr_t)pieces[i] % 16, 0);
            memset(pieces[i], (int)i, i * 11);
        }
        for (size_t i = 0; i < COUNT; i++) {
            for (size_t k = 0; k < i * 11; k++)
                assert_int_equal(pieces[i][k], i);
            recycler_free(&r, pieces[i]);
        }
    }
    recycler_free(&r, NULL);
    recycler_empty(&r);
}

static void test_a_piece_that_was_freed_is_given_again_and_can_be_had_cleared(void **state)
{
    (void)state;
    struct recycler r = {0};
    unsigned char *piece = recycler_alloc(&r, 100), *before = piece;
    memset(piece, 0xee, 100);
    recycler_free(&r, piece);
    assert_int_equal(r.kept != 0, RECYCLER_KEEPS);
    piece = recycler_zalloc(&r, 90);
    if (RECYCLER_KEEPS)
        assert_ptr_equal(piece, before);
    for (size_t i = 0; i < 90; i++)
        assert_int_equal(piece[i], 0);
    assert_int_equal(r.kept, 0);
    recycler_free(&r, piece);
    recycler_empty(&r);
    assert_int_equal(r.kept, 0);
}

static void test_a_piece_grows_with_what_is_in_it(void **state)
{
    (void)state;
    struct recycler r = {0};
    size_t had = 0;
    unsigned char *piece = NULL;
    for (size_t size = 1; size < 10000; size = size * 3 / 2 + 1) {
        piece = recycler_resize(&r, piece, size);
        for (size_t i = 0; i < had; i++)
            assert_int_equal(piece[i], i & 0xff);
        for (size_t i = had; i < size; i++)
            piece[i] = (unsigned char)i;
        had = size;
    }
    recycler_free(&r, piece);
    recycler_empty(&r);
}

static void test_what_is_kept_is_bounded(void **state)
{
    (void)state;
    enum { COUNT = 2 * RECYCLER_KEPT / RECYCLER_LARGEST };
    static void *pieces[COUNT];
    struct recycler r = {0};
    for (size_t i = 0; i < COUNT; i++)
        pieces[i] = recycler_alloc(&r, RECYCLER_LARGEST);
    for (size_t i = 0; i < COUNT; i++)
        recycler_free(&r, pieces[i]);
    assert_true(r.kept <= RECYCLER_KEPT);
    void *large = recycler_alloc(&r, RECYCLER_LARGEST + 1);
    size_t kept = r.kept;
    recycler_free(&r, large);
    assert_int_equal(r.kept, kept);
    assert_null(recycler_alloc(&r, SIZE_MAX));
    assert_null(recycler_alloc(&r, SIZE_MAX - 8));
    recycler_empty(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(test_a_piece_that_was_freed_is_given_again_and_can_be_had_cleared),
        cmocka_unit_test(test_a_piece_grows_with_what_is_in_it),
        cmocka_unit_test(test_what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
