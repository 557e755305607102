/* What the tests of tls/ stand on: certificates made on the spot, connections on one loop that note what
 * happens to them, a raw OpenSSL peer on the other end of a socket pair, and a lossless wire that can be
 * slow. */
#pragma once

/* Not every test uses all of it. */
#pragma GCC diagnostic ignored "-Wunused-function"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls/client.h"
#include "tls/info.h"
#include "tls/server.h"
#include "tls/transport.h"

/* Files. */

static char directory[64];
static struct config_node root_node;
static char root_file[96];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/weir-tls-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(root_file, sizeof root_file, "%s/weir.yaml", directory);
    root_node = (struct config_node){.kind = NODE_MAP, .file = root_file, .line = 1, .column = 1};
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) == 0 ? 0 : -1;
}

static void write_file(const char *name, const void *bytes, size_t len)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

/* Certificates. */

struct made {
    X509 *cert;
    EVP_PKEY *key;
};

struct make {
    const char *file; /* NAME.pem and NAME.key */
    const char *cn;
    const char *names; /* "DNS:a.example,IP:127.0.0.1"; NULL = no subjectAltName */
    const struct made *issuer;
    bool rsa, ca, expired;
};

static struct made make_certificate(struct make m)
{
    static long serial = 1;
    struct made made = {X509_new(), m.rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256")};
    const struct made *issuer = m.issuer ? m.issuer : &made;
    X509 *x = made.cert;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), m.expired ? -3600 : 86400);
    X509_set_pubkey(x, made.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)m.cn, -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer->cert));
    const char *values[][2] = {{"basicConstraints", m.ca ? "critical,CA:TRUE" : "CA:FALSE"},
                               {"subjectAltName", m.names}};
    for (size_t i = 0; i < 2; i++) {
        if (!values[i][1])
            continue;
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer->cert, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf(NULL, &context, values[i][0], values[i][1]);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, issuer->key, EVP_sha256()) > 0);

    if (m.file) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s.pem", directory, m.file);
        FILE *f = fopen(path, "w");
        PEM_write_X509(f, x);
        fclose(f);
        snprintf(path, sizeof path, "%s/%s.key", directory, m.file);
        f = fopen(path, "w");
        PEM_write_PrivateKey(f, made.key, NULL, NULL, 0, NULL, NULL);
        fclose(f);
    }
    return made;
}

static void made_free(struct made m)
{
    X509_free(m.cert);
    EVP_PKEY_free(m.key);
}

/* Servers and clients. */

static struct tls_certificate_settings entry(const char *name)
{
    static char texts[64][64];
    static unsigned next;
    char *cert = texts[next++ % 64], *key = texts[next++ % 64];
    snprintf(cert, 64, "%s.pem", name);
    snprintf(key, 64, "%s.key", name);
    return (struct tls_certificate_settings){
        .node = &root_node, .cert = slice_text(cert), .key = slice_text(key)};
}

static struct tls_server_settings settings_of(struct tls_certificate_settings *entries, size_t count)
{
    return (struct tls_server_settings){
        .node = &root_node,
        .certificates = {entries, count},
        .client_verify = TLS_VERIFY_OFF,
        .session_tickets = true,
        .ocsp_stapling = true,
    };
}

static struct tls_server *server_of(const struct tls_server_settings *s, struct tls_tickets *tickets)
{
    struct config c;
    config_init(&c);
    struct tls_server *server = tls_server_create(&c, NULL, s, 1, tickets);
    if (!server)
        print_message("%s", config_errors_text(&c));
    config_free(&c);
    assert_non_null(server);
    return server;
}

static struct tls_client *client_of(const struct tls_client_settings *s)
{
    struct config c;
    config_init(&c);
    struct tls_client *client = tls_client_create(&c, NULL, s, 1);
    if (!client)
        print_message("%s", config_errors_text(&c));
    config_free(&c);
    assert_non_null(client);
    return client;
}

/* Connections. */

