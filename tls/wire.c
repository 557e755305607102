#include "tls/wire.h"

#include <errno.h>
#include <stdlib.h>

#define RECEIVE_EXTRA 2048u /* what records add to the plaintext that is wanted */

void tls_wire_keep(struct tls_state *s)
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
}

void tls_wire_flush(struct tls_state *s)
{
    if (!s->wire_len)
        return;
    struct iovec all = {.iov_base = s->conn->loop->wire, .iov_len = s->wire_len};
    s->wire_len = 0;
    conn_raw_write(s->conn, &all, 1);
}

/* The BIO: OpenSSL's side. */

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
            tls_wire_flush(s);
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
