#include "proxy/http/fields.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_every_known_name_is_found_in_any_case(void **state)
{
    (void)state;
    for (int id = FIELD_OTHER + 1; id < FIELD_ID_COUNT; id++) {
        struct slice name = field_name((enum field_id)id);
        char text[32];
        assert_in_range(name.len, 2, sizeof(text));

        assert_int_equal(field_id(name), id);
        for (size_t i = 0; i < name.len; i++)
            text[i] = name.at[i] == '-' ? '-' : (char)(name.at[i] & ~0x20);
        assert_int_equal(field_id(slice_of(text, name.len)), id);
        for (size_t i = 0; i < name.len; i += 2)
            text[i] = name.at[i];
        assert_int_equal(field_id(slice_of(text, name.len)), id);
    }
}

static void test_a_name_that_differs_in_one_byte_is_another(void **state)
{
    (void)state;
    for (int id = FIELD_OTHER + 1; id < FIELD_ID_COUNT; id++) {
        struct slice name = field_name((enum field_id)id);
        for (size_t i = 0; i < name.len; i++)
            for (int byte = 0; byte < 256; byte++) {
                char text[32];
                memcpy(text, name.at, name.len);
                text[i] = (char)byte;
                bool is_same = ascii_lower(text[i]) == name.at[i];
                assert_int_equal(field_id(slice_of(text, name.len)), is_same ? id : FIELD_OTHER);
            }
        assert_int_equal(field_id(slice_of(name.at, name.len - 1)), FIELD_OTHER);
    }
    assert_int_equal(field_id(S("")), FIELD_OTHER);
    assert_int_equal(field_id(S("x")), FIELD_OTHER);
    assert_int_equal(field_id(S("a-name-that-is-longer-than-any-known")), FIELD_OTHER);
    assert_int_equal(field_name(FIELD_OTHER).len, 0);
}

static void test_fields_are_found_by_id_and_by_name(void **state)
{
    (void)state;
    struct field list[] = {{.name = SLICE("Foo"), .value = SLICE("1")},
                           {.name = SLICE("Host"), .value = SLICE("2"), .id = FIELD_HOST},
                           {.name = SLICE("FOO"), .value = SLICE("3")}};
    struct fields fields = {list, 3, 3, 0};

    assert_ptr_equal(fields_find(&fields, FIELD_HOST), &list[1]);
    assert_null(fields_find(&fields, FIELD_COOKIE));
    assert_ptr_equal(fields_find_name(&fields, S("foo")), &list[0]);
    assert_null(fields_find_name(&fields, S("fo")));
}

static void test_an_absent_field_is_there_when_it_was_added(void **state)
{
    (void)state;
    struct arena arena;
    struct field list[2] = {{.name = SLICE("Host"), .value = SLICE("1")}};
    struct fields fields = {list, 1, 2, 0};
    arena_init(&arena, NULL, 0);

    fields_identify(&fields);
    assert_ptr_equal(fields_find(&fields, FIELD_HOST), &list[0]);
    assert_null(fields_find(&fields, FIELD_VIA));
    assert_int_equal(fields_add(&arena, &fields, FIELD_VIA, S("Via"), S("1.1 a")), 0);
    assert_ptr_equal(fields_find(&fields, FIELD_VIA), &list[1]);

    fields_remove(&fields, FIELD_VIA);
    assert_null(fields_find(&fields, FIELD_VIA));
    assert_int_equal(fields_add(&arena, &fields, FIELD_CONNECTION, S("Connection"), S("x")), 0);
    assert_int_equal(fields_add(&arena, &fields, FIELD_OTHER, S("X"), S("2")), 0);
    fields_strip_hop_by_hop(&fields);
    assert_int_equal(fields.count, 1);
    assert_null(fields_find(&fields, FIELD_CONNECTION));
    arena_reset(&arena);
}

