#include "tests/unit/tls_peer.h"

#include <openssl/ssl.h>

/* One server and one client for all tests. */
static struct made authority;
static struct tls_tickets *tickets;
static struct tls_server *server;
static struct tls_client *client;

static int set_up(void **state)
{
    if (make_directory(state) != 0)
        return -1;
    authority = make_certificate((struct make){.file = "ca", .cn = "test authority", .ca = true});
    made_free(make_certificate(
        (struct make){.file = "one", .cn = "one", .names = "DNS:one.example", .issuer = &authority}));
    tickets = tls_tickets_create();
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    server = server_of(&s, tickets);
    client = client_of(&(struct tls_client_settings){.node = &root_node, .verify = true, .ca = S("ca.pem")});
    return 0;
}

static int tear_down(void **state)
{
    tls_client_free(client);
    tls_server_free(server);
    tls_tickets_free(tickets);
    made_free(authority);
    return remove_directory(state);
}

/* A server's side with a raw client at the other end. */
struct scene {
    struct loop loop;
    struct side side;
    struct raw raw;
};

static void scene_on(struct scene *s, int version, void pair(int[2]))
{
    *s = (struct scene){.raw = raw_client(version)};
    assert_int_equal(loop_init(&s->loop, 0), 0);
    int fds[2];
    pair(fds);
    assert_int_equal(conn_open(&s->side.conn, &s->loop, fds[0], &side_handler), 0);
    assert_int_equal(tls_server_accept(server, 0, &s->side.conn), 0);
    raw_on(&s->raw, fds[1], "one.example");
}

static void scene_open(struct scene *s, int version)
{
    scene_on(s, version, socket_pair);
}

static void scene_close(struct scene *s)
{
    side_end(&s->side);
    pass(&s->loop);
    loop_free(&s->loop);
    raw_free(&s->raw);
}

static const struct tls_state *state_of(const struct side *s)
{
    assert_ptr_equal(s->conn.transport, &tls_transport);
    return s->conn.transport_state;
}

static void assert_text(struct slice s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.at, text, s.len);
}

static void exchange_under(int version, const char *name)
{
    struct scene s;
    scene_open(&s, version);
    assert_null(tls_info(&s.side.conn));
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    const struct tls_info *info = tls_info(&s.side.conn);
    assert_non_null(info);
    assert_text(info->version, name);
    assert_text(info->cipher, SSL_get_cipher_name(s.raw.ssl));
    assert_text(info->sni, "one.example");
    assert_false(info->resumed);
    assert_false(info->client_verified);
    assert_int_equal(info->alpn.len, 0);

    assert_int_equal(SSL_write(s.raw.ssl, "question", 8), 8);
    RUN_UNTIL(&s.loop, s.side.got_len == 8);
    assert_memory_equal(s.side.got, "question", 8);
    side_write(&s.side, "answer");
    char got[6];
    assert_int_equal(raw_read(&s.raw, &s.loop, got, 6), SSL_ERROR_NONE);
    assert_memory_equal(got, "answer", 6);
    scene_close(&s);
}

static void test_bytes_go_both_ways_under_tls_1_3(void **state)
{
    (void)state;
    exchange_under(TLS1_3_VERSION, "TLSv1.3");
}

static void test_bytes_go_both_ways_under_tls_1_2(void **state)
{
    (void)state;
    exchange_under(TLS1_2_VERSION, "TLSv1.2");
}

