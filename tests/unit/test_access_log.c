/* Lines of the access log: each format by table, hostile values, sampling of the template's variables, and
 * what is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "admin/access_format.h"
#include "admin/access_log.h"

#define LONG_MAX_BYTES 16384

static struct access_entry entry(void)
{
    return (struct access_entry){
        .wall_us = INT64_C(971186136123456), /* 2000-10-10T13:55:36.123456Z */
        .client = S("192.0.2.1"),
        .method = S("GET"),
        .host = S("a.example"),
        .target = S("/a?b=c"),
        .protocol = S("HTTP/1.1"),
        .listener = S("web"),
        .route = S("api"),
        .upstream = S("app"),
        .server = S("10.0.0.1:80"),
        .request_id = S("id-1"),
        .referer = S("http://r.example/"),
        .user_agent = S("tester/1"),
        .termination = "complete",
        .end = "complete",
        .status = 200,
        .attempts = 1,
        .bytes_in = 3,
        .bytes_out = 2326,
        .duration_us = 12345,
        .upstream_us = 1007,
        .timings = {{10, 2000, 3000, 4, 1000, -1}},
    };
}

/* The line without its LF, in `room`. */
static char *line_of(void (*format)(struct access_text *, const struct access_entry *),
                     const struct access_entry *e, char room[LONG_MAX_BYTES], size_t value_max)
{
    struct access_text t = {.at = room, .end = room + LONG_MAX_BYTES, .value_max = value_max};
    format(&t, e);
    assert_false(t.overflow);
    assert_true(t.at > room && t.at[-1] == '\n');
    t.at[-1] = 0;
    return room;
}

static char *combined(const struct access_entry *e, char room[LONG_MAX_BYTES])
{
    return line_of(access_format_combined, e, room, 8192);
}

static void test_combined_is_as_apache_writes_it(void **state)
{
    (void)state;
    char room[LONG_MAX_BYTES];
    struct access_entry e = entry();
    assert_string_equal(combined(&e, room),
                        "192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 2326 "
                        "\"http://r.example/\" \"tester/1\"");
}

static void test_combined_has_a_dash_for_what_is_not_known(void **state)
{
    (void)state;
    char room[LONG_MAX_BYTES];
    struct access_entry e = {
        .wall_us = 1000000, .client = S("::1"), .status = 400, .end = "", .upstream_us = -1};
    assert_string_equal(combined(&e, room), "::1 - - [01/Jan/1970:00:00:01 +0000] \"-\" 400 0 \"-\" \"-\"");
}

