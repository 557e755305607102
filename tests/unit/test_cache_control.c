#include "cache/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cache_messages.h"

#define MAX CACHE_SECONDS_MAX

static struct lines_text kept;

static struct cache_control parse(const char *value)
{
    struct cache_control c;
    struct cache_lines lines = lines_of(value, &kept);
    cache_control_parse(&lines, &c);
    return c;
}

static int dictionary(const char *value, struct cache_control *c)
{
    struct cache_lines lines = lines_of(value, &kept);
    return cache_control_parse_dictionary(&lines, c);
}

static int surrogate(const char *value, struct cache_control *c)
{
    struct cache_lines lines = lines_of(value, &kept);
    return cache_control_parse_surrogate(&lines, c);
}

static void test_seconds_are_digits_alone_and_never_too_large(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"0", 0},
        {"3600", 3600},
        {"003600", 3600},
        {"2147483648", 2147483648},
        {"99999999999", 99999999999},
        {"1099511627776", MAX},
        {"1099511627777", MAX},
        {"99999999999999999999999999999999", MAX},
        {"", CACHE_UNSET},
        {"-1", CACHE_UNSET},
        {"+1", CACHE_UNSET},
        {"1.0", CACHE_UNSET},
        {"1 ", CACHE_UNSET},
        {"0x10", CACHE_UNSET},
        {"abc", CACHE_UNSET},
        {"7200,0", CACHE_UNSET},
        {"7200;foo=bar", CACHE_UNSET},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(cache_seconds(slice_text(cases[i].text)), cases[i].seconds);
}

