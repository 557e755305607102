#include "proxy/http/preconditions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define OWN    "\"a,b\""
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AT     "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER  "Sun, 06 Nov 1994 08:49:38 GMT"
#define AT_S   784111777
#define NOW    1700000000 /* 2023 */

static const struct validators strong = {SLICE(OWN), AT_S, true}, weak = {SLICE("W/" OWN), AT_S, true},
                               dated = {{0}, AT_S, true}, tagged = {SLICE(OWN), 0, false};

/* A request with those fields; a value of NULL leaves one out. */
static struct fields request(struct field list[2], enum field_id a, const char *a_value, enum field_id b,
                             const char *b_value)
{
    struct fields f = {list, 0, 2, 0};
    if (a_value)
        list[f.count++] = (struct field){.value = slice_text(a_value), .id = (uint16_t)a};
    if (b_value)
        list[f.count++] = (struct field){.value = slice_text(b_value), .id = (uint16_t)b};
    return f;
}

static unsigned check_two(const struct validators *v, enum field_id a, const char *a_value, enum field_id b,
                          const char *b_value)
{
    struct field list[2];
    struct fields f = request(list, a, a_value, b, b_value);
    return preconditions_check(&f, v, NOW);
}

static unsigned check(const struct validators *v, enum field_id id, const char *value)
{
    return check_two(v, id, value, FIELD_OTHER, NULL);
}

static bool range(const struct validators *v, const char *if_range, int64_t now)
{
    struct field list[2];
    struct fields f = request(list, FIELD_IF_RANGE, if_range, FIELD_OTHER, NULL);
    return preconditions_allow_range(&f, v, now);
}

static void test_without_conditions_nothing_is_in_the_way(void **state)
{
    (void)state;
    assert_int_equal(check(&strong, FIELD_OTHER, NULL), 0);
    assert_true(range(&strong, NULL, NOW));
}

static void test_if_none_match_compares_weakly(void **state)
{
    (void)state;
    assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, OWN), 304);
    assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, "W/" OWN), 304);
    assert_int_equal(check(&weak, FIELD_IF_NONE_MATCH, OWN), 304);
    assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, "\"x\" , \"\",," OWN ",\"y\""), 304);
    assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, "*"), 304);
    assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, "\"a\""), 0);
    assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, "\"A,B\""), 0);
    assert_int_equal(check(&dated, FIELD_IF_NONE_MATCH, OWN), 0);
}

static void test_a_list_that_is_not_well_formed_matches_nothing(void **state)
{
    (void)state;
    static const char *const lists[] = {"nonsense", "a,b",        "\"a,b",     "w/" OWN,       "*, \"x\"",
                                        "'a,b'",    "\"x\" " OWN, "\"x\"" OWN, "\"x y\"," OWN, ""};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        assert_int_equal(check(&strong, FIELD_IF_NONE_MATCH, lists[i]), 0);
        assert_int_equal(check(&strong, FIELD_IF_MATCH, lists[i]), 412);
    }
}

static void test_a_list_goes_over_several_lines(void **state)
{
    (void)state;
    assert_int_equal(check_two(&strong, FIELD_IF_NONE_MATCH, "\"x\"", FIELD_IF_NONE_MATCH, OWN), 304);
    assert_int_equal(check_two(&strong, FIELD_IF_MATCH, "\"x\"", FIELD_IF_MATCH, OWN), 0);
}

static void test_if_match_compares_strongly(void **state)
{
    (void)state;
    assert_int_equal(check(&strong, FIELD_IF_MATCH, OWN), 0);
    assert_int_equal(check(&strong, FIELD_IF_MATCH, "\"x\", " OWN), 0);
    assert_int_equal(check(&strong, FIELD_IF_MATCH, "*"), 0);
    assert_int_equal(check(&strong, FIELD_IF_MATCH, "W/" OWN), 412);
    assert_int_equal(check(&weak, FIELD_IF_MATCH, "W/" OWN), 412);
    assert_int_equal(check(&strong, FIELD_IF_MATCH, "\"x\""), 412);
}

