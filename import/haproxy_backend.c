/* backend, and the servers of a listen: upstreams, and what their routes get. */
#include "import/haproxy.h"

static void balance(struct haproxy *h, struct hx_section *s, struct yaml_node *body)
{
    struct hx_line *l = hx_find(s, "balance", NULL, NULL), *hash = hx_find(s, "hash-type", NULL, NULL),
                   *factor = hx_find(s, "hash-balance-factor", NULL, NULL);
    const char *way = l ? hx_arg(l, 1) : "roundrobin", *key = NULL;
    static const char *const ways[][2] = {{"roundrobin", "round_robin"},
                                          {"static-rr", "round_robin"},
                                          {"leastconn", "least_connections"},
                                          {"source", "source_hash"}};
    (void)hash;
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        if (text_is(way, ways[i][0])) {
            if (i != 0)
                yaml_set_raw(h->a, body, "balance", ways[i][1]);
            return;
        }
    size_t len = strlen(way);
    if (text_begins(way, "random")) {
        yaml_set_raw(h->a, body, "balance", "random_two");
        return;
    }
    if (text_is(way, "uri"))
        key = text_is(hx_arg(l, 2), "whole") ? "${target}" : "path";
    else if (text_is(way, "url_param"))
        key = import_printf(h->a, "${arg.%s}", hx_arg(l, 2));
    else if (text_begins(way, "hdr(") && len > 5)
        key = import_printf(h->a, "header:%s", import_copy(h->a, way + 4, len - 5));
    else if (text_is(way, "hash")) {
        const char *unknown;
        key = hx_template(h, import_printf(h->a, "%%[%s]", hx_arg(l, 2)), &unknown);
    }
    if (!key) {
        hx_left(
            h, l,
            "weir has round_robin, least_connections, random_two, ewma, ring_hash, maglev and source_hash");
        return;
    }
    yaml_set_raw(h->a, body, "balance", "ring_hash");
    yaml_set_text(h->a, body, "hash_key", key);
    yaml_set_raw(h->a, body, "hash_balance",
                 factor && text_number(hx_arg(factor, 1)) >= 100
                     ? import_printf(h->a, "%s%%", hx_arg(factor, 1))
                     : "0%");
}

static void cookie(struct haproxy *h, struct hx_section *s, struct yaml_node *body)
{
    struct hx_line *l = hx_find(s, "cookie", NULL, NULL);
    struct yaml_node *sticky = yaml_map(h->a);
    bool inserts = false;
    for (size_t i = 2; l && i < l->count; i++)
        inserts |= text_is(l->args[i], "insert");
    if (!l)
        return;
    if (!inserts) {
        hx_left(h, l, "weir sets a cookie of its own: sticky: { cookie: NAME }");
        return;
    }
    const char *life = hx_option(l, "maxlife", 2);
    yaml_set_text(h->a, sticky, "cookie", hx_arg(l, 1));
    yaml_set_raw(h->a, sticky, "ttl", life && hx_duration(h, life) ? hx_duration(h, life) : "0");
    yaml_set(h->a, body, "sticky", sticky);
}

static void queue(struct haproxy *h, struct hx_section *s, struct yaml_node *body)
{
    struct hx_line *l = hx_find(s, "timeout", "queue", NULL);
    bool bounded = false;
    const struct yaml_node *servers = yaml_get(body, "servers");
    for (size_t i = 0; i < yaml_count(servers); i++)
        bounded |= yaml_get(yaml_item(servers, i), "max_connections") != NULL;
    l = l ? l : hx_find(s, "timeout", "connect", NULL);
    if (bounded) /* where HAProxy lets requests wait */
        yaml_set_raw(h->a, yaml_at(h->a, body, "queue"), "timeout",
                     l && hx_duration(h, hx_arg(l, 2)) ? hx_duration(h, hx_arg(l, 2)) : "5s");
}

/* Of the routes. */

static void retries(struct haproxy *h, struct hx_section *s, struct yaml_node *edits)
{
    struct hx_line *on = hx_find(s, "retry-on", NULL, NULL), *count = hx_find(s, "retries", NULL, NULL);
    struct yaml_node *list = yaml_list(h->a);
    static const char *const words[][2] = {{"conn-failure", "connect"},
                                           {"empty-response", "reset"},
                                           {"junk-response", "reset"},
                                           {"response-timeout", "timeout"}};
    if (!on)
        return; /* retries without retry-on are of connecting, which weir does anyhow */
    for (size_t i = 1; i < on->count; i++) {
        const char *word = text_number(on->args[i]) >= 400 ? on->args[i] : NULL;
        for (size_t k = 0; k < COUNT_OF(words); k++)
            if (text_is(on->args[i], words[k][0]))
                word = words[k][1];
        if (text_is(on->args[i], "none")) {
            yaml_set_raw(h->a, yaml_at(h->a, edits, "retries"), "attempts", "0");
            return;
        }
        if (text_is(on->args[i], "all-retryable-errors")) {
            static const char *const all[] = {"connect", "reset", "timeout", "500", "502", "503", "504"};
            for (size_t k = 0; k < COUNT_OF(all); k++)
                yaml_add_text(h->a, list, all[k]);
        } else if (word) {
            yaml_add_text(h->a, list, word);
        } else {
            hx_left(h, on, "weir does not know when \"%s\" is", on->args[i]);
        }
    }
    long long n = count ? text_number(hx_arg(count, 1)) : 3;
    yaml_set_raw(h->a, yaml_at(h->a, edits, "retries"), "attempts",
                 import_printf(h->a, "%lld",
                               n > 10  ? 10
                               : n < 0 ? 3
                                       : n));
    yaml_set(h->a, yaml_at(h->a, edits, "retries"), "on", list);
}

