/* The warnings of a configuration, by rule: what they say, and that a random set of routes is judged as the
 * router judges it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/lint/internal.h"
#include "proxy/lint/reach.h"
#include "tls/certificate.h"

#define NOW 1800000000

struct built {
    char folder[32], file[64];
    struct snapshot *s;
};

static void write_file(const char *path, struct slice text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.at, 1, text.len, f), text.len);
    assert_int_equal(fclose(f), 0);
}

static void build(struct built *b, const char *text)
{
    snprintf(b->folder, sizeof b->folder, "/tmp/lint-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->file, sizeof b->file, "%s/weir.yaml", b->folder);
    write_file(b->file, slice_text(text));
    const struct snapshot_context context = {.workers = 1, .dry = true};
    b->s = snapshot_build(b->file, &context);
    assert_non_null(b->s);
    assert_string_equal(config_errors_text(&b->s->config), "");
}

static void end(struct built *b)
{
    snapshot_free(b->s);
    unlink(b->file);
    rmdir(b->folder);
}

/* The rule of the first warning and the begin of its words; NULL: there is none. */
static void assert_warns(const char *text, const char *rule, const char *words)
{
    struct built b;
    build(&b, text);
    lint_snapshot(b.s, NOW);
    const struct config *c = &b.s->config;
    if (c->warning_count != (rule != NULL))
        fail_msg("%zu warnings: %s", c->warning_count, config_warnings_text(&b.s->config));
    if (rule) {
        assert_string_equal(c->warnings[0].rule, rule);
        assert_non_null(c->warnings[0].mend);
        if (strncmp(c->warnings[0].words, words, strlen(words)) != 0)
            fail_msg("%s", c->warnings[0].words);
    }
    end(&b);
}

#define WEB "listeners: {web: {bind: ['127.0.0.1:80']}}\nroutes:\n"

static void test_rules_have_names_and_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < lint_rule_count; i++) {
        assert_non_null(lint_rules[i].name);
        assert_non_null(lint_rules[i].help);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(lint_rules[i].name, lint_rules[k].name);
    }
}

static void test_the_example_has_what_the_route_asks_for(void **state)
{
    (void)state;
    struct built b;
    build(&b, WEB "- {name: all, path: {regex: ^/}, headers: {x-a: '1'}, respond: true}\n"
                  "- {path: /a b, methods: [PUT], headers: {x-a: '1', x-b: {regex: '^q+$'}}, query: {k: v}, "
                  "cookies: {s: {present: true}}, respond: true}\n");
    lint_snapshot(b.s, NOW);
    assert_int_equal(b.s->config.warning_count, 1);
    const struct config_error *w = &b.s->config.warnings[0];
    assert_string_equal(w->rule, "unreachable-route");
    assert_string_equal(w->example,
                        "PUT 'http://any.example/a%20b?k=v' -H 'x-a: 1' -H 'x-b: q' -H 'cookie: s=1'");
    assert_non_null(
        strstr(w->words, "\"PUT http://any.example/a%20b?k=v\" with x-a: 1, x-b: q, cookie s=1 already"));
    end(&b);
}

static void test_an_unreachable_route_is_told_from_a_shadowed_one(void **state)
{
    (void)state;
    assert_warns(WEB
                 "- {name: a, path: {regex: ^/x}, respond: true}\n- {path: {exact: /x/1}, respond: true}\n",
                 NULL, NULL);
    assert_warns(WEB
                 "- {name: a, path: {regex: ^/x}, respond: true}\n- {path: {regex: ^/x/1}, respond: true}\n",
                 "shadowed-route", "hides behind another: \"GET http://any.example/x/1\"");
    assert_warns(
        WEB "- {name: a, path: {regex: '^/(.*)$'}, respond: true}\n- {path: {regex: ^/x/1}, respond: true}\n",
        "unreachable-route",
        "no request can reach it: \"GET http://any.example/x/1\" already goes to route \"a\"");
}

