#include "tls/client_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "core/base.h"

struct bytes {
    unsigned char at[40000];
    size_t len;
};

static void put(struct bytes *b, struct slice s)
{
    memcpy(b->at + b->len, s.at, s.len);
    b->len += s.len;
}

static void put16(struct bytes *b, size_t n)
{
    b->at[b->len++] = (unsigned char)(n >> 8);
    b->at[b->len++] = (unsigned char)n;
}

/* A handshake message whose extensions are as given; NULL = it has none at all. */
static struct bytes hello_of(struct slice extensions)
{
    struct bytes b = {.len = 4};
    put(&b, S("\x03\x03"
              "0123456789abcdef0123456789abcdef"
              "\x02ss\x00\x04\x13\x01\xaa\xaa\x01\x00"));
    if (extensions.at) {
        put16(&b, extensions.len);
        put(&b, extensions);
    }
    b.at[0] = 1;
    b.at[1] = (unsigned char)((b.len - 4) >> 16);
    b.at[2] = (unsigned char)((b.len - 4) >> 8);
    b.at[3] = (unsigned char)(b.len - 4);
    return b;
}

static struct bytes in_records(const struct bytes *message, size_t size)
{
    struct bytes b = {.len = 0};
    for (size_t at = 0; at < message->len; at += size) {
        size_t n = message->len - at < size ? message->len - at : size;
        put(&b, S("\x16\x03\x01"));
        put16(&b, n);
        put(&b, slice_of((const char *)message->at + at, n));
    }
    return b;
}

static struct slice slice_of_bytes(const struct bytes *b)
{
    return slice_of((const char *)b->at, b->len);
}

/* Every prefix must say "more" until the verdict. */
static void assert_verdict(struct slice in, enum client_hello expected, const char *expected_name)
{
    char room[CLIENT_HELLO_NAME_MAX], name_text[CLIENT_HELLO_NAME_MAX + 1];
    struct slice name;
    enum client_hello verdict = CLIENT_HELLO_MORE;
    for (size_t cut = 0; cut <= in.len && verdict == CLIENT_HELLO_MORE; cut++) {
        char *copy = malloc(cut ? cut : 1);
        memcpy(copy, in.at, cut);
        verdict = client_hello_parse(slice_of(copy, cut), room, &name);
        free(copy);
    }
    assert_int_equal(verdict, expected);
    snprintf(name_text, sizeof name_text, "%.*s", SLICE_FMT(name));
    assert_string_equal(name_text, expected_name);
}

static void assert_extensions(struct slice extensions, enum client_hello expected, const char *name)
{
    static const size_t sizes[] = {40000, 100, 7, 1};
    struct bytes message = hello_of(extensions);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct bytes wire = in_records(&message, sizes[i]);
        assert_verdict(slice_of_bytes(&wire), expected, name);
    }
}

#define GREASE "\x0a\x0a\x00\x00"

static void test_the_name_is_read_from_any_records(void **state)
{
    (void)state;
    assert_extensions(S("\0\0\0\x0e\0\x0c\0\0\x09"
                        "a.example"),
                      CLIENT_HELLO_NAMED, "a.example");
    assert_extensions(S(GREASE "\0\x10\0\x02xx\0\0\0\x0e\0\x0c\0\0\x09"
                               "a.example\xda\xda\0\x01z"),
                      CLIENT_HELLO_NAMED, "a.example");
    assert_extensions(S("\0\0\0\x0f\0\x0d\0\0\x0a"
                        "A.Example."),
                      CLIENT_HELLO_NAMED, "a.example");
    assert_extensions(S("\0\0\0\x12\0\x10\x07\0\x01x\0\0\x09"
                        "a.example"),
                      CLIENT_HELLO_NAMED, "a.example");
}

static void test_a_hello_without_a_name_is_told_as_that(void **state)
{
    (void)state;
    assert_extensions(slice_of(NULL, 0), CLIENT_HELLO_NAMELESS, "");
    assert_extensions(S(""), CLIENT_HELLO_NAMELESS, "");
    assert_extensions(S(GREASE "\0\x10\0\x02xx"), CLIENT_HELLO_NAMELESS, "");
    assert_extensions(S("\0\0\0\x06\0\x04\x07\0\x01x"), CLIENT_HELLO_NAMELESS, "");
}

