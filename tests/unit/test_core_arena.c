/* Arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/arena.h"

static void test_pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct arena a;
    _Alignas(8) char first[128];
    enum { COUNT = 300 };
    char *pieces[COUNT];
    arena_init(&a, first, sizeof first);
    for (size_t i = 0; i < COUNT; i++) {
        pieces[i] = arena_alloc(&a, i * 3);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 8, 0);
        memset(pieces[i], (int)i, i * 3);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < i * 3; k++)
            assert_int_equal((unsigned char)pieces[i][k], i % 256);
    arena_reset(&a);
}

static void test_first_memory_of_any_alignment_serves(void **state)
{
    (void)state;
    _Alignas(8) char first[64];
    for (size_t shift = 0; shift < 8; shift++) {
        struct arena a;
        arena_init(&a, first + shift, sizeof first - shift);
        char *piece = arena_alloc(&a, 8);
        assert_int_equal((uintptr_t)piece % 8, 0);
        assert_true(piece >= first + shift && piece + 8 <= first + sizeof first);
        arena_reset(&a);
    }
    struct arena a;
    arena_init(&a, first + 1, 3); /* nothing is left of it */
    assert_non_null(arena_alloc(&a, 1));
    arena_reset(&a);
}

static void test_a_small_request_takes_nothing_from_the_heap(void **state)
{
    (void)state;
    struct arena a;
    _Alignas(8) char first[256];
    arena_init(&a, first, sizeof first);
    for (int round = 0; round < 3; round++) {
        assert_ptr_equal(arena_alloc(&a, 200), first);
        assert_ptr_equal(arena_alloc(&a, 56), first + 200);
        assert_int_equal(a.total, 0);
        assert_non_null(arena_alloc(&a, 1));
        assert_true(a.total > 0);
        arena_reset(&a);
        assert_int_equal(a.total, 0);
    }
}

static void test_a_large_piece_leaves_the_current_block_in_use(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, NULL, 0);
    char *small = arena_alloc(&a, 8), *large = arena_alloc(&a, 100000);
    memset(large, 1, 100000);
    assert_ptr_equal(arena_alloc(&a, 8), small + 8);
    arena_reset(&a);
}

static void test_past_the_limit_there_is_none(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, NULL, 0);
    a.limit = 10000;
    assert_null(arena_alloc(&a, 10001));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX / 2));
    size_t got = 0;
    while (arena_alloc(&a, 64))
        got += 64;
    assert_true(got >= 4096 && got <= 10000);
    assert_null(arena_printf(&a, "%05000d", 1));
    assert_null(arena_copy(&a, S("x")).at);
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 64));
    arena_reset(&a);
}

static void test_copies_end_with_a_nul_and_zeros_are_zero(void **state)
{
    (void)state;
    struct arena a;
    _Alignas(8) char first[64];
    memset(first, 0x77, sizeof first);
    arena_init(&a, first, sizeof first);
    char *zeros = arena_zalloc(&a, 24);
    for (int i = 0; i < 24; i++)
        assert_int_equal(zeros[i], 0);
    struct slice copy = arena_copy(&a, slice_of("abcdef", 3)), none = arena_copy(&a, slice_of(NULL, 0));
    assert_string_equal(copy.at, "abc");
    assert_int_equal(copy.len, 3);
    assert_string_equal(none.at, "");
    assert_string_equal(arena_printf(&a, "%s-%d", "n", 7), "n-7");
    char *large = arena_printf(&a, "%09000d", 5);
    assert_int_equal(strlen(large), 9000);
    assert_int_equal(large[8999], '5');
    arena_reset(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(test_first_memory_of_any_alignment_serves),
        cmocka_unit_test(test_a_small_request_takes_nothing_from_the_heap),
        cmocka_unit_test(test_a_large_piece_leaves_the_current_block_in_use),
        cmocka_unit_test(test_past_the_limit_there_is_none),
        cmocka_unit_test(test_copies_end_with_a_nul_and_zeros_are_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
