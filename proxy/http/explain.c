#include "proxy/http/explain.h"

#include "config/print.h"
#include "proxy/http/hops.h"
#include "proxy/snapshot.h"

#define HOSTS_SHOWN 10u

struct walk {
    const struct plain_request *p;
    struct router_scratch *scratch;
    struct arena *arena;
};

/* A text from the arena; an empty one when out of memory, which the caller sees by `at`. */
#define TEXT(arena, ...) slice_text(arena_printf((arena), __VA_ARGS__))

static struct slice path_text(struct arena *arena, const struct route_path *p)
{
    if (p->kind == ROUTE_PATH_REGEX)
        return TEXT(arena, "regex %.*s", SLICE_FMT(p->text));
    return p->text.len ? p->text : S("/");
}

/* The first ones: a route may have thousands. */
static struct slice host_text(struct arena *arena, const struct route *r)
{
    struct slice text = S("");
    size_t shown = r->host_count < HOSTS_SHOWN ? r->host_count : HOSTS_SHOWN;
    for (size_t i = 0; i < shown && text.at; i++)
        text = TEXT(arena, "%.*s%s%s%.*s", SLICE_FMT(text), i ? ", " : "",
                    r->hosts[i].kind == ROUTE_HOST_WILDCARD ? "*" : "", SLICE_FMT(r->hosts[i].name));
    if (shown < r->host_count && text.at)
        text = TEXT(arena, "%.*s or one of %zu more", SLICE_FMT(text), r->host_count - shown);
    return text;
}

static struct slice method_text(struct arena *arena, const struct route *r)
{
    struct slice text = S("");
    for (size_t i = 0; i < r->method_count && text.at; i++)
        text = TEXT(arena, "%.*s%s%.*s", SLICE_FMT(text), i ? ", " : "", SLICE_FMT(r->methods[i]));
    return text;
}

static struct slice path_reason(const struct walk *w, const struct route *r)
{
    struct slice path = w->p->path;
    switch (r->path.kind) {
    case ROUTE_PATH_PREFIX:
        return TEXT(w->arena, "path %.*s is not below %.*s", SLICE_FMT(path), SLICE_FMT(r->path.text));
    case ROUTE_PATH_EXACT:
        return TEXT(w->arena, "path %.*s is not %.*s", SLICE_FMT(path), SLICE_FMT(r->path.text));
    case ROUTE_PATH_REGEX:
        return TEXT(w->arena, "path %.*s does not match the regex %.*s", SLICE_FMT(path),
                    SLICE_FMT(r->path.text));
    }
    return S("");
}

static struct slice condition_reason(const struct walk *w, const struct condition *s)
{
    const char *name = condition_name(w->arena, s);
    struct slice value = s->node && s->node->is_secret ? S(CONFIG_SECRET) : s->value;
    switch (s->kind) {
    case CONDITION_EXACT:
        return TEXT(w->arena, "%s is not \"%.*s\"", name, SLICE_FMT(value));
    case CONDITION_REGEX:
        return TEXT(w->arena, "%s does not match the regex %.*s", name, SLICE_FMT(value));
    case CONDITION_PRESENT:
        return TEXT(w->arena, "%s is not there", name);
    case CONDITION_ABSENT:
        return TEXT(w->arena, "%s is there", name);
    }
    return S("");
}

/* Why the route cannot take the request; EXPLAIN_WON when it can. */
static struct explain_step look_at(const struct walk *w, const struct route *r)
{
    const struct http_request *request = &w->p->request;
    struct explain_step step = {.route = r};
    const struct condition *failed;
    if (!route_on_listener(r, w->p->listener_slot)) {
        step.reason = EXPLAIN_LISTENER;
        step.text = TEXT(w->arena, "not on listener %.*s", SLICE_FMT(w->p->listener));
    } else if (!route_host_match(r, w->p->host)) {
        step.reason = EXPLAIN_HOST;
        step.text =
            TEXT(w->arena, "host %.*s is not %.*s", SLICE_FMT(w->p->host), SLICE_FMT(host_text(w->arena, r)));
    } else if (route_path_match(&r->path, w->p->path, &w->scratch->regex) < 0) {
        step.reason = EXPLAIN_PATH;
        step.text = path_reason(w, r);
    } else if ((failed = conditions_fail(&r->conditions, request, &w->scratch->regex))) {
        step.reason = EXPLAIN_CONDITION;
        step.text = condition_reason(w, failed);
    } else if (!route_method_match(r, request)) {
        step.reason = EXPLAIN_METHOD;
        step.text = TEXT(w->arena, "method %.*s is not among %.*s", SLICE_FMT(request->method),
                         SLICE_FMT(method_text(w->arena, r)));
    } else {
        step.text = S("");
    }
    return step;
}

