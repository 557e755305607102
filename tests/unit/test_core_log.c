/* The log: text and JSON lines, escaping, cutting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "core/log.h"

static char path[] = "/tmp/weir-test-log-XXXXXX";

static struct writer *started_writer(void)
{
    struct writer *w = writer_create();
    assert_non_null(w);
    assert_int_equal(writer_start(w), 0);
    return w;
}

/* What is logged between these two. */
static struct writer *begin(enum log_level level, enum log_format format)
{
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct writer *w = started_writer();
    log_set(level, format);
    log_to(writer_open(w, slice_text(path)));
    return w;
}

static char *end(struct writer *w)
{
    log_to(NULL);
    writer_free(w, 2000);
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 100000);
    assert_true(fread(text, 1, 99999, f) < 99999);
    fclose(f);
    unlink(path);
    return text;
}

static void test_a_text_line_has_time_level_event_and_fields(void **state)
{
    (void)state;
    struct writer *w = begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("configuration reloaded", LOG_U64("generation", 4), LOG_TEXT("file", "a.yaml"));
    log_error("bad");
    char *text = end(w);
    /* 2024-05-06T07:08:09.123Z info  … */
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[23], 'Z');
    char *second = strchr(text, '\n') + 1;
    assert_int_equal(strncmp(text + 24, " info  configuration reloaded generation=4 file=a.yaml\n", 55), 0);
    assert_string_equal(second + 24, " error bad\n");
    free(text);
}

static void test_text_that_could_be_mistaken_for_a_field_is_quoted(void **state)
{
    (void)state;
    struct writer *w = begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_warn("x", LOG_TEXT("a", "two words"), LOG_TEXT("b", ""), LOG_TEXT("c", "k=v"),
             LOG_TEXT("d", "say \"hi\""), LOG_TEXT("e", "line\nfake"), LOG_TEXT("f", "\xc3\xa9"),
             LOG_TEXT("g", NULL));
    char *text = end(w);
    assert_string_equal(text + 24, " warn  x a=\"two words\" b=\"\" c=\"k=v\" d=\"say \\\"hi\\\"\" "
                                   "e=\"line\\nfake\" f=\"\xc3\xa9\" g=\"\"\n");
    free(text);
}

static void test_levels_below_the_set_one_are_not_written(void **state)
{
    (void)state;
    struct writer *w = begin(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    int evaluated = 0;
    log_debug("no", LOG_U64("n", ++evaluated));
    log_info("no", LOG_U64("n", ++evaluated));
    log_warn("yes");
    log_error("yes");
    char *text = end(w);
    assert_null(strstr(text, "no"));
    assert_int_equal(evaluated, 0);
    assert_non_null(strstr(text, "warn  yes"));
    assert_non_null(strstr(text, "error yes"));
    free(text);
}

static void test_a_json_line_says_what_was_said(void **state)
{
    (void)state;
    struct writer *w = begin(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    char all[128];
    for (int i = 0; i < 127; i++)
        all[i] = (char)(i + 1);
    all[127] = 0;
    log_debug("an \"event\"", LOG_TEXT("all", all), LOG_U64("n", INT64_MAX),
              LOG_TEXT("utf8", "\xf0\x9f\x98\x80 \xc3\xa9"), LOG_SLICE("nul", slice_of("a\0b", 3)),
              LOG_TEXT("none", NULL));
    char *text = end(w);
    json_t *line = json_loads(text, JSON_ALLOW_NUL, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "debug");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "an \"event\"");
    assert_string_equal(json_string_value(json_object_get(line, "all")), all);
    assert_int_equal(json_integer_value(json_object_get(line, "n")), INT64_MAX);
    assert_string_equal(json_string_value(json_object_get(line, "utf8")), "\xf0\x9f\x98\x80 \xc3\xa9");
    assert_int_equal(json_string_length(json_object_get(line, "nul")), 3);
    assert_string_equal(json_string_value(json_object_get(line, "none")), "");
    assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))), 24);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_decref(line);
    free(text);
}

