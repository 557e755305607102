#include "proxy/lint/probe.h"

static struct probe_value *find(const struct probe *t, enum condition_source source, struct slice name)
{
    for (size_t i = 0; i < t->value_count; i++) {
        const struct probe_value *v = &t->values[i];
        if (v->source == source &&
            (source == CONDITION_HEADER ? slice_equal_nocase(v->name, name) : slice_equal(v->name, name)))
            return (struct probe_value *)(uintptr_t)v;
    }
    return NULL;
}

bool probe_set(struct probe *t, enum condition_source source, struct slice name, struct slice value,
               bool present)
{
    struct probe_value *v = find(t, source, name);
    if (!v && t->value_count == COUNT_OF(t->values))
        return false;
    if (!v)
        v = &t->values[t->value_count++];
    *v = (struct probe_value){source, name, value, present};
    return true;
}

bool probe_get(const struct probe *t, enum condition_source source, struct slice name, struct slice *value)
{
    const struct probe_value *v = find(t, source, name);
    if (v && v->present)
        *value = v->value;
    return v && v->present;
}

/* Those of one source, joined: `a=1&b=2`, `a=1; b=2`. "" when there are none. */
static const char *joined(struct arena *a, const struct probe *t, enum condition_source source,
                          const char *between)
{
    const char *text = "";
    for (size_t i = 0; text && i < t->value_count; i++) {
        const struct probe_value *v = &t->values[i];
        if (v->source == source && v->present)
            text = arena_printf(a, "%s%s%.*s=%.*s", text, *text ? between : "", SLICE_FMT(v->name),
                                SLICE_FMT(v->value));
    }
    return text;
}

/* The port, where the scheme has another one: `:8080`. */
static const char *port_text(struct arena *a, const struct listener_config *listener)
{
    unsigned port = 0;
    for (size_t i = 0; i < listener->address_count && !port; i++)
        if (listener->addresses[i].any.sa_family != AF_UNIX)
            port = address_port(&listener->addresses[i]);
    return port == 0 || port == (listener->tls ? 443 : 80) ? "" : arena_printf(a, ":%u", port);
}

static const char *url_of(struct arena *a, const struct probe *t)
{
    const char *query = joined(a, t, CONDITION_QUERY, "&"), *port = port_text(a, t->listener);
    if (!query || !port)
        return NULL;
    return arena_printf(a, "http%s://%.*s%s%.*s%s%s", t->listener->tls ? "s" : "", SLICE_FMT(t->host), port,
                        SLICE_FMT(t->path), *query ? "?" : "", query);
}

/* Header fields, and those of one Cookie; -1 when out of memory. `at` has room for all. */
static int fields_of(struct arena *a, const struct probe *t, struct field *at, uint32_t *count)
{
    const char *cookies = joined(a, t, CONDITION_COOKIE, "; ");
    for (size_t i = 0; i < t->value_count; i++)
        if (t->values[i].source == CONDITION_HEADER && t->values[i].present)
            at[(*count)++] = (struct field){.name = t->values[i].name,
                                            .value = t->values[i].value,
                                            .id = (uint16_t)field_id(t->values[i].name)};
    if (cookies && *cookies)
        at[(*count)++] =
            (struct field){.name = S("cookie"), .value = slice_text(cookies), .id = FIELD_COOKIE};
    return cookies ? 0 : -1;
}

int probe_view(struct lint *l, const struct probe *t, struct plain_request *out)
{
    struct arena *a = &l->scratch;
    memset(out, 0, sizeof *out);
    struct http_request *r = &out->request;
    r->method = t->method;
    r->method_id = method_id(t->method);
    r->path = r->target = out->path = t->path;
    r->host = out->host = t->host;
    out->listener_slot = t->listener->slot;
    if (t->value_count == 0)
        return 0;
    const char *query = joined(a, t, CONDITION_QUERY, "&");
    r->fields.at = arena_alloc(a, (t->value_count + 1) * sizeof *r->fields.at);
    if (!query || !r->fields.at || fields_of(a, t, r->fields.at, &r->fields.count) != 0)
        return -1;
    r->query = slice_text(query);
    r->has_query = r->query.len != 0;
    return 0;
}

