#include "proxy/http/cache/key.h"

#include "balancer/upstream.h"
#include "cache/store.h"
#include "proxy/http/cache/facts.h"
#include "proxy/http/conditions.h"
#include "proxy/http/fields.h"
#include "proxy/http/target.h"

/* Whether to look. */

/* False when it wants nothing of it stored. */
static bool read_directives(const struct http_request *r, uint64_t seen,
                            struct cache_request_directives *said)
{
    struct cache_request facts;
    struct slice lines[CACHE_REQUEST_LINES];
    if (LIKELY(!(seen & (FIELD_BIT(FIELD_CACHE_CONTROL) | FIELD_BIT(FIELD_PRAGMA))))) {
        *said = cache_says_nothing;
        return true;
    }
    bool is_all = cache_request_facts(r, lines, &facts);
    cache_request_directives(&facts, said);
    return is_all && !said->no_store;
}

const char *cache_refuses(const struct route_cache *cache, const struct http_request *r, uint64_t seen,
                          struct cache_request_directives *said)
{
    struct slice value;
    if (r->protocol.len || r->upgrade)
        return "upgrade";
    if (r->method_id != METHOD_GET && r->method_id != METHOD_HEAD)
        return "method";
    if (r->body != BODY_NONE)
        return "body"; /* an origin that reads it answers to more than the key says */
    if (!read_directives(r, seen, said))
        return "no-store";
    for (size_t i = 0; seen & FIELD_BIT(FIELD_COOKIE) && i < cache->bypass_cookie_count; i++)
        if (cookie_value(&r->fields, cache->bypass_cookies[i], &value))
            return "cookie";
    return NULL;
}

bool cache_is_unkeyed(const struct route_cache *cache, const struct field *f)
{
    static const struct slice names[] = {
        SLICE("x-original-url"),        SLICE("x-rewrite-url"),
        SLICE("x-original-host"),       SLICE("x-host"),
        SLICE("x-http-host-override"),  SLICE("x-forwarded-server"),
        SLICE("x-forwarded-port"),      SLICE("x-forwarded-scheme"),
        SLICE("x-forwarded-ssl"),       SLICE("x-forwarded-prefix"),
        SLICE("x-forwarded-path"),      SLICE("x-forwarded-uri"),
        SLICE("x-forwarded-protocol"),  SLICE("x-url-scheme"),
        SLICE("front-end-https"),       SLICE("x-http-method-override"),
        SLICE("x-http-method"),         SLICE("x-method-override"),
        SLICE("x-wap-profile"),         SLICE("x-backend-host"),
        SLICE("x-envoy-original-path"),
    };
    if (f->id != FIELD_OTHER)
        return false;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (!slice_equal_nocase(f->name, names[i]))
            continue;
        for (size_t k = 0; k < cache->key_header_count; k++)
            if (slice_equal_nocase(f->name, cache->key_headers[k].name))
                return false;
        return true;
    }
    return false;
}

/* The text, which grows in the arena's scratch: it is bounded by CACHE_KEY_MAX. */

struct text {
    char *at;
    size_t len, room;
    bool overflow;
};

static void put(struct text *t, struct slice s)
{
    if (s.len > t->room - t->len) {
        t->overflow = true;
        return;
    }
    if (s.len)
        memcpy(t->at + t->len, s.at, s.len);
    t->len += s.len;
}

static struct slice taken_from(const struct text *t, size_t start)
{
    return slice_of(t->at + start, t->len - start);
}

/* The query. */

#define PARAMETERS_MAX 256 /* more are not sorted, and none is left out */

/* Those that count, in their order. False when there are too many. */
static bool parameters_of(const struct route_cache *cache, struct slice query, struct slice *out,
                          size_t *count)
{
    *count = 0;
    while (query.len) {
        size_t end = slice_find(query, '&');
        struct slice parameter = slice_of(query.at, end);
        query = end < query.len ? slice_skip(query, end + 1) : slice_of(NULL, 0);
        if (route_cache_ignores(cache, slice_of(parameter.at, slice_find(parameter, '='))))
            continue;
        if (*count == PARAMETERS_MAX)
            return false;
        out[(*count)++] = parameter;
    }
    return true;
}

static int order(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int differ = shorter ? memcmp(a.at, b.at, shorter) : 0;
    return differ ? differ : (a.len > b.len) - (a.len < b.len);
}

/* By name; those of one name stay in their order, which may mean something. */
static void sort(struct slice *at, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct slice moving = at[i], name = slice_of(moving.at, slice_find(moving, '='));
        size_t to = i;
        for (; to > 0 && order(slice_of(at[to - 1].at, slice_find(at[to - 1], '=')), name) > 0; to--)
            at[to] = at[to - 1];
        at[to] = moving;
    }
}

