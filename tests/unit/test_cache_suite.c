/* The responses of the public suite (http-cache-tests 0.4.5), its kinds `required` and `optimal`, where the
 * rules alone decide. One is not there: age-parse-prefix wants `Age: 0,7200` believed and `Age: 0, 0` not;
 * here neither is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cache_messages.h"

#define PAUSE 3 /* seconds before the second request, where there is a pause */

enum expected { NOT_CACHED, CACHED, VALIDATED };

struct suite_case {
    const char *id;
    enum expected expected;
    int pause;
    unsigned status; /* 0: 200 */
    const char *cc, *surrogate, *expires, *date, *age, *modified, *vary;
    bool has_etag, has_authorization, has_set_cookie;
    bool store_set_cookie;
};

static enum expected outcome(const struct suite_case *s)
{
    static struct lines_text keep[8];
    static const struct cache_request_directives nothing = {.max_age = CACHE_UNSET,
                                                            .min_fresh = CACHE_UNSET,
                                                            .max_stale = CACHE_UNSET,
                                                            .stale_if_error = CACHE_UNSET};
    struct cache_request request = {.has_authorization = s->has_authorization};
    struct cache_response response = {.status = (uint16_t)(s->status ? s->status : 200),
                                      .cache_control = lines_of(s->cc, &keep[0]),
                                      .surrogate_control = lines_of(s->surrogate, &keep[1]),
                                      .expires = lines_of(s->expires, &keep[2]),
                                      .date = lines_of(s->date ? s->date : "@0", &keep[3]),
                                      .age = lines_of(s->age, &keep[4]),
                                      .last_modified = lines_of(s->modified, &keep[5]),
                                      .vary = lines_of(s->vary, &keep[6]),
                                      .has_set_cookie = s->has_set_cookie};
    struct cache_defaults defaults = {.ttl = CACHE_UNSET,
                                      .stale_while_revalidate = CACHE_UNSET,
                                      .stale_if_error = CACHE_UNSET,
                                      .store_set_cookie = s->store_set_cookie};
    struct cache_verdict v;
    const char *reason;
    cache_may_store(&request, &response, s->has_etag || s->modified, &defaults, NOW, NOW, &v);
    if (!v.store)
        return NOT_CACHED;
    if (cache_may_use(&v.freshness, &nothing, false, NOW + s->pause, &reason) == CACHE_USE_FRESH)
        return CACHED;
    return s->has_etag || s->modified ? VALIDATED : NOT_CACHED;
}

static void check(const struct suite_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum expected got = outcome(&cases[i]);
        /* What is validated is not reused as it is. */
        bool is_well = got == cases[i].expected || (got == VALIDATED && cases[i].expected == NOT_CACHED);
        if (!is_well)
            fail_msg("%s: %d", cases[i].id, got);
    }
}

