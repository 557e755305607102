#include "tests/unit/balancer_fixture.h"

#include "balancer/check_http.h"
#include "balancer/escape.h"

static void test_defaults_are_the_contracts(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(fixture_read(&f, "{servers: [127.0.0.1:1], health_check: {interval: 5s}}"), 0);
    const struct server_settings *s = f.settings.servers.at;
    assert_int_equal(f.settings.balance, BALANCE_ROUND_ROBIN);
    assert_int_equal(f.settings.on_down, ON_DOWN_KEEP);
    assert_int_equal(f.settings.keepalive.idle, 64);
    assert_int_equal(f.settings.keepalive.requests, 0);
    assert_null(f.settings.tls);
    assert_int_equal(s->weight, 1);
    assert_int_equal(s->max_connections, 0);
    assert_false(s->backup);
    const struct check_settings *k = f.settings.health_check;
    assert_int_equal(k->type, CHECK_HTTP);
    assert_string_equal(k->path.at, "/");
    assert_int_equal(k->interval, 5000);
    assert_int_equal(k->timeout, 1000);
    assert_int_equal(k->rise, 2);
    assert_int_equal(k->fall, 3);
    assert_true(status_ranges_contain(&k->expect, 200));
    assert_true(status_ranges_contain(&k->expect, 399));
    assert_false(status_ranges_contain(&k->expect, 400));
    fixture_free(&f);
}

static void test_expect_takes_statuses_and_ranges(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(fixture_read(&f, "{servers: [127.0.0.1:1], health_check: {expect: [204, 300-302]}}"), 0);
    const struct status_ranges *r = &f.settings.health_check->expect;
    assert_true(status_ranges_contain(r, 204));
    assert_false(status_ranges_contain(r, 200));
    assert_true(status_ranges_contain(r, 302));
    assert_false(status_ranges_contain(r, 303));
    fixture_free(&f);
}

static void test_escapes_become_bytes(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(fixture_read(&f, "{servers: [127.0.0.1:1], health_check: "
                                      "{type: tcp, send: 'PING\\r\\n\\x00\\xfF\\\\', receive: +PONG}}"),
                     0);
    assert_int_equal(f.settings.health_check->send.len, 9);
    assert_memory_equal(f.settings.health_check->send.at, "PING\r\n\0\xff\\", 9);
    assert_string_equal(f.settings.health_check->receive.at, "+PONG");

    char text[64];
    escape_print(f.settings.health_check->send, text, sizeof text);
    assert_string_equal(text, "PING\\r\\n\\0\\xff\\\\");
    assert_int_equal(escape_print(f.settings.health_check->send, text, 6), 4);
    assert_string_equal(text, "PING");
    fixture_free(&f);
}