/* A pair of ours with a slow wire between. */
static void slow_wire(size_t step, size_t len)
{
    struct pair p;
    pair_open(&p);
    int near[2], far[2];
    socket_pair(near);
    socket_pair(far);
    assert_int_equal(conn_open(&p.server.conn, &p.loop, near[0], &side_handler), 0);
    assert_int_equal(conn_open(&p.client.conn, &p.loop, far[0], &side_handler), 0);
    assert_int_equal(tls_server_accept(server, 0, &p.server.conn), 0);
    assert_int_equal(tls_client_connect(client, 0, &p.client.conn, S("one.example"), S("")), 0);
    char *text = malloc(len);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i * 7 + i / 251);
    p.server.source = p.client.source = text;
    p.server.source_len = p.client.source_len = len;
    for (int i = 0; i < 200000 && (p.server.got_len < len || p.client.got_len < len); i++) {
        move(near[1], far[1], step);
        move(far[1], near[1], step);
        pass(&p.loop);
        assert_false(p.server.failed || p.client.failed);
    }
    assert_int_equal(p.server.got_len, len);
    assert_int_equal(p.client.got_len, len);
    assert_memory_equal(p.server.got, text, len);
    assert_memory_equal(p.client.got, text, len);
    close(near[1]);
    close(far[1]);
    free(text);
    pair_close(&p);
}

static void test_a_wire_of_single_bytes_is_enough(void **state)
{
    (void)state;
    slow_wire(1, 3000);
}

static void test_records_may_be_cut_anywhere(void **state)
{
    (void)state;
    slow_wire(1023, 60000);
    slow_wire(7777, 100000);
}

static void say_hello(struct side *s)
{
    side_write(s, "hello behind the handshake");
}

/* The client's last flight and its first data arrive in one segment. */
static void test_data_behind_the_handshake_is_not_lost(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    int near[2], far[2];
    socket_pair(near);
    socket_pair(far);
    assert_int_equal(conn_open(&p.server.conn, &p.loop, near[0], &side_handler), 0);
    assert_int_equal(conn_open(&p.client.conn, &p.loop, far[0], &side_handler), 0);
    assert_int_equal(tls_server_accept(server, 0, &p.server.conn), 0);
    assert_int_equal(tls_client_connect(client, 0, &p.client.conn, S("one.example"), S("")), 0);
    p.client.on_connected = say_hello;
    for (int i = 0; i < 100 && !p.client.connected; i++) {
        move(near[1], far[1], 70000);
        if (!p.client.connected)
            move(far[1], near[1], 70000);
        run_some(&p.loop);
    }
    assert_true(p.client.connected);
    assert_false(p.server.connected);
    move(far[1], near[1], 70000);
    RUN_UNTIL(&p.loop, p.server.got_len);
    assert_memory_equal(p.server.got, "hello behind the handshake", 26);
    close(near[1]);
    close(far[1]);
    pair_close(&p);
}

static void test_eight_megabytes_cross_both_ways_under_back_pressure(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_join(&p, server, client, "one.example", S(""));
    size_t len = 8u << 20;
    char *text = malloc(len);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i ^ i >> 9);
    p.server.source = p.client.source = text;
    p.server.source_len = p.client.source_len = len;
    p.server.read_limit = p.client.read_limit = 1;
    size_t highest = 0;
    for (int i = 0; i < 100000 && (p.server.got_len < len || p.client.got_len < len); i++) {
        pass(&p.loop);
        if (conn_backlog(&p.server.conn) > highest)
            highest = conn_backlog(&p.server.conn);
        if (i % 3 == 0)
            conn_want_read(&p.server.conn, true);
        if (i % 4 == 0)
            conn_want_read(&p.client.conn, true);
    }
    assert_int_equal(p.server.got_len, len);
    assert_int_equal(p.client.got_len, len);
    assert_memory_equal(p.server.got, text, len);
    assert_memory_equal(p.client.got, text, len);
    assert_true(highest > CONN_LOW_WATER && highest < CONN_HIGH_WATER + 110000);
    free(text);
    pair_close(&p);
}

static void test_an_idle_connection_owns_no_buffer(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    assert_int_equal(SSL_write(s.raw.ssl, "x", 1), 1);
    RUN_UNTIL(&s.loop, s.side.got_len == 1);
    assert_null(state_of(&s.side)->left);
    assert_null(s.side.conn.kept);
    assert_false(s.side.conn.transport_pending);
    scene_close(&s);
}

