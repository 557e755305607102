#include "proxy/connection_limits.h"

#include <stdlib.h>

#include "core/hash.h"

void connection_limits_init(struct connection_limits *l)
{
    atomic_init(&l->open, 0);
    for (unsigned i = 0; i < IP_SHARDS; i++) {
        l->shards[i] = (struct ip_shard){.size = 0};
        pthread_mutex_init(&l->shards[i].lock, NULL);
    }
}

void connection_limits_free(struct connection_limits *l)
{
    for (unsigned i = 0; i < IP_SHARDS; i++) {
        pthread_mutex_destroy(&l->shards[i].lock);
        free(l->shards[i].entries);
    }
}

bool connection_limits_enter(struct connection_limits *l, uint64_t max)
{
    uint64_t open = atomic_fetch_add_explicit(&l->open, 1, memory_order_relaxed);
    if (max == 0 || open < max)
        return true;
    atomic_fetch_sub_explicit(&l->open, 1, memory_order_relaxed);
    return false;
}

void connection_limits_leave(struct connection_limits *l)
{
    atomic_fetch_sub_explicit(&l->open, 1, memory_order_relaxed);
}

static struct ip_shard *shard_of(struct connection_limits *l, const struct ip *ip, uint64_t *hash)
{
    *hash = hash_keyed(slice_of((const char *)ip->bytes, sizeof ip->bytes));
    return &l->shards[*hash >> 60];
}

/* The entry of the address, or the free place where it belongs. The table is never full. */
static struct ip_count *find(struct ip_shard *s, const struct ip *ip, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (s->size - 1);
    while (s->entries[i].count && memcmp(s->entries[i].bytes, ip->bytes, 16) != 0)
        i = (i + 1) & (s->size - 1);
    return &s->entries[i];
}

static uint64_t hash_of(const struct ip_count *e)
{
    return hash_keyed(slice_of((const char *)e->bytes, sizeof e->bytes));
}

static int make_room(struct ip_shard *s)
{
    if (s->size && (s->used + 1) * 2 <= s->size)
        return 0;
    uint32_t old_size = s->size, size = s->size ? s->size * 2 : 64;
    struct ip_count *old = s->entries, *entries = calloc(size, sizeof *entries);
    if (!entries)
        return -1;
    s->entries = entries;
    s->size = size;
    for (uint32_t i = 0; i < old_size; i++) {
        if (!old[i].count)
            continue;
        struct ip ip = {0};
        memcpy(ip.bytes, old[i].bytes, 16);
        *find(s, &ip, hash_of(&old[i])) = old[i];
    }
    free(old);
    return 0;
}

bool connection_limits_enter_ip(struct connection_limits *l, const struct ip *ip, uint64_t max)
{
    uint64_t hash;
    struct ip_shard *s = shard_of(l, ip, &hash);
    bool entered = false;
    pthread_mutex_lock(&s->lock);
    if (make_room(s) == 0) {
        struct ip_count *e = find(s, ip, hash);
        entered = e->count < max;
        if (entered && e->count++ == 0) {
            memcpy(e->bytes, ip->bytes, 16);
            s->used++;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return entered;
}

/* Frees the place and closes the gap, so that no later entry of the run is lost. */
static void remove_entry(struct ip_shard *s, struct ip_count *e)
{
    uint32_t hole = (uint32_t)(e - s->entries), i = hole;
    for (;;) {
        i = (i + 1) & (s->size - 1);
        if (!s->entries[i].count)
            break;
        uint32_t home = (uint32_t)hash_of(&s->entries[i]) & (s->size - 1);
        if (((i - home) & (s->size - 1)) >= ((i - hole) & (s->size - 1))) {
            s->entries[hole] = s->entries[i];
            hole = i;
        }
    }
    s->entries[hole].count = 0;
    s->used--;
}

void connection_limits_leave_ip(struct connection_limits *l, const struct ip *ip)
{
    uint64_t hash;
    struct ip_shard *s = shard_of(l, ip, &hash);
    pthread_mutex_lock(&s->lock);
    struct ip_count *e = s->size ? find(s, ip, hash) : NULL;
    if (e && e->count == 1)
        remove_entry(s, e);
    else if (e && e->count)
        e->count--;
    pthread_mutex_unlock(&s->lock);
}
