#include "tests/unit/redis_fixture.h"

static void start(struct world *w)
{
    server_start(&w->server);
    node_open(w, &w->a, "");
}

static void start_two(struct world *w)
{
    start(w);
    node_open(w, &w->b, "");
    UNTIL(w, stats_of(&w->a).synced && stats_of(&w->b).synced);
    UNTIL(w, is_used(&w->a) && is_used(&w->b));
}

/* Values. */

static void test_what_one_node_put_the_other_finds(void **state)
{
    struct world *w = *state;
    start_two(w);
    put(w, &w->a, "key", "example.com/", "t", "the content");
    assert_found(w, &w->b, "key", "the content");
    assert_result(w, &w->b, "other key", CACHE_REDIS_ABSENT);
    struct cache_redis_stats s = stats_of(&w->b);
    assert_int_equal(s.hits, 1);
    assert_int_equal(s.misses, 1);
    assert_int_equal(stats_of(&w->a).puts, 1);
    assert_true(stats_of(&w->a).put_bytes > strlen("the content"));
    assert_int_equal(s.workers_up, 1);
}

static void test_a_large_value_comes_whole_and_a_larger_one_stays_out(void **state)
{
    struct world *w = *state;
    size_t len = 1 << 20;
    char *content = malloc(len + 1);
    for (size_t i = 0; i <= len; i++)
        content[i] = (char)(i * 7 + (i >> 9));
    start(w);
    UNTIL(w, stats_of(&w->a).synced);
    struct cache_redis_stamp now = cache_redis_now(w->a.fleet);
    put_at(w, &w->a, "large", "u", "t", now, slice_of(content, len));
    struct call k = {.content = NULL};
    assert_int_equal(look(w, &w->a, "large", &k), CACHE_REDIS_FOUND);
    assert_int_equal(k.len, len);
    assert_memory_equal(k.content, content, len);
    assert_false(put_now(&w->a, "larger", "u", "t", now, slice_of(content, len + 1)));
    assert_result(w, &w->a, "larger", CACHE_REDIS_ABSENT);
    free(k.content);
    free(content);
}

static void test_a_value_goes_when_its_time_is_over(void **state)
{
    struct world *w = *state;
    char place[64], command[128], answer[64];
    server_start(&w->server);
    node_open(w, &w->a, ", ttl: 20s");
    put(w, &w->a, "key", "u", "t", "x");
    snprintf(command, sizeof command, "TTL %.*s", SLICE_FMT(place_of("key", place)));
    raw(&w->server, command, answer, sizeof answer);
    long left = strtol(answer + 1, NULL, 10);
    assert_true(left > 0 && left <= 20);
}

static void test_what_weir_did_not_write_is_not_there(void **state)
{
    struct world *w = *state;
    static const char *const commands[] = {"SET %s foreign", "SETRANGE %s 100000 x", "RPUSH %s list",
                                           "APPEND %s more", "SETRANGE %s 20 y",     "COPY %s2 %s"};
    char place[64], command[256];
    start(w);
    place_of("key", place);
    for (unsigned i = 0; i < 6; i++) {
        raw_ok(&w->server, "FLUSHDB");
        if (i == 5) { /* a whole value, of another key */
            char other[64];
            put(w, &w->a, "other", "u", "t", "x");
            snprintf(command, sizeof command, "COPY %s %s", place_of("other", other).at, place);
        } else {
            if (i >= 3)
                put(w, &w->a, "key", "u", "t", "content");
            snprintf(command, sizeof command, commands[i], place);
        }
        raw_ok(&w->server, command);
        assert_result(w, &w->a, "key", CACHE_REDIS_ABSENT);
        assert_int_equal(stats_of(&w->a).unreadable, i + 1);
    }
    assert_int_equal(stats_of(&w->a).trips, 0);
}

static void test_a_writer_without_a_stamp_writes_nothing(void **state)
{
    struct world *w = *state;
    start(w);
    put(w, &w->a, "key", "u", "t", "x");
    struct cache_redis_stamp now = cache_redis_now(w->a.fleet);
    uint64_t before = stats_of(&w->a).dropped; /* while it connected */
    assert_false(put_now(&w->a, "key", "u", "t", (struct cache_redis_stamp){0, 0}, S("y")));
    assert_false(
        put_now(&w->a, "key", "u", "t", (struct cache_redis_stamp){now.epoch + 1, now.number}, S("y")));
    assert_int_equal(stats_of(&w->a).dropped, before + 2);
}

/* Calls. */

static void test_a_call_that_was_cancelled_is_not_called_back(void **state)
{
    struct world *w = *state;
    start(w);
    put(w, &w->a, "key", "u", "t", "x");
    UNTIL(w, is_used(&w->a));
    struct call first = {.content = NULL}, second = {.content = NULL};
    assert_true(call_begin(&w->a, &first, "key"));
    assert_true(call_begin(&w->a, &second, "key"));
    cache_redis_cancel(&first.call);
    cache_redis_cancel(&first.call);
    UNTIL(w, second.done);
    assert_int_equal(second.result, CACHE_REDIS_FOUND);
    assert_int_equal(first.done, 0);
    free(second.content);
}

