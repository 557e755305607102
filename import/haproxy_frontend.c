/* frontend and listen: listeners, and the rules that become routes. */
#include "import/haproxy.h"

#define LISTENERS_MAX 4

/* Rules. */

static struct hx_rule *add(struct haproxy *h, struct hx_rule ***last, enum hx_action action,
                           struct hx_line *l, const struct hx_match *m)
{
    struct hx_rule *r = import_alloc(h->a, sizeof *r);
    r->action = action;
    r->line = l;
    r->match = *m;
    r->match.next = NULL;
    **last = r;
    *last = &r->next;
    return r;
}

/* `deny if { src … }`: an access rule for what the rest of the condition holds for. */
static bool guard(struct haproxy *h, struct hx_rule ***last, struct hx_line *l, const struct hx_match *m)
{
    struct yaml_node *body = yaml_map(h->a);
    if (!m->sources)
        return false;
    yaml_set(h->a, body, m->sources_negated ? "allow" : "deny", m->sources);
    add(h, last, HX_GUARD, l, m)->body = body;
    l->done = true;
    return true;
}

static void answers(struct haproxy *h, struct hx_section *s, struct hx_line *l, struct hx_rule ***last)
{
    const char *why, *what = hx_is(l, "redirect", NULL) ? "redirect" : hx_arg(l, 1);
    bool denies = text_is(what, "deny") || text_is(what, "reject") || text_is(what, "silent-drop") ||
                  text_is(what, "tarpit");
    struct hx_match *m = hx_condition(h, s, l, hx_if(l), &why);
    if (!m) {
        hx_left(h, l,
                denies ? "it is not refused now: %s; write a route with `respond: { status: 403 }`, or "
                         "`allow` and `deny`"
                       : "%s; write a route for it",
                why);
        return;
    }
    for (; m; m = m->next) {
        struct yaml_node *body = yaml_map(h->a);
        if (denies && guard(h, last, l, m))
            continue;
        if (m->sources) {
            hx_left(h, l, "a route does not depend on the client's address but by allow and deny");
            continue;
        }
        bool good = text_is(what, "redirect") ? hx_redirect(h, l, hx_is(l, "redirect", NULL) ? 1 : 2, body)
                    : text_is(what, "return") ? hx_return(h, l, body)
                                              : hx_deny(h, l, body);
        if (good)
            add(h, last, HX_ANSWER, l, m)->body = body;
    }
}

/* Credentials that weir does not ask for: closed, until somebody opens it. */
static void auth(struct haproxy *h, struct hx_section *s, struct hx_line *l, struct hx_rule ***last)
{
    const char *why;
    struct yaml_node *body = yaml_map(h->a), *deny = yaml_list_at(h->a, body, "deny");
    struct hx_match *m = hx_condition(h, s, l, hx_if(l), &why);
    hx_left(h, l,
            "weir asks for no credentials yet; what is behind it is closed by `deny` until you open it");
    yaml_add_text(h->a, deny, "0.0.0.0/0");
    yaml_add_text(h->a, deny, "::/0");
    for (m = m ? m : hx_match_any(h); m; m = m->next)
        add(h, last, HX_GUARD, l, m)->body = body;
}

/* A path or Host that use_backend sees changed, where a route matches what came. */
static bool changes_rules(const struct hx_section *s, const struct hx_line *l)
{
    static const char *const paths[] = {"set-path",    "replace-path", "set-uri",
                                        "replace-uri", "set-pathq",    "replace-pathq"};
    bool host = text_ends(hx_arg(l, 1), "-header") && slice_equal_nocase(slice_text(hx_arg(l, 2)), S("host"));
    bool asked = false;
    for (const struct hx_line *o = s->lines; o; o = o->next)
        asked |= hx_is(o, "use_backend", NULL) ||
                 (hx_is(o, "http-request", NULL) && o->line > l->line && hx_if(o) < o->count) ||
                 hx_is(o, "redirect", NULL);
    return asked && (host || text_in(hx_arg(l, 1), paths, COUNT_OF(paths)));
}

static void http_request(struct haproxy *h, struct hx_section *s, struct hx_line *l, struct hx_rule ***last,
                         struct yaml_node *edits)
{
    static const char *const answering[] = {"redirect", "return", "deny", "reject", "silent-drop", "tarpit"};
    const char *what = hx_arg(l, 1);
    if (text_is(what, "auth")) {
        auth(h, s, l, last);
        return;
    }
    if (text_in(what, answering, COUNT_OF(answering)) && hx_is(l, "http-request", NULL)) {
        answers(h, s, l, last);
        return;
    }
    bool proto = slice_equal_nocase(slice_text(hx_arg(l, 2)), S("X-Forwarded-Proto"));
    bool caches = text_begins(what, "cache-");
    bool edits_fields =
        text_ends(what, "-header") || text_begins(what, "set-path") || text_begins(what, "replace-");
    if (hx_if(l) < l->count && edits_fields && !proto && !caches) {
        hx_left(h, l, "an edit holds for a whole route; write it into the routes that it is for");
        return;
    }
    if (hx_is(l, "http-request", NULL) && changes_rules(s, l)) {
        hx_left(
            h, l,
            "the rules behind it look at what it changed; write routes for what comes in, with `rewrite` or "
            "`request_headers`");
        return;
    }
    hx_edit(h, l, edits);
}

