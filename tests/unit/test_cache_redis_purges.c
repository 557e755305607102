#include "tests/unit/redis_fixture.h"

static void start_two(struct world *w)
{
    server_start(&w->server);
    node_open(w, &w->a, "");
    node_open(w, &w->b, "");
    UNTIL(w, is_used(&w->a) && is_used(&w->b));
}

static void purge(struct node *n, enum cache_purge_kind kind, const char *text, bool soft)
{
    assert_int_equal(cache_redis_purge(n->fleet, kind, slice_text(text), soft), 0);
}

/* Redis has it, and both know. */
static void settle(struct world *w)
{
    UNTIL(w, stats_of(&w->a).purges_waiting + stats_of(&w->b).purges_waiting == 0 && stats_of(&w->a).synced &&
                 stats_of(&w->b).synced && stats_of(&w->a).epoch == stats_of(&w->b).epoch &&
                 stats_of(&w->a).purges == stats_of(&w->b).purges && !w->a.fleet->syncing &&
                 !w->b.fleet->syncing);
}

static void fill(struct world *w)
{
    put(w, &w->a, "1", "example.com/a/1", "red", "one");
    put(w, &w->a, "2", "example.com/a/2", "green", "two");
    put(w, &w->a, "3", "example.com/b/3", "red", "three");
    put(w, &w->a, "4", "other.net/", "blue", "four");
}

static void assert_left(struct world *w, struct node *n, const char *left, enum cache_redis_result gone)
{
    static const char *const keys[] = {"1", "2", "3", "4"};
    for (int i = 0; i < 4; i++)
        assert_result(w, n, keys[i], strstr(left, keys[i]) ? CACHE_REDIS_FOUND : gone);
}

static void test_each_kind_reaches_the_other_node_and_its_look_ups(void **state)
{
    struct world *w = *state;
    static const struct {
        enum cache_purge_kind kind;
        const char *text, *left;
    } table[] = {
        {CACHE_PURGE_URL, "example.com/a/2", "134"},
        {CACHE_PURGE_URL, "example.com/a", "1234"},
        {CACHE_PURGE_PREFIX, "example.com/a", "34"},
        {CACHE_PURGE_TAG, "red", "24"},
        {CACHE_PURGE_TAG, "another", ""},
        {CACHE_PURGE_TAG, "example.com/a/2", "1234"},
        {CACHE_PURGE_ALL, "", ""},
    };
    start_two(w);
    for (unsigned i = 0; i < 2 * COUNT_OF(table); i++) {
        bool soft = i & 1;
        fill(w);
        purge(&w->a, table[i / 2].kind, table[i / 2].text, soft);
        UNTIL(w, w->b.told_count == i + 1);
        assert_told(&w->b, i, table[i / 2].kind, table[i / 2].text, soft);
        settle(w);
        assert_left(w, &w->a, table[i / 2].left, soft ? CACHE_REDIS_STALE : CACHE_REDIS_ABSENT);
        assert_left(w, &w->b, table[i / 2].left, soft ? CACHE_REDIS_STALE : CACHE_REDIS_ABSENT);
        raw_ok(&w->server, "DEL weir:1:nothing");
    }
    assert_int_equal(w->a.told_count, 0); /* own ones do not come back */
}

static void test_an_own_purge_counts_before_redis_has_heard_of_it(void **state)
{
    struct world *w = *state;
    start_two(w);
    fill(w);
    server_signal(&w->server, SIGSTOP);
    struct call k = {.content = NULL};
    purge(&w->a, CACHE_PURGE_PREFIX, "example.com/", false);
    assert_int_equal(stats_of(&w->a).purges_waiting, 1);
    struct redis_frame frame = {.stamp = cache_redis_now(w->a.fleet), .url = S("example.com/a/1")};
    assert_int_equal(redis_records_judge(&w->a.fleet->records, &frame), REDIS_PURGED);
    server_signal(&w->server, SIGCONT);
    assert_int_equal(look(w, &w->a, "1", &k), CACHE_REDIS_ABSENT);
    settle(w);
    assert_left(w, &w->b, "4", CACHE_REDIS_ABSENT);
}

static void test_what_is_put_after_a_purge_is_found_and_what_was_asked_for_before_is_not(void **state)
{
    struct world *w = *state;
    start_two(w);
    struct cache_redis_stamp before = cache_redis_now(w->b.fleet);
    purge(&w->a, CACHE_PURGE_TAG, "red", false);
    UNTIL(w, w->b.told_count);
    settle(w);
    put_at(w, &w->b, "key", "u", "red", before, S("old"));
    assert_result(w, &w->a, "key", CACHE_REDIS_ABSENT);
    assert_int_equal(stats_of(&w->a).purged, 1);
    put(w, &w->b, "key", "u", "red", "new");
    assert_found(w, &w->a, "key", "new");
}

