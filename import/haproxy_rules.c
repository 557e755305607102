/* The rules of a frontend in their order. HAProxy takes the first that holds; weir the most specific route,
 * wherever it stands. So where two rules overlap, what is in both becomes a route of its own with what the
 * earlier one does: it is more specific than either. */
#include "import/haproxy.h"

#define RULES_MAX 200

struct rule_list {
    struct hx_rule *first, **last;
    size_t count;
    bool cut;
};

static struct hx_rule *append(struct haproxy *h, struct rule_list *list, const struct hx_rule *r)
{
    struct hx_rule *copy = import_alloc(h->a, sizeof *copy);
    if (list->count >= RULES_MAX) {
        list->cut = true;
        return copy;
    }
    *copy = *r;
    copy->next = NULL;
    *list->last = copy;
    list->last = &copy->next;
    list->count++;
    return copy;
}

static bool is_there(const struct rule_list *list, const struct hx_match *m)
{
    for (const struct hx_rule *r = list->first; r; r = r->next)
        if (r->action != HX_GUARD && hx_match_equal(&r->match, m))
            return true;
    return false;
}

static size_t conditions_of(const struct hx_match *m)
{
    static const char *const groups[] = {"headers", "query", "cookies"};
    size_t count = yaml_get(m->conditions, "methods") != NULL;
    for (size_t i = 0; i < COUNT_OF(groups); i++)
        count += yaml_count(yaml_get(m->conditions, groups[i]));
    return count;
}

/* weir takes the earlier rule by itself, wherever both hold: what is in both needs no route. */
static bool wins(const struct hx_match *earlier, const struct hx_match *later)
{
    static const int ranks[] = {
        [IMPORT_PATH_ANY] = 0, [IMPORT_PATH_PREFIX] = 1, [IMPORT_PATH_REGEX] = 2, [IMPORT_PATH_EXACT] = 3};
    if (!yaml_equal(earlier->hosts, later->hosts))
        return yaml_count(earlier->hosts) && !yaml_count(later->hosts);
    if (ranks[earlier->kind] != ranks[later->kind])
        return ranks[earlier->kind] > ranks[later->kind];
    if (earlier->kind == IMPORT_PATH_REGEX && !text_is(earlier->path, later->path))
        return true; /* by their order */
    if (earlier->kind == IMPORT_PATH_PREFIX && strlen(earlier->path) != strlen(later->path))
        return strlen(earlier->path) > strlen(later->path);
    return conditions_of(earlier) > conditions_of(later);
}

/* Neither wins: weir refuses the two. */
static bool ties(const struct hx_match *a, const struct hx_match *b)
{
    return !wins(a, b) && !wins(b, a) && yaml_equal(a->hosts, b->hosts) && a->kind == b->kind;
}

/* All methods, as a condition, make the earlier rule the more specific one. */
static bool outbid(struct haproxy *h, const struct rule_list *list, const struct hx_match *m)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    if (yaml_get(m->conditions, "methods"))
        return false;
    for (struct hx_rule *r = list->first; r; r = r->next) {
        if (&r->match != m)
            continue;
        struct yaml_node *conditions = yaml_map(h->a);
        yaml_merge(h->a, conditions, m->conditions);
        for (size_t i = 0; i < COUNT_OF(methods); i++)
            yaml_add_text(h->a, yaml_list_at(h->a, conditions, "methods"), methods[i]);
        r->match.conditions = conditions;
    }
    return true;
}

static bool does_the_same(const struct hx_rule *a, const struct hx_rule *b)
{
    return a->action == b->action && a->upstream == b->upstream && yaml_equal(a->body, b->body);
}

static void add_with_overlaps(struct haproxy *h, struct rule_list *list, const struct hx_rule *r)
{
    const struct hx_rule *end = NULL;
    for (const struct hx_rule *e = list->first; e; e = e->next)
        end = e;
    for (const struct hx_rule *e = list->first; e; e = e == end ? NULL : e->next) {
        struct hx_rule both = *e;
        bool certain;
        if (e->action == HX_GUARD)
            continue;
        if (!hx_intersect(h, &e->match, &r->match, &both.match, &certain)) {
            if (!certain)
                hx_note(
                    h, r->line,
                    "it and line %u may hold for one request; which route wins is by what is more specific",
                    e->line->line);
            continue;
        }
        if (hx_match_equal(&both.match, &r->match))
            return; /* the earlier one always holds too */
        both.derived = true;
        if (does_the_same(e, r) || wins(&e->match, &r->match))
            continue;
        if (ties(&e->match, &r->match) && !outbid(h, list, &e->match)) {
            hx_left(h, r->line,
                    "it is as specific as line %u in weir, which knows no order; write the routes by hand",
                    e->line->line);
            return;
        }
        if (wins(&e->match, &r->match))
            continue;
        if (!hx_match_equal(&both.match, &e->match) && !is_there(list, &both.match))
            append(h, list, &both);
    }
    if (!is_there(list, &r->match))
        append(h, list, r);
}

static void merge_access(struct haproxy *h, struct yaml_node *body, const struct yaml_node *guard)
{
    static const char *const names[] = {"allow", "deny"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct yaml_node *more = yaml_get(guard, names[i]);
        for (size_t k = 0; k < yaml_count(more); k++)
            yaml_add_text(h->a, yaml_list_at(h->a, body, names[i]), yaml_scalar(yaml_item(more, k)));
    }
}

