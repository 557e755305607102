#include "tests/unit/tls_peer.h"

#include <openssl/ssl.h>

#include "tls/record.h"
#include "tls/records.h"

static struct made authority;
static struct tls_tickets *tickets;
static struct tls_server *server;
static struct tls_suites suites;

static int set_up(void **state)
{
    if (make_directory(state) != 0 || tls_suites_load(&suites) != 0)
        return -1;
    authority = make_certificate((struct make){.file = "ca", .cn = "test authority", .ca = true});
    made_free(make_certificate(
        (struct make){.file = "one", .cn = "one", .names = "DNS:one.example", .issuer = &authority}));
    tickets = tls_tickets_create();
    struct tls_certificate_settings entries[] = {entry("one")};
    struct tls_server_settings s = settings_of(entries, 1);
    server = server_of(&s, tickets);
    return 0;
}

static int tear_down(void **state)
{
    tls_server_free(server);
    tls_tickets_free(tickets);
    tls_suites_free(&suites);
    made_free(authority);
    return remove_directory(state);
}

/* Hexadecimal to bytes; spaces are passed over. */
static size_t bytes_of(const char *hex, char *out)
{
    size_t n = 0;
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n++] = (char)byte;
        hex++;
    }
    return n;
}

/* RFC 8448 §3: the client's application data. */
static void test_the_record_of_rfc_8448_is_sealed_and_opened(void **state)
{
    (void)state;
    char secret[64], wanted[128], sealed[128], text[128];
    size_t len = bytes_of("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", secret);
    assert_int_equal(len, 32);
    len = bytes_of(
        "1703030043 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a2044"
        "1e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
        wanted);
    const struct tls_suite *suite = tls_suite_find(&suites, 0x1301);
    struct tls_protection out, in;
    assert_int_equal(tls_protection_begin(&out, suite, (unsigned char *)secret, 0, true), 0);
    assert_int_equal(tls_protection_begin(&in, suite, (unsigned char *)secret, 0, false), 0);
    for (size_t i = 0; i < 50; i++)
        text[i] = (char)i;
    assert_int_equal(tls_seal(&out, TLS_DATA, text, 50, sealed), 0);
    assert_int_equal(len, 50 + TLS_RECORD_ADDS);
    assert_memory_equal(sealed, wanted, len);

    unsigned type;
    char opened[128];
    assert_int_equal(tls_open(&in, wanted, len - TLS_RECORD_HEADER, opened, &type), 50);
    assert_int_equal(type, TLS_DATA);
    assert_memory_equal(opened, text, 50);
    /* The same bytes again are another record's. */
    assert_int_equal(tls_open(&in, wanted, len - TLS_RECORD_HEADER, opened, &type), -1);
    tls_protection_end(&out);
    tls_protection_end(&in);
}

/* A server's side with an OpenSSL client, whose keys the test takes. */
struct scene {
    struct loop loop;
    struct side side;
    struct raw raw;
    struct tls_protection in, out; /* the client's */
};

static char logged[2][256];

static void on_secret(const SSL *ssl, const char *line)
{
    (void)ssl;
    const char *secret = strrchr(line, ' ') + 1;
    if (strncmp(line, "CLIENT_TRAFFIC", 14) == 0)
        snprintf(logged[0], sizeof logged[0], "%s", secret);
    else if (strncmp(line, "SERVER_TRAFFIC", 14) == 0)
        snprintf(logged[1], sizeof logged[1], "%s", secret);
}

static void scene_open(struct scene *s, int version, const char *ciphersuites)
{
    *s = (struct scene){.raw = raw_client(version)};
    assert_int_equal(loop_init(&s->loop, 0), 0);
    int fds[2];
    socket_pair(fds);
    assert_int_equal(conn_open(&s->side.conn, &s->loop, fds[0], &side_handler), 0);
    assert_int_equal(tls_server_accept(server, 0, &s->side.conn), 0);
    SSL_CTX_set_keylog_callback(s->raw.context, on_secret);
    if (ciphersuites)
        assert_int_equal(SSL_CTX_set_ciphersuites(s->raw.context, ciphersuites), 1);
    raw_on(&s->raw, fds[1], "one.example");
    assert_int_equal(raw_handshake(&s->raw, &s->loop, &s->side), 1);
}

static struct tls_state *state_of(struct scene *s)
{
    return s->side.conn.transport_state;
}

