/* The index: what is found, what is replaced, what goes, and the budget. */
#include "store_fixture.h"

#include <pthread.h>
#include <stdio.h>

#include "cache/shard.h"

static void test_a_stored_response_is_found_whole(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_null(scene_peek(&c, "http://a/1"));
    assert_true(scene_put(&c, "http://a/1", 100000));

    struct cache_found found = scene_find(&c, "http://a/1");
    assert_non_null(found.object);
    assert_null(found.fill);
    assert_false(found.pass);
    assert_false(found.has_variants);
    assert_int_equal(found.object->length, 100000);
    assert_int_equal(cache_body_bytes(found.object->body), 100000);
    assert_true(slice_equal(found.object->url, S("http://a/1")));
    assert_int_equal((uintptr_t)found.object->head % 16, 0);
    assert_int_equal(((char *)found.object->head)[99], 'h');
    cache_object_release(found.object);
    assert_null(scene_peek(&c, "http://a/2"));
    scene_end(&c);
}

static void test_keys_are_compared_in_full(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f;
    struct cache_key one = {.text = S("one"), .hash = 7}, two = {.text = S("two"), .hash = 7};
    assert_int_equal(cache_lead(c.store, &one, NULL, false, 0, scene_lookup, &c, &c.arena, c.now, &f),
                     CACHE_LEAD);
    assert_true(scene_answer(&c, f, "one", 10, false, NULL));
    struct cache_found found;
    cache_find(c.store, &two, scene_lookup, &c, &c.arena, c.now, &found);
    assert_null(found.object);
    cache_find(c.store, &one, scene_lookup, &c, &c.arena, c.now, &found);
    assert_non_null(found.object);
    cache_object_release(found.object);
    scene_end(&c);
}

static void test_a_key_that_is_too_long_is_not_stored(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    char *key = calloc(1, CACHE_KEY_MAX + 2);
    memset(key, 'k', CACHE_KEY_MAX + 1);
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(&c, key, NULL, false, 0, &f), CACHE_FULL);
    assert_null(f);
    key[CACHE_KEY_MAX] = 0;
    assert_true(scene_put(&c, key, 10));
    assert_non_null(scene_peek(&c, key));
    free(key);
    scene_end(&c);
}

static void test_variants_are_told_apart(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    scene_put_variant(&c, "k", S("de"));
    scene_put_variant(&c, "k", S("en"));
    c.language = S("de");
    struct cache_object *de = scene_peek(&c, "k");
    c.language = S("en");
    struct cache_object *en = scene_peek(&c, "k");
    assert_non_null(de);
    assert_non_null(en);
    assert_ptr_not_equal(de, en);
    c.language = S("fr");
    struct cache_found found = scene_find(&c, "k");
    assert_null(found.object);
    assert_true(found.has_variants);
    assert_int_equal(scene_stats(&c).entries, 1);
    assert_int_equal(scene_stats(&c).objects, 2);
    scene_end(&c);
}

static void test_of_variants_with_other_fields_the_newest_that_matches_is_taken(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    scene_put_variant(&c, "k", S("de"));
    struct cache_object *de = scene_peek(&c, "k");
    assert_true(scene_put(&c, "k", 10)); /* without Vary: good for everybody */
    assert_int_equal(scene_stats(&c).objects, 2);
    struct cache_object *any = scene_peek(&c, "k");
    assert_ptr_not_equal(any, de);
    scene_put_variant(&c, "k", S("de"));
    assert_int_equal(scene_stats(&c).objects, 2);
    assert_ptr_not_equal(scene_peek(&c, "k"), any);
    c.language = S("en");
    assert_ptr_equal(scene_peek(&c, "k"), any);
    scene_end(&c);
}

static void test_the_same_variant_is_replaced(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    scene_put_variant(&c, "k", S("de"));
    struct cache_found old = scene_find(&c, "k");
    scene_put_variant(&c, "k", S("de"));
    assert_int_equal(scene_stats(&c).objects, 1);
    assert_ptr_not_equal(scene_peek(&c, "k"), old.object);
    assert_int_equal(cache_body_bytes(old.object->body), 100); /* whole for who holds it */
    cache_object_release(old.object);
    scene_end(&c);
}

static void test_the_oldest_of_too_many_variants_goes(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    char language[16];
    for (int i = 0; i <= CACHE_VARIANTS_MAX; i++) {
        snprintf(language, sizeof language, "x-%d", i);
        scene_put_variant(&c, "k", slice_text(language));
    }
    assert_int_equal(scene_stats(&c).objects, CACHE_VARIANTS_MAX);
    c.language = S("x-0");
    assert_null(scene_peek(&c, "k"));
    c.language = S("x-1");
    assert_non_null(scene_peek(&c, "k"));
    scene_end(&c);
}

