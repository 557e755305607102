#include "import/haproxy_parse.h"
#include "import/nginx_parse.h"
#include "import/regex_sample.h"
#include "import/yaml_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int setup(void **state)
{
    static struct arena arena;
    arena_init(&arena, NULL, 0);
    *state = &arena;
    return 0;
}

static int teardown(void **state)
{
    arena_reset(*state);
    return 0;
}

/* name(arg|arg){…}; for each directive. */
static void show(const struct ng *block, struct text *out)
{
    for (const struct ng *d = block->children; d; d = d->next) {
        text_printf(out, "%s(", d->name);
        for (size_t i = 0; i < d->arg_count; i++)
            text_printf(out, "%s%s", i ? "|" : "", d->args[i]);
        text_add(out, ")");
        if (d->is_block) {
            text_add(out, "{");
            show(d, out);
            text_add(out, "}");
        }
    }
}

static void assert_nginx(struct arena *a, const char *source, const char *expected)
{
    struct text out = {0};
    const char *why = "";
    text_add(&out, "");
    const struct ng *root = nginx_parse(a, "f", slice_text(source), &why);
    if (root)
        show(root, &out);
    else
        text_printf(&out, "! %s", why);
    assert_string_equal(out.at, expected);
    text_free(&out);
}

static void test_nginx_words_blocks_quotes_and_escapes(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"a;", "a()"},
        {"a b c; # x\nd;", "a(b|c)d()"},
        {"a { b c; d { } }", "a(){b(c)d(){}}"},
        {"a \"b c\" 'd;}';", "a(b c|d;})"},
        {"a \"b\\\"c\" \\.php$ \\t;", "a(b\"c|\\.php$|\t)"},
        {"a ${b}c{ }", "a(${b}c){}"},
        {"location ~ ^/x\\d+$ { }", "location(~|^/x\\d+$){}"},
        {"if ($a = \"1\") { }", "if(($a|=|1|)){}"},
        {"content_by_lua_block { if x { y } } a;", "content_by_lua_block(){}a()"},
        {"a b#c;", "a(b#c)"},
        {"a;}", "! f:1: unexpected \"}\""},
        {"a {\n b;\n", "! f:3: the file ends in a block"},
        {"a", "! f:1: \"a\" is not ended by \";\""},
        {"a 'b", "! f:1: a quote is not closed"},
        {";", "! f:1: unexpected \";\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_nginx(*state, cases[i][0], cases[i][1]);
}

static void test_nginx_blocks_have_a_depth_and_lines_their_number(void **state)
{
    struct text deep = {0};
    const char *why = "";
    for (int i = 0; i < 1000; i++)
        text_add(&deep, "a {");
    assert_null(nginx_parse(*state, "f", slice_of(deep.at, deep.len), &why));
    assert_string_equal(why, "f:1: blocks are too deep");
    text_free(&deep);
    const struct ng *root = nginx_parse(*state, "f", slice_text("a\n b;\n\"c\nd\" {\n e; }"), &why);
    assert_int_equal(root->children->line, 1);
    assert_int_equal(root->children->next->children->line, 5);
}

static void test_haproxy_sections_words_and_escapes(void **state)
{
    static const char source[] =
        "# c\nglobal\n  log /dev/log local0 # d\ndefaults base\n mode http\n"
        "frontend web from base\n bind :80\n a \"b c\" 'd\\n' e\\ f \\1 \"\\.x\" \\r\n\nbackend b\n";
    const char *why = "";
    const struct hx_section *s = haproxy_parse(*state, "f", slice_text(source), &why);
    assert_string_equal(s->kind, "global");
    assert_int_equal(s->lines->count, 3);
    s = s->next->next;
    assert_string_equal(s->name, "web");
    assert_string_equal(s->defaults->name, "base");
    static const char *const words[] = {"a", "b c", "d\\n", "e f", "\\1", "\\.x", "\r"};
    const struct hx_line *l = s->lines->next;
    assert_int_equal(l->line, 8);
    assert_int_equal(l->count, COUNT_OF(words));
    for (size_t i = 0; i < COUNT_OF(words); i++)
        assert_string_equal(l->args[i], words[i]);
    assert_string_equal(s->next->name, "b");
    assert_null(haproxy_parse(*state, "f", slice_text("\nbind :80\n"), &why));
    assert_string_equal(why, "f:2: \"bind\" stands in no section");
}

static void test_a_sample_of_a_regex_is_one_that_it_matches(void **state)
{
    static const char *const regexes[][2] = {
        {"\\.(gif|jpe?g)$", "/sample.gif"},
        {"^/api/v[0-9]+/", "/api/v1/"},
        {"/x$", "/x"},
        {"^/(a|b)/c$", "/a/c"},
        {"^(?!/x).*y", NULL},
        {"(", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(regexes); i++) {
        const char *path = regex_sample(*state, regexes[i][0], false);
        if (regexes[i][1])
            assert_string_equal(path ? path : "none", regexes[i][1]);
        else if (path)
            assert_true(regex_holds(regexes[i][0], false, path));
    }
}

static void test_yaml_is_quoted_where_it_must_be(void **state)
{
    static const char *const texts[][2] = {
        {"plain", "plain"},
        {"10.0.0.1:80", "10.0.0.1:80"},
        {"true", "\"true\""},
        {"80", "\"80\""},
        {"1.5", "\"1.5\""},
        {":80", "\":80\""},
        {"a: b", "\"a: b\""},
        {"a\"\\", "\"a\\\"\\\\\""},
        {"", "\"\""},
        {"*.x", "\"*.x\""},
        {"a\n\x01", "\"a\\n\\x01\""},
        {"x:", "\"x:\""},
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct yaml_node *map = yaml_map(*state);
        struct text out = {0};
        yaml_set_text(*state, map, "k", texts[i][0]);
        yaml_print(map, &out);
        char expected[64];
        snprintf(expected, sizeof expected, "k: %s\n", texts[i][1]);
        assert_string_equal(out.at, expected);
        text_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nginx_words_blocks_quotes_and_escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nginx_blocks_have_a_depth_and_lines_their_number, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_haproxy_sections_words_and_escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_sample_of_a_regex_is_one_that_it_matches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_yaml_is_quoted_where_it_must_be, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