/* Above 0 when a is more specific than b, for this request; *why is what b falls short of. */
static int compare(const struct walk *w, const struct route *a, const struct route *b, const char **why)
{
    static const int path_rank[] = {[ROUTE_PATH_PREFIX] = 0, [ROUTE_PATH_REGEX] = 1, [ROUTE_PATH_EXACT] = 2};
    const struct route_host *x = route_host_match(a, w->p->host), *y = route_host_match(b, w->p->host);
    *why = "its host is less specific";
    if (x->kind != y->kind)
        return (int)x->kind - (int)y->kind;
    if (x->name.len != y->name.len)
        return x->name.len > y->name.len ? 1 : -1;

    *why = "its path is less specific";
    if (a->path.kind != b->path.kind)
        return path_rank[a->path.kind] - path_rank[b->path.kind];
    bool is_regex = a->path.kind == ROUTE_PATH_REGEX;
    if (!is_regex && a->path.text.len != b->path.text.len)
        return a->path.text.len > b->path.text.len ? 1 : -1;

    *why = "it has fewer conditions";
    if (!is_regex && a->rank != b->rank)
        return a->rank > b->rank ? 1 : -1;
    *why = "it comes later in the file";
    return a->index < b->index ? 1 : -1;
}

static const struct route *most_specific(const struct walk *w, const struct explain_step *steps, size_t count)
{
    const struct route *best = NULL;
    const char *why;
    for (size_t i = 0; i < count; i++)
        if (steps[i].reason == EXPLAIN_WON && (!best || compare(w, steps[i].route, best, &why) > 0))
            best = steps[i].route;
    return best;
}

static struct slice winner_text(const struct walk *w, const struct route *r)
{
    const struct route_host *host = route_host_match(r, w->p->host);
    static const char *const kinds[] = {
        [ROUTE_PATH_PREFIX] = "prefix ", [ROUTE_PATH_EXACT] = "exact ", [ROUTE_PATH_REGEX] = ""};
    struct slice text =
        TEXT(w->arena, "host %s%.*s, path %s%.*s",
             host->kind == ROUTE_HOST_ANY        ? "any"
             : host->kind == ROUTE_HOST_WILDCARD ? "*"
                                                 : "",
             SLICE_FMT(host->name), kinds[r->path.kind], SLICE_FMT(path_text(w->arena, &r->path)));
    if (r->rank && text.at)
        text = TEXT(w->arena, "%.*s, %u condition%s", SLICE_FMT(text), r->rank, r->rank == 1 ? "" : "s");
    return text;
}

static void rank_steps(const struct walk *w, const struct route *winner, struct explain_step *steps,
                       size_t count)
{
    const char *why;
    for (size_t i = 0; i < count; i++) {
        if (steps[i].route == winner) {
            steps[i].text = winner_text(w, winner);
        } else if (steps[i].reason == EXPLAIN_WON) {
            compare(w, winner, steps[i].route, &why);
            steps[i].reason = EXPLAIN_LESS_SPECIFIC;
            steps[i].text = TEXT(w->arena, "less specific than %.*s (%s:%u): %s", SLICE_FMT(winner->name),
                                 winner->node->file, winner->node->line, why);
        }
    }
}

/* What is sent on. */
static int apply_rewrite(const struct plain_request *p, struct router_scratch *scratch, struct arena *arena,
                         struct explanation *out)
{
    const struct route *r = out->route;
    out->path = r->normalize ? p->path : p->request.path;
    if (!r->rewrite)
        return 0;
    out->rewrite_fault =
        rewrite_apply(r->rewrite, arena, &scratch->regex, p->path, out->match.prefix_len, &out->path);
    if (out->rewrite_fault)
        out->status = 400;
    return out->rewrite_fault == TARGET_NO_MEMORY ? -1 : 0;
}

static void refuse(struct explanation *out, unsigned status, const char *reason)
{
    out->action = EXPLAIN_REFUSED;
    out->status = status;
    out->reason = reason;
}

static int apply_action(const struct plain_request *p, struct arena *arena, struct explanation *out)
{
    const struct route *r = out->route;
    struct plain_context context = {p, r, arena, out->path};
    if (r->action == ROUTE_SPLIT && !split_pick(r, 0)) {
        refuse(out, 503, "every weight of the split is 0");
        return 0;
    }
    if (r->action == ROUTE_RESPOND)
        out->status = r->respond.status;
    if (r->action != ROUTE_REDIRECT)
        return 0;
    out->status = r->redirect.status;
    struct slice to;
    if (template_expand(&r->redirect.to, arena, plain_variable, &context, &to))
        return -1;
    out->location = edits_safe_value(arena, to);
    return out->location.at ? 0 : -1;
}

