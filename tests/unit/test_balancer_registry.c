#include "tests/unit/balancer_fixture.h"

#include "core/log.h"

/* A DNS server on a thread: answers every A question with the address, AAAA with nothing; no address =
 * NXDOMAIN. */
struct dns {
    pthread_t thread;
    int fd;
    char address[64];
    _Atomic uint32_t answer; /* network order; 0 = NXDOMAIN */
    _Atomic unsigned questions;
    _Atomic bool stop;
};

static size_t answer_question(struct dns *d, unsigned char *m, size_t len)
{
    uint32_t address = atomic_load(&d->answer);
    size_t end = 12;
    while (end < len && m[end])
        end += (size_t)m[end] + 1;
    end += 5;
    bool is_a = end <= len && m[end - 4] == 0 && m[end - 3] == 1;
    m[2] = 0x81;
    m[3] = address ? 0x80 : 0x83;
    memset(m + 6, 0, 6);
    if (!address || !is_a)
        return end;
    m[7] = 1;
    const unsigned char record[12] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4};
    memcpy(m + end, record, sizeof record);
    memcpy(m + end + sizeof record, &address, 4);
    return end + sizeof record + 4;
}

static void *dns_run(void *argument)
{
    struct dns *d = argument;
    while (!atomic_load(&d->stop)) {
        struct pollfd p = {.fd = d->fd, .events = POLLIN};
        unsigned char m[1024];
        struct sockaddr_in from;
        socklen_t from_len = sizeof from;
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = recvfrom(d->fd, m, 512, 0, (struct sockaddr *)&from, &from_len);
        if (n < 17)
            continue;
        atomic_fetch_add(&d->questions, 1);
        size_t len = answer_question(d, m, (size_t)n);
        (void)!sendto(d->fd, m, len, 0, (struct sockaddr *)&from, from_len);
    }
    return NULL;
}

static void dns_start(struct dns *d, const char *answer)
{
    *d = (struct dns){.fd = socket(AF_INET, SOCK_DGRAM, 0)};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(d->fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(d->fd, (struct sockaddr *)&a, &len), 0);
    snprintf(d->address, sizeof d->address, "127.0.0.1:%u", ntohs(a.sin_port));
    struct ip ip;
    if (answer && ip_parse(slice_text(answer), &ip) == 0) {
        uint32_t address;
        memcpy(&address, ip.bytes + 12, 4);
        atomic_store(&d->answer, address);
    }
    assert_int_equal(pthread_create(&d->thread, NULL, dns_run, d), 0);
}

static void dns_stop(struct dns *d)
{
    atomic_store(&d->stop, true);
    pthread_join(d->thread, NULL);
    close(d->fd);
}

struct bench {
    struct loop loop;
    struct server_registry *registry;
    unsigned changes;
};

static void on_change(struct server *s, void *argument)
{
    (void)s;
    ((struct bench *)argument)->changes++;
}

static void set_up(struct bench *b, const char *dns)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->loop, 1), 0);
    b->registry = registry_create(&(struct registry_options){
        .loop = &b->loop, .on_change = on_change, .argument = b, .dns_servers = dns, .resolve_interval = 50});
    assert_non_null(b->registry);
}

static void tear_down(struct bench *b)
{
    registry_free(b->registry);
    loop_free(&b->loop);
}

static void make(struct fixture *f, struct bench *b, const char *text, bool activate)
{
    fixture_make(f, text, b->registry, 1);
    if (activate)
        assert_int_equal(upstream_activate(f->upstream), 0);
}

static void test_state_survives_into_the_next_snapshot(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two;
    set_up(&b, NULL);
    make(&one, &b, "servers: [127.0.0.1:1, 127.0.0.1:2]", true);
    struct server *s = fixture_server(&one, "127.0.0.1:1");
    server_set_health(s, HEALTH_DOWN, "test", 1);
    server_set_weight(s, 7);
    assert_true(server_begin(s));

    make(&two, &b, "servers: [127.0.0.1:3, {address: 127.0.0.1:1, max_connections: 5}]", true);
    upstream_deactivate(one.upstream);
    assert_ptr_equal(fixture_server(&two, "127.0.0.1:1"), s);
    struct server_report r;
    server_report(s, &r);
    assert_int_equal(r.health, HEALTH_DOWN);
    assert_int_equal(r.weight, 7);
    assert_int_equal(r.file_weight, 1);
    assert_int_equal(r.in_flight, 1);
    assert_int_equal(r.max_connections, 5);
    assert_int_equal(registry_count(b.registry), 2);

    server_end(s);
    fixture_free(&one);
    fixture_free(&two);
    tear_down(&b);
}

