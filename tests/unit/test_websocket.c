#include "proxy/http/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bytes {
    char at[200000];
    size_t len;
};

static struct bytes *bytes_new(void)
{
    struct bytes *b = calloc(1, sizeof *b);
    assert_non_null(b);
    return b;
}

/* A frame with `length` bytes of payload, and with as long a length field as is due. */
static void put_frame(struct bytes *b, uint8_t first, bool masked, size_t length)
{
    uint8_t mask = masked ? 0x80 : 0;
    b->at[b->len++] = (char)first;
    if (length <= 125) {
        b->at[b->len++] = (char)(mask | length);
    } else if (length <= 0xffff) {
        b->at[b->len++] = (char)(mask | 126);
        b->at[b->len++] = (char)(length >> 8);
        b->at[b->len++] = (char)length;
    } else {
        b->at[b->len++] = (char)(mask | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            b->at[b->len++] = (char)(length >> shift);
    }
    memset(b->at + b->len, 0x88, length + (masked ? 4 : 0)); /* what looks like a Close, and is none */
    b->len += length + (masked ? 4 : 0);
}

static size_t scan_all(struct websocket_frames *f, struct slice in)
{
    size_t frames = 0;
    while (in.len) {
        size_t n = websocket_next(f, in);
        assert_true(n > 0 && n <= in.len);
        in = slice_skip(in, n);
        frames += websocket_is_between(f);
    }
    return frames;
}

static struct bytes *a_conversation(bool masked)
{
    struct bytes *b = bytes_new();
    put_frame(b, 0x81, masked, 5);
    put_frame(b, 0x82, masked, 0);
    put_frame(b, 0x01, masked, 125); /* fragments, with a ping between them */
    put_frame(b, 0x89, masked, 125);
    put_frame(b, 0x00, masked, 126);
    put_frame(b, 0x80, masked, 300);
    put_frame(b, 0xc1, masked, 1); /* RSV1: compressed (RFC 7692) */
    put_frame(b, 0x82, masked, 65535);
    put_frame(b, 0x82, masked, 65536);
    put_frame(b, 0x8a, masked, 0);
    return b;
}

#define CONVERSATION_FRAMES 10

static void test_every_end_of_a_frame_is_found(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct bytes *b = a_conversation(masked);
        struct websocket_frames f = {.masked = masked};
        assert_int_equal(scan_all(&f, slice_of(b->at, b->len)), CONVERSATION_FRAMES);
        assert_true(websocket_is_between(&f));
        assert_false(f.closed);
        free(b);
    }
}

static void test_a_split_at_any_byte_changes_nothing(void **state)
{
    (void)state;
    struct bytes *b = a_conversation(true);
    for (size_t cut = 1; cut < b->len; cut += cut < 1200 || b->len - cut < 20 ? 1 : 997) {
        struct websocket_frames f = {.masked = true};
        size_t frames = scan_all(&f, slice_of(b->at, cut));
        frames += scan_all(&f, slice_of(b->at + cut, b->len - cut));
        /* A cut at the very end of a frame counts that frame once. */
        assert_int_equal(frames, CONVERSATION_FRAMES);
        assert_true(websocket_is_between(&f));
    }
    free(b);
}

static void test_one_byte_at_a_time_is_as_good(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct bytes *b = a_conversation(masked);
        put_frame(b, 0x88, masked, 2);
        struct websocket_frames f = {.masked = masked};
        size_t frames = 0;
        for (size_t i = 0; i < b->len; i++) {
            assert_false(f.closed);
            frames += scan_all(&f, slice_of(b->at + i, 1));
        }
        assert_int_equal(frames, CONVERSATION_FRAMES + 1);
        assert_true(f.closed && !f.lost);
        free(b);
    }
}

static void test_a_frame_under_way_is_not_an_end(void **state)
{
    (void)state;
    static const char frame[] = "\x81\x05hello";
    for (size_t n = 1; n < sizeof frame - 1; n++) {
        struct websocket_frames f = {0};
        assert_int_equal(websocket_next(&f, slice_of(frame, n)), n);
        assert_false(websocket_is_between(&f));
    }
}

