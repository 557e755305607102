#include "tests/unit/balancer_fixture.h"

#include "balancer/keepalive.h"
#include "balancer/pool.h"

/* A pool on a loop, one server whose side of each connection the test holds, and the user's handler. */
struct bench {
    struct loop loop;
    struct server_registry *registry;
    struct counters *counters;
    struct pool pool;
    struct fixture f;
    struct server *server;
    int listener;
    char address[64];
};

struct user {
    bool connected, readable, timed_out;
    int error;
};

static struct user *user_of(struct conn *c)
{
    return upstream_conn_of(c)->user;
}
static void on_connected(struct conn *c)
{
    user_of(c)->connected = true;
}
static void on_readable(struct conn *c)
{
    user_of(c)->readable = true;
}
static void on_timeout(struct conn *c)
{
    user_of(c)->timed_out = true;
}
static void on_failed(struct conn *c, int error)
{
    user_of(c)->error = error;
}
static const struct conn_handler handler = {
    .connected = on_connected, .readable = on_readable, .timeout = on_timeout, .failed = on_failed};

/* `more` is put into the upstream's map. */
static void set_up(struct bench *b, const char *more)
{
    memset(b, 0, sizeof *b);
    assert_int_equal(loop_init(&b->loop, 0), 0);
    b->registry = registry_create(&(struct registry_options){.loop = &b->loop});
    b->counters = calloc(1, sizeof *b->counters);
    counters_init(b->counters);
    pool_init(&b->pool, &b->loop, 0, b->counters);
    b->listener = listen_anywhere(b->address, sizeof b->address, true);
    char text[256];
    snprintf(text, sizeof text, "{servers: ['%s']%s}", b->address, more);
    fixture_make(&b->f, text, b->registry, 1);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
    b->server = b->f.upstream->set->servers[0];
}

static void tear_down(struct bench *b)
{
    pool_close(&b->pool);
    upstream_deactivate(b->f.upstream);
    registry_free(b->registry);
    loop_free(&b->loop);
    pool_free(&b->pool);
    fixture_free(&b->f);
    counters_free(b->counters);
    free(b->counters);
    close(b->listener);
}

static struct upstream_conn *connect_one(struct bench *b, struct user *u, int *peer)
{
    *u = (struct user){0};
    struct upstream_conn *uc = pool_connect(&b->pool, b->f.upstream, b->server, &handler, u);
    assert_non_null(uc);
    RUN_UNTIL(&b->loop, u->connected || u->error);
    assert_true(u->connected);
    assert_false(uc->reused);
    *peer = accept(b->listener, NULL, NULL);
    assert_true(*peer >= 0);
    return uc;
}

static void give(struct bench *b, struct upstream_conn *uc)
{
    pool_give(&b->pool, b->f.upstream, uc, 60000);
}

static struct upstream_conn *take(struct bench *b, struct user *u)
{
    *u = (struct user){0};
    return pool_take(&b->pool, b->f.upstream, b->server, &handler, u);
}

static struct server_totals totals(struct bench *b)
{
    struct server_totals t;
    counters_sum(&b->counters, 1, b->server, &t);
    return t;
}

static bool peer_sees_end(int peer)
{
    char byte;
    struct pollfd p = {.fd = peer, .events = POLLIN};
    return poll(&p, 1, 2000) == 1 && recv(peer, &byte, 1, MSG_DONTWAIT) <= 0;
}

static void test_a_connection_given_back_is_taken_again_and_works(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    assert_null(take(&b, &u));
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    give(&b, uc);
    assert_int_equal(totals(&b).idle, 1);
    assert_int_equal(totals(&b).busy, 0);

    assert_ptr_equal(take(&b, &u), uc);
    assert_true(uc->reused);
    assert_int_equal(uc->requests, 2);
    conn_write(&uc->conn, &(struct iovec){(char[]){'h', 'i'}, 2}, 1);
    char text[4];
    assert_int_equal(recv(peer, text, sizeof text, 0), 2);
    assert_int_equal(send(peer, "yes", 3, 0), 3);
    RUN_UNTIL(&b.loop, u.readable);
    struct slice in;
    assert_int_equal(conn_read(&uc->conn, &in), CONN_DATA);
    assert_int_equal(in.len, 3);
    give(&b, uc);
    assert_ptr_equal(take(&b, &u), uc);
    pool_discard(uc);
    assert_true(peer_sees_end(peer));

    struct server_totals t = totals(&b);
    assert_int_equal(t.opened, 1);
    assert_int_equal(t.reused, 2);
    assert_int_equal(t.idle, 0);
    assert_int_equal(t.busy, 0);
    assert_int_equal(t.bytes_in, 3);
    assert_int_equal(t.bytes_out, 2);
    close(peer);
    tear_down(&b);
}

