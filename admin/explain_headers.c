#include "admin/explain_headers.h"

#include "admin/explain_settings.h"
#include "config/print.h"
#include "proxy/http/cache/key.h"
#include "proxy/http/explain_fields.h"

#define NOT_THERE ((struct slice){NULL, 0})

/* Where the file changes a field of that name; NULL when it does not. */
static const struct config_node *edit_of(const struct edits_settings *s, struct slice name)
{
    for (size_t i = 0; i < s->set.count; i++)
        if (slice_equal_nocase(s->set.at[i].name, name))
            return s->set.at[i].node;
    for (size_t i = 0; i < s->add.count; i++)
        if (slice_equal_nocase(s->add.at[i].name, name))
            return s->add.at[i].node;
    for (size_t i = 0; i < s->remove.count; i++) {
        struct slice pattern = s->remove.at[i];
        bool is_prefix = pattern.len && pattern.at[pattern.len - 1] == '*';
        struct slice known = is_prefix ? slice_of(pattern.at, pattern.len - 1) : pattern;
        if (name.len >= known.len && slice_equal_nocase(slice_of(name.at, known.len), known) &&
            (is_prefix || name.len == known.len))
            return s->remove.nodes[i];
    }
    return NULL;
}

/* What the file puts in and keeps to itself is not told. What the request brought is the asker's own. */
static struct slice told(const struct edits_settings *s, const struct field *f)
{
    const struct config_node *node = edit_of(s, f->name);
    return node && node->is_secret ? S(CONFIG_SECRET) : f->value;
}

static const char *by_text(struct arena *a, const struct edits_settings *s, struct slice name,
                           const char *otherwise)
{
    const struct config_node *node = edit_of(s, name);
    return node ? explain_place(a, node) : otherwise;
}

/* How many fields of that name stand before number `i`. */
static uint32_t nth(const struct fields *f, uint32_t i)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < i; k++)
        count += slice_equal_nocase(f->at[k].name, f->at[i].name);
    return count;
}

static const struct field *find_nth(const struct fields *f, struct slice name, uint32_t n)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (slice_equal_nocase(f->at[i].name, name) && n-- == 0)
            return &f->at[i];
    return NULL;
}

/* Who puts a field into an answer of weir's own: the route, or weir. */
static const char *maker_of(const struct route *r, struct slice name, struct arena *a)
{
    const struct respond_settings *s = r->action == ROUTE_RESPOND ? r->settings->respond : NULL;
    for (size_t i = 0; s && i < s->headers.count; i++)
        if (slice_equal_nocase(s->headers.at[i].name, name))
            return explain_place(a, s->headers.at[i].node);
    return "weir";
}

static const char *gone_text(const struct explained *e, const struct field *f)
{
    const struct route_cache *cache = e->why.route->cache;
    if (cache && !cache_is_fetched(cache, f, e->request.is_trusted))
        return "the cache asks without what is the client's alone";
    return "between the client and weir alone (RFC 9110 7.6.1)";
}

/* All fields of both, first those that came. */
static int compare(const struct explained *e, const struct fields *before, const struct fields *after,
                   const struct edits_settings *s, struct arena *a, struct explained_headers *out)
{
    out->at = arena_alloc(a, (before->count + after->count + 1) * sizeof *out->at);
    out->count = 0;
    if (!out->at)
        return -1;
    for (uint32_t i = 0; i < before->count; i++) {
        const struct field *f = &before->at[i], *then = find_nth(after, f->name, nth(before, i));
        bool same = then && slice_equal(f->value, then->value);
        out->at[out->count++] =
            (struct explained_header){f->name, f->value,
                                      same   ? f->value
                                      : then ? told(s, then)
                                             : NOT_THERE,
                                      same ? NULL : by_text(a, s, f->name, then ? "weir" : gone_text(e, f))};
    }
    for (uint32_t i = 0; i < after->count; i++) {
        const struct field *f = &after->at[i];
        if (!find_nth(before, f->name, nth(after, i)))
            out->at[out->count++] =
                (struct explained_header){f->name, NOT_THERE, told(s, f), by_text(a, s, f->name, "weir")};
    }
    return 0;
}

