/* What a request may be that a route takes: samples of its paths, hosts and methods, and its conditions. */
#include "proxy/http/regex_sample.h"
#include "proxy/lint/reach_internal.h"

static bool wants(const struct reach_choices *c)
{
    return c->count < c->most;
}

static void choose(struct reach_choices *c, struct slice text)
{
    if (text.at && wants(c))
        c->at[c->count++] = text;
}

static void choose_text(struct reach_choices *c, const char *text)
{
    choose(c, slice_text(text));
}

static bool pattern_holds(void *argument, struct slice text)
{
    struct reach_search *s = argument;
    return regex_match(s->route->path.regex, &s->l->router.regex, text) == 1;
}

static void choose_samples(struct reach_search *s)
{
    const struct regex_sampling sampling = {.arena = &s->l->scratch,
                                            .pattern = s->route->path.text,
                                            .paths = true,
                                            .holds = pattern_holds,
                                            .argument = s};
    s->paths.count = regex_samples(&sampling, s->paths.at, s->paths.most, &s->out->query);
}

static void choose_paths(struct reach_search *s)
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

static void choose_hosts(struct reach_search *s)
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

static void choose_methods(struct reach_search *s)
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

void reach_make_choices(struct reach_search *s, size_t most)
{
    s->methods.count = s->hosts.count = s->paths.count = 0;
    s->methods.most = s->hosts.most = s->paths.most = most;
    choose_methods(s);
    choose_hosts(s);
    choose_paths(s);
}

static bool condition_holds(void *argument, struct slice text)
{
    struct reach_search *s = ((void **)argument)[0];
    const struct condition *k = ((void **)argument)[1];
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f ||
            (k->source != CONDITION_HEADER && memchr("&;=#\"'+%,\\", text.at[i], 10)))
            return false;
    return regex_match(k->regex, &s->l->router.regex, text) == 1;
}

static bool set_condition(struct reach_search *s, struct probe *t, const struct condition *k)
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

const struct listener_config *reach_listener(const struct reach_search *s, size_t i)
{
    unsigned slot = s->l->listeners[i].slot;
    return route_on_listener(s->route, slot) ? &s->l->s->listeners[slot] : NULL;
}

bool reach_make_first(struct reach_search *s, struct probe *t)
{
    for (size_t i = 0; i < s->l->listener_count && !t->listener; i++)
        t->listener = reach_listener(s, i);
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