int probe_make(struct lint *l, const struct probe *t, struct plain_request *out)
{
    struct arena *a = &l->scratch;
    struct field fields[PROBE_VALUES_MAX + 1];
    uint32_t count = 0;
    const char *why, *url = url_of(a, t);
    if (!url || fields_of(a, t, fields, &count) != 0 ||
        plain_request_make(a, t->method, slice_text(url), fields, count, S(""), out, &why) != 0)
        return -1;
    out->listener = t->listener->name;
    out->listener_slot = t->listener->slot;
    return out->path_fault ? -1 : 0;
}

bool probe_matches(struct lint *l, const struct plain_request *p, const struct route *r)
{
    return route_on_listener(r, p->listener_slot) && route_host_match(r, p->host) &&
           route_path_match(&r->path, p->path, &l->router.regex) >= 0 && route_method_match(r, &p->request) &&
           !conditions_fail(&r->conditions, &p->request, &l->router.regex);
}

const struct route *probe_find(struct lint *l, const struct plain_request *p)
{
    struct route_match match;
    l->lookups_left -= l->lookups_left > 0;
    return router_find(l->s->router, p->listener_slot, &p->request, p->host, p->path, &l->router, &match);
}

const char *probe_key(struct lint *l, const struct probe *t)
{
    struct arena *a = &l->scratch;
    const char *url = url_of(a, t), *fields = joined(a, t, CONDITION_HEADER, "\n"),
               *cookies = joined(a, t, CONDITION_COOKIE, "\n");
    if (!url || !fields || !cookies)
        return NULL;
    return arena_printf(a, "%u %.*s %s\n%s\n\n%s", t->listener->slot, SLICE_FMT(t->method), url, fields,
                        cookies);
}

const char *probe_url(struct lint *l, const struct probe *t)
{
    struct arena *a = &l->c->arena;
    const char *url = url_of(a, t);
    const char *text = url ? arena_printf(a, "%.*s %s", SLICE_FMT(t->method), url) : NULL;
    return text ? text : "";
}

const char *probe_words(struct lint *l, const struct probe *t)
{
    struct arena *a = &l->c->arena;
    const char *text = arena_printf(a, "\"%s\"", probe_url(l, t)), *and = " with ";
    for (size_t i = 0; text && i < t->value_count; i++) {
        const struct probe_value *v = &t->values[i];
        if (!v->present || v->source == CONDITION_QUERY)
            continue;
        text =
            arena_printf(a, "%s%s%s%.*s%s%.*s", text, and, v->source == CONDITION_COOKIE ? "cookie " : "",
                         SLICE_FMT(v->name), v->source == CONDITION_COOKIE ? "=" : ": ", SLICE_FMT(v->value));
        and = ", ";
    }
    return text ? text : "";
}

/* A word for a shell. */
static const char *shell_word(struct arena *a, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/@%+,=";
    if (*text && strspn(text, plain) == strlen(text))
        return text;
    const char *word = "'";
    while (word && *text) {
        size_t len = strcspn(text, "'");
        word = arena_printf(a, "%s%.*s%s", word, (int)len, text, text[len] ? "'\\''" : "");
        text += len + (text[len] != 0);
    }
    return word ? arena_printf(a, "%s'", word) : NULL;
}

const char *probe_example(struct lint *l, const struct probe *t)
{
    struct arena *a = &l->c->arena;
    const char *url = url_of(a, t), *cookies = joined(a, t, CONDITION_COOKIE, "; ");
    url = url ? shell_word(a, url) : NULL;
    const char *text = url ? arena_printf(a, "%.*s %s", SLICE_FMT(t->method), url) : NULL;
    for (size_t i = 0; text && i < t->value_count; i++) {
        const struct probe_value *v = &t->values[i];
        if (v->source != CONDITION_HEADER || !v->present)
            continue;
        const char *field = arena_printf(a, "%.*s: %.*s", SLICE_FMT(v->name), SLICE_FMT(v->value));
        field = field ? shell_word(a, field) : NULL;
        text = field ? arena_printf(a, "%s -H %s", text, field) : NULL;
    }
    if (text && cookies && *cookies) {
        const char *field = arena_printf(a, "cookie: %s", cookies);
        field = field ? shell_word(a, field) : NULL;
        text = field ? arena_printf(a, "%s -H %s", text, field) : NULL;
    }
    return text;
}
