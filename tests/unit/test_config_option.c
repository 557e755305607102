/* Option tables applied to files: what fills the structs, every fault with its place, schema and reference.
 */
#include "tests/unit/test_config_sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

static int apply(struct config *c, const char *text, struct sample *sample)
{
    config_init(c);
    config_parse(c, "weir.yaml", slice_text(text));
    assert_non_null(c->root);
    return option_apply(c, &sample_table, c->root, sample);
}

/* The text has these faults, and no others. */
static void assert_faults(const char *text, const char *expected)
{
    struct config c;
    struct sample sample;
    int rc = apply(&c, text, &sample);
    assert_string_equal(config_errors_text(&c), expected);
    assert_int_equal(rc, *expected ? -1 : 0);
    config_free(&c);
}

static void test_defaults_fill_what_the_file_leaves_out(void **state)
{
    (void)state;
    struct config c;
    struct sample sample;
    memset(&sample, 0xa5, sizeof sample);
    assert_int_equal(
        apply(&c, "listeners: {web: {bind: ':80'}}\nlimits:\nroutes: [{cache: true}]\n", &sample), 0);
    assert_int_equal(sample.workers, 0);
    assert_int_equal(sample.limits.connections, 65536);
    assert_false(sample.limits.connections_given);
    assert_int_equal(sample.limits.body_size, 1 << 20);
    assert_int_equal(sample.limits.idle_ms, 600000);
    assert_string_equal(sample.user.at, "nobody");
    assert_int_equal(sample.upstreams.count, 0);
    const struct sample_listener *web = sample.listeners.at;
    assert_int_equal(sample.listeners.count, 1);
    assert_string_equal(web->name.at, "web");
    assert_int_equal(web->bind.count, 1);
    assert_int_equal(web->protocol, 0);
    assert_int_equal(web->limits.idle_ms, 600000);
    assert_null(web->limits.node);
    assert_null(web->timeouts);
    const struct sample_route *route = sample.routes.at;
    assert_non_null(route->cache);
    assert_true(fabs(route->cache->share - 0.2) < 1e-12);
    assert_int_equal(route->cache->statuses.count, 2);
    assert_string_equal(route->cache->statuses.at[1].at, "301");
    config_free(&c);
}

static void test_the_file_fills_every_type(void **state)
{
    (void)state;
    struct config c;
    struct sample sample;
    assert_int_equal(
        apply(&c,
              "workers: 4\n"
              "limits: {connections: 10, body_size: 2k, idle: 5s}\n"
              "listeners:\n"
              "  a: {bind: [':80', ':81'], protocol: tcp, min_version: 1.3, timeouts: {x: y}}\n"
              "  b: {bind: ':82', limits: {idle: 1s}}\n"
              "upstreams:\n"
              "  api:\n"
              "    servers: ['10.0.0.1:80', {address: b, weight: 2}, {address: c, backup: true}]\n"
              "    health_check: {share: 0.5, statuses: 200}\n"
              "  one: {servers: 10.0.0.2:80, health_check: false}\n"
              "routes: {upstream: api, headers: {a: 1, b: x}, cache: false}\n",
              &sample),
        0);
    assert_int_equal(sample.workers, 4);
    assert_true(sample.limits.connections_given);
    assert_int_equal(sample.limits.connections, 10);
    assert_ptr_equal(sample.limits.node, config_get(c.root, "limits"));
    const struct sample_listener *listeners = sample.listeners.at;
    assert_int_equal(sample.listeners.count, 2);
    assert_int_equal(listeners[0].protocol, 1);
    assert_int_equal(listeners[0].version, 1);
    assert_int_equal(listeners[0].timeouts->kind, NODE_MAP);
    assert_int_equal(listeners[1].limits.idle_ms, 1000);
    assert_int_equal(listeners[1].limits.connections, 65536);
    const struct sample_upstream *upstreams = sample.upstreams.at;
    const struct sample_server *servers = upstreams[0].servers.at;
    assert_int_equal(upstreams[0].servers.count, 3);
    assert_string_equal(servers[0].address.at, "10.0.0.1:80");
    assert_int_equal(servers[0].weight, 1);
    assert_int_equal(servers[1].weight, 2);
    assert_true(servers[2].backup);
    assert_non_null(upstreams[0].health_check);
    assert_int_equal(upstreams[1].servers.count, 1);
    assert_null(upstreams[1].health_check);
    const struct sample_route *route = sample.routes.at;
    assert_int_equal(sample.routes.count, 1);
    assert_int_equal(route->headers.count, 2);
    assert_null(route->cache);
    config_free(&c);
}

