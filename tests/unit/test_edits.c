/* Header edits: fields before, edits, fields after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/http/edits.h"

struct context {
    const struct fields *fields;
};

/* ${header.x} looks at the fields; ${arg.v} tries to put a field of its own in. */
static struct slice lookup(void *context, const struct template_variable *v)
{
    const struct context *x = context;
    if (v->id == TEMPLATE_ARG)
        return S(" v\r\nX-Evil: 1\0 ");
    const struct field *f = fields_find_name(x->fields, v->name);
    return f ? f->value : S("");
}

static void add(struct fields *f, const char *name, const char *value)
{
    f->at[f->count++] = (struct field){.name = slice_text(name),
                                       .value = slice_text(value),
                                       .line_len = (uint32_t)(strlen(name) + strlen(value) + 4),
                                       .id = (uint16_t)field_id(slice_text(name))};
}

static void compile(struct config *c, const char *yaml, enum edits_side side, struct edits *out)
{
    struct edits_settings settings;
    config_init(c);
    config_parse(c, "weir.yaml", slice_text(yaml));
    assert_int_equal(option_apply(c, &edits_table, c->root, &settings), 0);
    edits_compile(c, &settings, side, out);
}

/* The request "host, x-a: 1, cookie, X-A: 2, x-b: 3, content-length" after the edits, one field a line. */
static void assert_edited(const char *yaml, const char *expected)
{
    struct config c;
    struct edits edits;
    compile(&c, yaml, EDITS_REQUEST, &edits);
    assert_string_equal(config_errors_text(&c), "");
    struct field room[6];
    struct fields f = {room, 0, 6, 0};
    add(&f, "Host", "h");
    add(&f, "x-a", "1");
    add(&f, "Cookie", "k");
    add(&f, "X-A", "2");
    add(&f, "x-b", "3");
    add(&f, "Content-Length", "0");

    struct context context = {&f};
    assert_int_equal(edits_apply(&edits, &f, &c.arena, lookup, &context), 0);
    char text[1024] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < f.count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s: %.*s\n", SLICE_FMT(f.at[i].name),
                                SLICE_FMT(f.at[i].value));
        assert_int_equal(f.at[i].id, field_id(f.at[i].name));
        if (f.at[i].line_len)
            assert_int_equal(f.at[i].line_len, f.at[i].name.len + f.at[i].value.len + 4);
    }
    assert_string_equal(text, expected);
    config_free(&c);
}

#define REST "Content-Length: 0\n"

static void test_set_leaves_one_field_in_the_first_ones_place(void **state)
{
    (void)state;
    assert_edited("set: {X-A: new}", "Host: h\nx-a: new\nCookie: k\nx-b: 3\n" REST);
    assert_edited("set: {x-new: v}", "Host: h\nx-a: 1\nCookie: k\nX-A: 2\nx-b: 3\n" REST "x-new: v\n");
    assert_edited("set: {host: inner.example}",
                  "Host: inner.example\nx-a: 1\nCookie: k\nX-A: 2\nx-b: 3\n" REST);
    assert_edited("set: {x-b: one, X-B: two}", "Host: h\nx-a: 1\nCookie: k\nX-A: 2\nx-b: two\n" REST);
}

static void test_add_keeps_what_is_there(void **state)
{
    (void)state;
    assert_edited("add: {x-a: '3', X-New: 'a:b'}",
                  "Host: h\nx-a: 1\nCookie: k\nX-A: 2\nx-b: 3\n" REST "x-a: 3\nX-New: a:b\n");
}

static void test_remove_takes_all_of_the_name(void **state)
{
    (void)state;
    assert_edited("remove: [X-a, cookie, x-none]", "Host: h\nx-b: 3\n" REST);
    assert_edited("remove: x-*", "Host: h\nCookie: k\n" REST);
}

static void test_a_wildcard_leaves_what_frames_the_message(void **state)
{
    (void)state;
    assert_edited("remove: ['*']", "Host: h\n" REST);
    assert_edited("remove: ['c*']", "Host: h\nx-a: 1\nX-A: 2\nx-b: 3\n" REST);
}

static void test_remove_comes_before_set_and_add(void **state)
{
    (void)state;
    assert_edited("{add: {x-b: '5'}, set: {x-a: '4'}, remove: [x-*]}",
                  "Host: h\nCookie: k\n" REST "x-a: 4\nx-b: 5\n");
}