static void test_what_is_wrong_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{}", "missing key \"servers\""},
        {"servers: []", "may not be empty"},
        {"servers: [{weight: 2}]", "missing key \"address\""},
        {"servers: ['127.0.0.1']", "the port is missing"},
        {"servers: [':80']", "a server needs a host"},
        {"servers: ['*:80']", "a server needs a host"},
        {"servers: ['a.example:0']", "a server needs a port"},
        {"servers: [a:1, b:1, a:1]", "servers[2]: a:1 is listed already"},
        {"servers: [{dns: a}]", "servers[0].dns: "},
        {"servers: [{dns: 'a:0'}]", "servers[0].dns: a server needs a port"},
        {"servers: [{dns: 'unix:/a'}]", "servers[0].dns: expected a name and a port"},
        {"servers: [{dns: 'a:1', address: 'b:1'}]", "not together with `address`"},
        {"servers: [{dns: 'a:1', srv: _b._tcp.c}]", "not together with `dns`"},
        {"servers: [{srv: '_http._tcp.a:80'}]", "servers[0].srv: expected a name like"},
        {"servers: [{file: ''}]", "servers[0].file: "},
        {"servers: [{dns: 'a:1', refresh: 1ms}]", "servers[0].refresh: "},
        {"servers: [{address: 'a:1', refresh: 5s}]", "servers[0].refresh: only with `dns`"},
        {"servers: [{address: 'a:1', weight: 70000}]", "weight"},
        {"{servers: [a:1], balance: round_robbin}", "did you mean \"round_robin\""},
        {"{servers: [a:1], protocol: h2}", "unknown value"},
        {"{servers: [a:1], proxy_protocol: v3}", "unknown value"},
        {"{servers: [a:1], queue: {size: 0}}", "size"},
        {"{servers: [a:1], outlier: {latency: fast}}", "a factor over 1, like 3x"},
        {"{servers: [a:1], outlier: {latency: 1x}}", "a factor over 1, like 3x"},
        {"{servers: [a:1], outlier: {max_ejected: 101%}}", "100%"},
        {"{servers: [a:1], sticky: {ttl: 1h}}", "missing key \"cookie\""},
        {"{servers: [a:1], sticky: {cookie: 'a b'}}", "no name that a cookie can have"},
        {"{servers: [a:1], hash_key: ip}", "only with balance: ring_hash or maglev"},
        {"{servers: [a:1], balance: maglev, hash_balance: 50%}", "at least 100%"},
        {"{servers: [a:1], balance: source_hash, hash_balance: 150%}", "only with balance"},
        {"{servers: [a:1], on_down: stop}", "on_down"},
        {"{servers: [a:1], health_check: {type: grpc, path: /x}}", "only with type: http"},
        {"{servers: [a:1], health_check: {service: a.B}}", "only with type: grpc"},
        {"{servers: [a:1], health_check: {type: tcp, headers: {a: b}}}", "only with type: http"},
        {"{servers: [a:1], health_check: {type: tcp, path: /x}}", "only with type: http"},
        {"{servers: [a:1], health_check: {send: x}}", "only with type: tcp"},
        {"{servers: [a:1], health_check: {path: x}}", "begins with \"/\""},
        {"{servers: [a:1], health_check: {expect: [99]}}", "expected a status"},
        {"{servers: [a:1], health_check: {expect: [300-200]}}", "expected a status"},
        {"{servers: [a:1], health_check: {rise: 0}}", "rise"},
        {"{servers: [a:1], health_check: {headers: {'a b': c}}}", "is no header"},
        {"{servers: [a:1], health_check: {headers: {a: \"b\\r\\nc\"}}}", "is no header"},
        {"{servers: [a:1], health_check: {type: tcp, send: 'a\\q'}}", "unknown escape"},
        {"{servers: [a:1], health_check: {type: tcp, send: 'a\\x4'}}", "unknown escape"},
        {"{servers: [a:1], helth_check: {}}", "did you mean \"health_check\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        fixture_read(&f, cases[i].text);
        const char *errors = config_errors_text(&f.config);
        if (!strstr(errors, cases[i].error))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].text, cases[i].error, errors);
        fixture_free(&f);
    }
}

static void test_a_checks_request_has_the_headers_of_the_file(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(
        fixture_read(&f, "{servers: [a:1], health_check: {path: /h, headers: {host: api, x-a: b}}}"), 0);
    struct slice r = check_http_request(f.settings.health_check, S("a:1"));
    assert_string_equal(r.at, "GET /h HTTP/1.1\r\nUser-Agent: weir-health-check\r\nAccept: */*\r\n"
                              "Connection: close\r\nhost: api\r\nx-a: b\r\n\r\n");
    free((void *)(uintptr_t)r.at);
    fixture_free(&f);
}

static void test_a_checks_answer_is_read_to_the_status(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"", 0},
        {"HTT", 0},
        {"HTTP/1.1 200", 0},
        {"HTTP/1.1 200 OK", 0},
        {"HTTP/1.1 200 OK\r\n", 200},
        {"HTTP/1.0 503\r\n", 503},
        {"HTTP/1.1 404 Not Found\n", 404},
        {"HTTP/1.1 100 Continue\r\n\r\n", 0},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n", 204},
        {"HTTP/1.1 101 Switching Protocols\r\n", 101},
        {"HTTP/2 200 OK\r\n....", -1},
        {"SSH-2.0", -1},
        {"HTTP/1.1 2000 OK\r\n", -1},
        {"HTTP/1.1 999 OK\r\n", -1},
        {"HTTP/1.1  200 OK\r\n", -1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int got = check_http_status(slice_text(cases[i].text));
        if (got != cases[i].status)
            fail_msg("%s: %d, expected %d", cases[i].text, got, cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_the_contracts),
        cmocka_unit_test(test_expect_takes_statuses_and_ranges),
        cmocka_unit_test(test_escapes_become_bytes),
        cmocka_unit_test(test_what_is_wrong_is_refused_with_the_reason),
        cmocka_unit_test(test_a_checks_request_has_the_headers_of_the_file),
        cmocka_unit_test(test_a_checks_answer_is_read_to_the_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
