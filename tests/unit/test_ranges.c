#include "proxy/http/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base.h"

/* What comes of a field, as text: "whole", "416", or "first+count …". */
static void assert_ranges(const char *value, uint64_t size, const char *expected)
{
    struct byte_range ranges[RANGES_MAX];
    unsigned count = 0;
    char text[512] = "";
    size_t len = 0;
    switch (ranges_parse(slice_text(value), size, ranges, &count)) {
    case RANGES_WHOLE:
        snprintf(text, sizeof text, "whole");
        break;
    case RANGES_UNSATISFIABLE:
        assert_int_equal(count, 0);
        snprintf(text, sizeof text, "416");
        break;
    case RANGES_SOME:
        for (unsigned i = 0; i < count; i++) {
            assert_true(ranges[i].count > 0 && ranges[i].first < size &&
                        ranges[i].count <= size - ranges[i].first);
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu+%llu", i ? " " : "",
                                    (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].count);
        }
    }
    if (strcmp(text, expected) != 0)
        fail_msg("%s of %llu bytes: %s, not %s", value, (unsigned long long)size, text, expected);
}

static void test_one_range(void **state)
{
    (void)state;
    assert_ranges("bytes=0-0", 10, "0+1");
    assert_ranges("bytes=4-7", 10, "4+4");
    assert_ranges("bytes=4-", 10, "4+6");
    assert_ranges("bytes=-3", 10, "7+3");
    assert_ranges("bytes=9-9", 10, "9+1");
    assert_ranges("bytes= 1-2", 10, "1+2");
    assert_ranges("Bytes=2-3", 10, "2+2");
}

static void test_a_range_ends_with_the_file(void **state)
{
    (void)state;
    assert_ranges("bytes=8-100", 10, "8+2");
    assert_ranges("bytes=-100", 10, "0+10");
    assert_ranges("bytes=0-18446744073709551615", 10, "0+10");
    assert_ranges("bytes=0-99999999999999999999", 10, "0+10");
    assert_ranges("bytes=-99999999999999999999", 10, "0+10");
    assert_ranges("bytes=0-18446744073709551615", UINT64_MAX, "0+18446744073709551615");
}

static void test_a_range_outside_of_the_file_cannot_be_satisfied(void **state)
{
    (void)state;
    assert_ranges("bytes=10-", 10, "416");
    assert_ranges("bytes=100-200", 10, "416");
    assert_ranges("bytes=-0", 10, "416");
    assert_ranges("bytes=99999999999999999999-", 10, "416");
    assert_ranges("bytes=10-,20-30", 10, "416");
}

static void test_of_several_those_inside_are_left(void **state)
{
    (void)state;
    assert_ranges("bytes=0-1,5-6", 10, "0+2 5+2");
    assert_ranges("bytes=5-6, 0-1", 10, "5+2 0+2");
    assert_ranges("bytes=0-1,,\t5-6,", 10, "0+2 5+2");
    assert_ranges("bytes=0-1,50-60", 10, "0+2");
    assert_ranges("bytes=0-4,5-9", 10, "0+5 5+5");
    assert_ranges("bytes=0-1,-1", 10, "0+2 9+1");
}

static void test_a_byte_asked_for_twice_makes_it_the_whole(void **state)
{
    (void)state;
    assert_ranges("bytes=0-,0-", 10, "whole");
    assert_ranges("bytes=0-5,5-6", 10, "whole");
    assert_ranges("bytes=5-6,0-5", 10, "whole");
    assert_ranges("bytes=0-9,4-4", 10, "whole");
    assert_ranges("bytes=0-1,-10", 10, "whole");
}

static void test_more_ranges_than_the_bound_make_it_the_whole(void **state)
{
    (void)state;
    char value[256] = "bytes=", expected[256] = "";
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        snprintf(value + strlen(value), sizeof value - strlen(value), "%s%u-%u", i ? "," : "", i * 2, i * 2);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%u+1", i ? " " : "",
                 i * 2);
    }
    assert_ranges(value, 1000, expected);
    strcat(value, ",900-901");
    assert_ranges(value, 1000, "whole");
}

static void test_what_is_not_well_formed_is_ignored(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",          "bytes",      "bytes=",      "bytes=,",       "bytes=-",  "bytes=5-2",  "bytes=a-b",
        "lines=1-2", "nonsense",   "bytes=1-2-3", "bytes=0x1-",    "bytes=1",  "bytes =1-2", "bytes=1 - 2",
        "bytes=--1", "bytes=+1-2", "bytes=1-2;",  "bytes=0-1,a-b", "bytes:1-2"};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        assert_ranges(values[i], 10, "whole");
}

static void test_an_empty_file_has_no_ranges(void **state)
{
    (void)state;
    assert_ranges("bytes=-5", 0, "whole");
    assert_ranges("bytes=0-", 0, "whole");
}

static void test_a_field_on_two_lines_says_nothing(void **state)
{
    (void)state;
    struct field list[] = {{.name = SLICE("Range"), .value = SLICE("bytes=0-1"), .id = FIELD_RANGE},
                           {.name = SLICE("Range"), .value = SLICE("bytes=5-6"), .id = FIELD_RANGE}};
    struct fields one = {list, 1, 2, 0}, two = {list, 2, 2, 0}, none = {list, 0, 2, 0};
    struct slice value;
    assert_true(ranges_asked(&one, &value));
    assert_true(slice_equal(value, S("bytes=0-1")));
    assert_false(ranges_asked(&two, &value));
    assert_false(ranges_asked(&none, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_range),
        cmocka_unit_test(test_a_range_ends_with_the_file),
        cmocka_unit_test(test_a_range_outside_of_the_file_cannot_be_satisfied),
        cmocka_unit_test(test_of_several_those_inside_are_left),
        cmocka_unit_test(test_a_byte_asked_for_twice_makes_it_the_whole),
        cmocka_unit_test(test_more_ranges_than_the_bound_make_it_the_whole),
        cmocka_unit_test(test_what_is_not_well_formed_is_ignored),
        cmocka_unit_test(test_an_empty_file_has_no_ranges),
        cmocka_unit_test(test_a_field_on_two_lines_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
