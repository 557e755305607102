/* Paths and hosts in one spelling, by table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base.h"
#include "proxy/http/target.h"

static const struct {
    const char *in;
    const char *out; /* NULL: refused with `fault` */
    int fault;
    bool same; /* the slice itself */
} paths[] = {
    {"/", "/", 0, true},
    {"", "", 0, true},
    {"*", "*", 0, true},
    {"/index.html", "/index.html", 0, true},
    {"/a.b/..c/d..", "/a.b/..c/d..", 0, true},
    {"/a...b/.../x", "/a...b/.../x", 0, true},
    {"/.well-known/x", "/.well-known/x", 0, true},
    {"/a%20b/%C3%A9", "/a%20b/%C3%A9", 0, true},
    {"/a%2Fb", "/a%2Fb", 0, true},
    {"/a%25b", "/a%25b", 0, true},
    {"//a", "//a", 0, true},
    {"/a//b/", "/a//b/", 0, true},
    {"/a;p=1/b", "/a;p=1/b", 0, true},
    {"/a\\..\\b", "/a\\..\\b", 0, true},
    {"/a%2fb", "/a%2Fb", 0, false},
    {"/%c3%a9", "/%C3%A9", 0, false},
    {"/%7Euser", "/~user", 0, false},
    {"/%41%2d%5F%2e%30", "/A-_.0", 0, false},
    {"/.", "/", 0, false},
    {"/./", "/", 0, false},
    {"/a/.", "/a/", 0, false},
    {"/a/./b", "/a/b", 0, false},
    {"/a/..", "/", 0, false},
    {"/a/../b", "/b", 0, false},
    {"/a/b/..", "/a/", 0, false},
    {"/a/b/../", "/a/", 0, false},
    {"/a/b/../../c", "/c", 0, false},
    {"/a//../b", "/a/b", 0, false},
    {"//..", "/", 0, false},
    {"/a/%2e%2E/b", "/b", 0, false},
    {"/a/.%2e/b", "/b", 0, false},
    {"/a/%2e/b", "/a/b", 0, false},
    {"/a/..%2fb", "/a/..%2Fb", 0, false},
    {"/1234567890/1234567890/1234567890/..", "/1234567890/1234567890/", 0, false},
    {"/1234567890/1234567890/1234567890/.x", "/1234567890/1234567890/1234567890/.x", 0, true},
    {"/%252e%252e/", "/%252e%252e/", 0, true},
    {"/..", NULL, TARGET_ABOVE_ROOT, false},
    {"/../x", NULL, TARGET_ABOVE_ROOT, false},
    {"/a/../../x", NULL, TARGET_ABOVE_ROOT, false},
    {"/%2e%2e/x", NULL, TARGET_ABOVE_ROOT, false},
    {"/./..", NULL, TARGET_ABOVE_ROOT, false},
    {"/%", NULL, TARGET_BAD_ESCAPE, false},
    {"/%4", NULL, TARGET_BAD_ESCAPE, false},
    {"/%4g", NULL, TARGET_BAD_ESCAPE, false},
    {"/%g4", NULL, TARGET_BAD_ESCAPE, false},
    {"/%uff0e", NULL, TARGET_BAD_ESCAPE, false},
    {"/%00", NULL, TARGET_BAD_ESCAPE, false},
    {"/a%00.png", NULL, TARGET_BAD_ESCAPE, false},
    {"/123456789012345%", NULL, TARGET_BAD_ESCAPE, false},
    {"/a%2", NULL, TARGET_BAD_ESCAPE, false},
    {"a", NULL, TARGET_NO_SLASH, false},
    {"..", NULL, TARGET_NO_SLASH, false},
};

static void test_a_path_has_one_spelling(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        struct arena arena;
        arena_init(&arena, NULL, 0);
        /* At the very end of its memory, so that a read past it is seen. */
        size_t len = strlen(paths[i].in);
        char *copy = malloc(len ? len : 1);
        memcpy(copy, paths[i].in, len);
        struct slice out = {0};
        int rc = target_normalise(&arena, slice_of(copy, len), &out);
        if (rc != paths[i].fault)
            fail_msg("%s: %d", paths[i].in, rc);
        if (paths[i].out && !slice_equal(out, slice_text(paths[i].out)))
            fail_msg("%s became %.*s", paths[i].in, SLICE_FMT(out));
        if (paths[i].out)
            assert_true((out.at == copy) == paths[i].same);
        free(copy);
        arena_reset(&arena);
    }
}

static void test_what_is_normal_stays_so(void **state)
{
    (void)state;
    static const char alphabet[] = "/..%%2eEfF0aA4~";
    struct arena arena;
    arena_init(&arena, NULL, 0);
    unsigned seed = 7, normal = 0;
    for (int round = 0; round < 200000; round++) {
        char text[24] = "/";
        size_t len = 1 + (size_t)rand_r(&seed) % 22;
        for (size_t i = 1; i < len; i++)
            text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)];
        struct slice once, twice;
        if (target_normalise(&arena, slice_of(text, len), &once))
            continue;
        normal++;
        assert_int_equal(target_normalise(&arena, once, &twice), 0);
        assert_ptr_equal(once.at, twice.at);
        assert_int_equal(once.len, twice.len);
        assert_null(memmem(once.at, once.len, "/./", 3));
        assert_null(memmem(once.at, once.len, "/../", 4));
        if (round % 1000 == 0)
            arena_reset(&arena);
    }
    assert_true(normal > 10000);
    arena_reset(&arena);
}

static void test_a_path_in_a_file_may_be_written_as_people_do(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct slice out;
    assert_int_equal(target_from_text(&arena, S("/caf\xc3\xa9/a b?\"%7e/../x"), &out), 0);
    assert_true(slice_equal(out, S("/caf%C3%A9/x")));
    arena_reset(&arena);
}

static void test_a_host_is_compared_without_case_port_and_trailing_dot(void **state)
{
    (void)state;
    static const char *const hosts[][3] = {
        {"example.com", "example.com", ""},
        {"Example.COM", "example.com", ""},
        {"example.com:8080", "example.com", "8080"},
        {"Example.com.:80", "example.com", "80"},
        {"example.com.", "example.com", ""},
        {"[::1]", "[::1]", ""},
        {"[2001:DB8::1]:443", "[2001:db8::1]", "443"},
        {"", "", ""},
        {"example.com:", "example.com", ""},
        {"[::1", "[::1", ""},
    };
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct slice host = slice_text(hosts[i][0]), out = host_normalise(&arena, host);
        assert_true(slice_equal(out, slice_text(hosts[i][1])));
        assert_true(slice_equal(host_port(host), slice_text(hosts[i][2])));
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_has_one_spelling),
        cmocka_unit_test(test_what_is_normal_stays_so),
        cmocka_unit_test(test_a_path_in_a_file_may_be_written_as_people_do),
        cmocka_unit_test(test_a_host_is_compared_without_case_port_and_trailing_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
