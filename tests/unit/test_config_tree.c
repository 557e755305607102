/* YAML text to the tree: places, variables, anchors, merge keys, includes, and what is refused. */
#include "config/option.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/patience.h"

static const char *environment(const char *name)
{
    if (strcmp(name, "HOST") == 0)
        return "a.example";
    if (strcmp(name, "EMPTY") == 0)
        return "";
    if (strcmp(name, "NULLISH") == 0)
        return "null";
    if (strcmp(name, "DOLLAR") == 0)
        return "${HOST}";
    return NULL;
}

static int parse(struct config *c, const char *text)
{
    config_init(c);
    c->environment = environment;
    return config_parse(c, "t.yaml", slice_text(text));
}

static const struct config_node *child(const struct config_node *map, const char *key)
{
    const struct config_node *node = config_get(map, key);
    if (!node) {
        fail_msg("there is no key %s", key);
        abort();
    }
    return node;
}

static void assert_text(const struct config_node *node, const char *expected)
{
    assert_int_equal(node->kind, NODE_SCALAR);
    assert_string_equal(node->text.at, expected);
    assert_int_equal(node->text.len, strlen(expected));
}

/* Everything that is wrong with a text is told so, and in this order. */
struct refusal {
    const char *text, *errors;
};

static void assert_refusals(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct config c;
        assert_int_equal(parse(&c, refusals[i].text), -1);
        assert_string_equal(config_errors_text(&c), refusals[i].errors);
        config_free(&c);
    }
}

static void test_a_node_knows_where_its_key_and_its_value_stand(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "web:\n  größe: \"ü\"   \n  ünder: x\n  empty:\nlist:\n- a\n-   {k: v}\n"), 0);
    const struct config_node *web = child(c.root, "web"), *list = child(c.root, "list");
    const struct {
        const struct config_node *node;
        uint32_t key_line, key_column, line, column;
        const char *path;
    } cases[] = {
        {web, 1, 1, 2, 3, "web"},
        {child(web, "größe"), 2, 3, 2, 10, "web.größe"},
        {child(web, "ünder"), 3, 3, 3, 10, "web.ünder"},
        {child(web, "empty"), 4, 3, 4, 9, "web.empty"},
        {list->items[0], 0, 0, 6, 3, "list[0]"},
        {list->items[1]->items[0], 7, 6, 7, 9, "list[1].k"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(cases[i].node->key_line, cases[i].key_line);
        assert_int_equal(cases[i].node->key_column, cases[i].key_column);
        assert_int_equal(cases[i].node->line, cases[i].line);
        assert_int_equal(cases[i].node->column, cases[i].column);
        assert_string_equal(config_path(&c, cases[i].node), cases[i].path);
    }
    assert_string_equal(config_path(&c, c.root), "");
    config_free(&c);
}

static void test_a_key_with_dots_is_quoted_in_a_path(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "sni: {\"a.example\": x, \"*.b\": y}\n"), 0);
    assert_string_equal(config_path(&c, child(c.root, "sni")->items[0]), "sni[\"a.example\"]");
    assert_string_equal(config_path(&c, child(c.root, "sni")->items[1]), "sni[\"*.b\"]");
    config_free(&c);
}

static void test_only_unquoted_null_words_are_null(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "a: null\nb: ~\nc:\nd: 'null'\ne: \"\"\nf: !!str null\ng: nil\n"), 0);
    const enum node_kind kinds[] = {NODE_NULL,   NODE_NULL,   NODE_NULL,  NODE_SCALAR,
                                    NODE_SCALAR, NODE_SCALAR, NODE_SCALAR};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        assert_int_equal(c.root->items[i]->kind, kinds[i]);
    config_free(&c);
}

static void test_an_empty_text_is_an_empty_map(void **state)
{
    (void)state;
    const char *const texts[] = {"", "# nothing\n", "---\n", "{}", "\xef\xbb\xbf"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct config c;
        assert_int_equal(parse(&c, texts[i]), 0);
        assert_int_equal(c.root->kind, NODE_MAP);
        assert_int_equal(c.root->count, 0);
        config_free(&c);
    }
}