static void test_methods(void **state)
{
    (void)state;
    static const struct {
        struct slice name;
        enum http_method id;
        bool is_idempotent; /* RFC 9110 §9.2.2 */
    } methods[] = {
        {SLICE("GET"), METHOD_GET, true},         {SLICE("HEAD"), METHOD_HEAD, true},
        {SLICE("POST"), METHOD_POST, false},      {SLICE("PUT"), METHOD_PUT, true},
        {SLICE("DELETE"), METHOD_DELETE, true},   {SLICE("CONNECT"), METHOD_CONNECT, false},
        {SLICE("OPTIONS"), METHOD_OPTIONS, true}, {SLICE("TRACE"), METHOD_TRACE, true},
        {SLICE("PATCH"), METHOD_PATCH, false},    {SLICE("get"), METHOD_OTHER, false},
        {SLICE("GOT"), METHOD_OTHER, false},      {SLICE("PROPFIND"), METHOD_OTHER, false},
        {SLICE(""), METHOD_OTHER, false},         {SLICE("GETS"), METHOD_OTHER, false},
    };
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        assert_int_equal(method_id(methods[i].name), methods[i].id);
        assert_int_equal(method_is_idempotent(methods[i].id), methods[i].is_idempotent);
    }
}

static void test_tokens_and_values(void **state)
{
    (void)state;
    static const char tchar[] =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        struct slice one = slice_of(&c, 1);
        assert_int_equal(is_token(one), byte != 0 && strchr(tchar, c) != NULL);
        assert_int_equal(is_field_value(one), byte == '\t' || (byte >= 0x20 && byte != 0x7F));
    }
    assert_false(is_token(S("")));
    assert_false(is_token(S("a b")));
    assert_true(is_token(S("a-b")));
    assert_true(is_field_value(S("")));
    assert_false(is_field_value(S("a\rb")));
}

static void test_reasons(void **state)
{
    (void)state;
    assert_true(slice_equal(status_reason(200), S("OK")));
    assert_true(slice_equal(status_reason(431), S("Request Header Fields Too Large")));
    assert_int_equal(status_reason(299).len, 0);
    assert_int_equal(status_reason(0).len, 0);
}

static void test_a_head_moves_with_its_bytes(void **state)
{
    (void)state;
    const char from[] = "GET /path?query HTTP/1.1 example name value";
    char to[sizeof(from)];
    static const char elsewhere[] = "*";
    struct field list[] = {{.name = slice_of(from + 33, 4), .value = slice_of(from + 38, 5)},
                           {.name = SLICE("own"), .value = slice_of(from + sizeof(from) - 1, 0)}};
    struct http_request r = {.method = slice_of(from, 3),
                             .target = slice_of(from + 4, 11),
                             .path = slice_of(elsewhere, 1),
                             .query = slice_of(from + 10, 5),
                             .host = slice_of(from + 25, 7),
                             .fields = {list, 2, 2, 0}};
    struct http_response response = {.reason = slice_of(from + 4, 5)};

    memcpy(to, from, sizeof(from));
    http_request_move(&r, slice_of(from, sizeof(from) - 1), to);
    assert_ptr_equal(r.method.at, to);
    assert_ptr_equal(r.target.at, to + 4);
    assert_ptr_equal(r.path.at, elsewhere);
    assert_null(r.scheme.at);
    assert_ptr_equal(r.query.at, to + 10);
    assert_ptr_equal(r.host.at, to + 25);
    assert_ptr_equal(list[0].name.at, to + 33);
    assert_ptr_equal(list[0].value.at, to + 38);
    assert_true(slice_equal(list[1].name, S("own")));
    assert_ptr_equal(list[1].value.at, to + sizeof(from) - 1);

    http_response_move(&response, slice_of(from, sizeof(from) - 1), to);
    assert_ptr_equal(response.reason.at, to + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_known_name_is_found_in_any_case),
        cmocka_unit_test(test_a_name_that_differs_in_one_byte_is_another),
        cmocka_unit_test(test_fields_are_found_by_id_and_by_name),
        cmocka_unit_test(test_an_absent_field_is_there_when_it_was_added),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_tokens_and_values),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_a_head_moves_with_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