static void test_cc_freshness(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"freshness-none", NOT_CACHED, PAUSE, .cc = NULL},
        {"freshness-max-age", CACHED, PAUSE, .cc = "max-age=3600"},
        {"freshness-max-age-0", NOT_CACHED, PAUSE, .cc = "max-age=0"},
        {"freshness-max-age-max-minus-1", CACHED, PAUSE, .cc = "max-age=2147483647"},
        {"freshness-max-age-max", CACHED, PAUSE, .cc = "max-age=2147483648"},
        {"freshness-max-age-max-plus-1", CACHED, PAUSE, .cc = "max-age=2147483649"},
        {"freshness-max-age-max-plus", CACHED, PAUSE, .cc = "max-age=99999999999"},
        {"freshness-max-age-age", NOT_CACHED, PAUSE, .cc = "max-age=3600", .age = "7200"},
        {"freshness-max-age-date", NOT_CACHED, PAUSE, .cc = "max-age=3600", .date = "@-7200"},
        {"freshness-max-age-expires", CACHED, PAUSE, .cc = "max-age=3600", .expires = "@-7200"},
        {"freshness-max-age-expires-invalid", CACHED, PAUSE, .cc = "max-age=3600", .expires = "0"},
        {"freshness-max-age-0-expires", NOT_CACHED, PAUSE, .cc = "max-age=0", .expires = "@3600"},
        {"freshness-max-age-extension", CACHED, PAUSE, .cc = "foobar, max-age=3600"},
        {"freshness-max-age-case-insenstive", CACHED, PAUSE, .cc = "MaX-aGe=3600"},
        {"freshness-max-age-negative", NOT_CACHED, PAUSE, .cc = "max-age=-3600"},
        {"freshness-s-maxage-shared", CACHED, PAUSE, .cc = "s-maxage=3600"},
        {"freshness-max-age-s-maxage-shared-longer", NOT_CACHED, PAUSE, .cc = "max-age=3600, s-maxage=1"},
        {"freshness-max-age-s-maxage-shared-longer-reversed", NOT_CACHED, PAUSE,
         .cc = "s-maxage=1, max-age=3600"},
        {"freshness-max-age-s-maxage-shared-longer-multiple", NOT_CACHED, PAUSE,
         .cc = "max-age=3600\ns-maxage=1"},
        {"freshness-max-age-s-maxage-shared-shorter", CACHED, PAUSE, .cc = "max-age=1, s-maxage=3600"},
        {"freshness-max-age-s-maxage-shared-shorter-expires", CACHED, PAUSE, .cc = "max-age=0, s-maxage=3600",
         .expires = "@-10"},
    };
    check(cases, COUNT_OF(cases));
}

static void test_cc_parse(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"freshness-max-age-quoted", CACHED, PAUSE, .cc = "max-age=\"3600\""},
        {"freshness-max-age-single-quoted", NOT_CACHED, PAUSE, .cc = "max-age='3600'"},
        {"freshness-max-age-ignore-quoted", NOT_CACHED, PAUSE, .cc = "extension=\"max-age=3600\", max-age=1"},
        {"freshness-max-age-ignore-quoted-rev", NOT_CACHED, PAUSE,
         .cc = "max-age=1, extension=\"max-age=3600\""},
        {"freshness-max-age-ignore-quoted-all", NOT_CACHED, PAUSE,
         .cc = "extension=\"max-age=3600\", max-age=\"1\""},
        {"freshness-max-age-ignore-quoted-all-rev", NOT_CACHED, PAUSE,
         .cc = "max-age=\"1\", extension=\"max-age=3600\""},
        {"freshness-max-age-leading-zero", CACHED, PAUSE, .cc = "max-age=003600"},
    };
    check(cases, COUNT_OF(cases));
}

static void test_age_parse(void **state)
{
    (void)state;
    static const char *const ages[] = {"abc",        "-7200",        "7200.0",      "7200,0",
                                       "7200\n0",    "0\n7200",      "0, 0",        "0\n0",
                                       "3600, 3600", "7200;foo=bar", "7200;foo=111"};
    for (size_t i = 0; i < COUNT_OF(ages); i++) {
        struct suite_case c = {ages[i], NOT_CACHED, PAUSE, .cc = "max-age=10000", .age = ages[i]};
        check(&c, 1);
    }
}

static void test_expires(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"freshness-expires-future", CACHED, PAUSE, .expires = "@2592000"},
        {"freshness-expires-past", NOT_CACHED, PAUSE, .expires = "@-2592000"},
        {"freshness-expires-present", NOT_CACHED, 0, .expires = "@0"},
        {"freshness-expires-old-date", NOT_CACHED, PAUSE, .expires = "@300", .date = "@400"},
        {"freshness-expires-invalid", NOT_CACHED, PAUSE, .expires = "0"},
        {"freshness-expires-invalid-date", CACHED, 0, .expires = "@10", .date = "foo"},
        {"freshness-expires-age-slow-date", NOT_CACHED, 0, .expires = "@10", .date = "@-10", .age = "25"},
        {"freshness-expires-age-fast-date", NOT_CACHED, 0, .expires = "@20", .date = "@10", .age = "15"},
        {"freshness-expires-rfc850", CACHED, PAUSE, .expires = "Thursday, 18-Aug-50 02:01:18 GMT"},
        {"freshness-expires-ansi-c", CACHED, PAUSE, .expires = "Thu Aug  8 02:01:18 2050"},
    };
    check(cases, COUNT_OF(cases));
}

