/* traceparent and tracestate, sampling, the ids of attempts; and the ring that spans go through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "proxy/http/trace_context.h"
#include "proxy/http/trace_ring.h"
#include "proxy/http/trace_settings.h"

#define HIGH "4bf92f3577b34da6"
#define LOW  "a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define GOOD HIGH LOW "-" SPAN

static void test_a_parent_is_read_strictly(void **state)
{
    static const struct {
        const char *text;
        bool good, sampled, random;
    } cases[] = {
        {"00-" GOOD "-01", true, true, false},
        {"00-" GOOD "-00", true, false, false},
        {"00-" GOOD "-03", true, true, true},
        {"00-" GOOD "-fe", true, false, true},
        {"01-" GOOD "-01", true, true, false},
        {"fe-" GOOD "-01-x", true, true, false},
        {"cc-" GOOD "-01-", true, true, false},
        {"cc-" GOOD "-01.x", false, false, false},
        {"ff-" GOOD "-01", false, false, false},
        {"00-" GOOD "-01-", false, false, false},
        {"00-" GOOD "-0", false, false, false},
        {"00-" GOOD "-0g", false, false, false},
        {"00-" GOOD "_01", false, false, false},
        {"0F-" GOOD "-01", false, false, false},
        {"", false, false, false},
        {"00", false, false, false},
        {"00-00000000000000000000000000000000-" SPAN "-01", false, false, false},
        {"00-" HIGH LOW "-0000000000000000-01", false, false, false},
        {"00-0000000000000000" LOW "-" SPAN "-01", true, true, false},
        {"00-" HIGH "0000000000000000-" SPAN "-01", true, true, false},
        {"00-4BF92F3577B34DA6" LOW "-" SPAN "-01", false, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trace_parent p = {0};
        bool good = trace_parent_read(slice_text(cases[i].text), &p);
        if (good != cases[i].good || p.sampled != cases[i].sampled || p.is_random != cases[i].random)
            fail_msg("%s: %d %d %d", cases[i].text, good, p.sampled, p.is_random);
    }
}

static void test_what_is_written_is_read_as_it_was(void **state)
{
    static const struct trace_parent parents[] = {
        {.high = 1, .span = 2, .sampled = true},
        {.low = UINT64_MAX, .span = UINT64_MAX, .is_random = true},
        {.high = UINT64_C(0x4bf92f3577b34da6), .low = 3, .span = 1, .sampled = true, .is_random = true}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(parents); i++) {
        char text[TRACE_PARENT_TEXT];
        struct trace_parent p;
        trace_parent_write(&parents[i], text);
        assert_true(trace_parent_read(slice_of(text, sizeof text), &p));
        assert_true(p.high == parents[i].high && p.low == parents[i].low && p.span == parents[i].span &&
                    p.sampled == parents[i].sampled && p.is_random == parents[i].is_random);
    }
}

static void test_a_larger_share_has_all_of_a_smaller_one(void **state)
{
    static const double shares[] = {0, 1e-9, 0.01, 0.1, 0.5, 0.999999, 1};
    unsigned sampled[COUNT_OF(shares)] = {0};
    (void)state;
    for (unsigned n = 0; n < 100000; n++) {
        uint64_t low = trace_attempt_id(7, n);
        bool before = false;
        for (size_t i = 0; i < COUNT_OF(shares); i++) {
            bool now = trace_is_among(low, shares[i]);
            assert_true(now || !before);
            sampled[i] += now;
            before = now;
        }
    }
    assert_int_equal(sampled[0], 0);
    assert_int_equal(sampled[COUNT_OF(shares) - 1], 100000);
    assert_in_range(sampled[2], 800, 1200); /* six standard deviations */
    assert_in_range(sampled[4], 49000, 51000);
    assert_false(trace_is_among(UINT64_MAX, 0));
    assert_true(trace_is_among(0, 1));
    assert_true(trace_is_among(UINT64_C(0x00ffffffffffffff), 1e-9));
    assert_false(trace_is_among(UINT64_C(0xff00000000000000), 0.999999));
}

