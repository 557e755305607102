#include "proxy/lint/reach.h"

#include "core/hash.h"
#include "proxy/http/target.h"
#include "proxy/lint/reach_internal.h"

#define DEPTH_MAX 8

static bool reach(struct reach_search *s, const struct probe *t, unsigned depth);
static bool takes_all_below(struct reach_search *s);
static void show_plainly(struct reach_search *s);

void reach_route(struct lint *l, const struct route *r, struct reach_result *out)
{
    struct reach_search s;
    struct probe first = {0};
    memset(&s, 0, offsetof(struct reach_search, seen));
    s.l = l;
    s.route = r;
    s.out = out;
    s.asked = 0;
    s.gave_up = false;
    s.proof = true;
    *out = (struct reach_result){.reach = REACH_UNKNOWN};
    reach_make_choices(&s, 1);
    if (!reach_make_first(&s, &first))
        return;
    if (!reach(&s, &first, 0)) {
        struct plain_request p;
        if (out->taker && !s.gave_up && probe_make(l, &out->probe, &p) == 0)
            out->reach = s.proof ? REACH_NO : REACH_DOUBT;
        if (out->reach == REACH_NO)
            show_plainly(&s);
        return;
    }
    out->reach = REACH_YES;
    if (out->taker && takes_all_below(&s))
        out->reach = REACH_BARE;
}

/* Ways out of another route. */

bool reach_is_universal(const struct route_path *p)
{
    static const char *const all[] = {"", "^", "/", "^/", ".", "^.", ".*", "^.*", ".+", "^.+", "^/.*", "/.*"};
    char bare[16];
    size_t len = 0;
    if (p->kind != ROUTE_PATH_REGEX)
        return false;
    for (size_t i = 0; i < p->text.len; i++) {
        char c = p->text.at[i];
        if (c == '(' || c == ')' ||
            (c == '$' && i + 1 == p->text.len && i && p->text.at[i - 1] != '\\' &&
             memchr(p->text.at, '*', p->text.len)))
            continue;
        if (len == sizeof bare || c == '\\' || c == '?')
            return false;
        bare[len++] = c;
    }
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (slice_equal(slice_of(bare, len), slice_text(all[i])))
            return true;
    return false;
}

static const struct condition *same_name(const struct route *r, const struct condition *k)
{
    for (size_t i = 0; i < r->conditions.count; i++) {
        const struct condition *own = &r->conditions.at[i];
        if (own->source == k->source && slice_equal_nocase(own->name, k->name))
            return own;
    }
    return NULL;
}

/* Whether samples are all that is known of how the taker's match and the route's lie. */
static bool leaves_doubt(const struct reach_search *s, const struct route *taker)
{
    const struct route_path *own = &s->route->path, *other = &taker->path;
    if (own->kind == ROUTE_PATH_REGEX && !reach_is_universal(other) &&
        !(other->kind == ROUTE_PATH_REGEX && slice_equal(own->text, other->text)))
        return true;
    if (own->kind == ROUTE_PATH_PREFIX && other->kind == ROUTE_PATH_REGEX && !reach_is_universal(other))
        return true;
    for (size_t i = 0; i < taker->conditions.count; i++) {
        const struct condition *k = &taker->conditions.at[i], *same = same_name(s->route, k);
        if (same && same->kind == CONDITION_EXACT)
            continue;
        if (k->kind == CONDITION_REGEX || (same && same->kind == CONDITION_REGEX))
            return true;
    }
    return false;
}

static bool method_escapes(const struct route *taker, struct slice method)
{
    struct http_request request = {.method = method, .method_id = method_id(method)};
    return !route_method_match(taker, &request);
}

static bool host_escapes(const struct route *taker, struct slice host)
{
    return !route_host_match(taker, host);
}

static bool by_path(struct reach_search *s, const struct probe *t, const struct route *taker, unsigned depth)
{
    for (size_t i = 0; i < s->paths.count; i++) {
        struct probe next = *t;
        next.path = s->paths.at[i];
        if (!slice_equal(next.path, t->path) &&
            route_path_match(&taker->path, next.path, &s->l->router.regex) < 0 && reach(s, &next, depth))
            return true;
    }
    return false;
}

static bool by_method_or_host(struct reach_search *s, const struct probe *t, const struct route *taker,
                              unsigned depth)
{
    for (size_t i = 0; i < s->methods.count && taker->method_count; i++) {
        struct probe next = *t;
        next.method = s->methods.at[i];
        if (method_escapes(taker, next.method) && reach(s, &next, depth))
            return true;
    }
    for (size_t i = 0; i < s->hosts.count; i++) {
        struct probe next = *t;
        next.host = s->hosts.at[i];
        /* Also where both have the host: it may be more specific for this route than for the taker. */
        bool other = !slice_equal(next.host, t->host);
        if (other && (host_escapes(taker, next.host) || s->hosts.count > 1) && reach(s, &next, depth))
            return true;
    }
    return false;
}

