#include "tls/records.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "tls/wire.h"

#define KEY_UPDATE       24 /* §4.6.3 */
#define KEY_UPDATE_BYTES 5u

enum { ALERT_WARNING = 1, ALERT_FATAL = 2 };

/* What the handshake said, until it is done. */
struct tls_secrets {
    unsigned char in[TLS_SECRET_MAX], out[TLS_SECRET_MAX];
    size_t in_len, out_len;
    uint64_t sent; /* records under `out`: tickets */
};

/* The handshake. */

static int digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "LABEL client-random secret", both in hexadecimal. The secret's length, or 0. */
static size_t read_secret(struct slice line, struct slice label, unsigned char out[TLS_SECRET_MAX])
{
    if (!slice_begins(line, label))
        return 0;
    struct slice hex = slice_skip(line, label.len);
    hex = slice_skip(hex, slice_find(hex, ' ') + 1);
    if (hex.len % 2 || hex.len / 2 > TLS_SECRET_MAX)
        return 0;
    for (size_t i = 0; i < hex.len; i += 2) {
        int high = digit(hex.at[i]), low = digit(hex.at[i + 1]);
        if (high < 0 || low < 0)
            return 0;
        out[i / 2] = (unsigned char)(high << 4 | low);
    }
    return hex.len / 2;
}

static void on_secret(const SSL *ssl, const char *text)
{
    struct tls_state *s = tls_state_of(ssl);
    struct slice line = slice_text(text);
    struct slice client = S("CLIENT_TRAFFIC_SECRET_0 "), server = S("SERVER_TRAFFIC_SECRET_0 ");
    if (!slice_begins(line, client) && !slice_begins(line, server))
        return;
    if (!s->secrets)
        s->secrets = calloc(1, sizeof *s->secrets);
    if (!s->secrets)
        return;
    if (slice_begins(line, client))
        s->secrets->in_len = read_secret(line, client, s->secrets->in);
    else
        s->secrets->out_len = read_secret(line, server, s->secrets->out);
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), NULL);
}

/* OpenSSL prints each secret digit by digit, a tenth of a handshake for all of them: so it is asked only for
 * those that come next after either side's Finished. The context is its worker's alone. */
static void on_message(int sent, int version, int type, const void *at, size_t len, SSL *ssl, void *argument)
{
    (void)version, (void)argument;
    if (type == SSL3_RT_HANDSHAKE && len && *(const unsigned char *)at == SSL3_MT_FINISHED &&
        SSL_version(ssl) == TLS1_3_VERSION) {
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), on_secret);
    } else if (sent && type == SSL3_RT_HEADER) { /* of any record */
        struct tls_state *s = tls_state_of(ssl);
        if (s->secrets && s->secrets->out_len)
            s->secrets->sent++;
    }
}

void tls_records_watch(SSL_CTX *context)
{
    SSL_CTX_set_msg_callback(context, on_message);
}

static void forget_secrets(struct tls_state *s)
{
    if (s->secrets)
        OPENSSL_cleanse(s->secrets, sizeof *s->secrets);
    free(s->secrets);
    s->secrets = NULL;
}

static struct tls_records *make(const struct tls_suite *suite, const struct tls_secrets *secrets)
{
    struct tls_records *r = calloc(1, sizeof *r);
    if (r && tls_protection_begin(&r->in, suite, secrets->in, 0, false) == 0 &&
        tls_protection_begin(&r->out, suite, secrets->out, secrets->sent, true) == 0)
        return r;
    if (r) {
        tls_protection_end(&r->in);
        tls_protection_end(&r->out);
    }
    free(r);
    return NULL;
}

bool tls_records_take_over(struct tls_state *s)
{
    const struct tls_suites *suites = s->slot->whole->suites;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(s->ssl);
    const struct tls_suite *suite = NULL;
    /* OpenSSL has taken no byte beyond the client's Finished: it does not read ahead. */
    if (suites && s->secrets && cipher && SSL_version(s->ssl) == TLS1_3_VERSION && !SSL_has_pending(s->ssl))
        suite = tls_suite_find(suites, SSL_CIPHER_get_protocol_id(cipher));
    if (suite && s->secrets->in_len == suite->secret_len && s->secrets->out_len == suite->secret_len)
        s->records = make(suite, s->secrets);
    forget_secrets(s);
    if (!s->records)
        return false;
    /* As in tls_state_free(). */
    SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    s->ssl = NULL;
    return true;
}

void tls_records_free(struct tls_state *s)
{
    forget_secrets(s);
    struct tls_records *r = s->records;
    s->records = NULL;
    if (!r)
        return;
    tls_protection_end(&r->in);
    tls_protection_end(&r->out);
    free(r->rest);
    free(r);
}