static void test_a_dropped_response_is_gone_for_those_who_look_not_for_those_who_hold(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_put(&c, "k", 1000));
    struct cache_found found = scene_find(&c, "k");
    cache_drop(c.store, found.object);
    cache_drop(c.store, found.object);
    assert_null(scene_peek(&c, "k"));
    assert_int_equal(scene_stats(&c).entries, 0);
    assert_int_equal(cache_body_bytes(found.object->body), 1000);
    cache_object_release(found.object);
    scene_end(&c);
}

static void test_many_entries_are_all_found(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = 64 << 20, .max_object = 1 << 20});
    char key[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "http://a/%d", i);
        assert_true(scene_put(&c, key, 10));
    }
    assert_int_equal(scene_stats(&c).objects, 20000);
    assert_int_equal(scene_stats(&c).evictions, 0);
    for (uint32_t i = 0; i < c.store->shard_count; i++)
        assert_true(c.store->shards[i].bucket_count >= c.store->shards[i].entry_count);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "http://a/%d", i);
        assert_non_null(scene_peek(&c, key));
    }
    scene_end(&c);
}

/* The lock is held meanwhile. */
static void test_a_table_that_grows_moves_few_entries_at_a_time(void **state)
{
    (void)state;
    enum { ENTRIES = 5000, MOST = 1024 };
    struct scene c;
    scene_begin(&c);
    struct cache_shard *shard = c.store->shards;
    static struct cache_entry *before[MOST];
    char key[32];
    for (int i = 0; i < ENTRIES; i++) {
        uint32_t count = shard->bucket_count < MOST ? shard->bucket_count : MOST;
        memcpy(before, shard->buckets, count * sizeof *before);
        snprintf(key, sizeof key, "%d", i);
        assert_true(scene_put(&c, key, 1));
        unsigned changed = 0;
        for (uint32_t k = 0; k < count; k++)
            changed += shard->buckets[k] != before[k];
        assert_in_range(changed, 0, 4);
        assert_non_null(scene_peek(&c, "0"));
    }
    assert_int_equal(scene_stats(&c).objects, ENTRIES);
    scene_end(&c);
}

static void test_what_is_inserted_evicts_what_was_used_longest_ago(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_put(&c, "old", 900 << 10));
    assert_true(scene_put(&c, "used", 900 << 10));
    assert_true(scene_put(&c, "third", 900 << 10));
    struct cache_found found = scene_find(&c, "old");
    cache_touch(c.store, found.object, 0, (msec_t)found.object->policy.promoted_ms + 5000);
    cache_object_release(found.object);
    assert_true(scene_put(&c, "fourth", 900 << 10));
    assert_true(scene_put(&c, "fifth", 900 << 10));
    assert_non_null(scene_peek(&c, "old"));
    assert_null(scene_peek(&c, "used"));
    assert_non_null(scene_peek(&c, "fifth"));
    assert_true(scene_stats(&c).evictions >= 1);
    assert_true(scene_stats(&c).bytes <= 4 << 20);
    scene_end(&c);
}

static void test_a_touch_that_finds_the_shard_busy_is_made_up_for(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_put(&c, "a", 10));
    assert_true(scene_put(&c, "b", 10));
    struct cache_found found = scene_find(&c, "a");
    msec_t now = (msec_t)found.object->policy.promoted_ms + 5000;
    struct cache_shard *shard = &c.store->shards[0];
    pthread_rwlock_rdlock(&shard->lock);
    cache_touch(c.store, found.object, 0, now);
    pthread_rwlock_unlock(&shard->lock);
    cache_touch(c.store, found.object, 0, now + 1);
    struct cache_policy_node *first = cache_policy_first(&shard->policy, CACHE_POLICY_MAIN);
    assert_ptr_not_equal(first, &found.object->policy);
    cache_object_release(found.object);
    scene_end(&c);
}

static void test_an_object_that_is_being_sent_stays_whole_and_counted_when_it_is_evicted(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_put(&c, "sent", 1 << 20));
    struct cache_found found = scene_find(&c, "sent");
    uint64_t before = scene_stats(&c).bytes;
    cache_store_configure(c.store, &(struct cache_settings){.memory = 1 << 20, .max_object = 1 << 20});
    assert_null(scene_peek(&c, "sent"));
    assert_int_equal(cache_body_bytes(found.object->body), 1 << 20);
    assert_true(scene_stats(&c).bytes > 1 << 20);
    cache_object_release(found.object);
    assert_true(scene_stats(&c).bytes + (1 << 20) <= before);
    scene_end(&c);
}