/* Whatever falls on the edge of the line, it stays one JSON object. */
static void test_a_line_that_is_cut_is_still_json(void **state)
{
    (void)state;
    static char big[5000];
    for (size_t len = 3800; len < 4200; len++) {
        struct writer *w = NULL;
        memset(big, len % 2 ? 'x' : '"', len);
        big[len] = 0;
        if (len % 2 == 0)
            big[len / 2] = 0; /* each counts twice */
        w = begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
        log_info("long", LOG_TEXT("big", big), LOG_TEXT("next", "value"), LOG_U64("number", 12345),
                 LOG_TEXT("last", big));
        char *text = end(w);
        json_t *line = json_loads(text, 0, NULL);
        if (!line)
            fail_msg("%zu: %s", len, text);
        assert_true(strlen(text) <= 4096);
        const char *next = json_string_value(json_object_get(line, "next"));
        if (next)
            assert_int_equal(strncmp("value", next, strlen(next)), 0);
        json_decref(line);
        free(text);
    }
}

static void test_a_long_event_is_cut(void **state)
{
    (void)state;
    static char big[9000];
    memset(big, 'e', sizeof big - 1);
    struct writer *w = begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info(big, LOG_TEXT("a", "b"));
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info(big, LOG_TEXT("a", "b c"));
    char *text = end(w);
    char *second = strchr(text, '\n');
    assert_non_null(second);
    *second++ = 0;
    json_t *line = json_loads(text, 0, NULL);
    assert_non_null(line);
    json_decref(line);
    assert_true(strlen(second) <= 4096);
    assert_int_equal(second[strlen(second) - 1], '\n');
    free(text);
}

static void test_bytes_that_are_no_utf8_are_replaced(void **state)
{
    (void)state;
#define BAD "\xef\xbf\xbd"
    static const struct {
        const char *in, *out;
    } table[] = {
        {"\x80", BAD},                                 /* a lone continuation */
        {"\xc3", BAD},                                 /* cut short */
        {"\xc3(", BAD "("},                            /* not continued */
        {"\xc0\xaf", BAD BAD},                         /* overlong */
        {"\xe0\x80\xaf", BAD BAD BAD},                 /* overlong */
        {"\xed\xa0\x80", BAD BAD BAD},                 /* a surrogate */
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},         /* past U+10FFFF */
        {"\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD}, /* five bytes */
        {"\xff\xfe", BAD BAD},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\xee\x80\x80", "\xee\x80\x80"},
        {"a\x1f\x7f/", "a\\u001f\\u007f/"},
        {"\b\f", "\\u0008\\u000c"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char out[64];
        size_t len = json_escape(slice_text(table[i].in), out, sizeof out);
        assert_int_equal(len, strlen(table[i].out));
        assert_memory_equal(out, table[i].out, len);
    }
}

static void test_escapes_and_characters_are_never_cut_in_two(void **state)
{
    (void)state;
    static const char text[] = "a\"\n\x01\xc3\xa9\xf0\x9f\x98\x80\xff";
    char whole[64], out[64];
    size_t full = json_escape(slice_text(text), whole, sizeof whole);
    for (size_t size = 0; size <= full; size++) {
        memset(out, '#', sizeof out);
        size_t len = json_escape(slice_text(text), out, size);
        assert_true(len <= size);
        assert_memory_equal(out, whole, len);
        assert_int_equal(out[size], '#');
        char quoted[80];
        snprintf(quoted, sizeof quoted, "\"%.*s\"", (int)len, out);
        json_t *value = json_loads(quoted, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_text_line_has_time_level_event_and_fields),
        cmocka_unit_test(test_text_that_could_be_mistaken_for_a_field_is_quoted),
        cmocka_unit_test(test_levels_below_the_set_one_are_not_written),
        cmocka_unit_test(test_a_json_line_says_what_was_said),
        cmocka_unit_test(test_a_line_that_is_cut_is_still_json),
        cmocka_unit_test(test_a_long_event_is_cut),
        cmocka_unit_test(test_bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(test_escapes_and_characters_are_never_cut_in_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
