/* Trees as text: what is printed reads as the same tree, secrets are never in it; and configurations that are
 * read again from what was kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/option.h"
#include "config/print.h"

static const char *environment(const char *name)
{
    return strcmp(name, "TOKEN") == 0 ? "hunter2" : strcmp(name, "PORT") == 0 ? "8080" : NULL;
}

struct inner {
    struct slice password, name, url;
    struct option_pairs headers, split;
};
static const struct option inner_options[] = {
    OPTION_AT(struct inner, name, "name", OPTION_TEXT, .help = ""),
    OPTION_AT(struct inner, password, "password", OPTION_TEXT, .flags = OPTION_FLAG_SECRET, .help = ""),
    OPTION_AT(struct inner, url, "url", OPTION_TEXT, .flags = OPTION_FLAG_MAYBE_SECRET, .help = ""),
    OPTION_AT(struct inner, headers, "headers", OPTION_PAIRS, .help = ""),
    OPTION_AT(struct inner, split, "split", OPTION_PAIRS, .flags = OPTION_FLAG_PLAIN, .help = ""),
};
static const struct option_table inner_table = {.name = "inner",
                                                .options = inner_options,
                                                .count = COUNT_OF(inner_options),
                                                .size = sizeof(struct inner)};
struct outer {
    struct option_list all;
    struct inner one;
};
static const struct option outer_options[] = {
    OPTION_AT(struct outer, all, "all", OPTION_MAP, .table = &inner_table, .help = ""),
    OPTION_AT(struct outer, one, "one", OPTION_BLOCK, .table = &inner_table, .help = ""),
};
static const struct option_table outer_table = {.name = "outer",
                                                .options = outer_options,
                                                .count = COUNT_OF(outer_options),
                                                .size = sizeof(struct outer)};

static char *printed(const char *text, size_t most)
{
    struct config c;
    config_init(&c);
    c.environment = environment;
    assert_int_equal(config_parse(&c, "a.yaml", slice_text(text)), 0);
    config_mark_secrets(&outer_table, c.root);
    char *out = config_print(c.root, most);
    assert_non_null(out);
    config_free(&c);
    return out;
}

static void check_printed(const char *text, const char *expected)
{
    char *out = printed(text, 65536);
    assert_string_equal(out, expected);
    free(out);
}

static void test_a_tree_is_printed_without_comments_and_with_its_aliases(void **state)
{
    (void)state;
    check_printed("# the password is 123\n"
                  "a: &x {k: [1, two, \"3\"]} # here\n"
                  "b: *x\n"
                  "c: [{d: 1, e: [[f]]}, {}]\n"
                  "g: \"two\\nlines\"\n"
                  "\"a key\": ~\n",
                  "a:\n  k:\n    - 1\n    - two\n    - \"3\"\n"
                  "b:\n  k:\n    - 1\n    - two\n    - \"3\"\n"
                  "c:\n  - d: 1\n    e:\n      - - f\n  - {}\n"
                  "g: \"two\\nlines\"\n"
                  "\"a key\": null\n");
    check_printed("", "{}\n");
}

static void test_what_is_printed_is_printed_the_same_again(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a: 1\nb: \"1\"\nc: 'it''s'\nd: \"x: y # z\"\ne: '*'\nf: [\"- a\", '&b', \"\"]\n",
        "x:\n- - - deep\n  - {a: {b: {c: []}}}\n- y\n",
        "folded: >\n  one\n  two\n\n  three\nplain: one\n  two\n",
        "\"-\": 1\n\"*.example\": 2\n\"größe\": ü\n\"502\": 3\n",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char *once = printed(texts[i], 65536);
        check_printed(once, once);
        free(once);
    }
}

static void test_secrets_are_not_printed_and_references_to_the_environment_are(void **state)
{
    (void)state;
    check_printed("one: {name: web, password: swordfish}\n", "one:\n  name: web\n  password: •••\n");
    check_printed("one: {password: \"${TOKEN}\"}\n", "one:\n  password: ${TOKEN}\n");
    check_printed("one: {password: \"${TOKEN:-swordfish}\"}\n", "one:\n  password: ${TOKEN:-•••}\n");
    check_printed("one: {password: \"${NONE:-${TOKEN:-swordfish}}\"}\n", "one:\n  password: •••\n");
    check_printed("one: {password: \"pre${TOKEN}\"}\n", "one:\n  password: •••\n");
    check_printed("one: {password: \"${TOKEN}post\"}\n", "one:\n  password: •••\n");
    check_printed("one: {password: \"${TOKEN:-a}${TOKEN:-b}\"}\n", "one:\n  password: •••\n");
    check_printed("all: {x: {password: [1, {y: z}]}}\n",
                  "all:\n  x:\n    password:\n      - •••\n      - y: •••\n");
    check_printed("one: {name: \"p${PORT}\"}\n", "one:\n  name: \"p${PORT}\"\n");
}

static void test_values_are_secret_by_the_names_that_a_file_chooses(void **state)
{
    (void)state;
    check_printed("one:\n  headers: {Authorization: Bearer x, X-Api-Key: y, Accept: z, Set-Cookie: q, "
                  "x-csrf-token: t, My-Password: p}\n",
                  "one:\n  headers:\n    Authorization: •••\n    X-Api-Key: •••\n    Accept: z\n"
                  "    Set-Cookie: •••\n    x-csrf-token: •••\n    My-Password: •••\n");
    check_printed("secert: 1\nadmin_token: abc\n", "secert: 1\nadmin_token: •••\n");
}

static void test_values_are_secret_that_look_so(void **state)
{
    (void)state;
    static const char *const secrets[] = {"http://user:swordfish@host/",
                                          "redis://:swordfish@host:1",
                                          "/health?a=b&token=swordfish",
                                          "https://h/?api_key=swordfish",
                                          "Bearer swordfish",
                                          "basic swordfish",
                                          "AUTH swordfish"};
    static const char *const plain[] = {
        "http://host:4318/v1/traces", "/health?a=b", "/token", "auth-service:8080", "//host/@me",
        "http://h/?q=://a@b",         "basic"};
    for (size_t i = 0; i < COUNT_OF(secrets); i++)
        assert_true(config_looks_secret(slice_text(secrets[i])));
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        assert_false(config_looks_secret(slice_text(plain[i])));
    check_printed("one: {url: \"http://u:p@h/\", headers: {X-Blah: Basic x, X-Origin-Verify: y}}\n",
                  "one:\n  url: •••\n  headers:\n    X-Blah: •••\n    X-Origin-Verify: •••\n");
}

static void test_names_of_upstreams_are_no_secrets(void **state)
{
    (void)state;
    check_printed("one: {split: {auth-v1: 90, session: 10}}\n",
                  "one:\n  split:\n    auth-v1: 90\n    session: 10\n");
}

static void test_a_long_tree_is_cut_and_says_so(void **state)
{
    (void)state;
    char *out = printed("a: aaaaaaaaaaaaaaaaaaaa\nb: bbbbbbbbbbbbbbbbbbbbbb\nc: c\n", 30);
    assert_non_null(strstr(out, "bbbb"));
    assert_null(strstr(out, "c: c"));
    assert_non_null(strstr(out, "left out"));
    free(out);
}

static void test_a_fault_does_not_quote_a_secret(void **state)
{
    (void)state;
    struct config c;
    struct outer object;
    config_init(&c);
    assert_int_equal(config_parse(&c, "a.yaml", S("one: {password: {a: swordfish}, headers: swordfish}\n")),
                     0);
    config_mark_secrets(&outer_table, c.root);
    assert_int_equal(option_apply(&c, &outer_table, c.root, &object), -1);
    assert_null(strstr(config_errors_text(&c), "password: \"swordfish"));
    assert_string_equal(config_quote(&c, S("http://user:swordfish@host/")), "\"•••\"");
    config_fault(&c, config_get(config_get(config_get(c.root, "one"), "password"), "a"),
                 "\"swordfish\" is no regex, says \"swordfish\" itself");
    assert_non_null(strstr(config_errors_text(&c), "one.password.a: \"•••\" itself"));
    assert_null(strstr(config_errors_text(&c), "password.a: \"sword"));
    config_free(&c);
}

static char *value(const char *text, size_t most)
{
    struct config c;
    char *out = NULL;
    size_t len;
    config_init(&c);
    assert_int_equal(config_parse(&c, "a.yaml", slice_text(text)), 0);
    FILE *f = open_memstream(&out, &len);
    config_print_value(f, config_get(c.root, "v"), most);
    fclose(f);
    config_free(&c);
    return out;
}

static void test_a_value_is_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {{"v: 30s", "30s"},
                 {"v: [a, {b: c}]", "[a, {b: c}]"},
                 {"v: \"a\\nb\"", "\"a\\nb\""},
                 {"v: ~", "null"},
                 {"v: abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrst…"},
                 {"v: aaaaaaaaaaaaaaaaaaaü", "aaaaaaaaaaaaaaaaaaa…"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *out = value(cases[i].text, 20);
        assert_string_equal(out, cases[i].expected);
        free(out);
    }
}

/* Kept files. */

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *load(const char *folder, struct config_source *keep, const struct config_source *kept)
{
    char path[256];
    struct config c;
    config_init(&c);
    c.keep = keep;
    c.kept = kept;
    snprintf(path, sizeof path, "%s/main.yaml", folder);
    char *out = config_load(&c, path) == 0 ? config_print(c.root, 65536) : NULL;
    config_free(&c);
    return out;
}

