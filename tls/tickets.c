#include "tls/tickets.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tls/certificate.h"
#include "tls/keys.h"

struct self_signed {
    struct self_signed *next;
    struct slice names; /* each with a NUL behind it */
    struct slice pem;
};

struct tls_tickets {
    _Atomic(struct tls_ticket_keys *) keys;
    msec_t rotated; /* 0 = not known yet */
    struct self_signed *self_signed;
};

static struct tls_ticket_keys *keys_alloc(size_t count)
{
    struct tls_ticket_keys *k = calloc(1, sizeof *k + count * sizeof k->at[0]);
    if (k)
        k->count = count;
    return k;
}

void tls_ticket_keys_free(struct tls_ticket_keys *k)
{
    if (k)
        OPENSSL_cleanse(k->at, k->count * sizeof k->at[0]);
    free(k);
}

struct tls_ticket_keys *tls_ticket_keys_read(struct slice bytes)
{
    _Static_assert(sizeof(struct tls_ticket_key) == TLS_TICKET_KEY_BYTES, "as in the file");
    struct tls_ticket_keys *k = keys_alloc(bytes.len / TLS_TICKET_KEY_BYTES);
    if (k)
        memcpy(k->at, bytes.at, k->count * TLS_TICKET_KEY_BYTES);
    return k;
}

struct tls_tickets *tls_tickets_create(void)
{
    struct tls_tickets *t = calloc(1, sizeof *t);
    if (t && tls_tickets_rotate(t) != 0) {
        free(t);
        return NULL;
    }
    return t;
}

void tls_tickets_free(struct tls_tickets *t)
{
    if (!t)
        return;
    struct tls_ticket_keys *keys = atomic_load(&t->keys);
    while (keys) {
        struct tls_ticket_keys *older = keys->older;
        tls_ticket_keys_free(keys);
        keys = older;
    }
    while (t->self_signed) {
        struct self_signed *next = t->self_signed->next;
        free((char *)(uintptr_t)t->self_signed->names.at);
        tls_file_release(&t->self_signed->pem);
        free(t->self_signed);
        t->self_signed = next;
    }
    free(t);
}

int tls_tickets_rotate(struct tls_tickets *t)
{
    struct tls_ticket_keys *old = atomic_load(&t->keys);
    size_t kept = old ? old->count : 0;
    if (kept > TLS_TICKET_KEYS_KEPT - 1)
        kept = TLS_TICKET_KEYS_KEPT - 1;
    struct tls_ticket_keys *k = keys_alloc(1 + kept);
    if (!k)
        return -1;
    if (RAND_bytes(k->at[0].name, sizeof k->at[0].name) != 1 || RAND_priv_bytes(k->at[0].hmac, 32) != 1 ||
        RAND_priv_bytes(k->at[0].aes, 32) != 1) {
        tls_ticket_keys_free(k);
        return -1;
    }
    for (size_t i = 0; i < kept; i++)
        k->at[1 + i] = old->at[i];
    k->older = old;
    atomic_store_explicit(&t->keys, k, memory_order_release);
    return 0;
}

void tls_tickets_refresh(struct tls_tickets *t, msec_t now)
{
    if (t->rotated == 0 || now < t->rotated)
        t->rotated = now;
    if (now - t->rotated < TLS_TICKET_ROTATION_MS)
        return;
    if (tls_tickets_rotate(t) == 0)
        t->rotated = now;
}

const struct tls_ticket_keys *tls_tickets_keys(const struct tls_tickets *t)
{
    return atomic_load_explicit(&t->keys, memory_order_acquire);
}

/* Self-signed certificates. */

static struct slice join(const struct slice *names, size_t count)
{
    size_t len = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        len += names[i].len + 1;
    char *text = malloc(len + 1);
    for (size_t i = 0; text && i < count; i++) {
        memcpy(text + at, names[i].at, names[i].len);
        at += names[i].len;
        text[at++] = '\0';
    }
    return slice_of(text, at);
}

int tls_tickets_self_signed(struct tls_tickets *t, const struct slice *names, size_t count, struct slice *pem)
{
    struct slice joined = join(names, count);
    if (!joined.at)
        return -1;
    for (struct self_signed *s = t->self_signed; s; s = s->next) {
        if (slice_equal(s->names, joined)) {
            free((char *)(uintptr_t)joined.at);
            *pem = s->pem;
            return 0;
        }
    }
    struct self_signed *s = calloc(1, sizeof *s);
    if (!s || tls_self_signed_make(names, count, &s->pem) != 0) {
        free(s);
        free((char *)(uintptr_t)joined.at);
        return -1;
    }
    s->names = joined;
    s->next = t->self_signed;
    t->self_signed = s;
    *pem = s->pem;
    return 0;
}