static void test_the_most_recently_used_is_taken_first(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peers[3];
    struct upstream_conn *uc[3];
    set_up(&b, "");
    for (int i = 0; i < 3; i++)
        uc[i] = connect_one(&b, &u, &peers[i]);
    give(&b, uc[1]);
    give(&b, uc[0]);
    give(&b, uc[2]);
    assert_ptr_equal(take(&b, &u), uc[2]);
    assert_ptr_equal(take(&b, &u), uc[0]);
    assert_ptr_equal(take(&b, &u), uc[1]);
    assert_null(take(&b, &u));
    for (int i = 0; i < 3; i++) {
        pool_discard(uc[i]);
        close(peers[i]);
    }
    tear_down(&b);
}

static void test_an_idle_connection_that_its_server_closes_is_gone(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    give(&b, connect_one(&b, &u, &peer));
    close(peer);
    RUN_UNTIL(&b.loop, totals(&b).idle == 0);
    assert_null(take(&b, &u));
    assert_int_equal(b.pool.idle_count, 0);
    tear_down(&b);
}

static void test_an_idle_connection_that_says_something_is_closed(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    give(&b, connect_one(&b, &u, &peer));
    assert_int_equal(send(peer, "HTTP/1.1 200 OK\r\n", 17, 0), 17);
    RUN_UNTIL(&b.loop, totals(&b).idle == 0);
    assert_true(peer_sees_end(peer));
    assert_null(take(&b, &u));
    close(peer);
    tear_down(&b);
}

static void test_a_connection_with_bytes_left_over_is_not_kept(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");

    /* Kept by the user. */
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    conn_keep(&uc->conn, S("more"));
    give(&b, uc);
    assert_null(take(&b, &u));
    assert_true(peer_sees_end(peer));
    close(peer);

    /* In the socket, its edge told but not used up. */
    uc = connect_one(&b, &u, &peer);
    assert_int_equal(send(peer, "more", 4, 0), 4);
    RUN_UNTIL(&b.loop, u.readable);
    give(&b, uc);
    assert_null(take(&b, &u));
    assert_true(peer_sees_end(peer));
    close(peer);
    tear_down(&b);
}

static void test_an_idle_connection_ends_with_its_time(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    pool_give(&b.pool, b.f.upstream, connect_one(&b, &u, &peer), 30);
    RUN_UNTIL(&b.loop, totals(&b).idle == 0);
    assert_true(peer_sees_end(peer));
    assert_false(u.timed_out);
    close(peer);
    tear_down(&b);
}

/* The server ends idle connections after so long: twice, apart from each other. */
static void learn(struct bench *b, msec_t limit)
{
    usec_t now = loop_now_us(&b->loop);
    keepalive_ended(b->server, limit, now - KEEPALIVE_TRY_US);
    keepalive_ended(b->server, limit, now);
    assert_int_equal(keepalive_limit(b->server, now), limit);
}

static void test_an_idle_connection_ends_before_its_server_would_end_it(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    learn(&b, 300);
    usec_t begun = loop_now_us(&b.loop);
    give(&b, connect_one(&b, &u, &peer)); /* for a minute */
    RUN_UNTIL(&b.loop, totals(&b).idle == 0);
    assert_true(loop_now_us(&b.loop) - begun >= 250000);
    assert_true(peer_sees_end(peer));
    close(peer);
    tear_down(&b);
}