/* From here on the test speaks for the client; the server's ticket is dropped. */
static void take_keys(struct scene *s)
{
    char drop[4096], secret[2][64];
    while (recv(s->raw.fd, drop, sizeof drop, 0) > 0) {
    }
    const struct tls_suite *suite = state_of(s)->records->in.suite;
    for (int i = 0; i < 2; i++)
        assert_int_equal(bytes_of(logged[i], secret[i]), suite->secret_len);
    assert_int_equal(tls_protection_begin(&s->out, suite, (unsigned char *)secret[0], 0, true), 0);
    assert_int_equal(tls_protection_begin(&s->in, suite, (unsigned char *)secret[1], 1, false), 0);
}

static void scene_close(struct scene *s)
{
    tls_protection_end(&s->in);
    tls_protection_end(&s->out);
    side_end(&s->side);
    pass(&s->loop);
    loop_free(&s->loop);
    raw_free(&s->raw);
}

static void put(struct scene *s, unsigned type, const void *bytes, size_t len)
{
    static char record[20000];
    assert_int_equal(tls_seal(&s->out, (enum tls_content)type, bytes, len, record), 0);
    size_t size = len + TLS_RECORD_ADDS;
    assert_int_equal(send(s->raw.fd, record, size, MSG_NOSIGNAL), size);
}

/* The server's next record: its length, *type what it is; -1 = none. */
static ssize_t take(struct scene *s, char *out, unsigned *type)
{
    char record[20000];
    for (int i = 0; i < 1000 && recv(s->raw.fd, record, 5, MSG_PEEK) != 5; i++)
        pass(&s->loop);
    if (recv(s->raw.fd, record, 5, 0) != 5)
        return -1;
    size_t body = (size_t)((unsigned char)record[3] << 8 | (unsigned char)record[4]);
    assert_int_equal(recv(s->raw.fd, record + 5, body, 0), body);
    return tls_open(&s->in, record, body, out, type);
}

static void assert_talks(struct scene *s)
{
    size_t had = s->side.got_len;
    assert_int_equal(SSL_write(s->raw.ssl, "question", 8), 8);
    RUN_UNTIL(&s->loop, s->side.got_len == had + 8);
    assert_memory_equal(s->side.got + had, "question", 8);
    side_write(&s->side, "answer");
    char got[6];
    assert_int_equal(raw_read(&s->raw, &s->loop, got, 6), SSL_ERROR_NONE);
    assert_memory_equal(got, "answer", 6);
}

static void test_each_suite_of_1_3_goes_on_without_openssls_connection(void **state)
{
    (void)state;
    static const char *names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                  "TLS_CHACHA20_POLY1305_SHA256"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct scene s;
        scene_open(&s, TLS1_3_VERSION, names[i]);
        assert_string_equal(SSL_get_cipher_name(s.raw.ssl), names[i]);
        assert_non_null(state_of(&s)->records);
        assert_null(state_of(&s)->ssl);
        assert_null(state_of(&s)->secrets);
        assert_talks(&s);
        /* New keys for both sides, then for the client's alone. */
        SSL_key_update(s.raw.ssl, SSL_KEY_UPDATE_REQUESTED);
        assert_talks(&s);
        SSL_key_update(s.raw.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        assert_talks(&s);
        SSL_shutdown(s.raw.ssl);
        RUN_UNTIL(&s.loop, s.side.eof);
        assert_false(s.side.truncated);
        scene_close(&s);
    }
}

static void test_1_2_stays_with_openssl(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_2_VERSION, NULL);
    assert_null(state_of(&s)->records);
    assert_non_null(state_of(&s)->ssl);
    assert_null(state_of(&s)->secrets);
    assert_talks(&s);
    scene_close(&s);
}

