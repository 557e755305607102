/* The readers of single values, by table: what is written, what it is, or what is told. */
#include "config/option.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* One value in a file; its node. */
static const struct config_node *read_value(struct config *c, const char *written)
{
    char text[256];
    config_init(c);
    snprintf(text, sizeof text, "k: %s\n", written);
    assert_int_equal(config_parse(c, "v", slice_text(text)), 0);
    return config_get(c->root, "k");
}

static void assert_fault(struct config *c, int rc, const char *expected)
{
    char line[512];
    snprintf(line, sizeof line, "v:1:4: k: %s\n", expected);
    assert_int_equal(rc, -1);
    assert_string_equal(config_errors_text(c), line);
}

struct fault_case {
    const char *written, *fault;
};

static void test_booleans_are_unquoted_true_and_false_only(void **state)
{
    (void)state;
    const struct {
        const char *written;
        bool value;
    } good[] = {{"true", true},   {"True", true},   {"TRUE", true},
                {"false", false}, {"False", false}, {"FALSE", false}};
    const struct fault_case bad[] = {
        {"no", "\"no\" is no boolean; write true or false, without quotes; did you mean false?"},
        {"off", "\"off\" is no boolean; write true or false, without quotes; did you mean false?"},
        {"Yes", "\"Yes\" is no boolean; write true or false, without quotes; did you mean true?"},
        {"on", "\"on\" is no boolean; write true or false, without quotes; did you mean true?"},
        {"flase", "\"flase\" is no boolean; write true or false, without quotes; did you mean false?"},
        {"tRUE", "\"tRUE\" is no boolean; write true or false, without quotes; did you mean true?"},
        {"'true'", "\"true\" is a text; write true or false, without quotes; did you mean true?"},
        {"maybe", "\"maybe\" is no boolean; write true or false, without quotes"},
        {"[true]", "expected true or false, written true or false; found a list"},
    };
    struct config c;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        bool value = !good[i].value;
        assert_int_equal(option_bool(&c, read_value(&c, good[i].written), &value), 0);
        assert_int_equal(value, good[i].value);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        bool value;
        const struct config_node *node = read_value(&c, bad[i].written);
        assert_fault(&c, option_bool(&c, node, &value), bad[i].fault);
        config_free(&c);
    }
}

static void test_counts_are_digits_within_limits(void **state)
{
    (void)state;
    const struct {
        const char *written;
        uint64_t value;
    } good[] = {{"1", 1}, {"65535", 65535}, {"'80'", 80}, {"007", 7}};
    const struct fault_case bad[] = {
        {"many", "expected a whole number, written with digits alone, like 100; found \"many\""},
        {"1.5", "expected a whole number, written with digits alone, like 100; found \"1.5\""},
        {"0x10", "expected a whole number, written with digits alone, like 100; found \"0x10\""},
        {"1_000", "expected a whole number, written with digits alone, like 100; found \"1_000\""},
        {"''", "expected a whole number, written with digits alone, like 100; found \"\""},
        {"99999999999999999999",
         "expected a whole number, written with digits alone, like 100; found \"99999999999999999999\""},
        {"0", "\"0\" is too small (at least 1)"},
        {"-5", "\"-5\" is too small (at least 1)"},
        {"65536", "\"65536\" is too large (at most 65535)"},
        {"{a: 1}", "expected a whole number, written with digits alone, like 100; found a map"},
        {"null", "expected a whole number, written with digits alone, like 100; found nothing"},
    };
    struct config c;
    uint64_t value = 0;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(option_count(&c, read_value(&c, good[i].written), 1, 65535, &value), 0);
        assert_int_equal(value, good[i].value);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct config_node *node = read_value(&c, bad[i].written);
        assert_fault(&c, option_count(&c, node, 1, 65535, &value), bad[i].fault);
        config_free(&c);
    }
}

