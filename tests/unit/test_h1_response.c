#include "tests/unit/h1_table.h"

#define END "\r\n"
#define OK  "HTTP/1.1 200 OK\r\n"
#define CL  "Content-Length: "
#define TE  "Transfer-Encoding: "

static struct parse_job response_to(enum http_method method)
{
    return (struct parse_job){JOB_RESPONSE, {1000, 4000, 16}, method, false};
}

static void test_status_lines(void **state)
{
    (void)state;
    static const char *const version = "the response does not begin with HTTP/1.0 or HTTP/1.1";
    static const char *const status = "the status is not a number of three digits from 100 to 599";
    const struct parse_job job = response_to(METHOD_GET);
    const struct head_case cases[] = {
        {SLICE("HTTP/1.1 200 OK\r\n" END), 0, "200 [OK] 1.1 close n=0"},
        {SLICE("HTTP/1.1 200 \r\n" END), 0, "200 [] 1.1 close n=0"},
        {SLICE("HTTP/1.1 200\r\n" END), 0, "200 [] 1.1 close n=0"},
        {SLICE("HTTP/1.1 200  A\tB \xC3\xA9 \r\n" END), 0, "200 [ A\tB \xC3\xA9 ] 1.1 close n=0"},
        {SLICE("HTTP/1.0 200 OK\r\n" END), 0, "200 [OK] 1.0 close n=0"},
        {SLICE("HTTP/1.1 599 x\r\n" END), 0, "599 [x] 1.1 close n=0"},
        {SLICE("HTTP/1.1 600 x\r\n" END), 502, status},
        {SLICE("HTTP/1.1 999 x\r\n" END), 502, status},
        {SLICE("HTTP/1.1 099 x\r\n" END), 502, status},
        {SLICE("HTTP/1.1 000 x\r\n" END), 502, status},
        {SLICE("HTTP/1.1 20 OK\r\n" END), 502, status},
        {SLICE("HTTP/1.1 2000 OK\r\n" END), 502, status},
        {SLICE("HTTP/1.1 20x OK\r\n" END), 502, status},
        {SLICE("HTTP/1.1 +20 OK\r\n" END), 502, status},
        {SLICE("HTTP/1.1  200 OK\r\n" END), 502, status},
        {SLICE("HTTP/1.1 200\tOK\r\n" END), 502, status},
        {SLICE("HTTP/1.1 200OK\r\n" END), 502, status},
        {SLICE("HTTP/1.1 \r\n" END), 502, status},
        {SLICE("HTTP/1.1\r\n" END), 502, version},
        {SLICE("HTTP/1.1\t200 OK\r\n" END), 502, version},
        {SLICE("HTTP/1.2 200 OK\r\n" END), 502, version},
        {SLICE("HTTP/2.0 200 OK\r\n" END), 502, version},
        {SLICE("HTTP/2 200 OK\r\n" END), 502, version},
        {SLICE("http/1.1 200 OK\r\n" END), 502, version},
        {SLICE("ICY 200 OK\r\n" END), 502, version},
        {SLICE(" HTTP/1.1 200 OK\r\n" END), 502, version},
        {SLICE("\r\nHTTP/1.1 200 OK\r\n" END), 502, version},
        {SLICE("hello\r\n"), 502, version},
        {SLICE("HTTP/1.1 200 OK\n\n"), 502, "a bare LF"},
        {SLICE("HTTP/1.1 200 O\rK\r\n" END), 502, "a bare CR"},
        {SLICE("HTTP/1.1 200 O\0K\r\n" END), 502, "a control character"},
        {SLICE("HTTP/1.1 200 O\x7FK\r\n" END), 502, "a control character"},
        {SLICE("\x15\x03\x01"), 502, "a control character"},
        {SLICE(""), MORE, ""},
        {SLICE("HTTP/1.1 2"), MORE, ""},
        {SLICE("HTTP/1.1 200\r"), MORE, ""},
        {SLICE("HTTP/1.1 200 OK\r\n"), MORE, ""},
        {SLICE("garbage"), MORE, ""},
    };
    CHECK_HEADS(&job, cases);
}

static void test_field_lines(void **state)
{
    (void)state;
    const struct parse_job job = response_to(METHOD_GET);
    const struct head_case cases[] = {
        {SLICE(OK "Host: a\r\nHost: b\r\n" CL "1\r\n" END), 0, "200 [OK] 1.1 length=1 cl=1 keep n=3"},
        {SLICE(OK CL "1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n" END "x"), 0,
         "200 [OK] 1.1 length=1 cl=1 keep n=3"},
        {SLICE(OK "A: b\r\n c\r\n" END), 502, "a header line that begins with a blank (obs-fold)"},
        {SLICE(OK " A: b\r\n" END), 502, "a header line that begins with a blank (obs-fold)"},
        {SLICE(OK "A : b\r\n" END), 502, "a blank before a header's colon"},
        {SLICE(OK ": b\r\n" END), 502, "an empty header name"},
        {SLICE(OK "A\r\n" END), 502, "a header line without a colon"},
        {SLICE(OK "A\xE9: b\r\n" END), 502, "a header name that is no token"},
        {SLICE(OK "A: b\n" END), 502, "a bare LF"},
        {SLICE(OK "A: b\r\n\n"), 502, "a bare LF"},
        {SLICE(OK "A: b\rc\r\n" END), 502, "a bare CR"},
        {SLICE(OK "A: \0\r\n" END), 502, "a control character"},
    };
    CHECK_HEADS(&job, cases);
}