static void test_cc_response(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"cc-resp-private-shared", NOT_CACHED, 0, .cc = "private, max-age=3600"},
        {"cc-resp-no-store", NOT_CACHED, 0, .cc = "no-store"},
        {"cc-resp-no-store-case-insensitive", NOT_CACHED, 0, .cc = "No-StOrE"},
        {"cc-resp-no-store-fresh", NOT_CACHED, 0, .cc = "max-age=10000, no-store", .expires = "@10000"},
        {"cc-resp-no-cache", NOT_CACHED, 0, .cc = "max-age=10000, no-cache", .expires = "@10000"},
        {"cc-resp-no-cache-case-insensitive", NOT_CACHED, 0, .cc = "max-age=10000, No-CaChE",
         .expires = "@10000"},
        {"cc-resp-no-cache-revalidate", VALIDATED, 0, .cc = "no-cache", .has_etag = true},
        {"cc-resp-no-cache-revalidate-fresh", VALIDATED, 0, .cc = "max-age=10000, no-cache",
         .expires = "@10000", .has_etag = true},
        {"headers-omit-headers-listed-in-Cache-Control-no-cache", CACHED, PAUSE,
         .cc = "no-cache=\"a, b\"\nmax-age=3600"},
        {"cc-resp-must-revalidate-fresh", CACHED, 0, .cc = "max-age=10000, must-revalidate",
         .has_etag = true},
        {"cc-resp-must-revalidate-stale", VALIDATED, PAUSE, .cc = "max-age=2, must-revalidate",
         .has_etag = true},
    };
    check(cases, COUNT_OF(cases));
}

static void test_heuristics(void **state)
{
    (void)state;
    static const unsigned fine[] = {200, 203, 204, 404, 405, 410, 414, 501},
                          none[] = {201, 202, 403, 502, 503, 504, 599};
    struct suite_case c = {"heuristic", CACHED, 0, .modified = "@-86400"};
    for (size_t i = 0; i < COUNT_OF(fine); i++) {
        c.status = fine[i];
        check(&c, 1);
    }
    c.cc = "public";
    c.status = 599;
    check(&c, 1);
    c.cc = NULL;
    c.expected = NOT_CACHED;
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        c.status = none[i];
        check(&c, 1);
    }
}

static void test_status(void **state)
{
    (void)state;
    static const unsigned statuses[] = {200, 203, 204, 299, 301, 302, 303, 307, 308,
                                        400, 404, 410, 499, 500, 502, 503, 504, 599};
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        const struct suite_case cases[] = {
            {"status-fresh", CACHED, 0, statuses[i], .expires = "@100000", .modified = "@0"},
            {"status-stale", NOT_CACHED, 0, statuses[i], .expires = "@-5000", .modified = "@-100000"}};
        check(cases, COUNT_OF(cases));
    }
    static const struct suite_case understood = {"status-599-must-understand", NOT_CACHED, 0, 599,
                                                 .cc = "max-age=3600, must-understand"};
    check(&understood, 1);
}

static void test_authorization(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"other-authorization", NOT_CACHED, PAUSE, .expires = "@2592000", .has_authorization = true},
        {"other-authorization-public", CACHED, PAUSE, .cc = "max-age=3600, public",
         .has_authorization = true},
        {"other-authorization-must-revalidate", CACHED, PAUSE, .cc = "max-age=3600, must-revalidate",
         .has_authorization = true},
        {"other-authorization-smaxage", CACHED, PAUSE, .cc = "s-maxage=3600", .has_authorization = true},
    };
    check(cases, COUNT_OF(cases));
}