static void test_a_small_memory_still_holds_the_largest_object(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = 1 << 20, .max_object = 512 << 10});
    char key[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(scene_put(&c, key, 10));
    }
    assert_true(scene_put(&c, "large", 512 << 10));
    assert_non_null(scene_peek(&c, "large"));
    scene_end(&c);
}

static void test_a_huge_memory_takes_little_while_it_is_empty(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = UINT64_C(1) << 40, .max_object = UINT64_C(1) << 36});
    assert_in_range(scene_stats(&c).bytes, 0, 64 << 20);
    assert_true(scene_put(&c, "k", 1 << 20));
    assert_non_null(scene_peek(&c, "k"));
    scene_end(&c);
}

static void test_a_memory_that_is_too_small_is_refused(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t memory = 4 << 10; memory <= 1 << 20; memory += 1 << 10) {
        struct cache_store *s =
            cache_store_create(&(struct cache_settings){.memory = memory, .max_object = memory / 2});
        refused += !s;
        assert_true(s || memory < 512 << 10);
        cache_store_free(s);
    }
    assert_true(refused > 0);
}

static void test_a_large_object_takes_its_room_from_all_shards(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = 64 << 20, .max_object = 32 << 20});
    assert_true(c.store->shard_count > 1);
    char key[32];
    for (int i = 0; i < 70; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(scene_put(&c, key, 1 << 20));
    }
    assert_true(scene_put(&c, "large", 32 << 20));
    assert_non_null(scene_peek(&c, "large"));
    assert_true(scene_stats(&c).objects > 20);
    scene_end(&c);
}

static void test_shards_stay_about_equally_full(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = 64 << 20, .max_object = 1 << 20});
    char key[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(scene_put(&c, key, 16 << 10));
    }
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < c.store->shard_count; i++) {
        uint64_t bytes = c.store->shards[i].bytes;
        least = bytes < least ? bytes : least;
        most = bytes > most ? bytes : most;
    }
    assert_true(c.store->shard_count > 4);
    assert_true(most < least + least / 8);
    scene_end(&c);
}

static void test_without_memory_for_an_entry_nobody_leads(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_budget *b = cache_store_budget(c.store);
    uint64_t rest = b->limit - b->used;
    assert_true(cache_budget_try(b, rest));
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(&c, "k", NULL, false, 0, &f), CACHE_FULL);
    assert_null(f);
    cache_budget_give(b, rest);
    assert_int_equal(scene_stats(&c).rejected_memory, 1);
    assert_int_equal(scene_stats(&c).entries, 0);
    scene_end(&c);
}

static void test_a_reload_keeps_what_is_there(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    char key[32];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(scene_put(&c, key, 1000));
    }
    cache_store_configure(
        c.store,
        &(struct cache_settings){.memory = 8 << 20, .max_object = 2 << 20, .policy = CACHE_POLICY_S3FIFO});
    assert_int_equal(scene_stats(&c).objects, 100);
    assert_string_equal(scene_stats(&c).policy, "s3fifo");
    assert_int_equal(scene_stats(&c).memory, 8 << 20);
    assert_int_equal(cache_store_max_object(c.store), 2 << 20);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "new-%d", i);
        assert_true(scene_put(&c, key, 5000));
    }
    assert_true(scene_stats(&c).evictions > 0);
    assert_true(scene_stats(&c).bytes <= 8 << 20);
    scene_end(&c);
}

static void test_less_memory_takes_a_smaller_index(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = 32 << 20, .max_object = 1 << 20});
    char key[32];
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(scene_put(&c, key, 10));
    }
    uint32_t before = c.store->shards[0].bucket_count;
    cache_store_configure(c.store, &(struct cache_settings){.memory = 1 << 20, .max_object = 1 << 20});
    assert_true(c.store->shards[0].bucket_count < before);
    assert_true(c.store->shards[0].policy_nodes <= 2 * c.store->shards[0].object_count);
    assert_true(scene_stats(&c).bytes <= 1 << 20);
    uint64_t found = 0;
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "%d", i);
        found += scene_peek(&c, key) != NULL;
    }
    assert_true(found > 0);
    assert_int_equal(found, scene_stats(&c).objects);
    scene_end(&c);
}