static void test_bodies(void **state)
{
    (void)state;
    static const char *const number = "Content-Length is not a number";
    static const char *const both = "both Content-Length and Transfer-Encoding";
    static const char *const behind = "Transfer-Encoding goes on behind chunked";
    static const char *const unknown = "a transfer coding that is not known";
    static const char *const nobody_te = "Transfer-Encoding where there can be no body";
    static const char *const nobody_cl = "Content-Length where there can be no body";
    const struct parse_job job = response_to(METHOD_GET);
    const struct head_case cases[] = {
        {SLICE(OK CL "0\r\n" END), 0, "200 [OK] 1.1 length=0 cl=0 keep n=1"},
        {SLICE(OK CL "5\r\n" END), 0, "200 [OK] 1.1 length=5 cl=5 keep n=1"},
        {SLICE(OK TE "chunked\r\n" END), 0, "200 [OK] 1.1 chunked keep n=1"},
        {SLICE(OK END), 0, "200 [OK] 1.1 close n=0"},
        {SLICE("HTTP/1.0 200 OK\r\n" CL "5\r\n" END), 0, "200 [OK] 1.0 length=5 cl=5 n=1"},
        {SLICE("HTTP/1.1 500 x\r\n" CL "5\r\n" END), 0, "500 [x] 1.1 length=5 cl=5 keep n=1"},
        {SLICE("HTTP/1.1 205 x\r\n" CL "5\r\n" END), 0, "205 [x] 1.1 length=5 cl=5 keep n=1"},
        {SLICE(OK CL "5\r\n" CL "5\r\n" END), 502, "more than one Content-Length"},
        {SLICE(OK CL "5\r\n" CL "6\r\n" END), 502, "more than one Content-Length"},
        {SLICE(OK CL "5, 5\r\n" END), 502, number},
        {SLICE(OK CL "+5\r\n" END), 502, number},
        {SLICE(OK CL "\r\n" END), 502, "Content-Length is empty"},
        {SLICE(OK CL "99999999999999999999\r\n" END), 502, "Content-Length is too large"},
        {SLICE(OK CL "5\r\n" TE "chunked\r\n" END), 502, both},
        {SLICE(OK TE "chunked\r\n" CL "5\r\n" END), 502, both},
        {SLICE(OK TE "chunked\r\n" TE "chunked\r\n" END), 502, behind},
        {SLICE(OK TE "chunked, gzip\r\n" END), 502, behind},
        {SLICE(OK TE "gzip, chunked\r\n" END), 502, unknown},
        {SLICE(OK TE "gzip\r\n" END), 502, unknown},
        {SLICE(OK TE "identity\r\n" END), 502, unknown},
        {SLICE(OK TE "xchunked\r\n" END), 502, unknown},
        {SLICE(OK TE "\r\n" END), 502, "Transfer-Encoding has an empty member"},
        {SLICE("HTTP/1.0 200 OK\r\n" TE "chunked\r\n" END), 502, "Transfer-Encoding in an HTTP/1.0 message"},
        {SLICE("HTTP/1.1 204 x\r\n" END), 0, "204 [x] 1.1 none keep n=0"},
        {SLICE("HTTP/1.1 204 x\r\n" CL "0\r\n" END), 0, "204 [x] 1.1 none keep n=1"},
        {SLICE("HTTP/1.1 204 x\r\n" CL "5\r\n" END), 502, nobody_cl},
        {SLICE("HTTP/1.1 204 x\r\n" CL "a\r\n" END), 502, number},
        {SLICE("HTTP/1.1 204 x\r\n" TE "chunked\r\n" END), 502, nobody_te},
        {SLICE("HTTP/1.1 304 x\r\n" END), 0, "304 [x] 1.1 none keep n=0"},
        {SLICE("HTTP/1.1 304 x\r\n" CL "5\r\n" END), 0, "304 [x] 1.1 none cl=5 keep n=1"},
        {SLICE("HTTP/1.1 304 x\r\n" TE "chunked\r\n" END), 0, "304 [x] 1.1 none keep n=1"},
        {SLICE("HTTP/1.1 304 x\r\n" CL "x\r\n" END), 502, number},
        {SLICE("HTTP/1.1 100 Continue\r\n" END), 0, "100 [Continue] 1.1 none keep n=0"},
        {SLICE("HTTP/1.1 103 Early Hints\r\nLink: a\r\n" END OK), 0, "103 [Early Hints] 1.1 none keep n=1"},
        {SLICE("HTTP/1.1 100 x\r\n" CL "0\r\n" END), 0, "100 [x] 1.1 none keep n=1"},
        {SLICE("HTTP/1.1 100 x\r\n" CL "5\r\n" END), 502, nobody_cl},
        {SLICE("HTTP/1.1 100 x\r\n" TE "chunked\r\n" END), 502, nobody_te},
        {SLICE("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" END), 0,
         "101 [x] 1.1 none keep upgrade n=2"},
        {SLICE("HTTP/1.1 101 x\r\n" TE "chunked\r\n" END), 502, nobody_te},
        {SLICE("HTTP/1.0 101 x\r\n" END), 502, "101 in an HTTP/1.0 response"},
    };
    CHECK_HEADS(&job, cases);
}