static void test_surrogate_control(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"surrogate-max-age", CACHED, PAUSE, .surrogate = "max-age=3600"},
        {"surrogate-max-age-max", CACHED, PAUSE, .surrogate = "max-age=2147483648"},
        {"surrogate-max-age-max-plus", CACHED, PAUSE, .surrogate = "max-age=99999999999"},
        {"surrogate-max-age-me-target", CACHED, PAUSE, .surrogate = "max-age=3600;weir"},
        {"surrogate-max-age-other-target", NOT_CACHED, PAUSE, .surrogate = "max-age=3600;not-for-you",
         .age = "7200"},
        {"surrogate-max-age-age", NOT_CACHED, PAUSE, .surrogate = "max-age=3600", .age = "7200"},
        {"surrogate-max-age-space-before-equals", NOT_CACHED, PAUSE, .cc = "max-age=1",
         .surrogate = "max-age =100"},
        {"surrogate-max-age-0", NOT_CACHED, PAUSE, .surrogate = "max-age=0"},
        {"surrogate-max-age-extension", CACHED, PAUSE, .surrogate = "foobar, max-age=3600"},
        {"surrogate-max-age-case-insensitive", CACHED, PAUSE, .surrogate = "MaX-aGe=3600"},
        {"surrogate-max-age-expires", CACHED, PAUSE, .surrogate = "max-age=3600", .expires = "@-10000"},
        {"surrogate-max-age-cc-max-age-invalid-expires", CACHED, PAUSE, .surrogate = "max-age=3600",
         .expires = "0"},
        {"surrogate-max-age-0-expires", NOT_CACHED, PAUSE, .surrogate = "max-age=0", .expires = "@10000"},
        {"surrogate-max-age-short-cc-max-age", CACHED, PAUSE, .cc = "max-age=1", .surrogate = "max-age=3600"},
        {"surrogate-max-age-long-cc-max-age", NOT_CACHED, PAUSE, .cc = "max-age=3600",
         .surrogate = "max-age=1"},
        {"surrogate-no-store", NOT_CACHED, PAUSE, .surrogate = "no-store"},
        {"surrogate-no-store-cc-fresh", NOT_CACHED, PAUSE, .cc = "max-age=10000", .surrogate = "no-store",
         .expires = "@10000"},
        {"surrogate-fresh-cc-nostore", CACHED, PAUSE, .cc = "no-store", .surrogate = "max-age=10000;weir"},
    };
    check(cases, COUNT_OF(cases));
}

static void test_other(void **state)
{
    (void)state;
    static const struct suite_case cases[] = {
        {"vary-match", CACHED, 0, .expires = "@5000", .modified = "@-3000", .vary = "Foo"},
        {"vary-star", NOT_CACHED, 0, .expires = "@5000", .modified = "@-3000", .vary = "*"},
        {"vary-syntax-foo-star", NOT_CACHED, 0, .expires = "@5000", .modified = "@-3000", .vary = "Foo, *"},
        {"vary-syntax-empty-star-lines", NOT_CACHED, 0, .expires = "@5000", .modified = "@-3000",
         .vary = "\n*"},
        {"other-age-update-max-age", CACHED, PAUSE, .cc = "max-age=600", .age = "30"},
        {"other-set-cookie, which routes must ask for", CACHED, 0, .cc = "max-age=3600",
         .has_set_cookie = true, .store_set_cookie = true},
        {"other-set-cookie, else", NOT_CACHED, 0, .cc = "max-age=3600, public", .has_set_cookie = true},
    };
    check(cases, COUNT_OF(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cc_freshness), cmocka_unit_test(test_cc_parse),
        cmocka_unit_test(test_age_parse),    cmocka_unit_test(test_expires),
        cmocka_unit_test(test_cc_response),  cmocka_unit_test(test_heuristics),
        cmocka_unit_test(test_status),       cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_other),        cmocka_unit_test(test_surrogate_control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