/* Writing. */

/* Into the wire buffer. `from` may be where the record's text is to lie. */
static int seal(struct tls_state *s, enum tls_content type, const char *from, size_t len)
{
    struct tls_protection *out = &s->records->out;
    char *at = tls_wire_room(s, len + TLS_RECORD_ADDS);
    if (tls_seal(out, type, from, len, at) != 0) {
        s->end = TLS_BROKEN;
        s->error = EPROTO;
        s->failure = "a record could not be enciphered";
        ERR_clear_error();
        return -EPROTO;
    }
    s->wire_len += len + TLS_RECORD_ADDS;
    return 0;
}

/* The last record under the old keys says so (§4.6.3). */
static int renew_keys(struct tls_state *s)
{
    static const char update[KEY_UPDATE_BYTES] = {KEY_UPDATE, 0, 0, 1, 0};
    if (seal(s, TLS_HANDSHAKE, update, sizeof update) != 0)
        return -EPROTO;
    if (tls_protection_update(&s->records->out) == 0)
        return 0;
    s->end = TLS_BROKEN;
    s->error = ENOMEM;
    return -ENOMEM;
}

static int put_data(struct tls_state *s, const char *from, size_t len)
{
    s->paced += len;
    return seal(s, TLS_DATA, from, len);
}

/* Pieces are joined where the record is to lie; who fills one alone is enciphered from where it is. */
int tls_records_write(struct tls_state *s, const struct iovec *iov, int count)
{
    size_t joined = 0;
    int error = s->records->out.sequence < TLS_RECORDS_A_KEY ? 0 : renew_keys(s);
    if (error)
        return error;
    for (int i = 0; i < count; i++) {
        const char *at = iov[i].iov_base;
        size_t len = iov[i].iov_len;
        while (len) {
            size_t record = tls_record_size(s), n = len < record - joined ? len : record - joined;
            bool ends = joined + n == record || i == count - 1;
            if (joined == 0 && ends) {
                error = put_data(s, at, n);
            } else {
                char *room = tls_wire_room(s, TLS_RECORD_PLAIN_MAX + TLS_RECORD_ADDS) + TLS_RECORD_HEADER;
                memcpy(room + joined, at, n);
                joined += n;
                if (ends) {
                    error = put_data(s, room, joined);
                    joined = 0;
                }
            }
            if (error)
                return error;
            at += n;
            len -= n;
        }
    }
    if (joined) /* only empty pieces followed */
        error = put_data(s, s->conn->loop->wire + s->wire_len + TLS_RECORD_HEADER, joined);
    return error;
}

static void put_alert(struct tls_state *s, int level, int what)
{
    char alert[2] = {(char)level, (char)what};
    seal(s, TLS_ALERT, alert, sizeof alert);
}

void tls_records_shutdown(struct tls_state *s)
{
    put_alert(s, ALERT_WARNING, SSL_AD_CLOSE_NOTIFY);
}

/* Reading. */

/* Tells the peer what it did wrong, and is the end. */
static void refuse(struct tls_state *s, int alert, const char *words)
{
    if (!s->said_goodbye)
        put_alert(s, ALERT_FATAL, alert);
    s->end = TLS_BROKEN;
    s->error = EPROTO;
    s->failure = words;
    ERR_clear_error();
}

static void take_alert(struct tls_state *s, const char *at, size_t len)
{
    if (len != 2) {
        refuse(s, SSL_AD_DECODE_ERROR, "an alert that is none");
        return;
    }
    int what = (unsigned char)at[1];
    if (what == SSL_AD_CLOSE_NOTIFY) {
        s->end = TLS_ENDED;
    } else if (what != SSL_AD_USER_CANCELLED) { /* §6: whatever its level says */
        s->end = TLS_BROKEN;
        s->error = EPROTO;
        tls_failure_alert(s, what);
    }
}

/* The only handshake message that may come. */
static void take_message(struct tls_state *s, const char *at, size_t len)
{
    struct tls_records *r = s->records;
    size_t n = len < KEY_UPDATE_BYTES - r->message_len ? len : KEY_UPDATE_BYTES - r->message_len;
    memcpy(r->message + r->message_len, at, n);
    r->message_len += (unsigned)n;
    const unsigned char *m = r->message;
    /* No record may be empty, and none may follow under the old keys. */
    if (n == 0 || m[0] != KEY_UPDATE || n < len) {
        refuse(s, SSL_AD_UNEXPECTED_MESSAGE, "a handshake message after the handshake");
        return;
    }
    if (r->message_len < KEY_UPDATE_BYTES)
        return;
    r->message_len = 0;
    if (m[1] || m[2] || m[3] != 1 || m[4] > 1) {
        refuse(s, SSL_AD_ILLEGAL_PARAMETER, "a KeyUpdate that is none");
    } else if (tls_protection_update(&r->in) != 0) {
        s->end = TLS_BROKEN;
        s->error = ENOMEM;
    } else if (m[4] && !s->said_goodbye) {
        renew_keys(s);
    }
}

