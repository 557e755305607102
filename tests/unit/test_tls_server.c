#include "tests/unit/tls_peer.h"

#include <openssl/ocsp.h>

#include "tls/keys.h"

static struct made authority, stranger;
static struct tls_tickets *tickets;
static struct tls_client *trusting; /* verifies nothing */

static void make_and_forget(struct make m)
{
    made_free(make_certificate(m));
}

static int set_up(void **state)
{
    if (make_directory(state) != 0)
        return -1;
    authority = make_certificate((struct make){.file = "ca", .cn = "test authority", .ca = true});
    stranger = make_certificate((struct make){.file = "stranger", .cn = "another authority", .ca = true});
    const struct made *ca = &authority;
    make_and_forget((struct make){
        .file = "one", .cn = "one", .names = "DNS:one.example,DNS:www.one.example", .issuer = ca});
    make_and_forget((struct make){.file = "wild", .cn = "wild", .names = "DNS:*.wild.example", .issuer = ca});
    make_and_forget(
        (struct make){.file = "exact", .cn = "exact", .names = "DNS:a.wild.example", .issuer = ca});
    make_and_forget((struct make){.file = "cn", .cn = "CN.Example", .issuer = ca});
    make_and_forget((struct make){
        .file = "one-rsa", .cn = "one-rsa", .names = "DNS:one.example", .issuer = ca, .rsa = true});
    make_and_forget((struct make){.file = "ip", .cn = "ip", .names = "IP:127.0.0.1,IP:::1", .issuer = ca});
    make_and_forget(
        (struct make){.file = "old", .cn = "old", .names = "DNS:one.example", .issuer = ca, .expired = true});
    make_and_forget((struct make){.file = "alice", .cn = "alice", .issuer = ca});
    make_and_forget((struct make){.file = "mallory", .cn = "mallory", .issuer = &stranger});
    tickets = tls_tickets_create();
    trusting = client_of(&(struct tls_client_settings){.node = &root_node});
    return 0;
}

static int tear_down(void **state)
{
    tls_client_free(trusting);
    tls_tickets_free(tickets);
    made_free(authority);
    made_free(stranger);
    return remove_directory(state);
}

static void assert_slice(struct slice s, const char *text)
{
    if (!slice_equal(s, slice_text(text)))
        fail_msg("\"%.*s\" is not \"%s\"", SLICE_FMT(s), text);
}

/* The common name of the certificate that the client sees under a name. */
static void peer_name(struct pair *p, char out[64])
{
    const struct tls_state *state = p->client.conn.transport_state;
    X509 *x = SSL_get0_peer_certificate(state->ssl);
    assert_non_null(x);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out, 64);
}

static void assert_serves(struct tls_server *server, const char *name, const char *cn, unsigned index)
{
    struct pair p;
    pair_open(&p);
    pair_join(&p, server, trusting, name, S(""));
    pair_settle(&p);
    assert_true(p.client.connected && p.server.connected);
    char got[64];
    peer_name(&p, got);
    assert_string_equal(got, cn);
    assert_int_equal(tls_info(&p.server.conn)->certificate, index);
    pair_close(&p);
}

static void test_the_name_chooses_exact_then_wildcard_then_first(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one"), entry("wild"), entry("exact"), entry("cn")};
    struct tls_server_settings s = settings_of(entries, 4);
    struct tls_server *server = server_of(&s, tickets);
    assert_serves(server, "one.example", "one", 0);
    assert_serves(server, "WWW.one.example", "one", 0);
    assert_serves(server, "b.wild.example", "wild", 1);
    assert_serves(server, "a.wild.example", "exact", 2);
    assert_serves(server, "cn.example", "CN.Example", 3);
    assert_serves(server, "b.b.wild.example", "one", 0); /* a wildcard is one label */
    assert_serves(server, "wild.example", "one", 0);
    assert_serves(server, "nobody.example", "one", 0);
    assert_serves(server, "", "one", 0);

    assert_true(tls_server_covers(server, S("B.wild.example")));
    assert_true(tls_server_covers(server, S("*.wild.example")));
    assert_true(tls_server_covers(server, S("one.example.")));
    assert_false(tls_server_covers(server, S("b.b.wild.example")));
    assert_false(tls_server_covers(server, S(".wild.example")));
    assert_false(tls_server_covers(server, S("")));
    tls_server_free(server);
}

