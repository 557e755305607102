#include "admin/explain_cache.h"

#include <time.h>

#include "admin/explain_settings.h"
#include "cache/store.h"
#include "proxy/http/cache/facts.h"

#define LABEL "  %-12s "

/* In words, of what cache_refuses() and Cache-Status say. */
static const char *words_of(const char *refused)
{
    static const char *const words[][2] = {
        {"method", "only GET and HEAD are looked up"},
        {"upgrade", "it asks for another protocol"},
        {"body", "a request with a body may mean more than its key says"},
        {"no-store", "its Cache-Control says no-store"},
        {"cookie", "it has a cookie of bypass_cookie"},
        {"key-too-long", "the key is longer than the store takes"},
    };
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(words[i][0], refused) == 0)
            return words[i][1];
    return refused;
}

static void set(struct explained_cache *out, const char *result, const char *why)
{
    out->result = result;
    out->why = why;
}

/* As decide() of the cache's step takes it. */
static void judge_object(const struct cache_object *o, const struct cache_request_directives *said,
                         int64_t now, struct explained_cache *out)
{
    const char *why = NULL;
    bool soft = atomic_load_explicit(&o->soft_purged, memory_order_relaxed);
    out->is_stored = true;
    out->status = o->status;
    out->age = cache_age(&o->freshness, now);
    out->lifetime = o->freshness.lifetime;
    out->bytes = cache_body_bytes(o->body);
    switch (cache_may_use(&o->freshness, said, soft, now, &why)) {
    case CACHE_USE_FRESH:
        set(out, "hit", "what is stored is fresh");
        break;
    case CACHE_USE_STALE:
        set(out, "stale", "what is stored is stale, and the request's max-stale takes it");
        break;
    case CACHE_USE_UPDATING:
        set(out, "stale",
            "what is stored is stale; it is served while one fetch refreshes it "
            "(stale_while_revalidate)");
        break;
    case CACHE_USE_VALIDATED:
        set(out, "revalidated",
            soft                             ? "what is stored was purged softly: the origin is asked first"
            : why && !strcmp(why, "request") ? "the request wants the origin to be asked first"
                                             : "what is stored is stale: the origin is asked first");
    }
}

static void look_up(const struct explained *e, struct arena *a, struct explained_cache *out)
{
    struct cache_asked asked = {&e->request.request.fields, a, false};
    struct cache_key key = cache_key_of(out->lookup.names.key);
    struct cache_found found;
    int64_t now = time(NULL);
    key.url = out->lookup.names.url;
    cache_find(e->cache, &key, cache_asked_lines, &asked, a, now, &found);
    if (found.object)
        judge_object(found.object, &out->lookup.said, now, out);
    else if (out->lookup.said.only_if_cached)
        set(out, "miss", "nothing is stored, and the request wants nothing else (only-if-cached): 504");
    else if (found.fill)
        set(out, "miss", "nothing is stored yet, but a fetch is under way, which it would follow");
    else if (found.pass)
        set(out, "miss", "lately an answer could not be stored: it goes by the cache");
    else
        set(out, "miss",
            found.has_variants ? "what is stored is for other requests (Vary)" : "nothing is stored");
    cache_object_release(found.object);
    cache_fill_let_go(found.fill);
}

/* What the request alone says; the answer may forbid it too. */
static const char *not_stored(const struct explained *e)
{
    const struct http_request *r = &e->request.request;
    if (fields_find(&r->fields, FIELD_AUTHORIZATION))
        return "it has Authorization: only if the answer says public, s-maxage or must-revalidate";
    return NULL;
}

bool explain_cache(const struct explained *e, struct arena *a, struct explained_cache *out)
{
    *out = (struct explained_cache){0};
    if (e->stream || !e->listener || !explain_lookup(&e->request, &e->why, a, &out->lookup))
        return false;
    if (out->lookup.refused)
        set(out, "bypass", words_of(out->lookup.refused));
    else if (e->cache)
        look_up(e, a, out);
    if (!out->lookup.refused)
        out->not_stored = not_stored(e);
    return true;
}

void explain_cache_settings(const struct explained *e, struct arena *a, struct explained_settings *out)
{
    const struct route_cache_settings *s = e->why.route->settings->cache;
    static const char *const cookies[] = {"refuse", "store", "strip"};
    const struct config_node *route = e->why.route->settings->node;
    *out = (struct explained_settings){.arena = a};
    explain_row(out, route, "cache.ttl",
                s->has_ttl ? explain_duration(a, s->ttl) : "none: as long as the answer says");
    explain_row(out, route, "cache.statuses",
                s->statuses.count ? explain_texts(a, &s->statuses) : "those that HTTP lets be stored");
    explain_row(out, route, "cache.set_cookie", cookies[s->set_cookie]);
    explain_row(out, route, "cache.stale_while_revalidate", explain_duration(a, s->stale_while_revalidate));
    explain_row(out, route, "cache.stale_if_error", explain_duration(a, s->stale_if_error));
    explain_row(out, route, "cache.collapse", s->collapse ? "true" : "false");
    explain_row(out, e->snapshot->config.root, "cache.max_object",
                explain_size(a, e->snapshot->settings.cache.max_object));
}

/* Lines. */

static void print_lines(const char *title, struct slice text, FILE *out)
{
    for (bool first = true; first || text.len; first = false) {
        struct slice line = slice_of(text.at, slice_find(text, '\n'));
        fprintf(out, LABEL "%.*s\n", first ? title : "", SLICE_FMT(line));
        text = slice_skip(text, line.len < text.len ? line.len + 1 : line.len);
    }
}

static void print_stored(const struct explained_cache *c, FILE *out)
{
    if (!c->result)
        return;
    fprintf(out, LABEL "%s: %s\n", "now", c->result, c->why);
    if (c->is_stored)
        fprintf(out, LABEL "%u, %llu bytes, %llds old, %s %llds\n", "stored", c->status,
                (unsigned long long)c->bytes, (long long)c->age,
                c->age < c->lifetime ? "fresh for another" : "stale for",
                (long long)(c->age < c->lifetime ? c->lifetime - c->age : c->age - c->lifetime));
}

void explain_cache_print(const struct explained *e, FILE *out)
{
    struct arena arena;
    struct explained_cache c;
    struct explained_settings settings;
    arena_init(&arena, NULL, 0);
    bool has_cache = explain_cache(e, &arena, &c);
    if (has_cache && c.lookup.refused) {
        fprintf(out, "\ncache\n" LABEL "%s: %s\n", "bypassed", c.lookup.refused, c.why);
    } else if (has_cache) {
        fprintf(out, "\ncache\n");
        print_lines("key", c.lookup.names.key, out);
        fprintf(out, LABEL "%.*s\n", "purged as", SLICE_FMT(c.lookup.names.url));
        print_stored(&c, out);
        if (c.not_stored)
            fprintf(out, LABEL "%s\n", "not kept", c.not_stored);
        explain_cache_settings(e, &arena, &settings);
        explain_settings_print(&settings, out);
    }
    arena_reset(&arena);
}