static struct yaml_node *no_server(struct haproxy *h)
{
    struct yaml_node *respond = yaml_map(h->a), *body = yaml_map(h->a);
    yaml_set_raw(h->a, respond, "status", "503");
    yaml_set(h->a, body, "respond", respond);
    return body;
}

static void use_backend(struct haproxy *h, struct hx_section *s, struct hx_line *l, struct hx_rule ***last)
{
    const char *why;
    struct hx_backend *b = hx_backend(h, hx_arg(l, 1));
    l->done = true;
    if (!b) {
        hx_left(h, l, "%s; name one",
                strpbrk(hx_arg(l, 1), "%[") ? "which backend is known only when a request is there"
                                            : "there is no such backend");
        return;
    }
    struct hx_match *m = hx_condition(h, s, l, hx_if(l), &why);
    if (!m)
        hx_left(h, l, "%s; write a route for it", why);
    for (; m; m = m->next) {
        if (m->sources || m->names)
            hx_left(h, l,
                    "a route does not depend on the client's address or the TLS name; write a route by host");
        else if (yaml_count(yaml_get(b->made->body, "servers")))
            add(h, last, HX_UPSTREAM, l, m)->upstream = b->made;
        else
            add(h, last, HX_ANSWER, l, m)->body = no_server(h);
    }
}

/* HAProxy's order: http-request, redirect, use_backend, default_backend. */
struct hx_rule *hx_rules(struct haproxy *h, struct hx_section *s, struct yaml_node *edits)
{
    struct hx_rule *first = NULL, **last = &first;
    for (struct hx_line *l = s->lines; l; l = l->next)
        if (hx_is(l, "http-request", NULL) || hx_is(l, "http-response", NULL) ||
            hx_is(l, "http-after-response", NULL))
            http_request(h, s, l, &last, edits);
    for (struct hx_line *l = s->lines; l; l = l->next)
        if (hx_is(l, "redirect", NULL))
            answers(h, s, l, &last);
    for (struct hx_line *l = s->lines; l; l = l->next)
        if (hx_is(l, "use_backend", NULL))
            use_backend(h, s, l, &last);
    bool is_listen = text_is(s->kind, "listen");
    struct hx_line *fallback = hx_find(s, "default_backend", NULL, NULL);
    struct hx_backend *b = fallback    ? hx_backend(h, hx_arg(fallback, 1))
                           : is_listen ? hx_backend(h, s->name)
                                       : NULL;
    if (fallback && !b)
        hx_left(h, fallback, "there is no such backend");
    if (b && yaml_count(yaml_get(b->made->body, "servers"))) {
        add(h, &last, HX_UPSTREAM, fallback, hx_match_any(h))->upstream = b->made;
    } else {
        add(h, &last, HX_ANSWER, fallback, hx_match_any(h))->body = no_server(h);
    }
    return first;
}

/* Times, limits. */

static void time_of(struct haproxy *h, struct hx_section *s, const char *which, const char *key,
                    struct import_listener *listener)
{
    bool inherited;
    struct hx_line *l = hx_find(s, "timeout", which, &inherited);
    const char *time = l ? hx_duration(h, hx_arg(l, 2)) : NULL;
    if (l && (!time || text_is(time, "0")))
        hx_left(h, l, "that is no time that weir takes");
    else if (l && (!inherited || !import_once(h->in, "timeouts", key, time)))
        yaml_set_raw(h->a, yaml_at(h->a, listener->body, "timeouts"), key, time);
}

static void settings(struct haproxy *h, struct hx_section *s, struct import_listener *listener, bool tcp)
{
    struct hx_line *most = hx_find(s, "maxconn", NULL, NULL);
    if (most && text_number(hx_arg(most, 1)) > 0)
        yaml_set_raw(h->a, yaml_at(h->a, listener->body, "limits"), "connections", hx_arg(most, 1));
    if (tcp) {
        bool tunnel = hx_find(s, "timeout", "tunnel", NULL) != NULL;
        hx_find(s, "timeout", "client", NULL);
        struct hx_line *l = hx_find(s, "timeout", tunnel ? "tunnel" : "client", NULL);
        const char *time = l ? hx_duration(h, hx_arg(l, 2)) : NULL;
        if (time && !text_is(time, "0"))
            yaml_set_raw(h->a, yaml_at(h->a, listener->body, "timeouts"), "idle", time);
        return;
    }
    time_of(h, s, "client", "body", listener);
    time_of(h, s, "http-request", "header", listener);
    time_of(h, s, "http-keep-alive", "keepalive", listener);
    time_of(h, s, "tunnel", "idle", listener);
}