static void test_ten_different_faults_are_ten_lines_right_to_the_column(void **state)
{
    (void)state;
    assert_faults(
        "workers: many\n"
        "limits:\n"
        "  connections: 0\n"
        "  idle: 10\n"
        "listeners:\n"
        "  web:\n"
        "    bind: [\":80\"]\n"
        "    protocol: htpp\n"
        "  wéb: {bind: [], limits: [1]}\n"
        "upstreams:\n"
        "  api:\n"
        "    helth_check: {}\n"
        "    servers:\n"
        "      - {address: a, backup: no}\n"
        "      - {address: b, zone: z}\n"
        "  api:\n"
        "    servers: [x]\n",
        "weir.yaml:1:10: workers: expected a whole number, written with digits alone, like 100; found "
        "\"many\"\n"
        "weir.yaml:3:16: limits.connections: \"0\" is too small (at least 1)\n"
        "weir.yaml:4:9: limits.idle: a duration needs a unit, written 500ms, 10s, 5m, 1h or 1d; did you "
        "mean \"10s\"?\n"
        "weir.yaml:8:15: listeners.web.protocol: unknown value \"htpp\" (one of: http, tcp, udp); did you "
        "mean \"http\"?\n"
        "weir.yaml:9:15: listeners.wéb.bind: may not be empty\n"
        "weir.yaml:9:27: listeners.wéb.limits: expected a map, written {name: value} or \"name: value\" line "
        "by line; found a list\n"
        "weir.yaml:12:5: upstreams.api.helth_check: unknown key; did you mean \"health_check\"?\n"
        "weir.yaml:14:30: upstreams.api.servers[0].backup: \"no\" is no boolean; write true or false, "
        "without quotes; did you mean false?\n"
        "weir.yaml:15:22: upstreams.api.servers[1].zone: not supported yet\n"
        "weir.yaml:16:3: upstreams.api: duplicate key; the first is at weir.yaml:11:3\n");
}

static void test_a_missing_key_is_told_at_its_map(void **state)
{
    (void)state;
    assert_faults("upstreams:\n  a:\n    health_check: false\n  b: {}\n  c:\n  d: {servers: null}\n",
                  "weir.yaml:3:5: upstreams.a: missing key \"servers\"\n"
                  "weir.yaml:4:6: upstreams.b: missing key \"servers\"\n"
                  "weir.yaml:5:5: upstreams.c: missing key \"servers\"\n"
                  "weir.yaml:6:6: upstreams.d: missing key \"servers\"\n");
    assert_faults("upstreams: {a: {servers: [{weight: 1}]}}\n",
                  "weir.yaml:1:27: upstreams.a.servers[0]: missing key \"address\"\n");
}

static void test_a_wrong_kind_says_how_it_is_written(void **state)
{
    (void)state;
    assert_faults(
        "listeners: [web]\nroutes: none\nupstreams: {a: {servers: [[x]]}, b: {servers: [null]}}\n"
        "user: [me]\n",
        "weir.yaml:1:12: listeners: expected a map of names, written \"name: …\" line by line; found a list\n"
        "weir.yaml:2:9: routes: expected a list of maps, written with \"- \" before each, or [{…}, {…}]; "
        "found "
        "\"none\"\n"
        "weir.yaml:3:27: upstreams.a.servers[0]: expected a map or just its address, written {address: …}; "
        "found a list\n"
        "weir.yaml:3:48: upstreams.b.servers[0]: expected a map or just its address, written {address: …}; "
        "found nothing\n"
        "weir.yaml:4:7: user: expected a text, written on one line, in quotes where it has special "
        "characters; found a list\n");
}

static void test_a_block_that_needs_keys_is_not_just_true(void **state)
{
    (void)state;
    assert_faults(
        "upstreams: {a: {servers: x, health_check: true}}\n",
        "weir.yaml:1:43: upstreams.a.health_check: true does not say enough; expected a map, written {name: "
        "value} or line by line\n");
}

