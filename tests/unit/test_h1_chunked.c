#include "tests/unit/h1_table.h"

struct body_case {
    struct slice in;
    int result;           /* > 0: bytes eaten when done; 0: more; -1: fault */
    const char *expected; /* the data, or the fault's reason */
};

/* Whole, in two pieces cut anywhere, and byte by byte. */
static void check_body(const struct body_case *c)
{
    static struct outcome first, other;
    static size_t cuts[PIECES_ROOM];
    struct guarded g = guarded_new();

    run_chunked(g, 0, c->in, &c->in.len, 1, &first);
    if (first.result != c->result || (c->result < 0 && first.status != 400))
        fail_case(c->in, "not as it must be", &first);
    if (!slice_equal(c->result < 0 ? slice_text(first.reason) : slice_of(first.text, first.len),
                     slice_text(c->expected)))
        fail_case(c->in, "other data, or another reason", &first);
    for (size_t i = 0; i <= c->in.len; i++) {
        run_chunked(g, 0, c->in, (size_t[]){i, c->in.len}, 2, &other);
        if (!outcome_equal(&first, &other))
            fail_case(c->in, "in two pieces", &other);
        cuts[i] = i + 1;
    }
    run_chunked(g, 0, c->in, cuts, c->in.len, &other);
    if (!outcome_equal(&first, &other))
        fail_case(c->in, "byte by byte", &other);
    munmap(g.end - PIECES_ROOM, PIECES_ROOM + 4096);
}

#define CHECK_BODIES(table)                                                                                  \
    for (size_t i = 0; i < COUNT_OF(table); i++)                                                             \
    check_body(&(table)[i])

static void test_sizes(void **state)
{
    (void)state;
    static const char *const number = "a chunk's size is not a hexadecimal number";
    static const char *const large = "a chunk's size is too large";
    const struct body_case cases[] = {
        {SLICE("5\r\nhello\r\n0\r\n"), 13, "hello"},
        {SLICE("5\r\nhello\r\n0\r\n\r\nGET"), 13, "hello"}, /* the trailers are left */
        {SLICE("0\r\n"), 3, ""},
        {SLICE("0000\r\n"), 6, ""},
        {SLICE("0000000000000000\r\n"), 18, ""},
        {SLICE("00000000000000000\r\n"), -1, large},
        {SLICE("a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n"), 34, "01234567890123456789a"},
        {SLICE("0000000000000002\r\nab\r\n0\r\n"), 25, "ab"},
        {SLICE("7fffffffffffffff\r\nab"), 0, "ab"},
        {SLICE("8000000000000000\r\nab"), -1, large},
        {SLICE("ffffffffffffffff\r\nab"), -1, large},
        {SLICE("10000000000000000\r\nab"), -1, large},
        {SLICE("10000000000000005\r\nhello"), -1, large},
        {SLICE("\r\n"), -1, number},
        {SLICE("\r\n0\r\n"), -1, number},
        {SLICE(" 5\r\nhello"), -1, number},
        {SLICE("\t5\r\nhello"), -1, number},
        {SLICE("+5\r\nhello"), -1, number},
        {SLICE("-5\r\nhello"), -1, number},
        {SLICE("0x5\r\nhello"), -1, number},
        {SLICE("x\r\n"), -1, number},
        {SLICE("g\r\n"), -1, number},
        {SLICE("5h\r\n"), -1, number},
        {SLICE("5_0\r\n"), -1, number},
        {SLICE("5.\r\n"), -1, number},
        {SLICE("5\0\r\n"), -1, number},
        {SLICE("\xB2\r\n"), -1, number},
        {SLICE(";a\r\n"), -1, number},
        {SLICE("5\nhello\r\n"), -1, number},
        {SLICE("\n5\r\nhello"), -1, number},
        {SLICE("5\r5\r\n"), -1, "a bare CR in a chunk's size line"},
        {SLICE("5\r\r\n"), -1, "a bare CR in a chunk's size line"},
        {SLICE("5\r"), 0, ""},
        {SLICE(""), 0, ""},
    };
    CHECK_BODIES(cases);
}

static void test_data(void **state)
{
    (void)state;
    const struct body_case cases[] = {
        {SLICE("5\r\nhel"), 0, "hel"},
        {SLICE("5\r\nhello"), 0, "hello"},
        {SLICE("5\r\nhello\r"), 0, "hello"},
        {SLICE("5\r\nhello\r\n"), 0, "hello"},
        {SLICE("4\r\n\r\n\r\n\r\n0\r\n"), 12, "\r\n\r\n"},
        {SLICE("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n"), 21, "abc"},
        {SLICE("5\r\nhello!\r\n"), -1, "a chunk's data is longer than its size"},
        {SLICE("5\r\nhello0\r\n"), -1, "a chunk's data is longer than its size"},
        {SLICE("5\r\nhello\n0\r\n"), -1, "a chunk's data is longer than its size"},
        {SLICE("5\r\nhello\r0\r\n"), -1, "a bare CR behind a chunk's data"},
        {SLICE("5\r\nhello\r\r\n"), -1, "a bare CR behind a chunk's data"},
        {SLICE("5\r\nhell\r\n0\r\n\r\n"), -1, "a chunk's data is longer than its size"},
        {SLICE("5\r\nhello\r\n\r\n0\r\n"), -1, "a chunk's size is not a hexadecimal number"},
    };
    CHECK_BODIES(cases);
}