static void test_one_that_was_idle_when_its_limit_was_learnt_is_not_taken_past_it(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peers[2];
    set_up(&b, "");
    struct upstream_conn *old = connect_one(&b, &u, &peers[0]), *young = connect_one(&b, &u, &peers[1]);
    give(&b, young);
    give(&b, old); /* the first to be taken */
    old->since_us -= 251000;
    learn(&b, 300);
    assert_ptr_equal(take(&b, &u), young);
    assert_int_equal(totals(&b).idle, 0);
    assert_true(peer_sees_end(peers[0]));
    give(&b, young);
    close(peers[0]);
    close(peers[1]);
    tear_down(&b);
}

static void test_a_connection_on_trial_is_not_taken_and_teaches_that_it_lasts(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    learn(&b, 300);
    atomic_store(&b.server->idle_tried_us, 0);
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    give(&b, uc);
    RUN_UNTIL(&b.loop, uc->on_trial);
    assert_null(take(&b, &u));
    assert_int_equal(totals(&b).idle, 1);
    RUN_UNTIL(&b.loop, totals(&b).idle == 0);
    assert_true(keepalive_limit(b.server, loop_now_us(&b.loop)) >= 600);
    close(peer);
    tear_down(&b);
}

static void test_ends_of_idle_and_of_dead_connections_teach_their_server_s_limit(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    give(&b, uc);
    uc->since_us -= 5000000;
    keepalive_ended(b.server, 5000, loop_now_us(&b.loop) - KEEPALIVE_TRY_US);
    close(peer);
    RUN_UNTIL(&b.loop, totals(&b).idle == 0);
    assert_int_equal(keepalive_limit(b.server, loop_now_us(&b.loop)), 5000);

    uc = connect_one(&b, &u, &peer);
    give(&b, uc);
    uc->since_us -= 1000000;
    keepalive_ended(b.server, 1000, loop_now_us(&b.loop) - KEEPALIVE_TRY_US);
    assert_ptr_equal(take(&b, &u), uc);
    pool_was_dead(uc);
    assert_int_equal(keepalive_limit(b.server, loop_now_us(&b.loop)), 1000);
    pool_discard(uc);
    close(peer);
    tear_down(&b);
}

static void test_past_keepalive_idle_the_oldest_goes_once_no_burst_has_taken_it(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peers[3];
    struct upstream_conn *uc[3];
    set_up(&b, ", keepalive: {idle: 2}");
    for (int i = 0; i < 3; i++)
        uc[i] = connect_one(&b, &u, &peers[i]);
    for (int i = 0; i < 3; i++)
        give(&b, uc[i]);
    for (int i = 3; i-- > 0;)
        assert_ptr_equal(take(&b, &u), uc[i]);
    for (int i = 0; i < 3; i++)
        give(&b, uc[i]);
    assert_int_equal(totals(&b).idle, 3);
    RUN_UNTIL(&b.loop, totals(&b).idle == 2);
    assert_true(peer_sees_end(peers[0]));

    uc[0] = connect_one(&b, &u, &peers[0]);
    uc[1]->since_us -= 1000000;
    give(&b, uc[0]);
    assert_int_equal(totals(&b).idle, 2);
    assert_true(peer_sees_end(peers[1]));
    for (int i = 0; i < 3; i++)
        close(peers[i]);
    tear_down(&b);
}

static void test_a_connection_ends_with_its_last_request(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, ", keepalive: {requests: 2}");
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    give(&b, uc);
    assert_ptr_equal(take(&b, &u), uc);
    give(&b, uc);
    assert_null(take(&b, &u));
    assert_true(peer_sees_end(peer));
    close(peer);
    tear_down(&b);
}

static void test_keepalive_idle_zero_keeps_none(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, ", keepalive: {idle: 0}");
    give(&b, connect_one(&b, &u, &peer));
    assert_null(take(&b, &u));
    close(peer);
    tear_down(&b);
}