static void test_planned_keys_are_refused_even_when_they_are_empty(void **state)
{
    (void)state;
    assert_faults("tests:\n", "weir.yaml:1:1: tests: not supported yet\n");
}

static void test_a_check_between_fields_is_run(void **state)
{
    (void)state;
    assert_faults("upstreams: {a: {servers: [{address: x, backup: true, weight: 2}]}}\n",
                  "weir.yaml:1:27: upstreams.a.servers[0]: a backup has no weight\n");
}

static void test_an_unset_variable_is_one_fault_alone(void **state)
{
    (void)state;
    assert_faults(
        "limits: {connections: \"${WEIR_TEST_UNSET}\"}\nupstreams: {a: {servers: *none}}\n",
        "weir.yaml:1:23: limits.connections: the environment has no variable WEIR_TEST_UNSET; set it, or "
        "write ${WEIR_TEST_UNSET:-default}\n"
        "weir.yaml:2:26: upstreams.a.servers: no anchor \"&none\" stands before this alias\n");
}

static void test_limits_are_told_in_their_units(void **state)
{
    (void)state;
    assert_faults("limits: {body_size: 2GiB, idle: 50ms}\n",
                  "weir.yaml:1:21: limits.body_size: \"2GiB\" is too large (at most 1GiB)\n"
                  "weir.yaml:1:33: limits.idle: \"50ms\" is too short (at least 100ms)\n");
}

static void test_a_shared_piece_has_its_fault_once(void **state)
{
    (void)state;
    assert_faults("x-base: &b\n  health_check: {shar: 1%}\n  servers: [a]\n"
                  "upstreams:\n  a: {<<: *b}\n  b: *b\n  c: {<<: *b, servers: [c]}\n",
                  "weir.yaml:2:18: x-base.health_check.shar: unknown key; did you mean \"share\"?\n");
}

static void test_a_faulty_field_keeps_its_default(void **state)
{
    (void)state;
    struct config c;
    struct sample sample;
    assert_int_equal(
        apply(&c, "limits: {connections: x, idle: 1s}\nroutes: [{cache: {statuses: []}}]\n", &sample), -1);
    assert_int_equal(sample.limits.connections, 65536);
    assert_int_equal(sample.limits.idle_ms, 1000);
    assert_int_equal(((struct sample_route *)sample.routes.at)->cache->statuses.count, 2);
    config_free(&c);
}

static void test_a_fault_that_aliases_repeat_costs_little(void **state)
{
    (void)state;
    enum { REPEATS = 300000 };
    char *text = malloc(REPEATS * 3 + 100);
    size_t used = (size_t)snprintf(text, 100, "x-r: &r {upstrem: 1}\nroutes: [*r");
    for (size_t i = 0; i < REPEATS; i++, used += 3)
        memcpy(text + used, ",*r", 3);
    text[used] = ']';
    text[used + 1] = 0;

    struct config c;
    struct sample sample;
    assert_int_equal(apply(&c, text, &sample), -1);
    assert_int_equal(c.error_count, 1);
    assert_true(c.arena.total < (size_t)REPEATS * 600);
    config_free(&c);
    free(text);
}

static void test_tables_apply_to_nothing(void **state)
{
    (void)state;
    struct config c;
    struct sample_upstream upstream;
    config_init(&c);
    assert_int_equal(option_apply(&c, &sample_upstream_table, NULL, &upstream), 0);
    assert_int_equal(upstream.servers.count, 0);
    assert_int_equal(c.error_count, 0);
    config_free(&c);
}

struct collected {
    char *text;
    size_t len;
};

static void collect(void *argument, const char *text, size_t len)
{
    struct collected *all = argument;
    all->text = realloc(all->text, all->len + len + 1);
    memcpy(all->text + all->len, text, len);
    all->len += len;
    all->text[all->len] = 0;
}

static json_t *walk(json_t *from, const char *path)
{
    char name[64];
    size_t used = 0;
    for (const char *p = path;; p++) {
        if (*p && *p != '/') {
            name[used++] = *p;
            continue;
        }
        name[used] = 0;
        used = 0;
        from = json_is_array(from) ? json_array_get(from, (size_t)atoi(name)) : json_object_get(from, name);
        if (!from)
            fail_msg("there is no %s in %s", name, path);
        if (!*p)
            return from;
    }
}

