#include "admin/explain_text.h"

#include "admin/explain_cache.h"
#include "admin/explain_files.h"
#include "admin/explain_headers.h"
#include "admin/explain_settings.h"
#include "admin/explain_stream.h"
#include "admin/explain_upstream.h"
#include "proxy/http/message.h"

#define LOSERS_SHOWN 100u
#define LABEL        "  %-12s "

static void print_place(FILE *out, const struct route *r)
{
    fprintf(out, "%.*s (%s:%u)", SLICE_FMT(r->name), r->node->file, r->node->line);
}

/* The listener, and who the client is. */

static void print_listeners(const struct explained *e, FILE *out)
{
    struct arena a;
    arena_init(&a, NULL, 0);
    if (e->no_stream)
        fprintf(out, LABEL "none\n", "listener");
    else if (!e->stream && !e->listener)
        fprintf(out, LABEL "none serves HTTP\n", "listener");
    for (int losers = 0; losers < 2; losers++)
        for (size_t i = 0; i < e->snapshot->listener_count; i++) {
            const struct listener_config *l = &e->snapshot->listeners[i];
            const char *why = explain_listener_reason(e, l, &a);
            if (explain_is_listener(e, l) == !losers && why)
                fprintf(out, LABEL "%.*s %s\n", losers ? "not" : "listener", SLICE_FMT(l->name), why);
        }
    arena_reset(&a);
}

static void print_client(const struct explained *e, FILE *out)
{
    const struct plain_request *p = &e->request;
    char peer[48];
    fprintf(out, LABEL "%.*s", "client", SLICE_FMT(p->client_text));
    size_t len = ip_print(&p->peer, peer, sizeof peer);
    if (!slice_equal(p->client_text, slice_of(peer, len)))
        fprintf(out, ", whom %s names, one of trusted_proxies", peer);
    else if (fields_find(&p->request.fields, FIELD_X_FORWARDED_FOR) && p->config && !p->is_trusted)
        fprintf(out, " (its X-Forwarded-For is not believed: it is none of trusted_proxies)");
    fprintf(out, "\n");
}

static void print_request(const struct explained *e, FILE *out)
{
    const struct plain_request *p = &e->request;
    const struct http_request *r = &p->request;
    if (e->scheme != EXPLAIN_HTTP)
        fprintf(out, "%.*s\n", SLICE_FMT(e->url));
    else
        fprintf(out, "%.*s %.*s://%.*s%.*s\n", SLICE_FMT(r->method), SLICE_FMT(r->scheme), SLICE_FMT(r->host),
                SLICE_FMT(r->target));
    print_listeners(e, out);
    print_client(e, out);
    if (e->stream || e->no_stream)
        return;
    if (p->path_fault)
        fprintf(out, LABEL "%s\n", "path", target_fault_text(p->path_fault));
    else
        fprintf(out, LABEL "host %.*s, path %.*s\n", "matched by", SLICE_FMT(p->host), SLICE_FMT(p->path));
}

/* Routes. */

static void print_losers(const struct explained *e, FILE *out)
{
    size_t shown = 0, losers = 0;
    for (size_t i = 0; i < e->why.step_count; i++)
        losers += e->why.steps[i].reason != EXPLAIN_WON;
    if (!losers)
        return;
    fprintf(out, "\nroutes that it does not meet\n");
    for (size_t i = 0; i < e->why.step_count && shown < LOSERS_SHOWN; i++) {
        const struct explain_step *step = &e->why.steps[i];
        if (step->reason == EXPLAIN_WON)
            continue;
        fprintf(out, "  ");
        print_place(out, step->route);
        fprintf(out, ": %.*s\n", SLICE_FMT(step->text));
        shown++;
    }
    if (losers > shown)
        fprintf(out, "  and %zu more\n", losers - shown);
}

static void print_winner(const struct explained *e, FILE *out)
{
    fprintf(out, "\nroute ");
    if (!e->why.route) {
        fprintf(out, "none\n");
        return;
    }
    print_place(out, e->why.route);
    fprintf(out, "\n");
    for (size_t i = 0; i < e->why.step_count; i++)
        if (e->why.steps[i].reason == EXPLAIN_WON && e->why.steps[i].text.len)
            fprintf(out, LABEL "%.*s\n", "because", SLICE_FMT(e->why.steps[i].text));
}

/* What is done. */

