/* Collapsing: who leads, who follows, and what comes of it. */
#include "store_fixture.h"

#include "core/loop.h"

static int follow(struct scene *c, const char *key, struct cache_fill **f)
{
    return (int)scene_lead_as(c, key, NULL, false, 0, f);
}

static void test_the_first_leads_and_the_others_follow(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *same, *other;
    assert_int_equal(cache_fill_state(f), CACHE_FILL_ASKED);
    assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
    assert_ptr_equal(same, f);
    assert_int_equal(follow(&c, "l", &other), CACHE_LEAD);
    struct cache_found found = scene_find(&c, "k");
    assert_ptr_equal(found.fill, f);
    assert_null(found.object);
    assert_int_equal(f->followers, 2);
    assert_int_equal(scene_stats(&c).fills, 2);
    cache_fill_let_go(found.fill);
    cache_fill_let_go(same);
    cache_fill_end(other);
    assert_true(scene_answer(&c, f, "k", 10, false, NULL));
    assert_int_equal(scene_stats(&c).fills, 0);
    assert_non_null(scene_peek(&c, "k"));
    scene_end(&c);
}

static void test_an_object_can_be_had_while_it_grows(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *same;
    struct cache_body *body = scene_body(&c, 1000);
    struct cache_object *o = scene_object(&c, f, "k", body, false, NULL);
    cache_fill_publish(f, o);
    assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
    assert_int_equal(cache_fill_state(same), CACHE_FILL_OBJECT);
    assert_ptr_equal(same->object, o);
    assert_int_equal(scene_stats(&c).objects, 0);
    cache_body_finish(body);
    cache_fill_end(f);
    assert_ptr_equal(scene_peek(&c, "k"), o);
    assert_int_equal(scene_stats(&c).insertions, 1);
    cache_fill_let_go(same);
    cache_body_release(body);
    cache_object_release(o);
    scene_end(&c);
}

static void test_what_is_cut_or_discarded_or_too_long_is_not_stored(void **state)
{
    (void)state;
    enum { CUT, DISCARDED, UNFINISHED, STREAM, TOO_LONG, CASES };
    for (int i = 0; i < CASES; i++) {
        struct scene c;
        scene_begin(&c);
        struct cache_fill *f = scene_lead(&c, "k");
        struct cache_body *body = scene_body(&c, i == TOO_LONG ? (1 << 20) + 1 : 1000);
        struct cache_object *o = scene_object(&c, f, "k", body, false, NULL);
        cache_fill_publish(f, o);
        f->discard = i == DISCARDED;
        if (i == STREAM)
            cache_body_stream(body);
        if (i == CUT)
            cache_body_cut(body);
        else if (i != UNFINISHED)
            cache_body_finish(body);
        cache_fill_end(f);
        assert_null(scene_peek(&c, "k"));
        assert_int_equal(scene_stats(&c).entries, 0);
        assert_int_equal(scene_stats(&c).rejected_size, i == TOO_LONG);
        cache_body_release(body);
        cache_object_release(o);
        scene_end(&c);
    }
}

/* A body that takes longer than its head is fresh. */
static void test_a_growing_object_is_followed_while_it_is_fresh(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *same, *next;
    struct cache_body *body = scene_body(&c, 1000);
    struct cache_object *o = scene_object(&c, f, "k", body, false, NULL); /* for a minute */
    cache_fill_publish(f, o);
    c.now += 59;
    assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
    c.now += 1;
    assert_null(scene_find(&c, "k").fill);
    assert_int_equal(follow(&c, "k", &next), CACHE_LEAD);
    cache_fill_end(next);
    cache_fill_let_go(same);
    cache_fill_end(f);
    cache_body_release(body);
    cache_object_release(o);
    scene_end(&c);
}

static void test_an_empty_body_is_stored(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_put(&c, "k", 0));
    assert_non_null(scene_peek(&c, "k"));
    scene_end(&c);
}

static void test_who_missed_what_was_stored_meanwhile_gets_it_and_leads_nothing(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_object *found = NULL; /* by a look before the fetch */
    assert_true(scene_put(&c, "k", 10));
    struct cache_object *o = scene_peek(&c, "k");
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(&c, "k", found, false, 0, &f), CACHE_FOLLOW);
    assert_int_equal(cache_fill_state(f), CACHE_FILL_OBJECT);
    assert_ptr_equal(f->object, o);
    assert_int_equal(f->status, 200);
    cache_fill_let_go(f);
    assert_int_equal(scene_stats(&c).fills, 0);

    assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_ALL, S(""), true), 0);
    assert_int_equal(scene_lead_as(&c, "k", found, false, 0, &f), CACHE_LEAD);
    cache_fill_end(f);
    assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_ALL, S(""), false), 0);
    assert_int_equal(scene_lead_as(&c, "k", found, false, 0, &f), CACHE_LEAD);
    cache_fill_end(f);
    scene_end(&c);
}