static void test_attempts_have_ids_of_their_own(void **state)
{
    uint64_t ids[64];
    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        ids[i] = trace_attempt_id(UINT64_C(0xfeed), i);
        assert_true(ids[i] != 0);
        for (unsigned k = 0; k < i; k++)
            assert_true(ids[i] != ids[k]);
    }
}

static void test_an_endpoint_is_read(void **state)
{
    static const struct {
        const char *url, *host, *path;
        unsigned port;
        bool is_tls;
    } cases[] = {
        {"http://127.0.0.1:4318/v1/traces", "127.0.0.1", "/v1/traces", 4318, false},
        {"https://otel.example", "otel.example", "/v1/traces", 443, true},
        {"http://a/", "a", "/v1/traces", 80, false},
        {"http://[::1]:9/x?y=z", "::1", "/x?y=z", 9, false},
        {"http://[::1]", "::1", "/v1/traces", 80, false},
    };
    static const char *const bad[] = {"",
                                      "a",
                                      "http://",
                                      "http://:80/",
                                      "http://a:/",
                                      "http://a:x/",
                                      "http://a#b",
                                      "http://u@b/x",
                                      "http://a?b/",
                                      "http://[::1/",
                                      "http://a b/",
                                      "http://a:70000/"};
    struct tracing_endpoint e;
    const char *why = NULL;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(tracing_endpoint_read(slice_text(cases[i].url), &e, &why), 0);
        assert_true(slice_equal(e.host, slice_text(cases[i].host)));
        assert_true(slice_equal(e.path, slice_text(cases[i].path)));
        assert_true(e.port == cases[i].port && e.is_tls == cases[i].is_tls);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        why = NULL;
        assert_int_equal(tracing_endpoint_read(slice_text(bad[i]), &e, &why), -1);
        assert_non_null(why);
    }
}

/* The ring. */

static void write_one(struct span_ring *r, uint64_t id)
{
    span_ring_next(r, 0)->id = id;
    span_ring_publish(r, 1);
}

static void test_a_full_ring_counts_what_it_drops(void **state)
{
    struct span_ring *r = span_ring_create(64);
    (void)state;
    assert_non_null(r);
    assert_null(span_ring_oldest(r));
    for (uint64_t i = 1; i <= 63; i++) {
        assert_true(span_ring_has_room(r, 1));
        write_one(r, i);
    }
    assert_false(span_ring_has_room(r, 2));
    assert_true(span_ring_has_room(r, 1));
    write_one(r, 64);
    assert_false(span_ring_has_room(r, 1));
    assert_int_equal(counter_get(&r->dropped), 3);
    for (uint64_t i = 1; i <= 64; i++) {
        assert_int_equal(span_ring_oldest(r)->id, i);
        span_ring_take(r);
    }
    assert_null(span_ring_oldest(r));
    span_ring_free(r);
}

#define THROUGH 200000u

static void *read_all(void *argument)
{
    struct span_ring *r = argument;
    uint64_t wanted = 1;
    while (wanted <= THROUGH) {
        const struct span *s = span_ring_oldest(r);
        if (!s)
            continue;
        if (s->id != wanted || s->parent != ~wanted)
            return r;
        wanted++;
        span_ring_take(r);
    }
    return NULL;
}

static void test_two_threads_see_every_span_once_and_whole(void **state)
{
    struct span_ring *r = span_ring_create(64);
    pthread_t reader;
    void *fault;
    (void)state;
    assert_non_null(r);
    assert_int_equal(pthread_create(&reader, NULL, read_all, r), 0);
    for (uint64_t i = 1; i <= THROUGH; i++) {
        while (!span_ring_has_room(r, 1))
            ;
        span_ring_next(r, 0)->parent = ~i;
        write_one(r, i);
    }
    assert_int_equal(pthread_join(reader, &fault), 0);
    assert_null(fault);
    span_ring_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_parent_is_read_strictly),
        cmocka_unit_test(test_what_is_written_is_read_as_it_was),
        cmocka_unit_test(test_a_larger_share_has_all_of_a_smaller_one),
        cmocka_unit_test(test_attempts_have_ids_of_their_own),
        cmocka_unit_test(test_an_endpoint_is_read),
        cmocka_unit_test(test_a_full_ring_counts_what_it_drops),
        cmocka_unit_test(test_two_threads_see_every_span_once_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