static void test_a_way_past_several_others_is_found(void **state)
{
    (void)state;
    assert_warns(
        WEB "- {name: rest, path: /x, respond: true}\n"
            "- {name: a, path: /x, methods: [GET, POST, PUT, DELETE, OPTIONS], respond: true}\n"
            "- {name: b, path: /x/x, respond: true}\n"
            "- {name: c, path: /x, headers: {x-a: {present: false}}, methods: [WEIR-LINT], respond: true}\n",
        NULL, NULL);
}

static void test_a_certificate_is_judged_by_the_time_that_is_given(void **state)
{
    (void)state;
    char cert[96], text[512];
    struct slice pem, name = S("a.example");
    struct built b;
    struct slice folder = S("/tmp/lint-cert.pem");
    snprintf(cert, sizeof cert, "%s.%d", folder.at, (int)getpid());
    assert_int_equal(tls_self_signed_make(&name, 1, &pem), 0);
    write_file(cert, pem);
    assert_int_equal(chmod(cert, 0600), 0);
    tls_file_release(&pem);
    snprintf(text, sizeof text,
             "listeners: {web: {bind: ['127.0.0.1:443'], tls: {certificates: {cert: %s}}}}\n"
             "routes: [{host: a.example, respond: true}]\n",
             cert);
    build(&b, text);
    const struct tls_certificate *all;
    assert_int_equal(tls_server_certificates(b.s->listeners[0].tls, &all), 1);
    int64_t last = all[0].not_after;
    static const struct {
        int days;
        const char *words;
    } table[] = {{31, NULL},
                 {30, "the certificate ends in 30 days"},
                 {1, "the certificate ends in 1 day"},
                 {0, "the certificate ends today"}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        b.s->config.warning_count = 0;
        lint_snapshot(b.s, last - table[i].days * 86400);
        assert_int_equal(b.s->config.warning_count, table[i].words != NULL);
        if (table[i].words && !strstr(b.s->config.warnings[0].words, table[i].words))
            fail_msg("%s", b.s->config.warnings[0].words);
    }
    end(&b);
    unlink(cert);
}

static void test_durations_are_worded_as_they_are_written(void **state)
{
    (void)state;
    struct config c;
    config_init(&c);
    struct lint l = {.c = &c};
    static const struct {
        msec_t ms;
        const char *text;
    } table[] = {{0, "0"},       {1, "1ms"},      {1500, "1500ms"}, {90000, "90s"},
                 {120000, "2m"}, {3600000, "1h"}, {172800000, "2d"}};
    for (size_t i = 0; i < COUNT_OF(table); i++)
        assert_string_equal(lint_duration(&l, table[i].ms), table[i].text);
    config_free(&c);
}

/* --- against the router ------------------------------------------------------------------------------- */

static unsigned draw(unsigned *seed, unsigned below)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % below;
}

static const char *const hosts[] = {"", "host: a.example, ", "host: '*.example', ", "host: b.a.example, "};
static const char *const paths[] = {"",
                                    "path: /a, ",
                                    "path: /a/b, ",
                                    "path: {exact: /a}, ",
                                    "path: {regex: ^/a}, ",
                                    "path: {regex: ^/}, ",
                                    "path: {regex: '^/a/[0-9]+$'}, "};
static const char *const methods[] = {"", "", "methods: [GET], ", "methods: [POST, PUT], "};
static const char *const conditions[] = {"",
                                         "",
                                         "headers: {x-a: '1'}, ",
                                         "headers: {x-a: {present: false}}, ",
                                         "headers: {x-a: {present: true}}, ",
                                         "headers: {x-a: '2', x-b: '1'}, "};

