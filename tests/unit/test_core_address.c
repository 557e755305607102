/* Socket addresses and networks, by table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/address.h"
#include "core/base.h"

/* Input, how it is printed (the same when NULL), port. */
static void test_addresses_are_read_and_printed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed;
        int family;
        uint16_t port;
    } table[] = {
        {"127.0.0.1:80", NULL, AF_INET, 80},
        {"0.0.0.0:0", NULL, AF_INET, 0},
        {"255.255.255.255:65535", NULL, AF_INET, 65535},
        {"10.0.0.1:00080", "10.0.0.1:80", AF_INET, 80},
        {"*:8080", "0.0.0.0:8080", AF_INET, 8080},
        {":8080", "[::]:8080", AF_INET6, 8080},
        {"[::1]:443", NULL, AF_INET6, 443},
        {"[2001:DB8::1]:1", "[2001:db8::1]:1", AF_INET6, 1},
        {"[::ffff:10.0.0.1]:1", NULL, AF_INET6, 1},
        {"[fe80::1%7777]:1", NULL, AF_INET6, 1},
        {"unix:/run/app.sock", NULL, AF_UNIX, 0},
        {"unix:relative", NULL, AF_UNIX, 0},
        {"unix:@abstract", NULL, AF_UNIX, 0},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct address a = {0}, again = {0};
        struct slice host;
        uint16_t port = 0;
        const char *why;
        char text[ADDRESS_TEXT_MAX];
        print_message("%s\n", table[i].text);
        assert_int_equal(address_parse(slice_text(table[i].text), &a, &host, &port, &why), ADDRESS_SOCKET);
        assert_int_equal(a.any.sa_family, table[i].family);
        assert_int_equal(address_port(&a), table[i].port);
        size_t len = address_print(&a, text, sizeof text);
        assert_string_equal(text, table[i].printed ? table[i].printed : table[i].text);
        assert_int_equal(len, strlen(text));
        assert_int_equal(address_parse(slice_text(text), &again, &host, &port, &why), ADDRESS_SOCKET);
        assert_true(address_equal(&a, &again));
    }
}

static void test_an_interface_can_be_named(void **state)
{
    (void)state;
    struct address a = {0};
    struct slice host;
    uint16_t port;
    const char *why;
    assert_int_equal(address_parse(S("[fe80::1%lo]:1"), &a, &host, &port, &why), ADDRESS_SOCKET);
    assert_int_equal(a.v6.sin6_scope_id, 1);
}

static void test_names_are_left_to_be_resolved(void **state)
{
    (void)state;
    static const char *const table[] = {"localhost",     "name.example",  "a_b.example",
                                        "1and1.example", "name.example.", "0x7f.1a"};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct address a;
        struct slice host;
        uint16_t port;
        const char *why;
        char text[300];
        snprintf(text, sizeof text, "%s:81", table[i]);
        print_message("%s\n", text);
        assert_int_equal(address_parse(slice_text(text), &a, &host, &port, &why), ADDRESS_NAME);
        assert_true(slice_equal(host, slice_text(table[i])));
        assert_int_equal(port, 81);
    }
}

static void test_what_is_no_address_is_refused_and_nothing_is_touched(void **state)
{
    (void)state;
    static const struct slice table[] = {
        SLICE(""),
        SLICE("80"),
        SLICE("127.0.0.1"),
        SLICE("127.0.0.1:"),
        SLICE("127.0.0.1:65536"),
        SLICE("127.0.0.1:000080"),
        SLICE("127.0.0.1:+80"),
        SLICE("127.0.0.1:-1"),
        SLICE("127.0.0.1:8x"),
        SLICE("127.0.0.256:80"),
        SLICE("127.0.0:80"),
        SLICE("1.2.3.4.5:80"),
        SLICE("127.0.0.1 :80"),
        SLICE("127.0.0.1\0:80"),
        SLICE("::1:80"),
        SLICE("[::1:80"),
        SLICE("[]:80"),
        SLICE("[:80"),
        SLICE("[127.0.0.1]:80"),
        SLICE("[::1\0]:80"),
        SLICE("[fe80::1%]:80"),
        SLICE("[fe80::1%nosuchinterface0]:80"),
        SLICE("[fe80::1%0]:80"),
        SLICE("[fe80::1%4294967297]:80"),
        SLICE("[fe80::1%9%9]:80"),
        SLICE("a..b:80"),
        SLICE(".a:80"),
        SLICE("a b:80"),
        SLICE("a/b:80"),
        SLICE("user@host:80"),
        SLICE("http://host:80"),
        SLICE("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.example:80"),
        SLICE("unix:"),
        SLICE("unix:@"),
        SLICE("unix:/run/a\0b"),
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct address a, before;
        struct slice host = S("untouched");
        uint16_t port = 7;
        const char *why = NULL;
        memset(&a, 0x5a, sizeof a);
        before = a;
        print_message("%.*s\n", SLICE_FMT(table[i]));
        assert_int_equal(address_parse(table[i], &a, &host, &port, &why), ADDRESS_BAD);
        assert_non_null(why);
        assert_memory_equal(&a, &before, sizeof a);
        assert_int_equal(port, 7);
        assert_true(slice_equal(host, S("untouched")));
    }
}

