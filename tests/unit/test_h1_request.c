#include "tests/unit/h1_table.h"

static const struct parse_job request_job = {JOB_REQUEST, {1000, 4000, 16}, METHOD_OTHER, false};

#define H    "Host: a\r\n"
#define GET  "GET / HTTP/1.1\r\n" H
#define POST "POST / HTTP/1.1\r\n" H
#define END  "\r\n"

static void test_request_lines(void **state)
{
    (void)state;
    static const char *const line = "the request line does not end in a version";
    static const char *const version = "a version of HTTP other than 1.0 and 1.1";
    static const char *const no_target = "no target in the request line, or more than one space";
    static const char *const no_token = "the method is no token";
    static const char *const character = "a character that may not be in a target";
    const struct head_case cases[] = {
        {SLICE("GET / HTTP/1.1\r\n" H END), 0, "GET / @a 1.1 none keep n=1"},
        {SLICE("GET / HTTP/1.0\r\n" END), 0, "GET / @ 1.0 none n=0"},
        {SLICE("\r\nGET / HTTP/1.1\r\n" H END), 0, "GET / @a 1.1 none keep n=1"},
        {SLICE("\r\n\r\nGET / HTTP/1.1\r\n" H END), 0, "GET / @a 1.1 none keep n=1"},
        {SLICE("\r\n\r\n\r\nGET / HTTP/1.1\r\n" H END), 400, "empty lines instead of a request"},
        {SLICE("\nGET / HTTP/1.1\r\n" H END), 400, "a bare LF"},
        {SLICE("\rGET / HTTP/1.1\r\n" H END), 400, "a bare CR"},
        {SLICE(GET END "GET / HTTP/1.1\r\n"), 0, "GET / @a 1.1 none keep n=1"},
        {SLICE(GET END "\n\x01"), 0, "GET / @a 1.1 none keep n=1"},
        {SLICE("HEAD / HTTP/1.1\r\n" H END), 0, "HEAD / @a 1.1 none keep n=1"},
        {SLICE("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\n" H END), 0,
         "!#$%&'*+-.^_`|~09azAZ / @a 1.1 none keep n=1"},
        {SLICE("get / HTTP/1.1\r\n" H END), 0, "get / @a 1.1 none keep n=1"},
        {SLICE("M-SEARCH / HTTP/1.1\r\n" H END), 0, "M-SEARCH / @a 1.1 none keep n=1"},
        {SLICE("G(T / HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE("GET/ / HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE("G\xC3\x89T / HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE("GET: / HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE(" GET / HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE("\tGET / HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE("G\0T / HTTP/1.1\r\n" H END), 400, "a control character"},
        {SLICE("\x16\x03\x01\x02"), 400, "a control character"}, /* TLS */
        {SLICE("GET  / HTTP/1.1\r\n" H END), 400, no_target},
        {SLICE("GET\t/ HTTP/1.1\r\n" H END), 400, no_token},
        {SLICE("GET /\tHTTP/1.1\r\n" H END), 400, character},
        {SLICE("GET /  HTTP/1.1\r\n" H END), 400, line},
        {SLICE("GET / HTTP/1.1 \r\n" H END), 400, line},
        {SLICE("GET / HTTP/1.1\t\r\n" H END), 400, line},
        {SLICE("GET / x HTTP/1.1\r\n" H END), 400, line},
        {SLICE("GET /\r\n" H END), 400, line},
        {SLICE("GET / \r\n" H END), 400, line},
        {SLICE("GET\r\n" H END), 400, no_target},
        {SLICE("GET \r\n" H END), 400, no_target},
        {SLICE("GET  HTTP/1.1\r\n" H END), 400, no_target},
        {SLICE("GET HTTP/1.1\r\n" H END), 400, line},
        {SLICE("GET / HTTP/1.2\r\n" H END), 505, version},
        {SLICE("GET / HTTP/2.0\r\n" H END), 505, version},
        {SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, version},
        {SLICE("PRI / HTTP/1.1\r\n" H END), 400, "PRI is HTTP/2's, and not a method"},
        {SLICE("GET / HTTP/0.9\r\n" H END), 505, version},
        {SLICE("GET / HTTP/9.9\r\n" H END), 505, version},
        {SLICE("GET / HTTP/1.10\r\n" H END), 400, line},
        {SLICE("GET / HTTP/1.\r\n" H END), 400, line},
        {SLICE("GET / HTTP/1\r\n" H END), 400, line},
        {SLICE("GET / HTTP/2\r\n" H END), 400, line},
        {SLICE("GET / HTTP/11\r\n" H END), 400, line},
        {SLICE("GET / HTTP/1,1\r\n" H END), 400, line},
        {SLICE("GET / HTTP/a.1\r\n" H END), 400, line},
        {SLICE("GET / http/1.1\r\n" H END), 400, line},
        {SLICE("GET / Http/1.1\r\n" H END), 400, line},
        {SLICE("GET / ICAP/1.0\r\n" H END), 400, line},
        {SLICE("GET / HTTP/01.1\r\n" H END), 400, line},
        {SLICE("GET / HTTP/1.1\n" H END), 400, "a bare LF"},
        {SLICE("GET / HTTP/1.1\r" H END), 400, "a bare CR"},
        {SLICE("GET / HTTP/1.1\r\r\n" H END), 400, "a bare CR"},
        {SLICE("GET / HTTP/1.1\0\r\n" H END), 400, "a control character"},
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_targets(void **state)
{
    (void)state;
    static const char *const character = "a character that may not be in a target";
    static const char *const form = "the target is neither a path nor an http URI";
    static const char *const authority = "the target's authority is not valid";
    static const char *const connect = "the target of CONNECT is not host:port";
#define TARGET(target)        SLICE("GET " target " HTTP/1.1\r\nHost: a\r\n\r\n")
#define CONNECT(target, host) SLICE("CONNECT " target " HTTP/1.1\r\nHost: " host "\r\n\r\n")
    const struct head_case cases[] = {
        {TARGET("/a/b.c;d=e,f/%20"), 0, "GET /a/b.c;d=e,f/%20 @a 1.1 none keep n=1"},
        {TARGET("/a?b=c?d&e"), 0, "GET /a?b=c?d&e @a 1.1 none keep n=1"},
        {TARGET("/?"), 0, "GET /? @a 1.1 none keep n=1"},
        {TARGET("/%"), 0, "GET /% @a 1.1 none keep n=1"},
        {TARGET("//b/c"), 0, "GET //b/c @a 1.1 none keep n=1"},
        {TARGET("/../..//."), 0, "GET /../..//. @a 1.1 none keep n=1"},
        {TARGET("/a|b^c{d}e`f\"g<h>i\\j[k]l"), 0, "GET /a|b^c{d}e`f\"g<h>i\\j[k]l @a 1.1 none keep n=1"},
        {TARGET("/http://b/?http://c/"), 0, "GET /http://b/?http://c/ @a 1.1 none keep n=1"},
        {TARGET("/0123456789012345678901234567890123456789?0123456789012345678901234567890123456789"), 0,
         "GET /0123456789012345678901234567890123456789?0123456789012345678901234567890123456789 @a 1.1 none "
         "keep "
         "n=1"},
        {TARGET("/a#b"), 400, character},
        {TARGET("/0123456789012345678901234567890123456789#"), 400, character},
        {TARGET("#"), 400, character},
        {TARGET("/\xC3\xA9"), 400, character},
        {TARGET("/\x80"), 400, character},
        {TARGET("/\xFF"), 400, character},
        {TARGET("/\x7F"), 400, "a control character"},
        {TARGET("/\x01"), 400, "a control character"},
        {TARGET("/\0"), 400, "a control character"},
        {TARGET("/\x1F"), 400, "a control character"},
        {TARGET("a"), 400, form},
        {TARGET("a/b"), 400, form},
        {TARGET("?a"), 400, form},
        {TARGET("a:80"), 400, form},
        {TARGET("*"), 400, "the target * is for OPTIONS only"},
        {TARGET("*a"), 400, form},
        {TARGET("\\a"), 400, form},
        {SLICE("OPTIONS * HTTP/1.1\r\n" H END), 0, "OPTIONS * @a 1.1 none keep n=1"},
        {SLICE("OPTIONS ** HTTP/1.1\r\n" H END), 400, form},
        {SLICE("OPTIONS / HTTP/1.1\r\n" H END), 0, "OPTIONS / @a 1.1 none keep n=1"},
        {SLICE("OPTIONS http://a HTTP/1.1\r\n" H END), 0, "OPTIONS * @a 1.1 none keep absolute n=1"},
        {SLICE("OPTIONS http://a/ HTTP/1.1\r\n" H END), 0, "OPTIONS / @a 1.1 none keep absolute n=1"},
        {SLICE("OPTIONS http://a?q HTTP/1.1\r\n" H END), 0, "OPTIONS /?q @a 1.1 none keep absolute n=1"},
        {TARGET("http://a/b?c"), 0, "GET /b?c @a 1.1 none keep absolute n=1"},
        {TARGET("HTTPS://A/b"), 0, "GET /b @A 1.1 none keep absolute n=1"},
        {TARGET("http://a"), 0, "GET / @a 1.1 none keep absolute n=1"},
        {TARGET("http://a?b/c"), 0, "GET /?b/c @a 1.1 none keep absolute n=1"},
        {SLICE("GET http://b:81/ HTTP/1.1\r\nHost: b:81\r\n" END), 0,
         "GET / @b:81 1.1 none keep absolute n=1"},
        {SLICE("GET http://b/ HTTP/1.0\r\n" END), 0, "GET / @b 1.0 none absolute n=0"},
        {SLICE("GET http://b/ HTTP/1.1\r\n" END), 400, "no Host"},
        {TARGET("http://b/"), 400, "Host is not that of the target"},
        {TARGET("http://a:80/"), 400, "Host is not that of the target"},
        {SLICE("GET http://a/ HTTP/1.1\r\nHost:\r\n" END), 400, "Host is not that of the target"},
        {TARGET("http:///a"), 400, authority},
        {TARGET("http://"), 400, authority},
        {TARGET("http://:80/"), 400, authority},
        {TARGET("http://a:x/"), 400, authority},
        {TARGET("http://a\\b/"), 400, authority},
        {TARGET("http://u@a/"), 400, "userinfo in the target"},
        {TARGET("http://u:p@a/"), 400, "userinfo in the target"},
        {TARGET("http://a/@b"), 0, "GET /@b @a 1.1 none keep absolute n=1"},
        {TARGET("http:/a"), 400, form},
        {TARGET("http:a"), 400, form},
        {TARGET("ftp://a/"), 400, form},
        {TARGET("ws://a/"), 400, form},
        {TARGET("file:///etc/passwd"), 400, form},
        {CONNECT("a:443", "a:443"), 0, "CONNECT  @a:443 1.1 none keep n=1"},
        {CONNECT("[::1]:443", "[::1]:443"), 0, "CONNECT  @[::1]:443 1.1 none keep n=1"},
        {CONNECT("a:443", "b:443"), 400, "Host is not that of the target"},
        {CONNECT("a", "a"), 400, connect},
        {CONNECT("a:", "a:"), 400, connect},
        {CONNECT(":443", ":443"), 400, connect},
        {CONNECT("a:99999", "a:99999"), 400, connect},
        {CONNECT("/", "a"), 400, connect},
        {CONNECT("*", "a"), 400, connect},
        {CONNECT("http://a/", "a"), 400, connect},
        {CONNECT("u@a:443", "a:443"), 400, connect},
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const invalid = "Host is not valid";
#define HOST(host) SLICE("GET / HTTP/1.1\r\nHost:" host "\r\n\r\n")
#define WITH(host) "GET / @" host " 1.1 none keep n=1"
    const struct head_case cases[] = {
        {HOST(" example.com"), 0, WITH("example.com")},
        {HOST("example.com"), 0, WITH("example.com")},
        {HOST("\t example.com \t "), 0, WITH("example.com")},
        {HOST(" EXAMPLE.com:8080"), 0, WITH("EXAMPLE.com:8080")},
        {HOST(" a:"), 0, WITH("a:")},
        {HOST(" a:0"), 0, WITH("a:0")},
        {HOST(" a:65535"), 0, WITH("a:65535")},
        {HOST(" a:65536"), 400, invalid},
        {HOST(" a:000080"), 400, invalid},
        {HOST(" a:8a"), 400, invalid},
        {HOST(" a:-1"), 400, invalid},
        {HOST(" a: 80"), 400, invalid},
        {HOST(" a:80:80"), 400, invalid},
        {HOST(" :80"), 400, invalid},
        {HOST(" "), 0, WITH("")},
        {HOST(""), 0, WITH("")},
        {HOST(" 127.0.0.1"), 0, WITH("127.0.0.1")},
        {HOST(" [::1]"), 0, WITH("[::1]")},
        {HOST(" [2001:db8::1]:443"), 0, WITH("[2001:db8::1]:443")},
        {HOST(" [::ffff:1.2.3.4]"), 0, WITH("[::ffff:1.2.3.4]")},
        {HOST(" [::1"), 400, invalid},
        {HOST(" []"), 400, invalid},
        {HOST(" [:]"), 400, invalid},
        {HOST(" [1::2::3]"), 400, invalid},
        {HOST(" [fe80::1%25eth0]"), 400, invalid},
        {HOST(" [v1.a]"), 400, invalid},
        {HOST(" [::1]a"), 400, invalid},
        {HOST(" [::1]:x"), 400, invalid},
        {HOST(" [127.0.0.1]"), 400, invalid},
        {HOST(" [1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]"), 400, invalid},
        {HOST(" ::1"), 400, invalid},
        {HOST(" a_b-c~d.e"), 0, WITH("a_b-c~d.e")},
        {HOST(" a%41"), 0, WITH("a%41")},
        {HOST(" a%4"), 400, invalid},
        {HOST(" a%"), 400, invalid},
        {HOST(" a%4g"), 400, invalid},
        {HOST(" u@a"), 400, invalid},
        {HOST(" u:p@a"), 400, invalid},
        {HOST(" a b"), 400, invalid},
        {HOST(" a/b"), 400, invalid},
        {HOST(" a?b"), 400, invalid},
        {HOST(" a#b"), 400, invalid},
        {HOST(" a\\b"), 400, invalid},
        {HOST(" a\"b"), 400, invalid},
        {HOST(" a<b>"), 400, invalid},
        {HOST(" a^b"), 400, invalid},
        {HOST(" http://a"), 400, invalid},
        {HOST(" \xC3\xA9"), 400, invalid},
        {SLICE("GET / HTTP/1.1\r\n" END), 400, "no Host"},
        {SLICE("GET / HTTP/1.1\r\nHos: a\r\n" END), 400, "no Host"},
        {SLICE("GET / HTTP/1.1\r\n" H H END), 400, "more than one Host"},
        {SLICE("GET / HTTP/1.1\r\n" H "A: b\r\nhOST: a\r\n" END), 400, "more than one Host"},
        {SLICE("GET / HTTP/1.1\r\n" H "Host: b\r\n" END), 400, "more than one Host"},
        {SLICE("GET / HTTP/1.0\r\n" H H END), 400, "more than one Host"},
        {SLICE("GET / HTTP/1.0\r\n" H END), 0, "GET / @a 1.0 none n=1"},
        {SLICE("GET / HTTP/1.0\r\nHost: @\r\n" END), 400, invalid},
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_field_lines(void **state)
{
    (void)state;
    static const char *const no_token = "a header name that is no token";
    static const char *const fold = "a header line that begins with a blank (obs-fold)";
    static const char *const ctl = "a control character";
#define LINE(line) SLICE(GET line "\r\n\r\n")
#define LONG_NAME  "Abcdefghijklmnopqrstuvwxyz-0123456789-Abcdefghijklmnopqrstuvwxyz"
    const struct head_case cases[] = {
        {LINE("A: b"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A:b"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A:"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A: "), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A: \t \t"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A:\tb c\td \t"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A: :"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A:: b"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("!#$%&'*+-.^_`|~: b"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A: \x80\xFF\xC3\xA9"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A: \"b\\\"c\" (d) <e> {f} [g] @?=;,/\\"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE(LONG_NAME ": b"), 0, "GET / @a 1.1 none keep n=2"},
        {LINE(LONG_NAME LONG_NAME ":" LONG_NAME LONG_NAME), 0, "GET / @a 1.1 none keep n=2"},
        {LINE("A: b\r\nA: b\r\nA: c"), 0, "GET / @a 1.1 none keep n=4"},
        {LINE(LONG_NAME), 400, "a header line without a colon"},
        {LINE("A"), 400, "a header line without a colon"},
        {LINE("A b"), 400, "a header line without a colon"},
        {LINE(":"), 400, "an empty header name"},
        {LINE(": b"), 400, "an empty header name"},
        {LINE("A : b"), 400, "a blank before a header's colon"},
        {LINE("A\t: b"), 400, "a blank before a header's colon"},
        {LINE("Transfer-Encoding : chunked"), 400, "a blank before a header's colon"},
        {LINE("Content-Length : 1"), 400, "a blank before a header's colon"},
        {LINE(LONG_NAME " : b"), 400, "a blank before a header's colon"},
        {LINE("A B: c"), 400, no_token},
        {LINE("A(: c"), 400, no_token},
        {LINE("A\xC3\xA9: c"), 400, no_token},
        {LINE("A\xA0: c"), 400, no_token},
        {LINE("A/: c"), 400, no_token},
        {LINE("\"A\": c"), 400, no_token},
        {LINE("A@: c"), 400, no_token},
        {LINE("A[]: c"), 400, no_token},
        {LINE("A{}: c"), 400, no_token},
        {LINE("A,B: c"), 400, no_token},
        {LINE("A=B: c"), 400, no_token},
        {LINE("A;B: c"), 400, no_token},
        {LINE("A\\B: c"), 400, no_token},
        {LINE("A<B>: c"), 400, no_token},
        {LINE("A?: c"), 400, no_token},
        {LINE("A: b\r\n c"), 400, fold},
        {LINE("A: b\r\n\tc: d"), 400, fold},
        {LINE("A: b\r\n "), 400, fold},
        {LINE(" A: b"), 400, fold},
        {SLICE("GET / HTTP/1.1\r\n Host: a\r\n" END), 400, fold},
        {SLICE("GET / HTTP/1.1\r\n \r\n" H END), 400, fold},
        {LINE("A: b\nC: d"), 400, "a bare LF"},
        {LINE("A: b\n"), 400, "a bare LF"},
        {LINE("A:\nb"), 400, "a bare LF"},
        {LINE("A\n: b"), 400, "a bare LF"},
        {SLICE(GET "A: b\r\n\n"), 400, "a bare LF"},
        {SLICE(GET "A: b\n\r\n"), 400, "a bare LF"},
        {LINE("A: b\rC: d"), 400, "a bare CR"},
        {LINE("A: \rb"), 400, "a bare CR"},
        {LINE("A\r: b"), 400, "a bare CR"},
        {LINE("A: b\r"), 400, "a bare CR"},
        {SLICE(GET "A: b\r\n\r\r\n"), 400, "a bare CR"},
        {SLICE(GET "\rA: b\r\n" END), 400, "a bare CR"},
        {LINE("A: b\0c"), 400, ctl},
        {LINE("A: \x01"), 400, ctl},
        {LINE("A: \x08"), 400, ctl},
        {LINE("A: \x0B"), 400, ctl},
        {LINE("A: \x0C"), 400, ctl},
        {LINE("A: \x1B[2J"), 400, ctl},
        {LINE("A: \x1F"), 400, ctl},
        {LINE("A: \x7F"), 400, ctl},
        {LINE("A\0: b"), 400, ctl},
        {LINE("A\x7F: b"), 400, ctl},
        {LINE("A:\0"), 400, ctl},
        {LINE("Host: a"), 400, "more than one Host"},
        {LINE("Transfer-Encoding:\x0B"
              "chunked"),
         400, ctl},
        /* the earlier fault is told, whatever comes later */
        {LINE("A B: c\r\nD: \x01"), 400, no_token},
        {LINE("A B: \x01\r\n C: d"), 400, ctl},
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_framing(void **state)
{
    (void)state;
    static const char *const number = "Content-Length is not a number";
    static const char *const large = "Content-Length is too large";
    static const char *const twice = "more than one Content-Length";
    static const char *const both = "both Content-Length and Transfer-Encoding";
    static const char *const behind = "Transfer-Encoding goes on behind chunked";
    static const char *const member = "Transfer-Encoding has an empty member";
    static const char *const malformed = "Transfer-Encoding is malformed";
    static const char *const unknown = "a transfer coding that is not known";
#define BODY(lines) SLICE(POST lines "\r\n\r\n")
#define CL          "Content-Length: "
#define TE          "Transfer-Encoding: "
    const struct head_case cases[] = {
        {SLICE(POST END), 0, "POST / @a 1.1 none keep n=1"},
        {BODY(CL "0"), 0, "POST / @a 1.1 length=0 keep n=2"},
        {BODY(CL "5"), 0, "POST / @a 1.1 length=5 keep n=2"},
        {BODY("content-LENGTH:5"), 0, "POST / @a 1.1 length=5 keep n=2"},
        {BODY(CL " \t5\t "), 0, "POST / @a 1.1 length=5 keep n=2"},
        {BODY(CL "005"), 0, "POST / @a 1.1 length=5 keep n=2"},
        {BODY(CL "9223372036854775807"), 0, "POST / @a 1.1 length=9223372036854775807 keep n=2"},
        {SLICE("GET / HTTP/1.1\r\n" H CL "5\r\n" END), 0, "GET / @a 1.1 length=5 keep n=2"},
        {SLICE("POST / HTTP/1.0\r\n" CL "5\r\n" END), 0, "POST / @ 1.0 length=5 n=1"},
        {BODY(CL "9223372036854775808"), 400, large},
        {BODY(CL "18446744073709551616"), 400, large},
        {BODY(CL "99999999999999999999999999"), 400, large},
        {BODY(CL "00000000000000000005"), 400, large},
        {BODY(CL), 400, "Content-Length is empty"},
        {BODY(CL "+5"), 400, number},
        {BODY(CL "-5"), 400, number},
        {BODY(CL "5."), 400, number},
        {BODY(CL "5.0"), 400, number},
        {BODY(CL "0x5"), 400, number},
        {BODY(CL "5e1"), 400, number},
        {BODY(CL "5 5"), 400, number},
        {BODY(CL "5,5"), 400, number},
        {BODY(CL "5, 5"), 400, number},
        {BODY(CL "5,"), 400, number},
        {BODY(CL ",5"), 400, number},
        {BODY(CL "5;"), 400, number},
        {BODY(CL "\"5\""), 400, number},
        {BODY(CL "a"), 400, number},
        {BODY(CL "\xB2"), 400, number},
        {BODY(CL "5\r\n" CL "5"), 400, twice},
        {BODY(CL "5\r\n" CL "6"), 400, twice},
        {BODY(CL "5\r\nA: b\r\ncontent-length:"), 400, twice},
        {BODY(TE "chunked"), 0, "POST / @a 1.1 chunked keep n=2"},
        {BODY(TE "Chunked"), 0, "POST / @a 1.1 chunked keep n=2"},
        {BODY(TE "\tchunked "), 0, "POST / @a 1.1 chunked keep n=2"},
        {SLICE("GET / HTTP/1.1\r\n" H TE "chunked\r\n" END), 0, "GET / @a 1.1 chunked keep n=2"},
        {BODY(TE "chunked\r\n" CL "5"), 400, both},
        {BODY(CL "5\r\n" TE "chunked"), 400, both},
        {BODY(CL "5\r\n" TE "identity"), 400, both},
        {BODY(CL "\r\n" TE "chunked"), 400, both},
        {BODY(TE "chunked\r\n" TE "chunked"), 400, behind},
        {BODY(TE "chunked, chunked"), 400, behind},
        {BODY(TE "chunked\r\n" TE "gzip"), 400, behind},
        {BODY(TE "chunked, identity"), 400, behind},
        {BODY(TE "chunked\r\n" TE), 400, member},
        {BODY(TE "\r\n" TE "chunked"), 400, member},
        {BODY(TE), 400, member},
        {BODY(TE ","), 400, member},
        {BODY(TE "chunked,"), 400, member},
        {BODY(TE ",chunked"), 400, member},
        {BODY(TE ", chunked"), 400, member},
        {BODY(TE "chunked;"), 400, "parameters of chunked"},
        {BODY(TE "chunked;a=b"), 400, "parameters of chunked"},
        {BODY(TE "chunked ;a"), 400, "parameters of chunked"},
        {BODY(TE "\"chunked\""), 400, malformed},
        {BODY(TE "chunked foo"), 400, malformed},
        {BODY(TE "chun ked"), 400, malformed},
        {BODY(TE "chunked\xA0"), 400, malformed},
        {BODY(TE ";chunked"), 400, malformed},
        {BODY(TE "identity"), 501, unknown},
        {BODY(TE "gzip"), 501, unknown},
        {BODY(TE "gzip, chunked"), 501, unknown},
        {BODY(TE "gzip\r\n" TE "chunked"), 501, unknown},
        {BODY(TE "gzip;q=1, chunked"), 501, unknown},
        {BODY(TE "xchunked"), 501, unknown},
        {BODY(TE "chunkedx"), 501, unknown},
        {BODY(TE "chunke"), 501, unknown},
        {SLICE("POST / HTTP/1.0\r\n" H TE "chunked\r\n" END), 400,
         "Transfer-Encoding in an HTTP/1.0 message"},
        {SLICE("POST / HTTP/1.0\r\n" H TE "identity\r\n" END), 400,
         "Transfer-Encoding in an HTTP/1.0 message"},
        {SLICE("TRACE / HTTP/1.1\r\n" H END), 0, "TRACE / @a 1.1 none keep n=1"},
        {SLICE("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n" CL "5\r\n" END), 0,
         "CONNECT  @a:1 1.1 length=5 keep n=2"},
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_what_becomes_of_the_connection(void **state)
{
    (void)state;
    static const char *const tokens = "Connection is not a list of tokens";
    static const char *const own = "Connection names a field that is not its own";
#define GET10 "GET / HTTP/1.0\r\n"
#define CN    "Connection: "
    const struct head_case cases[] = {
        {SLICE(GET CN "close\r\n" END), 0, "GET / @a 1.1 none n=2"},
        {SLICE(GET CN "CLOSE\r\n" END), 0, "GET / @a 1.1 none n=2"},
        {SLICE(GET CN "keep-alive\r\n" END), 0, "GET / @a 1.1 none keep n=2"},
        {SLICE(GET CN "keep-alive, close\r\n" END), 0, "GET / @a 1.1 none n=2"},
        {SLICE(GET CN "close\r\n" CN "keep-alive\r\n" END), 0, "GET / @a 1.1 none n=3"},
        {SLICE(GET CN "keep-alive\r\n" CN "close\r\n" END), 0, "GET / @a 1.1 none n=3"},
        {SLICE(GET CN "\r\n" END), 0, "GET / @a 1.1 none keep n=2"},
        {SLICE(GET CN ", ,\tclose,\r\n" END), 0, "GET / @a 1.1 none n=2"},
        {SLICE(GET CN "closed\r\n" END), 0, "GET / @a 1.1 none keep n=2"},
        {SLICE(GET CN "x-foo, te\r\n" END), 0, "GET / @a 1.1 none keep n=2"},
        {SLICE(GET CN "close x\r\n" END), 400, tokens},
        {SLICE(GET CN "\"close\"\r\n" END), 400, tokens},
        {SLICE(GET CN "close;a\r\n" END), 400, tokens},
        {SLICE(GET CN "close, content-length\r\n" END), 400, own},
        {SLICE(GET CN "Host\r\n" END), 400, own},
        {SLICE(GET10 END), 0, "GET / @ 1.0 none n=0"},
        {SLICE(GET10 CN "Keep-Alive\r\n" END), 0, "GET / @ 1.0 none keep n=1"},
        {SLICE(GET10 CN "close, keep-alive\r\n" END), 0, "GET / @ 1.0 none n=1"},
        {SLICE(GET10 "Proxy-Connection: keep-alive\r\n" END), 0, "GET / @ 1.0 none n=1"},
        {SLICE(GET CN "Upgrade\r\nUpgrade: websocket\r\n" END), 0, "GET / @a 1.1 none keep upgrade n=3"},
        {SLICE(GET "Upgrade: websocket\r\n" CN "keep-alive, upgrade\r\n" END), 0,
         "GET / @a 1.1 none keep upgrade n=3"},
        {SLICE(GET CN "upgrade\r\n" END), 0, "GET / @a 1.1 none keep n=2"},
        {SLICE(GET "Upgrade: websocket\r\n" END), 0, "GET / @a 1.1 none keep n=2"},
        {SLICE(GET10 CN "upgrade\r\nUpgrade: websocket\r\n" END), 0, "GET / @ 1.0 none n=2"},
        {SLICE(POST "Expect: 100-continue\r\n" CL "5\r\n" END), 0, "POST / @a 1.1 length=5 keep 100 n=3"},
        {SLICE(POST "Expect: 100-Continue\r\n" CL "5\r\n" END), 0, "POST / @a 1.1 length=5 keep 100 n=3"},
        {SLICE(POST "Expect: 200-ok\r\n" END), 0, "POST / @a 1.1 none keep 417 n=2"},
        {SLICE(POST "Expect: 100-continue, a=b\r\n" END), 0, "POST / @a 1.1 none keep 100 417 n=2"},
        {SLICE(POST "Expect:\r\n" END), 0, "POST / @a 1.1 none keep n=2"},
        {SLICE("POST / HTTP/1.0\r\nExpect: 100-continue\r\n" CL "5\r\n" END), 0, "POST / @ 1.0 length=5 n=2"},
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_what_is_not_all_there_is_waited_for(void **state)
{
    (void)state;
    const struct head_case cases[] = {
        {SLICE(""), MORE, ""},
        {SLICE("\r"), MORE, ""},
        {SLICE("\r\n\r\n"), MORE, ""},
        {SLICE("\r\n\r\n\r"), MORE, ""},
        {SLICE("G"), MORE, ""},
        {SLICE("GET / HTTP/1.1"), MORE, ""},
        {SLICE("GET / HTTP/1.1\r"), MORE, ""},
        {SLICE("GET / HTTP/1.1\r\n"), MORE, ""},
        {SLICE(GET), MORE, ""},
        {SLICE(GET "\r"), MORE, ""},
        {SLICE(GET "A B C"), MORE, ""}, /* judged with its LF */
        {SLICE(GET "A: b"), MORE, ""},
        {SLICE(GET "A: b\r"), MORE, ""},
        {SLICE(POST CL "x\r\n"), MORE, ""}, /* judged with the whole head */
    };
    CHECK_HEADS(&request_job, cases);
}

static void test_limits_are_faults_as_soon_as_they_are_passed(void **state)
{
    (void)state;
    static const struct parse_job job = {JOB_REQUEST, {40, 100, 3}, METHOD_OTHER, false};
    static const char *const line = "the request line is too long";
    static const char *const head = "the head is too large";
    static const char *const count = "too many headers";
#define X10 "xxxxxxxxxx"
    const struct head_case cases[] = {
        /* 40 bytes with the CRLF, and one more */
        {SLICE("GET /" X10 X10 "xxxx HTTP/1.1\r\n" H END), 0, "GET /" X10 X10 "xxxx @a 1.1 none keep n=1"},
        {SLICE("GET /" X10 X10 "xxxxx HTTP/1.1\r\n" H END), 414, line},
        {SLICE("GET /" X10 X10 X10 "xxxx"), MORE, ""},
        {SLICE("GET /" X10 X10 X10 "xxxxx"), 414, line},
        {SLICE("GET /" X10 X10 X10 "xxxxx\x01"), 414, line},
        {SLICE("GET /" X10 X10 X10 "xxxx\x01"), 400, "a control character"},
        {SLICE("\r\n\r\nGET /" X10 X10 "xxxx HTTP/1.1\r\n" H END), 0,
         "GET /" X10 X10 "xxxx @a 1.1 none keep n=1"},
        {SLICE(X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10), 414, line},
        /* 100 bytes in all, and one more */
        {SLICE("GET / HTTP/1.1\r\n" H "A: " X10 X10 X10 X10 X10 X10 X10 "\r\n" END), 431, head},
        {SLICE("GET / HTTP/1.1\r\n" H "A: " X10 X10 X10 X10 X10 X10 "xxxxxxxx\r\n" END), 0,
         "GET / @a 1.1 none keep n=2"},
        {SLICE("GET / HTTP/1.1\r\n" H "A: " X10 X10 X10 X10 X10 X10 "xxxxxxxxx\r\n" END), 431, head},
        {SLICE("GET / HTTP/1.1\r\n" H "A: " X10 X10 X10 X10 X10 X10 X10), MORE, ""},
        {SLICE("GET / HTTP/1.1\r\n" H "A: " X10 X10 X10 X10 X10 X10 X10 "xx"), 431, head},
        {SLICE("GET / HTTP/1.1\r\n" H "A: " X10 X10 X10 X10 X10 X10 X10 "xx\x01"), 431, head},
        /* three headers, and one more */
        {SLICE("GET / HTTP/1.1\r\n" H "A: b\r\nA: b\r\n" END), 0, "GET / @a 1.1 none keep n=3"},
        {SLICE("GET / HTTP/1.1\r\n" H "A: b\r\nA: b\r\nA: b\r\n" END), 431, count},
        {SLICE("GET / HTTP/1.1\r\n" H "A: b\r\nA: b\r\nA: b\r\n"), 431, count},
        {SLICE("GET / HTTP/1.1\r\n" H "A: b\r\nA: b\r\nA: \x01"), 400, "a control character"},
    };
    CHECK_HEADS(&job, cases);
}

/* Every byte, at every place of a vector, in a name, a value and a target: the paths agree, and so do
 * is_token and is_field_value. */
static void test_every_byte_at_every_offset(void **state)
{
    (void)state;
    static struct outcome scalar, avx2;
    static const struct parse_job job = {JOB_REQUEST, {1000, 4000, 16}, METHOD_OTHER, true};
    struct guarded g = guarded_new();
    char text[512];

    for (unsigned where = 0; where < 3; where++)
        for (int before = 0; before < 70; before++)
            for (unsigned byte = 0; byte < 256; byte++) {
                const char *const formats[] = {
                    "GET / HTTP/1.1\r\nHost: a\r\n%.*s%c%.*s: v\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: a\r\nn: v%.*s%c%.*s\r\n\r\n",
                    "GET /%.*s%c%.*s HTTP/1.1\r\nHost: a\r\n\r\n",
                };
                static const char filler[] =
                    "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                int len =
                    snprintf(text, sizeof(text), formats[where], before, filler, byte, 70 - before, filler);
#pragma GCC diagnostic pop
                struct slice in = slice_of(text, (size_t)len);

                h1_parse_init(H1_PATH_SCALAR);
                run_head(&job, g, 0, in, &in.len, 1, &scalar);
                h1_parse_init(H1_PATH_AVX2);
                run_head(&job, g, 0, in, &in.len, 1, &avx2);
                if (!outcome_equal(&scalar, &avx2))
                    fail_case(in, "the paths differ", &avx2);

                char c = (char)byte;
                bool ok = where == 0   ? is_token(slice_of(&c, 1)) || (c == ':' && before > 0)
                          : where == 1 ? is_field_value(slice_of(&c, 1))
                                       : byte >= 0x21 && byte <= 0x7E && c != '#';
                if (ok != (scalar.result > 0))
                    fail_case(in, "not as the classes say", &scalar);
            }
}

static void test_slices_point_into_the_input_and_lines_can_be_copied_whole(void **state)
{
    (void)state;
    static const char text[] = "GET http://a/p?q HTTP/1.1\r\nHost:a\r\nAccept-Encoding:  gzip \r\n\r\n";
    static const struct h1_limits limits = {1000, 4000, 4};
    struct field storage[4];
    struct http_request r = {.fields = {storage, 0, 4, 0}};
    struct h1_fault fault;
    size_t scanned = 0;
    struct slice in = slice_of(text, sizeof(text) - 1);

    assert_int_equal(h1_parse_request(in, &scanned, &limits, &r, &fault), sizeof(text) - 1);
    assert_ptr_equal(r.method.at, text);
    assert_int_equal(r.method_id, METHOD_GET);
    assert_ptr_equal(r.target.at, text + 4);
    assert_int_equal(r.target.len, 12);
    assert_ptr_equal(r.host.at, text + 11);
    assert_ptr_equal(r.path.at, text + 12);
    assert_int_equal(r.fields.count, 2);
    assert_int_equal(storage[0].id, FIELD_HOST);
    assert_int_equal(storage[1].id, FIELD_ACCEPT_ENCODING);
    assert_true(slice_equal(slice_of(storage[0].name.at, storage[0].line_len), S("Host:a\r\n")));
    assert_true(
        slice_equal(slice_of(storage[1].name.at, storage[1].line_len), S("Accept-Encoding:  gzip \r\n")));
    assert_true(slice_equal(storage[1].value, S("gzip")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_lines),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_field_lines),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_what_becomes_of_the_connection),
        cmocka_unit_test(test_what_is_not_all_there_is_waited_for),
        cmocka_unit_test(test_limits_are_faults_as_soon_as_they_are_passed),
        cmocka_unit_test(test_every_byte_at_every_offset),
        cmocka_unit_test(test_slices_point_into_the_input_and_lines_can_be_copied_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