static void test_a_response_to_head_has_no_body_but_its_fields_are_checked(void **state)
{
    (void)state;
    const struct parse_job job = response_to(METHOD_HEAD);
    const struct head_case cases[] = {
        {SLICE(OK END), 0, "200 [OK] 1.1 none keep n=0"},
        {SLICE(OK CL "5\r\n" END), 0, "200 [OK] 1.1 none cl=5 keep n=1"},
        {SLICE(OK TE "chunked\r\n" END), 0, "200 [OK] 1.1 none keep n=1"},
        {SLICE(OK CL "5\r\n" TE "chunked\r\n" END), 502, "both Content-Length and Transfer-Encoding"},
        {SLICE(OK CL "5\r\n" CL "5\r\n" END), 502, "more than one Content-Length"},
        {SLICE(OK TE "gzip\r\n" END), 502, "a transfer coding that is not known"},
    };
    CHECK_HEADS(&job, cases);
}

static void test_connect_is_answered_with_a_tunnel_or_a_body(void **state)
{
    (void)state;
    const struct parse_job job = response_to(METHOD_CONNECT);
    const struct head_case cases[] = {
        {SLICE(OK END), 0, "200 [OK] 1.1 none keep upgrade n=0"},
        {SLICE(OK CL "0\r\n" END), 0, "200 [OK] 1.1 none keep upgrade n=1"},
        {SLICE(OK CL "5\r\n" END), 502, "Content-Length where there can be no body"},
        {SLICE(OK TE "chunked\r\n" END), 502, "Transfer-Encoding where there can be no body"},
        {SLICE("HTTP/1.1 403 No\r\n" CL "5\r\n" END), 0, "403 [No] 1.1 length=5 cl=5 keep n=1"},
    };
    CHECK_HEADS(&job, cases);
}

static void test_what_becomes_of_the_connection(void **state)
{
    (void)state;
    const struct parse_job job = response_to(METHOD_GET);
    const struct head_case cases[] = {
        {SLICE(OK CL "1\r\nConnection: close\r\n" END), 0, "200 [OK] 1.1 length=1 cl=1 n=2"},
        {SLICE(OK CL "1\r\nConnection: foo, Close\r\n" END), 0, "200 [OK] 1.1 length=1 cl=1 n=2"},
        {SLICE(OK "Connection: keep-alive\r\n" END), 0, "200 [OK] 1.1 close n=1"},
        {SLICE(OK CL "1\r\nConnection: a b\r\n" END), 502, "Connection is not a list of tokens"},
        {SLICE("HTTP/1.0 200 OK\r\n" CL "1\r\nConnection: keep-alive\r\n" END), 0,
         "200 [OK] 1.0 length=1 cl=1 keep n=2"},
        {SLICE("HTTP/1.0 200 OK\r\n" CL "1\r\nConnection: close\r\nConnection: keep-alive\r\n" END), 0,
         "200 [OK] 1.0 length=1 cl=1 n=3"},
        {SLICE("HTTP/1.0 204 x\r\n" END), 0, "204 [x] 1.0 none n=0"},
        {SLICE("HTTP/1.0 304 x\r\nConnection: keep-alive\r\n" END), 0, "304 [x] 1.0 none keep n=1"},
    };
    CHECK_HEADS(&job, cases);
}

static void test_limits(void **state)
{
    (void)state;
    static const struct parse_job job = {JOB_RESPONSE, {20, 60, 2}, METHOD_GET, false};
    const struct head_case cases[] = {
        {SLICE("HTTP/1.1 200 a reason longer than twenty\r\n" END), 0,
         "200 [a reason longer than twenty] 1.1 close n=0"},
        {SLICE(OK "A: 56789012345678901234567890123456789\r\n" END), 0, "200 [OK] 1.1 close n=1"},
        {SLICE(OK "A: 5678901234567890123456789012345678901234\r\n" END), 502, "the head is too large"},
        {SLICE("012345678901234567890123456789012345678901234567890123456789"), 502, "the head is too large"},
        {SLICE("01234567890123456789012345678901234567890123456789012345678"), MORE, ""},
        {SLICE(OK "A: b\r\nA: b\r\n" END), 0, "200 [OK] 1.1 close n=2"},
        {SLICE(OK "A: b\r\nA: b\r\nA: b\r\n" END), 502, "too many headers"},
    };
    CHECK_HEADS(&job, cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_lines),
        cmocka_unit_test(test_field_lines),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_a_response_to_head_has_no_body_but_its_fields_are_checked),
        cmocka_unit_test(test_connect_is_answered_with_a_tunnel_or_a_body),
        cmocka_unit_test(test_what_becomes_of_the_connection),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
