#include "tests/unit/balancer_fixture.h"

#include <sys/stat.h>

#include "balancer/discovery.h"
#include "core/log.h"

struct bench {
    struct loop loop;
    struct server_registry *registry;
    char folder[64], file[96];
};

static void set_up(struct bench *b)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->loop, 1), 0);
    b->registry = registry_create(&(struct registry_options){.loop = &b->loop, .dns_servers = "127.0.0.1:9"});
    assert_non_null(b->registry);
    snprintf(b->folder, sizeof b->folder, "/tmp/weir-discovery-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->file, sizeof b->file, "%s/servers.yaml", b->folder);
}

static void tear_down(struct bench *b)
{
    registry_free(b->registry);
    loop_free(&b->loop);
    unlink(b->file);
    rmdir(b->folder);
}

static void write_file(const struct bench *b, const char *text)
{
    char other[128];
    snprintf(other, sizeof other, "%s.new", b->file);
    FILE *f = fopen(other, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(other, b->file), 0);
}

static void make(struct fixture *f, struct bench *b, const char *entry)
{
    char text[512];
    snprintf(text, sizeof text, "servers: [%s]", entry);
    fixture_make(f, text, b->registry, 2);
    assert_int_equal(upstream_activate(f->upstream), 0);
}

static void make_from_file(struct fixture *f, struct bench *b, const char *more)
{
    char entry[256];
    snprintf(entry, sizeof entry, "{file: %s%s}", b->file, more);
    make(f, b, entry);
}

static struct found *by_hand(const char *text)
{
    struct backing *b = backing_create();
    struct server_settings s;
    assert_int_equal(config_parse_value(&b->config, "test", slice_text(text)), 0);
    assert_int_equal(option_apply(&b->config, &server_table, b->config.root, &s), 0);
    struct found *f = found_of(b, &s);
    backing_release(b);
    return f;
}

static void test_a_list_is_there_at_once_and_its_changes_follow(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    set_up(&b);
    write_file(&b, "[127.0.0.1:1, {address: 127.0.0.1:2, weight: 5}]");
    make_from_file(&f, &b, ", max_connections: 7, weight: 2");
    assert_int_equal(f.upstream->set->count, 2);
    assert_int_equal(server_weight(fixture_server(&f, "127.0.0.1:1")), 2 * SERVER_WEIGHT_SCALE);
    assert_int_equal(server_weight(fixture_server(&f, "127.0.0.1:2")), 5 * SERVER_WEIGHT_SCALE);
    struct server *stays = fixture_server(&f, "127.0.0.1:2");

    write_file(&b, "[127.0.0.1:2, {address: 127.0.0.1:3, backup: true}]");
    RUN_UNTIL(&b.loop, upstream_server(f.upstream, S("127.0.0.1:3")));
    assert_int_equal(f.upstream->set->count, 2);
    assert_int_equal(f.upstream->set->tiers[0].count, 1);
    assert_ptr_equal(fixture_server(&f, "127.0.0.1:2"), stays);
    assert_int_equal(server_weight(stays), 2 * SERVER_WEIGHT_SCALE);
    fixture_free(&f);
    tear_down(&b);
}

static void test_a_server_that_comes_back_is_the_same_and_others_are_forgotten_at_the_end(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    set_up(&b);
    write_file(&b, "[127.0.0.1:1, 127.0.0.1:2]");
    make_from_file(&f, &b, "");
    struct server *s = fixture_server(&f, "127.0.0.1:2");
    server_set_weight(s, 9);
    write_file(&b, "[127.0.0.1:1]");
    RUN_UNTIL(&b.loop, f.upstream->set->count == 1);
    assert_null(registry_find(b.registry, S("up"), S("127.0.0.1:2")));
    assert_int_equal(registry_count(b.registry), 1);
    assert_true(atomic_load(&s->retired));
    write_file(&b, "[127.0.0.1:1, 127.0.0.1:2]");
    RUN_UNTIL(&b.loop, f.upstream->set->count == 2);
    assert_ptr_equal(fixture_server(&f, "127.0.0.1:2"), s);
    assert_false(atomic_load(&s->retired));
    assert_int_equal(server_weight(s), 9 * SERVER_WEIGHT_SCALE);
    fixture_free(&f);
    tear_down(&b);
}

