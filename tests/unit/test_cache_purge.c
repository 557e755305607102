/* What a purge concerns, and what not; memory comes back. */
#include "store_fixture.h"

#include <stdio.h>

static void purge(struct scene *c, enum cache_purge_kind kind, const char *text, bool soft)
{
    assert_int_equal(cache_store_purge(c->store, kind, slice_text(text), soft), 0);
}

static void put_tagged(struct scene *c, const char *key, const char *tag)
{
    assert_true(scene_answer(c, scene_lead(c, key), key, 1000, false, tag));
}

static bool is_there(struct scene *c, const char *key)
{
    return scene_peek(c, key) != NULL;
}

static bool is_stale(struct scene *c, const char *key)
{
    struct cache_found found = scene_find(c, key);
    assert_non_null(found.object);
    bool stale = found.object->soft_purged;
    cache_object_release(found.object);
    return stale;
}

static void sweep(struct scene *c)
{
    while (cache_sweep(c->store))
        ;
}

static void test_each_kind_of_purge_concerns_what_it_names(void **state)
{
    (void)state;
    const struct {
        enum cache_purge_kind kind;
        const char *text;
        bool first, second, third; /* that stay */
    } cases[] = {
        {CACHE_PURGE_URL, "a/x/1", false, true, true},    {CACHE_PURGE_URL, "a/x", true, true, true},
        {CACHE_PURGE_PREFIX, "a/x/", false, false, true}, {CACHE_PURGE_PREFIX, "a/x/1", false, true, true},
        {CACHE_PURGE_PREFIX, "a/", false, false, false},  {CACHE_PURGE_PREFIX, "", false, false, false},
        {CACHE_PURGE_PREFIX, "b/", true, true, true},     {CACHE_PURGE_TAG, "red", false, true, false},
        {CACHE_PURGE_TAG, "green", true, true, true},     {CACHE_PURGE_TAG, "a/x/1", true, true, true},
        {CACHE_PURGE_URL, "red", true, true, true},       {CACHE_PURGE_ALL, "", false, false, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (int soft = 0; soft < 2; soft++) {
            struct scene c;
            scene_begin(&c);
            put_tagged(&c, "a/x/1", "red");
            put_tagged(&c, "a/x/2", "blue");
            put_tagged(&c, "a/y", "red");
            purge(&c, cases[i].kind, cases[i].text, soft);
            if (soft) {
                assert_int_equal(is_stale(&c, "a/x/1"), !cases[i].first);
                assert_int_equal(is_stale(&c, "a/x/2"), !cases[i].second);
                assert_int_equal(is_stale(&c, "a/y"), !cases[i].third);
            } else {
                assert_int_equal(is_there(&c, "a/x/1"), cases[i].first);
                assert_int_equal(is_there(&c, "a/x/2"), cases[i].second);
                assert_int_equal(is_there(&c, "a/y"), cases[i].third);
            }
            scene_end(&c);
        }
}

static void test_what_is_purged_stays_purged(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    put_tagged(&c, "a/1", "red");
    purge(&c, CACHE_PURGE_TAG, "red", false);
    for (int i = 0; i < 3; i++) {
        assert_false(is_there(&c, "a/1"));
        purge(&c, CACHE_PURGE_TAG, "blue", false);
    }
    scene_end(&c);
}

static void test_what_is_stored_after_a_purge_is_not_concerned(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    purge(&c, CACHE_PURGE_ALL, "", false);
    purge(&c, CACHE_PURGE_PREFIX, "a/", false);
    purge(&c, CACHE_PURGE_TAG, "red", true);
    put_tagged(&c, "a/1", "red");
    assert_true(is_there(&c, "a/1"));
    assert_false(is_stale(&c, "a/1"));
    scene_end(&c);
}

static void test_purges_of_others_are_passed_over_between_two_that_concern(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    put_tagged(&c, "a/1", "red");
    purge(&c, CACHE_PURGE_PREFIX, "b/", false);
    purge(&c, CACHE_PURGE_URL, "c", false);
    assert_true(is_there(&c, "a/1"));
    purge(&c, CACHE_PURGE_PREFIX, "c/", true);
    purge(&c, CACHE_PURGE_PREFIX, "a/", true);
    purge(&c, CACHE_PURGE_PREFIX, "d/", true);
    assert_true(is_stale(&c, "a/1"));
    purge(&c, CACHE_PURGE_PREFIX, "a/", false);
    assert_false(is_there(&c, "a/1"));
    scene_end(&c);
}

/* Many prefixes, or long ones: what is older than one that was forgotten may not be served. */
static void test_a_forgotten_prefix_concerns_all_that_is_older(void **state)
{
    (void)state;
    for (int is_long = 0; is_long < 2; is_long++) {
        struct scene c;
        scene_begin(&c);
        put_tagged(&c, "a/1", "red");
        purge(&c, CACHE_PURGE_PREFIX, "a/", false);
        char text[CACHE_PREFIX_MAX];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = 0;
        for (unsigned i = 0; i < CACHE_PREFIXES_MAX + 1; i++) {
            snprintf(text, 12, "b/%u", i);
            if (is_long)
                text[strlen(text)] = '/';
            purge(&c, CACHE_PURGE_PREFIX, text, false);
        }
        assert_false(is_there(&c, "a/1"));
        put_tagged(&c, "a/1", "red");
        assert_true(is_there(&c, "a/1"));
        scene_end(&c);
    }
}

static void test_a_prefix_that_is_too_long_purges_more(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    char url[CACHE_PREFIX_MAX + 100];
    memset(url, 'a', sizeof url - 1);
    url[sizeof url - 1] = 0;
    put_tagged(&c, url, "red");
    url[CACHE_PREFIX_MAX + 50] = 'b';
    purge(&c, CACHE_PURGE_PREFIX, url, false);
    url[CACHE_PREFIX_MAX + 50] = 'a';
    assert_false(is_there(&c, url));
    scene_end(&c);
}

static void test_an_object_whose_fetch_began_before_a_purge_is_not_stored(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "a/1");
    purge(&c, CACHE_PURGE_URL, "a/1", false);
    assert_true(scene_answer(&c, f, "a/1", 10, false, NULL));
    assert_false(is_there(&c, "a/1"));
    assert_int_equal(scene_stats(&c).entries, 0);
    scene_end(&c);
}

static void test_a_sweep_gives_the_memory_back(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = 64 << 20, .max_object = 1 << 20});
    char key[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "a/%d", i);
        put_tagged(&c, key, i % 2 ? "odd" : "even");
    }
    uint64_t before = scene_stats(&c).bytes;
    assert_false(cache_sweep(c.store));
    purge(&c, CACHE_PURGE_TAG, "odd", true);
    assert_false(cache_sweep(c.store)); /* what is stale goes nowhere */
    purge(&c, CACHE_PURGE_TAG, "odd", false);
    assert_int_equal(scene_stats(&c).objects, 2000);
    sweep(&c);
    assert_int_equal(scene_stats(&c).objects, 1000);
    assert_int_equal(scene_stats(&c).entries, 1000);
    assert_int_equal(scene_stats(&c).purged, 1000);
    assert_int_equal(scene_stats(&c).purges, 2);
    assert_true(scene_stats(&c).bytes + 1000 * 1000 <= before);
    assert_true(is_there(&c, "a/0"));
    assert_false(cache_sweep(c.store));
    scene_end(&c);
}