static void test_a_refused_connect_fails_and_is_counted(void **state)
{
    (void)state;
    struct bench b;
    struct user u = {0};
    set_up(&b, "");
    close(b.listener);
    struct upstream_conn *uc = pool_connect(&b.pool, b.f.upstream, b.server, &handler, &u);
    assert_non_null(uc);
    RUN_UNTIL(&b.loop, u.error != 0);
    assert_int_equal(u.error, ECONNREFUSED);
    pool_fail(uc);
    assert_int_equal(totals(&b).failed, 1);
    assert_int_equal(totals(&b).busy, 0);
    assert_int_equal(atomic_load(&b.server->connect_failures), 1);
    b.listener = -1;
    tear_down(&b);
}

static void test_an_address_that_changed_ends_the_idle_connections(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peers[2];
    set_up(&b, "");
    struct upstream_conn *idle = connect_one(&b, &u, &peers[0]);
    struct upstream_conn *used = connect_one(&b, &u, &peers[1]);
    give(&b, idle);

    struct address other;
    struct slice host;
    uint16_t port;
    const char *why;
    assert_int_equal(address_parse(S("127.0.0.1:9"), &other, &host, &port, &why), ADDRESS_SOCKET);
    server_set_addresses(b.server, &other, 1);
    assert_null(take(&b, &u));
    assert_int_equal(totals(&b).idle, 0);
    give(&b, used);
    assert_null(take(&b, &u));
    assert_true(peer_sees_end(peers[0]) && peer_sees_end(peers[1]));
    close(peers[0]);
    close(peers[1]);
    tear_down(&b);
}

static void test_a_sweep_ends_those_of_a_retired_server(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peers[2];
    set_up(&b, "");
    struct upstream_conn *idle = connect_one(&b, &u, &peers[0]);
    struct upstream_conn *used = connect_one(&b, &u, &peers[1]);
    give(&b, idle);
    pool_sweep(&b.pool);
    assert_int_equal(totals(&b).idle, 1);

    upstream_deactivate(b.f.upstream);
    pool_sweep(&b.pool);
    assert_int_equal(totals(&b).idle, 0);
    assert_true(peer_sees_end(peers[0]));

    /* What is in use goes on, and is not kept. */
    conn_write(&used->conn, &(struct iovec){(char[]){'x'}, 1}, 1);
    char byte;
    assert_int_equal(recv(peers[1], &byte, 1, 0), 1);
    give(&b, used);
    assert_true(peer_sees_end(peers[1]));
    close(peers[0]);
    close(peers[1]);
    tear_down(&b);
}

static void test_a_connection_outlives_its_snapshot(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    upstream_free(b.f.upstream);
    b.f.upstream = NULL;
    assert_int_equal(registry_count(b.registry), 0);
    char text[128];
    struct fixture second;
    snprintf(text, sizeof text, "servers: ['%s']", b.address);
    fixture_make(&second, text, b.registry, 1);
    assert_int_equal(upstream_activate(second.upstream), 0);
    assert_ptr_not_equal(second.upstream->set->servers[0], uc->server);
    assert_int_not_equal(second.upstream->set->servers[0]->id, uc->server->id);
    pool_discard(uc);
    loop_pass(&b.loop);
    fixture_free(&b.f);
    b.f = second;
    close(peer);
    tear_down(&b);
}

static void test_other_transport_settings_do_not_get_the_old_connections(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    give(&b, connect_one(&b, &u, &peer));
    char text[128];
    struct fixture second;
    snprintf(text, sizeof text, "{servers: ['%s'], tls: {verify: false}}", b.address);
    fixture_make(&second, text, b.registry, 1);
    assert_int_equal(upstream_activate(second.upstream), 0);
    assert_ptr_equal(second.upstream->set->servers[0], b.server);
    assert_null(pool_take(&b.pool, second.upstream, b.server, &handler, &u));
    assert_true(peer_sees_end(peer));
    fixture_free(&second);
    close(peer);
    tear_down(&b);
}

static void test_without_an_address_there_is_no_connection(void **state)
{
    (void)state;
    struct bench b;
    struct user u = {0};
    set_up(&b, "");
    struct server *s = server_create(registry_ids(b.registry), S("up"), S("name.invalid:80"));
    assert_null(pool_connect(&b.pool, b.f.upstream, s, &handler, &u));
    assert_int_equal(errno, EADDRNOTAVAIL);
    server_release(s);
    tear_down(&b);
}

