#include "admin/cache_urls.h"

#include "proxy/http/cache/key.h"
#include "proxy/http/plain_request.h"
#include "proxy/http/target.h"

static struct slice no_value(void *context, const struct template_variable *v)
{
    (void)context;
    (void)v;
    return S("");
}

static void add(struct cache_urls *urls, struct slice url)
{
    for (size_t i = 0; i < urls->count; i++)
        if (slice_equal(urls->at[i], url))
            return;
    urls->at[urls->count++] = url;
}

/* The URL under `scheme`, as it is and by the rules of each route that has a cache. */
static int add_forms(const struct route *routes, size_t route_count, struct slice scheme,
                     const struct plain_request *p, struct arena *a, struct cache_urls *urls)
{
    struct route_cache none = {.ignore_query_count = 0};
    struct route as_it_is = {.cache = &none};
    struct cache_subject subject = {.request = &p->request,
                                    .scheme = scheme,
                                    .host = p->host,
                                    .matched = p->path,
                                    .path = p->path,
                                    .lookup = no_value};
    struct cache_names names;
    if (cache_names_build(&as_it_is, &subject, a, &names) != 0)
        return -1;
    add(urls, names.url);
    for (size_t i = 0; p->request.has_query && i < route_count; i++) {
        const struct route *r = &routes[i];
        bool changes_query = r->cache && (r->cache->ignore_query_count || r->cache->ignore_whole_query ||
                                          r->cache->sort_query);
        if (!changes_query)
            continue;
        if (cache_names_build(r, &subject, a, &names) != 0)
            return -1;
        add(urls, names.url);
    }
    return 0;
}

/* With a scheme, so that it can be read as any other; *given says whether it had one. */
static struct slice complete(struct slice url, struct arena *a, bool *given)
{
    size_t letters = 0;
    while (letters < url.len && !memchr(":/?#", url.at[letters], 4))
        letters++;
    *given = slice_begins(slice_skip(url, letters), S("://"));
    const char *text =
        *given ? arena_printf(a, "%.*s", SLICE_FMT(url)) : arena_printf(a, "http://%.*s", SLICE_FMT(url));
    return slice_text(text);
}

int cache_urls_read(const struct snapshot *s, struct slice url, bool is_prefix, struct arena *a,
                    struct cache_urls *out, const char **why)
{
    struct plain_request p;
    bool has_scheme;
    *why = "out of memory";
    if (slice_begins(url, S("/"))) {
        *why = "a URL begins with its host: https://example.com/a, or example.com/a";
        return -1;
    }
    struct slice whole = complete(url, a, &has_scheme);
    if (!whole.at || plain_request_make(a, S("GET"), whole, NULL, 0, S(""), &p, why) != 0)
        return -1;
    if (p.path_fault) {
        *why = target_fault_text(p.path_fault);
        return -1;
    }
    /* Of a prefix the query may be cut anywhere: no parameter of it is known to be whole. */
    size_t count = is_prefix ? 0 : s->route_count;
    *why = "out of memory, or the URL is too long";
    out->count = 0;
    out->at = arena_alloc(a, 2 * (count + 1) * sizeof *out->at);
    if (!out->at || add_forms(s->routes, count, p.request.scheme, &p, a, out) != 0)
        return -1;
    return has_scheme ? 0 : add_forms(s->routes, count, S("https"), &p, a, out);
}