static void test_a_leader_of_his_own_follows_nobody(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *own;
    assert_int_equal(scene_lead_as(&c, "k", NULL, true, 0, &own), CACHE_LEAD);
    assert_ptr_not_equal(own, f);
    assert_true(scene_answer(&c, own, "k", 10, false, NULL));
    struct cache_object *first = scene_peek(&c, "k");
    assert_non_null(first);
    assert_true(scene_answer(&c, f, "k", 20, false, NULL));
    assert_ptr_not_equal(scene_peek(&c, "k"), first);
    assert_int_equal(scene_stats(&c).objects, 1);
    scene_end(&c);
}

static void test_fetches_of_other_variants_are_not_followed(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    scene_put_variant(&c, "k", S("de"));
    struct cache_fill *fr, *it, *again;
    c.language = S("fr");
    fr = scene_lead(&c, "k");
    c.language = S("it");
    it = scene_lead(&c, "k");
    struct cache_found found = scene_find(&c, "k");
    assert_null(found.object);
    assert_ptr_equal(found.fill, it);
    cache_fill_let_go(found.fill);
    c.language = S("fr");
    assert_int_equal(follow(&c, "k", &again), CACHE_FOLLOW);
    assert_ptr_equal(again, fr);
    cache_fill_let_go(again);
    cache_fill_end(fr);
    cache_fill_end(it);
    scene_end(&c);
}

/* Nobody knew of the Vary when the fetch began; its head says that it is not for the second one. */
static void test_a_growing_object_is_followed_by_those_whom_its_vary_fits(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    c.language = S("de");
    struct cache_fill *f = scene_lead(&c, "k"), *same, *own, *own_again;
    struct cache_body *body = scene_body(&c, 10);
    struct cache_object *o = scene_object(&c, f, "k", body, true, NULL);
    cache_fill_publish(f, o);
    assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
    c.language = S("en");
    assert_int_equal(follow(&c, "k", &own), CACHE_LEAD);
    assert_int_equal(follow(&c, "k", &own_again), CACHE_FOLLOW);
    assert_ptr_equal(own_again, own);
    cache_fill_let_go(own_again);
    cache_fill_let_go(same);
    cache_body_finish(body);
    cache_fill_end(f);
    cache_fill_end(own);
    cache_body_release(body);
    cache_object_release(o);
    scene_end(&c);
}

static void test_an_answer_that_is_not_for_all_is_remembered(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *none, *own;
    cache_fill_release(f, CACHE_PASS_SECONDS);
    assert_int_equal(cache_fill_state(f), CACHE_FILL_RELEASED);
    assert_int_equal(follow(&c, "k", &none), CACHE_PASS);
    assert_null(none);
    cache_fill_end(f);
    assert_true(scene_find(&c, "k").pass);
    assert_int_equal(follow(&c, "k", &none), CACHE_PASS);
    assert_int_equal(scene_lead_as(&c, "k", NULL, true, 0, &own), CACHE_LEAD);
    cache_fill_end(own);

    c.now += CACHE_PASS_SECONDS + 2;
    assert_false(scene_find(&c, "k").pass);
    f = scene_lead(&c, "k");
    cache_fill_end(f);
    assert_int_equal(scene_stats(&c).entries, 0);
    scene_end(&c);
}

static void test_a_mark_ends_when_the_clock_is_set_back(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k");
    cache_fill_release(f, CACHE_PASS_SECONDS);
    cache_fill_end(f);
    c.now -= 3600;
    assert_false(scene_find(&c, "k").pass);
    f = scene_lead(&c, "k");
    cache_fill_end(f);
    scene_end(&c);
}

static void test_a_stored_object_ends_the_mark(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k");
    cache_fill_release(f, CACHE_PASS_SECONDS);
    cache_fill_end(f);
    assert_true(scene_put(&c, "k", 10));
    struct cache_found found = scene_find(&c, "k");
    assert_false(found.pass);
    assert_non_null(found.object);
    cache_object_release(found.object);
    scene_end(&c);
}

