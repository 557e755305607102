/* Texts that a pattern matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/http/regex.h"
#include "proxy/http/regex_sample.h"

struct asked {
    struct config c;
    struct regex *regex;
    struct regex_scratch scratch;
    struct slice found[16];
    size_t count;
    bool query;
};

static bool holds(void *argument, struct slice text)
{
    struct asked *a = argument;
    return regex_match(a->regex, &a->scratch, text) == 1;
}

static void ask(struct asked *a, const char *pattern, bool paths)
{
    memset(a, 0, sizeof *a);
    config_init(&a->c);
    a->regex = regex_compile(&a->c, NULL, slice_text(pattern));
    assert_non_null(a->regex);
    const struct regex_sampling s = {
        .arena = &a->c.arena, .pattern = slice_text(pattern), .paths = paths, .holds = holds, .argument = a};
    a->count = regex_samples(&s, a->found, COUNT_OF(a->found), &a->query);
    for (size_t i = 0; i < a->count; i++)
        if (!holds(a, a->found[i]) || (paths && a->found[i].at[0] != '/'))
            fail_msg("%s: %.*s", pattern, SLICE_FMT(a->found[i]));
}

static void done(struct asked *a)
{
    regex_free(a->regex);
    regex_scratch_free(&a->scratch);
    config_free(&a->c);
}

static void test_patterns_of_every_kind_have_samples(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "^/v[0-9]+/",
        "\\.(png|jpe?g)$",
        "^/(?:a|b(c|d))/x{2,4}$",
        "^/[^/]+/[[:digit:]]{3}$",
        "(?i)^/UP",
        "^/(?<year>\\d{4})-(?P<m>\\d\\d)$",
        "^/\\x41\\.b\\/",
        "^/a(?=b)b",
        "/",
        "",
        "^/[\\w.-]+\\.html?$",
        "^/(a|b|c|d|e|f|g|h)$",
        "^/a++b*?c",
        "^/[]a]$",
        "^/\\w+\\b$",
        "^/(?>ab|c)d$",
    };
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        struct asked a;
        ask(&a, patterns[i], true);
        if (a.count == 0 || a.query)
            fail_msg("%s has no sample", patterns[i]);
        done(&a);
    }
}

static void test_samples_differ_where_the_pattern_lets_them(void **state)
{
    (void)state;
    struct asked a;
    ask(&a, "^/[0-9]{4,8}$", true);
    bool shortest = false, longest = false;
    for (size_t i = 0; i < a.count; i++) {
        shortest |= a.found[i].len == 5;
        longest |= a.found[i].len == 9;
        for (size_t k = 0; k < i; k++)
            assert_false(slice_equal(a.found[i], a.found[k]));
    }
    assert_true(shortest && longest);
    done(&a);
    ask(&a, "^/(one|two|three)$", true);
    assert_int_equal(a.count, 3);
    done(&a);
}

static void test_a_pattern_that_waits_for_a_query_is_told_apart(void **state)
{
    (void)state;
    struct asked a;
    ask(&a, "^/x\\?a=1$", true);
    assert_int_equal(a.count, 0);
    assert_true(a.query);
    done(&a);
    ask(&a, "^/x(\\?a=1)?$", true);
    assert_int_equal(a.count, 1);
    assert_false(a.query);
    done(&a);
}

static void test_what_no_path_can_be_has_no_sample(void **state)
{
    (void)state;
    static const char *const patterns[] = {"^api/", "^/a/\\.\\./b$", "^(?!/x).*y{300}", "^/ $"};
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        struct asked a;
        ask(&a, patterns[i], true);
        if (a.count)
            fail_msg("%s: %.*s", patterns[i], SLICE_FMT(a.found[0]));
        done(&a);
    }
}

static void test_values_need_no_slash(void **state)
{
    (void)state;
    struct asked a;
    ask(&a, "^[a-m]", false);
    assert_true(a.count > 0 && a.found[0].at[0] != '/');
    done(&a);
}

static void test_broken_nesting_does_not_run_away(void **state)
{
    (void)state;
    char deep[400];
    memset(deep, '(', 150);
    memset(deep + 150, 'a', 1);
    memset(deep + 151, ')', 150);
    deep[301] = 0;
    struct asked a;
    ask(&a, deep, true);
    done(&a);
}

static void test_an_anchored_pattern_excludes_what_begins_otherwise(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        bool excludes;
    } table[] = {{"^api/", true},   {"^/api", false}, {"api", false}, {"^(api|/x)", false}, {"^api|x", false},
                 {"^api|^x", true}, {"^[^/]", true},  {"^\\d", true}, {"^.api", false}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct asked a;
        ask(&a, table[i].pattern, true);
        if (regex_excludes(a.regex, &a.scratch, S("/")) != table[i].excludes)
            fail_msg("%s", table[i].pattern);
        done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_of_every_kind_have_samples),
        cmocka_unit_test(test_samples_differ_where_the_pattern_lets_them),
        cmocka_unit_test(test_a_pattern_that_waits_for_a_query_is_told_apart),
        cmocka_unit_test(test_what_no_path_can_be_has_no_sample),
        cmocka_unit_test(test_values_need_no_slash),
        cmocka_unit_test(test_broken_nesting_does_not_run_away),
        cmocka_unit_test(test_an_anchored_pattern_excludes_what_begins_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