/* What a guard before it holds for is a rule of its own, with the guard's allow and deny. */
static void add_rule(struct haproxy *h, struct rule_list *list, const struct hx_rule *guards,
                     const struct hx_rule *r)
{
    struct hx_rule plain = *r;
    plain.body = yaml_map(h->a);
    if (r->body)
        yaml_merge_deep(h->a, plain.body, r->body);
    for (const struct hx_rule *g = guards; g && g != r; g = g->next) {
        struct hx_rule guarded = plain;
        bool certain;
        if (g->action != HX_GUARD || (r->action == HX_ANSWER && r->line && g->line->line > r->line->line) ||
            !hx_intersect(h, &g->match, &r->match, &guarded.match, &certain))
            continue;
        if (hx_match_equal(&guarded.match, &r->match)) {
            merge_access(h, plain.body, g->body);
            continue;
        }
        guarded.match.sources = NULL;
        guarded.body = yaml_map(h->a);
        yaml_merge_deep(h->a, guarded.body, plain.body);
        merge_access(h, guarded.body, g->body);
        guarded.derived = true;
        add_with_overlaps(h, list, &guarded);
    }
    add_with_overlaps(h, list, &plain);
}

/* Those of `rules` that hold for a listener with TLS or without. */
static struct hx_rule *rules_for(struct haproxy *h, const struct hx_rule *rules, bool tls, bool *cut)
{
    struct rule_list list = {.last = &list.first};
    for (const struct hx_rule *r = rules; r; r = r->next) {
        struct hx_rule one = *r;
        if (r->action == HX_GUARD || (r->match.tls >= 0 && r->match.tls != tls))
            continue;
        one.match.tls = -1;
        add_rule(h, &list, rules, &one);
    }
    *cut = list.cut;
    return list.first;
}

/* Routes. */

static const char *label_of(struct haproxy *h, const struct hx_rule *r)
{
    const char *host = yaml_scalar(yaml_first(r->match.hosts));
    const char *to = r->action == HX_UPSTREAM        ? r->upstream->name
                     : yaml_get(r->body, "redirect") ? "redirect"
                                                     : "answer";
    return import_printf(h->a, "%s%s%s%s%s", to, host ? "-" : "", host ? host : "",
                         r->match.kind == IMPORT_PATH_ANY ? "" : "-",
                         r->match.kind == IMPORT_PATH_ANY ? "" : r->match.path);
}

static struct yaml_node *body_of(struct haproxy *h, const struct hx_rule *r, const struct yaml_node *edits)
{
    struct yaml_node *body = yaml_map(h->a);
    if (r->action == HX_UPSTREAM) {
        yaml_set_text(h->a, body, "upstream", r->upstream->name);
        for (const struct hx_backend *b = h->backends; b; b = b->next)
            if (b->made == r->upstream)
                yaml_merge_deep(h->a, body, b->edits);
    }
    yaml_merge(h->a, body, r->body);
    yaml_merge_deep(h->a, body, edits);
    if (yaml_has(yaml_get(body, "deny"), "0.0.0.0/0"))
        yaml_drop(body, "allow"); /* an address was not enough where credentials were asked for */
    static const char *const of_servers[] = {"cache",   "rewrite", "request_headers", "response_headers",
                                             "retries", "timeouts"};
    for (size_t i = 0; i < COUNT_OF(of_servers) && r->action == HX_ANSWER; i++)
        yaml_drop(body, of_servers[i]);
    return body;
}

static struct import_route *same_route(struct import_route *first, const struct hx_rule *r,
                                       const struct yaml_node *body)
{
    for (struct import_route *o = first; o; o = o->next)
        if (o->kind == r->match.kind && text_is(o->path, r->match.path) &&
            yaml_equal(o->hosts, r->match.hosts) && yaml_equal(o->conditions, r->match.conditions) &&
            yaml_equal(o->body, body))
            return o;
    return NULL;
}

void hx_routes(struct haproxy *h, struct hx_section *s, struct hx_rule *rules, struct yaml_node *edits,
               struct import_listener **listeners, size_t count)
{
    struct import_route **begin = h->in->last_route;
    for (size_t i = 0; i < count; i++) {
        bool cut = false;
        struct hx_rule *mine = rules_for(h, rules, listeners[i]->tls, &cut);
        if (cut)
            report_add(&h->in->report, REPORT_LEFT, h->file, s->line,
                       import_printf(h->a, "%s %s", s->kind, s->name),
                       "its rules overlap in too many ways; write the routes by hand");
        for (struct hx_rule *r = mine; r; r = r->next) {
            struct yaml_node *body = body_of(h, r, edits);
            struct import_route *route = same_route(*begin, r, body);
            if (!route) {
                const char *origin = r->line ? hx_origin(h, r->line) : hx_section_origin(h, s);
                route = import_route(h->in, import_printf(h->a, "%s-%s", s->name, label_of(h, r)),
                                     r->derived ? import_printf(h->a, "%s (and a later rule holds)", origin)
                                                : origin);
                route->kind = r->match.kind;
                route->path = r->match.path;
                route->hosts = r->match.hosts;
                route->conditions = r->match.conditions;
                route->body = body;
            }
            yaml_add_text(h->a, route->listeners, listeners[i]->name);
            r->route = route;
        }
        hx_samples(h, rules, mine, listeners[i]);
    }
}
