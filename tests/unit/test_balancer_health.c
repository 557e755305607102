#include "tests/unit/balancer_fixture.h"

#include "core/log.h"

#define CHECK "interval: 20ms, timeout: 10s, rise: 2, fall: 3"

/* One server under a check, on a loop. */
struct bench {
    struct loop loop;
    struct server_registry *registry;
    struct fixture f;
    struct server *server;
    unsigned changes;
};

static void on_change(struct server *s, void *argument)
{
    struct bench *b = argument;
    (void)s;
    b->changes++;
}

static void set_up(struct bench *b, const char *address, const char *check)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->loop, 1), 0);
    b->registry = registry_create(
        &(struct registry_options){.loop = &b->loop, .on_change = on_change, .argument = b, .tls_worker = 1});
    char text[512];
    snprintf(text, sizeof text, "{servers: ['%s'], health_check: {%s}}", address, check);
    fixture_make(&b->f, text, b->registry, 1);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
    b->server = b->f.upstream->set->servers[0];
}

static void tear_down(struct bench *b)
{
    upstream_deactivate(b->f.upstream);
    registry_free(b->registry);
    loop_free(&b->loop);
    fixture_free(&b->f);
}

static int health(struct bench *b)
{
    return atomic_load(&b->server->health);
}

static struct server_report report(struct bench *b)
{
    struct server_report r;
    server_report(b->server, &r);
    return r;
}

/* Until the server is down; the reason must hold `expected`. */
static void down_because(struct bench *b, const char *expected)
{
    RUN_UNTIL(&b->loop, health(b) == HEALTH_DOWN);
    struct server_report r = report(b);
    assert_false(r.usable);
    assert_string_equal(r.state, "down");
    assert_false(r.check_ok);
    assert_true(r.changed_us != 0 && r.check_us != 0);
    if (!strstr(r.reason, expected))
        fail_msg("expected \"%s\" in \"%s\"", expected, r.reason);
}

static void test_a_server_that_answers_stays_up(void **state)
{
    (void)state;
    struct bench b;
    struct scripted s;
    scripted_start(&s, "HTTP/1.1 204 No Content\r\n\r\n");
    set_up(&b, s.address, CHECK ", path: /healthz, headers: {host: api.internal}");
    assert_true(server_usable(b.server));
    RUN_UNTIL(&b.loop, atomic_load(&s.connections) >= 4);
    assert_int_equal(health(&b), HEALTH_UP);
    assert_string_equal(report(&b).check_text, "status 204");
    assert_int_equal(b.changes, 0);
    tear_down(&b);
    scripted_stop(&s);
    assert_non_null(strstr(s.request, "GET /healthz HTTP/1.1\r\n"));
    assert_non_null(strstr(s.request, "host: api.internal\r\n"));
}

static void test_it_goes_down_with_fall_and_comes_back_with_rise(void **state)
{
    (void)state;
    struct bench b;
    struct scripted s;
    scripted_start(&s, "HTTP/1.1 503 Service Unavailable\r\n\r\n");
    set_up(&b, s.address, CHECK);
    down_because(&b, "http check: status 503 is not expected");
    assert_int_equal(atomic_load(&s.connections), 3);
    assert_int_equal(b.changes, 1);

    unsigned before = atomic_load(&s.connections);
    atomic_store(&s.answer, "HTTP/1.1 200 OK\r\n\r\n");
    RUN_UNTIL(&b.loop, health(&b) == HEALTH_UP);
    assert_in_range(atomic_load(&s.connections) - before, 2, 3);
    assert_true(server_usable(b.server));
    assert_string_equal(report(&b).reason, "");
    assert_int_equal(b.changes, 2);
    tear_down(&b);
    scripted_stop(&s);
}

static void test_fewer_failures_than_fall_leave_it_in_use(void **state)
{
    (void)state;
    struct bench b;
    struct scripted s;
    scripted_start(&s, "HTTP/1.1 500 Oops\r\n\r\n");
    set_up(&b, s.address, "interval: 10ms, fall: 1000");
    RUN_UNTIL(&b.loop, atomic_load(&s.connections) >= 5);
    assert_int_equal(health(&b), HEALTH_UNKNOWN);
    assert_true(server_usable(b.server));
    tear_down(&b);
    scripted_stop(&s);
}