static void test_hits_and_misses_reach_the_shadow_and_it_stays_in_its_memory(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    char key[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "%d", i % 1000);
        struct cache_found found = scene_find(&c, key);
        if (found.object)
            cache_touch(c.store, found.object, 3, (msec_t)i);
        else
            assert_true(scene_put(&c, key, 1000));
        cache_object_release(found.object);
    }
    struct cache_shadow *shadow = cache_store_shadow(c.store);
    uint64_t requests = 0;
    for (size_t i = 0; i < CACHE_SHADOW_WORKERS; i++)
        requests += counter_get(&shadow->workers[i].requests);
    assert_int_equal(requests, 20000);
    assert_int_equal(scene_stats(&c).insertions, 1000);
    assert_true(cache_shadow_bytes(shadow) <= c.store->shadow_bytes);
    cache_store_configure(c.store, &(struct cache_settings){.memory = 64 << 20, .max_object = 1 << 20});
    assert_true(cache_shadow_bytes(shadow) <= c.store->shadow_bytes);
    scene_end(&c);
}

static void test_a_large_object_is_admitted_the_second_time(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c); /* objects of 1 MiB at most */
    struct cache_key k = key_of("k"), other = key_of("other"), stored = key_of("stored");
    assert_true(cache_admits(c.store, &k, 128 << 10));
    assert_false(cache_admits(c.store, &k, (128 << 10) + 1));
    assert_false(cache_admits(c.store, &other, 1 << 20));
    assert_true(cache_admits(c.store, &k, (128 << 10) + 1));
    assert_false(cache_admits(c.store, &k, (1 << 20) + 1));
    assert_int_equal(scene_stats(&c).rejected_first, 2);
    assert_int_equal(scene_stats(&c).rejected_size, 1);
    assert_true(scene_put(&c, "stored", 10));
    assert_true(cache_admits(c.store, &stored, 1 << 20));
    scene_end(&c);
}

static void test_marks_are_bounded_and_the_oldest_go(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    char key[32];
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "http://a/%d", i);
        struct cache_fill *f = scene_lead(&c, key);
        cache_fill_release(f, CACHE_PASS_SECONDS);
        cache_fill_end(f);
    }
    uint64_t entries = scene_stats(&c).entries;
    assert_true(entries > 500);
    assert_true(entries * sizeof(struct cache_entry) <= (4 << 20) / CACHE_PASS_SHARE);
    assert_false(scene_find(&c, "http://a/0").pass);
    assert_true(scene_find(&c, "http://a/9999").pass);
    scene_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stored_response_is_found_whole),
        cmocka_unit_test(test_keys_are_compared_in_full),
        cmocka_unit_test(test_a_key_that_is_too_long_is_not_stored),
        cmocka_unit_test(test_variants_are_told_apart),
        cmocka_unit_test(test_of_variants_with_other_fields_the_newest_that_matches_is_taken),
        cmocka_unit_test(test_the_same_variant_is_replaced),
        cmocka_unit_test(test_the_oldest_of_too_many_variants_goes),
        cmocka_unit_test(test_a_dropped_response_is_gone_for_those_who_look_not_for_those_who_hold),
        cmocka_unit_test(test_many_entries_are_all_found),
        cmocka_unit_test(test_a_table_that_grows_moves_few_entries_at_a_time),
        cmocka_unit_test(test_what_is_inserted_evicts_what_was_used_longest_ago),
        cmocka_unit_test(test_a_touch_that_finds_the_shard_busy_is_made_up_for),
        cmocka_unit_test(test_an_object_that_is_being_sent_stays_whole_and_counted_when_it_is_evicted),
        cmocka_unit_test(test_a_small_memory_still_holds_the_largest_object),
        cmocka_unit_test(test_a_huge_memory_takes_little_while_it_is_empty),
        cmocka_unit_test(test_a_memory_that_is_too_small_is_refused),
        cmocka_unit_test(test_a_large_object_takes_its_room_from_all_shards),
        cmocka_unit_test(test_shards_stay_about_equally_full),
        cmocka_unit_test(test_without_memory_for_an_entry_nobody_leads),
        cmocka_unit_test(test_a_reload_keeps_what_is_there),
        cmocka_unit_test(test_less_memory_takes_a_smaller_index),
        cmocka_unit_test(test_hits_and_misses_reach_the_shadow_and_it_stays_in_its_memory),
        cmocka_unit_test(test_a_large_object_is_admitted_the_second_time),
        cmocka_unit_test(test_marks_are_bounded_and_the_oldest_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
