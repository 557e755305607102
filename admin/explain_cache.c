#include "admin/explain_cache.h"

#include "proxy/http/cache/facts.h"

#define LABEL "  %-12s "

static bool is_trusted(const struct explained *e)
{
    const struct cidr_set *trusted = &e->snapshot->listeners[e->listener->slot].trusted;
    return cidr_set_match(trusted, &e->request.client) != 0;
}

bool explain_cache(const struct explained *e, struct arena *a, struct explained_cache *out)
{
    const struct route *r = e->why.route;
    if (e->stream || !e->listener || !r || !r->cache || e->why.action != EXPLAIN_ROUTED ||
        e->why.rewrite_fault)
        return false;
    struct plain_context context = {&e->request, r, a};
    struct cache_subject subject = {.request = &e->request.request,
                                    .scheme = e->listener->is_tls ? S("https") : S("http"),
                                    .host = e->request.host,
                                    .matched = e->request.path,
                                    .path = e->why.path,
                                    .peer_is_trusted = is_trusted(e),
                                    .lookup = plain_variable,
                                    .context = &context};
    struct cache_request_directives said;
    uint64_t seen = fields_seen(&e->request.request.fields);
    *out = (struct explained_cache){.refused = cache_refuses(r->cache, &e->request.request, seen, &said)};
    if (cache_names_build(r, &subject, a, &out->names) != 0 && !out->refused)
        out->refused = "the key is too long";
    return true;
}

/* In words, of what cache_refuses() and Cache-Status say. */
static const char *words_of(const char *refused)
{
    static const char *const words[][2] = {
        {"method", "only GET and HEAD are looked up"},
        {"upgrade", "it asks for another protocol"},
        {"body", "a request with a body may mean more than its key says"},
        {"no-store", "its Cache-Control says no-store"},
        {"cookie", "it has a cookie of bypass_cookie"},
    };
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(words[i][0], refused) == 0)
            return words[i][1];
    return refused;
}

static void print_lines(const char *title, struct slice text, FILE *out)
{
    for (bool first = true; first || text.len; first = false) {
        struct slice line = slice_of(text.at, slice_find(text, '\n'));
        fprintf(out, LABEL "%.*s\n", first ? title : "", SLICE_FMT(line));
        text = slice_skip(text, line.len < text.len ? line.len + 1 : line.len);
    }
}

void explain_cache_print(const struct explained *e, FILE *out)
{
    struct arena arena;
    struct explained_cache c;
    arena_init(&arena, NULL, 0);
    bool has_cache = explain_cache(e, &arena, &c);
    if (has_cache && c.refused) {
        fprintf(out, "\ncache\n" LABEL "%s: %s\n", "bypassed", c.refused, words_of(c.refused));
    } else if (has_cache) {
        fprintf(out, "\ncache\n");
        print_lines("key", c.names.key, out);
        fprintf(out, LABEL "%.*s\n", "purged as", SLICE_FMT(c.names.url));
    }
    arena_reset(&arena);
}