static void test_a_sweep_takes_marks_that_have_expired(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "old");
    cache_fill_release(f, 1);
    cache_fill_end(f);
    assert_int_equal(scene_stats(&c).entries, 1);
    while (time(NULL) < c.now + 3)
        cache_sweep(c.store);
    assert_int_equal(scene_stats(&c).entries, 0);
    scene_end(&c);
}

static void test_a_purged_variant_hides_no_other(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f;
    c.language = S("de");
    assert_int_equal(scene_lead_as(&c, "k", NULL, true, 0, &f), CACHE_LEAD);
    assert_true(scene_answer(&c, f, "k", 10, true, "red"));
    scene_put_variant(&c, "k", S("en"));
    purge(&c, CACHE_PURGE_TAG, "red", false);
    assert_true(is_there(&c, "k"));
    c.language = S("de");
    struct cache_found found = scene_find(&c, "k");
    assert_null(found.object);
    assert_true(found.has_variants);
    purge(&c, CACHE_PURGE_ALL, "", false);
    found = scene_find(&c, "k");
    assert_false(found.has_variants);
    scene_end(&c);
}

/* More than an object remembers: which of them were purged is not known. */
static void test_a_purge_of_any_tag_concerns_what_has_too_many(void **state)
{
    (void)state;
    static const struct {
        uint32_t tags;
        enum cache_purge_kind kind;
        bool stays;
    } cases[] = {
        {CACHE_TAGS_MAX, CACHE_PURGE_TAG, true},
        {CACHE_TAGS_MAX + 1, CACHE_PURGE_TAG, false},
        {CACHE_TAGS_MAX + 1, CACHE_PURGE_URL, true},
    };
    static struct slice tags[CACHE_TAGS_MAX + 1];
    for (size_t i = 0; i < COUNT_OF(tags); i++)
        tags[i] = S("red");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct scene c;
        scene_begin(&c);
        struct cache_fill *f = scene_lead(&c, "k");
        struct cache_body *body = scene_body(&c, 10);
        struct cache_freshness fresh = {.response_time = c.now, .lifetime = 60};
        struct cache_object *o = cache_object_create(cache_store_budget(c.store),
                                                     &(struct cache_object_spec){.freshness = &fresh,
                                                                                 .sequence = f->sequence,
                                                                                 .url = S("k"),
                                                                                 .tags = tags,
                                                                                 .tag_count = cases[i].tags,
                                                                                 .body = body});
        assert_non_null(o);
        cache_body_finish(body);
        cache_fill_publish(f, o);
        cache_fill_end(f);
        assert_true(is_there(&c, "k"));
        purge(&c, cases[i].kind, "blue", false);
        assert_int_equal(is_there(&c, "k"), cases[i].stays);
        cache_object_release(o);
        cache_body_release(body);
        scene_end(&c);
    }
}

