/* What answers that did not come by way of the store say about what is in it. */
#include "proxy/http/cache/internal.h"
#include "proxy/http/cache/second_tier.h"
#include "proxy/http/forward.h"
#include "proxy/http/target.h"

static void purge(struct exchange_cache *c, struct slice url)
{
    /* The second tier first: what is found in it between the two is purged by the other. */
    second_tier_purge(c->x, url);
    cache_store_purge(c->x->worker->cache, CACHE_PURGE_URL, url, false);
}

/* The URL in a field, as purges name it, when it is on the same host (RFC 9111 §4.4: never another's); empty
 * otherwise. */
static struct slice url_of(struct exchange_cache *c, struct slice value)
{
    struct exchange *x = c->x;
    struct slice authority = c->names.authority, path = value;
    size_t scheme = slice_find(value, ':');
    bool is_absolute = scheme + 2 < value.len && value.at[scheme + 1] == '/' && value.at[scheme + 2] == '/';
    if (is_absolute || slice_begins(value, S("//"))) {
        struct slice rest = slice_skip(value, is_absolute ? scheme + 3 : 2);
        size_t end = 0;
        while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?' && rest.at[end] != '#')
            end++;
        if (!slice_equal_nocase(slice_of(rest.at, end), authority))
            return S("");
        path = slice_skip(rest, end);
    }
    path.len = slice_find(path, '#');
    size_t query = slice_find(path, '?');
    struct slice before = slice_of(path.at, query), behind = slice_skip(path, query);
    if (before.len == 0 || before.at[0] != '/') { /* relative: RFC 3986 §5.2.3 */
        struct slice base = slice_of(c->names.url.at + authority.len, c->names.url.len - authority.len);
        size_t cut = slice_find(base, '?');
        while (cut > 0 && base.at[cut - 1] != '/')
            cut--;
        before = slice_text(arena_printf(&x->arena, "%.*s%.*s", (int)cut, base.at, SLICE_FMT(before)));
    }
    if (!before.at || target_normalise(&x->arena, before, &before) != 0)
        return S("");
    return slice_text(
        arena_printf(&x->arena, "%.*s%.*s%.*s", SLICE_FMT(authority), SLICE_FMT(before), SLICE_FMT(behind)));
}

static void purge_named(struct exchange_cache *c, const struct field *f)
{
    struct slice url = f ? url_of(c, f->value) : S("");
    if (url.len)
        purge(c, url);
}

/* RFC 9111 §4.3.5: a HEAD that says other things of the representation than what is stored makes that
 * invalid. */
static void compare_with_stored(struct exchange_cache *c, const struct http_response *r)
{
    struct cache_object *o = c->object;
    struct slice etag, modified;
    if (r->status != 200)
        return;
    cache_validators_of(&r->fields, &etag, &modified);
    bool other_length = r->has_content_length && cache_body_state(o->body) == CACHE_BODY_WHOLE &&
                        r->content_length != cache_body_bytes(o->body);
    if (other_length || (etag.len && !slice_equal(etag, o->etag)) ||
        (modified.len && !slice_equal(modified, o->modified))) {
        second_tier_purge(c->x, o->url);
        cache_drop(c->x->worker->cache, o);
    }
}

void cache_learn(struct exchange_cache *c, const struct http_response *r)
{
    const struct exchange *x = c->x;
    c->forward_status = r->status;
    switch (x->request.method_id) {
    case METHOD_GET:
    case METHOD_OPTIONS:
    case METHOD_TRACE:
        return;
    case METHOD_HEAD:
        if (c->object)
            compare_with_stored(c, r);
        return;
    default:
        break;
    }
    if (!cache_invalidates(r->status) || c->names.url.len == 0)
        return;
    purge(c, c->names.url);
    purge_named(c, fields_find(&r->fields, FIELD_LOCATION));
    purge_named(c, fields_find_name(&r->fields, S("content-location")));
}
