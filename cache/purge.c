#include "cache/purge.h"

#include <stdlib.h>
#include <string.h>

#include "cache/object.h"
#include "core/base.h"
#include "core/hash.h"

enum { HARD, SOFT };

enum {
    SLOTS_LEAST = 8192, /* powers of two */
    SLOTS_MOST = 1 << 20,
    MEMORY_PER_SLOT = 4096,
    PAGES = 8192 /* that the heap adds */
};

struct cache_prefix {
    uint64_t number;
    bool is_soft;
    struct slice text; /* own copy */
};

static uint64_t slots_for(uint64_t memory)
{
    uint64_t slots = SLOTS_LEAST;
    while (slots < SLOTS_MOST && slots * 2 * MEMORY_PER_SLOT <= memory)
        slots *= 2;
    return slots;
}

int cache_purges_init(struct cache_purges *p, uint64_t memory)
{
    uint64_t slots = slots_for(memory);
    memset(p, 0, sizeof *p);
    pthread_rwlock_init(&p->lock, NULL);
    p->slot_mask = slots - 1;
    p->slots[HARD] = calloc(2 * slots, sizeof *p->slots[HARD]);
    p->slots[SOFT] = p->slots[HARD] ? p->slots[HARD] + slots : NULL;
    return p->slots[HARD] ? 0 : -1;
}

uint64_t cache_purges_heap(uint64_t memory)
{
    return 2 * slots_for(memory) * sizeof(uint64_t) + PAGES + CACHE_PREFIXES_BYTES + CACHE_PREFIXES_MAX * 72u;
}

void cache_purges_free(struct cache_purges *p)
{
    for (unsigned i = 0; i < p->prefix_count; i++)
        free((char *)p->prefixes[i].text.at);
    free(p->prefixes);
    p->prefixes = NULL;
    p->prefix_count = 0;
    free(p->slots[HARD]);
    p->slots[HARD] = p->slots[SOFT] = NULL;
    pthread_rwlock_destroy(&p->lock);
}

uint64_t cache_url_hash(struct slice url)
{
    return hash_keyed(url);
}