static void test_kept_files_are_read_in_place_of_the_disk(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-keep-XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_file(folder, "main.yaml", "include: [\"*.part\", main.yaml.d]\na: 1\n");
    write_file(folder, "one.part", "b: {x: 1}\n");
    write_file(folder, "two.part", "b: {y: 2}\n");
    write_file(folder, "main.yaml.d", "include: one.part\nc: 3\n");
    struct config_source *keep = config_source_create(), *again = config_source_create(),
                         *other = config_source_create();
    char *before = load(folder, keep, NULL);
    assert_non_null(before);
    char *same = load(folder, again, NULL);
    assert_true(config_source_equal(keep, again));
    write_file(folder, "one.part", "b: {x: 2}\n");
    write_file(folder, "three.part", "d: 4\n");
    char *changed = load(folder, other, NULL);
    assert_false(config_source_equal(keep, other));
    write_file(folder, "main.yaml", "]broken[");
    char path[256];
    snprintf(path, sizeof path, "%s/two.part", folder);
    unlink(path);
    char *kept = load(folder, NULL, keep);
    assert_string_equal(kept, before);
    assert_string_not_equal(changed, before);
    assert_null(load(folder, NULL, NULL));
    free(before);
    free(same);
    free(changed);
    free(kept);
    config_source_release(keep);
    config_source_release(again);
    config_source_release(other);
    static const char *const names[] = {"main.yaml", "one.part", "three.part", "main.yaml.d"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tree_is_printed_without_comments_and_with_its_aliases),
        cmocka_unit_test(test_what_is_printed_is_printed_the_same_again),
        cmocka_unit_test(test_secrets_are_not_printed_and_references_to_the_environment_are),
        cmocka_unit_test(test_values_are_secret_by_the_names_that_a_file_chooses),
        cmocka_unit_test(test_values_are_secret_that_look_so),
        cmocka_unit_test(test_names_of_upstreams_are_no_secrets),
        cmocka_unit_test(test_a_long_tree_is_cut_and_says_so),
        cmocka_unit_test(test_a_fault_does_not_quote_a_secret),
        cmocka_unit_test(test_a_value_is_one_line),
        cmocka_unit_test(test_kept_files_are_read_in_place_of_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