static void test_dates_are_compared(void **state)
{
    (void)state;
    assert_int_equal(check(&strong, FIELD_IF_MODIFIED_SINCE, BEFORE), 0);
    assert_int_equal(check(&strong, FIELD_IF_MODIFIED_SINCE, AT), 304);
    assert_int_equal(check(&strong, FIELD_IF_MODIFIED_SINCE, AFTER), 304);
    assert_int_equal(check(&strong, FIELD_IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT"), 304);
    assert_int_equal(check(&strong, FIELD_IF_MODIFIED_SINCE, "Sun Nov  6 08:49:37 1994"), 304);
    assert_int_equal(check(&strong, FIELD_IF_UNMODIFIED_SINCE, BEFORE), 412);
    assert_int_equal(check(&strong, FIELD_IF_UNMODIFIED_SINCE, AT), 0);
    assert_int_equal(check(&strong, FIELD_IF_UNMODIFIED_SINCE, AFTER), 0);
}

static void test_what_is_no_date_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(check(&strong, FIELD_IF_MODIFIED_SINCE, "nonsense"), 0);
    assert_int_equal(check(&strong, FIELD_IF_UNMODIFIED_SINCE, "0"), 0);
    assert_int_equal(check_two(&strong, FIELD_IF_MODIFIED_SINCE, AT, FIELD_IF_MODIFIED_SINCE, AT), 0);
    assert_int_equal(check(&tagged, FIELD_IF_MODIFIED_SINCE, AT), 0);
    assert_int_equal(check(&tagged, FIELD_IF_UNMODIFIED_SINCE, BEFORE), 0);
}

static void test_a_tag_counts_before_a_date(void **state)
{
    (void)state;
    assert_int_equal(check_two(&strong, FIELD_IF_MODIFIED_SINCE, AT, FIELD_IF_NONE_MATCH, "\"x\""), 0);
    assert_int_equal(check_two(&strong, FIELD_IF_NONE_MATCH, OWN, FIELD_IF_MODIFIED_SINCE, BEFORE), 304);
    assert_int_equal(check_two(&strong, FIELD_IF_UNMODIFIED_SINCE, BEFORE, FIELD_IF_MATCH, OWN), 0);
    assert_int_equal(check_two(&strong, FIELD_IF_MATCH, "\"x\"", FIELD_IF_UNMODIFIED_SINCE, AFTER), 412);
}

static void test_what_must_hold_counts_before_what_saves_a_transfer(void **state)
{
    (void)state;
    assert_int_equal(check_two(&strong, FIELD_IF_NONE_MATCH, OWN, FIELD_IF_MATCH, "\"x\""), 412);
    assert_int_equal(check_two(&strong, FIELD_IF_NONE_MATCH, OWN, FIELD_IF_MATCH, OWN), 304);
    assert_int_equal(check_two(&strong, FIELD_IF_MODIFIED_SINCE, AT, FIELD_IF_UNMODIFIED_SINCE, BEFORE), 412);
}

static void test_if_range_wants_this_very_representation(void **state)
{
    (void)state;
    assert_true(range(&strong, OWN, NOW));
    assert_false(range(&strong, "\"x\"", NOW));
    assert_false(range(&strong, "W/" OWN, NOW));
    assert_false(range(&weak, "W/" OWN, NOW));
    assert_false(range(&strong, OWN ", \"x\"", NOW));
    assert_false(range(&strong, "*", NOW));
    assert_true(range(&strong, AT, NOW));
    assert_false(range(&strong, AFTER, NOW));
    assert_false(range(&strong, BEFORE, NOW));
    assert_false(range(&strong, "nonsense", NOW));
    assert_false(range(&strong, AT, AT_S)); /* the second is not over */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_conditions_nothing_is_in_the_way),
        cmocka_unit_test(test_if_none_match_compares_weakly),
        cmocka_unit_test(test_a_list_that_is_not_well_formed_matches_nothing),
        cmocka_unit_test(test_a_list_goes_over_several_lines),
        cmocka_unit_test(test_if_match_compares_strongly),
        cmocka_unit_test(test_dates_are_compared),
        cmocka_unit_test(test_what_is_no_date_is_ignored),
        cmocka_unit_test(test_a_tag_counts_before_a_date),
        cmocka_unit_test(test_what_must_hold_counts_before_what_saves_a_transfer),
        cmocka_unit_test(test_if_range_wants_this_very_representation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
