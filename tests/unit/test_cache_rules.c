#include "cache/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cache_messages.h"

#define UNSET CACHE_UNSET
#define DAY   86400

/* A response, what was asked and what the route says. 0: 200; times of the route UNSET unless `with` names
 * them. */
struct facts {
    unsigned status;
    const char *cc, *cdn, *surrogate, *expires, *date, *age, *modified, *pragma, *vary;
    const char *request_cc;
    bool has_etag, has_set_cookie, has_authorization, is_head;
    const struct cache_defaults *with;
    int64_t asked_ago; /* the request, before the response */
};

static const struct cache_defaults silent = {UNSET, UNSET, UNSET, NULL, 0, false};

static struct cache_verdict judge(const struct facts *x)
{
    static struct lines_text keep[10];
    struct cache_verdict v;
    struct cache_request request = {.cache_control = lines_of(x->request_cc, &keep[0]),
                                    .has_authorization = x->has_authorization,
                                    .is_head = x->is_head};
    struct cache_response response = {.status = (uint16_t)(x->status ? x->status : 200),
                                      .cache_control = lines_of(x->cc, &keep[1]),
                                      .cdn_cache_control = lines_of(x->cdn, &keep[2]),
                                      .surrogate_control = lines_of(x->surrogate, &keep[3]),
                                      .expires = lines_of(x->expires, &keep[4]),
                                      .date = lines_of(x->date, &keep[5]),
                                      .age = lines_of(x->age, &keep[6]),
                                      .last_modified = lines_of(x->modified, &keep[7]),
                                      .pragma = lines_of(x->pragma, &keep[8]),
                                      .vary = lines_of(x->vary, &keep[9]),
                                      .has_set_cookie = x->has_set_cookie};
    cache_may_store(&request, &response, x->has_etag || x->modified, x->with ? x->with : &silent,
                    NOW - x->asked_ago, NOW, &v);
    return v;
}

