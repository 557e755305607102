/* What a route does with a request: its one action, compiled. */
#include "proxy/http/route_internal.h"

static void check_upstream(const struct route_compilation *k, const struct config_node *at, bool at_key,
                           struct slice name)
{
    const struct route_names *names = k->names;
    uint64_t slot;
    if (table_get(k->upstreams, name, &slot))
        return;
    bool is_near = config_suggest(name, names->upstreams, names->upstream_count) != NULL;
    const char *mend = config_mend(k->c, name, names->upstreams, names->upstream_count, !is_near);
    if (memchr(name.at, ':', name.len))
        mend = "; an action names one of the `upstreams`, where addresses stand";
    if (at_key)
        config_fault_key(k->c, at, "no upstream is called %s%s", config_quote(k->c, name), mend);
    else
        config_fault(k->c, at, "no upstream is called %s%s", config_quote(k->c, name), mend);
}

static void compile_upstream(const struct route_compilation *k, const struct route_settings *s,
                             struct route *r)
{
    r->targets = route_allocate(k->c, sizeof *r->targets);
    if (!r->targets || s->upstream.len == 0)
        return;
    r->targets[0].name = s->upstream;
    r->targets[0].node = route_value(s, "upstream");
    atomic_init(&r->targets[0].weight, 1);
    r->target_count = 1;
    check_upstream(k, r->targets[0].node, false, s->upstream);
}

static void compile_split(const struct route_compilation *k, const struct route_settings *s, struct route *r)
{
    r->targets = route_allocate(k->c, s->split.count * sizeof *r->targets);
    uint64_t sum = 0;
    for (size_t i = 0; r->targets && i < s->split.count; i++) {
        const struct option_pair *pair = &s->split.at[i];
        uint64_t weight = 0;
        check_upstream(k, pair->node, true, pair->name);
        if (option_count(k->c, pair->node, 0, 1000000, &weight))
            return;
        struct route_target *target = &r->targets[r->target_count++];
        target->name = pair->name;
        target->node = pair->node;
        atomic_init(&target->weight, (uint32_t)weight);
        sum += weight;
    }
    const struct config_node *at = route_value(s, "split");
    if (sum == 0 && (r->target_count || at->count == 0))
        config_fault(k->c, at, "needs an upstream with a weight above 0");
}

static void compile_redirect(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct redirect_settings *from = s->redirect;
    if (!from)
        return;
    const struct config_node *to = config_get(from->node, "to"), *status = config_get(from->node, "status");
    if (from->status != 301 && from->status != 302 && from->status != 303 && from->status != 307 &&
        from->status != 308)
        config_fault(c, status, "a redirect is 301, 302, 303, 307 or 308");
    to = to ? to : from->node;
    r->redirect.status = (uint16_t)from->status;
    if (!is_field_value(from->to))
        config_fault(c, to, "holds a control character, which no Location may");
    template_compile(c, to, from->to, TEMPLATE_AT_REQUEST, &r->redirect.to);
}

static void compile_respond(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct respond_settings *from = s->respond;
    if (!from)
        return;
    r->respond.status = (uint16_t)from->status;
    template_compile(c, config_get(from->node, "body"), from->body, TEMPLATE_AT_REQUEST, &r->respond.body);
    edits_compile_fields(c, &from->headers, &r->respond.headers);
    if ((from->status == 204 || from->status == 205 || from->status == 304) && from->body.len)
        config_fault(c, config_get(from->node, "body"), "an answer with status %u has no body",
                     r->respond.status);
}

static void compile_files(struct config *c, const struct route_settings *s, struct route *r)
{
    r->files = s->files;
    if (!s->files)
        return;
    const struct slice fallback = s->files->fallback;
    if (fallback.len && fallback.at[0] != '/')
        config_fault(c, config_get(s->files->node, "fallback"),
                     "begins with \"/\": it is a path under the root");
    for (size_t i = 0; i < s->files->index.count; i++)
        if (memchr(s->files->index.at[i].at, '/', s->files->index.at[i].len))
            config_fault(c, s->files->index.nodes[i], "is a file's name, without \"/\"");
}

void route_compile_action(const struct route_compilation *k, const struct route_settings *s, struct route *r)
{
    static const struct {
        const char *key;
        enum route_action action;
    } actions[] = {{"upstream", ROUTE_UPSTREAM},
                   {"split", ROUTE_SPLIT},
                   {"redirect", ROUTE_REDIRECT},
                   {"respond", ROUTE_RESPOND},
                   {"files", ROUTE_FILES}};
    const char *first = NULL;
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        const struct config_node *node = route_value(s, actions[i].key);
        if (!node)
            continue;
        if (first) {
            config_fault_key(k->c, node, "the route has an action already, \"%s\"; it takes one", first);
            continue;
        }
        first = actions[i].key;
        r->action = actions[i].action;
    }

    switch (r->action) {
    case ROUTE_NONE:
        if (s->node && s->node->kind == NODE_MAP)
            config_fault(k->c, s->node, "needs an action: upstream, split, redirect, respond or files");
        break;
    case ROUTE_UPSTREAM:
        compile_upstream(k, s, r);
        break;
    case ROUTE_SPLIT:
        compile_split(k, s, r);
        break;
    case ROUTE_REDIRECT:
        compile_redirect(k->c, s, r);
        break;
    case ROUTE_RESPOND:
        compile_respond(k->c, s, r);
        break;
    case ROUTE_FILES:
        compile_files(k->c, s, r);
        break;
    }
}