/* Requests of every kind that these routes tell apart. */
static bool any_request_reaches(struct built *b, const struct route *r)
{
    static const char *const on[] = {"a.example", "b.a.example", "c.example", "z.test"};
    static const char *const at[] = {"/", "/a", "/a/", "/a/b", "/a/b/c", "/a/1", "/ab", "/q", "/a/q"};
    static const char *const by[] = {"GET", "HEAD", "POST", "PUT", "OTHER"};
    static const char *const values[] = {NULL, "1", "2", "3"};
    struct lint l = {.s = b->s, .c = &b->s->config};
    bool reached = false;
    arena_init(&l.scratch, NULL, 0);
    for (size_t i = 0; i < COUNT_OF(on) * COUNT_OF(at) * COUNT_OF(by) * COUNT_OF(values) * 2 && !reached;
         i++) {
        size_t n = i;
        struct probe t = {.listener = b->s->listeners};
        struct plain_request p;
        t.host = slice_text(on[n % COUNT_OF(on)]), n /= COUNT_OF(on);
        t.path = slice_text(at[n % COUNT_OF(at)]), n /= COUNT_OF(at);
        t.method = slice_text(by[n % COUNT_OF(by)]), n /= COUNT_OF(by);
        const char *value = values[n % COUNT_OF(values)];
        n /= COUNT_OF(values);
        probe_set(&t, CONDITION_HEADER, S("x-a"), slice_text(value), value != NULL);
        probe_set(&t, CONDITION_HEADER, S("x-b"), S("1"), n != 0);
        assert_int_equal(probe_make(&l, &t, &p), 0);
        reached = probe_find(&l, &p) == r;
    }
    router_scratch_free(&l.router);
    arena_reset(&l.scratch);
    return reached;
}

static size_t judge(struct built *b)
{
    size_t lost = 0;
    for (size_t i = 0; i < b->s->route_count; i++) {
        const struct route *r = &b->s->routes[i];
        struct reach_result found;
        struct lint l = {.s = b->s, .c = &b->s->config};
        arena_init(&l.scratch, NULL, 0);
        l.listener_count = snapshot_plain_listeners(b->s, &b->s->config.arena, &l.listeners);
        reach_route(&l, r, &found);
        bool reached = any_request_reaches(b, r);
        if (found.reach == REACH_NO && reached)
            fail_msg("%.*s is said to be unreachable", SLICE_FMT(r->name));
        if ((found.reach == REACH_YES || found.reach == REACH_BARE) && !reached)
            fail_msg("%.*s is said to be reached", SLICE_FMT(r->name));
        if (found.reach == REACH_DOUBT && reached)
            fail_msg("%.*s is said to be shadowed", SLICE_FMT(r->name));
        lost += found.reach == REACH_NO;
        router_scratch_free(&l.router);
        arena_reset(&l.scratch);
    }
    return lost;
}

static void test_what_is_said_of_random_routes_is_what_all_requests_show(void **state)
{
    (void)state;
    unsigned seed = 1;
    size_t good = 0, lost = 0;
    for (unsigned round = 0; round < 400; round++) {
        char text[4096];
        size_t used = (size_t)snprintf(text, sizeof text, WEB), count = 2 + draw(&seed, 5);
        for (size_t i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, "- {%s%s%s%srespond: true}\n",
                                     hosts[draw(&seed, COUNT_OF(hosts))], paths[draw(&seed, COUNT_OF(paths))],
                                     methods[draw(&seed, COUNT_OF(methods))],
                                     conditions[draw(&seed, COUNT_OF(conditions))]);
        struct built b;
        snprintf(b.folder, sizeof b.folder, "/tmp/lint-XXXXXX");
        assert_non_null(mkdtemp(b.folder));
        snprintf(b.file, sizeof b.file, "%s/weir.yaml", b.folder);
        write_file(b.file, slice_text(text));
        const struct snapshot_context context = {.workers = 1, .dry = true};
        b.s = snapshot_build(b.file, &context);
        assert_non_null(b.s);
        if (b.s->config.error_count == 0) { /* routes that no rule tells apart are errors */
            good++;
            lost += judge(&b);
        }
        end(&b);
    }
    assert_true(good > 50 && lost > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_have_names_and_words),
        cmocka_unit_test(test_the_example_has_what_the_route_asks_for),
        cmocka_unit_test(test_an_unreachable_route_is_told_from_a_shadowed_one),
        cmocka_unit_test(test_a_way_past_several_others_is_found),
        cmocka_unit_test(test_a_certificate_is_judged_by_the_time_that_is_given),
        cmocka_unit_test(test_durations_are_worded_as_they_are_written),
        cmocka_unit_test(test_what_is_said_of_random_routes_is_what_all_requests_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