static void test_a_share_is_a_number_or_a_percentage(void **state)
{
    (void)state;
    const struct {
        const char *written;
        double value;
    } good[] = {{"20%", 0.2}, {"0.2", 0.2}, {"1", 1}, {"100%", 1}, {"0", 0}, {"0%", 0}, {"12.5%", 0.125}};
    const struct fault_case bad[] = {
        {"20", "\"20\" is too large (at most 100%)"},
        {"101%", "\"101%\" is too large (at most 100%)"},
        {"-1%", "\"-1%\" is too small (at least 0%)"},
        {"20 %", "expected a share, written 20% or 0.2; found \"20 %\""},
        {"1e-1", "expected a share, written 20% or 0.2; found \"1e-1\""},
        {".5", "expected a share, written 20% or 0.2; found \".5\""},
        {"nan", "expected a share, written 20% or 0.2; found \"nan\""},
        {"[1]", "expected a share, written 20% or 0.2; found a list"},
    };
    struct config c;
    double value = -1;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(option_number(&c, read_value(&c, good[i].written), true, 0, 1, &value), 0);
        assert_true(fabs(value - good[i].value) < 1e-12);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct config_node *node = read_value(&c, bad[i].written);
        assert_fault(&c, option_number(&c, node, true, 0, 1, &value), bad[i].fault);
        config_free(&c);
    }
}

static void test_a_plain_number_takes_no_percent(void **state)
{
    (void)state;
    struct config c;
    double value = 0;
    assert_int_equal(option_number(&c, read_value(&c, "2.5"), false, 0, 0, &value), 0);
    assert_true(fabs(value - 2.5) < 1e-12);
    config_free(&c);
    const struct config_node *node = read_value(&c, "20%");
    assert_fault(&c, option_number(&c, node, false, 0, 0, &value),
                 "expected a number, written like 10 or 0.5; found \"20%\"");
    config_free(&c);
}

static void test_durations_have_units(void **state)
{
    (void)state;
    const struct {
        const char *written;
        msec_t value;
    } good[] = {{"500ms", 500},   {"10s", 10000}, {"5m", 300000}, {"1h", 3600000},
                {"1d", 86400000}, {"0", 0},       {"0s", 0},      {"'10s'", 10000}};
    const struct fault_case bad[] = {
        {"10", "a duration needs a unit, written 500ms, 10s, 5m, 1h or 1d; did you mean \"10s\"?"},
        {"soon", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"soon\""},
        {"10 s", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"10 s\""},
        {"1.5s", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"1.5s\""},
        {"-1s", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"-1s\""},
        {"10S", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"10S\""},
        {"1w", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"1w\""},
        {"s", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found \"s\""},
        {"99999999d", "\"99999999d\" is too long (at most 36525d)"},
        {"[1s]", "expected a duration, written 500ms, 10s, 5m, 1h or 1d; found a list"},
    };
    struct config c;
    msec_t value = 1;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(option_duration(&c, read_value(&c, good[i].written), &value), 0);
        assert_int_equal(value, good[i].value);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct config_node *node = read_value(&c, bad[i].written);
        assert_fault(&c, option_duration(&c, node, &value), bad[i].fault);
        config_free(&c);
    }
}

static void test_sizes_are_in_powers_of_1024(void **state)
{
    (void)state;
    const struct {
        const char *written;
        uint64_t value;
    } good[] = {{"0", 0},           {"123", 123},          {"16KiB", 16384}, {"8MiB", 8u << 20},
                {"1GiB", 1u << 30}, {"4k", 4096},          {"4K", 4096},     {"2m", 2u << 20},
                {"1g", 1u << 30},   {"5GiB", 5368709120u}, {"16kib", 16384}};
    const struct fault_case bad[] = {
        {"16KB", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; did you mean \"16KiB\"?"},
        {"2mb", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; did you mean \"2MiB\"?"},
        {"1Gi", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; did you mean \"1GiB\"?"},
        {"big", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; found \"big\""},
        {"kb", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; found \"kb\""},
        {"1.5GiB", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; found \"1.5GiB\""},
        {"-1", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; found \"-1\""},
        {"99999999999999g", "\"99999999999999g\" is too large (at most 8388608GiB)"},
        {"{}", "expected a size, written 64k, 16KiB, 8MiB or 1GiB; found a map"},
    };
    struct config c;
    uint64_t value = 1;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(option_size(&c, read_value(&c, good[i].written), &value), 0);
        assert_int_equal(value, good[i].value);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct config_node *node = read_value(&c, bad[i].written);
        assert_fault(&c, option_size(&c, node, &value), bad[i].fault);
        config_free(&c);
    }
}