static void test_a_node_that_was_away_gets_what_it_missed_in_order(void **state)
{
    struct world *w = *state;
    start_two(w);
    fill(w);
    purge(&w->a, CACHE_PURGE_URL, "known", false);
    UNTIL(w, w->b.told_count == 1);
    redis_link_fail(&w->b.fleet->ears, "test");
    assert_false(stats_of(&w->b).synced);
    purge(&w->a, CACHE_PURGE_TAG, "red", false);
    purge(&w->a, CACHE_PURGE_PREFIX, "other", true);
    UNTIL(w, stats_of(&w->a).purges_waiting == 0);
    settle(w);
    assert_int_equal(w->b.told_count, 3);
    assert_told(&w->b, 1, CACHE_PURGE_TAG, "red", false);
    assert_told(&w->b, 2, CACHE_PURGE_PREFIX, "other", true);
    assert_result(w, &w->b, "1", CACHE_REDIS_ABSENT);
    assert_result(w, &w->b, "2", CACHE_REDIS_FOUND);
    assert_result(w, &w->b, "4", CACHE_REDIS_STALE);
}

static void test_a_node_that_starts_later_refuses_what_was_purged_before(void **state)
{
    struct world *w = *state;
    server_start(&w->server);
    node_open(w, &w->a, "");
    fill(w);
    purge(&w->a, CACHE_PURGE_TAG, "red", false);
    UNTIL(w, stats_of(&w->a).purges_waiting == 0);
    node_open(w, &w->b, "");
    assert_left(w, &w->b, "24", CACHE_REDIS_ABSENT);
    assert_int_equal(w->b.told_count, 0); /* it has nothing that could be old */
}

static void test_purges_while_redis_is_away_reach_the_others_later(void **state)
{
    struct world *w = *state;
    start_two(w);
    server_kill(&w->server);
    UNTIL(w, !stats_of(&w->a).synced && !stats_of(&w->b).synced);
    purge(&w->a, CACHE_PURGE_TAG, "red", false);
    purge(&w->a, CACHE_PURGE_URL, "u", true);
    assert_int_equal(stats_of(&w->a).purges_waiting, 2);
    server_start(&w->server);
    settle(w);
    assert_int_equal(w->b.told_count, 2);
    assert_told(&w->b, 0, CACHE_PURGE_TAG, "red", false);
    assert_told(&w->b, 1, CACHE_PURGE_URL, "u", true);
    assert_int_equal(stats_of(&w->b).purges, 2);
    assert_int_equal(w->a.told_count, 0);
}

static void test_a_record_that_is_lost_begins_an_epoch_and_nothing_older_is_used(void **state)
{
    struct world *w = *state;
    start_two(w);
    fill(w);
    purge(&w->a, CACHE_PURGE_URL, "x", false);
    UNTIL(w, w->b.told_count == 1);
    settle(w);
    uint64_t epoch = stats_of(&w->a).epoch;
    raw_ok(&w->server, "DEL weir:1:purges");
    purge(&w->a, CACHE_PURGE_URL, "y", false);
    UNTIL(w, w->b.told_count == 2);
    settle(w);
    assert_int_not_equal(stats_of(&w->a).epoch, epoch);
    assert_told(&w->b, 1, CACHE_PURGE_URL, "y", false);
    assert_left(w, &w->a, "", CACHE_REDIS_ABSENT);
    assert_left(w, &w->b, "", CACHE_REDIS_ABSENT);
    fill(w);
    assert_left(w, &w->b, "1234", CACHE_REDIS_ABSENT);
}

/* It does not come back before let_go(). */
static void hold(struct world *w, struct node *n)
{
    redis_link_fail(&n->fleet->ears, "test");
    redis_link_fail(&n->fleet->mouth, "test");
    loop_timer_clear(&w->loop, &n->fleet->ears.pause);
    loop_timer_clear(&w->loop, &n->fleet->mouth.pause);
}

static void let_go(struct world *w, struct node *n)
{
    redis_link_hurry(&n->fleet->ears);
    redis_link_hurry(&n->fleet->mouth);
    UNTIL(w, stats_of(n).synced);
}

/* The one that knows less begins the epoch, or comes after the other. */
static void miss(struct world *w, bool is_first)
{
    start_two(w);
    purge(&w->a, CACHE_PURGE_URL, "first", false);
    UNTIL(w, w->b.told_count == 1);
    settle(w);
    hold(w, &w->b);
    purge(&w->a, CACHE_PURGE_URL, "missed", false);
    UNTIL(w, stats_of(&w->a).purges == 2);
    hold(w, &w->a);
    server_kill(&w->server);
    server_start(&w->server);
    let_go(w, is_first ? &w->b : &w->a);
    let_go(w, is_first ? &w->a : &w->b);
    UNTIL(w, w->b.told_count == 2);
    settle(w);
    assert_int_equal(w->b.told_count, 2);
    assert_told(&w->b, 1, CACHE_PURGE_ALL, "", true);
    assert_int_equal(w->a.told_count, 0);
}

static void test_who_missed_purges_for_good_is_told_that_everything_may_be_old(void **state)
{
    miss(*state, false);
}

static void test_who_missed_purges_for_good_is_told_when_another_says_so_later(void **state)
{
    miss(*state, true);
}