static void test_combined_cannot_be_forged(void **state)
{
    (void)state;
    static const struct {
        struct slice value;
        const char *written;
    } table[] = {
        {SLICE("x\" 200 \"y"), "x\\x22 200 \\x22y"}, {SLICE("a\nb\rc"), "a\\x0Ab\\x0Dc"},
        {SLICE("back\\slash"), "back\\x5Cslash"},    {SLICE("\x1b[31m"), "\\x1B[31m"},
        {SLICE("\xe9\xff"), "\\xE9\\xFF"},           {SLICE("\x7f"), "\\x7F"},
        {SLICE("nul\0nul"), "nul\\x00nul"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char room[LONG_MAX_BYTES], wanted[256];
        struct access_entry e = entry();
        e.user_agent = table[i].value;
        snprintf(wanted, sizeof wanted, "\"%s\"", table[i].written);
        assert_non_null(strstr(combined(&e, room), wanted));
    }
}

/* What a JSON parser makes of the line. */
static json_t *parsed(const struct access_entry *e)
{
    char room[LONG_MAX_BYTES];
    json_error_t error;
    char *line = line_of(access_format_json, e, room, 8192);
    json_t *value = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        print_error("%s: %s\n", error.text, line);
    assert_non_null(value);
    return value;
}

static void test_json_has_fixed_keys_in_a_fixed_order(void **state)
{
    (void)state;
    char room[LONG_MAX_BYTES];
    struct access_entry e = entry();
    assert_string_equal(
        line_of(access_format_json, &e, room, 8192),
        "{\"time\":\"2000-10-10T13:55:36.123Z\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\"host\":\"a."
        "example\",\"target\":\"/"
        "a?b=c\",\"protocol\":\"HTTP/"
        "1.1\",\"status\":200,\"bytes_in\":3,\"bytes_out\":2326,\"duration_ms\":12.345,\"upstream_"
        "ms\":1.007,\"queue_ms\":0.010,\"connect_ms\":2.000,\"tls_ms\":3.000,\"send_ms\":0.004,\"first_byte_"
        "ms\":1.000,\"body_ms\":null,\"listener\":\"web\",\"route\":\"api\",\"upstream\":\"app\",\"server\":"
        "\"10.0.0.1:80\","
        "\"attempts\":1,"
        "\"request_id\":\"id-1\",\"referer\":\"http://r.example/\",\"user_agent\":\"tester/"
        "1\",\"tls_version\":null,\"termination\":\"complete\",\"end\":"
        "\"complete\",\"reason\":null}");
}

static void test_json_says_null_for_what_is_not_known(void **state)
{
    (void)state;
    struct access_entry e = {.wall_us = 1, .status = 400, .end = "complete", .upstream_us = -1};
    json_t *value = parsed(&e);
    static const char *const keys[] = {"client", "method",      "target", "route",
                                       "server", "upstream_ms", "reason"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        assert_true(json_is_null(json_object_get(value, keys[i])));
    json_decref(value);
}

static void test_json_survives_hostile_text(void **state)
{
    (void)state;
    static const struct {
        struct slice value;
        const char *read;
    } table[] = {
        {SLICE("a\"b\\c"), "a\"b\\c"},   {SLICE("\"}{"), "\"}{"},
        {SLICE("a\tb\nc"), "a\tb\nc"},   {SLICE("\x01\x1f"), "\x01\x1f"},
        {SLICE("\xe9"), "\xef\xbf\xbd"}, {SLICE("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct access_entry e = entry();
        e.user_agent = table[i].value;
        json_t *value = parsed(&e);
        assert_string_equal(json_string_value(json_object_get(value, "user_agent")), table[i].read);
        json_decref(value);
    }
}

static void test_a_value_that_is_too_long_is_cut(void **state)
{
    (void)state;
    char room[LONG_MAX_BYTES], agent[300];
    struct access_entry e = entry();
    memset(agent, 'x', sizeof agent);
    e.user_agent = slice_of(agent, sizeof agent);
    char *line = line_of(access_format_combined, &e, room, 100);
    assert_int_equal(strlen(strrchr(line, ' ')), 1 + 1 + 100 + 1);
}

static void test_what_does_not_fit_is_told_and_nothing_is_written_behind_the_end(void **state)
{
    (void)state;
    void (*const formats[])(struct access_text *, const struct access_entry *) = {access_format_json,
                                                                                  access_format_combined};
    struct access_entry e = entry();
    for (size_t f = 0; f < COUNT_OF(formats); f++) {
        for (size_t size = 0; size < 100; size++) {
            char room[128];
            memset(room, 'Z', sizeof room);
            struct access_text t = {.at = room, .end = room + size, .value_max = 8192};
            if (size == 0)
                continue;
            formats[f](&t, &e);
            assert_true(t.overflow);
            assert_true(t.at <= room + size);
            assert_int_equal(room[size], 'Z');
        }
    }
}

static struct slice lookup(void *context, const struct template_variable *v)
{
    (void)context;
    return v->id == TEMPLATE_METHOD ? S("GET") : v->id == TEMPLATE_HEADER ? S("a\"b") : S("");
}

static void test_a_template_keeps_its_own_text_and_escapes_values(void **state)
{
    (void)state;
    static const struct {
        const char *template, *line;
    } table[] = {
        {"${method}", "GET\n"},
        {"[\"${method}\"] ${header.x}.", "[\"GET\"] a\\x22b.\n"},
        {"${client}|${method}", "|GET\n"},
        {"cost: $$5 ${method}", "cost: $5 GET\n"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct template t;
        char room[256];
        config_init(&c);
        assert_int_equal(template_compile(&c, NULL, slice_text(table[i].template), TEMPLATE_AT_RESPONSE, &t),
                         0);
        struct access_text out = {.at = room, .end = room + sizeof room, .value_max = 100};
        access_format_template(&out, &t, lookup, NULL);
        *out.at = 0;
        assert_string_equal(room, table[i].line);
        config_free(&c);
    }
}

/* Settings. */

static size_t faults_of(const char *format, const char *output)
{
    struct config c;
    struct access_settings s = {.format = slice_text(format), .output = slice_text(output), .sample = 1};
    struct access_log *log = NULL;
    struct access_logs *logs = access_logs_create();
    config_init(&c);
    int result = access_log_open(logs, NULL, 1, &c, &s, true, &log);
    size_t faults = c.error_count;
    assert_int_equal(result, faults ? -1 : 0);
    assert_null(log);
    config_free(&c);
    access_logs_free(logs);
    return faults;
}

static void test_settings_are_checked_without_opening(void **state)
{
    (void)state;
    static const struct {
        const char *format, *output;
        size_t faults;
    } table[] = {
        {"json", "stdout", 0},      {"combined", "syslog", 0},
        {"${status}", "stderr", 0}, {"${nonsense}", "stdout", 1},
        {"jsno", "stdout", 1},      {"json", "/no-such-folder/access.log", 1},
        {"json", "/tmp", 1},        {"${nonsense}", "/no-such-folder/access.log", 2},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        assert_int_equal(faults_of(table[i].format, table[i].output), table[i].faults);
}

static void test_a_check_leaves_no_file_behind(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-access-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/access.log", folder);
    assert_int_equal(faults_of("json", path), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_combined_is_as_apache_writes_it),
        cmocka_unit_test(test_combined_has_a_dash_for_what_is_not_known),
        cmocka_unit_test(test_combined_cannot_be_forged),
        cmocka_unit_test(test_json_has_fixed_keys_in_a_fixed_order),
        cmocka_unit_test(test_json_says_null_for_what_is_not_known),
        cmocka_unit_test(test_json_survives_hostile_text),
        cmocka_unit_test(test_a_value_that_is_too_long_is_cut),
        cmocka_unit_test(test_what_does_not_fit_is_told_and_nothing_is_written_behind_the_end),
        cmocka_unit_test(test_a_template_keeps_its_own_text_and_escapes_values),
        cmocka_unit_test(test_settings_are_checked_without_opening),
        cmocka_unit_test(test_a_check_leaves_no_file_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