static void test_rsa_and_ecdsa_for_one_name_are_both_offered(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one"), entry("one-rsa")};
    struct tls_server_settings s = settings_of(entries, 2);
    struct tls_server *server = server_of(&s, tickets);
    const char *const wishes[][2] = {{"ECDSA+SHA256", "one"}, {"RSA-PSS+SHA256:RSA+SHA256", "one-rsa"}};
    for (size_t i = 0; i < 2; i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct pair p;
            pair_open(&p);
            pair_join(&p, server, trusting, "one.example", S(""));
            SSL *ssl = ((struct tls_state *)p.client.conn.transport_state)->ssl;
            SSL_set1_sigalgs_list(ssl, wishes[i][0]);
            SSL_set_max_proto_version(ssl, version);
            if (version == TLS1_2_VERSION)
                SSL_set_cipher_list(ssl, i ? "ECDHE-RSA-AES128-GCM-SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256");
            pair_settle(&p);
            assert_true(p.client.connected);
            char got[64];
            peer_name(&p, got);
            assert_string_equal(got, wishes[i][1]);
            pair_close(&p);
        }
    }
    tls_server_free(server);
}

static void test_alpn_goes_by_the_servers_order(void **state)
{
    (void)state;
    struct slice protocols[] = {S("h2"), S("http/1.1")};
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    s.alpn = (struct option_texts){protocols, NULL, 2};
    struct tls_server *server = server_of(&s, tickets);
    const struct {
        struct slice offered;
        const char *chosen; /* NULL = refused */
    } cases[] = {
        {S("\x08http/1.1\x02h2"), "h2"},
        {S("\x08http/1.1"), "http/1.1"},
        {S(""), ""},
        {S("\x03smb\x02h3"), NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pair p;
        pair_open(&p);
        pair_join(&p, server, trusting, "one.example", cases[i].offered);
        pair_settle(&p);
        if (cases[i].chosen) {
            assert_slice(tls_info(&p.server.conn)->alpn, cases[i].chosen);
            assert_slice(tls_info(&p.client.conn)->alpn, cases[i].chosen);
        } else {
            assert_true(p.server.failed && p.client.failed);
            assert_string_equal(p.server.failure, "no application protocol (ALPN) in common");
            assert_string_equal(p.client.failure, "peer sent alert: no application protocol");
        }
        pair_close(&p);
    }
    tls_server_free(server);
}

/* Client certificates. */

static struct tls_client *client_with(const char *name)
{
    static char cert[32], key[32];
    snprintf(cert, sizeof cert, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    return client_of(
        &(struct tls_client_settings){.node = &root_node, .cert = slice_text(cert), .key = slice_text(key)});
}

static void test_client_certificates_are_demanded_as_configured(void **state)
{
    (void)state;
    const struct {
        int verify;
        const char *client; /* NULL = none */
        bool good;
        const char *cn, *failure;
    } cases[] = {
        {TLS_VERIFY_REQUIRE, "alice", true, "alice", ""},
        {TLS_VERIFY_REQUIRE, NULL, false, "", "the peer showed no certificate"},
        {TLS_VERIFY_REQUIRE, "mallory", false, "", "unable to get local issuer certificate"},
        {TLS_VERIFY_OPTIONAL, "alice", true, "alice", ""},
        {TLS_VERIFY_OPTIONAL, NULL, true, "", ""},
        {TLS_VERIFY_OPTIONAL, "mallory", false, "", "unable to get local issuer certificate"},
        {TLS_VERIFY_OFF, "alice", true, "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tls_certificate_settings entries[] = {entry("one")};
        struct tls_server_settings s = settings_of(entries, 1);
        s.client_ca = S("ca.pem");
        s.client_verify = cases[i].verify;
        struct tls_server *server = server_of(&s, tickets);
        struct tls_client *client = cases[i].client ? client_with(cases[i].client) : NULL;
        struct pair p;
        pair_open(&p);
        pair_join(&p, server, client ? client : trusting, "one.example", S(""));
        RUN_UNTIL(&p.loop, p.server.connected || p.server.failed);
        run_some(&p.loop);
        assert_int_equal(p.server.connected, cases[i].good);
        assert_string_equal(p.server.failure, cases[i].failure);
        if (cases[i].good) {
            assert_slice(tls_info(&p.server.conn)->client_cn, cases[i].cn);
            assert_int_equal(tls_info(&p.server.conn)->client_verified, cases[i].cn[0] != 0);
        } else {
            assert_true(p.client.failed);
            assert_true(strstr(p.client.failure, "peer sent alert: ") == p.client.failure);
        }
        pair_close(&p);
        tls_client_free(client);
        tls_server_free(server);
    }
}

/* A secret host beside a public one: neither a ticket of the public one nor its policy number opens it. */
static void test_a_names_policy_binds_its_sessions(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one"), entry("exact")};
    entries[1].client_ca = S("ca.pem");
    entries[1].client_verify = TLS_VERIFY_REQUIRE;
    struct tls_server_settings s = settings_of(entries, 2);
    struct tls_server *server = server_of(&s, tickets);
    assert_true(tls_server_policy(server, S("one.example")) !=
                tls_server_policy(server, S("A.wild.example")));
    assert_true(tls_server_policy(server, S("one.example")) == tls_server_policy(server, S("other.example")));

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct loop loop;
        assert_int_equal(loop_init(&loop, 0), 0);
        struct raw raw = raw_client(version);
        SSL_SESSION *session = NULL;
        for (int round = 0; round < 3; round++) {
            struct side side = {0};
            int fds[2];
            socket_pair(fds);
            conn_open(&side.conn, &loop, fds[0], &side_handler);
            assert_int_equal(tls_server_accept(server, 0, &side.conn), 0);
            raw_on(&raw, fds[1], round < 2 ? "one.example" : "a.wild.example");
            if (session)
                SSL_set_session(raw.ssl, session);
            raw_handshake(&raw, &loop, &side);
            RUN_UNTIL(&loop, side.connected || side.failed);
            if (round < 2) {
                assert_true(side.connected);
                assert_int_equal(tls_info(&side.conn)->resumed, round == 1);
                assert_int_equal(tls_info(&side.conn)->policy, tls_server_policy(server, S("one.example")));
                side_write(&side, "x");
                char got[1];
                assert_int_equal(raw_read(&raw, &loop, got, 1), SSL_ERROR_NONE);
                SSL_SESSION_free(session);
                session = SSL_get1_session(raw.ssl);
                SSL_shutdown(raw.ssl);
            } else {
                assert_true(side.failed);
                assert_false(side.connected);
            }
            side_end(&side);
            pass(&loop);
        }
        SSL_SESSION_free(session);
        raw_free(&raw);
        loop_free(&loop);
    }
    tls_server_free(server);
}

/* Resumption. */

static bool connects_resumed(struct tls_server *server, struct tls_client *client)
{
    struct pair p;
    pair_open(&p);
    pair_join(&p, server, client, "one.example", S(""));
    pair_settle(&p);
    assert_true(p.server.connected && p.client.connected);
    side_write(&p.server, "x");
    RUN_UNTIL(&p.loop, p.client.got_len == 1);
    bool resumed = tls_info(&p.server.conn)->resumed;
    assert_int_equal(tls_info(&p.client.conn)->resumed, resumed);
    if (tls_info(&p.server.conn)->policy != tls_server_policy(server, S("one.example")))
        fail_msg("another policy");
    pair_close(&p);
    return resumed;
}

static void test_tickets_work_across_servers_that_share_keys(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    struct tls_server *first = server_of(&s, tickets), *second = server_of(&s, tickets);
    struct tls_tickets *others = tls_tickets_create();
    struct tls_server *foreign = server_of(&s, others);
    struct tls_client *client =
        client_of(&(struct tls_client_settings){.node = &root_node, .verify = true, .ca = S("ca.pem")});
    assert_false(connects_resumed(first, client));
    assert_true(connects_resumed(first, client));
    assert_true(connects_resumed(second, client));
    assert_false(connects_resumed(foreign, client));
    tls_server_free(first);
    tls_server_free(second);
    tls_server_free(foreign);
    tls_tickets_free(others);
    tls_client_free(client);
}

static void test_rotated_keys_decrypt_twice_more(void **state)
{
    (void)state;
    struct tls_tickets *own = tls_tickets_create();
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    struct tls_server *server = server_of(&s, own);
    for (int rotations = 0; rotations <= 3; rotations++) {
        struct tls_client *client = client_of(&(struct tls_client_settings){.node = &root_node});
        assert_false(connects_resumed(server, client));
        for (int i = 0; i < rotations; i++)
            assert_int_equal(tls_tickets_rotate(own), 0);
        assert_int_equal(connects_resumed(server, client), rotations < 3);
        tls_client_free(client);
    }
    struct tls_client *client = client_of(&(struct tls_client_settings){.node = &root_node});
    assert_false(connects_resumed(server, client));
    tls_tickets_refresh(own, 1000);
    tls_tickets_refresh(own, 1000 + TLS_TICKET_ROTATION_MS - 1);
    for (msec_t i = 1; i <= 2; i++)
        tls_tickets_refresh(own, 1000 + i * TLS_TICKET_ROTATION_MS);
    assert_true(connects_resumed(server, client));
    for (msec_t i = 3; i <= 5; i++)
        tls_tickets_refresh(own, 1000 + i * TLS_TICKET_ROTATION_MS);
    assert_false(connects_resumed(server, client));
    tls_client_free(client);
    tls_server_free(server);
    tls_tickets_free(own);
}

static void test_ticket_keys_of_a_file_are_shared_by_machines(void **state)
{
    (void)state;
    char keys[240];
    for (size_t i = 0; i < sizeof keys; i++)
        keys[i] = (char)(i * 31);
    write_file("new.keys", keys, 160);
    write_file("old.keys", keys + 80, 80);
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    struct slice name = S("old.keys");
    s.ticket_keys = (struct option_texts){&name, NULL, 1};
    struct tls_server *machine = server_of(&s, tickets);
    name = S("new.keys");
    struct tls_server *another = server_of(&s, NULL);
    struct tls_client *client = client_of(&(struct tls_client_settings){.node = &root_node});
    assert_false(connects_resumed(machine, client));
    assert_true(connects_resumed(another, client));  /* by the second key */
    assert_false(connects_resumed(machine, client)); /* made anew by the first, which it has not */
    tls_client_free(client);
    tls_server_free(machine);
    tls_server_free(another);
}

static void test_without_tickets_a_workers_cache_resumes(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    s.session_tickets = false;
    struct tls_server *server = server_of(&s, tickets), *other = server_of(&s, tickets);
    struct tls_client *client = client_of(&(struct tls_client_settings){.node = &root_node});
    assert_false(connects_resumed(server, client));
    assert_true(connects_resumed(server, client));
    assert_false(connects_resumed(other, client));
    tls_client_free(client);
    tls_server_free(server);
    tls_server_free(other);
}

static void test_a_resumed_session_keeps_the_clients_certificate(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    s.client_ca = S("ca.pem");
    s.client_verify = TLS_VERIFY_REQUIRE;
    struct tls_server *server = server_of(&s, tickets);
    struct tls_client *client = client_with("alice");
    for (int round = 0; round < 2; round++) {
        struct pair p;
        pair_open(&p);
        pair_join(&p, server, client, "one.example", S(""));
        pair_settle(&p);
        side_write(&p.server, "x");
        RUN_UNTIL(&p.loop, p.client.got_len == 1);
        assert_int_equal(tls_info(&p.server.conn)->resumed, round);
        assert_slice(tls_info(&p.server.conn)->client_cn, "alice");
        assert_true(tls_info(&p.server.conn)->client_verified);
        pair_close(&p);
    }
    tls_client_free(client);
    tls_server_free(server);
}

/* The client's view of servers. */

static void test_a_servers_certificate_is_verified(void **state)
{
    (void)state;
    const struct {
        const char *cert, *name, *ca, *configured, *failure; /* NULL = connected */
    } cases[] = {
        {"one", "one.example", "ca.pem", "", NULL},
        {"one", "one.example.", "ca.pem", "", NULL},
        {"one", "two.example", "ca.pem", "", "hostname mismatch"},
        {"one", "10.0.0.1", "ca.pem", "one.example", NULL},
        {"one", "one.example", "stranger.pem", "", "unable to get local issuer certificate"},
        {"one", "one.example", "one.pem", "", NULL}, /* pinned */
        {"old", "one.example", "ca.pem", "", "certificate has expired"},
        {"ip", "127.0.0.1", "ca.pem", "", NULL},
        {"ip", "[::1]", "ca.pem", "", NULL},
        {"ip", "127.0.0.2", "ca.pem", "", "IP address mismatch"},
        {"wild", "a.wild.example", "ca.pem", "", NULL},
        {"wild", "a.b.wild.example", "ca.pem", "", "hostname mismatch"},
        {"one", "one.example", "", "", "unable to get local issuer certificate"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tls_certificate_settings entries[] = {entry(cases[i].cert)};
        struct tls_server_settings s = settings_of(entries, 1);
        struct tls_server *server = server_of(&s, tickets);
        struct tls_client *client = client_of(&(struct tls_client_settings){
            .node = &root_node,
            .verify = true,
            .ca = slice_text(cases[i].ca),
            .server_name = slice_text(cases[i].configured),
        });
        struct pair p;
        pair_open(&p);
        pair_join(&p, server, client, cases[i].name, S(""));
        RUN_UNTIL(&p.loop, p.client.connected || p.client.failed);
        if (cases[i].failure)
            assert_string_equal(p.client.failure, cases[i].failure);
        else
            assert_true(p.client.connected);
        run_some(&p.loop);
        if (cases[i].failure)
            assert_true(p.server.failed || p.server.eof);
        pair_close(&p);
        tls_client_free(client);
        tls_server_free(server);
    }
}

static void test_without_a_name_nothing_is_verified_and_nothing_connects(void **state)
{
    (void)state;
    struct tls_client *client =
        client_of(&(struct tls_client_settings){.node = &root_node, .verify = true, .ca = S("ca.pem")});
    struct loop loop;
    loop_init(&loop, 0);
    int fds[2];
    socket_pair(fds);
    struct side side = {0};
    conn_open(&side.conn, &loop, fds[0], &side_handler);
    assert_int_equal(tls_client_connect(client, 0, &side.conn, S(""), S("")), -1);
    assert_int_equal(errno, EINVAL);
    assert_null(side.conn.transport);
    side_end(&side);
    close(fds[1]);
    loop_free(&loop);
    tls_client_free(client);
}

/* Loading. */

static void assert_refused(const struct tls_server_settings *s, size_t faults, const char *words)
{
    struct config c;
    config_init(&c);
    assert_null(tls_server_create(&c, NULL, s, 2, tickets));
    if (c.error_count != faults || !strstr(config_errors_text(&c), words))
        fail_msg("%zu faults, \"%s\" not in: %s", c.error_count, words, config_errors_text(&c));
    config_free(&c);
}

static void test_every_fault_of_a_listener_is_told(void **state)
{
    (void)state;
    struct tls_certificate_settings good[] = {entry("one")};
    struct tls_server_settings s = settings_of(good, 1);
    s.ciphers = S("NO-SUCH-CIPHER");
    s.ciphersuites = S("TLS_NONE");
    struct slice curve = S("P-1");
    s.curves = (struct option_texts){&curve, NULL, 1};
    assert_refused(&s, 3, "\"P-1\"");
    assert_refused(&s, 3, "no cipher");

    struct tls_certificate_settings bad[] = {entry("missing"), entry("one"), entry("wild")};
    bad[1].key = S("wild.key");
    bad[2].cert = S("wild.key");
    s = settings_of(bad, 3);
    assert_refused(&s, 4, "missing.pem: No such file or directory");
    assert_refused(&s, 4, "does not match the certificate in");
    assert_refused(&s, 4, "wild.key holds no certificate that can be used: no PEM block");

    s = settings_of(good, 1);
    s.client_verify = TLS_VERIFY_REQUIRE;
    s.client_ca = S("one.key");
    assert_refused(&s, 1, "holds no certificates");
    write_file("short.keys", "too short", 9);
    struct slice keys = S("short.keys");
    s = settings_of(good, 1);
    s.ticket_keys = (struct option_texts){&keys, NULL, 1};
    assert_refused(&s, 1, "has 9 bytes");
    s = settings_of(NULL, 0);
    assert_refused(&s, 1, "needs certificates");

    struct config c;
    config_init(&c);
    struct tls_client_settings client = {
        .node = &root_node, .verify = true, .ca = S("nothing"), .cert = S("one.pem"), .key = S("wild.key")};
    assert_null(tls_client_create(&c, NULL, &client, 1));
    assert_int_equal(c.error_count, 2);
    config_free(&c);
}

static void test_an_expired_certificate_is_a_warning(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("old")};
    struct tls_server_settings s = settings_of(entries, 1);
    struct config c;
    config_init(&c);
    struct tls_server *server = tls_server_create(&c, NULL, &s, 1, NULL);
    assert_non_null(server);
    assert_int_equal(c.warning_count, 1);
    assert_non_null(strstr(config_warnings_text(&c), "expired on"));
    tls_server_free(server);
    config_free(&c);
}

static void test_certificates_are_described(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one"), entry("one-rsa"), entry("ip")};
    struct tls_server_settings s = settings_of(entries, 3);
    struct tls_server *server = server_of(&s, tickets);
    const struct tls_certificate *all;
    assert_int_equal(tls_server_certificates(server, &all), 3);
    assert_slice(all[0].subject, "CN=one");
    assert_slice(all[0].issuer, "CN=test authority");
    assert_int_equal(all[0].name_count, 2);
    assert_slice(all[0].names[1], "www.one.example");
    assert_string_equal(all[0].key_type, "EC");
    assert_int_equal(all[0].key_bits, 256);
    assert_true(strstr(all[0].file, "/one.pem") != NULL);
    assert_true(all[0].not_after - all[0].not_before == 86400 + 7200);
    assert_int_equal(strlen(all[0].fingerprint), 64);
    assert_string_equal(all[1].key_type, "RSA");
    assert_int_equal(all[1].key_bits, 2048);
    assert_slice(all[2].names[0], "127.0.0.1");
    assert_slice(all[2].names[1], "::1");
    tls_server_free(server);
}

static void test_a_changed_file_is_noticed(void **state)
{
    (void)state;
    make_and_forget((struct make){.file = "fresh", .cn = "fresh", .names = "DNS:fresh.example"});
    struct tls_certificate_settings entries[] = {entry("fresh")};
    struct tls_server_settings s = settings_of(entries, 1);
    struct tls_server *server = server_of(&s, tickets);
    assert_false(tls_server_changed(server));
    write_file("fresh.pem.ocsp", "", 0); /* was looked for, and is there now */
    assert_true(tls_server_changed(server));
    char path[128];
    snprintf(path, sizeof path, "%s/fresh.pem.ocsp", directory);
    unlink(path);
    assert_false(tls_server_changed(server));
    make_and_forget((struct make){.file = "fresh", .cn = "fresh again", .names = "DNS:fresh.example"});
    assert_true(tls_server_changed(server));
    tls_server_free(server);
}

static void test_a_self_signed_certificate_is_kept_across_reloads(void **state)
{
    (void)state;
    struct slice names[] = {S("localhost"), S("*.Local.example"), S("127.0.0.1")};
    struct tls_server_settings s = settings_of(NULL, 0);
    s.self_signed = (struct option_texts){names, NULL, 3};
    struct tls_server *first = server_of(&s, tickets), *second = server_of(&s, tickets),
                      *check = server_of(&s, NULL);
    s.self_signed.count = 2;
    struct tls_server *other = server_of(&s, tickets);
    const struct tls_certificate *a, *b, *c, *d;
    tls_server_certificates(first, &a);
    tls_server_certificates(second, &b);
    tls_server_certificates(check, &c);
    tls_server_certificates(other, &d);
    assert_string_equal(a->fingerprint, b->fingerprint);
    assert_string_not_equal(a->fingerprint, c->fingerprint);
    assert_string_not_equal(a->fingerprint, d->fingerprint);
    assert_null(a->file);
    assert_true(tls_server_covers(first, S("x.local.example")));
    assert_true(tls_server_covers(first, S("127.0.0.1")));

    /* A client that pins it is satisfied. */
    struct slice pem;
    assert_int_equal(tls_tickets_self_signed(tickets, names, 3, &pem), 0);
    write_file("pinned.pem", pem.at, pem.len);
    struct tls_client *client =
        client_of(&(struct tls_client_settings){.node = &root_node, .verify = true, .ca = S("pinned.pem")});
    struct pair p;
    pair_open(&p);
    pair_join(&p, second, client, "127.0.0.1", S(""));
    pair_settle(&p);
    assert_string_equal(p.client.failure, "");
    assert_true(p.client.connected);
    pair_close(&p);
    tls_client_free(client);
    tls_server_free(first);
    tls_server_free(second);
    tls_server_free(check);
    tls_server_free(other);
}

/* A response by the authority about `one.pem`, good for `seconds`. */
static void write_ocsp(const struct made *about, const char *file, int seconds)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), about->cert, authority.cert);
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *next = X509_gmtime_adj(NULL, seconds);
    assert_non_null(OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, now, next));
    assert_int_equal(OCSP_basic_sign(basic, authority.cert, authority.key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    unsigned char *der = NULL;
    int len = i2d_OCSP_RESPONSE(response, &der);
    write_file(file, der, (size_t)len);
    OPENSSL_free(der);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
}

static long stapled(struct tls_server *server)
{
    struct pair p;
    pair_open(&p);
    struct tls_client *fresh = client_of(&(struct tls_client_settings){.node = &root_node});
    pair_join(&p, server, fresh, "stapled.example", S(""));
    SSL *ssl = ((struct tls_state *)p.client.conn.transport_state)->ssl;
    SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp);
    pair_settle(&p);
    assert_true(p.client.connected);
    const unsigned char *response;
    long len = SSL_get_tlsext_status_ocsp_resp(ssl, &response);
    pair_close(&p);
    tls_client_free(fresh);
    return len;
}