/* Other slots than a URL of the same text. */
uint64_t cache_tag_hash(struct slice tag)
{
    return hash_keyed(tag) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* Two of the slots are a hash's: what shares one of them with a purge is not purged. */
static _Atomic uint64_t *slot_of(struct cache_purges *p, uint64_t hash, bool soft, unsigned which)
{
    return &p->slots[soft][(hash >> (which ? 20 : 40)) & p->slot_mask];
}

static void mark_slots(struct cache_purges *p, uint64_t hash, bool soft, uint64_t number)
{
    for (unsigned which = 0; which < 2; which++)
        atomic_store_explicit(slot_of(p, hash, soft, which), number, memory_order_relaxed);
}

static bool slots_say(struct cache_purges *p, uint64_t hash, bool soft, uint64_t since)
{
    return atomic_load_explicit(slot_of(p, hash, soft, 0), memory_order_relaxed) > since &&
           atomic_load_explicit(slot_of(p, hash, soft, 1), memory_order_relaxed) > since;
}

/* The oldest. What is older than it counts as purged from now on. */
static void forget_prefix(struct cache_purges *p)
{
    struct cache_prefix *oldest = &p->prefixes[0];
    p->prefixes_floor[oldest->is_soft] = oldest->number;
    p->prefix_bytes -= (uint32_t)oldest->text.len;
    free((char *)oldest->text.at);
    p->prefix_count--;
    memmove(oldest, oldest + 1, p->prefix_count * sizeof *oldest);
}

static int remember_prefix(struct cache_purges *p, uint64_t number, struct slice text, bool is_soft)
{
    if (text.len > CACHE_PREFIX_MAX)
        text.len = CACHE_PREFIX_MAX;
    if (!p->prefixes)
        p->prefixes = calloc(CACHE_PREFIXES_MAX, sizeof *p->prefixes);
    char *copy = malloc(text.len + 1);
    if (!p->prefixes || !copy) {
        free(copy);
        return -1;
    }
    if (text.len)
        memcpy(copy, text.at, text.len);

    while (p->prefix_count == CACHE_PREFIXES_MAX || p->prefix_bytes + text.len > CACHE_PREFIXES_BYTES)
        forget_prefix(p);
    p->prefixes[p->prefix_count++] = (struct cache_prefix){number, is_soft, {copy, text.len}};
    p->prefix_bytes += (uint32_t)text.len;
    return 0;
}

/* One purge at a time: the number is shown when everything before it is in its place. */
int cache_purge(struct cache_purges *p, enum cache_purge_kind kind, struct slice text, bool soft)
{
    int result = 0;
    pthread_rwlock_wrlock(&p->lock);
    uint64_t number = atomic_load_explicit(&p->sequence, memory_order_relaxed) + 1;
    switch (kind) {
    case CACHE_PURGE_URL:
        mark_slots(p, cache_url_hash(text), soft, number);
        break;
    case CACHE_PURGE_TAG:
        mark_slots(p, cache_tag_hash(text), soft, number);
        atomic_store_explicit(&p->tags[soft], number, memory_order_relaxed);
        break;
    case CACHE_PURGE_PREFIX:
        result = remember_prefix(p, number, text, soft);
        if (result == 0)
            atomic_store_explicit(&p->prefixes_sequence, number, memory_order_relaxed);
        else
            atomic_store_explicit(&p->all[soft], number, memory_order_relaxed);
        break;
    case CACHE_PURGE_ALL:
        atomic_store_explicit(&p->all[soft], number, memory_order_relaxed);
        break;
    }
    if (!soft)
        atomic_store_explicit(&p->hard, number, memory_order_relaxed);
    if (kind != CACHE_PURGE_URL)
        atomic_store_explicit(&p->not_url, number, memory_order_relaxed);
    atomic_store_explicit(&p->sequence, number, memory_order_release);
    pthread_rwlock_unlock(&p->lock);
    return result;
}

static bool slots_concern(struct cache_purges *p, const struct cache_object *o, uint64_t since, bool soft)
{
    if (slots_say(p, cache_url_hash(o->url), soft, since))
        return true;
    if (atomic_load_explicit(&p->tags[soft], memory_order_relaxed) <= since)
        return false;
    if (o->has_more_tags)
        return true;
    for (uint32_t i = 0; i < o->tag_count; i++)
        if (slots_say(p, o->tags[i], soft, since))
            return true;
    return false;
}

static bool prefixes_concern(struct cache_purges *p, const struct cache_object *o, uint64_t since, bool soft)
{
    if (atomic_load_explicit(&p->prefixes_sequence, memory_order_relaxed) <= since)
        return false;
    pthread_rwlock_rdlock(&p->lock);
    bool concerns = p->prefixes_floor[soft] > since;
    for (unsigned i = p->prefix_count; !concerns && i > 0 && p->prefixes[i - 1].number > since; i--)
        concerns = p->prefixes[i - 1].is_soft == soft && slice_begins(o->url, p->prefixes[i - 1].text);
    pthread_rwlock_unlock(&p->lock);
    return concerns;
}

static bool concerns(struct cache_purges *p, const struct cache_object *o, uint64_t since, bool soft)
{
    return atomic_load_explicit(&p->all[soft], memory_order_relaxed) > since ||
           slots_concern(p, o, since, soft) || prefixes_concern(p, o, since, soft);
}

bool cache_purge_parts(struct cache_purges *p, uint64_t url_hash, uint64_t since)
{
    if (cache_purge_now(p) == since)
        return false;
    return !url_hash || atomic_load_explicit(&p->not_url, memory_order_relaxed) > since ||
           slots_say(p, url_hash, HARD, since) || slots_say(p, url_hash, SOFT, since);
}

/* `checked` stays where it is when the object is purged, so that it is so at the next look as well. */
bool cache_is_purged(struct cache_purges *p, struct cache_object *o)
{
    uint64_t now = cache_purge_now(p);
    uint64_t checked = atomic_load_explicit(&o->checked, memory_order_acquire);
    if (LIKELY(checked >= now))
        return false;
    if (concerns(p, o, checked, HARD))
        return true;
    if (concerns(p, o, checked, SOFT))
        atomic_store_explicit(&o->soft_purged, true, memory_order_relaxed);
    atomic_store_explicit(&o->checked, now, memory_order_release);
    return false;
}