static void test_a_word_that_is_no_choice_is_told_with_the_choices(void **state)
{
    (void)state;
    static const char *const choices[] = {"http", "tcp", "udp", NULL};
    const struct fault_case bad[] = {
        {"htpp", "unknown value \"htpp\" (one of: http, tcp, udp); did you mean \"http\"?"},
        {"quic", "unknown value \"quic\" (one of: http, tcp, udp)"},
        {"[http]", "expected a word (one of: http, tcp, udp); found a list"},
        {"null", "expected a word (one of: http, tcp, udp); found nothing"},
    };
    struct config c;
    int value = -1;
    assert_int_equal(option_choice(&c, read_value(&c, "udp"), choices, &value), 0);
    assert_int_equal(value, 2);
    config_free(&c);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct config_node *node = read_value(&c, bad[i].written);
        assert_fault(&c, option_choice(&c, node, choices, &value), bad[i].fault);
        config_free(&c);
    }
}

static void test_texts_are_one_or_a_list(void **state)
{
    (void)state;
    struct config c;
    struct option_texts texts = {0};
    assert_int_equal(option_texts(&c, read_value(&c, "one"), &texts), 0);
    assert_int_equal(texts.count, 1);
    config_free(&c);
    assert_int_equal(option_texts(&c, read_value(&c, "[a, 2, true]"), &texts), 0);
    assert_int_equal(texts.count, 3);
    assert_string_equal(texts.at[2].at, "true");
    assert_int_equal(texts.nodes[1]->column, 8);
    config_free(&c);
    const struct config_node *node = read_value(&c, "[a, [b], null]");
    assert_int_equal(option_texts(&c, node, &texts), -1);
    assert_string_equal(config_errors_text(&c), "v:1:8: k[1]: expected a text, written on one line, in "
                                                "quotes where it has special characters; found a list\n"
                                                "v:1:13: k[2]: expected a text, written on one line, in "
                                                "quotes where it has special characters; found "
                                                "nothing\n");
    config_free(&c);
    node = read_value(&c, "{a: b}");
    assert_fault(&c, option_texts(&c, node, &texts),
                 "expected a text or a list of texts, written one, or [one, two]; found a map");
    config_free(&c);
}

static void test_a_text_with_a_nul_is_refused(void **state)
{
    (void)state;
    struct config c;
    struct slice text;
    const struct config_node *node = read_value(&c, "\"a\\0b\"");
    assert_fault(&c, option_text(&c, node, &text), "may not contain a NUL character");
    config_free(&c);
}

static void test_pairs_keep_their_order_and_leave_nulls_out(void **state)
{
    (void)state;
    struct config c;
    struct option_pairs pairs = {0};
    assert_int_equal(option_pairs(&c, read_value(&c, "{z: 1, a: null, b: x}"), &pairs), 0);
    assert_int_equal(pairs.count, 2);
    assert_string_equal(pairs.at[0].name.at, "z");
    assert_string_equal(pairs.at[1].value.at, "x");
    config_free(&c);
    const struct config_node *node = read_value(&c, "[z]");
    assert_fault(&c, option_pairs(&c, node, &pairs),
                 "expected a map of names and texts, written {name: text} or \"name: text\" line by line; "
                 "found a list");
    config_free(&c);
}

static void test_a_long_value_is_told_cut_short(void **state)
{
    (void)state;
    struct config c;
    bool value;
    char text[200] = "";
    for (size_t i = 0; i < 40; i++)
        memcpy(text + i * 3, "\xe2\x82\xac", 4);
    const struct config_node *node = read_value(&c, text);
    assert_int_equal(option_bool(&c, node, &value), -1);
    assert_non_null(strstr(config_errors_text(&c), "\xe2\x82\xac…\" is no boolean"));
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_booleans_are_unquoted_true_and_false_only),
        cmocka_unit_test(test_counts_are_digits_within_limits),
        cmocka_unit_test(test_a_share_is_a_number_or_a_percentage),
        cmocka_unit_test(test_a_plain_number_takes_no_percent),
        cmocka_unit_test(test_durations_have_units),
        cmocka_unit_test(test_sizes_are_in_powers_of_1024),
        cmocka_unit_test(test_a_word_that_is_no_choice_is_told_with_the_choices),
        cmocka_unit_test(test_texts_are_one_or_a_list),
        cmocka_unit_test(test_a_text_with_a_nul_is_refused),
        cmocka_unit_test(test_pairs_keep_their_order_and_leave_nulls_out),
        cmocka_unit_test(test_a_long_value_is_told_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