static void put_query(struct text *t, const struct route_cache *cache, const struct http_request *r,
                      struct cache_names *out)
{
    struct slice parameters[PARAMETERS_MAX];
    size_t count;
    out->has_query = r->has_query && !cache->ignore_whole_query;
    if (!out->has_query)
        return;
    put(t, S("?"));
    size_t start = t->len;
    bool as_it_came = !cache->ignore_query_count && !cache->sort_query;
    if (as_it_came || !parameters_of(cache, r->query, parameters, &count)) {
        put(t, r->query);
    } else {
        if (cache->sort_query)
            sort(parameters, count);
        for (size_t i = 0; i < count; i++) {
            put(t, i ? S("&") : S(""));
            put(t, parameters[i]);
        }
        if (count == 0 && r->query.len) { /* nothing is left of it */
            out->has_query = false;
            t->len--;
            return;
        }
    }
    out->query = taken_from(t, start);
}

/* The rest of the key. */

/* Where the request goes, and what the route does to it. */
static void put_route(struct text *t, const struct route *route)
{
    for (size_t i = 0; i < route->target_count; i++) {
        put(t, i ? S(",") : S(""));
        put(t, route->targets[i].name);
    }
    const struct edits *e = &route->request_headers;
    for (size_t i = 0; i < e->count; i++) {
        put(t, e->at[i].kind == EDIT_ADD ? S("+") : e->at[i].kind == EDIT_SET ? S("=") : S("-"));
        put(t, e->at[i].name);
        put(t, S(":"));
        put(t, e->at[i].value.literal);
    }
    put(t, S("\n"));
}

/* Of a name or an IPv4 address the port is what stands behind the host as it is compared. */
static struct slice port_of(const struct cache_subject *s)
{
    struct slice host = s->request->host;
    if (host.len > s->host.len && host.at[0] != '[' && host.at[s->host.len] == ':')
        return slice_skip(host, s->host.len + 1);
    return host_port(host);
}

static void put_authority(struct text *t, const struct cache_subject *s)
{
    put(t, s->host);
    if (s->host.len == s->request->host.len)
        return; /* nothing was taken away from it */
    struct slice port = port_of(s);
    struct slice usual = slice_equal(s->scheme, S("https")) ? S("443") : S("80");
    if (port.len && !slice_equal(port, usual)) {
        put(t, S(":"));
        put(t, port);
    }
}

static void put_values(struct text *t, const struct fields *f, const struct cache_key_header *h)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (h->field_id ? f->at[i].id != h->field_id : !slice_equal_nocase(f->at[i].name, h->name))
            continue;
        put(t, S("\nh:"));
        put(t, h->name);
        put(t, S("="));
        put(t, f->at[i].value);
    }
}

/* All of that name, as they came: applications differ in which one they take. */
static void put_cookies(struct text *t, const struct fields *f, struct slice name)
{
    for (uint32_t i = 0; i < f->count; i++) {
        struct slice rest = f->at[i].value, pair;
        if (f->at[i].id != FIELD_COOKIE)
            continue;
        while (slice_next(&rest, ';', &pair)) {
            if (!slice_equal(slice_trim(slice_of(pair.at, slice_find(pair, '='))), name))
                continue;
            put(t, S("\nc:"));
            put(t, pair);
        }
    }
}

static void put_extras(struct text *t, const struct route_cache *cache, const struct cache_subject *s)
{
    const struct fields *f = &s->request->fields;
    for (size_t i = 0; i < cache->key_header_count; i++)
        put_values(t, f, &cache->key_headers[i]);
    for (size_t i = 0; i < cache->key_cookie_count; i++)
        put_cookies(t, f, cache->key_cookies[i]);
    if (!s->peer_is_trusted)
        return;
    static const struct cache_key_header passed_on[] = {
        {SLICE("x-forwarded-host"), FIELD_X_FORWARDED_HOST},
        {SLICE("x-forwarded-proto"), FIELD_X_FORWARDED_PROTO},
        {SLICE("forwarded"), FIELD_FORWARDED},
    };
    for (size_t i = 0; i < COUNT_OF(passed_on); i++)
        put_values(t, f, &passed_on[i]);
}

