/* What the tests of the cache's store share: a store, requests with one field, and fetches that end at once.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cache/store.h"

struct scene {
    struct cache_store *store;
    struct arena arena;
    int64_t now;
    struct slice language; /* of the requests: Accept-Language; empty = none */
    struct slice line;
};

static inline struct cache_lines scene_lookup(void *context, struct slice name)
{
    struct scene *c = context;
    c->line = c->language;
    bool is_asked = slice_equal(name, S("accept-language")) && c->language.len;
    return (struct cache_lines){&c->line, is_asked ? 1 : 0};
}

static inline void scene_open(struct scene *c, const struct cache_settings *settings)
{
    *c = (struct scene){.store = cache_store_create(settings), .now = (int64_t)time(NULL)};
    assert_non_null(c->store);
    arena_init(&c->arena, NULL, 0);
}

static inline void scene_begin(struct scene *c)
{
    scene_open(c, &(struct cache_settings){.memory = 4 << 20, .max_object = 1 << 20});
}

/* The store checks that everything was given back. */
static inline void scene_end(struct scene *c)
{
    arena_reset(&c->arena);
    cache_store_free(c->store);
}

static inline struct cache_key key_of(const char *text)
{
    return cache_key_of(slice_text(text));
}

static inline enum cache_lead scene_lead_as(struct scene *c, const char *key, struct cache_object *base,
                                            bool alone, uint32_t generation, struct cache_fill **fill)
{
    struct cache_key k = key_of(key);
    return cache_lead(c->store, &k, base, alone, generation, scene_lookup, c, &c->arena, c->now, fill);
}

static inline struct cache_fill *scene_lead(struct scene *c, const char *key)
{
    struct cache_fill *f;
    assert_int_equal(scene_lead_as(c, key, NULL, false, 0, &f), CACHE_LEAD);
    return f;
}

static inline struct cache_found scene_find(struct scene *c, const char *key)
{
    struct cache_key k = key_of(key);
    struct cache_found found;
    cache_find(c->store, &k, scene_lookup, c, &c->arena, c->now, &found);
    return found;
}

/* The object is let go at once: good for comparing, not for looking into. */
static inline struct cache_object *scene_peek(struct scene *c, const char *key)
{
    struct cache_found found = scene_find(c, key);
    cache_object_release(found.object);
    cache_fill_let_go(found.fill);
    return found.object;
}

static inline struct cache_body *scene_body(struct scene *c, size_t bytes)
{
    struct cache_body *b = cache_body_create(cache_store_budget(c->store), bytes);
    if (!b)
        return NULL;
    char *text = calloc(1, bytes + 1);
    assert_non_null(text);
    struct iovec iov = {text, bytes};
    int result = bytes ? cache_body_append(b, &iov, 1) : 0;
    free(text);
    if (result != 0) {
        cache_body_release(b);
        return NULL;
    }
    return b;
}

/* As of the fetch: its sequence, its URL, the variant of the scene's language. `vary`: whether there is one.
 */
static inline struct cache_object *scene_object(struct scene *c, struct cache_fill *f, const char *url,
                                                struct cache_body *body, bool vary, const char *tag)
{
    struct cache_freshness fresh = {.response_time = c->now, .lifetime = 60};
    struct slice tags[1] = {slice_text(tag)};
    struct cache_object_spec spec = {
        .freshness = &fresh,
        .status = 200,
        .sequence = f->sequence,
        .url = slice_text(url),
        .vary_names = vary ? S("accept-language") : (struct slice){0},
        .tags = tags,
        .tag_count = tag ? 1 : 0,
        .body = body,
        .head_size = 100,
    };
    if (vary)
        assert_int_equal(cache_vary_text(spec.vary_names, scene_lookup, c, &c->arena, &spec.vary_text), 0);
    struct cache_object *o = cache_object_create(cache_store_budget(c->store), &spec);
    if (o)
        memset(o->head, 'h', o->head_size);
    return o;
}

/* Ends the fetch with an object of that many bytes; whether there was memory for it. */
static inline bool scene_answer(struct scene *c, struct cache_fill *f, const char *url, size_t bytes,
                                bool vary, const char *tag)
{
    struct cache_body *body = scene_body(c, bytes);
    struct cache_object *o = body ? scene_object(c, f, url, body, vary, tag) : NULL;
    if (o) {
        cache_fill_publish(f, o);
        cache_body_finish(body);
    }
    cache_object_release(o);
    cache_body_release(body);
    cache_fill_end(f);
    return o;
}

static inline bool scene_put(struct scene *c, const char *key, size_t bytes)
{
    struct cache_fill *f;
    return scene_lead_as(c, key, NULL, true, 0, &f) == CACHE_LEAD &&
           scene_answer(c, f, key, bytes, false, NULL);
}

static inline void scene_put_variant(struct scene *c, const char *key, struct slice language)
{
    struct cache_fill *f;
    c->language = language;
    assert_int_equal(scene_lead_as(c, key, NULL, true, 0, &f), CACHE_LEAD);
    assert_true(scene_answer(c, f, key, 100, true, NULL));
}

static inline struct cache_stats scene_stats(struct scene *c)
{
    struct cache_stats stats;
    cache_store_stats(c->store, &stats);
    return stats;
}