/* §1.2.2, §4.2.1, §5.2: the suite's kind cc-parse, and more. */
static void test_max_age_is_a_number_or_makes_stale(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t max_age;
    } cases[] = {
        {NULL, CACHE_UNSET},
        {"", CACHE_UNSET},
        {"max-age=3600", 3600},
        {"MaX-aGe=3600", 3600},
        {"max-age=003600", 3600},
        {"max-age=\"3600\"", 3600},
        {"foobar, max-age=3600", 3600},
        {" ,, ,max-age=3600 ,", 3600},
        {"max-age=99999999999999999999", MAX},
        {"max-age='3600'", 0},
        {"max-age=-3600", 0},
        {"max-age=3600.0", 0},
        {"max-age=3600.5", 0},
        {"max-age =3600", 0},
        {"max-age= 3600", 0},
        {"max-age=a3600", 0},
        {"max-age=3600a", 0},
        {"max-age=3600 x", 0},
        {"max-age=\"3600\"x", 0},
        {"max-age=\"36\\00\"", 0},
        {"max-age=\"3600", 0},
        {"max-age=3600; no-transform", 0},
        {"max-age:3600", 0},
        {"max-age=", 0},
        {"max-age", 0},
        {"xmax-age=3600", CACHE_UNSET},
        {"max-agex=3600", CACHE_UNSET},
        {"=3600", CACHE_UNSET},
        {"extension=\"max-age=3600\", max-age=1", 1},
        {"max-age=1, extension=\"max-age=3600\"", 1},
        {"extension=\"max-age=3600\", max-age=\"1\"", 1},
        {"extension=\"max-age=3600, max-age=7200\"", CACHE_UNSET},
        {"extension=\"a\\\", max-age=3600\"", CACHE_UNSET},
        {"junk \"max-age=1, max-age=2\", max-age=3", 3},
        {"max-age=3600\nmax-age=1800", 1800},
        {"max-age=3600, max-age=1800", 1800},
        {"max-age=1, max-age=1800", 1},
        {"max-age=1\nmax-age=1800", 1},
        {"max-age=1800, max-age=x", 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (parse(cases[i].value).max_age != cases[i].max_age)
            fail_msg("%s: %lld", cases[i].value, (long long)parse(cases[i].value).max_age);
}

static void test_a_word_that_restricts_counts_however_it_is_written(void **state)
{
    (void)state;
    static const char *const values[] = {
        "no-store",   "No-StOrE",        "no-store=1",           "no-store=\"x\"",
        "no-store;x", "no-store foo",    "max-age=60, no-store", "a=\"b\" , no-store",
        "no-store=",  "x=\"1\nno-store", "x=\"1, no-store"};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        assert_true(parse(values[i]).no_store);
    assert_false(parse("no-storex").no_store);
    assert_false(parse("x=\"a, no-store\"").no_store);
    assert_true(parse("must-revalidate").must_revalidate);
    assert_true(parse("proxy-revalidate;").proxy_revalidate);
    assert_true(parse("only-if-cached").only_if_cached);
}

static void test_a_word_that_permits_counts_only_when_it_is_well_formed(void **state)
{
    (void)state;
    assert_true(parse("public").is_public);
    assert_true(parse("max-age=1, PUBLIC").is_public);
    assert_false(parse("public; max-age=60").is_public);
    assert_false(parse("public x").is_public);
    assert_true(parse("no-store, must-understand").must_understand);
    assert_false(parse("no-store, must-understand x").must_understand);
}

/* §5.2.2.4, §5.2.2.7. */
static void test_private_and_no_cache_may_be_of_single_fields(void **state)
{
    (void)state;
    struct cache_control c = parse("private=\"set-cookie, x-a\", no-cache=\"b\"");
    assert_false(c.is_private || c.no_cache);
    assert_int_equal(c.omitted_count, 2);
    assert_true(slice_equal(c.omitted[0], S("set-cookie, x-a")));
    assert_true(slice_equal(c.omitted[1], S("b")));

    c = parse("private=set-cookie");
    assert_false(c.is_private);
    assert_int_equal(c.omitted_count, 1);

    static const char *const whole[] = {
        "private",          "private=",        "private=\"\"", "private=\" , \"",        "private=\"a b\"",
        "private=\"a\\b\"", "private=\"a\" x", "private=\"a",  "private=\"a\", private", "private;x"};
    for (size_t i = 0; i < COUNT_OF(whole); i++)
        assert_true(parse(whole[i]).is_private);
    assert_true(parse("no-cache=\"a\"\nNO-CACHE").no_cache);
    assert_true(parse("private=a,private=b,private=c,private=d,private=e").is_omitted_too_long);
    assert_false(parse("private=a,private=b,private=c,private=d").is_omitted_too_long);
}

static void test_a_quote_without_an_end_is_told(void **state)
{
    (void)state;
    assert_true(parse("x=\"1, max-age=3600").is_broken);
    assert_true(parse("max-age=3600, x=\"a\\\"").is_broken);
    assert_false(parse("x=\"1\", max-age=3600").is_broken);
    assert_false(parse("x=\"1\\\\\", max-age=3600").is_broken);
}

static void test_the_other_times_are_the_shortest_or_not_there(void **state)
{
    (void)state;
    struct cache_control c =
        parse("s-maxage=5, stale-while-revalidate=10, stale-if-error=20, min-fresh=30, max-stale=40");
    assert_int_equal(c.s_maxage, 5);
    assert_int_equal(c.stale_while_revalidate, 10);
    assert_int_equal(c.stale_if_error, 20);
    assert_int_equal(c.min_fresh, 30);
    assert_int_equal(c.max_stale, 40);

    c = parse("s-maxage=x, stale-while-revalidate=-1, stale-if-error, min-fresh=x, max-stale=y");
    assert_int_equal(c.s_maxage, 0);
    assert_int_equal(c.stale_while_revalidate, CACHE_UNSET);
    assert_int_equal(c.stale_if_error, CACHE_UNSET);
    assert_int_equal(c.min_fresh, CACHE_UNSET);
    assert_int_equal(c.max_stale, CACHE_UNSET);

    assert_int_equal(parse("max-stale").max_stale, MAX);
    assert_int_equal(parse("max-stale, max-stale=5").max_stale, 5);
    assert_int_equal(parse("min-fresh=5, min-fresh=50, min-fresh=7").min_fresh, 50);
    assert_int_equal(parse("stale-if-error=9, stale-if-error=3").stale_if_error, 3);
}

/* RFC 9213 §2.1, RFC 9651 §4.2.2. */
static void test_a_dictionary_is_well_formed_or_nothing(void **state)
{
    (void)state;
    static const char *const good[] = {
        "max-age=60",
        "max-age=60, no-store",
        "max-age=60\nno-store",
        "max-age=60;a;b=1; c=\"x\"",
        "a, b=?1, c=?0, d=1.5, e=-3, f=tok/en:x, g=\"s\\\"t\", h=:YWI=:, i=@1, j=%\"a\", k=*",
        "a=(), b=( 1  2 ), c=(\"x\";y=1 z);w, *d=1",
        "max-age=60 \t,\t b",
        " max-age=60 ",
        "max-age=60\n",
    };
    static const char *const bad[] = {
        NULL,
        "",
        " ",
        ",",
        "max-age=60,",
        ",max-age=60",
        "max-age=60,,b",
        "MAX-AGE=60",
        "max-age=",
        "max-age= 6",
        "max-age =6",
        "max-age=60 b",
        "a=\"x",
        "a=\"\\x\"",
        "a='x'",
        "a=1.",
        "a=1.2345",
        "a=-",
        "a=?2",
        "a=:x",
        "a=:#:",
        "a=(",
        "a=(1",
        "a=(1 2",
        "a=(\"x\"y)",
        "a=1;",
        "a=1;B",
        "a=1;b=",
        "1a=1",
        "a=@",
        "a=@1.5",
        "a=%x",
        "a=\"\x7f\"",
        "a=()b",
        "a;b c",
        "a=\"b\nc\"d",
        "a=1\n,",
        "a={",
        "a=1234567890123456",
        "a=1234567890123.1",
    };
    struct cache_control c;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (dictionary(good[i], &c))
            fail_msg("not well-formed: %s", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (!dictionary(bad[i], &c))
            fail_msg("well-formed: %s", bad[i] ? bad[i] : "none");
}

static void test_a_dictionary_gives_directives(void **state)
{
    (void)state;
    struct cache_control c;
    assert_int_equal(
        dictionary("max-age=60;x=1, s-maxage=0070, stale-if-error=99999999999, public, no-cache=\"a, b\"",
                   &c),
        0);
    assert_int_equal(c.max_age, 60);
    assert_int_equal(c.s_maxage, 70);
    assert_int_equal(c.stale_if_error, 99999999999);
    assert_true(c.is_public);
    assert_false(c.no_cache);
    assert_true(slice_equal(c.omitted[0], S("a, b")));

    assert_int_equal(dictionary("max-age=1, max-age=60, no-store, no-store=?0", &c), 0);
    assert_int_equal(c.max_age, 60);
    assert_false(c.no_store);

    static const char *const no_time[] = {"max-age=\"60\"", "max-age=6.5", "max-age=-6",
                                          "max-age",        "max-age=x",   "max-age=(60)"};
    for (size_t i = 0; i < COUNT_OF(no_time); i++) {
        assert_int_equal(dictionary(no_time[i], &c), 0);
        assert_int_equal(c.max_age, 0);
    }
}

static void test_a_dictionary_has_a_bound(void **state)
{
    (void)state;
    char text[512];
    size_t len = 0;
    struct cache_control c;
    for (int i = 0; i < 33; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%sk%d", i ? "," : "", i);
        assert_int_equal(dictionary(text, &c), i < 32 ? 0 : -1);
    }
}

/* Edge Architecture Specification §3; the suite's kind surrogate-control. */
static void test_surrogate_control_is_for_weir_or_nobody(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int result;
        int64_t max_age;
        bool no_store;
    } cases[] = {
        {"max-age=3600", 0, 3600, false},
        {"max-age=2147483648", 0, 2147483648, false},
        {"max-age=99999999999", 0, 99999999999, false},
        {"max-age=3600;weir", 0, 3600, false},
        {"max-age=3600 ; Weir", 0, 3600, false},
        {"max-age=3600;other;weir", 0, 3600, false},
        {"max-age=3600;not-for-you", -1, 0, false},
        {"max-age=60;other, max-age=10", 0, 10, false},
        {"max-age=60;weir, max-age=10", 0, 60, false},
        {"max-age=10, max-age=60;weir", 0, 60, false},
        {"foobar, max-age=3600", 0, 3600, false},
        {"MaX-aGe=3600", 0, 3600, false},
        {"max-age =100", 0, 0, false},
        {"max-age= 100", 0, 0, false},
        {"max-age=0", 0, 0, false},
        {"no-store", 0, CACHE_UNSET, true},
        {"no-store;weir, max-age=60", 0, 60, true},
        {"no-store;other", -1, 0, false},
        {"no-store-remote", -1, 0, false},
        {"content=\"ESI/1.0\"", -1, 0, false},
        {"content=\"ESI/1.0, max-age=3\"", -1, 0, false},
        {"foo", -1, 0, false},
        {"", -1, 0, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cache_control c;
        int result = surrogate(cases[i].value, &c);
        if (result != cases[i].result ||
            (result == 0 && (c.max_age != cases[i].max_age || c.no_store != cases[i].no_store)))
            fail_msg("%s", cases[i].value);
    }
}

static void test_surrogate_control_may_give_more_time(void **state)
{
    (void)state;
    struct cache_control c;
    assert_int_equal(surrogate("max-age=3600+600;weir", &c), 0);
    assert_int_equal(c.max_age, 3600);
    assert_int_equal(c.stale_while_revalidate, 600);
    assert_int_equal(surrogate("max-age=3600+x", &c), 0);
    assert_int_equal(c.stale_while_revalidate, CACHE_UNSET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seconds_are_digits_alone_and_never_too_large),
        cmocka_unit_test(test_max_age_is_a_number_or_makes_stale),
        cmocka_unit_test(test_a_word_that_restricts_counts_however_it_is_written),
        cmocka_unit_test(test_a_word_that_permits_counts_only_when_it_is_well_formed),
        cmocka_unit_test(test_private_and_no_cache_may_be_of_single_fields),
        cmocka_unit_test(test_a_quote_without_an_end_is_told),
        cmocka_unit_test(test_the_other_times_are_the_shortest_or_not_there),
        cmocka_unit_test(test_a_dictionary_is_well_formed_or_nothing),
        cmocka_unit_test(test_a_dictionary_gives_directives),
        cmocka_unit_test(test_a_dictionary_has_a_bound),
        cmocka_unit_test(test_surrogate_control_is_for_weir_or_nobody),
        cmocka_unit_test(test_surrogate_control_may_give_more_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
