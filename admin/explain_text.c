#include "admin/explain_text.h"

#include "admin/explain_cache.h"
#include "admin/explain_pick.h"
#include "admin/explain_stream.h"
#include "balancer/discovery.h"
#include "proxy/http/message.h"

#define LOSERS_SHOWN 100u
#define LABEL        "  %-12s "

int explain_request(const struct snapshot *s, const struct explain_input *in, struct arena *arena,
                    struct explained *out, const char **why)
{
    struct router_scratch scratch = {0};
    struct plain_listener *listeners = NULL;
    *out = (struct explained){.snapshot = s};
    *why = "out of memory";
    if (plain_request_make(arena, in->method, in->url, in->headers, in->header_count, in->client,
                           &out->request, why) != 0)
        return -1;
    size_t count = snapshot_plain_listeners(s, arena, &listeners);
    if (!listeners)
        return -1;
    out->listener = plain_request_listener(&out->request, listeners, count);
    if (explain_stream(out) || !out->listener)
        return 0;
    int result =
        router_explain(s->router, s->routes, s->route_count, &out->request, &scratch, arena, &out->why);
    router_scratch_free(&scratch);
    return result;
}

/* Pieces. */

static void print_duration(FILE *out, const char *name, msec_t ms)
{
    if (ms && ms % 60000 == 0)
        fprintf(out, "%s %llum", name, (unsigned long long)(ms / 60000));
    else if (ms % 1000 == 0)
        fprintf(out, "%s %llus", name, (unsigned long long)(ms / 1000));
    else
        fprintf(out, "%s %llums", name, (unsigned long long)ms);
}

static void print_size(FILE *out, const char *name, uint64_t bytes)
{
    if (bytes == 0)
        fprintf(out, "%s without limit", name);
    else if (bytes % (1u << 20) == 0)
        fprintf(out, "%s %llu MiB", name, (unsigned long long)(bytes >> 20));
    else if (bytes % 1024 == 0)
        fprintf(out, "%s %llu KiB", name, (unsigned long long)(bytes >> 10));
    else
        fprintf(out, "%s %llu bytes", name, (unsigned long long)bytes);
}

static void print_place(FILE *out, const struct route *r)
{
    fprintf(out, "%.*s (%s:%u)", SLICE_FMT(r->name), r->node->file, r->node->line);
}