static void test_a_hand_set_weight_lasts_until_the_file_has_another(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two, three;
    set_up(&b, NULL);
    make(&one, &b, "servers: [{address: 127.0.0.1:1, weight: 2}]", true);
    struct server *s = one.upstream->set->servers[0];
    server_set_weight(s, 9);
    make(&two, &b, "servers: [{address: 127.0.0.1:1, weight: 2}]", true);
    assert_int_equal(server_weight(s), 9 * SERVER_WEIGHT_SCALE);
    make(&three, &b, "servers: [{address: 127.0.0.1:1, weight: 4}]", true);
    assert_int_equal(server_weight(s), 4 * SERVER_WEIGHT_SCALE);
    fixture_free(&one);
    fixture_free(&two);
    fixture_free(&three);
    tear_down(&b);
}

static void test_a_snapshot_that_is_thrown_away_changes_nothing(void **state)
{
    (void)state;
    struct bench b;
    struct fixture live, tried, dry;
    set_up(&b, NULL);
    make(&live, &b, "servers: [{address: 127.0.0.1:1, weight: 2}]", true);
    struct server *s = live.upstream->set->servers[0];

    make(&tried, &b, "servers: [{address: 127.0.0.1:1, weight: 5, max_connections: 1}, 127.0.0.1:2]", false);
    assert_int_equal(server_weight(s), 2 * SERVER_WEIGHT_SCALE);
    fixture_free(&tried);
    fixture_make(&dry, "servers: [127.0.0.1:1, name.example:80]", NULL, 2);
    fixture_free(&dry);
    assert_int_equal(server_weight(s), 2 * SERVER_WEIGHT_SCALE);
    assert_int_equal(atomic_load(&s->max_connections), 0);
    assert_int_equal(registry_count(b.registry), 1);
    assert_int_equal(b.changes, 0);
    fixture_free(&live);
    tear_down(&b);
}

static void test_a_snapshot_taken_back_leaves_the_old_settings(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two;
    set_up(&b, NULL);
    make(&one, &b, "{servers: [{address: 127.0.0.1:1, weight: 2}], health_check: {interval: 1h}}", true);
    make(&two, &b, "{servers: [{address: 127.0.0.1:1, weight: 5}], health_check: {interval: 2h}}", true);
    assert_int_equal(server_weight(one.upstream->set->servers[0]), 5 * SERVER_WEIGHT_SCALE);
    fixture_free(&two);
    assert_int_equal(server_weight(one.upstream->set->servers[0]), 2 * SERVER_WEIGHT_SCALE);
    fixture_free(&one);
    tear_down(&b);
}

static void test_a_server_that_is_in_no_snapshot_is_retired_and_released(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two;
    set_up(&b, NULL);
    make(&one, &b, "servers: [127.0.0.1:1, 127.0.0.1:2]", true);
    make(&two, &b, "servers: [127.0.0.1:2]", true);
    struct server *gone = server_hold(fixture_server(&one, "127.0.0.1:1"));
    assert_false(atomic_load(&gone->retired));
    upstream_deactivate(one.upstream);
    assert_true(atomic_load(&gone->retired));
    assert_false(atomic_load(&fixture_server(&two, "127.0.0.1:2")->retired));
    assert_null(registry_find(b.registry, S("up"), S("127.0.0.1:1")));
    assert_int_equal(b.changes, 1);
    fixture_free(&one);
    assert_int_equal(atomic_load(&gone->references), 1);

    /* Its number is free with the last who holds it, which may be after everything. */
    uint32_t id = gone->id;
    struct server *next = server_create(registry_ids(b.registry), S("up"), S("127.0.0.1:9"));
    assert_int_not_equal(next->id, id);
    fixture_free(&two);
    tear_down(&b);
    server_release(gone);
    server_release(next);
}

