#include "tests/unit/balancer_fixture.h"

#include "balancer/pool.h"
#include "core/log.h"
#include "tls/client.h"
#include "tls/info.h"
#include "tls/server.h"

#define ANSWER "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

/* A TLS server with a self-signed certificate, on the test's own loop: answers whatever is said with 200. */
struct peer {
    struct conn conn;
    struct task bury;
    struct list link;
};

struct bench {
    struct loop loop;
    struct config config;
    struct tls_server_settings settings;
    struct tls_server *tls;
    struct event accepting;
    struct list peers;
    int listener;
    char address[64];
    struct server_registry *registry;
    struct counters *counters;
    struct pool pool;
    struct fixture f;
    struct server *server;
};

static void peer_bury(struct task *t)
{
    free(CONTAINER_OF(t, struct peer, bury));
}
static void peer_end(struct conn *c)
{
    struct peer *p = CONTAINER_OF(c, struct peer, conn);
    list_remove(&p->link);
    conn_close(c);
    loop_bury(c->loop, &p->bury, peer_bury);
}
static void peer_failed(struct conn *c, int error)
{
    (void)error;
    peer_end(c);
}
static void peer_connected(struct conn *c)
{
    (void)c;
}
static void peer_readable(struct conn *c)
{
    struct slice in;
    enum conn_status status;
    while ((status = conn_read(c, &in)) == CONN_DATA)
        conn_write(c, &(struct iovec){(void *)(uintptr_t)ANSWER, sizeof ANSWER - 1}, 1);
    if (status != CONN_AGAIN)
        peer_end(c);
}
static const struct conn_handler peer_handler = {
    .connected = peer_connected, .readable = peer_readable, .timeout = peer_end, .failed = peer_failed};

static void on_accept(evutil_socket_t fd, short what, void *argument)
{
    struct bench *b = argument;
    (void)what;
    int peer_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer_fd < 0)
        return;
    struct peer *p = calloc(1, sizeof *p);
    list_init(&p->link);
    list_append(&b->peers, &p->link);
    task_init(&p->bury);
    assert_int_equal(conn_open(&p->conn, &b->loop, peer_fd, &peer_handler), 0);
    assert_int_equal(tls_server_accept(b->tls, 0, &p->conn), 0);
}

static void set_up(struct bench *b, const char *more)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->loop, 0), 0);
    config_init(&b->config);
    assert_int_equal(config_parse(&b->config, "t", S("self_signed: [localhost]")), 0);
    assert_int_equal(option_apply(&b->config, &tls_server_table, b->config.root, &b->settings), 0);
    b->tls = tls_server_create(&b->config, b->config.root, &b->settings, 1, NULL);
    if (!b->tls)
        fail_msg("%s", config_errors_text(&b->config));
    list_init(&b->peers);
    b->listener = listen_anywhere(b->address, sizeof b->address, true);
    event_assign(&b->accepting, b->loop.base, b->listener, EV_READ | EV_PERSIST, on_accept, b);
    event_add(&b->accepting, NULL);

    b->registry = registry_create(&(struct registry_options){.loop = &b->loop, .tls_worker = 1});
    b->counters = calloc(1, sizeof *b->counters);
    pool_init(&b->pool, &b->loop, 0, b->counters);
    char text[256];
    snprintf(text, sizeof text, "{servers: ['%s'], %s}", b->address, more);
    fixture_make(&b->f, text, b->registry, 1);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
    b->server = b->f.upstream->set->servers[0];
}

static void tear_down(struct bench *b)
{
    pool_close(&b->pool);
    LIST_EACH_SAFE (node, &b->peers) {
        peer_end(&CONTAINER_OF(node, struct peer, link)->conn);
    }
    event_del(&b->accepting);
    close(b->listener);
    upstream_deactivate(b->f.upstream);
    registry_free(b->registry);
    fixture_free(&b->f);
    loop_free(&b->loop);
    pool_free(&b->pool);
    counters_free(b->counters);
    free(b->counters);
    tls_server_free(b->tls);
    config_free(&b->config);
}