static void test_a_released_fetch_without_a_mark_is_followed_by_nobody(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k");
    cache_fill_release(f, 0);
    struct cache_fill *next = scene_lead(&c, "k");
    cache_fill_end(f);
    cache_fill_end(next);
    assert_int_equal(scene_stats(&c).entries, 0);
    scene_end(&c);
}

static void test_of_the_followers_of_a_failed_leader_the_first_leads_anew(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *a, *b, *next, *same;
    assert_int_equal(follow(&c, "k", &a), CACHE_FOLLOW);
    assert_int_equal(follow(&c, "k", &b), CACHE_FOLLOW);
    cache_fill_fail(f, 504, "timeout");
    assert_int_equal(cache_fill_state(a), CACHE_FILL_FAILED);
    assert_int_equal(a->failed_status, 504);
    assert_int_equal(scene_lead_as(&c, "k", NULL, false, a->generation + 1, &next), CACHE_LEAD);
    assert_int_equal(next->generation, 1);
    assert_int_equal(scene_lead_as(&c, "k", NULL, false, b->generation + 1, &same), CACHE_FOLLOW);
    assert_ptr_equal(same, next);
    cache_fill_end(f);
    cache_fill_let_go(a);
    cache_fill_let_go(b);
    cache_fill_let_go(same);
    cache_fill_end(next);
    scene_end(&c);
}

static void test_a_leader_that_ends_without_a_word_has_failed(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *a;
    assert_int_equal(follow(&c, "k", &a), CACHE_FOLLOW);
    cache_fill_end(f);
    assert_int_equal(cache_fill_state(a), CACHE_FILL_FAILED);
    assert_int_equal(a->failed_status, 502);
    assert_non_null(a->failed_reason);
    cache_fill_let_go(a);
    assert_int_equal(scene_stats(&c).entries, 0);
    scene_end(&c);
}

static void test_a_fetch_that_began_before_a_purge_is_not_followed(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    struct cache_fill *f = scene_lead(&c, "k"), *next, *same;
    assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_URL, S("k"), false), 0);
    assert_null(scene_find(&c, "k").fill);
    assert_int_equal(follow(&c, "k", &next), CACHE_LEAD);
    assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
    assert_ptr_equal(same, next);
    cache_fill_let_go(same);
    cache_fill_end(f);
    cache_fill_end(next);
    scene_end(&c);
}

static void test_a_purge_of_another_url_parts_nobody_from_a_fetch(void **state)
{
    (void)state;
    static const struct {
        enum cache_purge_kind kind;
        const char *text;
        bool follows;
    } cases[] = {
        {CACHE_PURGE_URL, "other", true}, {CACHE_PURGE_URL, "k", false}, {CACHE_PURGE_TAG, "red", false},
        {CACHE_PURGE_PREFIX, "o", false}, {CACHE_PURGE_ALL, "", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (int soft = 0; soft < 2; soft++) {
            struct scene c;
            scene_begin(&c);
            struct cache_key key = {.text = S("k"), .hash = 7, .url = S("k")};
            struct cache_fill *f, *same;
            assert_int_equal(cache_lead(c.store, &key, NULL, false, 0, scene_lookup, &c, &c.arena, c.now, &f),
                             CACHE_LEAD);
            assert_int_equal(cache_store_purge(c.store, cases[i].kind, slice_text(cases[i].text), soft), 0);
            assert_int_equal(
                cache_lead(c.store, &key, NULL, false, 0, scene_lookup, &c, &c.arena, c.now, &same),
                cases[i].follows ? CACHE_FOLLOW : CACHE_LEAD);
            if (cases[i].follows)
                cache_fill_let_go(same);
            else
                cache_fill_end(same);
            cache_fill_end(f);
            scene_end(&c);
        }
}

static void test_a_growing_object_is_followed_until_it_is_purged(void **state)
{
    (void)state;
    for (int soft = 0; soft < 2; soft++) {
        struct scene c;
        scene_begin(&c);
        struct cache_fill *f = scene_lead(&c, "k"), *same, *next;
        struct cache_body *body = scene_body(&c, 10);
        struct cache_object *o = scene_object(&c, f, "k", body, false, "red");
        cache_fill_publish(f, o);
        assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_TAG, S("blue"), soft), 0);
        assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
        cache_fill_let_go(same);
        assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_TAG, S("red"), soft), 0);
        assert_int_equal(follow(&c, "k", &next), CACHE_LEAD);
        cache_fill_end(next);
        cache_body_finish(body);
        cache_fill_end(f);
        cache_body_release(body);
        cache_object_release(o);
        scene_end(&c);
    }
}