static void test_a_redis_that_went_back_in_time_begins_an_epoch(void **state)
{
    struct world *w = *state;
    start_two(w);
    fill(w);
    raw_ok(&w->server, "COPY weir:1:purges saved");
    purge(&w->a, CACHE_PURGE_TAG, "red", false);
    UNTIL(w, w->b.told_count == 1);
    settle(w);
    uint64_t epoch = stats_of(&w->a).epoch;
    raw_ok(&w->server, "COPY saved weir:1:purges REPLACE");
    redis_link_fail(&w->b.fleet->ears, "test");
    UNTIL(w, stats_of(&w->b).synced && stats_of(&w->a).synced && stats_of(&w->a).epoch != epoch);
    settle(w);
    assert_left(w, &w->a, "", CACHE_REDIS_ABSENT);
    assert_int_equal(w->a.told_count, 0);
    assert_int_equal(w->b.told_count, 1);
}

static void test_the_record_is_bounded_and_what_is_older_is_refused(void **state)
{
    struct world *w = *state;
    char text[32], answer[64];
    start_two(w);
    fill(w);
    for (unsigned i = 0; i < CACHE_REDIS_RECORDS + 10; i++) {
        snprintf(text, sizeof text, "purge-%u", i);
        purge(&w->a, CACHE_PURGE_URL, text, false);
        if (i % 1000 == 0)
            UNTIL(w, stats_of(&w->a).purges_waiting == 0);
    }
    UNTIL(w, stats_of(&w->a).purges_waiting == 0);
    settle(w);
    raw(&w->server, "ZCARD weir:1:purges", answer, sizeof answer);
    assert_int_equal(strtol(answer + 1, NULL, 10), CACHE_REDIS_RECORDS + 5);
    assert_int_equal(w->b.fleet->records.floor, 0); /* it was there, and knows each of them */
    node_close(&w->b);
    config_free(&w->b.config);
    pass(w);
    node_open(w, &w->b, "");
    assert_left(w, &w->b, "", CACHE_REDIS_ABSENT);
}

static void test_too_many_while_redis_is_away_become_one_of_everything(void **state)
{
    struct world *w = *state;
    start_two(w);
    server_kill(&w->server);
    UNTIL(w, !stats_of(&w->a).synced && !stats_of(&w->b).synced && w->a.fleet->mouth.state != REDIS_LINK_UP);
    for (unsigned i = 0; i < CACHE_REDIS_RECORDS + 1; i++)
        purge(&w->a, CACHE_PURGE_URL, "u", true);
    assert_int_equal(stats_of(&w->a).purges_waiting, 1);
    server_start(&w->server);
    settle(w);
    assert_int_equal(w->b.told_count, 1);
    assert_told(&w->b, 0, CACHE_PURGE_ALL, "", false);
}

static void test_a_text_that_is_too_long_is_refused(void **state)
{
    struct world *w = *state;
    static char text[CACHE_REDIS_TEXT_MAX + 1];
    start_two(w);
    memset(text, 'x', sizeof text);
    assert_int_equal(cache_redis_purge(w->a.fleet, CACHE_PURGE_URL, slice_of(text, sizeof text), false), -1);
    assert_int_equal(cache_redis_purge(w->a.fleet, CACHE_PURGE_URL, slice_of(text, sizeof text - 1), false),
                     0);
    UNTIL(w, w->b.told_count == 1);
    settle(w);
}

static void test_fleets_with_other_prefixes_do_not_meet(void **state)
{
    struct world *w = *state;
    server_start(&w->server);
    node_open(w, &w->a, "");
    node_open(w, &w->b, ", prefix: \"other:\"");
    fill(w);
    purge(&w->b, CACHE_PURGE_ALL, "", false);
    UNTIL(w, stats_of(&w->b).synced && stats_of(&w->b).purges_waiting == 0);
    assert_result(w, &w->b, "1", CACHE_REDIS_ABSENT);
    assert_left(w, &w->a, "1234", CACHE_REDIS_ABSENT);
    assert_int_equal(w->a.told_count, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(test_each_kind_reaches_the_other_node_and_its_look_ups),
        TEST(test_an_own_purge_counts_before_redis_has_heard_of_it),
        TEST(test_what_is_put_after_a_purge_is_found_and_what_was_asked_for_before_is_not),
        TEST(test_a_node_that_was_away_gets_what_it_missed_in_order),
        TEST(test_a_node_that_starts_later_refuses_what_was_purged_before),
        TEST(test_purges_while_redis_is_away_reach_the_others_later),
        TEST(test_a_record_that_is_lost_begins_an_epoch_and_nothing_older_is_used),
        TEST(test_who_missed_purges_for_good_is_told_that_everything_may_be_old),
        TEST(test_who_missed_purges_for_good_is_told_when_another_says_so_later),
        TEST(test_a_redis_that_went_back_in_time_begins_an_epoch),
        TEST(test_the_record_is_bounded_and_what_is_older_is_refused),
        TEST(test_too_many_while_redis_is_away_become_one_of_everything),
        TEST(test_a_text_that_is_too_long_is_refused),
        TEST(test_fleets_with_other_prefixes_do_not_meet),
    };
    return redis_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
