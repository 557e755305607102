#include "core/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const char *describe(const struct proxy_header *h, char out[160])
{
    char source[64], destination[64];
    ip_print(&h->source, source, sizeof source);
    ip_print(&h->destination, destination, sizeof destination);
    if (h->local)
        snprintf(out, 160, "local");
    else
        snprintf(out, 160, "%s %u > %s %u", source, h->source.port, destination, h->destination.port);
    return out;
}

static void assert_header(struct slice in, size_t length, const char *expected)
{
    struct proxy_header h = {0};
    const char *why = "";
    char text[160];
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(proxy_header_parse(slice_of(in.at, cut), &h, &why), 0);
    ssize_t n = proxy_header_parse(in, &h, &why);
    if (n != (ssize_t)length)
        fail_msg("%zd (%s), not %zu", n, why, length);
    assert_string_equal(describe(&h, text), expected);
}

static void assert_refused(struct slice in, const char *reason)
{
    struct proxy_header h;
    const char *why = NULL;
    assert_int_equal(proxy_header_parse(in, &h, &why), -1);
    if (!strstr(why, reason))
        fail_msg("%s, not %s", why, reason);
}

static void test_a_line_is_read_and_what_follows_is_left(void **state)
{
    (void)state;
    struct slice v4 = S("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    assert_header(S("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n"), v4.len,
                  "192.0.2.1 56324 > 198.51.100.2 443");
    struct slice v6 = S("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n");
    assert_header(v6, v6.len, "2001:db8::1 0 > ::1 65535");
    struct slice unknown = S("PROXY UNKNOWN\r\n");
    assert_header(unknown, unknown.len, "local");
    struct slice more = S("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n");
    assert_header(more, more.len, "local");
}

