#include "proxy/http/access.h"

static int read_set(struct config *c, const struct option_texts *texts, struct cidr_set *out)
{
    int rc = 0;
    struct cidr *at = texts->count ? arena_alloc(&c->arena, texts->count * sizeof *at) : NULL;
    if (texts->count && !at) {
        c->out_of_memory = true;
        return -1;
    }
    for (size_t i = 0; i < texts->count; i++)
        if (cidr_parse(texts->at[i], &at[i])) {
            config_fault(c, texts->nodes[i],
                         "%s is no network; write 10.0.0.0/8 (no bits set behind the prefix), 10.0.0.1 or "
                         "2001:db8::/32",
                         config_quote(c, texts->at[i]));
            rc = -1;
        }
    if (rc == 0)
        *out = (struct cidr_set){at, texts->count};
    return rc;
}

/* The network lies within one of the set. */
static bool is_inside(const struct cidr *c, const struct cidr_set *set)
{
    struct ip first = {0};
    memcpy(first.bytes, c->bytes, sizeof first.bytes);
    for (size_t i = 0; i < set->count; i++)
        if (set->at[i].bits <= c->bits && cidr_contains(&set->at[i], &first))
            return true;
    return false;
}

/* Beside a deny list, an allow list names exceptions: one that excepts nothing is likely meant to keep all
 * others out. */
static void warn_of_open_lists(struct config *c, const struct option_texts *allow,
                               const struct access_rules *rules)
{
    if (rules->deny.count == 0)
        return;
    for (size_t i = 0; i < rules->allow.count; i++)
        if (!is_inside(&rules->allow.at[i], &rules->deny)) {
            config_warn(
                c, allow->nodes[i],
                "addresses in neither list are let in; to keep them out, deny [0.0.0.0/0, \"::/0\"] too");
            return;
        }
}

int access_compile(struct config *c, const struct option_texts *allow, const struct option_texts *deny,
                   struct access_rules *out)
{
    struct access_rules rules = {0};
    int rc = read_set(c, allow, &rules.allow);
    rc |= read_set(c, deny, &rules.deny);
    if (rc)
        return -1;
    warn_of_open_lists(c, allow, &rules);
    *out = rules;
    return 0;
}

bool access_allows(const struct access_rules *a, const struct ip *client)
{
    if (access_is_open(a))
        return true;
    unsigned allowed = cidr_set_match(&a->allow, client), denied = cidr_set_match(&a->deny, client);
    if (allowed || denied)
        return allowed > denied;
    return a->allow.count == 0 || a->deny.count > 0;
}