static size_t take_rest(struct tls_records *r, char *buf, size_t size)
{
    size_t n = r->rest_len < size ? r->rest_len : size;
    if (!n)
        return 0;
    memcpy(buf, r->rest + r->rest_at, n);
    r->rest_at += n;
    r->rest_len -= n;
    if (!r->rest_len) {
        free(r->rest);
        r->rest = NULL;
    }
    return n;
}

/* Plaintext that is longer than the caller's room: how much of it went there. */
static size_t split(struct tls_state *s, const char *at, size_t len, char *buf, size_t size)
{
    struct tls_records *r = s->records;
    size_t n = len < size ? len : size;
    memcpy(buf, at, n);
    if (n == len)
        return n;
    r->rest = malloc(len - n);
    if (!r->rest) {
        s->end = TLS_BROKEN;
        s->error = ENOMEM;
        return n;
    }
    memcpy(r->rest, at + n, len - n);
    r->rest_at = 0;
    r->rest_len = len - n;
    return n;
}

/* The next record, which is there: how much plaintext it gave. */
static size_t take_record(struct tls_state *s, size_t body, char *buf, size_t size)
{
    struct tls_records *r = s->records;
    char *out = buf;
    if (body > size + TLS_RECORD_TAG) {
        tls_wire_flush(s);
        out = s->conn->loop->wire; /* it is empty, and nothing is written until this is done with */
    }
    unsigned type;
    ssize_t len = tls_open(&r->in, s->in, body, out, &type);
    s->in += TLS_RECORD_HEADER + body;
    s->in_len -= TLS_RECORD_HEADER + body;
    if (len < 0) {
        refuse(s, SSL_AD_BAD_RECORD_MAC, "a record that was forged or damaged");
        return 0;
    }
    if ((size_t)len > TLS_RECORD_PLAIN_MAX) {
        refuse(s, SSL_AD_RECORD_OVERFLOW, "a record that is too long");
        return 0;
    }
    if (type == TLS_DATA && len && !r->message_len) {
        s->answered = 0;
        return out == buf ? (size_t)len : split(s, out, (size_t)len, buf, size);
    }
    s->answered += TLS_RECORD_HEADER + body;
    if (type == TLS_HANDSHAKE)
        take_message(s, out, (size_t)len);
    else if (type == TLS_ALERT && !r->message_len)
        take_alert(s, out, (size_t)len);
    else if (type != TLS_DATA || r->message_len)
        refuse(s, SSL_AD_UNEXPECTED_MESSAGE, "a record of a kind that may not come");
    return 0;
}

/* §5.1, §5.2. */
static bool header_is_good(struct tls_state *s, size_t body)
{
    if (s->in[0] != TLS_DATA)
        refuse(s, SSL_AD_UNEXPECTED_MESSAGE, "a record in the clear");
    else if (body > TLS_RECORD_BODY_MAX)
        refuse(s, SSL_AD_RECORD_OVERFLOW, "a record that is too long");
    return s->end == TLS_OPEN;
}

size_t tls_records_read(struct tls_state *s, char *buf, size_t size)
{
    size_t len = take_rest(s->records, buf, size);
    while (len < size && s->end == TLS_OPEN) {
        if (s->in_len >= TLS_RECORD_HEADER) {
            size_t body = (size_t)((unsigned char)s->in[3] << 8 | (unsigned char)s->in[4]);
            if (!header_is_good(s, body))
                break;
            if (tls_wire_has_record(s)) {
                if (len && body > size - len + TLS_RECORD_TAG)
                    break;
                len += take_record(s, body, buf + len, size - len);
                continue;
            }
        }
        s->wanted = size - len;
        if (tls_wire_receive(s))
            continue;
        if (s->wire_error) {
            s->end = TLS_BROKEN;
            s->error = s->wire_error;
        } else if (s->wire_eof) {
            s->end = TLS_CUT;
        }
        break;
    }
    return len;
}

bool tls_records_pending(const struct tls_state *s)
{
    return s->records->rest_len > 0;
}