static void test_a_resumed_connection_goes_on_alike(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    assert_talks(&s);
    SSL_SESSION *session = SSL_get1_session(s.raw.ssl);
    assert_true(SSL_SESSION_is_resumable(session));
    SSL_set_shutdown(s.raw.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or it would be dropped */
    side_end(&s.side);
    pass(&s.loop);
    s.side = (struct side){0};
    int fds[2];
    socket_pair(fds);
    assert_int_equal(conn_open(&s.side.conn, &s.loop, fds[0], &side_handler), 0);
    assert_int_equal(tls_server_accept(server, 0, &s.side.conn), 0);
    raw_on(&s.raw, fds[1], "one.example");
    SSL_set_session(s.raw.ssl, session);
    assert_int_equal(raw_handshake(&s.raw, &s.loop, &s.side), 1);
    assert_true(tls_info(&s.side.conn)->resumed);
    assert_non_null(state_of(&s)->records);
    assert_talks(&s);
    SSL_SESSION_free(session);
    scene_close(&s);
}

/* What breaks the connection, and with which alert. */
struct hostile {
    const char *name;
    unsigned type;
    const char *hex;
    int alert;
};

static void test_what_may_not_come_is_refused_with_its_alert(void **state)
{
    (void)state;
    static const struct hostile all[] = {
        {"a finished once more", 22, "1400000000", SSL_AD_UNEXPECTED_MESSAGE},
        {"a certificate", 22, "0b", SSL_AD_UNEXPECTED_MESSAGE},
        {"an empty handshake record", 22, "", SSL_AD_UNEXPECTED_MESSAGE},
        {"bytes behind a KeyUpdate", 22, "180000010018", SSL_AD_UNEXPECTED_MESSAGE},
        {"a KeyUpdate of two bytes", 22, "1800000200", SSL_AD_ILLEGAL_PARAMETER},
        {"a KeyUpdate that asks for more than yes", 22, "1800000102", SSL_AD_ILLEGAL_PARAMETER},
        {"a change of cipher", 20, "01", SSL_AD_UNEXPECTED_MESSAGE},
        {"a kind that nobody knows", 99, "01", SSL_AD_UNEXPECTED_MESSAGE},
        {"nothing but padding", 0, "", SSL_AD_UNEXPECTED_MESSAGE},
        {"an alert of one byte", 21, "01", SSL_AD_DECODE_ERROR},
        {"an alert of three bytes", 21, "010000", SSL_AD_DECODE_ERROR},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct scene s;
        scene_open(&s, TLS1_3_VERSION, NULL);
        take_keys(&s);
        char bytes[64], got[20000];
        put(&s, all[i].type, bytes, bytes_of(all[i].hex, bytes));
        RUN_UNTIL(&s.loop, s.side.failed);
        assert_int_equal(s.side.error, EPROTO);
        assert_true(s.side.failure[0]);
        assert_int_equal(s.side.got_len, 0);
        unsigned type;
        assert_int_equal(take(&s, got, &type), 2);
        assert_int_equal(type, TLS_ALERT);
        assert_int_equal(got[0], 2);
        assert_int_equal((unsigned char)got[1], all[i].alert);
        scene_close(&s);
    }
}

/* Bytes that are no record under the keys. */
static void refused_in_the_clear(const char *hex, size_t more, int alert)
{
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    take_keys(&s);
    char *bytes = calloc(1, 64 + more), got[20000];
    size_t len = bytes_of(hex, bytes) + more;
    assert_int_equal(send(s.raw.fd, bytes, len, MSG_NOSIGNAL), len);
    RUN_UNTIL(&s.loop, s.side.failed);
    unsigned type;
    assert_int_equal(take(&s, got, &type), 2);
    assert_int_equal(type, TLS_ALERT);
    assert_int_equal((unsigned char)got[1], alert);
    free(bytes);
    scene_close(&s);
}

static void test_records_in_the_clear_are_refused(void **state)
{
    (void)state;
    refused_in_the_clear("15030300020100", 0, SSL_AD_UNEXPECTED_MESSAGE); /* close_notify */
    refused_in_the_clear("140303000101", 0, SSL_AD_UNEXPECTED_MESSAGE);
    refused_in_the_clear("1603030005", 0, SSL_AD_UNEXPECTED_MESSAGE); /* by its header alone */
    refused_in_the_clear("1703034101", 0, SSL_AD_RECORD_OVERFLOW);
    refused_in_the_clear("1703030000", 0, SSL_AD_BAD_RECORD_MAC);
    refused_in_the_clear("1703030010", 16, SSL_AD_BAD_RECORD_MAC);
    refused_in_the_clear("1703030011", 17, SSL_AD_BAD_RECORD_MAC);
}

static void test_plaintext_over_16_kib_is_refused(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        struct scene s;
        scene_open(&s, TLS1_3_VERSION, NULL);
        take_keys(&s);
        char *text = calloc(1, 16384 + over);
        put(&s, TLS_DATA, text, 16384 + over);
        RUN_UNTIL(&s.loop, s.side.failed || s.side.got_len == 16384);
        assert_int_equal(s.side.failed, over);
        free(text);
        scene_close(&s);
    }
}

static void test_padding_is_taken_off(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    take_keys(&s);
    /* Data, its type, zeros: sealed as if the last zero were the type. */
    put(&s, 0, "padded\27\0\0\0", 10);
    RUN_UNTIL(&s.loop, s.side.got_len == 6);
    assert_memory_equal(s.side.got, "padded", 6);
    scene_close(&s);
}