static void test_a_line_with_a_fault_is_refused(void **state)
{
    (void)state;
    static const struct slice lines[] = {
        SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n"),
        SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n"),
        SLICE("PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n"),
        SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n"),
        SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n"),
        SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 +56 443\r\n"),
        SLICE("PROXY TCP4 192.0.2 198.51.100.2 56 443\r\n"),
        SLICE("PROXY TCP4 192.0.2.1\0 198.51.100.2 56 443\r\n"),
        SLICE("PROXY TCP4 2001:db8::1 ::1 1 2\r\n"),
        SLICE("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n"),
        SLICE("PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n"),
        SLICE("PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n"),
        SLICE("PROXY \r\n"),
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_refused(lines[i], "cannot be understood");
    assert_refused(S("PROXY UNKNOWN\n"), "CR LF");
    assert_refused(S("GET / HTTP/1.1\r\n"), "no PROXY header");
    assert_refused(S("proxy TCP4 "), "no PROXY header");
    assert_refused(S("\r\n\r\n\0\r\nQUIX"), "no PROXY header");
}

static void test_a_line_has_at_most_107_bytes(void **state)
{
    (void)state;
    char line[128];
    struct proxy_header h;
    const char *why;
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(proxy_header_parse(slice_of(line, 106), &h, &why), 0);
    assert_refused(slice_of(line, 107), "without an end");
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(proxy_header_parse(slice_of(line, 107), &h, &why), 107);
    memset(line + 105, 'x', 2);
    memcpy(line + 106, "\r\n", 2);
    assert_refused(slice_of(line, 108), "without an end");
}

static void test_binary_headers_are_read(void **state)
{
    (void)state;
    assert_header(S(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
                              "behind"),
                  28, "192.0.2.1 56324 > 198.51.100.2 443");
    assert_header(S(SIGNATURE "\x21\x21\x00\x24"
                              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                              "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50\x1f\x90"),
                  52, "2001:db8::1 80 > ::1 8080");
    assert_header(S(SIGNATURE "\x20\x00\x00\x00"), 16, "local");
    assert_header(S(SIGNATURE "\x20\x11\x00\x02\x00\x00"), 18, "local");
    assert_header(S(SIGNATURE "\x21\x00\x00\x03\xff\xff\xff"), 19, "local");
}

static void test_details_are_passed_over_but_must_fit(void **state)
{
    (void)state;
    assert_header(S(SIGNATURE "\x21\x11\x00\x15\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
                              "\x01\x00\x02h2\x04\x00\x01x"),
                  37, "192.0.2.1 56324 > 198.51.100.2 443");
    assert_refused(S(SIGNATURE "\x21\x11\x00\x11\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
                               "\x01\x00\x03h2"),
                   "shorter");
    assert_refused(S(SIGNATURE "\x21\x11\x00\x0d\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
                               "\x01"),
                   "shorter");
}

static void test_binary_headers_with_a_fault_are_refused(void **state)
{
    (void)state;
    assert_refused(S(SIGNATURE "\x11"), "unknown version");
    assert_refused(S(SIGNATURE "\x22\x11\x00\x00"), "not defined");
    assert_refused(S(SIGNATURE "\x21\x41\x00\x00"), "not defined");
    assert_refused(S(SIGNATURE "\x21\x13\x00\x00"), "not defined");
    assert_refused(S(SIGNATURE "\x21\x11\x00\x0b\0\0\0\0\0\0\0\0\0\0\0"), "shorter");
    assert_refused(S(SIGNATURE "\x21\x11\xff\xff"), "too long");
}

static struct ip address(const char *text, uint16_t port)
{
    struct ip ip = {0};
    assert_int_equal(ip_parse(slice_text(text), &ip), 0);
    ip.port = port;
    return ip;
}

static void test_what_is_written_reads_back(void **state)
{
    (void)state;
    static const struct {
        const char *source, *destination, *expected;
    } rows[] = {
        {"192.0.2.1", "198.51.100.2", "192.0.2.1 1 > 198.51.100.2 65535"},
        {"2001:db8::1", "::1", "2001:db8::1 1 > ::1 65535"},
        {"192.0.2.1", "::1", "192.0.2.1 1 > ::1 65535"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (int version = 1; version <= 2; version++) {
            struct proxy_header h = {.source = address(rows[i].source, 1),
                                     .destination = address(rows[i].destination, 65535)};
            char bytes[PROXY_HEADER_SENT_MAX];
            size_t len = proxy_header_write(&h, version, NULL, bytes);
            assert_header(slice_of(bytes, len), len, rows[i].expected);
        }
}

static void test_unix_sockets_and_own_connections_say_nothing(void **state)
{
    (void)state;
    struct proxy_header unix_header = {.source = {.is_unix = true}, .destination = address("::1", 1)};
    struct proxy_header local = {.local = true};
    char bytes[PROXY_HEADER_SENT_MAX];
    for (int version = 1; version <= 2; version++) {
        size_t len = proxy_header_write(&unix_header, version, NULL, bytes);
        assert_header(slice_of(bytes, len), len, "local");
        len = proxy_header_write(&local, version, NULL, bytes);
        assert_header(slice_of(bytes, len), len, "local");
    }
    assert_int_equal(bytes[12], 0x20);
}

static void test_details_are_written_as_specified(void **state)
{
    (void)state;
    struct proxy_header h = {.source = address("192.0.2.1", 1), .destination = address("192.0.2.2", 2)};
    struct proxy_details d = {.alpn = S("h2"),
                              .authority = S("a.example"),
                              .tls_version = S("TLSv1.3"),
                              .tls_client_cn = S("bob"),
                              .tls_client_shown = true};
    char bytes[PROXY_HEADER_SENT_MAX];
    size_t len = proxy_header_write(&h, 2, &d, bytes);
    struct slice expected = S("\x01\x00\x02h2\x02\x00\x09"
                              "a.example\x20\x00\x15\x07\0\0\0\0\x21\x00\x07TLSv1.3\x22\x00\x03"
                              "bob");
    assert_int_equal(len, 28 + expected.len);
    assert_memory_equal(bytes + 28, expected.at, expected.len);
    assert_int_equal((unsigned char)bytes[15], 12 + expected.len);

    d = (struct proxy_details){.tls_version = S("TLSv1.2")};
    len = proxy_header_write(&h, 2, &d, bytes);
    expected = S("\x20\x00\x0f\x01\0\0\0\x01\x21\x00\x07TLSv1.2");
    assert_int_equal(len, 28 + expected.len);
    assert_memory_equal(bytes + 28, expected.at, expected.len);
}

static void test_a_detail_without_room_is_left_out(void **state)
{
    (void)state;
    char name[2000];
    memset(name, 'n', sizeof name);
    struct proxy_header h = {.source = address("192.0.2.1", 1), .destination = address("192.0.2.2", 2)};
    for (size_t size = 900; size < sizeof name; size++) {
        struct proxy_details d = {.authority = slice_of(name, size),
                                  .tls_version = S("TLSv1.3"),
                                  .tls_client_cn = slice_of(name, size / 3)};
        char *bytes = malloc(PROXY_HEADER_SENT_MAX);
        struct proxy_header again;
        const char *why;
        size_t len = proxy_header_write(&h, 2, &d, bytes);
        assert_true(len <= PROXY_HEADER_SENT_MAX);
        assert_int_equal(proxy_header_parse(slice_of(bytes, len), &again, &why), len);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_read_and_what_follows_is_left),
        cmocka_unit_test(test_a_line_with_a_fault_is_refused),
        cmocka_unit_test(test_a_line_has_at_most_107_bytes),
        cmocka_unit_test(test_binary_headers_are_read),
        cmocka_unit_test(test_details_are_passed_over_but_must_fit),
        cmocka_unit_test(test_binary_headers_with_a_fault_are_refused),
        cmocka_unit_test(test_what_is_written_reads_back),
        cmocka_unit_test(test_unix_sockets_and_own_connections_say_nothing),
        cmocka_unit_test(test_details_are_written_as_specified),
        cmocka_unit_test(test_a_detail_without_room_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
