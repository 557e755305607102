/* The shadow: what it says beside what whole caches do, how much it samples, when it says nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cache/miniature.h"
#include "cache/shadow.h"

#define MIB    UINT64_C(1048576)
#define MINUTE UINT64_C(60000)
#define HOUR   (60 * MINUTE)
#define START  (100 * HOUR)

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Requests by Zipf's law with alpha 1: hashes of keys. */
static uint64_t *make_requests(size_t count, size_t keys, uint64_t salt)
{
    double *sums = malloc(keys * sizeof *sums), sum = 0;
    uint64_t *requests = malloc(count * sizeof *requests);
    assert_true(sums && requests);
    for (size_t i = 0; i < keys; i++)
        sums[i] = sum += 1.0 / (double)(i + 1);
    for (size_t i = 0; i < count; i++) {
        double at = (double)(mix(i) >> 11) / 9007199254740992.0 * sum;
        size_t low = 0, high = keys - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (sums[middle] > at)
                high = middle;
            else
                low = middle + 1;
        }
        requests[i] = mix(low ^ salt << 40);
    }
    free(sums);
    return requests;
}

/* Misses of the second half in a whole cache, in points. */
static double misses_of(const uint64_t *requests, size_t count, const struct cache_policy_ops *policy,
                        uint64_t capacity, uint64_t bytes)
{
    struct miniature m;
    size_t misses = 0;
    assert_int_equal(miniature_init(&m, policy, capacity, (uint32_t)(capacity / bytes + 1)), 0);
    for (size_t i = 0; i < count; i++)
        misses += !miniature_access(&m, requests[i], bytes, START + i * 5) && i >= count / 2;
    miniature_clear(&m);
    return 200.0 * (double)misses / (double)count;
}

static void feed(struct cache_shadow *s, const uint64_t *requests, size_t count, uint64_t bytes)
{
    for (size_t i = 0; i < count; i++)
        cache_shadow_access(s, (unsigned)i & 3, requests[i], bytes, START + i * 5);
}

static struct cache_shadow_report report_of(struct cache_shadow *s, msec_t now)
{
    struct cache_shadow_report r;
    cache_shadow_report(s, now, &r);
    return r;
}

static struct cache_shadow *create(const struct cache_policy_ops *policy, uint64_t memory)
{
    struct cache_shadow *s = cache_shadow_create(policy, memory);
    assert_non_null(s);
    return s;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (fabs(value - expected) > tolerance)
        fail_msg("%.3f is not %.3f, give or take %.3f", value, expected, tolerance);
}

/* What it says. */

enum { REQUESTS = 600000, KEYS = 100000, OBJECT = 4096 };

static void check_against_whole_caches(size_t policy, uint64_t memory, uint64_t salt)
{
    const struct cache_policy_ops *mine = cache_policies[policy], *other = cache_policies[!policy];
    uint64_t *requests = make_requests(REQUESTS, KEYS, salt);
    double misses = misses_of(requests, REQUESTS, mine, memory, OBJECT);
    double other_points = misses - misses_of(requests, REQUESTS, other, memory, OBJECT);
    double double_points = misses - misses_of(requests, REQUESTS, mine, memory * 2, OBJECT);
    assert_true(fabs(other_points) > 3 && double_points > 3);

    struct cache_shadow *s = create(mine, memory);
    feed(s, requests, REQUESTS, OBJECT);
    struct cache_shadow_report r = report_of(s, START + REQUESTS * 5);
    assert_int_equal(r.standing, CACHE_SHADOW_READY);
    assert_string_equal(r.policy, mine->name);
    assert_string_equal(r.other_policy, other->name);
    assert_near(100 * r.total.hit_ratio, 100 - misses, 2.5);
    assert_near(r.total.other_points, other_points, 1.5);
    assert_near(r.total.double_points, double_points, 1.5);
    assert_near(100 * (r.total.other_hit_ratio - r.total.hit_ratio), r.total.other_points, 0.001);
    assert_near(100 * (r.total.double_hit_ratio - r.total.hit_ratio), r.total.double_points, 0.001);
    assert_true(r.total.requests > 0.8 * REQUESTS && r.total.requests <= REQUESTS);
    cache_shadow_free(s);
    free(requests);
}

static void test_it_says_what_the_other_policy_and_double_memory_bring(void **state)
{
    (void)state;
    for (uint64_t salt = 1; salt <= 3; salt++) /* the most popular key is in the sample or is not */
        check_against_whole_caches(0, 16 * MIB, salt);
    check_against_whole_caches(1, 16 * MIB, 4);
}

