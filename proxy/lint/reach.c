#include "proxy/lint/reach.h"

#include "core/hash.h"
#include "proxy/http/regex_sample.h"
#include "proxy/http/target.h"

#define DEPTH_MAX   8
#define ASKED_MAX   200
#define CHOICES_MAX 16

struct choices {
    struct slice at[CHOICES_MAX];
    size_t count, most; /* one at first, as one is mostly enough */
};

/* One route's search. It is a proof that nothing reaches the route when every way out was tried: what a
 * request may be was not narrowed to samples where something else might have got past. */
struct search {
    struct lint *l;
    const struct route *route;
    struct reach_result *out;
    struct choices paths, hosts, methods;
    uint64_t seen[ASKED_MAX]; /* hashes of the requests that were asked */
    unsigned asked;
    bool gave_up, proof;
};

static void make_choices(struct search *s, size_t most);
static bool make_first(struct search *s, struct probe *t);
static bool reach(struct search *s, const struct probe *t, unsigned depth);
static bool takes_all_below(struct search *s);
static void show_plainly(struct search *s);

void reach_route(struct lint *l, const struct route *r, struct reach_result *out)
{
    struct search s;
    struct probe first = {0};
    memset(&s, 0, offsetof(struct search, seen));
    s.l = l;
    s.route = r;
    s.out = out;
    s.asked = 0;
    s.gave_up = false;
    s.proof = true;
    *out = (struct reach_result){.reach = REACH_UNKNOWN};
    make_choices(&s, 1);
    if (!make_first(&s, &first))
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

/* What the request may be. */

static bool wants(const struct choices *c)
{
    return c->count < c->most;
}

static void choose(struct choices *c, struct slice text)
{
    if (text.at && wants(c))
        c->at[c->count++] = text;
}

static void choose_text(struct choices *c, const char *text)
{
    choose(c, slice_text(text));
}

static bool pattern_holds(void *argument, struct slice text)
{
    struct search *s = argument;
    return regex_match(s->route->path.regex, &s->l->router.regex, text) == 1;
}

static void choose_samples(struct search *s)
{
    const struct regex_sampling sampling = {.arena = &s->l->scratch,
                                            .pattern = s->route->path.text,
                                            .paths = true,
                                            .holds = pattern_holds,
                                            .argument = s};
    s->paths.count = regex_samples(&sampling, s->paths.at, s->paths.most, &s->out->query);
}

static void choose_paths(struct search *s)
{
    static const char *const below[] = {"/x", "/1", "/x/y", "/x.html", "/weir-lint-x", "/"};
    const struct route_path *p = &s->route->path;
    struct arena *a = &s->l->scratch;
    switch (p->kind) {
    case ROUTE_PATH_EXACT:
        choose(&s->paths, p->text);
        break;
    case ROUTE_PATH_PREFIX:
        for (size_t i = 0; i < COUNT_OF(below) && wants(&s->paths); i++)
            choose_text(&s->paths, arena_printf(a, "%.*s%s", SLICE_FMT(p->text), below[i]));
        if (p->text.len)
            choose(&s->paths, p->text);
        break;
    case ROUTE_PATH_REGEX:
        choose_samples(s);
        break;
    }
}

static void choose_hosts(struct search *s)
{
    static const char *const labels[] = {"www", "any", "weir-lint-x"};
    static const char *const any[] = {"any.example", "weir-lint-x.example", "weir-lint-x.invalid"};
    for (size_t i = 0; i < s->route->host_count && wants(&s->hosts); i++) {
        const struct route_host *h = &s->route->hosts[i];
        if (h->kind == ROUTE_HOST_EXACT)
            choose(&s->hosts, h->name);
        for (size_t k = 0; h->kind == ROUTE_HOST_WILDCARD && k < COUNT_OF(labels) && wants(&s->hosts); k++)
            choose_text(&s->hosts, arena_printf(&s->l->scratch, "%s%.*s", labels[k], SLICE_FMT(h->name)));
        for (size_t k = 0; h->kind == ROUTE_HOST_ANY && k < COUNT_OF(any); k++)
            choose_text(&s->hosts, any[k]);
    }
}

static void choose_methods(struct search *s)
{
    static const char *const usual[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "WEIR-LINT"};
    const struct route *r = s->route;
    for (size_t i = 0; i < r->method_count; i++) {
        choose(&s->methods, r->methods[i]);
        if (method_id(r->methods[i]) == METHOD_GET)
            choose_text(&s->methods, "HEAD");
    }
    for (size_t i = 0; r->method_count == 0 && i < COUNT_OF(usual); i++)
        choose_text(&s->methods, usual[i]);
}

static void make_choices(struct search *s, size_t most)
{
    s->methods.count = s->hosts.count = s->paths.count = 0;
    s->methods.most = s->hosts.most = s->paths.most = most;
    choose_methods(s);
    choose_hosts(s);
    choose_paths(s);
}

/* The first request. */

static bool condition_holds(void *argument, struct slice text)
{
    struct search *s = ((void **)argument)[0];
    const struct condition *k = ((void **)argument)[1];
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f ||
            (k->source != CONDITION_HEADER && memchr("&;=#\"'+%,\\", text.at[i], 10)))
            return false;
    return regex_match(k->regex, &s->l->router.regex, text) == 1;
}

