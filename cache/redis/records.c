#include "cache/redis/records.h"

#include <stdlib.h>

int redis_records_init(struct redis_records *r)
{
    memset(r, 0, sizeof *r);
    pthread_rwlock_init(&r->lock, NULL);
    list_init(&r->unsent);
    list_init(&r->sent);
    for (int soft = 0; soft < 2; soft++)
        r->slots[soft] = calloc(REDIS_RECORD_SLOTS, sizeof *r->slots[soft]);
    return r->slots[0] && r->slots[1] ? 0 : -1;
}

/* Under the lock, as all that begin so. */
static void locked_clear(struct redis_records *r)
{
    r->floor = 0;
    memset(r->all, 0, sizeof r->all);
    for (int soft = 0; soft < 2; soft++) {
        if (r->slots[soft])
            memset(r->slots[soft], 0, REDIS_RECORD_SLOTS * sizeof *r->slots[soft]);
        for (unsigned i = 0; i < r->prefix_count[soft]; i++)
            free(r->prefixes[soft][i].text);
        r->prefix_count[soft] = 0;
    }
}

/* Those that were not sent. */
static void locked_drop_unsent(struct redis_records *r)
{
    LIST_EACH_SAFE (node, &r->unsent) {
        list_remove(node);
        r->own_count--;
        free(CONTAINER_OF(node, struct redis_own_purge, link));
    }
}

void redis_records_free(struct redis_records *r)
{
    locked_clear(r);
    list_splice(&r->unsent, &r->sent);
    locked_drop_unsent(r);
    free(r->slots[0]);
    free(r->slots[1]);
    pthread_rwlock_destroy(&r->lock);
}

struct cache_redis_stamp redis_records_now(struct redis_records *r)
{
    pthread_rwlock_rdlock(&r->lock);
    struct cache_redis_stamp now = r->now;
    pthread_rwlock_unlock(&r->lock);
    return now;
}

void redis_records_begin(struct redis_records *r, struct cache_redis_stamp now, uint64_t floor)
{
    pthread_rwlock_wrlock(&r->lock);
    locked_clear(r);
    r->now = now;
    r->floor = floor;
    pthread_rwlock_unlock(&r->lock);
}

void redis_records_advance(struct redis_records *r, uint64_t number)
{
    pthread_rwlock_wrlock(&r->lock);
    if (number > r->now.number)
        r->now.number = number;
    pthread_rwlock_unlock(&r->lock);
}

static void locked_raise_floor(struct redis_records *r, uint64_t floor)
{
    if (floor > r->floor)
        r->floor = floor;
}

void redis_records_raise_floor(struct redis_records *r, uint64_t floor)
{
    pthread_rwlock_wrlock(&r->lock);
    locked_raise_floor(r, floor);
    pthread_rwlock_unlock(&r->lock);
}

static uint64_t slot_of(enum cache_purge_kind kind, struct slice text)
{
    return (hash_keyed(text) + (kind == CACHE_PURGE_TAG)) & (REDIS_RECORD_SLOTS - 1);
}

static void raise(uint64_t *number, uint64_t to)
{
    if (to > *number)
        *number = to;
}

static void locked_drop_prefix(struct redis_records *r, bool soft)
{
    struct redis_prefix *list = r->prefixes[soft], *oldest = list;
    for (unsigned i = 1; i < r->prefix_count[soft]; i++)
        if (list[i].number < oldest->number)
            oldest = &list[i];
    raise(&r->all[soft], oldest->number);
    free(oldest->text);
    *oldest = list[--r->prefix_count[soft]];
}

/* One that there is no place for any more concerns all that is as old as it. */
static void locked_add_prefix(struct redis_records *r, struct slice text, bool soft, uint64_t number)
{
    struct redis_prefix *list = r->prefixes[soft];
    for (unsigned i = 0; i < r->prefix_count[soft]; i++)
        if (slice_equal(slice_of(list[i].text, list[i].len), text)) {
            raise(&list[i].number, number);
            return;
        }
    if (r->prefix_count[soft] == REDIS_RECORD_PREFIXES)
        locked_drop_prefix(r, soft);
    char *copy = malloc(text.len + 1);
    if (!copy) {
        raise(&r->all[soft], number);
        return;
    }
    memcpy(copy, text.len ? text.at : "", text.len);
    list[r->prefix_count[soft]++] = (struct redis_prefix){number, copy, text.len};
}

static void locked_add(struct redis_records *r, enum cache_purge_kind kind, struct slice text, bool soft,
                       uint64_t number)
{
    switch (kind) {
    case CACHE_PURGE_URL:
    case CACHE_PURGE_TAG:
        raise(&r->slots[soft][slot_of(kind, text)], number);
        break;
    case CACHE_PURGE_PREFIX:
        locked_add_prefix(r, text, soft, number);
        break;
    case CACHE_PURGE_ALL:
        raise(&r->all[soft], number);
        break;
    }
}

void redis_records_add(struct redis_records *r, enum cache_purge_kind kind, struct slice text, bool soft,
                       uint64_t number)
{
    pthread_rwlock_wrlock(&r->lock);
    locked_add(r, kind, text, soft, number);
    pthread_rwlock_unlock(&r->lock);
}

/* Own purges. */