static void test_extensions(void **state)
{
    (void)state;
    static const char *const malformed = "a chunk extension is malformed";
    static const char *const ctl = "a control character in a chunk extension";
    const struct body_case cases[] = {
        {SLICE("0;a\r\n"), 5, ""},
        {SLICE("0;a=b\r\n"), 7, ""},
        {SLICE("0;a=b;c;d=\"e\"\r\n"), 15, ""},
        {SLICE("0 ; a = b\t;\tc\r\n"), 15, ""},
        {SLICE("0;a=\"b ;=\\\"\\\\\xC3\xA9\t\"\r\n"), 19, ""},
        {SLICE("0;a=\"\"\r\n"), 8, ""},
        {SLICE("1;a\r\nx\r\n0;b\r\n"), 13, "x"},
        {SLICE("0 \r\n"), -1, malformed},
        {SLICE("0\t\r\n"), -1, malformed},
        {SLICE("0 0\r\n"), -1, malformed},
        {SLICE("0 a\r\n"), -1, malformed},
        {SLICE("0;\r\n"), -1, malformed},
        {SLICE("0; \r\n"), -1, malformed},
        {SLICE("0;;a\r\n"), -1, malformed},
        {SLICE("0;a;\r\n"), -1, malformed},
        {SLICE("0;=a\r\n"), -1, malformed},
        {SLICE("0;a=\r\n"), -1, malformed},
        {SLICE("0;a= \r\n"), -1, malformed},
        {SLICE("0;a=;b\r\n"), -1, malformed},
        {SLICE("0;a==b\r\n"), -1, malformed},
        {SLICE("0;a=b=c\r\n"), -1, malformed},
        {SLICE("0;a \r\n"), -1, malformed},
        {SLICE("0;a b\r\n"), -1, malformed},
        {SLICE("0;a=b \r\n"), -1, malformed},
        {SLICE("0;a=b c\r\n"), -1, malformed},
        {SLICE("0;a=\"b\" \r\n"), -1, malformed},
        {SLICE("0;a=\"b\"c\r\n"), -1, malformed},
        {SLICE("0;a=\"b\"=c\r\n"), -1, malformed},
        {SLICE("0;\"a\"\r\n"), -1, malformed},
        {SLICE("0;a=b\"c\"\r\n"), -1, malformed},
        {SLICE("0;a(\r\n"), -1, malformed},
        {SLICE("0;\xC3\r\n"), -1, malformed},
        {SLICE("0;a\n"), -1, malformed},
        {SLICE("0;a=b\n\r\n"), -1, malformed},
        {SLICE("0;a=\"b\n\"\r\n"), -1, ctl},
        {SLICE("0;a=\"b\r\n\"\r\n"), -1, ctl},
        {SLICE("0;a=\"b\\\r\n"), -1, ctl},
        {SLICE("0;a=\"\\\n\"\r\n"), -1, ctl},
        {SLICE("0;a=\"\0\"\r\n"), -1, ctl},
        {SLICE("0;a=\"\x7F\"\r\n"), -1, ctl},
        {SLICE("0;a\r5\r\n"), -1, "a bare CR in a chunk's size line"},
        {SLICE("0;a=\"b\"\rx"), -1, "a bare CR in a chunk's size line"},
        {SLICE("0;a=\"b"), 0, ""},
    };
    CHECK_BODIES(cases);
}

/* Feeds `times` copies of text; 0, or -1 when it is refused. */
static int feed(struct h1_chunked *c, const char *text, unsigned times, struct h1_fault *fault)
{
    for (unsigned i = 0; i < times; i++) {
        struct slice in = slice_text(text);
        while (in.len) {
            struct slice data;
            if (h1_chunked_next(c, &in, &data, fault) != 0)
                return -1;
        }
    }
    return 0;
}

static void test_a_size_line_has_a_limit(void **state)
{
    (void)state;
    struct h1_chunked c = {0};
    struct h1_fault fault = {0};

    assert_int_equal(feed(&c, "1;", 1, &fault), 0);
    assert_int_equal(feed(&c, "a", H1_CHUNK_LINE_MAX - 2, &fault), 0);
    assert_int_equal(feed(&c, "a", 1, &fault), -1);
    assert_string_equal(fault.reason, "a chunk's size line is too long");
}