static void test_a_tier_that_closes_ends_its_calls_once(void **state)
{
    struct world *w = *state;
    start(w);
    UNTIL(w, is_used(&w->a));
    struct call calls[3] = {{.content = NULL}};
    for (int i = 0; i < 3; i++)
        assert_true(call_begin(&w->a, &calls[i], "key"));
    cache_redis_close(w->a.tier);
    cache_redis_cancel(&calls[1].call);
    assert_int_equal(calls[0].done, 0);
    assert_false(call_begin(&w->a, &calls[1], "key"));
    UNTIL(w, calls[0].done && calls[2].done);
    pass_for(w, 20);
    w->a.tier = NULL;
    assert_int_equal(calls[0].result, CACHE_REDIS_UNAVAILABLE);
    assert_int_equal(calls[0].done + calls[2].done, 2);
    assert_int_equal(calls[1].done, 0);
}

static struct node *closing;

static void close_when_done(struct cache_redis_call *c, enum cache_redis_result result, struct slice content)
{
    on_done(c, result, content);
    node_close(closing);
}

static void test_a_callback_may_close_everything(void **state)
{
    struct world *w = *state;
    start(w);
    UNTIL(w, is_used(&w->a));
    struct call calls[4] = {{.content = NULL}};
    for (int i = 0; i < 4; i++)
        assert_true(call_begin(&w->a, &calls[i], "key"));
    closing = &w->a;
    calls[1].call.done = close_when_done;
    UNTIL(w, calls[3].done);
    assert_int_equal(calls[0].result, CACHE_REDIS_ABSENT);
    assert_int_equal(calls[1].result, CACHE_REDIS_ABSENT);
    assert_int_equal(calls[2].result, CACHE_REDIS_UNAVAILABLE);
    for (int i = 0; i < 4; i++)
        assert_int_equal(calls[i].done, 1);
}

static void test_look_ups_under_way_are_bounded(void **state)
{
    struct world *w = *state;
    start(w);
    UNTIL(w, is_used(&w->a));
    UNTIL(w, redis_link_pending(&w->a.tier->reads) == 0);
    struct call *calls = calloc(CACHE_REDIS_CALLS_MAX + 1, sizeof *calls);
    for (unsigned i = 0; i < CACHE_REDIS_CALLS_MAX; i++)
        assert_true(call_begin(&w->a, &calls[i], "key"));
    assert_false(call_begin(&w->a, &calls[CACHE_REDIS_CALLS_MAX], "key"));
    UNTIL(w, calls[CACHE_REDIS_CALLS_MAX - 1].done);
    assert_true(is_used(&w->a));
    free(calls);
}

/* A Redis that fails. */

static void test_a_slow_redis_costs_its_deadline_five_times_and_then_nothing(void **state)
{
    struct world *w = *state;
    server_start(&w->server);
    node_open(w, &w->a, ", deadline: 100ms");
    UNTIL(w, is_used(&w->a));
    server_signal(&w->server, SIGSTOP);
    struct call calls[6] = {{.content = NULL}};
    for (int i = 0; i < 5; i++) {
        uint64_t began = test_ms();
        assert_true(call_begin(&w->a, &calls[i], "key"));
        UNTIL(w, calls[i].done);
        assert_int_equal(calls[i].result, CACHE_REDIS_UNAVAILABLE);
        assert_true(test_ms() - began >= 99);
    }
    assert_false(call_begin(&w->a, &calls[5], "key"));
    struct cache_redis_stats s = stats_of(&w->a);
    assert_int_equal(s.timeouts, 5);
    assert_int_equal(s.trips, 1);
    assert_int_equal(s.workers_up, 0);
    UNTIL(w, !stats_of(&w->a).synced); /* it fell silent */

    server_signal(&w->server, SIGCONT);
    UNTIL(w, is_used(&w->a));
    assert_result(w, &w->a, "key", CACHE_REDIS_ABSENT);
    for (int i = 0; i < 6; i++)
        assert_int_equal(calls[i].done, i < 5);
}

static void test_an_answer_after_the_deadline_is_nobodys(void **state)
{
    struct world *w = *state;
    server_start(&w->server);
    node_open(w, &w->a, ", deadline: 100ms");
    put(w, &w->a, "key", "u", "t", "x");
    UNTIL(w, is_used(&w->a));
    server_signal(&w->server, SIGSTOP);
    struct call late = {.content = NULL};
    assert_true(call_begin(&w->a, &late, "key"));
    UNTIL(w, late.done);
    server_signal(&w->server, SIGCONT);
    assert_found(w, &w->a, "key", "x");
    assert_int_equal(late.done, 1);
    assert_int_equal(late.result, CACHE_REDIS_UNAVAILABLE);
    assert_int_equal(stats_of(&w->a).trips, 0);
}

