#include "admin/explain_settings.h"

#include "balancer/queue.h"
#include "proxy/http/retries.h"
#include "tls/settings.h"

/* Values. */

const char *explain_duration(struct arena *a, msec_t ms)
{
    unsigned long long n = ms;
    if (n && n % 3600000 == 0)
        return arena_printf(a, "%lluh", n / 3600000);
    if (n && n % 60000 == 0)
        return arena_printf(a, "%llum", n / 60000);
    if (n % 1000 == 0)
        return arena_printf(a, "%llus", n / 1000);
    return arena_printf(a, "%llums", n);
}

const char *explain_size(struct arena *a, uint64_t bytes)
{
    unsigned long long n = bytes;
    if (n == 0)
        return "no limit";
    if (n % (1u << 20) == 0)
        return arena_printf(a, "%lluMiB", n >> 20);
    if (n % 1024 == 0)
        return arena_printf(a, "%lluKiB", n >> 10);
    return arena_printf(a, "%llu bytes", n);
}

static const char *count_text(struct arena *a, uint64_t n)
{
    return n ? arena_printf(a, "%llu", (unsigned long long)n) : "no limit";
}

const char *explain_texts(struct arena *a, const struct option_texts *texts)
{
    const char *text = "";
    for (size_t i = 0; text && i < texts->count; i++)
        text = arena_printf(a, "%s%s%.*s", text, i ? ", " : "", SLICE_FMT(texts->at[i]));
    return text;
}

/* Places. */

static const char *path_of(struct arena *a, const struct config_node *node)
{
    if (!node->parent)
        return "";
    const char *before = path_of(a, node->parent);
    if (!before)
        return NULL;
    if (node->parent->kind == NODE_LIST)
        return arena_printf(a, "%s[%u]", before, node->index);
    return arena_printf(a, "%s%s%.*s", before, *before ? "." : "", SLICE_FMT(node->key));
}

const char *explain_place(struct arena *a, const struct config_node *node)
{
    if (!node)
        return "default";
    const char *path = path_of(a, node);
    return path ? arena_printf(a, "%s (%s:%u)", path, node->file, node->line) : NULL;
}

/* The node of "timeouts.connect" below `base`; NULL when the file does not say it. */
static const struct config_node *node_of(const struct config_node *base, struct slice name)
{
    char key[64];
    while (base && name.len) {
        size_t dot = slice_find(name, '.');
        if (dot >= sizeof key || base->kind != NODE_MAP)
            return NULL;
        memcpy(key, name.at, dot);
        key[dot] = 0;
        base = config_get(base, key);
        name = slice_skip(name, dot < name.len ? dot + 1 : dot);
    }
    return base;
}

/* Rows. */

static void add(struct explained_settings *s, const char *name, const char *value, const char *from)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 32;
        struct explained_setting *at = arena_alloc(s->arena, capacity * sizeof *at);
        if (!at)
            return;
        if (s->count)
            memcpy(at, s->at, s->count * sizeof *at);
        s->at = at;
        s->capacity = capacity;
    }
    if (name && value && from)
        s->at[s->count++] = (struct explained_setting){name, value, from};
}

void explain_row(struct explained_settings *s, const struct config_node *base, const char *name,
                 const char *value)
{
    add(s, name, value, explain_place(s->arena, node_of(base, slice_text(name))));
}

static void duration(struct explained_settings *s, const struct config_node *base, const char *name,
                     msec_t ms)
{
    explain_row(s, base, name, explain_duration(s->arena, ms));
}

static void add_limits(struct explained_settings *s, const struct listener_settings *l, const struct route *r)
{
    const struct limits *m = &l->limits;
    const struct config_node *node = l->node;
    if (r && r->limits.has_body_size)
        explain_row(s, r->settings->node, "limits.body_size", explain_size(s->arena, r->limits.body_size));
    else if (r)
        explain_row(s, node, "limits.body_size", explain_size(s->arena, m->body_size));
    if (r) {
        explain_row(s, node, "limits.request_line", explain_size(s->arena, m->request_line));
        explain_row(s, node, "limits.header_size", explain_size(s->arena, m->header_size));
        explain_row(s, node, "limits.header_count", count_text(s->arena, m->header_count));
    }
    explain_row(s, node, "limits.connections", count_text(s->arena, m->connections));
    explain_row(s, node, "limits.connections_per_ip", count_text(s->arena, m->connections_per_ip));
}

static void add_timeouts(struct explained_settings *s, const struct listener_settings *l,
                         const struct route *r)
{
    const struct timeouts *t = &l->timeouts;
    const struct config_node *node = l->node, *own = r->settings->node;
    duration(s, node, "timeouts.header", t->header);
    if (r->timeouts.has_body)
        duration(s, own, "timeouts.body", r->timeouts.body);
    else
        duration(s, node, "timeouts.body", t->body);
    if (r->target_count) {
        duration(s, node, "timeouts.connect", t->connect);
        if (t->tls)
            duration(s, node, "timeouts.tls", t->tls);
        else
            add(s, "timeouts.tls", explain_duration(s->arena, t->connect), "as timeouts.connect");
        duration(s, r->timeouts.has_response ? own : node, "timeouts.response",
                 r->timeouts.has_response ? r->timeouts.response : t->response);
        duration(s, node, "timeouts.upstream_keepalive", t->upstream_keepalive);
        duration(s, node, "timeouts.idle", t->idle);
    }
    duration(s, node, "timeouts.keepalive", t->keepalive);
    explain_row(s, own, "timeout", r->timeout ? explain_duration(s->arena, r->timeout) : "none");
}

