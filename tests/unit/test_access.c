/* allow and deny, by table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/http/access.h"

struct lists {
    struct option_texts allow, deny;
};

static const struct option lists_options[] = {
    OPTION_AT(struct lists, allow, "allow", OPTION_TEXTS),
    OPTION_AT(struct lists, deny, "deny", OPTION_TEXTS),
};
static const struct option_table lists_table = {.name = "lists",
                                                .options = lists_options,
                                                .count = COUNT_OF(lists_options),
                                                .size = sizeof(struct lists)};

static int compile(struct config *c, const char *yaml, struct access_rules *out)
{
    struct lists lists;
    config_init(c);
    config_parse(c, "weir.yaml", slice_text(yaml));
    assert_int_equal(option_apply(c, &lists_table, c->root, &lists), 0);
    return access_compile(c, &lists.allow, &lists.deny, out);
}

static void test_the_longest_network_decides(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *client;
        bool allowed;
    } table[] = {
        {"{}", "1.2.3.4", true},
        {"allow: [10.0.0.0/8]", "10.1.2.3", true},
        {"allow: [10.0.0.0/8]", "11.1.2.3", false},
        {"allow: [10.0.0.1]", "10.0.0.1", true},
        {"allow: [10.0.0.1]", "10.0.0.2", false},
        {"deny: [10.0.0.0/8]", "10.1.2.3", false},
        {"deny: [10.0.0.0/8]", "11.1.2.3", true},
        {"{allow: [10.1.0.0/16], deny: [10.0.0.0/8]}", "10.1.2.3", true},
        {"{allow: [10.1.0.0/16], deny: [10.0.0.0/8]}", "10.2.2.3", false},
        {"{allow: [10.1.0.0/16], deny: [10.0.0.0/8]}", "11.2.2.3", true},
        {"{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}", "10.1.2.3", false},
        {"{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}", "10.2.2.3", true},
        {"{allow: [10.0.0.0/8], deny: [0.0.0.0/0, '::/0']}", "11.2.2.3", false},
        {"{allow: [10.0.0.0/8], deny: [0.0.0.0/0, '::/0']}", "2001:db8::1", false},
        {"{allow: [10.0.0.0/8], deny: [10.0.0.0/8]}", "10.1.2.3", false},
        {"allow: ['2001:db8::/32']", "2001:db8::5", true},
        {"allow: ['2001:db8::/32']", "2001:db9::5", false},
        {"allow: ['2001:db8::/32']", "10.0.0.1", false},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct access_rules rules;
        struct ip ip;
        assert_int_equal(compile(&c, table[i].yaml, &rules), 0);
        assert_int_equal(ip_parse(slice_text(table[i].client), &ip), 0);
        if (access_allows(&rules, &ip) != table[i].allowed)
            fail_msg("%s: %s", table[i].yaml, table[i].client);
        config_free(&c);
    }
}

static void test_what_is_no_network_is_refused_where_it_stands(void **state)
{
    (void)state;
    struct config c;
    struct access_rules rules;
    assert_int_equal(compile(&c, "allow: [10.0.0.0/8, 10.0.0.1/8]\ndeny:\n  - nonsense\n", &rules), -1);
    assert_int_equal(c.error_count, 2);
    assert_int_equal(c.errors[0].line, 1);
    assert_int_equal(c.errors[0].column, 21);
    assert_int_equal(c.errors[1].line, 3);
    config_free(&c);
}

static void test_an_allow_list_that_keeps_nobody_out_is_warned_of(void **state)
{
    (void)state;
    struct config c;
    struct access_rules rules;
    assert_int_equal(compile(&c, "{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}", &rules), 0);
    assert_int_equal(c.warning_count, 1);
    config_free(&c);
    assert_int_equal(compile(&c, "{allow: [10.1.0.0/16], deny: [10.0.0.0/8]}", &rules), 0);
    assert_int_equal(c.warning_count, 0);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_longest_network_decides),
        cmocka_unit_test(test_what_is_no_network_is_refused_where_it_stands),
        cmocka_unit_test(test_an_allow_list_that_keeps_nobody_out_is_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