/* As trace_of() has it; what the route itself does to the field comes after tracing. */
static bool is_traced(const struct explained *e)
{
    const struct route_settings *s = e->why.route->settings;
    return e->snapshot->tracing && !(s->has_tracing && !s->tracing) &&
           !edit_of(&s->request_headers, S("traceparent"));
}

/* Whose values are made while a request runs. */
static int add_trace(struct explained_headers *h, struct arena *a)
{
    struct explained_header *at = arena_alloc(a, (h->count + 1) * sizeof *at);
    if (!at)
        return -1;
    size_t i = 0;
    memcpy(at, h->at, h->count * sizeof *at);
    while (i < h->count && !slice_equal_nocase(at[i].name, S("traceparent")))
        i++;
    struct slice before = i < h->count ? at[i].before : NOT_THERE;
    at[i] = (struct explained_header){S("traceparent"), before, S("(made for each request)"), "tracing"};
    *h = (struct explained_headers){at, h->count + (i == h->count)};
    return 0;
}

int explain_request_headers(const struct explained *e, struct arena *a, struct explained_headers *out)
{
    struct fields after = {0};
    *out = (struct explained_headers){0};
    if (!e->why.route || e->why.action != EXPLAIN_ROUTED || !e->why.route->target_count)
        return 0;
    if (explain_request_fields(&e->request, &e->why, a, &after) != 0)
        return -1;
    if (compare(e, &e->request.request.fields, &after, &e->why.route->settings->request_headers, a, out) != 0)
        return -1;
    return is_traced(e) ? add_trace(out, a) : 0;
}

int explain_response_headers(const struct explained *e, struct arena *a, struct explained_headers *out)
{
    struct fields none = {0}, after = {0};
    *out = (struct explained_headers){0};
    if (!e->why.route || e->why.action != EXPLAIN_ROUTED)
        return 0;
    const struct edits_settings *s = &e->why.route->settings->response_headers;
    if (explain_response_fields(&e->request, &e->why, a, &after) != 0 ||
        compare(e, &none, &after, s, a, out) != 0)
        return -1;
    struct explained_header *at = arena_alloc(a, (out->count + s->remove.count + 1) * sizeof *at);
    if (!at)
        return -1;
    for (size_t i = 0; i < out->count; i++)
        if (!strcmp(out->at[i].by, "weir"))
            out->at[i].by = maker_of(e->why.route, out->at[i].name, a);
    for (size_t i = 0; i < s->remove.count; i++)
        at[i] = (struct explained_header){s->remove.at[i], NOT_THERE, NOT_THERE,
                                          explain_place(a, s->remove.nodes[i])};
    if (out->count)
        memcpy(at + s->remove.count, out->at, out->count * sizeof *at);
    *out = (struct explained_headers){at, out->count + s->remove.count};
    return 0;
}

void explain_headers_print(const char *title, const struct explained_headers *h, FILE *out)
{
    if (!h->count)
        return;
    fprintf(out, "\n%s\n", title);
    for (size_t i = 0; i < h->count; i++) {
        const struct explained_header *f = &h->at[i];
        bool was = f->before.at != NULL, is = f->after.at != NULL;
        fprintf(out, "  %-7s %.*s",
                !f->by ? "as is"
                : !is  ? "remove"
                : was  ? "change"
                       : "set",
                SLICE_FMT(f->name));
        if (was && is && f->by)
            fprintf(out, ": %.*s -> %.*s", SLICE_FMT(f->before), SLICE_FMT(f->after));
        else if (was || is)
            fprintf(out, ": %.*s", SLICE_FMT(is ? f->after : f->before));
        if (f->by)
            fprintf(out, "   [%s]", f->by);
        fprintf(out, "\n");
    }
}