static void test_variables_in_capitals_come_from_the_environment(void **state)
{
    (void)state;
    const struct {
        const char *written, *read;
    } cases[] = {
        {"${HOST}", "a.example"},
        {"'https://${HOST}:80/${HOST}'", "https://a.example:80/a.example"},
        {"${NONE:-x}", "x"},
        {"${EMPTY:-x}", "x"},
        {"x${EMPTY}y", "xy"},
        {"'${NONE:-}'", ""},
        {"'${client} ${header.x}'", "${client} ${header.x}"},
        {"'${NONE:-${HOST}:1}'", "a.example:1"},
        {"'${NONE:-${client} {x}}!'", "${client} {x}!"},
        {"${DOLLAR}", "${HOST}"},
        {"${NULLISH}", "null"},
        {"a$b$", "a$b$"},
        {"$${HOST}", "$a.example"},
        {"${Name}", "${Name}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config c;
        char text[128];
        snprintf(text, sizeof text, "k: %s\n", cases[i].written);
        assert_int_equal(parse(&c, text), 0);
        assert_text(child(c.root, "k"), cases[i].read);
        config_free(&c);
    }
}

static void test_a_variable_that_is_nothing_is_null_unless_quoted(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "a: ${NONE:-}\nb: '${NONE:-}'\n${HOST}: c\n"), 0);
    assert_int_equal(child(c.root, "a")->kind, NODE_NULL);
    assert_text(child(c.root, "b"), "");
    assert_text(child(c.root, "a.example"), "c");
    config_free(&c);
}

static void test_a_variable_that_cannot_be_had_is_a_fault_at_the_value(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"a:\n  - ${NOPE}\n", "t.yaml:2:5: a[0]: the environment has no variable NOPE; set it, or write "
                              "${NOPE:-default}\n"},
        {"a: '${NOPE'\n", "t.yaml:1:4: a: write ${NOPE} or ${NOPE:-default}, with the closing brace\n"},
        {"a: '${NOPE-x}'\n", "t.yaml:1:4: a: write ${NOPE} or ${NOPE:-default}, with the closing brace\n"},
        {"a: '${NOPE:-x'\n", "t.yaml:1:4: a: write ${NOPE} or ${NOPE:-default}, with the closing brace\n"},
        {"a: {'${NOPE}': 1}\n",
         "t.yaml:1:5: a: the environment has no variable NOPE; set it, or write ${NOPE:-default}\n"},
    };
    assert_refusals(refusals, COUNT_OF(refusals));
}

static void test_an_alias_is_a_node_of_its_own_and_shares_what_is_inside(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "a: &x {k: [1, 2]}\nb: *x\nc: &s text\nd: [*s]\n"), 0);
    const struct config_node *a = child(c.root, "a"), *b = child(c.root, "b");
    assert_int_equal(b->line, 2);
    assert_int_equal(b->column, 4);
    assert_string_equal(config_path(&c, b), "b");
    assert_ptr_equal(child(b, "k"), child(a, "k"));
    assert_string_equal(config_path(&c, child(b, "k")), "a.k");
    assert_text(child(c.root, "d")->items[0], "text");
    config_free(&c);
}

static void test_merge_keys_add_what_is_not_there(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "x-1: &one {a: 1, b: 1, c: 1}\nx-2: &two {c: 2, d: 2}\n"
                               "m: {<<: *one, b: own}\nn: {e: own, <<: [*two, *one]}\n'<<': text\n"),
                     0);
    const struct config_node *m = child(c.root, "m"), *n = child(c.root, "n");
    assert_int_equal(m->count, 3);
    assert_text(child(m, "b"), "own");
    assert_text(child(m, "a"), "1");
    assert_int_equal(n->count, 5);
    assert_text(child(n, "c"), "2");
    assert_text(child(n, "a"), "1");
    assert_text(child(n, "e"), "own");
    assert_text(child(c.root, "<<"), "text");
    assert_null(config_get(c.root, "x-1"));
    config_free(&c);
}