static void test_a_unix_path_has_at_most_107_bytes(void **state)
{
    (void)state;
    struct address a;
    struct slice host;
    uint16_t port;
    const char *why;
    char text[200] = "unix:/", out[ADDRESS_TEXT_MAX];
    memset(text + 6, 'p', 106);
    assert_int_equal(address_parse(slice_text(text), &a, &host, &port, &why), ADDRESS_SOCKET);
    assert_int_equal(address_print(&a, out, sizeof out), 112);
    assert_string_equal(out, text);
    text[112] = 'p';
    assert_int_equal(address_parse(slice_text(text), &a, &host, &port, &why), ADDRESS_BAD);
}

static void test_printing_is_cut_to_the_room(void **state)
{
    (void)state;
    struct address a = {.len = sizeof a.v4}, none = {0};
    char out[8] = "zzzzzzz";
    a.v4.sin_family = AF_INET;
    assert_int_equal(address_print(&a, out, sizeof out), 7);
    assert_string_equal(out, "0.0.0.0");
    assert_int_equal(address_print(&a, out, 0), 0);
    assert_int_equal(address_print(&none, out, sizeof out), 0);
    assert_string_equal(out, "");
    assert_int_equal(ip_print(&(struct ip){.is_unix = true}, out, sizeof out), 0);
}

static void test_addresses_differ_by_port_and_family(void **state)
{
    (void)state;
    struct address a, b;
    struct slice host;
    uint16_t port;
    const char *why;
    address_parse(S("10.0.0.1:80"), &a, &host, &port, &why);
    b = a;
    assert_true(address_equal(&a, &b));
    address_set_port(&b, 81);
    assert_int_equal(address_port(&b), 81);
    assert_false(address_equal(&a, &b));
    address_parse(S("[::ffff:10.0.0.1]:80"), &b, &host, &port, &why);
    assert_false(address_equal(&a, &b));
}

static void test_peers_of_both_families_are_one_ip(void **state)
{
    (void)state;
    struct address v4, mapped, local;
    struct slice host;
    uint16_t port;
    const char *why;
    char text[64];
    address_parse(S("10.1.2.3:80"), &v4, &host, &port, &why);
    address_parse(S("[::ffff:10.1.2.3]:80"), &mapped, &host, &port, &why);
    address_parse(S("unix:/a"), &local, &host, &port, &why);
    struct ip a = ip_of_address(&v4), b = ip_of_address(&mapped), c = ip_of_address(&local);
    assert_memory_equal(a.bytes, b.bytes, 16);
    assert_int_equal(a.port, 80);
    assert_true(ip_is_v4(&a));
    assert_true(c.is_unix);
    ip_print(&b, text, sizeof text);
    assert_string_equal(text, "10.1.2.3");
    ip_print(&c, text, sizeof text);
    assert_string_equal(text, "unix:");
}

