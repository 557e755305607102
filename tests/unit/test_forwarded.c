#include "proxy/http/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base.h"

static void assert_nodes(const char *value, const char *expected)
{
    struct slice nodes[16];
    char text[512] = "";
    size_t len = 0;
    assert_true(forwarded_bound(slice_text(value)) <= COUNT_OF(nodes));
    ssize_t count = forwarded_nodes(slice_text(value), nodes);
    if (count < 0)
        snprintf(text, sizeof text, "none");
    assert_true(count <= (ssize_t)forwarded_bound(slice_text(value)));
    for (ssize_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "<%.*s>", SLICE_FMT(nodes[i]));
    if (strcmp(text, expected) != 0)
        fail_msg("%s: %s, not %s", value, text, expected);
}

static void test_the_nodes_of_every_element_are_told_in_order(void **state)
{
    (void)state;
    assert_nodes("for=192.0.2.43", "<192.0.2.43>");
    assert_nodes("For=192.0.2.43;proto=http;by=203.0.113.43", "<192.0.2.43>");
    assert_nodes("proto=http ; FOR=\"[2001:db8:cafe::17]:4711\"", "<[2001:db8:cafe::17]:4711>");
    assert_nodes("for=192.0.2.43, for=198.51.100.17", "<192.0.2.43><198.51.100.17>");
    assert_nodes("for=_secret,\tfor=unknown", "<_secret><unknown>");
    assert_nodes("proto=https,for=\"a, for=b\"", "<><a, for=b>");
    assert_nodes("", "<>");
    assert_nodes(",for=a,", "<><a><>");
    assert_nodes("for=\"\"", "<>");
}

static void test_what_is_no_list_of_elements_is_told_as_that(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "for",        "for=",           "=a",          "for = a",   "for=a for=b",
        "for=\"a",    "for=\"a\\\"b\"", "for=a;for=b", "for=a=b",   "for=[::1]",
        "for=\"a\"b", "for=a:80",       "for=a;proto", "192.0.2.1", "for=a\"b\"",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_nodes(bad[i], "none");
}

static void assert_element(const char *address, const char *host, const char *expected)
{
    struct arena a;
    char first[1024];
    struct ip ip = {.is_unix = !address};
    arena_init(&a, first, sizeof first);
    if (address)
        assert_int_equal(ip_parse(slice_text(address), &ip), 0);
    struct slice got = forwarded_element(&a, &ip, slice_text(host), S("https"));
    char text[512];
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(got));
    assert_string_equal(text, expected);
    struct slice node;
    assert_int_equal(forwarded_bound(got), 1);
    assert_int_equal(forwarded_nodes(got, &node), 1);
    arena_reset(&a);
}

static void test_an_element_is_quoted_where_it_must_be(void **state)
{
    (void)state;
    assert_element("192.0.2.1", "a.example", "for=192.0.2.1;host=a.example;proto=https");
    assert_element("192.0.2.1", "a.example:80", "for=192.0.2.1;host=\"a.example:80\";proto=https");
    assert_element("2001:db8::1", "a.example", "for=\"[2001:db8::1]\";host=a.example;proto=https");
    assert_element("::1", "[::1]", "for=\"[::1]\";host=\"[::1]\";proto=https");
    assert_element(NULL, "a", "for=unknown;host=a;proto=https");
    assert_element("192.0.2.1", "", "for=192.0.2.1;proto=https");
    assert_element("192.0.2.1", "a\"b", "for=192.0.2.1;proto=https");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nodes_of_every_element_are_told_in_order),
        cmocka_unit_test(test_what_is_no_list_of_elements_is_told_as_that),
        cmocka_unit_test(test_an_element_is_quoted_where_it_must_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
