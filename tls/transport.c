#include "tls/transport.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

#define RECORD_MAX         16384u /* RFC 8446 §5.1 */
#define RECORD_FIRST       4096u  /* so that the peer can decrypt what the first round trip brings */
#define RECORD_FIRST_BYTES 16384u /* that much goes in small records */
#define RECORD_IDLE_US     1000000u
#define RECEIVE_HANDSHAKE  8192u
#define RECEIVE_EXTRA      2048u /* what records add to the plaintext that is wanted */
#define ANSWERED_MAX       65536u

static void flush_wire(struct tls_state *s);
static void stash(struct tls_state *s);
static enum tls_end note_end(struct tls_state *s, int result);
static void drain_after_failure(struct tls_state *s);

static struct tls_state *state_of(const struct conn *c)
{
    struct tls_state *s = c->transport_state;
    ASSERT(s->magic == TLS_STATE_MAGIC && s->conn == c);
    return s;
}

/* The BIO: OpenSSL's side of the wire. */

/* More ciphertext into the scratch buffer; false when there is none now. */
static bool receive(struct tls_state *s)
{
    if (s->wire_eof || s->wire_error)
        return false;
    struct conn *c = s->conn;
    size_t size = s->wanted + RECEIVE_EXTRA;
    if (size > LOOP_READ_BUFFER)
        size = LOOP_READ_BUFFER;
    ssize_t n = conn_raw_read(c, c->loop->scratch, size);
    if (n == 0)
        s->wire_eof = true;
    else if (n < 0 && n != -EAGAIN)
        s->wire_error = (int)-n;
    if (n <= 0)
        return false;
    s->in = c->loop->scratch;
    s->in_len = (size_t)n;
    return true;
}