/* A 304: other head, same body, and the place of what was validated, though its Vary is another now. */
static void test_a_refreshed_object_takes_the_place_of_its_base(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    scene_put_variant(&c, "k", S("de"));
    struct cache_found found = scene_find(&c, "k");
    struct cache_object *base = found.object;
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(&c, "k", base, false, 0, &f), CACHE_LEAD);
    assert_ptr_equal(f->base, base);
    struct cache_object *o = scene_object(&c, f, "k", base->body, false, NULL);
    cache_fill_publish(f, o);
    cache_fill_end(f);
    assert_ptr_equal(scene_peek(&c, "k"), o);
    assert_ptr_equal(o->body, base->body);
    assert_int_equal(o->length, 100);
    assert_int_equal(scene_stats(&c).objects, 1);
    assert_int_equal(scene_stats(&c).evictions, 0);
    cache_object_release(o);
    cache_object_release(base);
    scene_end(&c);
}

/* A slow fetch ends after one that began later. */
static void test_what_is_newer_is_not_replaced_by_what_is_older(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    c.now -= 10;
    struct cache_fill *slow = scene_lead(&c, "k"), *own;
    struct cache_body *body = scene_body(&c, 10);
    struct cache_object *older = scene_object(&c, slow, "k", body, false, NULL);
    cache_fill_publish(slow, older);
    cache_body_finish(body);
    c.now += 5;
    assert_int_equal(scene_lead_as(&c, "k", NULL, true, 0, &own), CACHE_LEAD);
    assert_true(scene_answer(&c, own, "k", 20, false, NULL));
    struct cache_object *newer = scene_peek(&c, "k");
    assert_ptr_not_equal(newer, older);
    cache_fill_end(slow);
    assert_ptr_equal(scene_peek(&c, "k"), newer);
    assert_int_equal(scene_stats(&c).objects, 1);
    cache_object_release(older);
    cache_body_release(body);

    scene_end(&c);
}

static void test_what_came_before_the_clock_was_set_back_is_replaced(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    c.now += 3600;
    assert_true(scene_put(&c, "k", 10));
    struct cache_object *first = scene_find(&c, "k").object;
    c.now -= 3600;
    assert_true(scene_put(&c, "k", 30));
    assert_ptr_not_equal(scene_peek(&c, "k"), first);
    cache_object_release(first);
    scene_end(&c);
}

static void test_what_was_purged_since_it_was_found_is_not_validated(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_put(&c, "k", 10));
    struct cache_object *base = scene_find(&c, "k").object;
    assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_URL, S("k"), false), 0);
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(&c, "k", base, false, 0, &f), CACHE_LEAD);
    assert_null(f->base);
    cache_fill_end(f);
    cache_object_release(base);
    scene_end(&c);
}

static void test_a_new_head_over_a_purged_body_is_not_stored(void **state)
{
    (void)state;
    struct scene c;
    scene_begin(&c);
    assert_true(scene_answer(&c, scene_lead(&c, "k"), "k", 10, false, "red"));
    struct cache_object *base = scene_find(&c, "k").object;
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(&c, "k", base, false, 0, &f), CACHE_LEAD);
    assert_ptr_equal(f->base, base);
    assert_int_equal(cache_store_purge(c.store, CACHE_PURGE_TAG, S("red"), false), 0);
    struct cache_object *refreshed = scene_object(&c, f, "k", base->body, false, "blue");
    cache_fill_publish(f, refreshed);
    cache_fill_end(f);
    assert_null(scene_peek(&c, "k"));
    cache_object_release(refreshed);
    cache_object_release(base);
    scene_end(&c);
}

static void test_a_base_that_is_published_for_want_of_an_answer_stays_where_it_is(void **state)
{
    (void)state;
    for (int dropped = 0; dropped < 2; dropped++) {
        struct scene c;
        scene_begin(&c);
        assert_true(scene_put(&c, "k", 10));
        struct cache_found found = scene_find(&c, "k");
        struct cache_fill *f;
        assert_int_equal(scene_lead_as(&c, "k", found.object, false, 0, &f), CACHE_LEAD);
        cache_fill_publish(f, found.object);
        if (dropped)
            cache_drop(c.store, found.object);
        cache_fill_end(f);
        assert_ptr_equal(scene_peek(&c, "k"), dropped ? NULL : found.object);
        assert_int_equal(scene_stats(&c).objects, !dropped);
        assert_int_equal(scene_stats(&c).insertions, 1);
        cache_object_release(found.object);
        scene_end(&c);
    }
}