static void test_an_ocsp_response_beside_the_certificate_is_stapled(void **state)
{
    (void)state;
    struct made made = make_certificate((struct make){
        .file = "stapled", .cn = "stapled", .names = "DNS:stapled.example", .issuer = &authority});
    struct tls_certificate_settings entries[] = {entry("stapled")};
    struct tls_server_settings s = settings_of(entries, 1);

    struct tls_server *server = server_of(&s, tickets);
    assert_int_equal(stapled(server), -1);
    tls_server_free(server);

    write_ocsp(&made, "stapled.pem.ocsp", 3600);
    server = server_of(&s, tickets);
    assert_true(stapled(server) > 100);
    tls_server_free(server);

    write_ocsp(&made, "stapled.pem.ocsp", -10);
    struct config c;
    config_init(&c);
    server = tls_server_create(&c, NULL, &s, 1, tickets);
    assert_non_null(strstr(config_warnings_text(&c), "out of date"));
    config_free(&c);
    assert_int_equal(stapled(server), -1);
    tls_server_free(server);

    write_ocsp(&authority, "stapled.pem.ocsp", 3600);
    config_init(&c);
    server = tls_server_create(&c, NULL, &s, 1, tickets);
    assert_non_null(strstr(config_warnings_text(&c), "not about this certificate"));
    config_free(&c);
    tls_server_free(server);
    made_free(made);
}