static int wire_read(BIO *bio, char *out, int size)
{
    struct tls_state *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    if (s->in_len == 0 && !receive(s)) {
        if (s->wire_eof)
            return 0;
        if (!s->wire_error)
            BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = (size_t)size < s->in_len ? (size_t)size : s->in_len;
    memcpy(out, s->in, n);
    s->in += n;
    s->in_len -= n;
    return (int)n;
}

static int wire_write(BIO *bio, const char *bytes, int size)
{
    struct tls_state *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    for (size_t left = size > 0 ? (size_t)size : 0; left;) {
        size_t room = LOOP_WIRE_BUFFER - s->wire_len;
        size_t n = left < room ? left : room;
        memcpy(s->conn->loop->wire + s->wire_len, bytes, n);
        s->wire_len += n;
        bytes += n;
        left -= n;
        if (left)
            flush_wire(s);
    }
    return size;
}

static long wire_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static int wire_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls_transport_bio(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_START | BIO_TYPE_SOURCE_SINK, "connection");
    if (m && BIO_meth_set_create(m, wire_create) && BIO_meth_set_read(m, wire_read) &&
        BIO_meth_set_write(m, wire_write) && BIO_meth_set_ctrl(m, wire_control))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* One call for all that was gathered. A write error is told by the connection. */
static void flush_wire(struct tls_state *s)
{
    if (!s->wire_len)
        return;
    struct iovec all = {.iov_base = s->conn->loop->wire, .iov_len = s->wire_len};
    s->wire_len = 0;
    conn_raw_write(s->conn, &all, 1);
}

/* Life. */

struct tls_state *tls_state_create(struct conn *c, SSL_CTX *context, struct tls_slot *slot, bool server)
{
    struct tls_state *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->magic = TLS_STATE_MAGIC;
    s->conn = c;
    s->server = server;
    s->ssl = SSL_new(context);
    BIO *bio = s->ssl ? BIO_new(slot->whole->bio) : NULL;
    if (!bio) {
        SSL_free(s->ssl);
        free(s);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, s);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    if (server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    s->slot = slot;
    tls_slot_take(slot);
    return s;
}

void tls_state_free(struct tls_state *s)
{
    /* OpenSSL would take the session of a connection that was not shut down out of use. */
    if (s->established && s->end != TLS_BROKEN)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    tls_slot_drop(s->slot);
    free(s->left);
    free(s->failure_text);
    free(s->name);
    free(s->info_text);
    s->magic = 0;
    free(s);
}

static void transport_destroy(struct conn *c)
{
    tls_state_free(state_of(c));
}

/* Handshake. */

static enum conn_status transport_handshake(struct conn *c)
{
    struct tls_state *s = state_of(c);
    if (s->end != TLS_OPEN) {
        errno = s->error;
        return CONN_ERROR;
    }
    ERR_clear_error();
    if (s->before_handshake) {
        s->before_handshake(s);
        s->before_handshake = NULL;
    }

    s->wanted = RECEIVE_HANDSHAKE;
    int result = SSL_do_handshake(s->ssl);
    enum tls_end end = result == 1 ? TLS_OPEN : note_end(s, result);
    flush_wire(s);
    if (result == 1) {
        s->established = true;
        if (tls_info_fill(s) != 0) {
            s->end = TLS_BROKEN;
            s->error = ENOMEM;
        }
    } else if (end == TLS_CUT || end == TLS_ENDED) {
        s->end = TLS_BROKEN;
        s->error = ECONNRESET;
        if (!s->failure)
            s->failure = "the peer closed the connection during the handshake";
    }
    if (s->end == TLS_BROKEN) {
        drain_after_failure(s);
        errno = s->error;
        return CONN_ERROR;
    }
    stash(s);
    if (s->end == TLS_BROKEN) {
        errno = s->error;
        return CONN_ERROR;
    }
    if (result == 1)
        SSL_free_buffers(s->ssl); /* what can be spared while nothing comes */
    return result == 1 ? CONN_DATA : CONN_AGAIN;
}

/* A socket that is closed with bytes unread resets the connection, and the alert is lost. */
static void drain_after_failure(struct tls_state *s)
{
    struct conn *c = s->conn;
    for (int i = 0; i < 4; i++) {
        if (conn_raw_read(c, c->loop->scratch, LOOP_READ_BUFFER) <= 0)
            break;
    }
    if (c->out.bytes == 0)
        shutdown(c->fd, SHUT_WR);
}

/* Why an operation did not succeed: TLS_OPEN = more bytes are needed. */
static enum tls_end note_end(struct tls_state *s, int result)
{
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TLS_OPEN;
    case SSL_ERROR_ZERO_RETURN:
        s->end = TLS_ENDED;
        return s->end;
    case SSL_ERROR_SYSCALL:
        if (s->wire_error) {
            s->end = TLS_BROKEN;
            s->error = s->wire_error;
        } else if (s->wire_eof) {
            s->end = TLS_CUT;
        }
        return s->end;
    default:
        s->end = TLS_BROKEN;
        s->error = EPROTO;
        tls_failure_note(s);
        return s->end;
    }
}

/* Keeps the ciphertext that was not taken, for the next call. */
static void stash(struct tls_state *s)
{
    struct loop *l = s->conn->loop;
    bool in_scratch = s->in >= l->scratch && s->in < l->scratch + LOOP_READ_BUFFER;
    if (s->in_len == 0 || s->end != TLS_OPEN) {
        free(s->left);
        s->left = NULL;
        s->in = NULL;
        s->in_len = 0;
    } else if (in_scratch) {
        char *copy = malloc(s->in_len);
        if (!copy) {
            s->end = TLS_BROKEN;
            s->error = ENOMEM;
            return;
        }
        memcpy(copy, s->in, s->in_len);
        free(s->left);
        s->left = copy;
        s->in = copy;
    }
    /* OpenSSL takes nothing of a record that it has not asked for, so what is left begins with a header. */
    const unsigned char *header = (const unsigned char *)s->in;
    bool record = s->in_len >= 5 && s->in_len - 5 >= (size_t)(header[3] << 8 | header[4]);
    s->conn->transport_pending = record || SSL_pending(s->ssl) > 0;
}

/* Reading. */

static ssize_t end_of(const struct tls_state *s)
{
    return s->end == TLS_OPEN ? -EAGAIN : s->end == TLS_BROKEN ? -s->error : 0;
}

static ssize_t transport_read(struct conn *c, char *buf, size_t size)
{
    struct tls_state *s = state_of(c);
    if (s->end != TLS_OPEN) {
        c->transport_pending = false;
        return end_of(s);
    }
    ERR_clear_error();
    size_t len = 0;
    while (len < size) {
        size_t got = 0, had = s->in_len;
        bool could = c->can_read;
        s->wanted = size - len;
        int result = SSL_read_ex(s->ssl, buf + len, size - len, &got);
        if (result == 1) {
            len += got;
            s->answered = 0;
            /* Asking once more would cost OpenSSL a buffer, to learn that there is nothing. */
            if (s->in_len == 0 && !c->can_read && SSL_pending(s->ssl) == 0)
                break;
            continue;
        }
        if (note_end(s, result) != TLS_OPEN || SSL_want_read(s->ssl))
            break;
        /* A record was dropped without a word (a ticket after our close_notify): go on while that moves. */
        if (s->in_len == had && c->can_read == could)
            break;
    }

    s->answered += s->wire_len;
    flush_wire(s);
    if (s->answered > ANSWERED_MAX && s->end == TLS_OPEN) {
        s->end = TLS_BROKEN;
        s->error = EPROTO;
        s->failure = "the peer asks for answers without end";
    }
    stash(s);
    if (len == 0) {
        c->transport_pending = c->transport_pending && s->end == TLS_OPEN;
        return end_of(s);
    }
    if (s->end != TLS_OPEN)
        c->transport_pending = true;
    return (ssize_t)len;
}

/* Writing. */

/* Small records at first: a full one can be decrypted only when all of its segments are there. */
static size_t record_size(const struct tls_state *s)
{
    return s->paced < RECORD_FIRST_BYTES ? RECORD_FIRST : RECORD_MAX;
}

/* 0, or -errno. */
static int put_record(struct tls_state *s, const char *bytes, size_t len)
{
    s->paced += len;
    while (len) {
        size_t done = 0;
        int result = SSL_write_ex(s->ssl, bytes, len, &done);
        if (result != 1) {
            /* The wire takes everything; so it can only be the protocol. */
            s->end = TLS_BROKEN;
            s->error = EPROTO;
            tls_failure_note(s);
            return -EPROTO;
        }
        bytes += done;
        len -= done;
    }
    return 0;
}

static int put_vectors(struct tls_state *s, const struct iovec *iov, int count)
{
    char joint[RECORD_MAX];
    size_t joined = 0;
    for (int i = 0; i < count; i++) {
        const char *at = iov[i].iov_base;
        size_t len = iov[i].iov_len;
        while (len) {
            size_t record = record_size(s), n;
            int error = 0;
            if (joined == 0 && (len >= record || i == count - 1)) {
                n = len < record ? len : record;
                error = put_record(s, at, n);
            } else {
                n = len < record - joined ? len : record - joined;
                memcpy(joint + joined, at, n);
                joined += n;
                if (joined == record) {
                    error = put_record(s, joint, joined);
                    joined = 0;
                }
            }
            if (error)
                return error;
            at += n;
            len -= n;
        }
    }
    return joined ? put_record(s, joint, joined) : 0;
}

static int transport_write(struct conn *c, const struct iovec *iov, int count)
{
    struct tls_state *s = state_of(c);
    if (!s->established)
        return -ENOTCONN;
    if (s->end == TLS_BROKEN || s->said_goodbye)
        return -EPIPE;
    usec_t now = loop_now_us(c->loop);
    if (now - s->last_write_us > RECORD_IDLE_US)
        s->paced = 0;
    s->last_write_us = now;
    ERR_clear_error();
    int error = put_vectors(s, iov, count);
    flush_wire(s);
    return error;
}

/* close_notify (RFC 8446 §6.1); reading may go on. */
static void transport_shutdown(struct conn *c)
{
    struct tls_state *s = state_of(c);
    if (!s->established || s->end == TLS_BROKEN || s->said_goodbye)
        return;
    s->said_goodbye = true;
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    ERR_clear_error();
    flush_wire(s);
}

const struct conn_transport tls_transport = {
    .name = "tls",
    .handshake = transport_handshake,
    .read = transport_read,
    .write = transport_write,
    .shutdown = transport_shutdown,
    .destroy = transport_destroy,
};