static void test_large_maps_find_their_duplicates_too(void **state)
{
    (void)state;
    char text[4096];
    size_t used = 0;
    for (int i = 0; i < 100; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "k%d: v\n", i);
    snprintf(text + used, sizeof text - used, "k42: again\n");
    struct config c;
    assert_int_equal(parse(&c, text), -1);
    assert_string_equal(config_errors_text(&c),
                        "t.yaml:101:1: k42: duplicate key; the first is at t.yaml:43:1\n");
    assert_non_null(c.root);
    assert_text(child(c.root, "k42"), "v");
    config_free(&c);
}

static void test_faults_that_leave_a_tree(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"a:\n  b: 1\n  \"b\": 2\n", "t.yaml:3:3: a.b: duplicate key; the first is at t.yaml:2:3\n"},
        {"a: *nope\n", "t.yaml:1:4: a: no anchor \"&nope\" stands before this alias\n"},
        {"a: &a [1, *a]\n", "t.yaml:1:11: a[1]: \"*a\" would contain itself\n"},
        {"a: &a\n  <<: *a\n", "t.yaml:2:7: a.<<: \"*a\" would contain itself\n"},
        {"a: {<<: 5}\n", "t.yaml:1:9: a.<<: expected a map or a list of maps to merge, written <<: *name or "
                         "<<: [*a, *b]; found \"5\"\n"},
        {"a: {<<: [{b: 1}, no]}\n",
         "t.yaml:1:18: a.<<[1]: expected a map or a list of maps to merge, written "
         "<<: *name or <<: [*a, *b]; found \"no\"\n"},
        {"a: {[1]: 2}\n", "t.yaml:1:5: a: a key must be a word or a text\n"},
        {"a:\n  '': 3\n  \"${EMPTY}\": 2\n", "t.yaml:2:3: a: a key is missing before the \":\"\n"
                                             "t.yaml:3:3: a: a key is missing before the \":\"\n"},
        {"a: !thing x\n", "t.yaml:1:4: a: unknown tag \"!thing\"\n"},
        {"include: x.yaml\n", "t.yaml:1:1: include: only a file can include others\n"},
    };
    assert_refusals(refusals, COUNT_OF(refusals));
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct config c;
        parse(&c, refusals[i].text);
        assert_non_null(c.root);
        config_free(&c);
    }
}

static void test_syntax_errors_say_what_and_where(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"a: 1\n\tb: 2\n", "t.yaml:2:1: a tab cannot indent; use spaces\n"},
        {"a:\n\tb: 2\n", "t.yaml:2:1: a tab cannot indent; use spaces\n"},
        {"a: b: c\n", "t.yaml:1:5: a \":\" is not expected here (put the text in quotes, mind the "
                      "indentation, or the key above lacks its own)\n"},
        {"a: 1\nb: \"open\nc: 2\n", "t.yaml:2:4: this quote is never closed\n"},
        {"a: [1, 2\nb: 3\n", "t.yaml:2:2: expected \",\" or \"]\" in the list (put text with one of , : [ ] "
                             "{ } in quotes); it begins at 1:4\n"},
        {"a: [1, 2\n", "t.yaml:2:1: expected \",\" or \"]\" in the list (put text with one of , : [ ] { } in "
                       "quotes); it begins at 1:4\n"},
        {"a: {b: 1\n", "t.yaml:2:1: expected \",\" or \"}\" in the map (put text with one of , : [ ] { } in "
                       "quotes); it begins at 1:4\n"},
        {"a:\n  b: 1\n c: 2\n",
         "t.yaml:3:2: expected another key of the map (mind the indentation); it begins at 1:1\n"},
        {"a: @x\n", "t.yaml:1:4: text cannot begin with \"@\"; put it in quotes\n"},
        {"ü: @x\n", "t.yaml:1:4: text cannot begin with \"@\"; put it in quotes\n"},
        {"a: *.example\n",
         "t.yaml:1:4: an alias \"*name\" needs a name of letters and digits (put text that begins "
         "with \"*\" in quotes)\n"},
        {"a: \"\\q\"\n",
         "t.yaml:1:5: unknown escape behind \"\\\" in double quotes (write \\\\ for one backslash, "
         "or use single quotes)\n"},
        {"a: 1\nb: \xff\n", "t.yaml:2:4: this is not UTF-8 text\n"},
        {"a: \x01\n", "t.yaml:1:4: a control character is not allowed in the file\n"},
        {"a\nb: 1\n", "t.yaml:2:2: a \":\" is not expected here (put the text in quotes, mind the "
                      "indentation, or the key above lacks its own)\n"},
        {"a: 1\n---\nb: 2\n", "t.yaml:2:1: a second document begins here; a file holds one\n"},
        {"- a\n",
         "t.yaml:1:1: a configuration is a map, written \"name: value\" line by line; found a list\n"},
    };
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct config c;
        assert_int_equal(parse(&c, refusals[i].text), -1);
        assert_string_equal(config_errors_text(&c), refusals[i].errors);
        assert_null(c.root);
        config_free(&c);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Refused, with little work: `text` is freed. */