static void test_min_version_1_3_refuses_1_2(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    s.min_version = TLS_MIN_1_3;
    struct tls_server *server = server_of(&s, tickets);
    struct pair p;
    pair_open(&p);
    pair_join(&p, server, trusting, "one.example", S(""));
    SSL_set_max_proto_version(((struct tls_state *)p.client.conn.transport_state)->ssl, TLS1_2_VERSION);
    pair_settle(&p);
    assert_true(p.server.failed);
    assert_string_equal(p.client.failure, "peer sent alert: protocol version");
    pair_close(&p);
    tls_server_free(server);
}

/* What a TLS 1.3 client with that list gets. */
static void assert_suite(struct tls_server *server, const char *clients, const char *suite)
{
    struct pair p;
    pair_open(&p);
    pair_join(&p, server, trusting, "one.example", S(""));
    SSL_set_ciphersuites(((struct tls_state *)p.client.conn.transport_state)->ssl, clients);
    pair_settle(&p);
    assert_true(p.server.connected && p.client.connected);
    struct slice got = tls_info(&p.server.conn)->cipher;
    assert_true(slice_equal(got, slice_text(suite)));
    pair_close(&p);
}

static void test_the_servers_order_of_suites_counts_but_chacha_first_is_heeded(void **state)
{
    (void)state;
    static const char aes128[] = "TLS_AES_128_GCM_SHA256", aes256[] = "TLS_AES_256_GCM_SHA384",
                      chacha[] = "TLS_CHACHA20_POLY1305_SHA256";
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    struct tls_server *server = server_of(&s, tickets);
    assert_suite(server, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
                 aes128);
    assert_suite(server, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", aes256);
    assert_suite(server, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", chacha);
    tls_server_free(server);

    s.ciphersuites = S("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256");
    server = server_of(&s, tickets);
    assert_suite(server, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", aes256);
    tls_server_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_name_chooses_exact_then_wildcard_then_first),
        cmocka_unit_test(test_rsa_and_ecdsa_for_one_name_are_both_offered),
        cmocka_unit_test(test_alpn_goes_by_the_servers_order),
        cmocka_unit_test(test_client_certificates_are_demanded_as_configured),
        cmocka_unit_test(test_a_names_policy_binds_its_sessions),
        cmocka_unit_test(test_tickets_work_across_servers_that_share_keys),
        cmocka_unit_test(test_rotated_keys_decrypt_twice_more),
        cmocka_unit_test(test_ticket_keys_of_a_file_are_shared_by_machines),
        cmocka_unit_test(test_without_tickets_a_workers_cache_resumes),
        cmocka_unit_test(test_a_resumed_session_keeps_the_clients_certificate),
        cmocka_unit_test(test_a_servers_certificate_is_verified),
        cmocka_unit_test(test_without_a_name_nothing_is_verified_and_nothing_connects),
        cmocka_unit_test(test_every_fault_of_a_listener_is_told),
        cmocka_unit_test(test_an_expired_certificate_is_a_warning),
        cmocka_unit_test(test_certificates_are_described),
        cmocka_unit_test(test_a_changed_file_is_noticed),
        cmocka_unit_test(test_a_self_signed_certificate_is_kept_across_reloads),
        cmocka_unit_test(test_an_ocsp_response_beside_the_certificate_is_stapled),
        cmocka_unit_test(test_min_version_1_3_refuses_1_2),
        cmocka_unit_test(test_the_servers_order_of_suites_counts_but_chacha_first_is_heeded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