/* The caller's buffer is full long before the records are used up: the rest must come without an edge. */
static void test_what_is_pending_is_told_without_an_edge(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    s.side.read_limit = 1;
    char text[40000];
    memset(text, 'a', sizeof text);
    for (int i = 0; i < 2; i++)
        assert_int_equal(SSL_write(s.raw.ssl, text, 16000), 16000);
    RUN_UNTIL(&s.loop, s.side.paused);
    assert_int_equal(s.side.got_len, 32000); /* both records by one call */
    assert_false(s.side.conn.transport_pending);

    /* As a handler does that holds much already: little room is left. */
    assert_int_equal(conn_keep(&s.side.conn, slice_of(NULL, 0)), 0);
    s.side.got_len = 0;
    char *much = calloc(1, LOOP_READ_BUFFER - 100);
    assert_int_equal(conn_keep(&s.side.conn, slice_of(much, LOOP_READ_BUFFER - 100)), 0);
    free(much);
    for (int i = 0; i < 2; i++)
        assert_int_equal(SSL_write(s.raw.ssl, text, 16000), 16000);
    struct slice in;
    run_some(&s.loop);
    assert_int_equal(conn_read(&s.side.conn, &in), CONN_DATA);
    assert_int_equal(in.len, LOOP_READ_BUFFER);
    assert_true(s.side.conn.transport_pending || s.side.conn.can_read);
    assert_int_equal(conn_keep(&s.side.conn, slice_of(NULL, 0)), 0);
    s.side.read_limit = 0;
    conn_want_read(&s.side.conn, true);
    RUN_UNTIL(&s.loop, s.side.got_len >= 31900);
    assert_int_equal(s.side.got_len, 31900);
    scene_close(&s);
}

static void test_close_notify_is_a_clean_end(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct scene s;
        scene_open(&s, version);
        assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
        SSL_write(s.raw.ssl, "last words", 10);
        SSL_shutdown(s.raw.ssl);
        RUN_UNTIL(&s.loop, s.side.eof);
        assert_int_equal(s.side.got_len, 10);
        assert_false(s.side.truncated);
        /* The other direction is open still. */
        side_write(&s.side, "answer");
        char got[6];
        assert_int_equal(version == TLS1_3_VERSION ? raw_read(&s.raw, &s.loop, got, 6) : 0, SSL_ERROR_NONE);
        scene_close(&s);
    }
}

static void test_an_end_without_close_notify_is_told(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    SSL_write(s.raw.ssl, "last words", 10);
    shutdown(s.raw.fd, SHUT_WR);
    RUN_UNTIL(&s.loop, s.side.eof);
    assert_int_equal(s.side.got_len, 10);
    assert_true(s.side.truncated);
    assert_false(s.side.failed);
    scene_close(&s);
}

static void test_half_a_record_and_the_end_is_truncated(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    static const unsigned char half[] = {23, 3, 3, 0, 100, 1, 2, 3};
    assert_int_equal(send(s.raw.fd, half, sizeof half, MSG_NOSIGNAL), sizeof half);
    shutdown(s.raw.fd, SHUT_WR);
    RUN_UNTIL(&s.loop, s.side.eof || s.side.failed);
    assert_true(s.side.eof && s.side.truncated);
    scene_close(&s);
}