static void test_a_refreshed_object_is_as_popular_as_its_base(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){
                       .memory = 4 << 20, .max_object = 1 << 20, .policy = CACHE_POLICY_S3FIFO});
    assert_true(scene_put(&c, "k", 10));
    struct cache_object *o = scene_peek(&c, "k");
    cache_touch(c.store, o, 0, 0);
    cache_touch(c.store, o, 0, 0);
    assert_true(scene_put(&c, "k", 10));
    assert_int_equal(scene_peek(&c, "k")->policy.freq, 2);
    scene_end(&c);
}

struct waiting {
    struct cache_waiter waiter;
    int woken;
};

static void on_wake(struct cache_waiter *w)
{
    CONTAINER_OF(w, struct waiting, waiter)->woken++;
}

static void test_followers_are_woken_by_each_end(void **state)
{
    (void)state;
    enum { PUBLISHED, RELEASED, FAILED, ENDED, CASES };
    for (int i = 0; i < CASES; i++) {
        struct scene c;
        scene_begin(&c);
        struct loop loop;
        assert_int_equal(loop_init(&loop, 0), 0);
        struct cache_fill *f = scene_lead(&c, "k"), *same;
        assert_int_equal(follow(&c, "k", &same), CACHE_FOLLOW);
        struct waiting w = {0};
        assert_int_equal(cache_signal_wait(&same->signal, &loop, &w.waiter, on_wake), 0);
        if (i == PUBLISHED)
            scene_answer(&c, f, "k", 10, false, NULL);
        if (i == RELEASED)
            cache_fill_release(f, 0);
        if (i == FAILED)
            cache_fill_fail(f, 502, "refused");
        if (i != PUBLISHED)
            cache_fill_end(f);
        assert_int_equal(w.woken, 0);
        loop_pass(&loop);
        assert_int_equal(w.woken, 1);
        cache_fill_let_go(same);
        loop_free(&loop);
        scene_end(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_leads_and_the_others_follow),
        cmocka_unit_test(test_an_object_can_be_had_while_it_grows),
        cmocka_unit_test(test_what_is_cut_or_discarded_or_too_long_is_not_stored),
        cmocka_unit_test(test_a_growing_object_is_followed_while_it_is_fresh),
        cmocka_unit_test(test_an_empty_body_is_stored),
        cmocka_unit_test(test_who_missed_what_was_stored_meanwhile_gets_it_and_leads_nothing),
        cmocka_unit_test(test_a_leader_of_his_own_follows_nobody),
        cmocka_unit_test(test_fetches_of_other_variants_are_not_followed),
        cmocka_unit_test(test_a_growing_object_is_followed_by_those_whom_its_vary_fits),
        cmocka_unit_test(test_an_answer_that_is_not_for_all_is_remembered),
        cmocka_unit_test(test_a_mark_ends_when_the_clock_is_set_back),
        cmocka_unit_test(test_a_stored_object_ends_the_mark),
        cmocka_unit_test(test_a_released_fetch_without_a_mark_is_followed_by_nobody),
        cmocka_unit_test(test_of_the_followers_of_a_failed_leader_the_first_leads_anew),
        cmocka_unit_test(test_a_leader_that_ends_without_a_word_has_failed),
        cmocka_unit_test(test_a_fetch_that_began_before_a_purge_is_not_followed),
        cmocka_unit_test(test_a_purge_of_another_url_parts_nobody_from_a_fetch),
        cmocka_unit_test(test_a_growing_object_is_followed_until_it_is_purged),
        cmocka_unit_test(test_a_refreshed_object_takes_the_place_of_its_base),
        cmocka_unit_test(test_what_is_newer_is_not_replaced_by_what_is_older),
        cmocka_unit_test(test_what_came_before_the_clock_was_set_back_is_replaced),
        cmocka_unit_test(test_what_was_purged_since_it_was_found_is_not_validated),
        cmocka_unit_test(test_a_new_head_over_a_purged_body_is_not_stored),
        cmocka_unit_test(test_a_base_that_is_published_for_want_of_an_answer_stays_where_it_is),
        cmocka_unit_test(test_a_refreshed_object_is_as_popular_as_its_base),
        cmocka_unit_test(test_followers_are_woken_by_each_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