void explain_print_action(const struct explained *e, FILE *out)
{
    const struct route *r = e->why.route;
    const struct explanation *w = &e->why;
    if (e->no_stream) {
        fprintf(out, "refused: nothing listens there");
        return;
    }
    if (e->stream) {
        explain_stream_action(e, out);
        return;
    }
    if (!e->listener) {
        fprintf(out, "nothing: no listener serves HTTP");
        return;
    }
    switch (w->action) {
    case EXPLAIN_BAD_PATH:
        fprintf(out, "400, %s", target_fault_text(e->request.path_fault));
        return;
    case EXPLAIN_NO_ROUTE:
        fprintf(out, "404, no route matches");
        return;
    case EXPLAIN_NO_METHOD:
        fprintf(out, "405, routes here are for other methods: %.*s", SLICE_FMT(w->allow));
        return;
    case EXPLAIN_DENIED:
        fprintf(out, "403, the route's allow and deny do not let %.*s in", SLICE_FMT(e->request.client_text));
        return;
    case EXPLAIN_REFUSED:
        fprintf(out, "%u, %s", w->status, w->reason);
        return;
    case EXPLAIN_ANSWERED:
        fprintf(out, "200, answered by weir: Max-Forwards is 0");
        return;
    case EXPLAIN_ROUTED:
        break;
    }
    if (w->rewrite_fault) {
        fprintf(out, "400, the rewritten path is no good: %s", target_fault_text(w->rewrite_fault));
        return;
    }
    switch (r->action) {
    case ROUTE_UPSTREAM:
        fprintf(out, "upstream %.*s", SLICE_FMT(r->targets[0].name));
        break;
    case ROUTE_SPLIT:
        fprintf(out, "split among upstreams");
        break;
    case ROUTE_REDIRECT:
        fprintf(out, "%u, redirect to %.*s", w->status, SLICE_FMT(w->location));
        break;
    case ROUTE_RESPOND:
        fprintf(out, "%u, answered by weir", w->status);
        break;
    case ROUTE_FILES:
        fprintf(out, "files below %.*s", SLICE_FMT(r->files->root));
        break;
    case ROUTE_NONE:
        break;
    }
}

static void print_targets(const struct explained *e, FILE *out)
{
    const struct route *r = e->why.route;
    unsigned long long all = 0;
    for (size_t i = 0; i < r->target_count; i++)
        all += atomic_load_explicit(&r->targets[i].weight, memory_order_relaxed);
    for (size_t i = 0; i < r->target_count; i++) {
        const struct route_target *t = &r->targets[i];
        fprintf(out, LABEL "%.*s", "upstream", SLICE_FMT(t->name));
        if (r->action == ROUTE_SPLIT)
            fprintf(out, ", share %u of %llu", atomic_load_explicit(&t->weight, memory_order_relaxed), all);
        if (t->upstream)
            explain_upstream_print(e, t->upstream, out);
        else
            fprintf(out, "\n");
    }
}

static void print_path(const struct explained *e, FILE *out)
{
    const struct route *r = e->why.route;
    struct slice sent = e->why.path;
    bool is_sent = r->action == ROUTE_UPSTREAM || r->action == ROUTE_SPLIT || r->action == ROUTE_FILES;
    if (!is_sent || e->why.rewrite_fault)
        return;
    fprintf(out, LABEL "%.*s", r->action == ROUTE_FILES ? "path" : "path sent", SLICE_FMT(sent));
    if (r->rewrite)
        fprintf(out, ", by rewrite of %.*s", SLICE_FMT(e->request.path));
    else if (!slice_equal(sent, e->request.request.path))
        fprintf(out, ", normalised from %.*s", SLICE_FMT(e->request.request.path));
    if (!r->normalize)
        fprintf(out, " (as it came: normalize is false)");
    fprintf(out, "\n");
}

static void print_access(const struct explained *e, FILE *out)
{
    struct arena a;
    arena_init(&a, NULL, 0);
    const char *text = explain_access(e, &a);
    if (text)
        fprintf(out, LABEL "%s\n", "access", text);
    arena_reset(&a);
}

static void print_file(const struct explained *e, FILE *out)
{
    struct arena a;
    struct explained_file f;
    arena_init(&a, NULL, 0);
    if (explain_file_of(e, &a, &f) == 0 && f.status) {
        fprintf(out, LABEL "%u, %s", "file now", f.status, f.text);
        if (f.path.len)
            fprintf(out, ": %.*s/%.*s, %llu bytes", SLICE_FMT(e->why.route->files->root), SLICE_FMT(f.path),
                    (unsigned long long)f.size);
        fprintf(out, "\n");
    }
    arena_reset(&a);
}

static void print_headers(const struct explained *e, FILE *out)
{
    struct arena a;
    struct explained_headers h;
    bool is_servers = e->why.route->target_count != 0;
    arena_init(&a, NULL, 0);
    if (explain_request_headers(e, &a, &h) == 0)
        explain_headers_print("request headers, as a server gets them", &h, out);
    if (explain_response_headers(e, &a, &h) == 0)
        explain_headers_print(
            is_servers ? "response headers, what is changed in the server's" : "response headers", &h, out);
    arena_reset(&a);
}

static void print_settings(const struct explained *e, FILE *out)
{
    struct arena a;
    struct explained_settings s;
    arena_init(&a, NULL, 0);
    explain_settings(e, &a, &s);
    if (s.count)
        fprintf(out, "\nin force\n");
    explain_settings_print(&s, out);
    arena_reset(&a);
}

void explain_print(const struct explained *e, FILE *out)
{
    print_request(e, out);
    fprintf(out, LABEL, "does");
    explain_print_action(e, out);
    fprintf(out, "\n");
    if (e->stream && e->stream_upstream) {
        fprintf(out, "\n" LABEL "%.*s", "upstream", SLICE_FMT(e->stream_upstream->name));
        explain_upstream_print(e, e->stream_upstream, out);
    }
    if (e->stream)
        print_settings(e, out);
    if (e->stream || e->no_stream || !e->listener || e->request.path_fault || e->request.refused)
        return;
    print_winner(e, out);
    print_access(e, out);
    if (e->why.route && e->why.action == EXPLAIN_ROUTED) {
        print_path(e, out);
        print_file(e, out);
        print_targets(e, out);
        explain_cache_print(e, out);
        print_headers(e, out);
    }
    print_settings(e, out);
    print_losers(e, out);
}