/* In the order of exchange_begin(), ahead of the route's action. */
static bool is_refused(const struct plain_request *p, struct explanation *out)
{
    const struct route *r = out->route;
    uint64_t limit = r->limits.has_body_size ? r->limits.body_size
                     : p->config             ? p->config->settings->limits.body_size
                                             : 0;
    if (r->in_flight && atomic_load_explicit(r->in_flight, memory_order_relaxed) >= r->concurrency)
        refuse(out, 503, "as many requests as `concurrency` allows are on this route");
    else if (limit && p->request.body == BODY_LENGTH && p->request.content_length > limit)
        refuse(out, 413, "the body is larger than the limit");
    else
        return false;
    return true;
}

/* As hops_may_forward() says it. */
static bool ends_here(const struct plain_request *p, struct explanation *out)
{
    const struct http_request *q = &p->request;
    uint64_t left;
    bool has_max = q->method_id == METHOD_TRACE || q->method_id == METHOD_OPTIONS;
    const struct field *f = has_max ? fields_find_name(&q->fields, S("max-forwards")) : NULL;
    if (!out->route->target_count)
        return false;
    if (hops_passed(&q->fields) >= HOPS_MAX) {
        refuse(out, 508, "the request has passed through weir too often: it goes round in a loop");
        return true;
    }
    if (!f || slice_to_u64(f->value, &left) != 0 || left > 0)
        return false;
    out->action = EXPLAIN_ANSWERED;
    out->status = 200;
    return true;
}

/* Everything behind the choice of the route. */
static int conclude(const struct router *r, const struct plain_request *p, struct router_scratch *scratch,
                    struct arena *arena, struct explanation *out)
{
    if (!out->route) {
        out->action = out->match.allow ? EXPLAIN_NO_METHOD : EXPLAIN_NO_ROUTE;
        out->status = out->match.allow ? 405 : 404;
        out->allow = out->match.allow ? router_allow(r, out->match.allow, arena) : S("");
        return out->allow.at ? 0 : -1;
    }
    if (!access_allows(&out->route->access, &p->client)) {
        out->action = EXPLAIN_DENIED;
        out->status = 403;
        return 0;
    }
    if (is_refused(p, out))
        return 0;
    out->action = EXPLAIN_ROUTED;
    if (apply_rewrite(p, scratch, arena, out))
        return -1;
    if (out->rewrite_fault || ends_here(p, out))
        return 0;
    return apply_action(p, arena, out);
}

/* Nothing is looked for: the path is no good, or the listener refuses. */
static struct explanation nothing(const struct plain_request *p)
{
    struct explanation e = {
        .action = EXPLAIN_BAD_PATH, .status = 400, .path = S(""), .allow = S(""), .location = S("")};
    if (p->refused)
        refuse(&e, p->refused, p->refusal);
    return e;
}

int router_decide(const struct router *r, const struct plain_request *p, struct router_scratch *scratch,
                  struct arena *arena, struct explanation *out)
{
    *out = nothing(p);
    if (p->path_fault || p->refused)
        return 0;
    out->status = 0;
    out->route = router_find(r, p->listener_slot, &p->request, p->host, p->path, scratch, &out->match);
    return conclude(r, p, scratch, arena, out);
}

int router_explain(const struct router *r, const struct route *routes, size_t count,
                   const struct plain_request *p, struct router_scratch *scratch, struct arena *arena,
                   struct explanation *out)
{
    struct walk w = {p, scratch, arena};
    struct explanation e = nothing(p);
    if (!p->path_fault && !p->refused) {
        e.status = 0;
        e.steps = arena_alloc(arena, (count + 1) * sizeof *e.steps);
        if (!e.steps)
            return -1;
        for (e.step_count = 0; e.step_count < count; e.step_count++)
            e.steps[e.step_count] = look_at(&w, &routes[e.step_count]);
        e.route = most_specific(&w, e.steps, count);
        if (e.route)
            rank_steps(&w, e.route, e.steps, count);
        for (size_t i = 0; i < count; i++)
            if (!e.steps[i].text.at)
                return -1;

        /* How much of the path it took, and the methods of a 405, are the look-up's to say; its route is the
         * same. */
        const struct route *found =
            router_find(r, p->listener_slot, &p->request, p->host, p->path, scratch, &e.match);
        ASSERT(found == e.route);
        if (conclude(r, p, scratch, arena, &e))
            return -1;
    }
    *out = e;
    return 0;
}