static bool by_condition(struct reach_search *s, const struct probe *t, const struct condition *k,
                         unsigned depth)
{
    static const char *const values[] = {"weir-lint-x", "1", ""};
    struct probe next = *t;
    if (k->kind != CONDITION_ABSENT && probe_set(&next, k->source, k->name, S(""), false) &&
        reach(s, &next, depth))
        return true;
    for (size_t i = 0; i < COUNT_OF(values) && k->kind != CONDITION_PRESENT; i++) {
        next = *t;
        if (probe_set(&next, k->source, k->name, slice_text(values[i]), true) && reach(s, &next, depth))
            return true;
    }
    return false;
}

static bool by_listener(struct reach_search *s, const struct probe *t, const struct route *taker,
                        unsigned depth)
{
    for (size_t i = 0; i < s->l->listener_count; i++) {
        struct probe next = *t;
        next.listener = reach_listener(s, i);
        if (next.listener && next.listener != t->listener && !route_on_listener(taker, next.listener->slot) &&
            reach(s, &next, depth))
            return true;
    }
    return false;
}

/* Whether it was asked before; else it is noted. */
static bool is_known(struct reach_search *s, const struct probe *t)
{
    const char *text = probe_key(s->l, t);
    uint64_t hash = text ? hash_keyed(slice_text(text)) : 0;
    for (unsigned i = 0; i < s->asked; i++)
        if (s->seen[i] == hash)
            return true;
    s->seen[s->asked++] = hash;
    return false;
}

static bool reach(struct reach_search *s, const struct probe *t, unsigned depth)
{
    struct plain_request p;
    if (depth > DEPTH_MAX || s->asked >= REACH_ASKED_MAX) {
        s->gave_up = true;
        return false;
    }
    /* What is changed for the taker's sake may be what the route itself asks for. */
    if (probe_view(s->l, t, &p) != 0 || !probe_matches(s->l, &p, s->route) ||
        (s->out->taker && is_known(s, t)))
        return false;
    const struct route *taker = probe_find(s->l, &p);
    if (!taker)
        return false;
    if (taker == s->route) {
        s->out->probe = *t;
        return true;
    }
    if (!s->out->taker) {
        is_known(s, t);
        s->out->taker = taker;
        s->out->probe = *t;
        reach_make_choices(s, REACH_CHOICES_MAX);
        s->proof = s->hosts.count < REACH_CHOICES_MAX && s->methods.count < REACH_CHOICES_MAX;
    }
    s->proof &= !leaves_doubt(s, taker);
    if (by_path(s, t, taker, depth + 1) || by_method_or_host(s, t, taker, depth + 1) ||
        by_listener(s, t, taker, depth + 1))
        return true;
    for (size_t i = 0; i < taker->conditions.count; i++)
        if (by_condition(s, t, &taker->conditions.at[i], depth + 1))
            return true;
    return false;
}

/* Of a prefix that is reached: whether regexes take whatever is below it. Only without conditions, which may
 * be what lets the others by. */
static bool takes_all_below(struct reach_search *s)
{
    const struct route_path *own = &s->route->path;
    struct slice got = s->out->probe.path;
    if (own->kind != ROUTE_PATH_PREFIX || !own->text.len || got.len > own->text.len + 1)
        return false;
    const struct route *first = NULL;
    struct probe t = s->out->probe, shown = t;
    for (size_t i = 0; i < s->paths.count; i++) {
        struct plain_request p;
        if (s->paths.at[i].len <= own->text.len + 1)
            continue;
        t.path = s->paths.at[i];
        if (probe_make(s->l, &t, &p) != 0)
            return false;
        const struct route *taker = probe_find(s->l, &p);
        if (!taker || taker->path.kind != ROUTE_PATH_REGEX || taker->rank)
            return false;
        shown = first ? shown : t;
        first = first ? first : taker;
    }
    s->out->taker = first;
    s->out->probe = shown;
    return first != NULL;
}

/* Of a prefix that nothing reaches, the prefix itself is the plainest example. */
static void show_plainly(struct reach_search *s)
{
    const struct route_path *own = &s->route->path;
    struct probe t = s->out->probe;
    struct plain_request p;
    if (own->kind != ROUTE_PATH_PREFIX || !own->text.len)
        return;
    t.path = own->text;
    const struct route *taker = probe_make(s->l, &t, &p) == 0 ? probe_find(s->l, &p) : NULL;
    if (taker) {
        s->out->probe = t;
        s->out->taker = taker;
    }
}
