/* upstream blocks, and servers that proxy_pass names by address. One upstream of nginx that is used in two
 * ways (with and without TLS, say) becomes two of weir: there this belongs to the upstream. */
#include "import/nginx.h"

static const char *server_address(struct nginx *n, const char *s, const char *default_port)
{
    const char *colon = strrchr(s, ':');
    if (text_begins(s, "unix:"))
        return s;
    bool has_port = colon && text_number(colon + 1) > 0 && (s[0] != '[' || colon[-1] == ']');
    return has_port ? s : import_printf(n->a, "%s:%s", s, default_port);
}

struct passive {
    const char *errors, *eject;
    bool differs;
};

static void server_option(struct nginx *n, struct ng *d, const char *o, struct yaml_node *server,
                          struct yaml_node *body, struct passive *p)
{
    const char *value = strchr(o, '=');
    value = value ? value + 1 : "";
    if (text_begins(o, "weight=") && text_number(value) > 0)
        yaml_set_raw(n->a, server, "weight", value);
    else if (text_is(o, "backup"))
        yaml_set_raw(n->a, server, "backup", "true");
    else if (text_is(o, "down"))
        yaml_set_raw(n->a, server, "weight", "0");
    else if (text_begins(o, "max_conns=") && text_number(value) >= 0)
        yaml_set_raw(n->a, server, "max_connections", value);
    else if (text_begins(o, "max_fails=") && text_number(value) >= 0) {
        p->differs |= p->errors && !text_is(p->errors, value);
        p->errors = value;
    } else if (text_begins(o, "fail_timeout=") && ng_duration_ms(value) >= 10) {
        p->differs |= p->eject && !text_is(p->eject, value);
        p->eject = value;
    } else if (text_begins(o, "slow_start=") && ng_duration(n, value))
        yaml_set_raw(n->a, body, "slow_start", ng_duration(n, value));
    else if (text_is(o, "resolve")) {
        const char *address = yaml_scalar(yaml_get(server, "address"));
        yaml_set_text(n->a, server, "dns", address ? address : "");
    } else if (!text_begins(o, "id=") && !text_begins(o, "drain"))
        ng_left(n, d, "weir's servers have no \"%s\"", o);
}

static void servers(struct nginx *n, struct ng *block, struct yaml_node *body, const char *default_port)
{
    struct passive passive = {0};
    struct yaml_node *list = yaml_list_at(n->a, body, "servers");
    for (struct ng *d = ng_child(block, "server"); d; d = ng_next(d)) {
        struct yaml_node *server = yaml_map(n->a);
        const char *address = server_address(n, ng_arg(d, 0), default_port);
        d->done = true;
        yaml_set_text(n->a, server, "address", address);
        for (size_t i = 1; i < d->arg_count; i++)
            server_option(n, d, d->args[i], server, body, &passive);
        if (yaml_get(server, "dns")) {
            struct yaml_node *by_name = yaml_map(n->a);
            yaml_merge_others(n->a, by_name, server, "address");
            server = by_name;
        }
        yaml_add(n->a, list,
                 yaml_count(server) == 1 && yaml_get(server, "address") ? yaml_get(server, "address")
                                                                        : server);
    }
    if (passive.differs)
        ng_note(n, block,
                "max_fails and fail_timeout differ between servers; `outlier` holds for all, the last one's "
                "were taken");
    if (text_is(passive.errors, "0") || (!passive.errors && !passive.eject))
        return;
    struct yaml_node *outlier = yaml_at(n->a, body, "outlier");
    if (passive.errors)
        yaml_set_raw(n->a, outlier, "errors", passive.errors);
    if (passive.eject)
        yaml_set_raw(n->a, outlier, "eject", ng_duration(n, passive.eject));
    if (!passive.errors)
        yaml_set_raw(n->a, outlier, "errors", "1");
}

/* How servers are chosen. */