static void test_extensions_have_a_limit_unless_data_pays_for_them(void **state)
{
    (void)state;
    struct h1_chunked c = {0};
    struct h1_fault fault = {0};

    /* 4 bytes of extension for 1 of data: 3 remain each time */
    assert_int_equal(feed(&c, "1;abc\r\nx\r\n", H1_CHUNK_OVERHEAD_MAX / 3 - 2, &fault), 0);
    assert_int_equal(feed(&c, "1;abc\r\nx\r\n", 4, &fault), -1);
    assert_string_equal(fault.reason, "too many chunk extensions");

    c = (struct h1_chunked){0};
    assert_int_equal(feed(&c, "4;abc\r\nxxxx\r\n", H1_CHUNK_OVERHEAD_MAX, &fault), 0);
}

static void test_nothing_is_eaten_behind_the_last_chunk(void **state)
{
    (void)state;
    struct h1_chunked c = {0};
    struct h1_fault fault;
    struct slice in = S("0\r\n\r\nGET"), data;

    assert_int_equal(h1_chunked_next(&c, &in, &data, &fault), 0);
    assert_true(c.done);
    assert_int_equal(h1_chunked_next(&c, &in, &data, &fault), 0);
    assert_int_equal(data.len, 0);
    assert_true(slice_equal(in, S("\r\nGET")));
}

static void test_trailers(void **state)
{
    (void)state;
    static const struct parse_job job = {JOB_TRAILERS, {10, 100, 3}, METHOD_OTHER, true};
    static const char *const forbidden = "a trailer field that may not be one";
#define FORBIDDEN(name)                                                                                      \
    {                                                                                                        \
        SLICE(name ": a\r\n\r\n"), 400, forbidden                                                            \
    }
    const struct head_case cases[] = {
        {SLICE("\r\n"), 0, ""},
        {SLICE("\r\nGET / HTTP/1.1\r\n"), 0, ""},
        {SLICE("X: y\r\n\r\n"), 0, "\n0 6 [X]=[y] 3"},
        {SLICE("ETag: \"y\"\r\nserver-timing:z\r\n\r\n"), 0,
         "\n13 11 [ETag]=[\"y\"] 6\n0 17 [server-timing]=[z] 14"},
        {SLICE(""), MORE, ""},
        {SLICE("\r"), MORE, ""},
        {SLICE("X: y\r\n"), MORE, ""},
        {SLICE("X: y\r\n\r"), MORE, ""},
        {SLICE("\n"), 400, "a bare LF"},
        {SLICE("\rX"), 400, "a bare CR"},
        {SLICE("X: y\n\r\n"), 400, "a bare LF"},
        {SLICE("X: \x01"), 400, "a control character"},
        {SLICE("X : y\r\n\r\n"), 400, "a blank before a header's colon"},
        {SLICE(" X: y\r\n\r\n"), 400, "a header line that begins with a blank (obs-fold)"},
        {SLICE("X: y\r\n z\r\n\r\n"), 400, "a header line that begins with a blank (obs-fold)"},
        {SLICE("GET / HTTP/1.1\r\n"), 400, "a header line without a colon"},
        {SLICE("A: b\r\nA: b\r\nA: b\r\n\r\n"), 0, "\n0 6 [A]=[b] 3\n0 6 [A]=[b] 3\n0 6 [A]=[b] 3"},
        {SLICE("A: b\r\nA: b\r\nA: b\r\nA: b\r\n"), 431, "too many headers"},
        {SLICE(
             "A: "
             "34567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
             "890"),
         431, "the head is too large"},
        FORBIDDEN("Content-Length"),
        FORBIDDEN("transfer-ENCODING"),
        FORBIDDEN("Host"),
        FORBIDDEN("Trailer"),
        FORBIDDEN("TE"),
        FORBIDDEN("Connection"),
        FORBIDDEN("Upgrade"),
        FORBIDDEN("Authorization"),
        FORBIDDEN("Cookie"),
        FORBIDDEN("Set-Cookie"),
        FORBIDDEN("WWW-Authenticate"),
        FORBIDDEN("Content-Type"),
        FORBIDDEN("Content-Encoding"),
        FORBIDDEN("Content-Range"),
        FORBIDDEN("Cache-Control"),
        FORBIDDEN("Max-Forwards"),
        FORBIDDEN("If-None-Match"),
        FORBIDDEN("X-Forwarded-For"),
        FORBIDDEN("Forwarded"),
        FORBIDDEN("Vary"),
        FORBIDDEN("Expect"),
    };
    CHECK_HEADS(&job, cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_a_size_line_has_a_limit),
        cmocka_unit_test(test_extensions_have_a_limit_unless_data_pays_for_them),
        cmocka_unit_test(test_nothing_is_eaten_behind_the_last_chunk),
        cmocka_unit_test(test_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
