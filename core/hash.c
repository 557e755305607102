#include "core/hash.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/base.h"

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). */

static uint64_t key0, key1;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
    uint64_t key[2];
    if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        abort();
    key0 = key[0];
    key1 = key[1];
}

static inline uint64_t rotate(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

uint64_t hash_keyed(struct slice text)
{
    pthread_once(&key_once, draw_key);
    uint64_t v[4] = {key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
                     key1 ^ 0x7465646279746573};
    size_t left = text.len;
    const char *at = text.at;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)text.len << 56;
    if (left && text.len >= 8) { /* the last eight bytes, of which some were hashed already */
        uint64_t word;
        memcpy(&word, at + left - 8, 8);
        last |= le64toh(word) >> (64 - 8 * left);
    } else {
        for (size_t i = 0; i < left; i++)
            last |= (uint64_t)(unsigned char)at[i] << (8 * i);
    }
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct entry {
    struct slice key;
    uint64_t hash; /* 0 = free, 1 = removed */
    uint64_t value;
};

struct table {
    struct entry *entries;
    size_t size;        /* a power of two */
    size_t count, used; /* used counts removed ones too */
};

static uint64_t hash_entry(struct slice key)
{
    uint64_t h = hash_keyed(key);
    return h < 2 ? h + 2 : h;
}

struct table *table_create(void)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->size = 16;
    t->entries = calloc(t->size, sizeof *t->entries);
    if (!t->entries) {
        free(t);
        return NULL;
    }
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    free(t->entries);
    free(t);
}

static struct entry *find(const struct table *t, struct slice key, uint64_t hash)
{
    for (size_t i = hash & (t->size - 1);; i = (i + 1) & (t->size - 1)) {
        struct entry *e = &t->entries[i];
        if (e->hash == 0)
            return NULL;
        if (e->hash == hash && slice_equal(e->key, key))
            return e;
    }
}

bool table_get(const struct table *t, struct slice key, uint64_t *value)
{
    struct entry *e = find(t, key, hash_entry(key));
    if (e)
        *value = e->value;
    return e != NULL;
}

static void place(struct table *t, struct entry fresh)
{
    size_t i = fresh.hash & (t->size - 1);
    while (t->entries[i].hash > 1)
        i = (i + 1) & (t->size - 1);
    if (t->entries[i].hash == 0)
        t->used++;
    t->entries[i] = fresh;
    t->count++;
}

static int grow(struct table *t)
{
    struct entry *old = t->entries;
    size_t old_size = t->size;
    size_t size = t->count * 2 >= t->size ? t->size * 2 : t->size;
    struct entry *entries = calloc(size, sizeof *entries);
    if (!entries)
        return -1;
    t->entries = entries;
    t->size = size;
    t->count = t->used = 0;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].hash > 1)
            place(t, old[i]);
    free(old);
    return 0;
}

int table_put(struct table *t, struct slice key, uint64_t value)
{
    uint64_t hash = hash_entry(key);
    struct entry *e = find(t, key, hash);
    if (e) {
        e->value = value;
        return 0;
    }
    if ((t->used + 1) * 4 > t->size * 3 && grow(t) != 0)
        return -1;
    place(t, (struct entry){key, hash, value});
    return 0;
}

bool table_remove(struct table *t, struct slice key)
{
    struct entry *e = find(t, key, hash_entry(key));
    if (!e)
        return false;
    *e = (struct entry){.hash = 1};
    t->count--;
    return true;
}

size_t table_count(const struct table *t)
{
    return t->count;
}

bool table_next(const struct table *t, size_t *at, struct slice *key, uint64_t *value)
{
    for (; *at < t->size; (*at)++) {
        const struct entry *e = &t->entries[*at];
        if (e->hash < 2)
            continue;
        *key = e->key;
        *value = e->value;
        (*at)++;
        return true;
    }
    return false;
}