struct side {
    struct conn conn;
    bool connected, failed, eof, truncated, paused;
    int error, readables;
    char failure[128];
    char *got;
    size_t got_len;
    size_t read_limit; /* reads a callback; 0 = until there is nothing */
    /* What connected() and drained() write. */
    const char *source;
    size_t source_len, source_at;
    void (*on_connected)(struct side *);
};

static void side_pour(struct side *s)
{
    while (s->source_at < s->source_len && conn_backlog(&s->conn) < CONN_HIGH_WATER) {
        size_t n = s->source_len - s->source_at;
        if (n > 100000)
            n = 100000;
        struct iovec iov = {(char *)(uintptr_t)s->source + s->source_at, n};
        s->source_at += n;
        assert_int_equal(conn_write(&s->conn, &iov, 1), 0);
    }
}

static void side_connected(struct conn *c)
{
    struct side *s = CONTAINER_OF(c, struct side, conn);
    s->connected = true;
    if (s->on_connected)
        s->on_connected(s);
    side_pour(s);
}

static void side_drained(struct conn *c)
{
    side_pour(CONTAINER_OF(c, struct side, conn));
}

static void side_readable(struct conn *c)
{
    struct side *s = CONTAINER_OF(c, struct side, conn);
    s->readables++;
    for (size_t reads = 0;; reads++) {
        if (s->read_limit && reads == s->read_limit) {
            conn_want_read(c, false);
            s->paused = true;
            return;
        }
        struct slice in;
        switch (conn_read(c, &in)) {
        case CONN_DATA:
            s->got = realloc(s->got, s->got_len + in.len + 1);
            memcpy(s->got + s->got_len, in.at, in.len);
            s->got_len += in.len;
            continue;
        case CONN_AGAIN:
            return;
        case CONN_EOF:
            s->eof = true;
            s->truncated = tls_truncated(c);
            return;
        case CONN_ERROR:
            s->failed = true;
            s->error = errno;
            snprintf(s->failure, sizeof s->failure, "%s", tls_failure(c) ? tls_failure(c) : "");
            return;
        }
    }
}

static void side_timeout(struct conn *c)
{
    (void)c;
}

static void side_failed(struct conn *c, int error)
{
    struct side *s = CONTAINER_OF(c, struct side, conn);
    s->failed = true;
    s->error = error;
    snprintf(s->failure, sizeof s->failure, "%s", tls_failure(c) ? tls_failure(c) : "");
    conn_close(c);
}

static const struct conn_handler side_handler = {
    side_connected, side_readable, side_drained, side_timeout, side_failed,
};

static void side_end(struct side *s)
{
    conn_close(&s->conn);
    free(s->got);
    s->got = NULL;
    s->got_len = 0;
}

static void side_write(struct side *s, const char *text)
{
    struct iovec iov = {(char *)(uintptr_t)text, strlen(text)};
    assert_int_equal(conn_write(&s->conn, &iov, 1), 0);
}

/* A pass that never waits. */

static void do_nothing(struct task *t)
{
    (void)t;
}

static void pass(struct loop *l)
{
    struct task t;
    task_init(&t);
    loop_defer(l, &t, do_nothing);
    loop_pass(l);
    list_remove(&t.link);
}

static void socket_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* The same over TCP, where a socket closed with bytes unread resets. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&at, len), 0);
    fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fds[0] >= 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    close(listener);
}