static void test_templates_see_the_fields_as_they_came(void **state)
{
    (void)state;
    assert_edited("{set: {x-a: '${header.x-b}', x-b: '${header.x-a}'}, remove: [cookie], add: {x-c: "
                  "'${header.cookie}'}}",
                  "Host: h\nx-a: 3\nx-b: 1\n" REST "x-c: k\n");
}

static void test_a_value_cannot_bring_a_field_of_its_own(void **state)
{
    (void)state;
    assert_edited("{remove: [x-*, cookie], set: {x-t: '${arg.v}'}}", "Host: h\n" REST "x-t: vX-Evil: 1\n");
}

static void test_no_edits_touch_nothing(void **state)
{
    (void)state;
    struct edits none = {0};
    struct fields f = {NULL, 0, 0, 0};
    assert_int_equal(edits_apply(&none, &f, NULL, NULL, NULL), 0);
    assert_null(f.at);
}

static void test_without_memory_the_fields_stay(void **state)
{
    (void)state;
    struct config c;
    struct edits edits;
    compile(&c, "{set: {x-a: new}, add: {b: '1'}, remove: [x-b]}", EDITS_REQUEST, &edits);
    struct field room[2];
    struct fields f = {room, 0, 2, 0};
    add(&f, "x-a", "1");
    add(&f, "x-b", "2");
    struct arena none;
    arena_init(&none, NULL, 0);
    none.limit = 1;
    assert_int_equal(edits_apply(&edits, &f, &none, lookup, NULL), -1);
    assert_int_equal(f.count, 2);
    assert_true(slice_equal(f.at[0].value, S("1")));
    config_free(&c);
}

static void test_wrong_edits_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *fault;
        enum edits_side side;
    } table[] = {
        {"set: {'a b': c}", "\"a b\" is no name of a header field", EDITS_REQUEST},
        {"set: {':path': c}", "is no name of a header field", EDITS_REQUEST},
        {"set: {content-length: 5}", "content-length frames the message", EDITS_REQUEST},
        {"add: {Transfer-Encoding: x}", "Transfer-Encoding frames the message", EDITS_RESPONSE},
        {"remove: [connection]", "connection frames the message", EDITS_RESPONSE},
        {"set: {upgrade: x}", "upgrade frames the message", EDITS_REQUEST},
        {"set: {http2-settings: x}", "http2-settings frames the message", EDITS_REQUEST},
        {"add: {host: x}", "a request has one Host", EDITS_REQUEST},
        {"remove: [Host]", "a request has one Host", EDITS_REQUEST},
        {"set: {a: \"b\\nc\"}", "holds a control character", EDITS_REQUEST},
        {"set: {a: '${nonsense}'}", "unknown variable", EDITS_REQUEST},
        {"set: {a: '${status}'}", "not known yet", EDITS_REQUEST},
        {"remove: ['x*y']", "write a name, or the beginning", EDITS_REQUEST},
        {"remove: ['x-**']", "write a name, or the beginning", EDITS_REQUEST},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct edits edits;
        compile(&c, table[i].yaml, table[i].side, &edits);
        if (c.error_count != 1 || !strstr(c.errors[0].message, table[i].fault))
            fail_msg("%s: %s", table[i].yaml, config_errors_text(&c));
        config_free(&c);
    }
    struct config c;
    struct edits edits;
    compile(&c, "{set: {a: '${status}'}, add: {host: x}}", EDITS_RESPONSE, &edits);
    assert_int_equal(c.error_count, 0);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_leaves_one_field_in_the_first_ones_place),
        cmocka_unit_test(test_add_keeps_what_is_there),
        cmocka_unit_test(test_remove_takes_all_of_the_name),
        cmocka_unit_test(test_a_wildcard_leaves_what_frames_the_message),
        cmocka_unit_test(test_remove_comes_before_set_and_add),
        cmocka_unit_test(test_templates_see_the_fields_as_they_came),
        cmocka_unit_test(test_a_value_cannot_bring_a_field_of_its_own),
        cmocka_unit_test(test_no_edits_touch_nothing),
        cmocka_unit_test(test_without_memory_the_fields_stay),
        cmocka_unit_test(test_wrong_edits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
