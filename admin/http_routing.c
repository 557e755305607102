/* Who answers: the table's patterns and methods. A path is compared as it came: what is written in another
 * way - dot segments, double slashes, escaped letters - is another path, and none of the table's. */
#include "admin/http_internal.h"
#include "config/tree.h"

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* NUL-terminated; {NULL, 0} for a bad escape, and for a NUL. */
static struct slice decode(struct arena *a, struct slice s)
{
    char *out = arena_alloc(a, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < s.len; i++) {
        if (s.at[i] != '%') {
            out[n++] = s.at[i];
            continue;
        }
        int high = i + 2 < s.len ? hex_digit(s.at[i + 1]) : -1, low = high >= 0 ? hex_digit(s.at[i + 2]) : -1;
        if (low < 0 || (high == 0 && low == 0))
            return slice_of(NULL, 0);
        out[n++] = (char)(high * 16 + low);
        i += 2;
    }
    if (out)
        out[n] = 0;
    return slice_of(out, out ? n : 0);
}

static struct slice next_segment(struct slice *path)
{
    struct slice rest = slice_skip(*path, 1); /* its slash */
    struct slice segment = slice_of(rest.at, slice_find(rest, '/'));
    *path = slice_skip(rest, segment.len);
    return segment;
}

static bool matches(struct http_call *c, const char *pattern)
{
    struct slice path = c->request.path, wanted = slice_text(pattern);
    c->argument_count = 0;
    if (!path.len || path.at[0] != '/') /* OPTIONS *, CONNECT */
        return false;
    while (wanted.len && path.len) {
        struct slice whole = slice_skip(path, 1), piece = next_segment(&path), want = next_segment(&wanted);
        bool rest = slice_equal(want, S("{*}"));
        if (!rest && !slice_equal(want, S("{}"))) {
            if (!slice_equal(piece, want))
                return false;
            continue;
        }
        struct slice value = decode(&c->arena, rest ? whole : piece);
        if (!value.at || !value.len || c->argument_count == HTTP_ARGUMENTS_MAX)
            return false;
        c->arguments[c->argument_count++] = value;
        if (rest)
            return wanted.len == 0;
    }
    return wanted.len == 0 && path.len == 0;
}

static bool method_fits(const struct http_call *c, const struct http_endpoint *e)
{
    struct slice method = c->request.method_id == METHOD_HEAD ? S("GET") : c->request.method;
    return slice_equal(method, slice_text(e->method));
}

void http_route(struct http_connection *h)
{
    const struct http_server_options *o = &h->server->options;
    h->endpoint = NULL;
    for (size_t i = 0; i < o->endpoint_count && !h->endpoint; i++)
        if (method_fits(h->call, &o->endpoints[i]) && matches(h->call, o->endpoints[i].path))
            h->endpoint = &o->endpoints[i];
}

/* "Allow: GET, HEAD\r\n", or NULL when nothing is at this path. */
static const char *allowed(struct http_call *c, const struct http_server_options *o)
{
    const char *line = NULL;
    for (size_t i = 0; i < o->endpoint_count; i++) {
        const struct http_endpoint *e = &o->endpoints[i];
        if (!matches(c, e->path))
            continue;
        const char *method = strcmp(e->method, "GET") == 0 ? "GET, HEAD" : e->method;
        line = line ? arena_printf(&c->arena, "%s, %s", line, method)
                    : arena_printf(&c->arena, "Allow: %s", method);
    }
    return line ? arena_printf(&c->arena, "%s\r\n", line) : NULL;
}

/* A path of the table that is written almost so. */
static const char *near_path(const struct http_call *c, const struct http_server_options *o)
{
    const char *paths[64];
    size_t count = 0;
    for (size_t i = 0; i < o->endpoint_count && count < COUNT_OF(paths); i++)
        if (!strchr(o->endpoints[i].path, '{') && strlen(o->endpoints[i].path) > 1)
            paths[count++] = o->endpoints[i].path;
    return config_suggest(c->request.path, paths, count);
}

void http_answer_without_endpoint(struct http_connection *h)
{
    const struct http_server_options *o = &h->server->options;
    struct http_call *c = h->call;
    const char *allow = allowed(c, o);
    if (allow) {
        o->problem(c, 405, "this path is for another method; see the field Allow", allow);
        return;
    }
    const char *near = near_path(c, o);
    const char *detail =
        near ? arena_printf(&c->arena, "there is nothing at this path; did you mean %s?", near)
             : "there is nothing at this path; docs/admin-api.md lists what there is";
    o->problem(c, 404, detail ? detail : "there is nothing at this path", NULL);
}
