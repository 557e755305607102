/* proxy_set_header, add_header, proxy_hide_header, expires. */
#include "import/nginx.h"

static bool is_name(const char *a, const char *b)
{
    return slice_equal_nocase(slice_text(a), slice_text(b));
}

/* What weir does without a word. */
static bool is_done_anyhow(const char *name, const char *value)
{
    static const struct {
        const char *name, *value;
    } always[] = {
        {"Host", "$host"},
        {"Host", "$http_host"},
        {"Host", "$host:$server_port"},
        {"X-Forwarded-For", "$proxy_add_x_forwarded_for"},
        {"X-Forwarded-For", "$remote_addr"},
        {"X-Forwarded-Proto", "$scheme"},
        {"X-Forwarded-Host", "$host"},
        {"X-Forwarded-Host", "$http_host"},
        {"X-Forwarded-Host", "$host:$server_port"},
        {"X-Request-Id", "$request_id"},
        {"X-Forwarded-Proto", "$http_x_forwarded_proto"},
    };
    if (is_name(name, "Connection") || is_name(name, "Upgrade") || is_name(name, "TE"))
        return true; /* kept connections, and WebSockets */
    for (size_t i = 0; i < COUNT_OF(always); i++)
        if (is_name(name, always[i].name) && text_is(value, always[i].value))
            return true;
    return false;
}

static const char *lower(struct nginx *n, const char *s)
{
    char *copy = import_alloc(n->a, strlen(s) + 1);
    for (size_t i = 0; s[i]; i++)
        copy[i] = ascii_lower(s[i]);
    return copy;
}

static void request_header(struct nginx *n, struct ng *d, const char *proxy_host, struct import_route *r)
{
    const char *name = lower(n, ng_arg(d, 0)), *value = ng_arg(d, 1), *unknown = "";
    struct yaml_node *edits;
    if (is_done_anyhow(name, value))
        return;
    if (text_is(name, "content-length") || text_is(name, "transfer-encoding") ||
        text_is(name, "keep-alive")) {
        ng_left(n, d, "weir frames messages itself");
        return;
    }
    edits = yaml_at(n->a, r->body, "request_headers");
    if (!*value) {
        yaml_add_text(n->a, yaml_list_at(n->a, edits, "remove"), name);
        return;
    }
    const char *text =
        text_is(value, "$proxy_host") ? proxy_host : ng_template(n, d->parent, value, false, &unknown);
    if (!text) {
        ng_left(n, d, "weir has no %s", unknown);
        if (yaml_count(edits) == 0)
            yaml_drop(r->body, "request_headers");
        return;
    }
    yaml_set_text(n->a, yaml_at(n->a, edits, "set"), name, text);
}

void ng_request_headers(struct nginx *n, const struct ng *scope, const char *prefix, const char *proxy_host,
                        struct import_route *r)
{
    bool has_host = false;
    for (struct ng *d = ng_level(scope, import_printf(n->a, "%s_set_header", prefix)); d; d = ng_next(d)) {
        has_host |= is_name(ng_arg(d, 0), "Host");
        request_header(n, d, proxy_host, r);
    }
    if (!has_host) /* nginx sends the name behind http:// */
        yaml_set_text(n->a, yaml_at(n->a, yaml_at(n->a, r->body, "request_headers"), "set"), "host",
                      proxy_host);
}

/* Answers. */

static void add_header(struct nginx *n, struct ng *d, struct import_route *r)
{
    const char *name = lower(n, ng_arg(d, 0)), *unknown = "";
    const char *text = ng_template(n, d->parent, ng_arg(d, 1), true, &unknown);
    if (!text) {
        ng_left(n, d, "weir has no %s", unknown);
        return;
    }
    if (!*text)
        return;
    struct yaml_node *add = yaml_at(n->a, yaml_at(n->a, r->body, "response_headers"), "add");
    if (yaml_get(add, name)) {
        ng_left(n, d, "response_headers has a name once; put both values in one, divided by a comma");
        return;
    }
    yaml_set_text(n->a, add, name, text);
}

static void expires(struct nginx *n, const struct ng *scope, struct import_route *r)
{
    struct ng *d = ng_effective(scope, "expires");
    const char *value = d ? ng_arg(d, d->arg_count > 1 ? 1 : 0) : "off";
    long long ms = ng_duration_ms(value);
    if (!d || text_is(value, "off"))
        return;
    if (d->arg_count > 1 ||
        (ms < 0 && !text_is(value, "max") && !text_is(value, "epoch") && value[0] != '-')) {
        ng_left(n, d, "write cache-control into response_headers");
        return;
    }
    yaml_set_text(n->a, yaml_at(n->a, yaml_at(n->a, r->body, "response_headers"), "set"), "cache-control",
                  ms >= 0                 ? import_printf(n->a, "max-age=%lld", ms / 1000)
                  : text_is(value, "max") ? "max-age=315360000"
                                          : "no-cache");
    ng_note(n, d, "Cache-Control alone is sent, which goes before Expires");
}

void ng_response_headers(struct nginx *n, const struct ng *scope, struct import_route *r)
{
    for (struct ng *d = ng_level(scope, "add_header"); d; d = ng_next(d)) {
        bool always = text_is(ng_arg(d, 2), "always");
        add_header(n, d, r);
        if (!always)
            ng_note(n, d, "weir sends it with every answer, errors too, as nginx does with `always`");
    }
    for (struct ng *d = ng_level(scope, "add_trailer"); d; d = ng_next(d))
        ng_left(n, d, "weir adds no trailers");
    static const char *const hide[] = {"proxy_hide_header", "grpc_hide_header"};
    for (size_t i = 0; i < COUNT_OF(hide) && yaml_get(r->body, "upstream"); i++)
        for (struct ng *d = ng_level(scope, hide[i]); d; d = ng_next(d))
            yaml_add_text(n->a, yaml_list_at(n->a, yaml_at(n->a, r->body, "response_headers"), "remove"),
                          lower(n, ng_arg(d, 0)));
    expires(n, scope, r);
}