static void test_bare_ips_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed;
    } table[] = {
        {"10.0.0.1", "10.0.0.1"},
        {"::1", "::1"},
        {"[::1]", "::1"},
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"10.0.0", NULL},
        {"10.0.0.1:80", NULL},
        {"[10.0.0.1]", NULL},
        {"", NULL},
        {"[]", NULL},
        {"::1%lo", NULL},
        {"fe80::1%1", NULL},
        {"[::1", NULL},
        {"unknown", NULL},
        {" 10.0.0.1", NULL},
        {"010.0.0.1", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct ip ip;
        char text[64];
        print_message("%s\n", table[i].text);
        assert_int_equal(ip_parse(slice_text(table[i].text), &ip), table[i].printed ? 0 : -1);
        if (table[i].printed) {
            ip_print(&ip, text, sizeof text);
            assert_string_equal(text, table[i].printed);
        }
    }
    struct ip ip;
    assert_int_equal(ip_parse(S("10.0.0.1\0"), &ip), -1);
}

static void test_networks_hold_their_addresses_alone(void **state)
{
    (void)state;
    static const struct {
        const char *network, *ip;
        bool inside;
    } table[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.2", false},
        {"10.0.0.1/32", "10.0.0.1", true},
        {"192.168.4.0/22", "192.168.7.255", true},
        {"192.168.4.0/22", "192.168.8.0", false},
        {"128.0.0.0/1", "200.0.0.1", true},
        {"128.0.0.0/1", "100.0.0.1", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "::ffff:203.0.113.9", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"::/64", "10.0.0.1", false},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"::ffff:10.0.0.0/8", "10.9.9.9", true},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct cidr c;
        struct ip ip;
        print_message("%s %s\n", table[i].network, table[i].ip);
        assert_int_equal(cidr_parse(slice_text(table[i].network), &c), 0);
        assert_int_equal(ip_parse(slice_text(table[i].ip), &ip), 0);
        assert_int_equal(cidr_contains(&c, &ip), table[i].inside);
        ip.is_unix = true;
        assert_false(cidr_contains(&c, &ip));
    }
}

static void test_what_is_no_network_is_refused(void **state)
{
    (void)state;
    static const char *const table[] = {
        "",           "/",           "/8",           "10.0.0.0/",    "10.0.0.0/33",
        "10.0.0.1/8", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/ 8",  "::1/64",
        "::/129",     "10.0.0.0:80", "name/8",       "fe80::%lo/64", "10.0.0.0/99999999999999999999"};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct cidr c;
        print_message("%s\n", table[i]);
        assert_int_equal(cidr_parse(slice_text(table[i]), &c), -1);
    }
}

static void test_the_longest_prefix_of_a_set_is_told(void **state)
{
    (void)state;
    static const char *const networks[] = {"10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0"};
    struct cidr at[COUNT_OF(networks)];
    struct cidr_set set = {.at = at, .count = COUNT_OF(networks)};
    for (size_t i = 0; i < COUNT_OF(networks); i++)
        assert_int_equal(cidr_parse(slice_text(networks[i]), &at[i]), 0);
    static const struct {
        const char *ip;
        unsigned match;
    } table[] = {{"10.1.2.3", 96 + 16 + 1}, {"10.2.0.1", 96 + 8 + 1}, {"1.1.1.1", 96 + 1}, {"::1", 1}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct ip ip;
        assert_int_equal(ip_parse(slice_text(table[i].ip), &ip), 0);
        assert_int_equal(cidr_set_match(&set, &ip), table[i].match);
    }
    struct ip ip;
    ip_parse(S("1.1.1.1"), &ip);
    set.count = 2;
    assert_int_equal(cidr_set_match(&set, &ip), 0);
    set.count = 0;
    assert_int_equal(cidr_set_match(&set, &ip), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_read_and_printed),
        cmocka_unit_test(test_an_interface_can_be_named),
        cmocka_unit_test(test_names_are_left_to_be_resolved),
        cmocka_unit_test(test_what_is_no_address_is_refused_and_nothing_is_touched),
        cmocka_unit_test(test_a_unix_path_has_at_most_107_bytes),
        cmocka_unit_test(test_printing_is_cut_to_the_room),
        cmocka_unit_test(test_addresses_differ_by_port_and_family),
        cmocka_unit_test(test_peers_of_both_families_are_one_ip),
        cmocka_unit_test(test_bare_ips_are_read),
        cmocka_unit_test(test_networks_hold_their_addresses_alone),
        cmocka_unit_test(test_what_is_no_network_is_refused),
        cmocka_unit_test(test_the_longest_prefix_of_a_set_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
