/* Redirects that lead to themselves: where a request is sent is asked of the router again, as a browser
 * would. */
#include "proxy/http/explain.h"
#include "proxy/lint/reach.h"

#define STEPS_MAX 6

struct walk {
    struct lint *l;
    struct arena *arena;
    const struct route *route; /* that the walk began at */
    struct slice urls[STEPS_MAX + 1];
    size_t count;
    unsigned returns; /* to that route */
};

static bool is_tls(struct slice scheme)
{
    return slice_equal(scheme, S("https"));
}

/* The Location as a whole URL; {NULL, 0} for what is not followed. */
static struct slice absolute(struct walk *w, const struct plain_request *from, struct slice location)
{
    const struct http_request *r = &from->request;
    const char *text = NULL;
    if (slice_begins(location, S("http://")) || slice_begins(location, S("https://")))
        return location;
    if (slice_begins(location, S("//")))
        text = arena_printf(w->arena, "%.*s:%.*s", SLICE_FMT(r->scheme), SLICE_FMT(location));
    else if (slice_begins(location, S("/")))
        text = arena_printf(w->arena, "%.*s://%.*s%.*s", SLICE_FMT(r->scheme), SLICE_FMT(r->host),
                            SLICE_FMT(location));
    return slice_text(text);
}

/* Whether that host is known to be served here: it is the one that was asked, or some route names it. */
static bool is_served(const struct plain_request *from, const struct plain_request *to,
                      const struct route *next)
{
    const struct route_host *host = next ? route_host_match(next, to->host) : NULL;
    return slice_equal(from->host, to->host) || (host && host->kind != ROUTE_HOST_ANY);
}

/* The listener that the URL leads to; false when none is bound so. A URL without a port may come in at any.
 */
static bool choose_listener(struct lint *l, struct plain_request *p)
{
    const struct plain_listener *on = plain_request_listener(p, l->listeners, l->listener_count);
    uint64_t port;
    if (!on || on->is_tls != is_tls(p->request.scheme))
        return false;
    if (slice_to_u64(host_port(p->request.host), &port) != 0)
        return true;
    for (size_t i = 0; i < on->port_count; i++)
        if (on->ports[i] == port)
            return true;
    return false;
}

static bool seen(struct walk *w, const struct plain_request *p)
{
    const char *text = arena_printf(w->arena, "%.*s://%.*s%.*s", SLICE_FMT(p->request.scheme),
                                    SLICE_FMT(p->host), SLICE_FMT(p->request.target));
    struct slice url = slice_text(text);
    for (size_t i = 0; i < w->count; i++)
        if (slice_equal(w->urls[i], url))
            return true;
    if (text && w->count < COUNT_OF(w->urls))
        w->urls[w->count++] = url;
    return false;
}

/* Whether the walk from this request comes back. *location gets where its first answer sends the client. */
static bool comes_back(struct walk *w, struct plain_request p, struct slice *location)
{
    struct lint *l = w->l;
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        struct explanation met;
        struct plain_request next;
        const char *why;
        if (router_decide(l->s->router, &p, &l->router, w->arena, &met) != 0 ||
            met.action != EXPLAIN_ROUTED || met.route->action != ROUTE_REDIRECT)
            return false;
        w->returns += step && met.route == w->route;
        if (step == 0)
            *location = met.location;
        if (seen(w, &p))
            return w->returns > 0;
        struct slice url = absolute(w, &p, met.location);
        bool keeps = met.route->redirect.status >= 307;
        if (!url.at || plain_request_make(w->arena, keeps ? p.request.method : S("GET"), url, NULL, 0, S(""),
                                          &next, &why) != 0)
            return false;
        if (next.path_fault || !choose_listener(l, &next) || !is_served(&p, &next, probe_find(l, &next)))
            return false;
        p = next;
    }
    return w->returns + 1 >= STEPS_MAX - 1;
}

void lint_redirect(struct lint *l, const struct route *r, const struct probe *reached)
{
    for (size_t i = 0; i < l->listener_count; i++) {
        struct probe t = *reached;
        struct plain_request p;
        struct walk w = {.l = l, .arena = &l->scratch, .route = r};
        struct slice location = S("");
        t.listener = &l->s->listeners[l->listeners[i].slot];
        if (!route_on_listener(r, t.listener->slot) || probe_make(l, &t, &p) != 0 || probe_find(l, &p) != r ||
            !comes_back(&w, p, &location))
            continue;
        bool upgrades = slice_begins(location, S("https:"));
        lint_warn(l, LINT_REDIRECT_LOOP, lint_place(r->node, "redirect"),
                  upgrades
                      ? "keep it to the listeners without TLS (\"listener\"), or redirect to another path"
                      : "redirect to what another route answers, or give this one a narrower path",
                  probe_example(l, &t), "leads back to itself: %s is sent to %s, and on to this route again",
                  probe_words(l, &t), config_quote(l->c, location));
        return;
    }
}
