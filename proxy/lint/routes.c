/* Routes that no request reaches. */
#include "proxy/lint/reach.h"

static void tell_unreachable(struct lint *l, const struct route *r, const struct reach_result *found)
{
    const struct route *taker = found->taker;
    const char *words = probe_words(l, &found->probe), *example = probe_example(l, &found->probe);
    if (found->reach == REACH_NO) {
        lint_warn(l, LINT_UNREACHABLE_ROUTE, r->node,
                  taker->path.kind == ROUTE_PATH_REGEX && r->path.kind != ROUTE_PATH_EXACT
                      ? "take it out, or narrow that route's regex"
                      : "take it out, or give it a path, a method or a condition of its own",
                  example, "no request can reach it: %s already goes to route %s", words,
                  lint_route(l, taker));
        return;
    }
    const char *mend = "narrow that route's regex, or give this one a path of its own";
    if (taker->path.kind == ROUTE_PATH_REGEX && r->path.kind == ROUTE_PATH_REGEX && taker->index < r->index)
        mend = "put this route ahead of that one, or narrow that one's regex";
    if (found->reach == REACH_BARE)
        lint_warn(l, LINT_SHADOWED_ROUTE, r->node, mend, example,
                  "nothing below %s reaches it: %s goes to route %s, and a regex comes ahead of a prefix",
                  config_quote(l->c, r->path.text), words, lint_route(l, taker));
    else
        lint_warn(
            l, LINT_SHADOWED_ROUTE, r->node, mend, example,
            "hides behind another: %s, which it matches, goes to route %s, and so does all that was tried",
            words, lint_route(l, taker));
}

static bool passes_through(const struct listener_config *l, struct slice host)
{
    return l->names && l->settings->passthrough.count && server_names_find(l->names, host);
}

/* The name goes on undecrypted on each listener that the route is for. */
static void check_passthrough(struct lint *l, const struct route *r)
{
    for (size_t i = 0; i < r->host_count; i++) {
        const struct listener_config *by = NULL;
        for (size_t k = 0; k < l->listener_count; k++) {
            const struct listener_config *on = &l->s->listeners[l->listeners[k].slot];
            if (!route_on_listener(r, on->slot))
                continue;
            if (r->hosts[i].kind != ROUTE_HOST_EXACT || !passes_through(on, r->hosts[i].name))
                goto next;
            by = on;
        }
        if (by)
            lint_warn(l, LINT_UNREACHABLE_ROUTE, r->hosts[i].node,
                      "take the host out of the route, or out of \"passthrough\"", NULL,
                      "no client that asks for %s reaches it: listener %s passes that name on undecrypted",
                      config_quote(l->c, r->hosts[i].name), config_quote(l->c, by->name));
    next:;
    }
}

static void check_pattern(struct lint *l, const struct route *r, const struct reach_result *found)
{
    const struct config_node *at = r->settings->path.node;
    if (r->path.kind != ROUTE_PATH_REGEX)
        return;
    if (regex_excludes(r->path.regex, &l->router.regex, S("/")) &&
        regex_excludes(r->path.regex, &l->router.regex, S("*")))
        lint_warn(l, LINT_UNREACHABLE_ROUTE, at, "write the \"/\" that a path begins with: \"^/\"", NULL,
                  "no request can reach it: no path matches %s", config_quote(l->c, r->path.text));
    else if (found->query)
        lint_warn(l, LINT_UNREACHABLE_ROUTE, at, "ask for what is behind the \"?\" under \"query\"", NULL,
                  "no request can reach it: %s is held against the path, which ends ahead of the \"?\"",
                  config_quote(l->c, r->path.text));
}

static void check_route(struct lint *l, const struct route *r)
{
    struct reach_result found;
    reach_route(l, r, &found);
    if (found.reach == REACH_UNKNOWN)
        check_pattern(l, r, &found);
    else if (found.reach != REACH_YES)
        tell_unreachable(l, r, &found);
    else if (r->action == ROUTE_REDIRECT)
        lint_redirect(l, r, &found.probe);
    for (size_t i = 0; i < l->listener_count; i++)
        if (l->s->listeners[l->listeners[i].slot].names) {
            check_passthrough(l, r);
            break;
        }
}

void lint_routes(struct lint *l)
{
    if (l->listener_count == 0 && l->s->route_count)
        lint_warn(l, LINT_UNREACHABLE_ROUTE, l->s->routes[0].node, "add a listener with protocol http", NULL,
                  "no request can reach any route: no listener serves http");
    for (size_t i = 0;
         i < l->s->route_count && l->listener_count && l->lookups_left && config_wants_warnings(l->c); i++) {
        check_route(l, &l->s->routes[i]);
        arena_reset(&l->scratch);
    }
}