static void test_every_way_to_fail_has_its_reason(void **state)
{
    (void)state;
    static const struct {
        const char *check, *answer, *reason;
    } cases[] = {
        {"type: http", "SSH-2.0-OpenSSH_9.2\r\n", "http check: its answer is not HTTP"},
        {"type: http", "HTTP/1.1 2", "amid its answer"},
        {"type: http", "", "without an answer"},
        {"type: http, timeout: 30ms", NULL, "no answer within 30 ms"},
        {"type: tcp, send: 'PING\\r\\n', receive: +PONG", "-ERR no\r\n",
         "tcp check: its answer begins with \"-ERR no\\r\\n\", which is not expected"},
        {"type: tcp, send: 'PING\\r\\n', receive: +PONG", "+PO", "amid its answer"},
        {"type: tls, timeout: 30ms", NULL, "tls check: no TLS handshake within 30 ms"},
        {"type: tls", "HTTP/1.1 400 Bad Request\r\n\r\n", "tls check: TLS: "},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bench b;
        struct scripted s;
        char check[256];
        scripted_start(&s, cases[i].answer);
        snprintf(check, sizeof check, "interval: 20ms, fall: 1, %s", cases[i].check);
        set_up(&b, s.address, check);
        down_because(&b, cases[i].reason);
        tear_down(&b);
        scripted_stop(&s);
    }
}

static void test_a_refused_connect_is_told_as_that(void **state)
{
    (void)state;
    struct bench b;
    char address[64];
    int fd = listen_anywhere(address, sizeof address, false);
    set_up(&b, address, "type: tcp, interval: 20ms");
    down_because(&b, "tcp check: connect: Connection refused");
    tear_down(&b);
    close(fd);
}