static void times(struct haproxy *h, struct hx_section *s, struct yaml_node *edits)
{
    bool inherited;
    struct hx_line *server = hx_find(s, "timeout", "server", &inherited),
                   *connect = hx_find(s, "timeout", "connect", NULL);
    const char *time = server ? hx_duration(h, hx_arg(server, 2)) : NULL;
    if (server && (!time || text_is(time, "0")))
        hx_left(h, server, "that is no time that weir takes");
    else if (server && !hx_is_tcp(s) && (!inherited || !import_once(h->in, "timeouts", "response", time)))
        yaml_set_raw(h->a, yaml_at(h->a, edits, "timeouts"), "response", time);
    time = connect ? hx_duration(h, hx_arg(connect, 2)) : NULL;
    if (connect && (!time || text_is(time, "0")))
        hx_left(h, connect, "that is no time that weir takes");
    else if (connect && !import_once(h->in, "timeouts", "connect", time))
        hx_left(h, connect,
                "timeouts.connect is another already: it holds for a whole listener; write it into one of "
                "its own");
}

/* http-request deny of a backend, where it is by address alone. */
static bool denies(struct haproxy *h, struct hx_section *s, struct hx_line *l, struct yaml_node *edits)
{
    const char *why;
    struct hx_match *m = hx_condition(h, s, l, hx_if(l), &why);
    bool whole = m && m->sources && m->kind == IMPORT_PATH_ANY && !yaml_count(m->hosts) &&
                 !yaml_count(m->conditions) && m->tls < 0 && !m->next;
    if (!whole || !text_is(hx_arg(l, 1), "deny"))
        return false;
    struct yaml_node *list = yaml_list_at(h->a, edits, m->sources_negated ? "allow" : "deny");
    for (size_t i = 0; i < yaml_count(m->sources); i++)
        yaml_add_text(h->a, list, yaml_scalar(yaml_item(m->sources, i)));
    l->done = true;
    return true;
}

static void close_backend(struct haproxy *h, struct hx_line *l, struct yaml_node *edits)
{
    struct yaml_node *deny = yaml_list_at(h->a, edits, "deny");
    hx_left(h, l,
            "weir asks for no credentials yet; what is behind it is closed by `deny` until you open it");
    yaml_add_text(h->a, deny, "0.0.0.0/0");
    yaml_add_text(h->a, deny, "::/0");
}

static void edits_of(struct haproxy *h, struct hx_section *s, struct yaml_node *edits)
{
    static const char *const answering[] = {"redirect", "return", "deny", "reject", "silent-drop", "tarpit"};
    for (struct hx_line *l = s->lines; l; l = l->next) {
        const char *what = hx_arg(l, 1);
        if (!hx_is(l, "http-request", NULL) && !hx_is(l, "http-response", NULL) && !hx_is(l, "reqrep", NULL))
            continue;
        if (text_is(what, "auth"))
            close_backend(h, l, edits);
        else if (hx_is(l, "http-request", NULL) && text_in(what, answering, COUNT_OF(answering))) {
            if (!denies(h, s, l, edits))
                hx_left(h, l,
                        "a backend's own answer; write a route for it, with `respond`, `redirect`, `allow` "
                        "or `deny`");
        } else if (hx_if(l) < l->count && !text_begins(what, "cache-") &&
                   !slice_equal_nocase(slice_text(hx_arg(l, 2)), S("X-Forwarded-Proto")))
            hx_left(h, l, "an edit holds for a whole route; write it into the routes that it is for");
        else
            hx_edit(h, l, edits);
    }
}

static void backend(struct haproxy *h, struct hx_section *s, struct hx_backend ***last)
{
    struct hx_backend *b = import_alloc(h->a, sizeof *b);
    b->section = s;
    b->edits = yaml_map(h->a);
    b->made = import_upstream(h->in, s->name, hx_section_origin(h, s));
    **last = b;
    *last = &b->next;
    struct yaml_node *body = b->made->body;
    balance(h, s, body);
    hx_health(h, s, body);
    cookie(h, s, body);
    queue(h, s, body);
    times(h, s, b->edits);
    if (hx_is_tcp(s))
        return;
    retries(h, s, b->edits);
    if (text_is(s->kind, "backend")) {
        edits_of(h, s, b->edits);
        hx_acls_done(s);
    }
}

void hx_backends(struct haproxy *h)
{
    struct hx_backend **last = &h->backends;
    for (struct hx_section *s = h->sections; s; s = s->next) {
        bool serves = text_is(s->kind, "backend");
        for (const struct hx_line *l = s->lines; l && text_is(s->kind, "listen"); l = l->next)
            serves |= hx_is(l, "server", NULL) || hx_is(l, "server-template", NULL);
        if (serves)
            backend(h, s, &last);
    }
}

struct hx_backend *hx_backend(struct haproxy *h, const char *name)
{
    struct hx_backend *b = h->backends;
    while (b && !text_is(b->section->name, name))
        b = b->next;
    return b;
}