/* Bytes that the key takes, at most. */
static size_t room_for(const struct route *route, const struct cache_subject *s, struct slice made)
{
    const struct route_cache *cache = route->cache;
    const struct fields *f = &s->request->fields;
    size_t room = 64 + s->request->host.len + s->host.len + s->path.len + s->request->query.len + made.len;
    for (size_t i = 0; i < route->target_count; i++)
        room += route->targets[i].name.len + 1;
    for (size_t i = 0; i < route->request_headers.count; i++)
        room += route->request_headers.at[i].name.len + route->request_headers.at[i].value.literal.len + 2;
    if (!cache->key_header_count && !cache->key_cookie_count && !s->peer_is_trusted)
        return room;
    for (uint32_t i = 0; i < f->count; i++)
        room += f->at[i].name.len + f->at[i].value.len + 4;
    for (size_t i = 0; i < cache->key_cookie_count; i++)
        room += cache->key_cookies[i].len + 4;
    return room;
}

/* The values of a template: as everywhere, but the query is the one that is fetched. */
struct key_context {
    const struct cache_subject *subject;
    const struct cache_names *names;
    struct arena *arena;
};

static struct slice key_variable(void *context, const struct template_variable *v)
{
    const struct key_context *k = context;
    struct slice query = k->names->query;
    if (v->id == TEMPLATE_QUERY)
        return query;
    if (v->id != TEMPLATE_TARGET || slice_equal(query, k->subject->request->query))
        return k->subject->lookup(k->subject->context, v);
    return slice_text(arena_printf(k->arena, "%.*s%s%.*s", SLICE_FMT(k->subject->request->path),
                                   k->names->has_query ? "?" : "", SLICE_FMT(query)));
}

/* Host, path and query, as purges name it. */
static void put_url(struct text *t, const struct route_cache *cache, const struct cache_subject *s,
                    struct cache_names *out)
{
    size_t start = t->len;
    put_authority(t, s);
    out->authority = taken_from(t, start);
    put(t, s->matched);
    put_query(t, cache, s->request, out);
    out->url = taken_from(t, start);
}

/* 0, or -1 when there is no memory or no room. */
static int text_open(struct text *t, struct arena *a, size_t room)
{
    *t = (struct text){.room = room};
    return room <= 2 * CACHE_KEY_MAX && (t->at = arena_alloc(a, room)) ? 0 : -1;
}

static int build_url(const struct route_cache *cache, const struct cache_subject *s, struct arena *a,
                     struct cache_names *out)
{
    struct text t;
    size_t room = 16 + s->request->host.len + s->host.len + s->matched.len + s->request->query.len;
    if (text_open(&t, a, room) != 0)
        return -1;
    put_url(&t, cache, s, out);
    return t.overflow ? -1 : 0;
}

int cache_names_build(const struct route *route, const struct cache_subject *s, struct arena *a,
                      struct cache_names *out)
{
    const struct route_cache *cache = route->cache;
    struct key_context context = {s, out, a};
    struct slice made = {0};
    struct text t;
    *out = (struct cache_names){0};
    /* What is sent is what was asked for: the URL is a part of weir's own key. */
    bool has_url = !cache->has_key && s->matched.at == s->path.at && s->matched.len == s->path.len;
    if (!has_url && build_url(cache, s, a, out) != 0)
        return -1;
    if (cache->has_key && template_expand(&cache->key, a, key_variable, &context, &made) != 0)
        return -1;
    if (text_open(&t, a, room_for(route, s, made)) != 0)
        return -1;
    put_route(&t, route);
    if (cache->has_key) {
        put(&t, made);
    } else if (LIKELY(has_url)) {
        put(&t, s->scheme);
        put(&t, S("://"));
        put_url(&t, cache, s, out);
    } else {
        put(&t, s->scheme);
        put(&t, S("://"));
        put(&t, out->authority);
        put(&t, s->path);
        put(&t, out->has_query ? S("?") : S(""));
        put(&t, out->query);
    }
    put_extras(&t, cache, s);
    out->key = taken_from(&t, 0);
    return t.overflow || out->key.len > CACHE_KEY_MAX ? -1 : 0;
}

/* What the client asked for itself alone. */
static bool is_of_the_client(const struct field *f)
{
    switch (f->id) {
    case FIELD_IF_MATCH:
    case FIELD_IF_MODIFIED_SINCE:
    case FIELD_IF_NONE_MATCH:
    case FIELD_IF_RANGE:
    case FIELD_IF_UNMODIFIED_SINCE:
    case FIELD_RANGE:
    case FIELD_EXPECT:
    case FIELD_HOST:
        return true;
    case FIELD_OTHER:
        return slice_equal_nocase(f->name, S("surrogate-capability"));
    default:
        return false;
    }
}

bool cache_is_fetched(const struct route_cache *cache, const struct field *f, bool peer_is_trusted)
{
    return !is_of_the_client(f) && !cache_is_unkeyed(cache, f) &&
           (peer_is_trusted || f->id != FIELD_FORWARDED);
}