static void test_lengths_and_names_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct slice bad[] = {
        SLICE("\0\0\0\x0e\0\x0d\0\0\x09"
              "a.example"),
        SLICE("\0\0\0\x0e\0\x0b\0\0\x09"
              "a.example"),
        SLICE("\0\0\0\x0e\0\x0c\0\0\x0a"
              "a.example"),
        SLICE("\0\0\0\x0f\0\x0c\0\0\x09"
              "a.example"),
        SLICE("\0\0\0\x05\0\x03\0\0\x00"),
        SLICE("\0\0\0\x06\0\x04\0\0\x01."),
        SLICE("\0\0\0\x08\0\x06\0\0\x03"
              "a\0b"),
        SLICE("\0\0\0\x08\0\x06\0\0\x03"
              "a b"),
        SLICE("\0\0\0\x0a\0\x08\0\0\x01"
              "a\0\0\x01"
              "b"),
        SLICE("\0\0\0\x06\0\x04\0\0\x01"
              "a\0\0\0\x06\0\x04\0\0\x01"
              "b"),
        SLICE("\0\0\0"),
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_extensions(bad[i], CLIENT_HELLO_BROKEN, "");
}

static void test_what_is_not_tls_is_told_by_its_first_bytes(void **state)
{
    (void)state;
    assert_verdict(S("G"), CLIENT_HELLO_NOT_TLS, "");
    assert_verdict(S("SSH-2.0-x\r\n"), CLIENT_HELLO_NOT_TLS, "");
    assert_verdict(S("\x16\x02"), CLIENT_HELLO_NOT_TLS, "");
    assert_verdict(S("\x16\x03\x01\0\x04\x02\0\0\0"), CLIENT_HELLO_NOT_TLS, "");
    assert_verdict(S("\x15\x03\x01\0\x02\x02\x28"), CLIENT_HELLO_NOT_TLS, "");
}

static void test_records_that_cannot_be_are_refused(void **state)
{
    (void)state;
    assert_verdict(S("\x16\x03\x01\0\0\x01"), CLIENT_HELLO_BROKEN, "");
    assert_verdict(S("\x16\x03\x01\x40\x01\x01"), CLIENT_HELLO_BROKEN, "");
    assert_verdict(S("\x16\x03\x01\0\x01\x01\x17\x03\x01\0\x01"), CLIENT_HELLO_BROKEN, "");
    assert_verdict(S("\x16\x03\x01\x40\0\x01\0\x40\0"), CLIENT_HELLO_BROKEN, "");
    assert_verdict(S("\x16\x03\x01\0\x04\x01\0\0\0"), CLIENT_HELLO_BROKEN, "");
}

static void test_a_hello_has_at_most_16_KiB_on_the_wire(void **state)
{
    (void)state;
    char room[CLIENT_HELLO_NAME_MAX];
    struct slice name;
    static char extension[20000];
    for (size_t size = 15000; size <= 16400; size += 100) {
        memcpy(extension, "\0\x15", 2);
        extension[2] = (char)((size - 4) >> 8);
        extension[3] = (char)(size - 4);
        struct bytes message = hello_of(slice_of(extension, size));
        struct bytes wire = in_records(&message, 8000);
        enum client_hello verdict = client_hello_parse(slice_of_bytes(&wire), room, &name);
        assert_int_equal(verdict, wire.len <= CLIENT_HELLO_MAX ? CLIENT_HELLO_NAMELESS : CLIENT_HELLO_BROKEN);
    }
}

/* What a real client sends. */
static void test_openssl_s_hello_is_understood(void **state)
{
    (void)state;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem());
    char *wire;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_tlsext_host_name(ssl, "One.Example");
    assert_int_equal(SSL_connect(ssl), -1);
    long len = BIO_get_mem_data(out, &wire);
    assert_verdict(slice_of(wire, (size_t)len), CLIENT_HELLO_NAMED, "one.example");
    SSL_free(ssl);
    SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_name_is_read_from_any_records),
        cmocka_unit_test(test_a_hello_without_a_name_is_told_as_that),
        cmocka_unit_test(test_lengths_and_names_that_cannot_be_are_refused),
        cmocka_unit_test(test_what_is_not_tls_is_told_by_its_first_bytes),
        cmocka_unit_test(test_records_that_cannot_be_are_refused),
        cmocka_unit_test(test_a_hello_has_at_most_16_KiB_on_the_wire),
        cmocka_unit_test(test_openssl_s_hello_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