static void hashed(struct nginx *n, struct ng *d, struct yaml_node *body)
{
    const char *unknown = "", *key = ng_template(n, d->parent, ng_arg(d, 0), false, &unknown);
    if (!key) {
        ng_left(n, d, "weir has no %s; write balance: ring_hash with a hash_key", unknown);
        return;
    }
    yaml_set_raw(n->a, body, "balance", "ring_hash");
    yaml_set_text(n->a, body, "hash_key", text_is(key, "${client}") ? "ip" : key);
    yaml_set_raw(n->a, body, "hash_balance", "0%");
    if (!text_is(ng_arg(d, 1), "consistent"))
        ng_note(n, d, "weir's hash is consistent; which server a key meets is another than in nginx");
}

static void sticky(struct nginx *n, struct ng *d, struct yaml_node *body)
{
    if (!text_is(ng_arg(d, 0), "cookie") || d->arg_count < 2) {
        ng_left(n, d, "write sticky: { cookie: NAME }; weir makes the values");
        return;
    }
    struct yaml_node *map = yaml_at(n->a, body, "sticky");
    yaml_set_text(n->a, map, "cookie", ng_arg(d, 1));
    yaml_set_raw(n->a, map, "ttl", "0");
    for (size_t i = 2; i < d->arg_count; i++)
        if (text_begins(d->args[i], "expires=") && ng_duration(n, d->args[i] + 8))
            yaml_set_raw(n->a, map, "ttl", ng_duration(n, d->args[i] + 8));
}

static void balance(struct nginx *n, struct ng *block, struct yaml_node *body)
{
    for (struct ng *d = block->children; d; d = d->next) {
        const char *way = NULL;
        if (text_is(d->name, "least_conn"))
            way = "least_connections";
        else if (text_is(d->name, "ip_hash"))
            way = "source_hash";
        else if (text_is(d->name, "least_time"))
            way = "ewma";
        else if (text_is(d->name, "random"))
            way = "random_two";
        else if (text_is(d->name, "hash") || text_is(d->name, "sticky"))
            d->done = true;
        if (way) {
            d->done = true;
            yaml_set_raw(n->a, body, "balance", way);
        }
        if (text_is(d->name, "ip_hash"))
            ng_note(n, d, "weir takes the whole address, nginx the first three bytes of IPv4");
        if (text_is(d->name, "random") && !text_is(ng_arg(d, 0), "two"))
            ng_note(n, d, "weir draws two and takes the less loaded");
        if (text_is(d->name, "hash"))
            hashed(n, d, body);
        if (text_is(d->name, "sticky"))
            sticky(n, d, body);
        if (text_is(d->name, "keepalive") || text_is(d->name, "zone") || text_begins(d->name, "keepalive_"))
            d->done = true;
    }
}

static struct ng *declared(const struct ng *scope, const char *name)
{
    for (struct ng *d = ng_child(scope, "upstream"); d; d = ng_next(d))
        if (text_is(ng_arg(d, 0), name))
            return d;
    return NULL;
}

struct import_upstream *ng_upstream(struct nginx *n, const struct ng *at, struct ng *owner, const char *name,
                                    const struct yaml_node *settings, const char *default_port)
{
    const struct ng *scope = owner;
    while (scope->parent && !text_is(scope->name, "http") && !text_is(scope->name, "stream"))
        scope = scope->parent;
    struct ng *block = declared(scope, name);
    struct text key = {0};
    struct yaml_node *probe = yaml_map(n->a);
    yaml_merge(n->a, probe, settings);
    text_printf(&key, "%s %s %s ", scope->name, name, block ? "" : default_port);
    yaml_print(probe, &key);
    struct ng_upstream **u = &n->upstreams;
    for (; *u; u = &(*u)->next)
        if (text_is((*u)->key, key.at)) {
            text_free(&key);
            return (*u)->made;
        }
    *u = import_alloc(n->a, sizeof **u);
    (*u)->key = import_copy(n->a, key.at, key.len);
    (*u)->made = import_upstream(n->in, name, ng_origin(n, block ? block : at));
    text_free(&key);

    struct yaml_node *body = (*u)->made->body;
    if (block) {
        block->done = true;
        balance(n, block, body);
        servers(n, block, body, default_port);
    } else {
        yaml_add_text(n->a, yaml_list_at(n->a, body, "servers"), server_address(n, name, default_port));
    }
    yaml_merge(n->a, body, settings);
    return (*u)->made;
}
