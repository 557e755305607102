/* Via members that name weir, and Max-Forwards that counts down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/http/hops.h"

static void test_members_of_via_that_name_weir_are_counted(void **state)
{
    static const struct {
        const char *first, *second;
        unsigned count;
    } cases[] = {
        {"", NULL, 0},
        {"1.1 weir", NULL, 1},
        {"HTTP/1.1 weir", NULL, 1},
        {"1.1 weir, 2.0 weir,1.0\tweir", NULL, 3},
        {"1.1 weir (home), 1.1 weir(home)", NULL, 2},
        {"1.1 weir", "1.1 weir", 2},
        {"1.1 weird, 1.1 aweir, 1.1 weir:80, 1.1 weir.example", NULL, 0},
        {"1.1 fred (a, 1.1 weir, b), 1.1 weir", NULL, 1},
        {"1.1 fred (a \\), 1.1 weir), 1.1 weir", NULL, 1},
        {"1.1 fred (a (b), 1.1 weir), 1.1 weir", NULL, 1},
        {"1.1 fred (never ends, 1.1 weir", NULL, 0},
        {"1.1 fred (\\", NULL, 0},
        {"weir", NULL, 0},
        {", ,1.1 weir,,", NULL, 1},
        {"1.1 weir)", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct field at[3] = {{.name = S("Via"), .value = slice_text(cases[i].first), .id = FIELD_VIA},
                              {.name = S("X-Via"), .value = S("1.1 weir"), .id = FIELD_OTHER},
                              {.name = S("via"), .id = FIELD_VIA}};
        if (cases[i].second)
            at[2].value = slice_text(cases[i].second);
        struct fields f = {.at = at, .count = 3, .capacity = 3};
        if (hops_passed(&f) != cases[i].count)
            fail_msg("%s: %u", cases[i].first, hops_passed(&f));
    }
}

static void test_max_forwards_of_trace_and_options_counts_down(void **state)
{
    static const struct {
        enum http_method method;
        const char *came, *goes;
    } cases[] = {
        {METHOD_OPTIONS, "5", "4"}, {METHOD_TRACE, "1", "0"},   {METHOD_TRACE, "010", "9"},
        {METHOD_GET, "5", "5"},     {METHOD_OPTIONS, "x", "x"}, {METHOD_OPTIONS, "-1", "-1"},
        {METHOD_OPTIONS, "", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct field at = {
            .name = S("Max-Forwards"), .value = slice_text(cases[i].came), .line_len = 17, .id = FIELD_OTHER};
        struct fields f = {.at = &at, .count = 1, .capacity = 1};
        struct http_request r = {.method_id = cases[i].method};
        arena_init(&arena, NULL, 0);
        assert_int_equal(hops_count_down(&arena, &r, &f), 0);
        assert_true(slice_equal(at.value, slice_text(cases[i].goes)));
        assert_int_equal(at.line_len, strcmp(cases[i].came, cases[i].goes) ? 0 : 17);
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_of_via_that_name_weir_are_counted),
        cmocka_unit_test(test_max_forwards_of_trace_and_options_counts_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