struct user {
    bool connected;
    size_t got;
    int error;
};
static void on_connected(struct conn *c)
{
    ((struct user *)upstream_conn_of(c)->user)->connected = true;
}
static void on_readable(struct conn *c)
{
    struct slice in;
    while (conn_read(c, &in) == CONN_DATA)
        ((struct user *)upstream_conn_of(c)->user)->got += in.len;
}
static void on_timeout(struct conn *c)
{
    (void)c;
}
static void on_failed(struct conn *c, int error)
{
    ((struct user *)upstream_conn_of(c)->user)->error = error;
}
static const struct conn_handler handler = {
    .connected = on_connected, .readable = on_readable, .timeout = on_timeout, .failed = on_failed};

static void test_a_tls_connection_is_used_again(void **state)
{
    (void)state;
    struct bench b;
    struct user u = {0};
    set_up(&b, "tls: {verify: false}");
    struct upstream_conn *uc = pool_connect(&b.pool, b.f.upstream, b.server, &handler, &u);
    assert_non_null(uc);
    RUN_UNTIL(&b.loop, u.connected || u.error);
    assert_int_equal(u.error, 0);
    assert_non_null(tls_info(&uc->conn));
    for (int i = 0; i < 5; i++) {
        u.got = 0;
        conn_write(&uc->conn, &(struct iovec){(char[]){'G'}, 1}, 1);
        RUN_UNTIL(&b.loop, u.got == sizeof ANSWER - 1);
        pool_give(&b.pool, b.f.upstream, uc, 60000);
        assert_int_equal(b.pool.idle_count, 1);
        loop_pass(&b.loop);
        assert_ptr_equal(pool_take(&b.pool, b.f.upstream, b.server, &handler, &u), uc);
    }
    pool_discard(uc);
    tear_down(&b);
}

static void test_an_unverified_certificate_fails_the_connect(void **state)
{
    (void)state;
    struct bench b;
    struct user u = {0};
    set_up(&b, "tls: true");
    struct upstream_conn *uc = pool_connect(&b.pool, b.f.upstream, b.server, &handler, &u);
    assert_non_null(uc);
    RUN_UNTIL(&b.loop, u.connected || u.error);
    assert_false(u.connected);
    pool_fail(uc);
    tear_down(&b);
}

static void check_becomes(const char *upstream, int health, const char *text)
{
    struct bench b;
    struct server_report r;
    set_up(&b, upstream);
    RUN_UNTIL(&b.loop, atomic_load(&b.server->health) == health);
    server_report(b.server, &r);
    if (!strstr(r.check_text, text))
        fail_msg("expected \"%s\" in \"%s\"", text, r.check_text);
    tear_down(&b);
}

static void test_checks_go_over_tls(void **state)
{
    (void)state;
    check_becomes("tls: {verify: false}, health_check: {interval: 20ms}", HEALTH_UP, "status 200");
    check_becomes("tls: {verify: false}, health_check: {type: tls, interval: 20ms}", HEALTH_UP,
                  "handshake done");
    check_becomes("health_check: {type: tls, interval: 20ms}", HEALTH_UP, "handshake done");
    check_becomes("tls: {verify: false}, health_check: {type: tcp, interval: 20ms}", HEALTH_UP, "connected");
    check_becomes("tls: {verify: false}, health_check: {type: tcp, interval: 20ms, send: x, receive: HTTP}",
                  HEALTH_UP, "the expected answer");
    check_becomes("tls: true, health_check: {type: tls, interval: 20ms, fall: 1}", HEALTH_DOWN, "TLS: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tls_connection_is_used_again),
        cmocka_unit_test(test_an_unverified_certificate_fails_the_connect),
        cmocka_unit_test(test_checks_go_over_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
