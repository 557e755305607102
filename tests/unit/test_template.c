/* Templates: what compiles, what is refused, what comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/http/message.h"
#include "proxy/http/template.h"

/* The variable's name in brackets, with NAME. */
static struct slice lookup(void *context, const struct template_variable *v)
{
    struct arena *arena = context;
    if (v->id == TEMPLATE_QUERY)
        return S("");
    return slice_text(
        arena_printf(arena, "<%s%s%.*s>", template_name(v->id), v->name.len ? "." : "", SLICE_FMT(v->name)));
}

static void test_a_template_expands(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"${client}", "<client>"},
        {"https://${host}${target}", "https://<host><target>"},
        {"${header.X-Forwarded-For}!", "<header.x-forwarded-for>!"},
        {"${cookie.Session} ${arg.Q}", "<cookie.Session> <arg.Q>"},
        {"[${query}]", "[]"},
        {"cost: $5 $", "cost: $5 $"},
        {"$${client} $$ $$$", "${client} $ $$"},
        {"$$${client}", "$<client>"},
        {"a}b{c", "a}b{c"},
        {"${host}${host}${host}${host}${host}${host}${host}${host}${host}${host}${host}${host}${host}${host}$"
         "{host}${host}"
         "${host}${host}",
         "<host><host><host><host><host><host><host><host><host><host><host><host><host><host><host><host><"
         "host><host>"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct template t;
        config_init(&c);
        assert_int_equal(template_compile(&c, NULL, slice_text(table[i][0]), TEMPLATE_AT_REQUEST, &t), 0);
        struct slice out;
        assert_int_equal(template_expand(&t, &c.arena, lookup, &c.arena, &out), 0);
        if (!slice_equal(out, slice_text(table[i][1])))
            fail_msg("%s became %.*s", table[i][0], SLICE_FMT(out));
        config_free(&c);
    }
}

static void test_a_literal_is_not_copied_when_it_is_expanded(void **state)
{
    (void)state;
    struct config c;
    struct template t, empty = {0};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    config_init(&c);
    assert_int_equal(template_compile(&c, NULL, S("nosniff"), TEMPLATE_AT_REQUEST, &t), 0);
    struct slice out;
    assert_int_equal(template_expand(&t, &arena, NULL, NULL, &out), 0);
    assert_ptr_equal(out.at, t.literal.at);
    assert_int_equal(template_expand(&empty, &arena, NULL, NULL, &out), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(arena.total, 0);
    assert_true(template_is_empty(&empty) && template_is_literal(&t) && !template_is_empty(&t));
    config_free(&c);
}

static void test_every_variable_of_the_contract_is_known(void **state)
{
    (void)state;
    static const char *const names[] = {
        "client",        "client_port",
        "method",        "scheme",
        "host",          "port",
        "target",        "path",
        "query",         "protocol",
        "status",        "duration_ms",
        "bytes_in",      "bytes_out",
        "request_id",    "route",
        "upstream",      "server",
        "upstream_ms",   "cache",
        "tls_version",   "tls_cipher",
        "tls_sni",       "tls_client_cn",
        "header.a",      "response_header.b",
        "cookie.c",      "arg.d",
        "time",          "listener",
        "grpc_status",   "termination",
        "trace_id",      "span_id",
        "queue_ms",      "connect_ms",
        "tls_ms",        "send_ms",
        "first_byte_ms", "body_ms",
    };
    assert_int_equal(COUNT_OF(names), TEMPLATE_ID_COUNT);
    struct config c;
    config_init(&c);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct template t;
        const char *text = arena_printf(&c.arena, "${%s}", names[i]);
        assert_int_equal(template_compile(&c, NULL, slice_text(text), TEMPLATE_AT_RESPONSE, &t), 0);
        assert_int_equal(t.pieces[0].variable.id, i);
    }
    struct template t;
    template_compile(&c, NULL, S("${header.User-Agent}"), TEMPLATE_AT_REQUEST, &t);
    assert_int_equal(t.pieces[0].variable.field_id, FIELD_USER_AGENT);
    config_free(&c);
}

static void test_a_wrong_template_is_refused_with_the_mend(void **state)
{
    (void)state;
    static const struct {
        const char *text, *fault;
    } table[] = {
        {"${clint}", "unknown variable ${clint}; did you mean \"client\"?"},
        {"${}", "unknown variable ${}"},
        {"a ${host", "\"${\" without \"}\"; write \"$${\" for the text itself"},
        {"${header}", "write ${header.NAME}"},
        {"${header.}", "write ${header.NAME}"},
        {"${cookie.a b}", "write ${cookie.NAME}"},
        {"${host.x}", "${host} has no parts; leave the dot away"},
        {"${status}", "${status} is not known yet when a request is handled"},
        {"${response_header.x}", "${response_header.x} is not known yet when a request is handled"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct template t;
        config_init(&c);
        assert_int_equal(template_compile(&c, NULL, slice_text(table[i].text), TEMPLATE_AT_REQUEST, &t), -1);
        assert_int_equal(c.error_count, 1);
        if (!strstr(c.errors[0].message, table[i].fault))
            fail_msg("%s: %s", table[i].text, c.errors[0].message);
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_template_expands),
        cmocka_unit_test(test_a_literal_is_not_copied_when_it_is_expanded),
        cmocka_unit_test(test_every_variable_of_the_contract_is_known),
        cmocka_unit_test(test_a_wrong_template_is_refused_with_the_mend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