static unsigned retired;

static void retire(struct upstream_conn *uc)
{
    retired++;
    pool_discard(uc);
}

static void test_connections_of_many_requests_are_listed_until_they_have_no_future(void **state)
{
    (void)state;
    struct bench b;
    struct user u, v;
    int peer, other;
    set_up(&b, "");
    retired = 0;
    struct upstream_conn *uc = connect_one(&b, &u, &peer), *second = connect_one(&b, &v, &other);
    assert_null(pool_listed(&b.pool, b.server));
    assert_int_equal(pool_list(uc, retire), 0);
    assert_int_equal(pool_list(second, retire), 0);
    struct list *listed = pool_listed(&b.pool, b.server);
    assert_non_null(listed);
    assert_ptr_equal(CONTAINER_OF(listed->next, struct upstream_conn, link), second);
    assert_null(take(&b, &u)); /* they are no idle ones */

    pool_count_idle(uc, true);
    pool_count_idle(uc, true);
    assert_int_equal(totals(&b).idle, 1);
    assert_int_equal(totals(&b).busy, 1);
    pool_count_idle(uc, false);
    assert_int_equal(totals(&b).idle, 0);

    pool_unlist(second);
    pool_unlist(second);
    pool_sweep(&b.pool);
    assert_int_equal(retired, 0);
    server_set_admin(b.server, ADMIN_DOWN);
    pool_sweep(&b.pool);
    assert_int_equal(retired, 1);
    assert_true(peer_sees_end(peer));
    assert_null(pool_listed(&b.pool, b.server));
    pool_discard(second);
    assert_int_equal(totals(&b).busy, 0);
    close(peer);
    close(other);
    tear_down(&b);
}

static void test_listed_connections_end_with_the_pool(void **state)
{
    (void)state;
    struct bench b;
    struct user u;
    int peer;
    set_up(&b, "");
    retired = 0;
    struct upstream_conn *uc = connect_one(&b, &u, &peer);
    pool_list(uc, retire);
    pool_notes(&b.pool, b.server)->streams = 7;
    assert_int_equal(pool_notes(&b.pool, b.server)->streams, 7);
    pool_close(&b.pool);
    assert_int_equal(retired, 1);
    close(peer);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_given_back_is_taken_again_and_works),
        cmocka_unit_test(test_the_most_recently_used_is_taken_first),
        cmocka_unit_test(test_an_idle_connection_that_its_server_closes_is_gone),
        cmocka_unit_test(test_an_idle_connection_that_says_something_is_closed),
        cmocka_unit_test(test_a_connection_with_bytes_left_over_is_not_kept),
        cmocka_unit_test(test_an_idle_connection_ends_with_its_time),
        cmocka_unit_test(test_an_idle_connection_ends_before_its_server_would_end_it),
        cmocka_unit_test(test_one_that_was_idle_when_its_limit_was_learnt_is_not_taken_past_it),
        cmocka_unit_test(test_a_connection_on_trial_is_not_taken_and_teaches_that_it_lasts),
        cmocka_unit_test(test_ends_of_idle_and_of_dead_connections_teach_their_server_s_limit),
        cmocka_unit_test(test_past_keepalive_idle_the_oldest_goes_once_no_burst_has_taken_it),
        cmocka_unit_test(test_a_connection_ends_with_its_last_request),
        cmocka_unit_test(test_keepalive_idle_zero_keeps_none),
        cmocka_unit_test(test_a_refused_connect_fails_and_is_counted),
        cmocka_unit_test(test_an_address_that_changed_ends_the_idle_connections),
        cmocka_unit_test(test_a_sweep_ends_those_of_a_retired_server),
        cmocka_unit_test(test_a_connection_outlives_its_snapshot),
        cmocka_unit_test(test_other_transport_settings_do_not_get_the_old_connections),
        cmocka_unit_test(test_without_an_address_there_is_no_connection),
        cmocka_unit_test(test_connections_of_many_requests_are_listed_until_they_have_no_future),
        cmocka_unit_test(test_listed_connections_end_with_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
