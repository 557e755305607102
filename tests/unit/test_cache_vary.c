#include "cache/vary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cache_messages.h"

static struct lines_text kept;
static char first[8192];
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, first, sizeof first);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_reset(&arena);
    return 0;
}

static int names(const char *value, struct slice *out)
{
    struct cache_lines lines = lines_of(value, &kept);
    return cache_vary_names(&lines, &arena, out);
}

static void assert_names(const char *value, const char *expected)
{
    struct slice got;
    assert_int_equal(names(value, &got), 0);
    if (!slice_equal(got, slice_text(expected)))
        fail_msg("%s: %.*s", value, SLICE_FMT(got));
}

static void test_names_are_lower_case_sorted_and_once(void **state)
{
    (void)state;
    assert_names(NULL, "");
    assert_names("", "");
    assert_names(" , ", "");
    assert_names("Foo", "foo");
    assert_names("Foo, Bar", "bar,foo");
    assert_names("Foo, Bar,baz", "bar,baz,foo");
    assert_names("foo,FOO, Foo\nfOO", "foo");
    assert_names("B\n,a,\nc", "a,b,c");
    assert_names("Accept-Encoding, Accept", "accept,accept-encoding");
    assert_names("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,A,B", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p");
}

/* §4.1; the suite's kind vary-parse. */
static void test_a_star_anywhere_is_a_star(void **state)
{
    (void)state;
    static const char *const values[] = {"*",      "*, *",   "*\n*",
                                         ", *",    "\n*",    "*, Foo",
                                         "Foo, *", "a b, *", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,*"};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct slice got;
        struct cache_lines lines = lines_of(values[i], &kept);
        assert_int_equal(cache_vary_check(&lines), CACHE_VARY_STAR);
        assert_int_equal(names(values[i], &got), -1);
    }
}

static void test_what_are_no_names_or_too_many_cannot_be_used(void **state)
{
    (void)state;
    static const char *const values[] = {"a b",    "a;b",    "\"a\"",
                                         "a, b=c", "**,a:b", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct slice got;
        struct cache_lines lines = lines_of(values[i], &kept);
        assert_int_equal(cache_vary_check(&lines), CACHE_VARY_UNUSABLE);
        assert_int_equal(names(values[i], &got), -1);
    }
}

/* A request with one field. */
struct one_field {
    struct slice name;
    struct cache_lines lines;
};

static struct cache_lines look_up(void *context, struct slice name)
{
    const struct one_field *f = context;
    return slice_equal(f->name, name) ? f->lines : (struct cache_lines){0};
}

static void assert_text(const char *vary, const char *name, const char *value, const char *expected)
{
    struct one_field f = {slice_text(name), lines_of(value, &kept)};
    struct slice got = S("");
    assert_int_equal(cache_vary_text(slice_text(vary), look_up, &f, &arena, &got), 0);
    if (!slice_equal(got, slice_text(expected)))
        fail_msg("%s: %.*s", value ? value : "none", SLICE_FMT(got));
}

static void test_a_field_that_is_not_there_is_told_from_an_empty_one(void **state)
{
    (void)state;
    assert_text("", "foo", "1", "");
    assert_text("foo", "foo", NULL, "foo\n");
    assert_text("foo", "foo", "", "foo:\n");
    assert_text("foo", "foo", " , ", "foo:\n");
    assert_text("bar,foo", "foo", "1", "bar\nfoo:1\n");
    assert_text("bar,foo", "bar", "1", "bar:1\nfoo\n");
}

static void test_lists_are_alike_whatever_the_space_and_the_lines(void **state)
{
    (void)state;
    static const char *const values[] = {"1, 2", "1,2", " 1, 2 ", "1\n2", "1 ,\t2", ",1,,2,", "1\n\n2"};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        assert_text("foo", "foo", values[i], "foo:1, 2\n");
    assert_text("foo", "foo", "2, 1", "foo:2, 1\n");
    assert_text("foo", "foo", "1 2", "foo:1 2\n");
    assert_text("foo", "foo", "A, a", "foo:A, a\n");
    assert_text("foo", "foo", "\"a,b\",c", "foo:\"a,b\", c\n");
    assert_text("foo", "foo", "\"a,b", "foo:\"a, b\n");
    assert_text("user-agent", "user-agent", "a,b,, c", "user-agent:a,b,, c\n");
    assert_text("cookie", "cookie", "a=1,2\nb=3", "cookie:a=1,2, b=3\n");
}

static void test_codings_are_alike_whatever_the_order_and_equal_weights(void **state)
{
    (void)state;
    static const struct {
        const char *value, *expected;
    } cases[] = {
        {"gzip, deflate, br", "br,deflate,gzip"},
        {"br, gzip, deflate", "br,deflate,gzip"},
        {"br\nGZIP;q=1.0\ndeflate; q=1", "br,deflate,gzip"},
        {"br;q=0.5, gzip;q=0.5, deflate;Q=0.500", "br,deflate,gzip"},
        {"gzip, gzip", "gzip"},
        {"gzip;q=1.0, br;q=0.5", "br;500,gzip"},
        {"br;q=0.501, gzip;q=0.09", "br;501,gzip;090"},
        /* An origin may look for the name alone: what is refused is not as if it were not there. */
        {"gzip, br;q=0", "br;000,gzip"},
        {"gzip;q=0", "gzip;000"},
        {"", ""},
        {"gzip, identity;q=0", "gzip,identity;000"},
        {"identity;q=0", "identity;000"},
        {"gzip;q=0, *", "*,gzip;000"},
        {"gzip, *;q=0", "*;000,gzip"},
        {"*", "*"},
        /* What is no such list is as any other. */
        {"gzip;q=2 ,br", "gzip;q=2, br"},
        {"gzip;q=0.1234 ,br", "gzip;q=0.1234, br"},
        {"gzip;q=x ,br", "gzip;q=x, br"},
        {"gzip;level=1 ,br", "gzip;level=1, br"},
        {"gzip br ,x", "gzip br, x"},
        {"gzip;q=1.001 ,br", "gzip;q=1.001, br"},
        {"gzip;q=0.1,gzip;q=0.2", "gzip;q=0.1, gzip;q=0.2"},
        {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,0,1,2,3,4,5,6",
         "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, 0, 1, 2, 3, 4, 5, 6"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "accept-encoding:%s\n", cases[i].expected);
        assert_text("accept-encoding", "accept-encoding", cases[i].value, expected);
    }
}

/* The suite's vary-normalise-lang-*. */
static void test_languages_are_alike_whatever_the_order_case_and_space(void **state)
{
    (void)state;
    static const char *const alike[] = {"en, de", "de, en", "eN, De", " en ,   de", "de;q=0.8,en;q=0.8"};
    for (size_t i = 0; i < COUNT_OF(alike); i++)
        assert_text("accept-language", "accept-language", alike[i], "accept-language:de,en\n");
    assert_text("accept-language", "accept-language", "fr;q=0.5, de;q=1.0", "accept-language:de,fr;500\n");
    assert_text("accept-language", "accept-language", "fr, de;q=0", "accept-language:de;000,fr\n");
}

static void test_a_text_has_a_bound(void **state)
{
    (void)state;
    static char value[CACHE_VARY_TEXT_MAX + 1];
    struct slice line = {value, 0}, got;
    struct one_field f = {S("foo"), {&line, 1}};
    memset(value, 'x', sizeof value);
    line.len = CACHE_VARY_TEXT_MAX - strlen("foo:\n");
    assert_int_equal(cache_vary_text(S("foo"), look_up, &f, &arena, &got), 0);
    assert_int_equal(got.len, CACHE_VARY_TEXT_MAX);
    line.len++;
    assert_int_equal(cache_vary_text(S("foo"), look_up, &f, &arena, &got), -1);
}

static void test_a_value_cannot_pass_for_another_fields_line(void **state)
{
    (void)state;
    struct slice line = SLICE("1\nfoo:2"), got;
    struct one_field f = {S("bar"), {&line, 1}};
    assert_int_equal(cache_vary_text(S("bar,foo"), look_up, &f, &arena, &got), -1);
}

static void test_out_of_memory_is_told(void **state)
{
    (void)state;
    struct arena none = {.limit = 1};
    struct cache_lines lines = lines_of("Foo", &kept);
    struct slice got;
    struct one_field f = {S("foo"), lines};
    assert_int_equal(cache_vary_names(&lines, &none, &got), -2);
    assert_int_equal(cache_vary_text(S("foo"), look_up, &f, &none, &got), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_are_lower_case_sorted_and_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_star_anywhere_is_a_star, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_are_no_names_or_too_many_cannot_be_used, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_field_that_is_not_there_is_told_from_an_empty_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_lists_are_alike_whatever_the_space_and_the_lines, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_codings_are_alike_whatever_the_order_and_equal_weights, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_languages_are_alike_whatever_the_order_case_and_space, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_text_has_a_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_value_cannot_pass_for_another_fields_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
