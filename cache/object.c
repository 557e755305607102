#include "cache/object.h"

#include <string.h>

#include "cache/piece.h"
#include "cache/purge.h"

/* The piece: the struct, the head, hashes of tags, texts. */
enum { HEAD_ALIGN = 16 };

static size_t aligned(size_t size, size_t to)
{
    return (size + to - 1) & ~(to - 1);
}

static struct slice put_text(char **at, struct slice text)
{
    struct slice copy = {*at, text.len};
    if (text.len)
        memcpy(*at, text.at, text.len);
    *at += text.len;
    return copy;
}

struct cache_object *cache_object_create(struct cache_budget *b, const struct cache_object_spec *spec)
{
    uint32_t tag_count = spec->tag_count < CACHE_TAGS_MAX ? spec->tag_count : CACHE_TAGS_MAX;
    size_t head_at = aligned(sizeof(struct cache_object), HEAD_ALIGN);
    size_t tags_at = aligned(head_at + spec->head_size, _Alignof(uint64_t));
    size_t texts_at = tags_at + tag_count * sizeof(uint64_t);
    size_t size = texts_at + spec->url.len + spec->vary_names.len + spec->vary_text.len;
    if (size > UINT32_MAX / 2)
        return NULL;

    char *piece = cache_piece_take(b, size);
    if (!piece)
        return NULL;
    char *texts = piece + texts_at;
    uint64_t *tags = (uint64_t *)(void *)(piece + tags_at);
    for (uint32_t i = 0; i < tag_count; i++)
        tags[i] = cache_tag_hash(spec->tags[i]);

    struct cache_object *o = (struct cache_object *)(void *)piece;
    *o = (struct cache_object){
        .refs = 1,
        .budget = b,
        .freshness = *spec->freshness,
        .status = spec->status,
        .sequence = spec->sequence,
        .checked = spec->sequence,
        .url = put_text(&texts, spec->url),
        .vary_names = put_text(&texts, spec->vary_names),
        .vary_text = put_text(&texts, spec->vary_text),
        .tags = tags,
        .tag_count = tag_count,
        .has_more_tags = spec->tag_count > tag_count,
        .memory = (uint32_t)cache_memory_size(piece),
        .body = cache_body_hold(spec->body),
        .head = piece + head_at,
        .head_size = spec->head_size,
    };
    cache_policy_node_init(&o->policy, 0, 0);
    if (cache_body_state(o->body) == CACHE_BODY_WHOLE)
        o->length = cache_body_bytes(o->body);
    return o;
}

void cache_object_release(struct cache_object *o)
{
    if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    ASSERT(!o->entry);
    cache_body_release(o->body);
    cache_piece_give(o->budget, o);
}

bool cache_object_serves_on_error(const struct cache_object *o, const struct cache_request_directives *d,
                                  bool answered, int64_t now)
{
    bool has_leave = !answered || o->freshness.stale_if_error > 0 || d->stale_if_error > 0;
    if (!has_leave && atomic_load_explicit(&o->soft_purged, memory_order_relaxed))
        return false;
    return cache_may_use_on_error(&o->freshness, d, answered, now);
}