static void test_writes_to_a_redis_that_takes_none_are_bounded(void **state)
{
    struct world *w = *state;
    static char content[60000];
    server_start(&w->server);
    node_open(w, &w->a, ", queue: 1MiB, max_object: 64KiB");
    put(w, &w->a, "key", "u", "t", "x");
    struct cache_redis_stamp now = cache_redis_now(w->a.fleet);
    server_signal(&w->server, SIGSTOP);
    uint64_t before = stats_of(&w->a).dropped, dropped = 0;
    for (int i = 0; i < 200; i++) {
        dropped += !put_now(&w->a, "key", "u", "t", now, slice_of(content, sizeof content));
        assert_true(conn_backlog(&w->a.tier->writes.conn) <= (1u << 20) + (96u << 10));
    }
    assert_true(dropped > 100);
    assert_int_equal(stats_of(&w->a).dropped, before + dropped);
    server_signal(&w->server, SIGCONT);
    UNTIL(w, redis_link_pending(&w->a.tier->writes) == 0);
    put(w, &w->a, "key", "u", "t", "back");
    assert_found(w, &w->a, "key", "back");
}

static void test_killed_and_restarted_under_load_it_is_used_again(void **state)
{
    struct world *w = *state;
    start_two(w);
    put(w, &w->a, "key", "u", "t", "before");
    struct call calls[64] = {{.content = NULL}};
    unsigned begun = 0, done = 0;
    for (int round = 0; round < 60; round++) {
        bool made[64];
        for (int i = 0; i < 64; i++) {
            made[i] = call_begin(i & 1 ? &w->b : &w->a, &calls[i], "key");
            begun += made[i];
        }
        if (round == 20)
            server_kill(&w->server);
        if (round == 40)
            server_start(&w->server);
        for (int i = 0; i < 64; i++) {
            UNTIL(w, !made[i] || calls[i].done);
            done += calls[i].done;
            free(calls[i].content);
            calls[i].content = NULL;
        }
        pass(w);
    }
    assert_int_equal(begun, done);
    assert_true(begun >= 20 * 64);
    UNTIL(w, is_used(&w->a) && is_used(&w->b));
    assert_result(w, &w->a, "key", CACHE_REDIS_ABSENT);
    put(w, &w->b, "key", "u", "t", "after");
    assert_found(w, &w->a, "key", "after");
    assert_int_equal(w->a.told_count + w->b.told_count, 0); /* nobody has missed anything */
    assert_string_equal(cache_redis_reason(w->a.fleet), "");
}

static void test_a_wrong_password_is_told_and_costs_nothing(void **state)
{
    struct world *w = *state;
    snprintf(w->server.password, sizeof w->server.password, "right");
    server_start(&w->server);
    node_open(w, &w->a, ", password: wrong");
    node_open(w, &w->b, ", password: right, database: 3");
    put(w, &w->b, "key", "u", "t", "x");
    assert_found(w, &w->b, "key", "x");
    UNTIL(w, strstr(cache_redis_reason(w->a.fleet), "WRONGPASS"));
    struct call k = {.content = NULL};
    assert_false(call_begin(&w->a, &k, "key"));
    assert_int_equal(stats_of(&w->a).skipped, 1);
}

static void test_its_address_may_be_a_name(void **state)
{
    struct world *w = *state;
    char yaml[128];
    unsigned port = 20000 + (unsigned)getpid() * 7 % 10000;
    do {
        w->server.port = port++;
        assert_true(port < 32000);
    } while (server_try(&w->server) != 0);
    snprintf(yaml, sizeof yaml, "{address: \"localhost:%u\", retry: 10ms, deadline: 5s}", w->server.port);
    node_open_with(w, &w->a, yaml, 1);
    put(w, &w->a, "key", "u", "t", "x");
    assert_found(w, &w->a, "key", "x");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(test_what_one_node_put_the_other_finds),
        TEST(test_a_large_value_comes_whole_and_a_larger_one_stays_out),
        TEST(test_a_value_goes_when_its_time_is_over),
        TEST(test_what_weir_did_not_write_is_not_there),
        TEST(test_a_writer_without_a_stamp_writes_nothing),
        TEST(test_a_call_that_was_cancelled_is_not_called_back),
        TEST(test_a_tier_that_closes_ends_its_calls_once),
        TEST(test_a_callback_may_close_everything),
        TEST(test_look_ups_under_way_are_bounded),
        TEST(test_a_slow_redis_costs_its_deadline_five_times_and_then_nothing),
        TEST(test_an_answer_after_the_deadline_is_nobodys),
        TEST(test_writes_to_a_redis_that_takes_none_are_bounded),
        TEST(test_killed_and_restarted_under_load_it_is_used_again),
        TEST(test_a_wrong_password_is_told_and_costs_nothing),
        TEST(test_its_address_may_be_a_name),
    };
    return redis_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