/* mode tcp */

static bool is_open_only_to_some(struct haproxy *h, struct hx_section *s)
{
    for (struct hx_line *l = s->lines; l; l = l->next) {
        bool rejects = hx_is(l, "tcp-request", NULL) &&
                       (text_is(hx_arg(l, 2), "reject") || text_is(hx_arg(l, 2), "silent-drop"));
        if (!rejects)
            continue;
        hx_left(h, l,
                "allow and deny hold for HTTP routes alone; %s is not converted, for it would be open to "
                "all: guard "
                "the port by the firewall",
                s->name);
        for (struct hx_line *o = s->lines; o; o = o->next)
            o->done = true;
        return true;
    }
    return false;
}

static void names_of(struct haproxy *h, struct hx_section *s, struct hx_rule *fallback,
                     struct yaml_node *body)
{
    struct yaml_node *sni = yaml_map(h->a);
    for (struct hx_line *l = s->lines; l; l = l->next) {
        const char *why;
        struct hx_backend *b = hx_is(l, "use_backend", NULL) ? hx_backend(h, hx_arg(l, 1)) : NULL;
        if (!hx_is(l, "use_backend", NULL))
            continue;
        l->done = true;
        struct hx_match *m = b ? hx_condition(h, s, l, hx_if(l), &why) : NULL;
        if (!m)
            hx_left(h, l, "a stream is told apart by the TLS name alone: sni: { a.example: up }");
        for (; m; m = m->next) {
            if (!m->names)
                hx_left(h, l, "a stream is told apart by the TLS name alone: sni: { a.example: up }");
            for (size_t i = 0; i < yaml_count(m->names); i++) {
                const char *name = yaml_scalar(yaml_item(m->names, i));
                if (!yaml_get(sni, name))
                    yaml_set_text(h->a, sni, name, b->made->name);
            }
        }
    }
    if (fallback && yaml_count(sni))
        yaml_set_text(h->a, sni, "default", fallback->upstream->name);
    if (yaml_count(sni))
        yaml_set(h->a, body, "sni", sni);
    else if (fallback)
        yaml_set_text(h->a, body, "upstream", fallback->upstream->name);
}

static void tcp_frontend(struct haproxy *h, struct hx_section *s)
{
    struct import_listener *listeners[LISTENERS_MAX];
    struct hx_line *l = hx_find(s, "default_backend", NULL, NULL);
    struct hx_backend *b = l                            ? hx_backend(h, hx_arg(l, 1))
                           : text_is(s->kind, "listen") ? hx_backend(h, s->name)
                                                        : NULL;
    struct hx_rule fallback = {.upstream = b ? b->made : NULL};
    if (is_open_only_to_some(h, s))
        return;
    size_t count = hx_binds(h, s, listeners, LISTENERS_MAX - 1);
    for (size_t i = 0; i < count; i++) {
        yaml_set_raw(h->a, listeners[i]->body, "protocol", "tcp");
        names_of(h, s, b ? &fallback : NULL, listeners[i]->body);
        settings(h, s, listeners[i], true);
    }
    hx_acls_done(s);
}

/* `listen stats`: an address for the statistics alone. */
static bool is_for_stats(struct haproxy *h, struct hx_section *s)
{
    bool stats = false, serves = false;
    for (const struct hx_line *l = s->lines; l; l = l->next) {
        stats |= hx_is(l, "stats", "enable") || hx_is(l, "stats", "uri") ||
                 hx_is(l, "http-request", "use-service");
        serves |=
            hx_is(l, "server", NULL) || hx_is(l, "use_backend", NULL) || hx_is(l, "default_backend", NULL);
    }
    if (!stats || serves)
        return false;
    for (struct hx_line *l = s->lines; l; l = l->next) {
        if (hx_is(l, "bind", NULL))
            hx_left(
                h, l,
                "weir's numbers and its dashboard are at the admin address: admin: { bind: 127.0.0.1:9900 }");
        l->done = true;
    }
    return true;
}

static void http_frontend(struct haproxy *h, struct hx_section *s)
{
    struct import_listener *listeners[LISTENERS_MAX];
    struct yaml_node *edits = yaml_map(h->a);
    size_t count = hx_binds(h, s, listeners, LISTENERS_MAX - 1);
    for (size_t i = 0; i < count; i++)
        settings(h, s, listeners[i], false);
    struct hx_rule *rules = hx_rules(h, s, edits);
    hx_routes(h, s, rules, edits, listeners, count);
    hx_acls_done(s);
}

void hx_frontends(struct haproxy *h)
{
    for (struct hx_section *s = h->sections; s; s = s->next) {
        if ((!text_is(s->kind, "frontend") && !text_is(s->kind, "listen")) || is_for_stats(h, s))
            continue;
        if (hx_is_tcp(s))
            tcp_frontend(h, s);
        else
            http_frontend(h, s);
    }
}