static void test_the_next_snapshot_begins_with_what_is_known(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two;
    set_up(&b);
    write_file(&b, "[127.0.0.1:1]");
    make_from_file(&one, &b, "");
    assert_int_equal(upstream_add_server(one.upstream, by_hand("{address: '127.0.0.1:8', weight: 3}")), 0);
    unlink(b.file);
    make_from_file(&two, &b, ", weight: 4");
    upstream_deactivate(one.upstream);
    assert_int_equal(two.upstream->set->count, 2);
    assert_int_equal(server_weight(fixture_server(&two, "127.0.0.1:1")), 4 * SERVER_WEIGHT_SCALE);
    assert_int_equal(server_weight(fixture_server(&two, "127.0.0.1:8")), 3 * SERVER_WEIGHT_SCALE);
    fixture_free(&one);
    fixture_free(&two);
    tear_down(&b);
}

static void test_what_is_done_by_hand_outlives_the_upstream(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two;
    set_up(&b);
    make(&one, &b, "127.0.0.1:1, 127.0.0.1:2");
    assert_int_equal(upstream_remove_server(one.upstream, S("127.0.0.1:2")), 0);
    assert_int_equal(upstream_remove_server(one.upstream, S("127.0.0.1:2")), -1);
    assert_int_equal(one.upstream->set->count, 1);
    fixture_free(&one);
    make(&two, &b, "127.0.0.1:1, 127.0.0.1:2");
    assert_int_equal(two.upstream->set->count, 1);
    assert_int_equal(upstream_add_server(two.upstream, by_hand("127.0.0.1:2")), 0);
    assert_string_equal(upstream_source(two.upstream, S("127.0.0.1:2")), "file");
    assert_int_equal(two.upstream->set->count, 2);
    fixture_free(&two);
    tear_down(&b);
}

static void test_a_dry_upstream_has_what_the_file_names_alone(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "servers: [127.0.0.1:1, {dns: 'a.example:80'}, {srv: _a._tcp.example}, {file: nowhere}]",
                 NULL, 1);
    assert_int_equal(f.upstream->set->count, 1);
    fixture_free(&f);
}

/* A list of `count` servers, without number `but`. */
static void write_many(const struct bench *b, unsigned count, unsigned but)
{
    char *text = malloc((size_t)count * 24 + 8), *at = text;
    assert_non_null(text);
    for (unsigned i = 0; i < count; i++)
        if (i != but)
            at += sprintf(at, "- 10.%u.%u.%u:80\n", i >> 16, i >> 8 & 255, i & 255);
    write_file(b, text);
    free(text);
}

/* Of this thread's work: others on the machine do not count. */
static usec_t micros(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (usec_t)t.tv_sec * 1000000 + (usec_t)t.tv_nsec / 1000;
}

/* Prints what an update costs the control thread; judged is only that it does not grow with the square. */
static usec_t update(unsigned count)
{
    struct bench b;
    struct fixture f;
    usec_t best = UINT64_MAX;
    set_up(&b);
    write_many(&b, count, 0);
    make_from_file(&f, &b, "");
    assert_int_equal(f.upstream->set->count, count - 1);
    for (unsigned turn = 0; turn < 10; turn++) {
        usec_t begin = micros();
        if (turn % 2)
            assert_int_equal(upstream_remove_server(f.upstream, S("192.0.2.1:80")), 0);
        else
            assert_int_equal(upstream_add_server(f.upstream, by_hand("192.0.2.1:80")), 0);
        usec_t took = micros() - begin;
        best = took < best ? took : best;
        assert_int_equal(f.upstream->set->count, count - turn % 2);
    }
    print_message("%u servers: one more or less takes %llu us\n", count, (unsigned long long)best);
    fixture_free(&f);
    tear_down(&b);
    return best;
}

static void test_an_update_grows_no_faster_than_the_list(void **state)
{
    (void)state;
    usec_t thousand = update(1000), many = update(10000);
    assert_true(many < 60 * (thousand + 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_list_is_there_at_once_and_its_changes_follow),
        cmocka_unit_test(test_a_server_that_comes_back_is_the_same_and_others_are_forgotten_at_the_end),
        cmocka_unit_test(test_the_next_snapshot_begins_with_what_is_known),
        cmocka_unit_test(test_what_is_done_by_hand_outlives_the_upstream),
        cmocka_unit_test(test_a_dry_upstream_has_what_the_file_names_alone),
        cmocka_unit_test(test_an_update_grows_no_faster_than_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