static void test_a_popular_key_in_the_sample_does_not_move_what_it_says(void **state)
{
    (void)state;
    uint64_t hot[2] = {1, 1}; /* one that is in the sample of an eighth, one that is not */
    while (cache_shadow_bits(mix(hot[0])) >= 1u << 27)
        hot[0]++;
    while (cache_shadow_bits(mix(hot[1])) < 1u << 30)
        hot[1]++;
    uint64_t *requests = make_requests(REQUESTS, KEYS, 9);
    struct cache_shadow_report r[2];
    for (size_t i = 0; i < 2; i++) {
        struct cache_shadow *s = create(&cache_policy_lru, 16 * MIB);
        for (size_t at = 0; at < REQUESTS; at++) /* half of all is for the hot one */
            cache_shadow_access(s, 0, at & 1 ? mix(hot[i]) : requests[at], OBJECT, START + at * 5);
        r[i] = report_of(s, START + REQUESTS * 5);
        cache_shadow_free(s);
    }
    assert_true(r[0].total.sampled > 3 * r[1].total.sampled);
    assert_near(r[0].total.other_points, r[1].total.other_points, 0.3);
    assert_near(r[0].total.double_points, r[1].total.double_points, 0.3);
    assert_near(r[0].total.hit_ratio, r[1].total.hit_ratio, 0.003);
    free(requests);
}

