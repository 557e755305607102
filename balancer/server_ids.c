/* Numbers of servers: low ones, so that tables by number stay small, and used again. */
#include <stdlib.h>

#include "balancer/server_internal.h"

struct server_ids {
    pthread_mutex_t lock;
    _Atomic uint32_t references;
    uint64_t *used;
    size_t words;
    uint64_t next_serial;
};

struct server_ids *server_ids_create(void)
{
    struct server_ids *ids = calloc(1, sizeof *ids);
    if (!ids)
        return NULL;
    ids->next_serial = 1;
    atomic_init(&ids->references, 1);
    pthread_mutex_init(&ids->lock, NULL);
    return ids;
}

void server_ids_release(struct server_ids *ids)
{
    if (!ids || atomic_fetch_sub_explicit(&ids->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&ids->lock);
    free(ids->used);
    free(ids);
}

static uint32_t take_lowest(struct server_ids *ids)
{
    for (size_t i = 0; i < ids->words; i++) {
        if (ids->used[i] == UINT64_MAX)
            continue;
        unsigned bit = (unsigned)__builtin_ctzll(~ids->used[i]);
        ids->used[i] |= UINT64_C(1) << bit;
        return (uint32_t)(i * 64 + bit);
    }
    if (ids->words * 64 >= SERVER_ID_MAX)
        return SERVER_ID_NONE;
    size_t words = ids->words ? ids->words * 2 : 4;
    uint64_t *used = realloc(ids->used, words * sizeof *used);
    if (!used)
        return SERVER_ID_NONE;
    memset(used + ids->words, 0, (words - ids->words) * sizeof *used);
    uint32_t id = (uint32_t)(ids->words * 64);
    used[ids->words] = 1;
    ids->used = used;
    ids->words = words;
    return id;
}

void server_ids_give(struct server_ids *ids, struct server *s)
{
    pthread_mutex_lock(&ids->lock);
    s->id = take_lowest(ids);
    s->serial = ids->next_serial++;
    pthread_mutex_unlock(&ids->lock);
    atomic_fetch_add_explicit(&ids->references, 1, memory_order_relaxed);
    s->ids = ids;
}

void server_ids_take_back(struct server *s)
{
    if (!s->ids)
        return;
    pthread_mutex_lock(&s->ids->lock);
    if (s->id != SERVER_ID_NONE)
        s->ids->used[s->id / 64] &= ~(UINT64_C(1) << (s->id % 64));
    pthread_mutex_unlock(&s->ids->lock);
    server_ids_release(s->ids);
}
