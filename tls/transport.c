#include "tls/transport.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tls/wire.h"

#define RECORD_MAX         16384u /* RFC 8446 §5.1 */
#define RECORD_FIRST       4096u  /* so that the peer can decrypt what the first round trip brings */
#define RECORD_FIRST_BYTES 16384u /* that much goes in small records */
#define RECORD_IDLE_US     1000000u
#define RECEIVE_HANDSHAKE  8192u
#define ANSWERED_MAX       65536u

static void keep(struct tls_state *s);
static enum tls_end note_end(struct tls_state *s, int result);
static void drain_after_failure(struct tls_state *s);

static struct tls_state *state_of(const struct conn *c)
{
    struct tls_state *s = c->transport_state;
    ASSERT(s->magic == TLS_STATE_MAGIC && s->conn == c);
    return s;
}

/* SSL_get_error() looks at the thread's errors, so none may be there from before. There nearly never is one,
 * and to clear none takes ten times as long as to look. */
static void clear_errors(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
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
    if (!s->began_us)
        s->began_us = loop_now_us(c->loop);
    ERR_clear_error();
    if (s->before_handshake) {
        s->before_handshake(s);
        s->before_handshake = NULL;
    }

    s->wanted = RECEIVE_HANDSHAKE;
    int result = SSL_do_handshake(s->ssl);
    enum tls_end end = result == 1 ? TLS_OPEN : note_end(s, result);
    tls_wire_flush(s);
    if (result == 1) {
        s->established = true;
        if (tls_info_fill(s) != 0) {
            s->end = TLS_BROKEN;
            s->error = ENOMEM;
        }
        s->info.handshake_us = (uint32_t)(loop_now_us(c->loop) - s->began_us);
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
    keep(s);
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

/* The end of a call: what was not taken is kept, and told. */
static void keep(struct tls_state *s)
{
    tls_wire_keep(s);
    s->conn->transport_pending = tls_wire_has_record(s) || SSL_pending(s->ssl) > 0;
}

/* Reading. */

static ssize_t end_of(const struct tls_state *s)
{
    return s->end == TLS_OPEN ? -EAGAIN : s->end == TLS_BROKEN ? -s->error : 0;
}

static size_t read_plain(struct tls_state *s, char *buf, size_t size)
{
    struct conn *c = s->conn;
    size_t len = 0;
    clear_errors();
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
    return len;
}

static ssize_t transport_read(struct conn *c, char *buf, size_t size)
{
    struct tls_state *s = state_of(c);
    if (s->end != TLS_OPEN) {
        c->transport_pending = false;
        return end_of(s);
    }
    size_t len = read_plain(s, buf, size);
    s->answered += s->wire_len;
    tls_wire_flush(s);
    if (s->answered > ANSWERED_MAX && s->end == TLS_OPEN) {
        s->end = TLS_BROKEN;
        s->error = EPROTO;
        s->failure = "the peer asks for answers without end";
    }
    keep(s);
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
    clear_errors();
    int error = put_vectors(s, iov, count);
    tls_wire_flush(s);
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
    tls_wire_flush(s);
}

const struct conn_transport tls_transport = {
    .name = "tls",
    .handshake = transport_handshake,
    .read = transport_read,
    .write = transport_write,
    .shutdown = transport_shutdown,
    .destroy = transport_destroy,
};
