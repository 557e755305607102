#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/http/cache/portable.h"
#include "proxy/http/cache/stored_head.h"

struct bench {
    struct arena arena;
    struct cache_object object;
    struct slice bytes;
};

/* An object with these fields, and its bytes with a body behind them. */
static void make(struct bench *b, struct field *fields, uint32_t count)
{
    *b = (struct bench){.object = {.status = 203, .vary_names = S("accept")}};
    arena_init(&b->arena, NULL, 0);
    b->object.freshness = (struct cache_freshness){.response_time = 1000,
                                                   .initial_age = 7,
                                                   .lifetime = 60,
                                                   .stale_while_revalidate = 5,
                                                   .stale_if_error = 6,
                                                   .must_revalidate = true};
    struct fields f = {fields, count, count, 0};
    struct http_response r = {.status = 203, .minor = 1, .is_http2 = true};
    struct slice etag, modified, head;
    b->object.head = arena_alloc(&b->arena, stored_head_size(&f));
    stored_head_write(b->object.head, &f, &r, 4, &etag, &modified);
    assert_int_equal(portable_write(&b->object, &b->arena, &head), 0);
    char *bytes = arena_alloc(&b->arena, head.len + 4);
    memcpy(bytes, head.at, head.len);
    memcpy(bytes + head.len, "body", 4);
    b->bytes = slice_of(bytes, head.len + 4);
}

static void test_a_response_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct bench b;
    struct portable p;
    struct field fields[] = {{.name = S("ETag"), .value = S("\"v\""), .id = FIELD_ETAG},
                             {.name = S("x-y"), .value = S("")}};
    make(&b, fields, 2);
    assert_int_equal(portable_read(b.bytes, &b.arena, &p), 0);
    assert_false(p.is_signpost);
    assert_int_equal(p.status, 203);
    assert_int_equal(p.minor, 1);
    assert_true(p.is_http2);
    assert_true(slice_equal(p.vary_names, S("accept")));
    assert_true(slice_equal(p.body, S("body")));
    assert_int_equal(p.freshness.response_time, 1000);
    assert_int_equal(p.freshness.initial_age, 7);
    assert_int_equal(p.freshness.lifetime, 60);
    assert_int_equal(p.freshness.stale_while_revalidate, 5);
    assert_int_equal(p.freshness.stale_if_error, 6);
    assert_true(p.freshness.must_revalidate && !p.freshness.no_cache && !p.freshness.is_heuristic);
    assert_int_equal(p.fields.count, 2);
    assert_int_equal(p.fields.at[0].id, FIELD_ETAG);
    assert_true(slice_equal(p.fields.at[0].value, S("\"v\"")));
    assert_true(slice_equal(p.fields.at[1].name, S("x-y")));
    arena_reset(&b.arena);
}

static void test_what_is_cut_short_or_is_no_response_is_refused(void **state)
{
    (void)state;
    struct bench b;
    struct portable p;
    struct field fields[] = {{.name = S("A"), .value = S("b")}};
    make(&b, fields, 1);
    for (size_t len = 0; len < b.bytes.len - 4; len++) {
        char *cut = malloc(len ? len : 1); /* of that size, so that reading past it is seen */
        memcpy(cut, b.bytes.at, len);
        assert_int_equal(portable_read(slice_of(cut, len), &b.arena, &p), -1);
        free(cut);
    }
    char *bytes = (char *)(uintptr_t)b.bytes.at;
    bytes[0] = 'X';
    assert_int_equal(portable_read(b.bytes, &b.arena, &p), -1);
    bytes[0] = 'R';
    for (int i = 1; i < 41; i += 8) { /* times that no sum may meet */
        char before = bytes[i + 7];
        bytes[i + 7] = (char)0x7f;
        assert_int_equal(portable_read(b.bytes, &b.arena, &p), -1);
        bytes[i + 7] = before;
    }
    assert_int_equal(portable_read(b.bytes, &b.arena, &p), 0);
    bytes[42] = 7; /* HTTP/1.7 */
    assert_int_equal(portable_read(b.bytes, &b.arena, &p), -1);
    bytes[42] = 1;
    static const uint16_t statuses[] = {0, 100, 101, 199, 206, 304, 600, 65535};
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        bytes[43] = (char)(statuses[i] & 255);
        bytes[44] = (char)(statuses[i] >> 8);
        assert_int_equal(portable_read(b.bytes, &b.arena, &p), -1);
    }
    arena_reset(&b.arena);
}

static void test_fields_that_could_make_another_message_are_refused_or_left_out(void **state)
{
    (void)state;
    static const struct {
        struct slice name, value;
        int count; /* fields that are left; -1 = refused */
    } table[] = {
        {S("X"), S("a\tb \xe4"), 1},
        {S("X"), S("a\r\nSet-Cookie: b"), -1},
        {S("X"), S("a\nb"), -1},
        {S("X"), S("a\0b"), -1},
        {S("X"), S(" a"), -1},
        {S("X"), S("a\t"), -1},
        {S("X Y"), S("a"), -1},
        {S(":status"), S("200"), -1},
        {S("X:"), S("a"), -1},
        {S(""), S("a"), -1},
        {S("Content-Length"), S("5"), 0},
        {S("Transfer-Encoding"), S("chunked"), 0},
        {S("Connection"), S("close"), 0},
        {S("Age"), S("5"), 0},
    };
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        struct bench b;
        struct portable p;
        struct field fields[] = {{.name = table[i].name, .value = table[i].value}};
        make(&b, fields, 1);
        int result = portable_read(b.bytes, &b.arena, &p);
        if ((result == 0 ? (int)p.fields.count : -1) != table[i].count)
            fail_msg("%.*s: %.*s", SLICE_FMT(table[i].name), SLICE_FMT(table[i].value));
        arena_reset(&b.arena);
    }
}

static void test_a_signpost_has_names_alone(void **state)
{
    (void)state;
    struct arena arena;
    struct portable p;
    struct slice bytes;
    arena_init(&arena, NULL, 0);
    assert_int_equal(portable_write_signpost(S("accept,x"), &arena, &bytes), 0);
    assert_int_equal(portable_read(bytes, &arena, &p), 0);
    assert_true(p.is_signpost && slice_equal(p.vary_names, S("accept,x")));
    assert_int_equal(portable_read(slice_of(bytes.at, 1), &arena, &p), -1);
    struct slice a = portable_variant_key(S("key"), S("accept:x\n"), &arena);
    assert_true(slice_begins(a, S("key")) && a.len == 3 + 1 + 9 && a.at[3] == '\0');
    arena_reset(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_response_is_read_as_it_was_written),
        cmocka_unit_test(test_what_is_cut_short_or_is_no_response_is_refused),
        cmocka_unit_test(test_fields_that_could_make_another_message_are_refused_or_left_out),
        cmocka_unit_test(test_a_signpost_has_names_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