static void test_a_frame_ends_where_it_ends(void **state)
{
    (void)state;
    struct websocket_frames f = {0};
    assert_int_equal(websocket_next(&f, S("\x81\x02hi\x81\x02ho")), 4);
    assert_true(websocket_is_between(&f));
}

static void test_what_is_no_frame_is_not_followed(void **state)
{
    (void)state;
    static const struct {
        bool masked;
        struct slice bytes;
        const char *why;
    } table[] = {
        {false, SLICE("GET / HTTP/1.1\r\n"), "text"},
        {false, SLICE("\x83\x00"), "an opcode that nobody has"},
        {false, SLICE("\x8b\x00"), "a control opcode that nobody has"},
        {false, SLICE("\x81\x80\0\0\0\0"), "a server masks"},
        {true, SLICE("\x81\x00"), "a client does not"},
        {false, SLICE("\x09\x00"), "a fragment of a ping"},
        {false, SLICE("\x89\x7e\x00\x80"), "a long ping"},
        {false, SLICE("\x82\x7e\x00\x7d"), "two bytes for a length of one"},
        {false, SLICE("\x82\x7f\0\0\0\0\0\0\xff\xff"), "eight bytes for a length of two"},
        {false, SLICE("\x82\x7f\x80\0\0\0\0\0\0\0"), "a length past 63 bits"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct websocket_frames f = {.masked = table[i].masked};
        struct slice in = table[i].bytes;
        while (in.len)
            in = slice_skip(in, websocket_next(&f, in));
        if (!f.lost || websocket_is_between(&f))
            fail_msg("%s: was followed", table[i].why);
        assert_int_equal(websocket_next(&f, S("\x88\x00")), 2);
        assert_false(f.closed);
    }
}

static void test_the_longest_lengths_are_taken(void **state)
{
    (void)state;
    struct websocket_frames f = {0};
    assert_int_equal(websocket_next(&f, S("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff.")), 11);
    assert_false(f.lost);
    assert_true(f.left == INT64_MAX - 1);
}

static void test_a_close_is_one_that_a_reader_takes(void **state)
{
    (void)state;
    char out[WEBSOCKET_CLOSE_MAX];
    assert_int_equal(websocket_close(1001, false, 0, out), 4);
    assert_memory_equal(out, "\x88\x02\x03\xe9", 4);
    assert_int_equal(websocket_close(1001, true, 0x01020304, out), 8);
    assert_memory_equal(out, "\x88\x82", 2);
    assert_int_equal((out[6] ^ out[2]) & 0xff, 0x03);
    assert_int_equal((out[7] ^ out[3]) & 0xff, 0xe9);
    struct websocket_frames f = {.masked = true};
    assert_int_equal(websocket_next(&f, slice_of(out, 8)), 8);
    assert_true(f.closed && websocket_is_between(&f));
}

/* The example of RFC 6455 §1.3. */
static void test_the_accept_of_a_key(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, NULL, 0);
    struct slice accept = websocket_accept(&a, S("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_true(slice_equal(accept, S("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    arena_reset(&a);
}

static void test_keys_are_24_characters_and_differ(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, NULL, 0);
    struct slice one = websocket_key(&a), other = websocket_key(&a);
    assert_int_equal(one.len, 24);
    assert_true(slice_ends(one, S("==")));
    assert_false(slice_equal(one, other));
    arena_reset(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_end_of_a_frame_is_found),
        cmocka_unit_test(test_a_split_at_any_byte_changes_nothing),
        cmocka_unit_test(test_one_byte_at_a_time_is_as_good),
        cmocka_unit_test(test_a_frame_under_way_is_not_an_end),
        cmocka_unit_test(test_a_frame_ends_where_it_ends),
        cmocka_unit_test(test_what_is_no_frame_is_not_followed),
        cmocka_unit_test(test_the_longest_lengths_are_taken),
        cmocka_unit_test(test_a_close_is_one_that_a_reader_takes),
        cmocka_unit_test(test_the_accept_of_a_key),
        cmocka_unit_test(test_keys_are_24_characters_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