static void test_a_key_update_may_come_in_pieces_but_nothing_between(void **state)
{
    (void)state;
    for (int between = 0; between < 2; between++) {
        struct scene s;
        scene_open(&s, TLS1_3_VERSION, NULL);
        take_keys(&s);
        put(&s, TLS_HANDSHAKE, "\30\0", 2);
        if (between)
            put(&s, TLS_DATA, "early", 5);
        put(&s, TLS_HANDSHAKE, "\0\1\0", 3);
        assert_int_equal(tls_protection_update(&s.out), 0);
        put(&s, TLS_DATA, "later", 5);
        RUN_UNTIL(&s.loop, s.side.failed || s.side.got_len);
        assert_int_equal(s.side.failed, between);
        assert_int_equal(s.side.got_len, between ? 0 : 5);
        scene_close(&s);
    }
}

static void test_records_that_bring_nothing_are_bounded(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    take_keys(&s);
    int i = 0;
    for (; i < 20000 && !s.side.failed; i++) {
        put(&s, TLS_DATA, "", 0);
        pass(&s.loop);
        if (i == 1000) { /* a byte of data starts the count anew */
            put(&s, TLS_DATA, "x", 1);
            RUN_UNTIL(&s.loop, s.side.got_len == 1);
        }
    }
    assert_in_range(i, 3500, 4500);
    scene_close(&s);
}

static void test_alerts_say_why_and_a_cancelled_user_is_no_end(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    take_keys(&s);
    put(&s, TLS_ALERT, "\1\132", 2); /* user_canceled */
    put(&s, TLS_DATA, "still here", 10);
    RUN_UNTIL(&s.loop, s.side.got_len == 10);
    put(&s, TLS_ALERT, "\1\60", 2); /* unknown_ca; the level does not count */
    RUN_UNTIL(&s.loop, s.side.failed);
    assert_string_equal(s.side.failure, "peer sent alert: unknown CA");
    scene_close(&s);
}

static void test_keys_are_renewed_before_they_have_sealed_too_much(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    take_keys(&s);
    state_of(&s)->records->out.sequence = s.in.sequence = TLS_RECORDS_A_KEY - 1;
    char got[20000];
    unsigned type;
    side_write(&s.side, "before");
    assert_int_equal(take(&s, got, &type), 6);
    side_write(&s.side, "after");
    assert_int_equal(take(&s, got, &type), 5);
    assert_int_equal(type, TLS_HANDSHAKE);
    assert_memory_equal(got, "\30\0\0\1\0", 5);
    assert_int_equal(tls_protection_update(&s.in), 0);
    assert_int_equal(take(&s, got, &type), 5);
    assert_int_equal(type, TLS_DATA);
    assert_memory_equal(got, "after", 5);
    scene_close(&s);
}

static void test_pieces_of_any_size_arrive_whole(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, TLS1_3_VERSION, NULL);
    int size = 1 << 20;
    setsockopt(s.side.conn.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    static char text[90000], got[sizeof text];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 31 + i / 253);
    for (size_t cut = 0; cut < 60000; cut = cut * 3 + 1) {
        struct iovec iov[] = {
            {text, cut}, {text + cut, 0}, {text + cut, 4095}, {text + cut + 4095, 25000}, {text, 0}};
        assert_int_equal(conn_write(&s.side.conn, iov, 5), 0);
        assert_int_equal(raw_read(&s.raw, &s.loop, got, cut + 29095), SSL_ERROR_NONE);
        assert_memory_equal(got, text, cut + 29095);
    }
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_record_of_rfc_8448_is_sealed_and_opened),
        cmocka_unit_test(test_each_suite_of_1_3_goes_on_without_openssls_connection),
        cmocka_unit_test(test_1_2_stays_with_openssl),
        cmocka_unit_test(test_a_resumed_connection_goes_on_alike),
        cmocka_unit_test(test_what_may_not_come_is_refused_with_its_alert),
        cmocka_unit_test(test_records_in_the_clear_are_refused),
        cmocka_unit_test(test_plaintext_over_16_kib_is_refused),
        cmocka_unit_test(test_padding_is_taken_off),
        cmocka_unit_test(test_a_key_update_may_come_in_pieces_but_nothing_between),
        cmocka_unit_test(test_records_that_bring_nothing_are_bounded),
        cmocka_unit_test(test_alerts_say_why_and_a_cancelled_user_is_no_end),
        cmocka_unit_test(test_keys_are_renewed_before_they_have_sealed_too_much),
        cmocka_unit_test(test_pieces_of_any_size_arrive_whole),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