static void test_two_snapshots_built_at_once_share_their_new_server(void **state)
{
    (void)state;
    struct bench b;
    struct fixture one, two;
    set_up(&b, NULL);
    make(&one, &b, "servers: [127.0.0.1:1]", false);
    make(&two, &b, "servers: [127.0.0.1:1]", false);
    assert_ptr_not_equal(one.upstream->set->servers[0], two.upstream->set->servers[0]);
    assert_int_equal(upstream_activate(one.upstream), 0);
    assert_int_equal(upstream_activate(two.upstream), 0);
    assert_ptr_equal(one.upstream->set->servers[0], two.upstream->set->servers[0]);
    const struct pick any = {0};
    struct server *s = upstream_pick(two.upstream, two.upstream->set, 0, &any, NULL);
    assert_ptr_equal(s, one.upstream->set->servers[0]);
    upstream_done(two.upstream, two.upstream->set, 0, s, NULL);
    fixture_free(&one);
    fixture_free(&two);
    tear_down(&b);
}

static void test_thousands_of_servers_are_found(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    set_up(&b, NULL);
    size_t size = 2000 * 16;
    char *text = malloc(size);
    size_t len = (size_t)snprintf(text, size, "servers: [");
    for (int i = 1; i <= 2000; i++)
        len += (size_t)snprintf(text + len, size - len, "'h:%d',", i);
    text[len - 1] = ']';
    make(&f, &b, text, true);
    assert_int_equal(registry_count(b.registry), 2000);
    assert_ptr_equal(registry_find(b.registry, S("up"), S("h:1999")), f.upstream->set->servers[1998]);
    assert_null(registry_find(b.registry, S("other"), S("h:1999")));
    free(text);
    fixture_free(&f);
    assert_int_equal(registry_count(b.registry), 0);
    tear_down(&b);
}

static struct server_report report(struct server *s)
{
    struct server_report r;
    server_report(s, &r);
    return r;
}

static bool is_at(struct server *s, const char *expected)
{
    struct address a;
    char text[ADDRESS_TEXT_MAX];
    if (!server_address(s, &a, NULL))
        return false;
    address_print(&a, text, sizeof text);
    return strcmp(text, expected) == 0;
}

static void test_a_name_is_looked_up_and_followed(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    struct dns d;
    dns_start(&d, "127.0.0.7");
    set_up(&b, d.address);
    make(&f, &b, "servers: [backend.test.example:8080]", true);
    struct server *s = f.upstream->set->servers[0];
    assert_false(server_usable(s));
    assert_string_equal(report(s).reason, "its name is not resolved yet");
    assert_string_equal(s->host.at, "backend.test.example");

    RUN_UNTIL(&b.loop, server_usable(s));
    assert_true(is_at(s, "127.0.0.7:8080"));
    assert_int_equal(b.changes, 1);

    struct in_addr other = {.s_addr = htonl(0x7f000008)};
    atomic_store(&d.answer, other.s_addr);
    RUN_UNTIL(&b.loop, is_at(s, "127.0.0.8:8080"));
    assert_int_equal(b.changes, 2);
    fixture_free(&f);
    tear_down(&b);
    dns_stop(&d);
}

static void test_a_failed_look_up_keeps_the_last_answer(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    struct dns d;
    dns_start(&d, "127.0.0.7");
    set_up(&b, d.address);
    make(&f, &b, "servers: [backend.test.example:8080]", true);
    struct server *s = f.upstream->set->servers[0];
    RUN_UNTIL(&b.loop, server_usable(s));

    atomic_store(&d.answer, 0);
    unsigned before = atomic_load(&d.questions);
    RUN_UNTIL(&b.loop, atomic_load(&d.questions) >= before + 6);
    assert_true(server_usable(s));
    assert_true(is_at(s, "127.0.0.7:8080"));
    assert_string_equal(report(s).state, "up");
    fixture_free(&f);
    tear_down(&b);
    dns_stop(&d);
}