static struct redis_own_purge *own_create(enum cache_purge_kind kind, struct slice text, bool soft)
{
    struct redis_own_purge *p = malloc(sizeof *p + text.len + 1);
    if (!p)
        return NULL;
    *p = (struct redis_own_purge){.kind = kind, .soft = soft, .text = {p->bytes, text.len}};
    memcpy(p->bytes, text.len ? text.at : "", text.len);
    return p;
}

int redis_records_add_own(struct redis_records *r, enum cache_purge_kind kind, struct slice text, bool soft)
{
    struct redis_own_purge *p = own_create(kind, text, soft);
    struct redis_own_purge *everything = own_create(CACHE_PURGE_ALL, slice_of(NULL, 0), false);
    if (!p || !everything) {
        free(p);
        free(everything);
        return -1;
    }
    pthread_rwlock_wrlock(&r->lock);
    if (r->own_count >= CACHE_REDIS_RECORDS) {
        locked_drop_unsent(r);
        struct redis_own_purge *swapped = p;
        p = everything;
        everything = swapped;
    }
    list_append(&r->unsent, &p->link);
    r->own_count++;
    pthread_rwlock_unlock(&r->lock);
    free(everything);
    return 0;
}

struct redis_own_purge *redis_records_next_own(struct redis_records *r)
{
    struct redis_own_purge *p = NULL;
    pthread_rwlock_wrlock(&r->lock);
    if (!list_empty(&r->unsent)) {
        p = CONTAINER_OF(r->unsent.next, struct redis_own_purge, link);
        list_remove(&p->link);
        list_append(&r->sent, &p->link);
    }
    pthread_rwlock_unlock(&r->lock);
    return p;
}

void redis_records_own_done(struct redis_records *r, struct redis_own_purge *p, struct cache_redis_stamp as)
{
    pthread_rwlock_wrlock(&r->lock);
    if (as.epoch == r->now.epoch)
        locked_add(r, p->kind, p->text, p->soft, as.number);
    list_remove(&p->link);
    r->own_count--;
    pthread_rwlock_unlock(&r->lock);
    free(p);
}

void redis_records_own_again(struct redis_records *r)
{
    pthread_rwlock_wrlock(&r->lock);
    list_splice(&r->sent, &r->unsent);
    list_splice(&r->unsent, &r->sent);
    pthread_rwlock_unlock(&r->lock);
}

unsigned redis_records_own_count(struct redis_records *r)
{
    pthread_rwlock_rdlock(&r->lock);
    unsigned count = r->own_count;
    pthread_rwlock_unlock(&r->lock);
    return count;
}

/* Judging. */

/* The newest of the kind that concerns it. */
static uint64_t locked_newest(const struct redis_records *r, const struct redis_frame *frame, bool soft)
{
    uint64_t newest = r->all[soft];
    struct slice tags = frame->tags, tag;
    raise(&newest, r->slots[soft][slot_of(CACHE_PURGE_URL, frame->url)]);
    while (redis_frame_next_tag(&tags, &tag))
        raise(&newest, r->slots[soft][slot_of(CACHE_PURGE_TAG, tag)]);
    for (unsigned i = 0; i < r->prefix_count[soft]; i++) {
        const struct redis_prefix *p = &r->prefixes[soft][i];
        if (p->number > newest && slice_begins(frame->url, slice_of(p->text, p->len)))
            newest = p->number;
    }
    return newest;
}

static bool own_concerns(const struct redis_own_purge *p, const struct redis_frame *frame)
{
    struct slice tags = frame->tags, tag;
    switch (p->kind) {
    case CACHE_PURGE_URL:
        return slice_equal(frame->url, p->text);
    case CACHE_PURGE_PREFIX:
        return slice_begins(frame->url, p->text);
    case CACHE_PURGE_TAG:
        while (redis_frame_next_tag(&tags, &tag))
            if (slice_equal(tag, p->text))
                return true;
        return false;
    case CACHE_PURGE_ALL:
        break;
    }
    return true;
}

static enum redis_verdict own_verdict(const struct list *own, const struct redis_frame *frame,
                                      enum redis_verdict verdict)
{
    LIST_EACH (node, own) {
        const struct redis_own_purge *p = CONTAINER_OF(node, struct redis_own_purge, link);
        if (verdict == REDIS_PURGED || !own_concerns(p, frame))
            continue;
        verdict = p->soft ? REDIS_SOFTLY_PURGED : REDIS_PURGED;
    }
    return verdict;
}

enum redis_verdict redis_records_judge(struct redis_records *r, const struct redis_frame *frame)
{
    enum redis_verdict verdict = REDIS_PURGED;
    pthread_rwlock_rdlock(&r->lock);
    if (r->now.epoch && frame->stamp.epoch == r->now.epoch && frame->stamp.number >= r->floor &&
        locked_newest(r, frame, false) <= frame->stamp.number) {
        verdict = locked_newest(r, frame, true) > frame->stamp.number ? REDIS_SOFTLY_PURGED : REDIS_KEPT;
        verdict = own_verdict(&r->sent, frame, verdict);
        verdict = own_verdict(&r->unsent, frame, verdict);
    }
    pthread_rwlock_unlock(&r->lock);
    return verdict;
}