static void print_request(const struct explained *e, FILE *out)
{
    const struct plain_request *p = &e->request;
    const struct http_request *r = &p->request;
    fprintf(out, "%.*s %.*s://%.*s%.*s\n", SLICE_FMT(r->method), SLICE_FMT(r->scheme), SLICE_FMT(r->host),
            SLICE_FMT(r->target));
    if (e->stream) {
        fprintf(out, LABEL "%.*s\n" LABEL "%.*s\n", "listener", SLICE_FMT(e->stream->name), "client",
                SLICE_FMT(p->client_text));
        return;
    }
    if (e->listener) {
        fprintf(out, LABEL "%.*s", "listener", SLICE_FMT(e->listener->name));
        for (size_t i = 0; i < e->listener->port_count; i++)
            fprintf(out, "%s%u", i ? ", " : " (port ", e->listener->ports[i]);
        fprintf(out, "%s%s\n", e->listener->is_tls ? ", TLS" : "", e->listener->port_count ? ")" : "");
    } else {
        fprintf(out, LABEL "none serves HTTP\n", "listener");
    }
    fprintf(out, LABEL "%.*s\n", "client", SLICE_FMT(p->client_text));
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

/* Entries that are no addresses: what they come to is known to the running process alone. */
static void print_sources(const struct upstream *u, FILE *out)
{
    static const char *const names[] = {[SOURCE_DNS] = "dns", [SOURCE_SRV] = "srv", [SOURCE_FILE] = "file"};
    const struct server_settings *all = u->settings->servers.at;
    for (size_t i = 0; i < u->settings->servers.count; i++) {
        enum source_kind kind;
        struct slice what;
        if (!discovery_entry(&all[i], &kind, &what))
            continue;
        const struct source *s = upstream_entry_source(u, i);
        if (!s)
            fprintf(out, LABEL "  %s %.*s%s: found while weir runs\n", "", names[kind], SLICE_FMT(what),
                    all[i].backup ? " backup" : "");
        else if (s->reason[0] || s->found_count == 0)
            fprintf(out, LABEL "  %s: %s\n", "", s->name, s->reason[0] ? s->reason : "no answer yet");
    }
}

static void print_servers(const struct upstream *u, FILE *out)
{
    for (size_t i = 0; i < u->set->count; i++) {
        struct server_report r;
        server_report(u->set->servers[i], &r);
        fprintf(out, LABEL "  %.*s", "", SLICE_FMT(u->set->servers[i]->name));
        if (r.weight != 1)
            fprintf(out, " weight %u", r.weight);
        if (r.max_connections)
            fprintf(out, " at most %u at once", r.max_connections);
        fprintf(out, "%s", r.backup ? " backup" : "");
        const char *source = upstream_source(u, u->set->servers[i]->name);
        if (strcmp(source, "file") != 0)
            fprintf(out, " (%s)", source);
        if (u->active)
            fprintf(out, ", %s%s%s, %u in flight", r.state, r.reason[0] ? ": " : "", r.reason, r.in_flight);
        fprintf(out, "\n");
    }
    print_sources(u, out);
}

/* Behind its name. */
static void print_kind(const struct explained *e, const struct upstream *u, FILE *out)
{
    fprintf(out, " (%s%s)\n", u->policy->name, u->tls ? ", over TLS" : "");
    print_servers(u, out);
    if (u->active) {
        fprintf(out, LABEL, "");
        explain_pick(e, u, out);
        fprintf(out, "\n");
    }
}

static void print_targets(const struct explained *e, FILE *out)
{
    const struct route *r = e->why.route;
    for (size_t i = 0; i < r->target_count; i++) {
        const struct route_target *t = &r->targets[i];
        fprintf(out, LABEL "%.*s", "upstream", SLICE_FMT(t->name));
        if (r->action == ROUTE_SPLIT)
            fprintf(out, ", share %u", atomic_load_explicit(&t->weight, memory_order_relaxed));
        if (t->upstream) {
            print_kind(e, t->upstream, out);
        } else {
            fprintf(out, "\n");
        }
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

static void print_edits(const char *title, const struct edits_settings *s, FILE *out)
{
    if (s->set.count + s->add.count + s->remove.count == 0)
        return;
    fprintf(out, "\n%s\n", title);
    for (size_t i = 0; i < s->remove.count; i++)
        fprintf(out, LABEL "%.*s\n", "remove", SLICE_FMT(s->remove.at[i]));
    for (size_t i = 0; i < s->set.count; i++)
        fprintf(out, LABEL "%.*s: %.*s\n", "set", SLICE_FMT(s->set.at[i].name),
                SLICE_FMT(s->set.at[i].value));
    for (size_t i = 0; i < s->add.count; i++)
        fprintf(out, LABEL "%.*s: %.*s\n", "add", SLICE_FMT(s->add.at[i].name),
                SLICE_FMT(s->add.at[i].value));
}

static void print_texts(const char *name, const struct option_texts *texts, FILE *out)
{
    if (!texts->count)
        return;
    fprintf(out, LABEL, name);
    for (size_t i = 0; i < texts->count; i++)
        fprintf(out, "%s%.*s", i ? ", " : "", SLICE_FMT(texts->at[i]));
    fprintf(out, "\n");
}

static void print_retries(const struct retries_settings *s, FILE *out)
{
    char on[256];
    if (s->attempts == 0) {
        fprintf(out, LABEL "none\n", "retries");
        return;
    }
    retry_on_print(&s->on, on, sizeof on);
    fprintf(out, LABEL "%llu more attempts on %s, %s methods, at most %g%% of the requests", "retries",
            (unsigned long long)s->attempts, on, s->methods == RETRY_ALL ? "all" : "idempotent",
            s->budget * 100);
    if (s->timeout)
        print_duration(out, ", each ", s->timeout);
    fprintf(out, "\n");
}

static void print_bounds(const struct explained *e, FILE *out)
{
    const struct route *r = e->why.route;
    const struct listener_settings *l = e->snapshot->listeners[e->listener->slot].settings;
    fprintf(out, "\nin force\n" LABEL, "limits");
    print_size(out, "body", r->limits.has_body_size ? r->limits.body_size : l->limits.body_size);
    print_size(out, ", head", l->limits.header_size);
    fprintf(out, ", %llu header fields\n" LABEL, (unsigned long long)l->limits.header_count, "timeouts");
    print_duration(out, "connect", l->timeouts.connect);
    if (l->timeouts.tls)
        print_duration(out, ", tls", l->timeouts.tls);
    print_duration(out, ", response", r->timeouts.has_response ? r->timeouts.response : l->timeouts.response);
    print_duration(out, ", body", r->timeouts.has_body ? r->timeouts.body : l->timeouts.body);
    if (r->timeout)
        print_duration(out, ", in all", r->timeout);
    fprintf(out, "\n");
    if (r->action == ROUTE_UPSTREAM || r->action == ROUTE_SPLIT)
        print_retries(&r->retries, out);
    print_texts("allow", &r->settings->allow, out);
    print_texts("deny", &r->settings->deny, out);
    for (size_t i = 0; i < r->error_count; i++)
        fprintf(out, LABEL "%u: %.*s\n", i ? "" : "errors", r->errors[i].status,
                SLICE_FMT(r->errors[i].path));
}

void explain_print(const struct explained *e, FILE *out)
{
    print_request(e, out);
    fprintf(out, LABEL, "does");
    explain_print_action(e, out);
    fprintf(out, "\n");
    if (e->stream && e->stream_upstream) {
        fprintf(out, "\n" LABEL "%.*s", "upstream", SLICE_FMT(e->stream_upstream->name));
        print_kind(e, e->stream_upstream, out);
    }
    if (e->stream || !e->listener || e->request.path_fault)
        return;
    print_winner(e, out);
    if (e->why.route && e->why.action == EXPLAIN_ROUTED) {
        const struct route_settings *s = e->why.route->settings;
        print_path(e, out);
        print_targets(e, out);
        explain_cache_print(e, out);
        print_edits("request headers", &s->request_headers, out);
        print_edits("response headers", &s->response_headers, out);
        print_bounds(e, out);
    }
    print_losers(e, out);
}
