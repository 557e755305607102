/* What an answer to grpc.health.v1.Health/Check means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/check_grpc.h"
#include "core/base.h"

static struct check_h2_answer answered(const char *body, size_t len)
{
    struct check_h2_answer a = {
        .status = 200, .grpc_status = 0, .is_grpc = true, .ended = true, .body_len = len};
    memcpy(a.body, body, len < sizeof a.body ? len : sizeof a.body);
    return a;
}

static void test_only_a_whole_message_that_says_serving_is_good(void **state)
{
    (void)state;
#define BYTES(s) s, sizeof s - 1
    static const struct {
        const char *body;
        size_t len;
        int judged;
        const char *text;
    } cases[] = {
        {BYTES("\0\0\0\0\2\x08\1"), 1, "SERVING"},
        {BYTES("\0\0\0\0\2\x08\2"), -1, "NOT_SERVING"},
        {BYTES("\0\0\0\0\2\x08\3"), -1, "SERVICE_UNKNOWN"},
        {BYTES("\0\0\0\0\0"), -1, "UNKNOWN"},
        {BYTES("\0\0\0\0\4\x08\2\x08\1"), 1, "SERVING"},                   /* the last counts */
        {BYTES("\0\0\0\0\7\x12\3abc\x08\1"), 1, "SERVING"},                /* a field that nobody knows */
        {BYTES("\0\0\0\0\7\x15\1\2\3\4\x08\1"), 1, "SERVING"},             /* fixed32 */
        {BYTES("\0\0\0\0\x0b\x11\1\2\3\4\5\6\7\x08\x08\1"), 1, "SERVING"}, /* fixed64 */
        {BYTES("\0\0\0\0\3\x08\x81\0"), 1, "SERVING"},                     /* a long varint */
        {BYTES("\0\0\0\0\2\x08\x09"), -1, "HealthCheckResponse"},
        {BYTES("\0\0\0\0\1\x08"), -1, "HealthCheckResponse"},
        {BYTES("\0\0\0\0\2\x08\x81"), -1, "HealthCheckResponse"},
        {BYTES("\0\0\0\0\3\x12\7a"), -1, "HealthCheckResponse"},
        {BYTES("\0\0\0\0\2\x0b\1"), -1, "HealthCheckResponse"}, /* a group */
        {BYTES("\1\0\0\0\2\x08\1"), -1, "HealthCheckResponse"}, /* compressed: nobody asked for it */
        {BYTES("\0\0\0\0\3\x08\1"), -1, "HealthCheckResponse"},
        {BYTES("\0\0\0\0\2\x08\1\0"), -1, "HealthCheckResponse"},
        {BYTES("\0\xff\xff\xff\xff\x08\1"), -1, "HealthCheckResponse"},
        {BYTES("\0\0"), -1, "HealthCheckResponse"},
        {BYTES(""), -1, "HealthCheckResponse"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct check_h2_answer a = answered(cases[i].body, cases[i].len);
        char text[160] = "";
        int judged = check_grpc_judge(&a, text, sizeof text);
        if (judged != cases[i].judged || !strstr(text, cases[i].text))
            fail_msg("case %zu: %d \"%s\"", i, judged, text);
    }
}

static void test_a_long_answer_is_none(void **state)
{
    (void)state;
    struct check_h2_answer a = answered("\0\0\0\0\2\x08\1", 7);
    char text[160];
    a.body_len = CHECK_H2_BODY_MAX + 1;
    assert_int_equal(check_grpc_judge(&a, text, sizeof text), -1);
}

static void test_what_is_no_answer_has_its_reason(void **state)
{
    (void)state;
    static const struct {
        struct check_h2_answer a;
        int judged;
        const char *text;
    } cases[] = {
        {{.grpc_status = -1}, 0, ""},
        {{.status = 200, .grpc_status = -1, .is_grpc = true}, 0, ""},
        {{.status = 200, .grpc_status = 12, .is_grpc = true, .ended = true},
         -1,
         "grpc-status 12 unimplemented"},
        {{.status = 200,
          .grpc_status = 5,
          .is_grpc = true,
          .ended = true,
          .grpc_message = "unknown\x01 service"},
         -1,
         "grpc-status 5 not found: unknown\\x01 service"},
        {{.status = 200, .grpc_status = 99, .ended = true}, -1, "grpc-status 99 unknown"},
        {{.status = 503, .grpc_status = -1}, -1, "HTTP status 503"},
        {{.grpc_status = -1, .reset = true, .error = 7}, -1, "the call was reset with error 7"},
        {{.status = 200, .grpc_status = -1, .ended = true}, -1, "its answer is not gRPC"},
        {{.status = 200, .grpc_status = 0, .ended = true}, -1, "its answer is not gRPC"},
        {{.status = 200, .grpc_status = -1, .is_grpc = true, .ended = true}, -1, "without grpc-status"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[160] = "";
        int judged = check_grpc_judge(&cases[i].a, text, sizeof text);
        if (judged != cases[i].judged || !strstr(text, cases[i].text))
            fail_msg("case %zu: %d \"%s\"", i, judged, text);
    }
}

/* Takes in, sends what is to be said, and looks. */
static const char *fault_of(struct check_h2 *h, struct slice in)
{
    check_h2_input(h, in);
    while (check_h2_output(h).len)
        ;
    return check_h2_fault(h);
}

static void test_the_request_is_made_once_and_ends(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'a', sizeof name);
    struct check_settings c = {.service = slice_of(name, sizeof name)};
    struct check_h2 *h = check_grpc_create(&c, S("127.0.0.1:1"), false);
    size_t total = 0;
    assert_non_null(h);
    struct slice bytes, last = {0};
    while ((bytes = check_h2_output(h)).len) {
        total += bytes.len;
        last = bytes;
    }
    assert_true(total > 24 + 9 + sizeof name && last.len == 9 + 5 + 3 + sizeof name);
    const unsigned char *data = (const unsigned char *)last.at;
    assert_int_equal(data[4], 1); /* END_STREAM */
    assert_memory_equal(data + 9, "\0\0\0\1\x2f\x0a\xac\x02", 8);
    assert_string_equal(fault_of(h, S("HTTP/1.1 400 Bad Request\r\n\r\n")), "it answers in HTTP/1");
    check_h2_free(h);
}

static void test_bytes_that_are_not_http2_are_told(void **state)
{
    (void)state;
    struct check_settings c = {0};
    struct check_h2 *h = check_grpc_create(&c, S("127.0.0.1:1"), true);
    assert_non_null(h);
    assert_string_equal(fault_of(h, S("SSH-2.0-OpenSSH_9.2\r\n more of that\r\n")),
                        "its answer is not HTTP/2");
    check_h2_free(h);
}

static void test_endless_frames_are_cut(void **state)
{
    (void)state;
    struct check_settings c = {0};
    struct check_h2 *h = check_grpc_create(&c, S("127.0.0.1:1"), true);
    const char *fault = fault_of(h, S("\0\0\0\4\0\0\0\0\0"));
    for (int i = 0; !fault && i < 10000; i++)
        fault = fault_of(h, slice_of("\0\0\x08\6\0\0\0\0\0abcdefgh", 17));
    assert_string_equal(fault, "its answer is too long");
    check_h2_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_a_whole_message_that_says_serving_is_good),
        cmocka_unit_test(test_a_long_answer_is_none),
        cmocka_unit_test(test_what_is_no_answer_has_its_reason),
        cmocka_unit_test(test_the_request_is_made_once_and_ends),
        cmocka_unit_test(test_bytes_that_are_not_http2_are_told),
        cmocka_unit_test(test_endless_frames_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