static void assert_cheap_refusal(char *text, const char *words)
{
    struct config c;
    double begin = seconds();
    assert_int_equal(parse(&c, text), -1);
    assert_true(seconds() - begin < 1.0 * test_scale());
    assert_null(c.root);
    assert_non_null(strstr(config_errors_text(&c), words));
    config_free(&c);
    free(text);
}

static void test_deep_nesting_is_refused_at_once(void **state)
{
    (void)state;
    const char *const units[] = {"[", "{a: ", "- ", "? ", "{<<: "};
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t len = strlen(units[i]), count = 200000;
        char *text = malloc(count * len + 4);
        memcpy(text, "a: ", 3);
        size_t used = i == 0 || i == 1 || i == 4 ? 3 : 0;
        for (size_t n = 0; n < count; n++, used += len)
            memcpy(text + used, units[i], len);
        text[used] = 0;
        assert_cheap_refusal(text, "nested too deep (64 levels at most)");
    }
}

static void test_sixty_four_levels_are_allowed(void **state)
{
    (void)state;
    char text[160] = "a: ";
    memset(text + 3, '[', 63);
    text[66] = '1';
    memset(text + 67, ']', 63);
    text[130] = 0;
    struct config c;
    assert_int_equal(parse(&c, text), 0);
    config_free(&c);
}

static void test_an_alias_may_not_nest_deeper_than_its_text_could(void **state)
{
    (void)state;
    char *text = calloc(1, 400);
    size_t used = (size_t)snprintf(text, 400, "a: &a ");
    memset(text + used, '[', 40);
    memset(text + used + 40, ']', 40);
    used += 80;
    used += (size_t)snprintf(text + used, 400 - used, "\nb: ");
    memset(text + used, '[', 30);
    used += 30;
    used += (size_t)snprintf(text + used, 400 - used, "*a");
    memset(text + used, ']', 30);
    assert_cheap_refusal(text, "nested too deep");
}

static void test_aliases_that_multiply_are_refused_at_once(void **state)
{
    (void)state;
    char *text = calloc(1, 1 << 20);
    size_t used = (size_t)snprintf(text, 1 << 20, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int level = 1; level < 60; level++) {
        used += (size_t)snprintf(text + used, (1 << 20) - used, "a%d: &a%d [", level, level);
        for (int i = 0; i < 1000; i++)
            used += (size_t)snprintf(text + used, (1 << 20) - used, "%s*a%d", i ? ", " : "", level - 1);
        used += (size_t)snprintf(text + used, (1 << 20) - used, "]\n");
    }
    assert_cheap_refusal(text, "aliases that multiply without end");
}