static void add_retries(struct explained_settings *s, const struct route *r)
{
    const struct retries_settings *t = &r->retries;
    const struct config_node *node = r->settings->node;
    char on[256];
    retry_on_print(&t->on, on, sizeof on);
    explain_row(s, node, "retries.attempts", t->attempts ? count_text(s->arena, t->attempts) : "none");
    if (!t->attempts)
        return;
    explain_row(s, node, "retries.on", arena_printf(s->arena, "%s", on));
    explain_row(s, node, "retries.methods", t->methods == RETRY_ALL ? "all" : "idempotent");
    explain_row(s, node, "retries.budget", arena_printf(s->arena, "%g%% of the requests", t->budget * 100));
    explain_row(s, node, "retries.timeout", t->timeout ? explain_duration(s->arena, t->timeout) : "none");
    duration(s, node, "retries.backoff", t->backoff);
}

static void add_route(struct explained_settings *s, const struct route *r)
{
    static const char *const levels[] = {"high", "normal", "low"};
    const struct config_node *node = r->settings->node;
    explain_row(s, node, "concurrency", count_text(s->arena, r->concurrency));
    if (r->target_count)
        explain_row(s, node, "priority", levels[r->priority - QUEUE_HIGH]);
    explain_row(s, node, "normalize", r->normalize ? "true" : "false");
    for (size_t i = 0; i < r->error_count; i++)
        add(s, arena_printf(s->arena, "errors.%u", r->errors[i].status),
            arena_printf(s->arena, "%.*s", SLICE_FMT(r->errors[i].path)),
            explain_place(s->arena, r->errors[i].node));
}

void explain_settings(const struct explained *e, struct arena *a, struct explained_settings *out)
{
    const struct route *r = e->why.route;
    *out = (struct explained_settings){.arena = a};
    if (e->stream) {
        const struct listener_settings *l = e->stream->settings;
        add_limits(out, l, NULL);
        if (e->stream->protocol != LISTENER_UDP)
            duration(out, l->node, "timeouts.connect", l->timeouts.connect);
        duration(out, l->node, "timeouts.idle", l->timeouts.idle);
        return;
    }
    if (!e->listener || !r)
        return;
    const struct listener_settings *l = e->snapshot->listeners[e->listener->slot].settings;
    add_limits(out, l, r);
    add_timeouts(out, l, r);
    if (r->target_count)
        add_retries(out, r);
    add_route(out, r);
}

/* Of an upstream: as the file writes it. */

static const char *list_text(struct arena *a, const struct config_node *list)
{
    const char *text = "";
    for (size_t i = 0; text && i < list->count; i++)
        if (list->items[i]->kind == NODE_SCALAR)
            text = arena_printf(a, "%s%s%.*s", text, *text ? ", " : "", SLICE_FMT(list->items[i]->text));
    return text;
}

static void add_tree(struct explained_settings *s, const char *name, const struct config_node *node)
{
    if (node->kind == NODE_MAP) {
        for (size_t i = 0; i < node->count; i++)
            add_tree(
                s, arena_printf(s->arena, "%s%s%.*s", name, *name ? "." : "", SLICE_FMT(node->items[i]->key)),
                node->items[i]);
        return;
    }
    const char *value = node->is_secret           ? "(not shown)"
                        : node->kind == NODE_LIST ? list_text(s->arena, node)
                                                  : arena_printf(s->arena, "%.*s", SLICE_FMT(node->text));
    add(s, name, value, explain_place(s->arena, node));
}

void explain_upstream_settings(const struct upstream *u, struct arena *a, struct explained_settings *out)
{
    const struct config_node *node = u->settings->node;
    *out = (struct explained_settings){.arena = a};
    const struct tls_client_settings *tls = u->settings->tls;
    if (tls && !node_of(node, S("tls.verify")))
        add(out, "tls.verify", tls->verify ? "true" : "false", "default");
    if (tls && !node_of(node, S("tls.server_name")))
        add(out, "tls.server_name", "the name in the server's address", "default");
    for (size_t i = 0; node && node->kind == NODE_MAP && i < node->count; i++)
        if (!slice_equal(node->items[i]->key, S("servers")))
            add_tree(out, arena_printf(a, "%.*s", SLICE_FMT(node->items[i]->key)), node->items[i]);
}

void explain_settings_print(const struct explained_settings *s, FILE *out)
{
    int name = 0, value = 0;
    for (size_t i = 0; i < s->count; i++) {
        int n = (int)strlen(s->at[i].name), v = (int)strlen(s->at[i].value);
        name = n > name && n <= 30 ? n : name;
        value = v > value && v <= 30 ? v : value;
    }
    for (size_t i = 0; i < s->count; i++)
        fprintf(out, "  %-*s  %-*s  %s\n", name, s->at[i].name, value, s->at[i].value, s->at[i].from);
}
