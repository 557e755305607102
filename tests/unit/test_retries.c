/* Which failures are tried again, by table; and the waits between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http/retries.h"

static size_t read_settings(struct config *c, const char *text, struct retries_settings *out)
{
    config_init(c);
    if (config_parse(c, "test.yaml", slice_text(text)) == 0)
        option_apply(c, &retries_table, c->root, out);
    return c->error_count;
}

static void test_what_is_tried_again(void **state)
{
    static const struct {
        const char *settings;
        enum retry_cause cause;
        unsigned status;
        enum http_method method;
        bool sent, wanted;
        const char *why;
    } cases[] = {
        {"{}", RETRY_CONNECT, 0, METHOD_POST, false, true, "nothing was sent"},
        {"{}", RETRY_RESET, 0, METHOD_GET, true, true, "a default"},
        {"{}", RETRY_RESET, 0, METHOD_PUT, true, true, "idempotent, RFC 9110 §9.2.2"},
        {"{}", RETRY_RESET, 0, METHOD_POST, true, false, "not idempotent"},
        {"{}", RETRY_RESET, 0, METHOD_OTHER, true, false, "who knows"},
        {"{}", RETRY_TIMEOUT, 0, METHOD_GET, true, false, "not a default"},
        {"{}", RETRY_STATUS, 503, METHOD_GET, true, false, "not a default"},
        {"{attempts: 0}", RETRY_CONNECT, 0, METHOD_GET, false, false, "none"},
        {"{on: [timeout]}", RETRY_TIMEOUT, 0, METHOD_GET, true, true, "asked for"},
        {"{on: [timeout]}", RETRY_CONNECT, 0, METHOD_GET, false, false, "replaces the default"},
        {"{on: ['502', 503]}", RETRY_STATUS, 502, METHOD_GET, true, true, "asked for"},
        {"{on: ['502', 503]}", RETRY_STATUS, 503, METHOD_GET, true, true, "a number too"},
        {"{on: ['502', 503]}", RETRY_STATUS, 504, METHOD_GET, true, false, "another status"},
        {"{on: ['502', 503]}", RETRY_STATUS, 503, METHOD_POST, true, false, "not idempotent"},
        {"{on: ['400', '599']}", RETRY_STATUS, 599, METHOD_GET, true, true, "the last"},
        {"{on: ['400', '599']}", RETRY_STATUS, 400, METHOD_GET, true, true, "the first"},
        {"{on: ['400', '599']}", RETRY_STATUS, 200, METHOD_GET, true, false, "below"},
        {"{on: ['400', '599']}", RETRY_STATUS, 999, METHOD_GET, true, false, "above"},
        {"{on: reset, methods: all}", RETRY_RESET, 0, METHOD_POST, true, true, "the file says so"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config c;
        struct retries_settings s;
        assert_int_equal(read_settings(&c, cases[i].settings, &s), 0);
        if (retries_want(&s, cases[i].cause, cases[i].status, cases[i].method, cases[i].sent) !=
            cases[i].wanted)
            fail_msg("case %zu, %s: %s", i, cases[i].settings, cases[i].why);
        config_free(&c);
    }
}

static void test_what_is_no_cause_is_refused(void **state)
{
    static const char *const wrong[] = {"{on: [rest]}",   "{on: ['200']}", "{on: ['600']}",
                                        "{on: []}",       "{on: [-1]}",    "{methods: some}",
                                        "{attempts: 11}", "{budget: 120%}"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct config c;
        struct retries_settings s;
        if (read_settings(&c, wrong[i], &s) != 1)
            fail_msg("%s: %zu faults", wrong[i], c.error_count);
        config_free(&c);
    }
}

static void test_waits_grow_and_stay_below_ten_times_the_first(void **state)
{
    const struct retries_settings s = {.attempts = 10, .backoff = 25};
    const msec_t longest[] = {0, 0, 25, 50, 100, 200, 250, 250, 250};
    (void)state;
    for (unsigned retry = 1; retry < COUNT_OF(longest); retry++) {
        msec_t most = 0;
        for (uint64_t random = 0; random < 1000; random++) {
            msec_t wait = retries_wait(&s, retry, random);
            most = wait > most ? wait : most;
        }
        assert_int_equal(most, longest[retry]);
    }
}

static void test_causes_are_printed_as_they_are_written(void **state)
{
    struct config c;
    struct retries_settings s;
    char text[128];
    (void)state;
    read_settings(&c, "{on: ['503', reset, 502]}", &s);
    retry_on_print(&s.on, text, sizeof text);
    assert_string_equal(text, "reset, 502, 503");
    config_free(&c);
    read_settings(&c, "{}", &s);
    retry_on_print(&s.on, text, sizeof text);
    assert_string_equal(text, "connect, reset");
    retry_on_print(&s.on, text, 9);
    assert_string_equal(text, "connect,");
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_tried_again),
        cmocka_unit_test(test_what_is_no_cause_is_refused),
        cmocka_unit_test(test_waits_grow_and_stay_below_ten_times_the_first),
        cmocka_unit_test(test_causes_are_printed_as_they_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