static void test_what_is_not_stored_and_why(void **state)
{
    (void)state;
    static const uint16_t some[] = {200, 404, 206};
    static const struct cache_defaults listed = {60, UNSET, UNSET, some, 3, false};
    static const struct {
        struct facts x;
        const char *reason; /* NULL: it is stored */
        bool is_explicit;
    } cases[] = {
        /* §3 */
        {{.cc = "max-age=60"}, NULL, false},
        {{.cc = "max-age=60", .is_head = true}, "method", false},
        {{.cc = "max-age=60", .request_cc = "no-store"}, "request", false},
        {{.cc = "max-age=60", .status = 101}, "status", false},
        {{.cc = "max-age=60", .status = 206}, "status", false},
        {{.cc = "max-age=60", .status = 304}, "status", false},
        {{.cc = "max-age=60", .status = 412}, "status", false},
        {{.cc = "max-age=60", .status = 416}, "status", false},
        {{.cc = "max-age=60", .status = 500}, NULL, false},
        {{.status = 500, .has_etag = true}, "status", false},
        {{.status = 500, .has_etag = true, .cc = "public"}, NULL, false},
        {{.status = 200, .has_etag = true}, NULL, false},
        {{.status = 200, .cc = NULL}, "no-freshness", true},
        {{.status = 503, .cc = NULL}, "status", false},
        {{.cc = "public"}, "no-freshness", true},
        {{.cc = "max-age=0"}, "stale", true},
        {{.cc = "max-age=60", .age = "60"}, "stale", false},
        {{.cc = "max-age=60", .age = "x"}, "stale", false},
        {{.cc = "max-age=60", .age = "x", .has_etag = true}, NULL, false},
        {{.cc = "max-age=0", .has_etag = true}, NULL, false},
        {{.cc = "max-age=0, stale-while-revalidate=5"}, NULL, false},
        {{.cc = "max-age=0, stale-if-error=5"}, NULL, false},
        {{.cc = "max-age=0, stale-if-error=5, must-revalidate"}, "stale", true},
        /* The route's statuses. */
        {{.with = &listed}, NULL, false},
        {{.with = &listed, .status = 404}, NULL, false},
        {{.with = &listed, .status = 410, .cc = "max-age=60"}, "status", false},
        {{.with = &listed, .status = 206, .cc = "max-age=60"}, "status", false},
        /* §5.2.2.5, §5.2.2.7, §5.2.2.4 */
        {{.cc = "max-age=60, no-store"}, "no-store", true},
        {{.cc = "max-age=60, private"}, "private", true},
        {{.cc = "max-age=60, private, public"}, "private", true},
        {{.cc = "max-age=60, private=\"x-a\""}, NULL, false},
        {{.cc = "max-age=60,private=a,private=b,private=c,private=d,private=e"}, "private", true},
        {{.cc = "max-age=60, no-cache"}, "no-cache", true},
        {{.cc = "max-age=60, no-cache", .has_etag = true}, NULL, false},
        {{.cc = "max-age=60, no-cache=\"x-a\""}, NULL, false},
        /* §5.2.2.3 */
        {{.cc = "max-age=60, must-understand, no-store"}, NULL, false},
        {{.cc = "max-age=60, must-understand", .status = 404}, NULL, false},
        {{.cc = "max-age=60, must-understand", .status = 499}, "must-understand", true},
        {{.cc = "max-age=60, must-understand, no-store", .status = 499}, "must-understand", true},
        /* §3.5 */
        {{.cc = "max-age=60", .has_authorization = true}, "authorization", false},
        {{.cc = "max-age=60, proxy-revalidate", .has_authorization = true}, "authorization", false},
        {{.cc = "max-age=60, public", .has_authorization = true}, NULL, false},
        {{.cc = "max-age=60, must-revalidate", .has_authorization = true}, NULL, false},
        {{.cc = "s-maxage=60", .has_authorization = true}, NULL, false},
        {{.cdn = "max-age=60, public", .has_authorization = true}, NULL, false},
        {{.cdn = "max-age=60", .cc = "public", .has_authorization = true}, "authorization", false},
        {{.surrogate = "max-age=60", .cc = "public", .has_authorization = true}, "authorization", false},
        {{.with = &listed, .has_authorization = true}, "authorization", false},
        /* Set-Cookie */
        {{.cc = "max-age=60", .has_set_cookie = true}, "set-cookie", true},
        {{.cc = "public, s-maxage=60", .has_set_cookie = true}, "set-cookie", true},
        {{.cc = "max-age=60, private=\"Set-Cookie\"", .has_set_cookie = true}, NULL, false},
        {{.cc = "max-age=60, no-cache=\"a, set-cookie\"", .has_set_cookie = true}, NULL, false},
        /* §4.1 */
        {{.cc = "max-age=60", .vary = "Accept, *"}, "vary-star", true},
        {{.cc = "max-age=60", .vary = "a b"}, "vary", true},
        {{.cc = "max-age=60", .vary = "Accept"}, NULL, false},
        /* RFC 9213 §2.2 */
        {{.cdn = "no-store", .cc = "max-age=60"}, "no-store", true},
        {{.cdn = "max-age=60", .cc = "no-store, private"}, NULL, false},
        {{.cdn = "MAX-AGE=60", .cc = "no-store"}, "no-store", true},
        {{.cdn = "", .cc = "no-store"}, "no-store", true},
        {{.cdn = "foo", .cc = "max-age=60", .expires = "@60"}, "no-freshness", true},
        {{.surrogate = "max-age=60;other", .cc = "no-store"}, "no-store", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cache_verdict v = judge(&cases[i].x);
        bool is_well = v.store == !cases[i].reason && v.is_explicit == cases[i].is_explicit &&
                       (v.store ? !v.reason : !strcmp(v.reason, cases[i].reason));
        if (!is_well)
            fail_msg("case %zu (%s): %s%s", i, cases[i].x.cc, v.reason ? v.reason : "stored",
                     v.is_explicit ? ", explicit" : "");
    }
}

static void test_a_route_may_want_cookies_stored(void **state)
{
    (void)state;
    struct cache_defaults with = silent;
    with.store_set_cookie = true;
    assert_true(judge(&(struct facts){.cc = "max-age=60", .has_set_cookie = true, .with = &with}).store);
}

static void test_fields_of_qualified_forms_are_told(void **state)
{
    (void)state;
    struct cache_verdict v =
        judge(&(struct facts){.cc = "max-age=60, private=\"X-A, x-b\", no-cache=\"x-c\""});
    assert_true(v.store);
    assert_true(cache_is_omitted(&v, S("x-a")));
    assert_true(cache_is_omitted(&v, S("X-B")));
    assert_true(cache_is_omitted(&v, S("x-c")));
    assert_false(cache_is_omitted(&v, S("x-d")));
    assert_false(cache_is_omitted(&v, S("x-")));
}

/* §4.2.1, §4.2.2, §5.3, RFC 9213 §2.2. */
static void test_how_long_a_response_is_fresh(void **state)
{
    (void)state;
    static const uint16_t some[] = {200, 403};
    static const struct cache_defaults minute = {60, UNSET, UNSET, NULL, 0, false},
                                       listed = {60, UNSET, UNSET, some, 2, false},
                                       zero = {0, UNSET, UNSET, NULL, 0, false};
    static const struct {
        struct facts x;
        int64_t lifetime;
        bool is_heuristic;
    } cases[] = {
        {{.cc = "s-maxage=5, max-age=9", .expires = "@70"}, 5, false},
        {{.cc = "max-age=9", .expires = "@70"}, 9, false},
        {{.cc = "max-age=x", .expires = "@70"}, 0, false},
        {{.cc = "max-age=9999999999999999999"}, CACHE_SECONDS_MAX, false},
        {{.cc = "max-age=60, x=\"y"}, 0, false},
        {{.cc = "public", .expires = "@70"}, 70, false},
        {{.expires = "@70", .date = "@-10"}, 80, false},
        {{.expires = "@70", .date = "@10"}, 60, false},
        {{.expires = "@70", .date = "nonsense"}, 70, false},
        {{.expires = "@70", .date = "@-10\n@-10"}, 70, false},
        {{.expires = "@70\n@70"}, 0, false},
        {{.expires = "0"}, 0, false},
        {{.expires = "-1"}, 0, false},
        {{.expires = "@-70"}, 0, false},
        {{.expires = "Fri, 31 Dec 9999 23:59:59 GMT"}, 253402300799 - NOW, false},
        {{.cdn = "max-age=7", .cc = "max-age=9"}, 7, false},
        {{.cdn = "max-age=7", .surrogate = "max-age=8"}, 7, false},
        {{.cdn = "max-age=7,", .surrogate = "max-age=8", .cc = "max-age=9"}, 8, false},
        {{.cdn = "max-age=7,", .cc = "max-age=9"}, 9, false},
        {{.cdn = "foo", .cc = "max-age=9", .expires = "@70"}, 0, true},
        {{.surrogate = "foo", .cc = "max-age=9"}, 9, false},
        /* An Age that is none. */
        {{.cc = "max-age=60", .age = "5, 6"}, 0, false},
        /* §4.2.2 */
        {{.modified = "@-1000"}, 100, true},
        {{.modified = "@-1000", .date = "@-500"}, 50, true},
        {{.modified = "@-9"}, 0, true},
        {{.modified = "@-8640000"}, DAY, true},
        {{.modified = "@1000"}, 0, true},
        {{.modified = "nonsense"}, 0, true},
        {{.modified = "@-1000\n@-1000"}, 0, true},
        {{.modified = "@-1000", .cc = "must-revalidate"}, 100, true},
        {{.modified = "@-1000", .status = 302, .cc = "public"}, 100, true},
        {{.modified = "@-1000", .pragma = "no-cache"}, 0, true},
        {{.modified = "@-1000", .pragma = "x"}, 100, true},
        {{.modified = "@-1000", .pragma = "no-cache", .cc = "public"}, 100, true},
        {{.expires = "@70", .pragma = "no-cache"}, 70, false},
        /* The route's word, where the response has none. */
        {{.with = &minute}, 60, true},
        {{.with = &minute, .modified = "@-1000"}, 60, true},
        {{.with = &minute, .cc = "max-age=9"}, 9, false},
        {{.with = &minute, .cc = "max-age=0"}, 0, false},
        {{.with = &minute, .expires = "0"}, 0, false},
        {{.with = &minute, .pragma = "no-cache"}, 0, true},
        {{.with = &minute, .status = 404}, 60, true},
        {{.with = &zero, .modified = "@-1000"}, 0, true},
        {{.with = &listed, .status = 403}, 60, true},
        {{.with = &listed, .modified = "@-1000"}, 60, true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct facts x = cases[i].x;
        x.has_etag = true;
        struct cache_verdict v = judge(&x);
        if (!v.store || v.freshness.lifetime != cases[i].lifetime ||
            v.freshness.is_heuristic != cases[i].is_heuristic)
            fail_msg("case %zu (%s): %lld, %s", i, x.cc, (long long)v.freshness.lifetime,
                     v.reason ? v.reason : "stored");
    }
}

static void test_a_route_time_is_not_for_statuses_that_nobody_named(void **state)
{
    (void)state;
    struct cache_defaults minute = silent;
    minute.ttl = 60;
    assert_string_equal(judge(&(struct facts){.status = 403, .with = &minute, .has_etag = true}).reason,
                        "status");
    assert_string_equal(judge(&(struct facts){.status = 500, .with = &minute}).reason, "status");
}

/* §4.2.3. */
static void test_how_old_a_response_is_when_it_comes(void **state)
{
    (void)state;
    static const struct {
        struct facts x;
        int64_t age;
    } cases[] = {
        {{.cc = NULL}, 0},
        {{.age = "30"}, 30},
        {{.age = "30", .asked_ago = 5}, 35},
        {{.asked_ago = 5}, 5},
        {{.asked_ago = -5}, 0},
        {{.date = "@-100"}, 100},
        {{.date = "@100"}, 0},
        {{.date = "@-100", .age = "30", .asked_ago = 5}, 100},
        {{.date = "@-10", .age = "30", .asked_ago = 5}, 35},
        {{.date = "nonsense", .age = "30"}, 30},
        {{.age = "99999999999999999999"}, CACHE_SECONDS_MAX},
        {{.age = "99999999999999999999", .asked_ago = 5}, CACHE_SECONDS_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct facts x = cases[i].x;
        x.has_etag = true;
        struct cache_verdict v = judge(&x);
        assert_int_equal(v.freshness.initial_age, cases[i].age);
        assert_int_equal(cache_age(&v.freshness, NOW), cases[i].age);
        assert_int_equal(cache_age(&v.freshness, NOW + 7), cases[i].age + 7);
        assert_int_equal(cache_age(&v.freshness, NOW - 1), cases[i].age); /* clocks differ by a little */
    }
}

/* Who can tell how long it has been there? It must not be fresh for all the time that the clock went back. */
static void test_what_came_later_than_now_is_just_stale(void **state)
{
    (void)state;
    static const struct cache_request_directives none = {false, false, false, UNSET, UNSET, UNSET, UNSET};
    const struct cache_freshness young = {.response_time = NOW + 3600, .initial_age = 5, .lifetime = 60},
                                 old = {.response_time = NOW + 3600, .initial_age = 90, .lifetime = 60};
    struct cache_freshness updating = young;
    const char *reason;
    updating.stale_while_revalidate = 10;
    assert_int_equal(cache_age(&young, NOW), 60);
    assert_int_equal(cache_age(&old, NOW), 90);
    assert_int_equal(cache_may_use(&young, &none, false, NOW, &reason), CACHE_USE_VALIDATED);
    assert_int_equal(cache_may_use(&updating, &none, false, NOW, &reason), CACHE_USE_UPDATING);
}

/* §4.2.4, §5.2.2.2, §5.2.2.8, §5.2.2.10, RFC 5861. */
static void test_how_long_a_response_is_good_though_stale(void **state)
{
    (void)state;
    static const struct cache_defaults with = {UNSET, 30, 40, NULL, 0, false};
    static const struct {
        struct facts x;
        int64_t updating, on_error;
        bool must_revalidate;
    } cases[] = {
        {{.cc = "max-age=1"}, 0, 0, false},
        {{.cc = "max-age=1, stale-while-revalidate=5, stale-if-error=6"}, 5, 6, false},
        {{.cc = "max-age=1, stale-while-revalidate=5", .with = &with}, 5, 40, false},
        {{.cc = "max-age=1", .with = &with}, 30, 40, false},
        {{.cc = "max-age=1, stale-while-revalidate=0, stale-if-error=0", .with = &with}, 0, 0, false},
        {{.cc = "max-age=1, stale-while-revalidate=5, must-revalidate", .with = &with}, 0, 0, true},
        {{.cc = "max-age=1, stale-if-error=5, proxy-revalidate", .with = &with}, 0, 0, true},
        {{.cc = "max-age=1, stale-if-error=5, no-cache", .with = &with}, 0, 0, true},
        {{.cc = "s-maxage=1", .with = &with}, 0, 0, true},
        {{.cc = "s-maxage=1, stale-while-revalidate=5, stale-if-error=6", .with = &with}, 5, 6, true},
        {{.cc = "s-maxage=1, stale-while-revalidate=5, must-revalidate"}, 0, 0, true},
        {{.cdn = "max-age=1, stale-while-revalidate=5", .cc = "must-revalidate"}, 5, 0, false},
        {{.surrogate = "max-age=1+5", .cc = "must-revalidate"}, 5, 0, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct facts x = cases[i].x;
        x.has_etag = true;
        struct cache_freshness f = judge(&x).freshness;
        if (f.stale_while_revalidate != cases[i].updating || f.stale_if_error != cases[i].on_error ||
            f.must_revalidate != cases[i].must_revalidate)
            fail_msg("case %zu", i);
    }
}

static void test_what_a_request_asks(void **state)
{
    (void)state;
    static const struct {
        const char *cc, *pragma;
        struct cache_request_directives d;
    } cases[] = {
        {NULL, NULL, {false, false, false, UNSET, UNSET, UNSET, UNSET}},
        {"no-cache", NULL, {true, false, false, UNSET, UNSET, UNSET, UNSET}},
        {"no-store", NULL, {false, true, false, UNSET, UNSET, UNSET, UNSET}},
        {"only-if-cached, max-stale", NULL, {false, false, true, UNSET, UNSET, CACHE_SECONDS_MAX, UNSET}},
        {"max-age=5\nmin-fresh=6, max-stale=7", NULL, {false, false, false, 5, 6, 7, UNSET}},
        {"stale-if-error=9", NULL, {false, false, false, UNSET, UNSET, UNSET, 9}},
        {"max-age=x", NULL, {false, false, false, 0, UNSET, UNSET, UNSET}},
        {NULL, "no-cache", {true, false, false, UNSET, UNSET, UNSET, UNSET}},
        {NULL, "foo, No-Cache", {true, false, false, UNSET, UNSET, UNSET, UNSET}},
        {NULL, "max-age=0, no-store", {false, false, false, UNSET, UNSET, UNSET, UNSET}},
        {"max-age=5", "no-cache", {false, false, false, 5, UNSET, UNSET, UNSET}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        static struct lines_text keep[2];
        struct cache_request r = {.cache_control = lines_of(cases[i].cc, &keep[0]),
                                  .pragma = lines_of(cases[i].pragma, &keep[1])};
        struct cache_request_directives d;
        const struct cache_request_directives *e = &cases[i].d;
        cache_request_directives(&r, &d);
        bool is_well = d.no_cache == e->no_cache && d.no_store == e->no_store &&
                       d.only_if_cached == e->only_if_cached && d.max_age == e->max_age &&
                       d.min_fresh == e->min_fresh && d.max_stale == e->max_stale &&
                       d.stale_if_error == e->stale_if_error;
        if (!is_well)
            fail_msg("%s", cases[i].cc ? cases[i].cc : cases[i].pragma);
    }
}

static struct cache_request_directives asks(const char *cc)
{
    static struct lines_text keep;
    struct cache_request r = {.cache_control = lines_of(cc, &keep)};
    struct cache_request_directives d;
    cache_request_directives(&r, &d);
    return d;
}

/* A response, a request `age` seconds later, and what the first is good for then. */
struct use_case {
    const char *response, *request;
    int64_t age;
    enum cache_use use;
    const char *reason; /* NULL: fresh */
    bool soft_purged;
};

static void check_uses(const struct use_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cache_freshness f =
            judge(&(struct facts){.cc = cases[i].response, .has_etag = true}).freshness;
        struct cache_request_directives d = asks(cases[i].request);
        const char *reason = "not set";
        enum cache_use use = cache_may_use(&f, &d, cases[i].soft_purged, NOW + cases[i].age, &reason);
        bool is_well = use == cases[i].use && !reason == !cases[i].reason &&
                       (!reason || !strcmp(reason, cases[i].reason));
        if (!is_well)
            fail_msg("%s, %s, %lld: %d, %s", cases[i].response, cases[i].request, (long long)cases[i].age,
                     use, reason);
    }
}

/* §4.2. */
static void test_a_response_is_used_as_it_is_while_it_is_fresh(void **state)
{
    (void)state;
    static const struct use_case cases[] = {
        {"max-age=10", NULL, 0, CACHE_USE_FRESH, NULL, false},
        {"max-age=10", NULL, 9, CACHE_USE_FRESH, NULL, false},
        {"max-age=10", NULL, 10, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, must-revalidate", NULL, 9, CACHE_USE_FRESH, NULL, false},
        {"max-age=10, no-cache", NULL, 0, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10", NULL, 0, CACHE_USE_VALIDATED, "stale", true},
        {"max-age=0", NULL, 0, CACHE_USE_VALIDATED, "stale", false},
    };
    check_uses(cases, COUNT_OF(cases));
}

/* §5.2.1; the suite's kind cc-request. */
static void test_a_client_may_want_it_fresher(void **state)
{
    (void)state;
    static const struct use_case cases[] = {
        {"max-age=100", "no-cache", 0, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "max-age=0", 0, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "max-age=5", 5, CACHE_USE_FRESH, NULL, false},
        {"max-age=100", "max-age=5", 6, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "max-age=x", 0, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "max-age=5, max-stale", 6, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "min-fresh=40", 60, CACHE_USE_FRESH, NULL, false},
        {"max-age=100", "min-fresh=40", 61, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "min-fresh=2000", 0, CACHE_USE_VALIDATED, "request", false},
        {"max-age=100", "only-if-cached", 99, CACHE_USE_FRESH, NULL, false},
        {"max-age=100", "no-cache", 100, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=100, stale-while-revalidate=50", "no-cache", 101, CACHE_USE_VALIDATED, "stale", false},
    };
    check_uses(cases, COUNT_OF(cases));
}

/* §5.2.1.2, §4.2.4. */
static void test_a_client_may_take_it_stale(void **state)
{
    (void)state;
    static const struct use_case cases[] = {
        {"max-age=10", "max-stale=5", 15, CACHE_USE_STALE, "stale", false},
        {"max-age=10", "max-stale=5", 16, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10", "max-stale", 999999, CACHE_USE_STALE, "stale", false},
        {"max-age=10", "max-stale, max-age=20", 20, CACHE_USE_STALE, "stale", false},
        {"max-age=10", "max-stale, max-age=20", 21, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10", "max-stale, max-age=0", 20, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10", "max-stale=5", 9, CACHE_USE_FRESH, NULL, false},
        {"max-age=10", "max-stale", 1, CACHE_USE_STALE, "stale", true},
        {"max-age=10, must-revalidate", "max-stale", 11, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, proxy-revalidate", "max-stale", 11, CACHE_USE_VALIDATED, "stale", false},
        {"s-maxage=10", "max-stale", 11, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, no-cache", "max-stale", 1, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10", "max-stale, no-cache", 11, CACHE_USE_VALIDATED, "stale", false},
    };
    check_uses(cases, COUNT_OF(cases));
}

/* RFC 5861 §3. */
static void test_a_stale_one_may_be_used_while_it_is_refreshed(void **state)
{
    (void)state;
    static const struct use_case cases[] = {
        {"max-age=10, stale-while-revalidate=5", NULL, 10, CACHE_USE_UPDATING, "stale", false},
        {"max-age=10, stale-while-revalidate=5", NULL, 14, CACHE_USE_UPDATING, "stale", false},
        {"max-age=10, stale-while-revalidate=5", NULL, 15, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, stale-while-revalidate=5", NULL, 1, CACHE_USE_UPDATING, "stale", true},
        {"max-age=10, stale-while-revalidate=5", "max-age=60", 11, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, stale-while-revalidate=5", "max-age=60, max-stale=3", 11, CACHE_USE_UPDATING, "stale",
         false},
        {"max-age=10, stale-while-revalidate=5", "max-stale=3", 14, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, stale-while-revalidate=5", "min-fresh=1", 11, CACHE_USE_VALIDATED, "stale", false},
        {"max-age=10, stale-while-revalidate=5", "max-stale=9", 17, CACHE_USE_STALE, "stale", false},
        {"max-age=10, stale-while-revalidate=5, must-revalidate", NULL, 11, CACHE_USE_VALIDATED, "stale",
         false},
        {"s-maxage=10, stale-while-revalidate=5", NULL, 11, CACHE_USE_UPDATING, "stale", false},
    };
    check_uses(cases, COUNT_OF(cases));
}

/* RFC 5861 §4; the suite's kind stale. */
static void test_a_stale_one_may_be_used_when_the_origin_fails(void **state)
{
    (void)state;
    static const struct {
        const char *response, *request;
        int64_t age;
        bool may;
    } cases[] = {
        {"max-age=10", NULL, 11, false},
        {"max-age=10, stale-if-error=5", NULL, 10, true},
        {"max-age=10, stale-if-error=5", NULL, 14, true},
        {"max-age=10, stale-if-error=5", NULL, 15, false},
        {"max-age=10, stale-if-error=5", "max-age=1", 12, true},
        {"max-age=10, stale-if-error=5", "no-cache", 12, false},
        {"max-age=10", "stale-if-error=5", 14, true},
        {"max-age=10, stale-if-error=5", "stale-if-error=2", 14, true},
        {"max-age=10", "max-age=0", 5, true},
        {"max-age=10, must-revalidate", "stale-if-error=5", 12, false},
        {"max-age=10, must-revalidate, stale-if-error=5", NULL, 12, false},
        {"max-age=10, proxy-revalidate, stale-if-error=5", NULL, 12, false},
        {"max-age=10, no-cache, stale-if-error=5", NULL, 1, false},
        {"s-maxage=10", "stale-if-error=5", 12, false},
        {"s-maxage=10, stale-if-error=5", NULL, 12, true},
        {"s-maxage=10, stale-if-error=5", "stale-if-error=50", 16, false},
        {"max-age=10, must-revalidate", NULL, 5, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cache_freshness f =
            judge(&(struct facts){.cc = cases[i].response, .has_etag = true}).freshness;
        struct cache_request_directives d = asks(cases[i].request);
        if (cache_may_use_on_error(&f, &d, true, NOW + cases[i].age) != cases[i].may)
            fail_msg("%s, %s, %lld", cases[i].response, cases[i].request, (long long)cases[i].age);
    }
}

/* §4.2.4. */
static void test_a_stale_one_may_be_used_while_the_origin_cannot_be_reached(void **state)
{
    (void)state;
    static const struct {
        const char *response, *request;
        int64_t age;
        bool may;
    } cases[] = {
        {"max-age=10", NULL, 9 + CACHE_DISCONNECTED_SECONDS, true},
        {"max-age=10", NULL, 10 + CACHE_DISCONNECTED_SECONDS, false},
        {"max-age=10, stale-if-error=5000", NULL, 5009, true},
        {"max-age=10, stale-if-error=5000", NULL, 5010, false},
        {"max-age=10", "no-cache", 11, false},
        {"max-age=10, must-revalidate", NULL, 11, false},
        {"max-age=10, proxy-revalidate", NULL, 11, false},
        {"max-age=10, no-cache", NULL, 1, false},
        {"s-maxage=10", NULL, 11, false},
        {"s-maxage=10, stale-if-error=5", NULL, 14, true},
        {"s-maxage=10, stale-if-error=5", NULL, 15, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cache_freshness f =
            judge(&(struct facts){.cc = cases[i].response, .has_etag = true}).freshness;
        struct cache_request_directives d = asks(cases[i].request);
        if (cache_may_use_on_error(&f, &d, false, NOW + cases[i].age) != cases[i].may)
            fail_msg("%s, %s, %lld", cases[i].response, cases[i].request, (long long)cases[i].age);
    }
}

/* §4.4. */
static void test_what_succeeds_invalidates(void **state)
{
    (void)state;
    assert_true(cache_invalidates(200) && cache_invalidates(204) && cache_invalidates(303) &&
                cache_invalidates(399));
    assert_false(cache_invalidates(101) || cache_invalidates(400) || cache_invalidates(503));
}

/* §4.3.4, §4.3.5. */
static void test_which_answers_are_about_the_stored_response(void **state)
{
    (void)state;
    static const char at[] = "Sun, 06 Nov 1994 08:49:37 GMT", same[] = "Sunday, 06-Nov-94 08:49:37 GMT",
                      later[] = "Sun, 06 Nov 1994 08:49:38 GMT";
    const struct {
        const char *stored_etag, *stored_modified, *etag, *modified;
        bool agree;
    } cases[] = {
        {"\"a\"", "", "\"a\"", "", true},
        {"\"a\"", at, "\"a\"", later, true},
        {"\"a\"", "", "\"b\"", "", false},
        {"\"a\"", at, "\"b\"", at, false},
        {"\"a\"", "", "W/\"a\"", "", true},
        {"W/\"a\"", "", "W/\"a\"", "", true},
        {"W/\"a\"", "", "\"a\"", "", false},
        {"W/\"a\"", "", "W/\"b\"", "", false},
        {"", at, "\"a\"", at, false},
        {"\"a\"", at, "", at, true},
        {"\"a\"", at, "", later, false},
        {"\"a\"", "", "", at, false},
        {"", at, "", at, true},
        {"", at, "", same, true},
        {"", at, "", "nonsense", false},
        {"", "nonsense", "", "nonsense", true},
        {"\"a\"", at, "", "", true},
        {"", "", "", "", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool agree =
            cache_validators_agree(slice_text(cases[i].stored_etag), slice_text(cases[i].stored_modified),
                                   slice_text(cases[i].etag), slice_text(cases[i].modified));
        if (agree != cases[i].agree)
            fail_msg("case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_stored_and_why),
        cmocka_unit_test(test_a_route_may_want_cookies_stored),
        cmocka_unit_test(test_fields_of_qualified_forms_are_told),
        cmocka_unit_test(test_how_long_a_response_is_fresh),
        cmocka_unit_test(test_a_route_time_is_not_for_statuses_that_nobody_named),
        cmocka_unit_test(test_how_old_a_response_is_when_it_comes),
        cmocka_unit_test(test_what_came_later_than_now_is_just_stale),
        cmocka_unit_test(test_how_long_a_response_is_good_though_stale),
        cmocka_unit_test(test_what_a_request_asks),
        cmocka_unit_test(test_a_response_is_used_as_it_is_while_it_is_fresh),
        cmocka_unit_test(test_a_client_may_want_it_fresher),
        cmocka_unit_test(test_a_client_may_take_it_stale),
        cmocka_unit_test(test_a_stale_one_may_be_used_while_it_is_refreshed),
        cmocka_unit_test(test_a_stale_one_may_be_used_when_the_origin_fails),
        cmocka_unit_test(test_a_stale_one_may_be_used_while_the_origin_cannot_be_reached),
        cmocka_unit_test(test_what_succeeds_invalidates),
        cmocka_unit_test(test_which_answers_are_about_the_stored_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