static void test_tcp_checks_connect_or_expect_an_answer(void **state)
{
    (void)state;
    static const struct {
        const char *check, *text;
    } cases[] = {
        {"type: tcp, interval: 20ms", "connected"},
        {"type: tcp, interval: 20ms, send: 'PING\\r\\n', receive: +PONG", "the expected answer"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bench b;
        struct scripted s;
        scripted_start(&s, "+PONG\r\n");
        set_up(&b, s.address, cases[i].check);
        RUN_UNTIL(&b.loop, health(&b) == HEALTH_UP);
        assert_string_equal(report(&b).check_text, cases[i].text);
        tear_down(&b);
        scripted_stop(&s);
    }
}

static void test_an_answer_in_pieces_is_read_to_its_end(void **state)
{
    (void)state;
    struct bench b;
    char address[64];
    int fd = listen_anywhere(address, sizeof address, true), peer = -1;
    set_up(&b, address, "interval: 10ms, timeout: 5s");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    RUN_UNTIL(&b.loop, poll(&p, 1, 0) == 1);
    peer = accept(fd, NULL, NULL);
    const char *answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n";
    for (const char *c = answer; *c; c++) {
        assert_int_equal(health(&b), HEALTH_UNKNOWN);
        assert_int_equal(send(peer, c, 1, MSG_NOSIGNAL), 1);
        for (int i = 0; c[1] && i < 2; i++) {
            struct ticker t = {.loop = &b.loop};
            timer_init(&t.timer, ticker_fire);
            loop_timer(&b.loop, &t.timer, 1);
            loop_pass(&b.loop);
            loop_timer_clear(&b.loop, &t.timer);
        }
    }
    RUN_UNTIL(&b.loop, health(&b) == HEALTH_UP);
    close(peer);
    tear_down(&b);
    close(fd);
}

static void test_a_reload_without_the_check_makes_it_count_as_up(void **state)
{
    (void)state;
    struct bench b;
    struct scripted s;
    scripted_start(&s, "");
    set_up(&b, s.address, CHECK);
    down_because(&b, "without an answer");

    struct fixture second;
    char text[128];
    snprintf(text, sizeof text, "servers: ['%s']", s.address);
    fixture_make(&second, text, b.registry, 1);
    assert_false(server_usable(b.server));
    assert_int_equal(upstream_activate(second.upstream), 0);
    upstream_free(b.f.upstream);
    b.f.upstream = NULL;
    assert_true(server_usable(b.server));
    fixture_free(&b.f);
    b.f = second;
    tear_down(&b);
    scripted_stop(&s);
}

static void test_a_reload_amid_a_check_keeps_the_health_and_goes_on(void **state)
{
    (void)state;
    struct bench b;
    struct scripted s;
    scripted_start(&s, NULL);
    set_up(&b, s.address, "interval: 20ms, timeout: 40ms, fall: 2");
    down_because(&b, "no answer within 40 ms");
    unsigned before = atomic_load(&s.connections);
    RUN_UNTIL(&b.loop, atomic_load(&s.connections) > before);

    struct fixture second;
    char text[256];
    snprintf(text, sizeof text,
             "{servers: ['%s'], health_check: {interval: 20ms, timeout: 1s, fall: 1, rise: 1}}", s.address);
    fixture_make(&second, text, b.registry, 1);
    assert_int_equal(upstream_activate(second.upstream), 0);
    fixture_free(&b.f);
    b.f = second;
    assert_int_equal(health(&b), HEALTH_DOWN);

    atomic_store(&s.answer, "HTTP/1.1 200 OK\r\n\r\n");
    RUN_UNTIL(&b.loop, health(&b) == HEALTH_UP);
    tear_down(&b);
    scripted_stop(&s);
}

static unsigned count_checked(const struct upstream *u)
{
    unsigned checked = 0;
    for (size_t i = 0; i < u->set->count; i++) {
        struct server_report r;
        server_report(u->set->servers[i], &r);
        checked += r.checked;
    }
    return checked;
}

static void test_many_checks_do_not_beat_together(void **state)
{
    (void)state;
    struct bench b;
    struct scripted s;
    scripted_start(&s, "HTTP/1.1 200 OK\r\n\r\n");
    set_up(&b, s.address, "interval: 200ms");
    struct fixture many;
    char text[16384];
    size_t len = (size_t)snprintf(text, sizeof text, "{health_check: {interval: 1s, type: tcp}, servers: [");
    for (int i = 1; i <= 200; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s127.0.0.%d:1", i > 1 ? ", " : "", i);
    snprintf(text + len, sizeof text - len, "]}");
    fixture_make(&many, text, b.registry, 1);
    many.upstream->name = S("many");
    assert_int_equal(upstream_activate(many.upstream), 0);

    /* Four fifths of them have their turns in four fifths of the interval, not all in one moment. */
    RUN_UNTIL(&b.loop, count_checked(many.upstream) >= 20);
    msec_t begun = clock_ms();
    RUN_UNTIL(&b.loop, count_checked(many.upstream) >= 180);
    assert_true(clock_ms() - begun >= 200);
    upstream_deactivate(many.upstream);
    fixture_free(&many);
    tear_down(&b);
    scripted_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_server_that_answers_stays_up),
        cmocka_unit_test(test_it_goes_down_with_fall_and_comes_back_with_rise),
        cmocka_unit_test(test_fewer_failures_than_fall_leave_it_in_use),
        cmocka_unit_test(test_every_way_to_fail_has_its_reason),
        cmocka_unit_test(test_a_refused_connect_is_told_as_that),
        cmocka_unit_test(test_tcp_checks_connect_or_expect_an_answer),
        cmocka_unit_test(test_an_answer_in_pieces_is_read_to_its_end),
        cmocka_unit_test(test_a_reload_without_the_check_makes_it_count_as_up),
        cmocka_unit_test(test_a_reload_amid_a_check_keeps_the_health_and_goes_on),
        cmocka_unit_test(test_many_checks_do_not_beat_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