static void test_merge_keys_that_multiply_are_refused_at_once(void **state)
{
    (void)state;
    enum { LINES = 100000 };
    char *text = calloc(LINES + 1, 48);
    size_t used = (size_t)snprintf(text, 48, "m0: &m0 {k0: 1}\n");
    for (int i = 1; i < LINES; i++)
        used += (size_t)snprintf(text + used, 48, "m%d: &m%d {<<: *m%d, k%d: 1}\n", i, i, i - 1, i);
    assert_cheap_refusal(text, "multipl");
}

static void test_a_text_past_the_size_limit_is_refused(void **state)
{
    (void)state;
    size_t size = CONFIG_FILE_BYTES_MAX + 2;
    char *text = malloc(size);
    memset(text, '#', size - 1);
    text[size - 1] = 0;
    assert_cheap_refusal(text, "larger than 16 MiB");
}

static void test_merging_keeps_the_nearer_and_null_takes_away(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "base: {a: 1, b: {x: 1, y: 1}, c: [1, 2], d: 1, e: {z: 1}}\n"
                               "over: {b: {y: 2}, c: [3], d: null, e: true, f: 2, g: null}\n"),
                     0);
    struct config_node *base = config_get(c.root, "base"), *over = config_get(c.root, "over");
    struct config_node *m = config_merge(&c, base, over);
    assert_int_equal(m->count, 5);
    assert_text(child(m, "a"), "1");
    assert_text(child(child(m, "b"), "x"), "1");
    assert_text(child(child(m, "b"), "y"), "2");
    assert_int_equal(child(m, "c")->count, 1);
    assert_null(config_get(m, "d"));
    assert_text(child(m, "e"), "true");
    assert_text(child(m, "f"), "2");
    assert_string_equal(config_path(&c, child(m, "a")), "base.a");
    assert_ptr_equal(config_merge(&c, base, NULL), base);
    assert_ptr_equal(config_merge(&c, NULL, over), over);
    assert_null(config_merge(&c, NULL, NULL));
    assert_int_equal(base->count, 5);
    config_free(&c);
}

static void test_the_same_fault_at_the_same_place_is_told_once(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "a: 1\n"), 0);
    for (int i = 0; i < 3; i++)
        config_fault(&c, child(c.root, "a"), "is bad");
    config_fault_key(&c, child(c.root, "a"), "is\nworse \x1b[1m");
    config_warn(&c, child(c.root, "a"), "is odd");
    assert_string_equal(config_errors_text(&c),
                        "t.yaml:1:1: a: is\\x0aworse \\x1b[1m\nt.yaml:1:4: a: is bad\n");
    assert_string_equal(config_warnings_text(&c), "t.yaml:1:4: warning: a: is odd\n");
    config_free(&c);
}

static void test_faults_past_the_limit_are_counted(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(parse(&c, "a: 1\n"), 0);
    for (int i = 0; i < CONFIG_ERRORS_MAX + 7; i++)
        config_fault(&c, child(c.root, "a"), "fault %d", i);
    assert_int_equal(c.error_count, CONFIG_ERRORS_MAX);
    assert_non_null(strstr(config_errors_text(&c), "\n7 more faults are not shown\n"));
    config_free(&c);
}

