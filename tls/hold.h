/* The shared life of a tls_server or tls_client: its owner holds it, and so does every connection. Each
 * worker counts in a slot on a cache line of its own, so that workers do not contend; the whole ends when its
 * last slot does. */
#pragma once

#include <stdatomic.h>

#include <openssl/bio.h>

#include "core/base.h"

struct tls_hold {
    _Atomic unsigned slots;
    void (*destroy)(struct tls_hold *);
    BIO_METHOD *bio; /* of wire.c */
};

struct tls_slot {
    _Alignas(64) _Atomic size_t refs; /* 1 is the owner's */
    struct tls_hold *whole;
};

static inline void tls_slot_take(struct tls_slot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

static inline void tls_slot_drop(struct tls_slot *s)
{
    struct tls_hold *whole = s->whole;
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (atomic_fetch_sub_explicit(&whole->slots, 1, memory_order_acq_rel) == 1)
        whole->destroy(whole);
}
