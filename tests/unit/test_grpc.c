/* The pure rules of gRPC: deadlines, statuses, messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/check_grpc.h"
#include "proxy/http/grpc.h"

static void test_a_content_type_is_grpc_or_only_looks_like_it(void **state)
{
    (void)state;
    static const char *const yes[] = {"application/grpc", "application/grpc+proto", "application/grpc+json",
                                      "application/grpc;charset=utf-8", "Application/GRPC"};
    static const char *const no[] = {"application/grpc-web", "application/grpc-web+proto",
                                     "application/grpcx",    "application/json",
                                     "application/grp",      ""};
    for (size_t i = 0; i < COUNT_OF(yes); i++)
        if (!check_grpc_is_type(slice_text(yes[i])))
            fail_msg("%s", yes[i]);
    for (size_t i = 0; i < COUNT_OF(no); i++)
        if (check_grpc_is_type(slice_text(no[i])))
            fail_msg("%s", no[i]);
}

static void test_a_timeout_is_digits_and_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        usec_t us;
    } good[] = {
        {"1H", UINT64_C(3600000000)},
        {"2M", 120000000},
        {"10S", 10000000},
        {"250m", 250000},
        {"7u", 7},
        {"1n", 1},
        {"1001n", 2},
        {"0S", 0},
        {"99999999H", UINT64_C(359999996400000000)},
        {"00000001S", 1000000},
    };
    static const char *const bad[] = {"",    "S",   "1",   "10",   "100000000S", "1s",   "1h",  "-1S", "+1S",
                                      " 1S", "1S ", "1 S", "1.5S", "1mS",        "0x1S", "1SS", "\xff"};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        usec_t us = 42;
        if (!grpc_read_timeout(slice_text(good[i].text), &us) || us != good[i].us)
            fail_msg("%s: %llu", good[i].text, (unsigned long long)us);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        usec_t us = 42;
        if (grpc_read_timeout(slice_text(bad[i]), &us) || us != 42)
            fail_msg("%s: %llu", bad[i], (unsigned long long)us);
    }
}

static void test_what_is_left_is_written_in_eight_digits_and_never_less(void **state)
{
    (void)state;
    static const usec_t lengths[] = {0,
                                     1,
                                     999,
                                     99999999,
                                     100000000,
                                     100000001,
                                     UINT64_C(99999999000),
                                     UINT64_C(99999999001),
                                     UINT64_C(31536000000000),
                                     UINT64_C(359999996400000000)};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        char room[GRPC_TIMEOUT_TEXT];
        usec_t back = 0;
        struct slice text = grpc_write_timeout(lengths[i], room);
        assert_in_range(text.len, 2, 9);
        assert_true(grpc_read_timeout(text, &back));
        assert_true(back >= lengths[i] && back - lengths[i] <= lengths[i] / 1000);
    }
    char room[GRPC_TIMEOUT_TEXT];
    assert_true(slice_equal(grpc_write_timeout(1500000, room), S("1500000u")));
    assert_true(slice_equal(grpc_write_timeout(200000000, room), S("200000m")));
}

static void test_a_status_is_one_that_grpc_has(void **state)
{
    (void)state;
    assert_int_equal(grpc_read_status(S("0")), GRPC_OK);
    assert_int_equal(grpc_read_status(S("16")), GRPC_UNAUTHENTICATED);
    static const char *const none[] = {"", "17", "99", "-1", "1x", "001", " 1"};
    for (size_t i = 0; i < COUNT_OF(none); i++)
        assert_int_equal(grpc_read_status(slice_text(none[i])), GRPC_STATUS_NONE);
}

static void test_each_error_of_weirs_own_has_a_status(void **state)
{
    (void)state;
    static const struct {
        unsigned http;
        enum termination why;
        enum grpc_status grpc;
    } cases[] = {
        {400, TERMINATION_COMPLETE, GRPC_INTERNAL},
        {401, TERMINATION_COMPLETE, GRPC_UNAUTHENTICATED},
        {403, TERMINATION_DENIED, GRPC_PERMISSION_DENIED},
        {404, TERMINATION_COMPLETE, GRPC_UNIMPLEMENTED},
        {405, TERMINATION_COMPLETE, GRPC_UNIMPLEMENTED},
        {408, TERMINATION_COMPLETE, GRPC_DEADLINE_EXCEEDED},
        {413, TERMINATION_COMPLETE, GRPC_RESOURCE_EXHAUSTED},
        {431, TERMINATION_COMPLETE, GRPC_RESOURCE_EXHAUSTED},
        {429, TERMINATION_COMPLETE, GRPC_UNAVAILABLE},
        {421, TERMINATION_COMPLETE, GRPC_UNKNOWN},
        {500, TERMINATION_COMPLETE, GRPC_INTERNAL},
        {502, TERMINATION_CONNECT_FAILED, GRPC_UNAVAILABLE},
        {503, TERMINATION_NO_SERVER, GRPC_UNAVAILABLE},
        {503, TERMINATION_QUEUE_FULL, GRPC_UNAVAILABLE},
        {504, TERMINATION_COMPLETE, GRPC_DEADLINE_EXCEEDED},
        {504, TERMINATION_RESPONSE_TIMEOUT, GRPC_DEADLINE_EXCEEDED},
        {504, TERMINATION_EXCHANGE_TIMEOUT, GRPC_DEADLINE_EXCEEDED},
        {504, TERMINATION_CONNECT_TIMEOUT, GRPC_UNAVAILABLE},
        {504, TERMINATION_TLS_TIMEOUT, GRPC_UNAVAILABLE},
        {599, TERMINATION_COMPLETE, GRPC_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (grpc_status_of(cases[i].http, cases[i].why) != cases[i].grpc)
            fail_msg("%u", cases[i].http);
}

static void test_a_message_is_percent_encoded(void **state)
{
    (void)state;
    char room[64];
    assert_true(
        slice_equal(grpc_encode_message(S("Bad Gateway; request 1~"), room), S("Bad Gateway; request 1~")));
    assert_true(slice_equal(grpc_encode_message(S("100%\n\xc3\xa9\x7f"), room), S("100%25%0A%C3%A9%7F")));
    assert_int_equal(grpc_encode_message(S(""), room).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_content_type_is_grpc_or_only_looks_like_it),
        cmocka_unit_test(test_a_timeout_is_digits_and_a_unit),
        cmocka_unit_test(test_what_is_left_is_written_in_eight_digits_and_never_less),
        cmocka_unit_test(test_a_status_is_one_that_grpc_has),
        cmocka_unit_test(test_each_error_of_weirs_own_has_a_status),
        cmocka_unit_test(test_a_message_is_percent_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