static void test_a_name_that_does_not_resolve_is_down_with_the_reason_until_it_does(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    struct dns d;
    dns_start(&d, NULL);
    set_up(&b, d.address);
    make(&f, &b, "{servers: [backend.test.example:8080], health_check: {interval: 10ms}}", true);
    struct server *s = f.upstream->set->servers[0];
    RUN_UNTIL(&b.loop, strstr(report(s).reason, "its name does not resolve: "));
    assert_string_equal(report(s).state, "down");
    assert_false(server_usable(s));
    assert_false(report(s).checked);

    struct in_addr other = {.s_addr = htonl(0x7f000008)};
    atomic_store(&d.answer, other.s_addr);
    RUN_UNTIL(&b.loop, server_usable(s));
    fixture_free(&f);
    tear_down(&b);
    dns_stop(&d);
}

static void test_an_end_amid_a_look_up_is_clean(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    char silent[64];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    snprintf(silent, sizeof silent, "127.0.0.1:%u", ntohs(a.sin_port));
    set_up(&b, silent);
    make(&f, &b, "servers: [backend.test.example:8080, other.test.example:1]", true);
    RUN_UNTIL(&b.loop, recv(fd, &(char){0}, 1, MSG_DONTWAIT) > 0);
    fixture_free(&f);
    tear_down(&b);
    close(fd);
}

static void test_localhost_resolves_at_once_to_ipv4(void **state)
{
    (void)state;
    struct bench b;
    struct fixture f;
    set_up(&b, NULL);
    make(&f, &b, "servers: ['localhost:8080']", true);
    RUN_UNTIL(&b.loop, is_at(f.upstream->set->servers[0], "127.0.0.1:8080"));
    fixture_free(&f);
    tear_down(&b);
}

static void test_after_a_failed_connect_the_names_next_address_is_used(void **state)
{
    (void)state;
    struct server *s = server_create(NULL, S("up"), S("name.example:80"));
    struct address a[3] = {{0}};
    const char *texts[] = {"127.0.0.1:80", "127.0.0.2:80", "127.0.0.3:80"};
    struct slice host;
    uint16_t port;
    const char *why;
    for (int i = 0; i < 3; i++)
        address_parse(slice_text(texts[i]), &a[i], &host, &port, &why);
    uint32_t version;
    struct address now;
    server_set_addresses(s, a, 3);
    assert_true(server_address(s, &now, &version) && address_equal(&now, &a[0]));
    server_address_failed(s, version);
    server_address_failed(s, version); /* another connection to the same one */
    assert_true(is_at(s, "127.0.0.2:80"));

    /* Still among the answers: it stays, and so does its version. */
    server_address(s, &now, &version);
    server_set_addresses(s, &a[1], 2);
    assert_true(is_at(s, "127.0.0.2:80"));
    assert_int_equal(atomic_load(&s->address_version), version);
    server_set_addresses(s, &a[2], 1);
    assert_true(is_at(s, "127.0.0.3:80"));
    server_release(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_survives_into_the_next_snapshot),
        cmocka_unit_test(test_a_hand_set_weight_lasts_until_the_file_has_another),
        cmocka_unit_test(test_a_snapshot_that_is_thrown_away_changes_nothing),
        cmocka_unit_test(test_a_snapshot_taken_back_leaves_the_old_settings),
        cmocka_unit_test(test_a_server_that_is_in_no_snapshot_is_retired_and_released),
        cmocka_unit_test(test_two_snapshots_built_at_once_share_their_new_server),
        cmocka_unit_test(test_thousands_of_servers_are_found),
        cmocka_unit_test(test_a_name_is_looked_up_and_followed),
        cmocka_unit_test(test_a_failed_look_up_keeps_the_last_answer),
        cmocka_unit_test(test_a_name_that_does_not_resolve_is_down_with_the_reason_until_it_does),
        cmocka_unit_test(test_an_end_amid_a_look_up_is_clean),
        cmocka_unit_test(test_localhost_resolves_at_once_to_ipv4),
        cmocka_unit_test(test_after_a_failed_connect_the_names_next_address_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