static bool set_condition(struct search *s, struct probe *t, const struct condition *k)
{
    struct slice value = k->value;
    if (k->kind == CONDITION_REGEX) {
        void *both[] = {s, (void *)(uintptr_t)k};
        const struct regex_sampling sampling = {
            .arena = &s->l->scratch, .pattern = k->value, .holds = condition_holds, .argument = both};
        if (regex_samples(&sampling, &value, 1, NULL) == 0)
            return false;
    } else if (k->kind == CONDITION_PRESENT) {
        value = S("1");
    }
    return probe_set(t, k->source, k->name, value, k->kind != CONDITION_ABSENT);
}

static const struct listener_config *listener_of(const struct search *s, size_t i)
{
    unsigned slot = s->l->listeners[i].slot;
    return route_on_listener(s->route, slot) ? &s->l->s->listeners[slot] : NULL;
}

static bool make_first(struct search *s, struct probe *t)
{
    for (size_t i = 0; i < s->l->listener_count && !t->listener; i++)
        t->listener = listener_of(s, i);
    if (!t->listener || !s->paths.count || !s->hosts.count || !s->methods.count)
        return false;
    t->method = s->methods.at[0];
    t->host = s->hosts.at[0];
    t->path = s->paths.at[0];
    for (size_t i = 0; i < s->route->conditions.count; i++)
        if (!set_condition(s, t, &s->route->conditions.at[i]))
            return false;
    return true;
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
static bool leaves_doubt(const struct search *s, const struct route *taker)
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

static bool by_path(struct search *s, const struct probe *t, const struct route *taker, unsigned depth)
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

static bool by_method_or_host(struct search *s, const struct probe *t, const struct route *taker,
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

static bool by_condition(struct search *s, const struct probe *t, const struct condition *k, unsigned depth)
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

static bool by_listener(struct search *s, const struct probe *t, const struct route *taker, unsigned depth)
{
    for (size_t i = 0; i < s->l->listener_count; i++) {
        struct probe next = *t;
        next.listener = listener_of(s, i);
        if (next.listener && next.listener != t->listener && !route_on_listener(taker, next.listener->slot) &&
            reach(s, &next, depth))
            return true;
    }
    return false;
}

/* Whether it was asked before; else it is noted. */
static bool is_known(struct search *s, const struct probe *t)
{
    const char *text = probe_key(s->l, t);
    uint64_t hash = text ? hash_keyed(slice_text(text)) : 0;
    for (unsigned i = 0; i < s->asked; i++)
        if (s->seen[i] == hash)
            return true;
    s->seen[s->asked++] = hash;
    return false;
}

static bool reach(struct search *s, const struct probe *t, unsigned depth)
{
    struct plain_request p;
    if (depth > DEPTH_MAX || s->asked >= ASKED_MAX) {
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
        make_choices(s, CHOICES_MAX);
        s->proof = s->hosts.count < CHOICES_MAX && s->methods.count < CHOICES_MAX;
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
static bool takes_all_below(struct search *s)
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
static void show_plainly(struct search *s)
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
