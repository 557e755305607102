/* allow and deny, in whose order the first decides, as weir has them: the longest network decides. And
 * limit_conn. */
#include "core/address.h"
#include "import/nginx.h"

struct rule {
    struct cidr cidr;
    bool allows;
    const char *text;
};

static bool covers(const struct cidr *wide, const struct cidr *narrow)
{
    struct ip ip = {0};
    memcpy(ip.bytes, narrow->bytes, sizeof ip.bytes);
    return wide->bits <= narrow->bits && cidr_contains(wide, &ip);
}

/* Those that an earlier one covers never decide; of the others the longer stands first wherever two overlap.
 */
static size_t add_rule(struct rule *rules, size_t count, struct rule r)
{
    for (size_t i = 0; i < count; i++)
        if (covers(&rules[i].cidr, &r.cidr))
            return count;
    rules[count++] = r;
    return count;
}

void ng_access(struct nginx *n, const struct ng *scope, struct import_route *r)
{
    size_t count = 0, most = 0;
    bool closed = false, open = false;
    while (scope && !ng_child(scope, "allow") && !ng_child(scope, "deny"))
        scope = scope->parent;
    for (const struct ng *d = scope ? scope->children : NULL; d; d = d->next)
        most++;
    struct rule *rules = import_alloc(n->a, most * sizeof *rules);
    for (struct ng *d = scope ? scope->children : NULL; d; d = d->next) {
        bool allows = text_is(d->name, "allow");
        struct rule rule = {.allows = allows, .text = ng_arg(d, 0)};
        if (!allows && !text_is(d->name, "deny"))
            continue;
        d->done = true;
        if (open || closed)
            continue;
        if (text_is(rule.text, "all")) {
            closed = !allows;
            open = allows;
        } else if (cidr_parse(slice_text(rule.text), &rule.cidr) == 0) {
            count = add_rule(rules, count, rule);
        } else if (text_is(rule.text, "unix:")) {
            ng_left(n, d, "clients of a Unix socket are not told apart");
        } else {
            ng_left(n, d, "allow and deny take networks by numbers");
        }
    }
    size_t denied = 0, allowed = 0;
    for (size_t i = 0; i < count; i++)
        *(rules[i].allows ? &allowed : &denied) += 1;
    if (!closed && !denied)
        return; /* everybody */
    struct yaml_node *allow = yaml_list(n->a), *deny = yaml_list(n->a);
    for (size_t i = 0; i < count; i++)
        yaml_add_text(n->a, rules[i].allows ? allow : deny, rules[i].text);
    if (closed && (denied || !allowed)) {
        yaml_add_text(n->a, deny, "0.0.0.0/0");
        yaml_add_text(n->a, deny, "::/0");
    }
    if (allowed)
        yaml_set(n->a, r->body, "allow", allow);
    if (yaml_count(deny))
        yaml_set(n->a, r->body, "deny", deny);
}

/* limit_conn */

static const char *zone_key(const struct nginx *n, const char *zone)
{
    for (const struct ng *d = ng_child(n->http, "limit_conn_zone"); d; d = ng_next(d)) {
        const char *name = ng_arg(d, 1);
        size_t len = strlen(zone);
        if (text_begins(name, "zone=") && strncmp(name + 5, zone, len) == 0 &&
            (name[5 + len] == ':' || !name[5 + len]))
            return ng_arg(d, 0);
    }
    return "";
}

static void limits_in(struct nginx *n, const struct ng *block)
{
    for (struct ng *d = ng_child(block, "limit_conn"); d; d = ng_next(d)) {
        const char *key = zone_key(n, ng_arg(d, 0));
        bool by_ip = text_is(key, "$binary_remote_addr") || text_is(key, "$remote_addr");
        if (!d->done && by_ip && text_number(ng_arg(d, 1)) > 0 &&
            import_once(n->in, "limits", "connections_per_ip", ng_arg(d, 1)))
            d->done = true;
    }
}

void ng_server_limits(struct nginx *n, const struct ng_server *s)
{
    limits_in(n, n->http);
    limits_in(n, s->block);
}