static void test_many_purges_of_urls_leave_a_large_cache_alone(void **state)
{
    (void)state;
    struct scene c;
    char text[32];
    scene_open(&c, &(struct cache_settings){.memory = 1 << 30, .max_object = 1 << 20});
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "k%d", i);
        assert_true(scene_put(&c, text, 10));
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "other%d", i);
        purge(&c, CACHE_PURGE_URL, text, false);
    }
    int left = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "k%d", i);
        left += is_there(&c, text);
    }
    assert_in_range(left, 180, 200);
    scene_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_of_purge_concerns_what_it_names),
        cmocka_unit_test(test_what_is_purged_stays_purged),
        cmocka_unit_test(test_what_is_stored_after_a_purge_is_not_concerned),
        cmocka_unit_test(test_purges_of_others_are_passed_over_between_two_that_concern),
        cmocka_unit_test(test_a_forgotten_prefix_concerns_all_that_is_older),
        cmocka_unit_test(test_a_prefix_that_is_too_long_purges_more),
        cmocka_unit_test(test_an_object_whose_fetch_began_before_a_purge_is_not_stored),
        cmocka_unit_test(test_a_sweep_gives_the_memory_back),
        cmocka_unit_test(test_a_sweep_takes_marks_that_have_expired),
        cmocka_unit_test(test_a_purged_variant_hides_no_other),
        cmocka_unit_test(test_a_purge_of_any_tag_concerns_what_has_too_many),
        cmocka_unit_test(test_many_purges_of_urls_leave_a_large_cache_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