static void test_the_advice_in_words(void **state)
{
    (void)state;
    static const struct {
        double other, twice;
        uint64_t memory;
        const char *text;
    } cases[] = {
        {4.06, 2.04, 256 * MIB, "with s3fifo: +4.1 points; with 512 MiB: +2.0 points"},
        {-1.25, 0.04, 512 * MIB, "with s3fifo: -1.3 points; with 1 GiB: +0.0 points"},
        {-0.04, 11, 768 * MIB, "with s3fifo: +0.0 points; with 1.5 GiB: +11.0 points"},
        {-100, 100, 1, "with s3fifo: -100.0 points; with 2 bytes: +100.0 points"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cache_shadow_report r = {
            .standing = CACHE_SHADOW_READY,
            .other_policy = "s3fifo",
            .memory = cases[i].memory,
            .hour = {.other_points = cases[i].other, .double_points = cases[i].twice}};
        char text[CACHE_SHADOW_ADVICE_MAX];
        assert_int_equal(cache_shadow_advice(&r, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
        for (int standing = CACHE_SHADOW_LEARNING; standing < CACHE_SHADOW_READY; standing++) {
            r.standing = (enum cache_shadow_standing)standing;
            assert_int_equal(cache_shadow_advice(&r, text), 0);
            assert_string_equal(text, "");
        }
    }
}

/* When it says nothing. */

static void test_after_few_requests_it_is_learning(void **state)
{
    (void)state;
    uint64_t *requests = make_requests(10000, KEYS, 1);
    struct cache_shadow *s = create(&cache_policy_lru, 16 * MIB);
    assert_int_equal(report_of(s, START).standing, CACHE_SHADOW_LEARNING);
    feed(s, requests, 10000, OBJECT);
    struct cache_shadow_report r = report_of(s, START + 50000);
    assert_int_equal(r.standing, CACHE_SHADOW_LEARNING);
    assert_int_equal(r.total.sampled, 0);
    cache_shadow_free(s);
    free(requests);
}

static void test_a_cache_of_a_few_hundred_objects_is_too_small(void **state)
{
    (void)state;
    uint64_t *requests = make_requests(REQUESTS, KEYS, 1);
    struct cache_shadow *s = create(&cache_policy_lru, 2 * MIB);
    feed(s, requests, REQUESTS, 8192); /* 256 */
    struct cache_shadow_report r = report_of(s, START + REQUESTS * 5);
    assert_int_equal(r.standing, CACHE_SHADOW_SMALL);
    cache_shadow_free(s);
    free(requests);
}

static void test_what_all_fits_needs_no_advice(void **state)
{
    (void)state;
    uint64_t *requests = make_requests(REQUESTS, 3000, 1);
    struct cache_shadow *s = create(&cache_policy_lru, 16 * MIB);
    feed(s, requests, REQUESTS, OBJECT);
    assert_int_equal(report_of(s, START + REQUESTS * 5).standing, CACHE_SHADOW_FITS);
    cache_shadow_free(s);
    free(requests);
}

/* The sample. */

/* The share of so many keys that is in the sample, among those whose `bits` of the hash are `value`. */
static double share_of(const struct cache_shadow *s, uint64_t bits, uint64_t value)
{
    size_t in = 0, all = 0;
    uint32_t threshold = atomic_load(&s->threshold);
    for (uint64_t key = 0; key < 400000; key++) {
        uint64_t hash = mix(key);
        if ((hash & bits) != value)
            continue;
        all++;
        in += cache_shadow_bits(hash) < threshold;
    }
    return (double)in / (double)all;
}

static void test_the_sample_is_one_percent_of_the_keys_in_every_shard(void **state)
{
    (void)state;
    struct cache_shadow *s = create(&cache_policy_lru, 8192 * MIB);
    assert_near(report_of(s, START).sample, 0.01, 0.00001);
    assert_near(share_of(s, 0, 0), 0.01, 0.0005);
    for (uint64_t shard = 0; shard < 16; shard++) {
        assert_near(share_of(s, 15, shard), 0.01, 0.002);
        assert_near(share_of(s, UINT64_C(15) << 60, shard << 60), 0.01, 0.002);
        assert_near(share_of(s, UINT64_C(15) << 32, shard << 32), 0.01, 0.002);
    }
    cache_shadow_free(s);
}

static void test_more_keys_of_a_small_cache_and_fewer_of_small_objects_are_in_the_sample(void **state)
{
    (void)state;
    static const struct {
        uint64_t memory, bytes;
        double sample, nodes;
    } cases[] = {
        {64 * MIB, 16384, 0.125, 512},     /* no more than an eighth */
        {128 * MIB, 2048, 0.03125, 2048},  /* enough to say something */
        {64 * MIB, 1024, 0.02525, 1655},   /* as many as there is memory for */
        {4096 * MIB, 1048576, 0.125, 512}, /* the same, with large objects */
        {1024 * MIB, 512, 0.00586, 12288}, /* the same, less than one percent */
        {256 * MIB, 65536, 0.125, 512},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cache_shadow *s = create(&cache_policy_lru, cases[i].memory);
        uint64_t objects = cases[i].memory / cases[i].bytes * 3;
        for (uint64_t key = 0; key < objects; key++)
            cache_shadow_access(s, 0, mix(key), cases[i].bytes, START);
        struct cache_shadow_report r = report_of(s, START);
        assert_near(r.sample, cases[i].sample, cases[i].sample * 0.05);
        assert_near((double)r.nodes, cases[i].nodes, cases[i].nodes * 0.05);
        cache_shadow_free(s);
    }
}

static void test_its_memory_is_bounded(void **state)
{
    (void)state;
    static const uint64_t memories[] = {0, 1, MIB, 3 * MIB, 16 * MIB, 256 * MIB, 1024 * MIB, 1048576 * MIB};
    static const uint64_t sizes[] = {1, 300, 16384, 8 * MIB};
    for (size_t policy = 0; policy < CACHE_POLICIES; policy++)
        for (size_t i = 0; i < COUNT_OF(memories); i++)
            for (size_t j = 0; j < COUNT_OF(sizes); j++) {
                struct cache_shadow *s = create(cache_policies[policy], memories[i]);
                uint64_t bound = memories[i] / 100 < 5 * MIB ? memories[i] / 100 : 5 * MIB;
                bound = bound < 32768 ? 32768 : bound;
                for (uint64_t key = 0; key < 300000; key++) {
                    cache_shadow_access(s, 0, mix(key), sizes[j], START);
                    if (key % 4096 == 0)
                        assert_in_range(cache_shadow_bytes(s), 1, bound);
                }
                assert_in_range(cache_shadow_bytes(s), 1, bound);
                cache_shadow_free(s);
            }
}

/* Time and change. */

static void test_the_hour_passes_and_the_total_stays(void **state)
{
    (void)state;
    uint64_t *requests = make_requests(REQUESTS, KEYS, 1);
    struct cache_shadow *s = create(&cache_policy_lru, 16 * MIB);
    feed(s, requests, REQUESTS, OBJECT); /* fifty minutes */
    msec_t end = START + REQUESTS * 5;
    struct cache_shadow_report first = report_of(s, end), later = report_of(s, end + 30 * MINUTE),
                               last = report_of(s, end + HOUR + MINUTE);
    assert_near(first.hour.requests, first.total.requests, 0.1);
    assert_near(later.hour.requests, first.total.requests - 200.0 * 60 * 21, 200 * 60 * 3);
    assert_int_equal(later.total.sampled, first.total.sampled);
    assert_int_equal(last.hour.sampled, 0);
    assert_int_equal(last.standing, CACHE_SHADOW_LEARNING);
    assert_int_equal(last.total.sampled, first.total.sampled);

    for (size_t i = 0; i < REQUESTS; i++) /* two hours afterwards, the miniatures still warm */
        cache_shadow_access(s, 0, requests[i], OBJECT, end + 2 * HOUR + i * 5);
    struct cache_shadow_report again = report_of(s, end + 2 * HOUR + REQUESTS * 5);
    assert_int_equal(again.standing, CACHE_SHADOW_READY);
    assert_int_equal(again.hour.sampled + first.total.sampled, again.total.sampled);
    cache_shadow_free(s);
    free(requests);
}

static void test_another_policy_or_memory_begins_anew_and_the_same_goes_on(void **state)
{
    (void)state;
    uint64_t *requests = make_requests(REQUESTS, KEYS, 1);
    struct cache_shadow *s = create(&cache_policy_lru, 16 * MIB);
    msec_t end = START + REQUESTS * 5;
    feed(s, requests, REQUESTS, OBJECT);
    uint64_t sampled = report_of(s, end).total.sampled;
    assert_true(sampled > 0);
    cache_shadow_configure(s, &cache_policy_lru, 16 * MIB);
    assert_int_equal(report_of(s, end).total.sampled, sampled);

    cache_shadow_configure(s, &cache_policy_s3fifo, 16 * MIB);
    struct cache_shadow_report r = report_of(s, end);
    assert_int_equal(r.total.sampled, 0);
    assert_int_equal(r.nodes, 0);
    assert_string_equal(r.other_policy, "lru");
    feed(s, requests, REQUESTS, OBJECT);
    r = report_of(s, end);
    assert_int_equal(r.standing, CACHE_SHADOW_READY);
    assert_true(r.total.other_points < -3);
    cache_shadow_configure(s, &cache_policy_s3fifo, 32 * MIB);
    assert_int_equal(report_of(s, end).total.sampled, 0);
    cache_shadow_free(s);
    free(requests);
}

/* Many threads. */

struct caller {
    struct cache_shadow *shadow;
    const uint64_t *requests;
    _Atomic size_t *next;
    unsigned number;
};

static void *call(void *argument)
{
    struct caller *c = argument;
    size_t i;
    while ((i = atomic_fetch_add(c->next, 1)) < 5 * REQUESTS)
        cache_shadow_access(c->shadow, c->number, c->requests[i % REQUESTS], OBJECT, START + i);
    return NULL;
}

static void test_many_threads_ask_at_once(void **state)
{
    (void)state;
    uint64_t *requests = make_requests(REQUESTS, KEYS, 1);
    struct cache_shadow *s = create(&cache_policy_lru, 16 * MIB);
    struct caller callers[3];
    _Atomic size_t next = 0;
    pthread_t threads[3];
    for (unsigned i = 0; i < 3; i++) {
        callers[i] = (struct caller){s, requests, &next, i};
        assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    }
    for (unsigned i = 0; i < 200; i++)
        report_of(s, START);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    /* Who holds the lock may lose its processor for long: how much is passed over is chance. */
    struct cache_shadow_report r = report_of(s, START + 5 * REQUESTS);
    assert_int_equal(r.standing, CACHE_SHADOW_READY);
    assert_in_range((uint64_t)r.total.requests, r.total.sampled, 5 * REQUESTS);
    assert_true(r.total.hit_ratio > 0.3 && r.total.hit_ratio < 0.9);
    cache_shadow_free(s);
    free(requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_says_what_the_other_policy_and_double_memory_bring),
        cmocka_unit_test(test_a_popular_key_in_the_sample_does_not_move_what_it_says),
        cmocka_unit_test(test_the_advice_in_words),
        cmocka_unit_test(test_after_few_requests_it_is_learning),
        cmocka_unit_test(test_a_cache_of_a_few_hundred_objects_is_too_small),
        cmocka_unit_test(test_what_all_fits_needs_no_advice),
        cmocka_unit_test(test_the_sample_is_one_percent_of_the_keys_in_every_shard),
        cmocka_unit_test(test_more_keys_of_a_small_cache_and_fewer_of_small_objects_are_in_the_sample),
        cmocka_unit_test(test_its_memory_is_bounded),
        cmocka_unit_test(test_the_hour_passes_and_the_total_stays),
        cmocka_unit_test(test_another_policy_or_memory_begins_anew_and_the_same_goes_on),
        cmocka_unit_test(test_many_threads_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