static void test_the_schema_is_json_with_shared_tables_once(void **state)
{
    (void)state;
    struct collected all = {0};
    json_error_t error;
    option_schema(&sample_table, collect, &all);
    json_t *schema = json_loads(all.text, JSON_REJECT_DUPLICATES, &error);
    if (!schema)
        fail_msg("%s at %d:%d", error.text, error.line, error.column);

    assert_string_equal(json_string_value(json_object_get(schema, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    assert_true(json_is_false(walk(schema, "additionalProperties")));
    assert_true(json_is_false(walk(schema, "$defs/limits/additionalProperties")));
    assert_string_equal(json_string_value(walk(schema, "properties/limits/anyOf/0/anyOf/0/$ref")),
                        "#/$defs/limits");
    assert_int_equal(json_integer_value(walk(schema, "$defs/limits/properties/connections/default")), 65536);
    assert_string_equal(json_string_value(walk(schema, "$defs/limits/properties/connections/description")),
                        "Clients at once.");
    assert_int_equal(json_array_size(walk(schema, "$defs/cache_of_a_route/properties/statuses/default")), 2);
    json_t *listener = walk(schema, "properties/listeners/anyOf/0/additionalProperties/anyOf/0");
    assert_string_equal(json_string_value(walk(listener, "required/0")), "bind");
    assert_string_equal(json_string_value(walk(listener, "properties/protocol/anyOf/0/enum/1")), "tcp");
    assert_null(json_object_get(walk(schema, "properties"), "tests"));
    assert_non_null(walk(schema, "properties/include"));
    json_decref(schema);
    free(all.text);
}

static void test_the_reference_has_a_heading_a_table_and_a_row_an_option(void **state)
{
    (void)state;
    struct collected all = {0};
    option_reference(&sample_table, collect, &all);
    const char *const lines[] = {
        "# weir.yaml\n\nThe whole file.\n\n| option | written | default | what it does |\n",
        "\n| `workers` | `auto` or a number | `auto` |  |\n",
        "\n| `limits` | [limits](#limits) |  |  |\n",
        "\n| `upstreams` | a map: name → [upstream](#upstream) |  |  |\n",
        "\n## limits\n\nWhat a client may ask for.\n\n",
        "\n| `idle` | a duration, 100ms to 1d | `10m` | Without a byte. |\n",
        "\n| `share` | a share: `20%` or `0.2`, at most 100% | `20%` | Of all \\| some. |\n",
        "\n| `cache` | [cache of a route](#cache-of-a-route), `true` or `false` |  |  |\n",
        "\n| `protocol` | `http`, `tcp`, `udp` | `http` |  |\n",
        "\n| `zone` |  |  | Not supported yet. Where it stands. |\n",
        "\nA value alone, without a map, is its `address`.\n",
        "\n| `address` | a text | required |  |\n",
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        if (!strstr(all.text, lines[i]))
            fail_msg("there is no %s in\n%s", lines[i], all.text);
    const char *first = strstr(all.text, "## limits");
    assert_null(strstr(first + 1, "## limits"));
    free(all.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_fill_what_the_file_leaves_out),
        cmocka_unit_test(test_the_file_fills_every_type),
        cmocka_unit_test(test_ten_different_faults_are_ten_lines_right_to_the_column),
        cmocka_unit_test(test_a_missing_key_is_told_at_its_map),
        cmocka_unit_test(test_a_wrong_kind_says_how_it_is_written),
        cmocka_unit_test(test_a_block_that_needs_keys_is_not_just_true),
        cmocka_unit_test(test_planned_keys_are_refused_even_when_they_are_empty),
        cmocka_unit_test(test_a_check_between_fields_is_run),
        cmocka_unit_test(test_an_unset_variable_is_one_fault_alone),
        cmocka_unit_test(test_limits_are_told_in_their_units),
        cmocka_unit_test(test_a_shared_piece_has_its_fault_once),
        cmocka_unit_test(test_a_faulty_field_keeps_its_default),
        cmocka_unit_test(test_a_fault_that_aliases_repeat_costs_little),
        cmocka_unit_test(test_tables_apply_to_nothing),
        cmocka_unit_test(test_the_schema_is_json_with_shared_tables_once),
        cmocka_unit_test(test_the_reference_has_a_heading_a_table_and_a_row_an_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