/* Runs passes until the condition holds. */
#define RUN_UNTIL(loop, condition)                                                                           \
    do {                                                                                                     \
        int passes_ = 0;                                                                                     \
        while (!(condition)) {                                                                               \
            pass(loop);                                                                                      \
            if (++passes_ > 20000)                                                                           \
                fail_msg("never: %s", #condition);                                                           \
        }                                                                                                    \
    } while (0)

static void run_some(struct loop *l)
{
    for (int i = 0; i < 20; i++)
        pass(l);
}

/* Two connections of ours, one with the server's and one with the client's side, joined. */
struct pair {
    struct loop loop;
    struct side server, client;
};

static void pair_open(struct pair *p)
{
    *p = (struct pair){0};
    assert_int_equal(loop_init(&p->loop, 0), 0);
}

static void pair_join(struct pair *p, struct tls_server *server, struct tls_client *client, const char *name,
                      struct slice alpn)
{
    int fds[2];
    socket_pair(fds);
    assert_int_equal(conn_open(&p->server.conn, &p->loop, fds[0], &side_handler), 0);
    assert_int_equal(conn_open(&p->client.conn, &p->loop, fds[1], &side_handler), 0);
    assert_int_equal(tls_server_accept(server, 0, &p->server.conn), 0);
    assert_int_equal(tls_client_connect(client, 0, &p->client.conn, slice_text(name), alpn), 0);
}

static void pair_settle(struct pair *p)
{
    RUN_UNTIL(&p->loop,
              (p->server.connected || p->server.failed) && (p->client.connected || p->client.failed));
    run_some(&p->loop);
}

static void pair_part(struct pair *p)
{
    side_end(&p->server);
    side_end(&p->client);
    pass(&p->loop);
    p->server = (struct side){0};
    p->client = (struct side){0};
}

static void pair_close(struct pair *p)
{
    pair_part(p);
    loop_free(&p->loop);
}

/* A raw OpenSSL client on a socket. */
struct raw {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
};

static struct raw raw_client(int version)
{
    struct raw r = {.context = SSL_CTX_new(TLS_client_method()), .fd = -1};
    SSL_CTX_set_min_proto_version(r.context, version);
    SSL_CTX_set_max_proto_version(r.context, version);
    return r;
}

static void raw_on(struct raw *r, int fd, const char *name)
{
    SSL_free(r->ssl);
    r->ssl = SSL_new(r->context);
    SSL_set_connect_state(r->ssl);
    if (name)
        SSL_set_tlsext_host_name(r->ssl, name);
    if (r->fd >= 0)
        close(r->fd);
    r->fd = fd;
    SSL_set_fd(r->ssl, fd);
}

static void raw_free(struct raw *r)
{
    SSL_free(r->ssl);
    SSL_CTX_free(r->context);
    if (r->fd >= 0)
        close(r->fd);
    ERR_clear_error();
}

/* 1 = done, -1 = failed. */
static int raw_handshake(struct raw *r, struct loop *l, struct side *s)
{
    for (int i = 0; i < 2000; i++) {
        ERR_clear_error();
        int result = SSL_do_handshake(r->ssl);
        if (result == 1) {
            for (int k = 0; k < 20 && !s->connected && !s->failed; k++)
                pass(l);
            return 1;
        }
        if (SSL_get_error(r->ssl, result) != SSL_ERROR_WANT_READ)
            return -1;
        pass(l);
    }
    return -1;
}

/* Reads until `len` bytes are there; what SSL_get_error says otherwise. */
static int raw_read(struct raw *r, struct loop *l, char *out, size_t len)
{
    size_t at = 0;
    for (int i = 0; i < 20000 && at < len; i++) {
        size_t n;
        ERR_clear_error();
        if (SSL_read_ex(r->ssl, out + at, len - at, &n) == 1) {
            at += n;
            continue;
        }
        int error = SSL_get_error(r->ssl, 0);
        if (error != SSL_ERROR_WANT_READ)
            return error;
        pass(l);
    }
    return at == len ? SSL_ERROR_NONE : SSL_ERROR_WANT_READ;
}

/* A wire between two sockets: moves at most `step` bytes a call each way. */
static size_t move(int from, int to, size_t step)
{
    char buf[70000];
    ssize_t n = recv(from, buf, step < sizeof buf ? step : sizeof buf, 0);
    if (n <= 0)
        return 0;
    assert_int_equal(send(to, buf, (size_t)n, MSG_NOSIGNAL), n);
    return (size_t)n;
}