static void test_a_forged_record_breaks_the_connection_and_an_alert_says_so(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    static const unsigned char forged[] = {23, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                           9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    assert_int_equal(send(s.raw.fd, forged, sizeof forged, MSG_NOSIGNAL), sizeof forged);
    RUN_UNTIL(&s.loop, s.side.failed);
    assert_int_equal(s.side.error, EPROTO);
    assert_true(s.side.failure[0]);
    char got[1];
    assert_int_equal(raw_read(&s.raw, &s.loop, got, 1), SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    scene_close(&s);
}

static void test_shutdown_sends_close_notify_and_reading_goes_on(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    side_write(&s.side, "bye");
    conn_shutdown(&s.side.conn);
    char got[4];
    assert_int_equal(raw_read(&s.raw, &s.loop, got, 4), SSL_ERROR_ZERO_RETURN);
    assert_memory_equal(got, "bye", 3);
    SSL_write(s.raw.ssl, "still here", 10);
    SSL_shutdown(s.raw.ssl);
    RUN_UNTIL(&s.loop, s.side.eof);
    assert_int_equal(s.side.got_len, 10);
    assert_false(s.side.truncated);
    scene_close(&s);
}

/* A client that half-closes at once gets its tickets behind that. */
static void test_tickets_after_our_close_notify_do_no_harm(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_join(&p, server, client, "one.example", S(""));
    RUN_UNTIL(&p.loop, p.client.connected);
    conn_shutdown(&p.client.conn);
    RUN_UNTIL(&p.loop, p.server.eof);
    side_write(&p.server, "answer");
    conn_shutdown(&p.server.conn);
    RUN_UNTIL(&p.loop, p.client.eof || p.client.failed);
    assert_true(p.client.eof && !p.client.truncated);
    assert_int_equal(p.client.got_len, 6);
    pair_close(&p);
}

static void test_plain_http_on_a_tls_port_has_its_own_words(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    send(s.raw.fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, MSG_NOSIGNAL);
    RUN_UNTIL(&s.loop, s.side.failed);
    assert_int_equal(s.side.error, EPROTO);
    assert_string_equal(s.side.failure, "plain HTTP on a TLS port");
    assert_true(s.side.conn.closed);
    scene_close(&s);
}

static void test_an_end_in_the_handshake_is_a_failure(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    static const unsigned char part[] = {22, 3, 1, 1, 0, 1, 0, 0};
    send(s.raw.fd, part, sizeof part, MSG_NOSIGNAL);
    run_some(&s.loop);
    assert_false(s.side.failed);
    shutdown(s.raw.fd, SHUT_WR);
    RUN_UNTIL(&s.loop, s.side.failed);
    assert_int_equal(s.side.error, ECONNRESET);
    assert_string_equal(s.side.failure, "the peer closed the connection during the handshake");
    scene_close(&s);
}

static void test_a_failed_handshake_sends_its_alert(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    SSL_set_min_proto_version(s.raw.ssl, TLS1_1_VERSION);
    SSL_set_max_proto_version(s.raw.ssl, TLS1_1_VERSION);
    SSL_set_security_level(s.raw.ssl, 0);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    RUN_UNTIL(&s.loop, s.side.failed);
    assert_string_equal(s.side.failure, "no TLS version in common");
    scene_close(&s);
}

/* A socket that is closed with bytes unread resets the connection, and the alert would be lost. */
static void test_the_alert_survives_what_the_peer_sent_meanwhile(void **state)
{
    (void)state;
    struct scene s;
    scene_on(&s, TLS1_3_VERSION, tcp_pair);
    SSL_set_min_proto_version(s.raw.ssl, TLS1_1_VERSION);
    SSL_set_max_proto_version(s.raw.ssl, TLS1_1_VERSION);
    SSL_set_security_level(s.raw.ssl, 0);
    SSL_do_handshake(s.raw.ssl);
    char more[20000] = {0};
    assert_int_equal(send(s.raw.fd, more, sizeof more, MSG_NOSIGNAL), sizeof more);
    RUN_UNTIL(&s.loop, s.side.failed);
    ERR_clear_error();
    assert_int_equal(SSL_do_handshake(s.raw.ssl), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    char byte;
    assert_int_equal(recv(s.raw.fd, &byte, 1, 0), 0); /* no ECONNRESET */
    scene_close(&s);
}

static void test_errors_of_others_in_the_queue_do_no_harm(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    for (int i = 0; i < 20; i++) {
        ERR_raise(ERR_LIB_PEM, PEM_R_BAD_DECRYPT);
        pass(&s.loop);
        SSL_do_handshake(s.raw.ssl);
    }
    assert_true(s.side.connected);
    ERR_clear_error();
    SSL_write(s.raw.ssl, "x", 1);
    RUN_UNTIL(&s.loop, s.side.got_len == 1);
    ERR_raise(ERR_LIB_PEM, PEM_R_BAD_DECRYPT);
    static const unsigned char part[] = {23, 3, 3};
    send(s.raw.fd, part, sizeof part, MSG_NOSIGNAL);
    run_some(&s.loop);
    assert_false(s.side.failed);
    scene_close(&s);
}

/* The lengths of the records that lie in the socket. */
static size_t record_lengths(int fd, size_t *out, size_t max)
{
    static unsigned char bytes[400000];
    size_t len = 0, count = 0;
    ssize_t n;
    while ((n = recv(fd, bytes + len, sizeof bytes - len, 0)) > 0)
        len += (size_t)n;
    for (size_t at = 0; at + 5 <= len && count < max; count++) {
        out[count] = (size_t)(bytes[at + 3] << 8 | bytes[at + 4]);
        at += 5 + out[count];
    }
    return count;
}

static void test_a_head_and_a_body_share_one_record(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    size_t lengths[64];
    record_lengths(s.raw.fd, lengths, 64);
    struct iovec iov[] = {{"HTTP/1.1 200 OK\r\n", 17}, {"a: b\r\n\r\n", 8}, {"body", 4}};
    uint64_t sent = s.side.conn.bytes_out;
    assert_int_equal(conn_write(&s.side.conn, iov, 3), 0);
    assert_int_equal(record_lengths(s.raw.fd, lengths, 64), 1);
    assert_int_equal(lengths[0], 17 + 8 + 4 + 17);
    assert_int_equal(s.side.conn.bytes_out - sent, lengths[0] + 5);
    scene_close(&s);
}

static void test_records_are_small_at_first_and_full_later(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    int size = 400000;
    setsockopt(s.side.conn.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    size_t lengths[64];
    record_lengths(s.raw.fd, lengths, 64);
    char *body = calloc(1, 100000);
    struct iovec iov[] = {{"head", 4}, {body, 100000}};
    assert_int_equal(conn_write(&s.side.conn, iov, 2), 0);
    size_t count = record_lengths(s.raw.fd, lengths, 64);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(lengths[i], 4096 + 17);
    assert_int_equal(lengths[4], 16384 + 17);
    assert_int_equal(count, 4 + (100004 - 16384 + 16383) / 16384);
    free(body);
    scene_close(&s);
}

static void test_key_updates_are_answered_but_not_without_end(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    SSL_key_update(s.raw.ssl, SSL_KEY_UPDATE_REQUESTED);
    SSL_write(s.raw.ssl, "fresh", 5);
    RUN_UNTIL(&s.loop, s.side.got_len == 5);
    side_write(&s.side, "answer");
    char got[6];
    assert_int_equal(raw_read(&s.raw, &s.loop, got, 6), SSL_ERROR_NONE);

    for (int i = 0; i < 20000 && !s.side.failed; i++) {
        SSL_key_update(s.raw.ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(s.raw.ssl);
        char drop[4096];
        while (recv(s.raw.fd, drop, sizeof drop, 0) > 0) {
        }
        pass(&s.loop);
    }
    assert_true(s.side.failed);
    assert_string_equal(s.side.failure, "the peer asks for answers without end");
    scene_close(&s);
}

static void test_renegotiation_is_refused(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_2_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    SSL_renegotiate(s.raw.ssl);
    int error = SSL_ERROR_WANT_READ;
    for (int i = 0; i < 50 && error == SSL_ERROR_WANT_READ; i++) {
        ERR_clear_error();
        int result = SSL_do_handshake(s.raw.ssl);
        error = SSL_get_error(s.raw.ssl, result);
        if (error == SSL_ERROR_WANT_READ)
            pass(&s.loop);
    }
    assert_int_equal(error, SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    scene_close(&s);
}

static void test_a_connection_outlives_its_server(void **state)
{
    (void)state;
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings settings = settings_of(entries, 1);
    struct tls_server *brief = server_of(&settings, tickets);
    struct tls_client *brief_client =
        client_of(&(struct tls_client_settings){.node = &root_node, .verify = true, .ca = S("ca.pem")});
    struct pair p;
    pair_open(&p);
    pair_join(&p, brief, brief_client, "one.example", S(""));
    tls_server_free(brief);
    tls_client_free(brief_client);
    pair_settle(&p);
    assert_true(p.server.connected && p.client.connected);
    side_write(&p.client, "x");
    RUN_UNTIL(&p.loop, p.server.got_len == 1);
    pair_close(&p);
}

static void close_it(struct side *s)
{
    conn_close(&s->conn);
}

static void test_closing_inside_connected_is_allowed(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    s.side.on_connected = close_it;
    s.side.source_len = 0;
    for (int i = 0; i < 50 && !s.side.conn.closed; i++) {
        SSL_do_handshake(s.raw.ssl);
        pass(&s.loop);
    }
    assert_true(s.side.conn.closed);
    assert_null(tls_info(&s.side.conn));
    scene_close(&s);
}

static bool is_gone;
static void gone(struct conn *c)
{
    (void)c;
    is_gone = true;
}

static void test_lingering_ends_with_close_notify(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    side_write(&s.side, "413");
    is_gone = false;
    conn_linger(&s.side.conn, 1000, gone);
    char got[4];
    assert_int_equal(raw_read(&s.raw, &s.loop, got, 4), SSL_ERROR_ZERO_RETURN);
    SSL_write(s.raw.ssl, "more", 4);
    run_some(&s.loop);
    assert_false(is_gone);
    shutdown(s.raw.fd, SHUT_WR);
    RUN_UNTIL(&s.loop, is_gone);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_go_both_ways_under_tls_1_3),
        cmocka_unit_test(test_bytes_go_both_ways_under_tls_1_2),
        cmocka_unit_test(test_a_wire_of_single_bytes_is_enough),
        cmocka_unit_test(test_records_may_be_cut_anywhere),
        cmocka_unit_test(test_data_behind_the_handshake_is_not_lost),
        cmocka_unit_test(test_eight_megabytes_cross_both_ways_under_back_pressure),
        cmocka_unit_test(test_an_idle_connection_owns_no_buffer),
        cmocka_unit_test(test_what_is_pending_is_told_without_an_edge),
        cmocka_unit_test(test_close_notify_is_a_clean_end),
        cmocka_unit_test(test_an_end_without_close_notify_is_told),
        cmocka_unit_test(test_half_a_record_and_the_end_is_truncated),
        cmocka_unit_test(test_a_forged_record_breaks_the_connection_and_an_alert_says_so),
        cmocka_unit_test(test_shutdown_sends_close_notify_and_reading_goes_on),
        cmocka_unit_test(test_tickets_after_our_close_notify_do_no_harm),
        cmocka_unit_test(test_plain_http_on_a_tls_port_has_its_own_words),
        cmocka_unit_test(test_an_end_in_the_handshake_is_a_failure),
        cmocka_unit_test(test_a_failed_handshake_sends_its_alert),
        cmocka_unit_test(test_the_alert_survives_what_the_peer_sent_meanwhile),
        cmocka_unit_test(test_errors_of_others_in_the_queue_do_no_harm),
        cmocka_unit_test(test_a_head_and_a_body_share_one_record),
        cmocka_unit_test(test_records_are_small_at_first_and_full_later),
        cmocka_unit_test(test_key_updates_are_answered_but_not_without_end),
        cmocka_unit_test(test_renegotiation_is_refused),
        cmocka_unit_test(test_a_connection_outlives_its_server),
        cmocka_unit_test(test_closing_inside_connected_is_allowed),
        cmocka_unit_test(test_lingering_ends_with_close_notify),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