static void test_suggestions_are_near_words_only(void **state)
{
    (void)state;
    static const char *const words[] = {
        "http", "tcp", "udp", "health_check", "round_robin", "least_connections", "max_connections"};
    const struct {
        const char *word, *nearest;
    } cases[] = {
        {"htpp", "http"},
        {"HTTP", "http"},
        {"tpc", "tcp"},
        {"helth_check", "health_check"},
        {"health-chekc", "health_check"},
        {"roundrobin", "round_robin"},
        {"leastconn", "least_connections"},
        {"least_conn", "least_connections"},
        {"max_conns", "max_connections"},
        {"least_cost", NULL},
        {"xy", NULL},
        {"", NULL},
        {"hxxp", NULL},
        {"healthy", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *found = config_suggest(slice_text(cases[i].word), words, COUNT_OF(words));
        if (cases[i].nearest)
            assert_string_equal(found, cases[i].nearest);
        else
            assert_null(found);
    }
}

/* A directory of files for the includes. */
struct files {
    char dir[64];
};

static void write_file(const struct files *f, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int load(struct config *c, const struct files *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    config_init(c);
    return config_load(c, path);
}

/* The errors without the directory. */
static void assert_errors(struct config *c, const struct files *f, const char *expected)
{
    char text[4096] = "";
    size_t used = 0, skip = strlen(f->dir) + 1;
    for (const char *p = config_errors_text(c); *p && used < sizeof text - 1;) {
        if (strncmp(p, f->dir, skip - 1) == 0)
            p += skip;
        else
            text[used++] = *p++;
    }
    text[used] = 0;
    assert_string_equal(text, expected);
}

static int make_files(void **state)
{
    struct files *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/weir-[test]-XXXXXX");
    char sub[128];
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(sub, sizeof sub, "%s/conf.d", f->dir);
    *state = f;
    return mkdir(sub, 0700);
}

static int remove_files(void **state)
{
    struct files *f = *state;
    static const char *const names[] = {"main.yaml", "conf.d/a.yaml", "conf.d/b.yaml", "conf.d", ""};
    char path[256];
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        remove(path);
    }
    free(f);
    return 0;
}

static void test_included_files_add_keys_and_entries(void **state)
{
    const struct files *f = *state;
    write_file(f, "main.yaml",
               "include: [conf.d/*.yaml, conf.d/none-*.yaml]\nroutes: [{n: 0}]\nlimits: {a: 1}\nlog:\n");
    write_file(f, "conf.d/a.yaml", "include: b.yaml\nroutes: [{n: 1}]\nupstreams: {x: 1}\n");
    write_file(f, "conf.d/b.yaml",
               "routes: [{n: 2}]\nupstreams: {y: 1}\nlimits: {b: 1}\nlog: {level: info}\n");
    struct config c;
    assert_int_equal(load(&c, f, "main.yaml"), 0);
    assert_null(config_get(c.root, "include"));
    const struct config_node *routes = child(c.root, "routes");
    assert_int_equal(routes->count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_text(child(routes->items[i], "n"), (const char *const[]){"0", "1", "2"}[i]);
    assert_int_equal(child(c.root, "upstreams")->count, 2);
    assert_int_equal(child(c.root, "limits")->count, 2);
    assert_text(child(child(c.root, "log"), "level"), "info");
    config_free(&c);
}

static void test_a_key_that_two_files_define_is_a_fault(void **state)
{
    const struct files *f = *state;
    write_file(f, "main.yaml", "include: conf.d/a.yaml\nworkers: 1\nupstreams:\n  api: {a: 1}\n");
    write_file(f, "conf.d/a.yaml", "workers: 2\nupstreams:\n  b: {}\n  api: {b: 1}\n");
    struct config c;
    assert_int_equal(load(&c, f, "main.yaml"), -1);
    assert_non_null(c.root);
    assert_int_equal(child(c.root, "upstreams")->count, 2);
    assert_errors(&c, f,
                  "conf.d/a.yaml:1:1: workers: defined in two files (first at main.yaml:2:1)\n"
                  "conf.d/a.yaml:4:3: upstreams.api: defined in two files (first at main.yaml:4:3)\n");
    config_free(&c);
}

static void test_an_include_cycle_is_refused(void **state)
{
    const struct files *f = *state;
    write_file(f, "main.yaml", "include: conf.d/a.yaml\n");
    write_file(f, "conf.d/a.yaml", "include:\n  - ../main.yaml\n");
    struct config c;
    assert_int_equal(load(&c, f, "main.yaml"), -1);
    assert_errors(&c, f, "conf.d/a.yaml:2:5: include[0]: conf.d/../main.yaml: includes itself\n");
    config_free(&c);
}

static void test_a_file_that_cannot_be_read_is_told_where_it_is_asked_for(void **state)
{
    const struct files *f = *state;
    write_file(f, "main.yaml", "a: 1\ninclude: [conf.d, nope.yaml, {}]\n");
    struct config c;
    assert_int_equal(load(&c, f, "main.yaml"), -1);
    assert_errors(
        &c, f,
        "main.yaml:2:11: include[0]: conf.d: cannot be read: Is a directory\n"
        "main.yaml:2:19: include[1]: \"nope.yaml\": there is no such file\n"
        "main.yaml:2:30: include[2]: expected a file or a pattern, written conf.d/*.yaml, or a list of them; "
        "found a map\n");
    assert_non_null(c.root);
    config_free(&c);
    assert_int_equal(load(&c, f, "nope.yaml"), -1);
    assert_errors(&c, f, "nope.yaml: cannot be read: No such file or directory\n");
    assert_null(c.root);
    config_free(&c);
}

static void test_a_syntax_error_in_an_included_file_leaves_no_tree(void **state)
{
    const struct files *f = *state;
    write_file(f, "main.yaml", "include: conf.d/a.yaml\na: 1\na: 2\n");
    write_file(f, "conf.d/a.yaml", "x: [1\n");
    struct config c;
    assert_int_equal(load(&c, f, "main.yaml"), -1);
    assert_null(c.root);
    assert_errors(&c, f,
                  "conf.d/a.yaml:2:1: expected \",\" or \"]\" in the list (put text with one of , : [ ] { } "
                  "in quotes); it begins at 1:4\n"
                  "main.yaml:3:1: a: duplicate key; the first is at main.yaml:2:1\n");
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_knows_where_its_key_and_its_value_stand),
        cmocka_unit_test(test_a_key_with_dots_is_quoted_in_a_path),
        cmocka_unit_test(test_only_unquoted_null_words_are_null),
        cmocka_unit_test(test_an_empty_text_is_an_empty_map),
        cmocka_unit_test(test_variables_in_capitals_come_from_the_environment),
        cmocka_unit_test(test_a_variable_that_is_nothing_is_null_unless_quoted),
        cmocka_unit_test(test_a_variable_that_cannot_be_had_is_a_fault_at_the_value),
        cmocka_unit_test(test_an_alias_is_a_node_of_its_own_and_shares_what_is_inside),
        cmocka_unit_test(test_merge_keys_add_what_is_not_there),
        cmocka_unit_test(test_large_maps_find_their_duplicates_too),
        cmocka_unit_test(test_faults_that_leave_a_tree),
        cmocka_unit_test(test_syntax_errors_say_what_and_where),
        cmocka_unit_test(test_deep_nesting_is_refused_at_once),
        cmocka_unit_test(test_sixty_four_levels_are_allowed),
        cmocka_unit_test(test_an_alias_may_not_nest_deeper_than_its_text_could),
        cmocka_unit_test(test_aliases_that_multiply_are_refused_at_once),
        cmocka_unit_test(test_merge_keys_that_multiply_are_refused_at_once),
        cmocka_unit_test(test_a_text_past_the_size_limit_is_refused),
        cmocka_unit_test(test_merging_keeps_the_nearer_and_null_takes_away),
        cmocka_unit_test(test_the_same_fault_at_the_same_place_is_told_once),
        cmocka_unit_test(test_faults_past_the_limit_are_counted),
        cmocka_unit_test(test_suggestions_are_near_words_only),
        cmocka_unit_test_setup_teardown(test_included_files_add_keys_and_entries, make_files, remove_files),
        cmocka_unit_test_setup_teardown(test_a_key_that_two_files_define_is_a_fault, make_files,
                                        remove_files),
        cmocka_unit_test_setup_teardown(test_an_include_cycle_is_refused, make_files, remove_files),
        cmocka_unit_test_setup_teardown(test_a_file_that_cannot_be_read_is_told_where_it_is_asked_for,
                                        make_files, remove_files),
        cmocka_unit_test_setup_teardown(test_a_syntax_error_in_an_included_file_leaves_no_tree, make_files,
                                        remove_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
