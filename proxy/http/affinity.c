#include "proxy/http/affinity.h"

#include <stdio.h>

#include "balancer/hashing.h"
#include "balancer/sticky.h"
#include "proxy/http/fields.h"

/* Compiling. */

/* `header:x-user` as `${header.x-user}`. */
static struct slice as_template(struct config *c, struct slice key)
{
    size_t colon = slice_find(key, ':');
    struct slice kind = slice_of(key.at, colon);
    if (slice_equal(key, S("host")) || slice_equal(key, S("path")))
        return slice_text(arena_printf(&c->arena, "${%.*s}", SLICE_FMT(key)));
    if (colon < key.len && (slice_equal(kind, S("header")) || slice_equal(kind, S("cookie"))))
        return slice_text(
            arena_printf(&c->arena, "${%.*s.%.*s}", SLICE_FMT(kind), SLICE_FMT(slice_skip(key, colon + 1))));
    return key;
}

static int compile_key(struct config *c, const struct upstream_settings *settings, struct affinity_rule *rule)
{
    const struct config_node *at = settings->node ? config_get(settings->node, "hash_key") : NULL;
    rule->has_key = true;
    if (settings->balance == BALANCE_SOURCE_HASH || slice_equal(settings->hash_key, S("ip"))) {
        rule->by_ip = true;
        return 0;
    }
    struct slice text = as_template(c, settings->hash_key);
    if (!text.at || template_compile(c, at, text, TEMPLATE_AT_REQUEST, &rule->key) != 0)
        return -1;
    if (template_is_literal(&rule->key)) {
        config_fault(c, at,
                     "the same for every request: write ip, host, path, header:NAME, cookie:NAME or a "
                     "text with variables, ${client}");
        return -1;
    }
    return 0;
}

int affinity_compile(struct config *c, const struct upstream_settings *settings,
                     const struct affinity_rule **out)
{
    bool hashes = settings->balance == BALANCE_RING_HASH || settings->balance == BALANCE_MAGLEV ||
                  settings->balance == BALANCE_SOURCE_HASH;
    *out = NULL;
    if (!hashes && !settings->sticky)
        return 0;
    struct affinity_rule *rule = arena_zalloc(&c->arena, sizeof *rule);
    if (!rule) {
        c->out_of_memory = true;
        return -1;
    }
    if (settings->sticky) {
        rule->sticky = settings->sticky;
        rule->cookie = (struct template_variable){.id = TEMPLATE_COOKIE, .name = settings->sticky->cookie};
    }
    if (hashes && compile_key(c, settings, rule) != 0)
        return -1;
    *out = rule;
    return 0;
}

/* Requests. */

static uint64_t hash_of(struct exchange *x, const struct affinity_rule *rule)
{
    struct slice text = {0};
    if (rule->by_ip)
        return hash_of_ip(&x->client);
    if (template_expand(&rule->key, &x->arena, exchange_variable, x, &text) != 0)
        return 0;
    return hash_of_key(text);
}

void affinity_of(struct exchange *x, struct upstream *u, struct affinity *out)
{
    const struct affinity_rule *rule = u->affinity;
    *out = (struct affinity){0};
    if (!rule)
        return;
    if (rule->has_key)
        out->hash = hash_of(x, rule);
    if (rule->sticky)
        out->server = sticky_find(x->servers->sticky, exchange_variable(x, &rule->cookie));
    x->session = out->server;
}

/* RFC 6265 §4.1. */
int affinity_set_cookie(struct exchange *x, struct fields *f)
{
    const struct affinity_rule *rule = x->upstream ? x->upstream->affinity : NULL;
    if (!rule || !rule->sticky || !x->server || x->server == x->session)
        return 0;
    struct slice token = sticky_token(x->servers->sticky, x->server);
    char age[40] = "";
    if (rule->sticky->ttl)
        snprintf(age, sizeof age, "; Max-Age=%llu", (unsigned long long)(rule->sticky->ttl + 999) / 1000);
    const char *value =
        arena_printf(&x->arena, "%.*s=%.*s; Path=/%s; HttpOnly; SameSite=Lax%s",
                     SLICE_FMT(rule->sticky->cookie), SLICE_FMT(token), age, x->is_tls ? "; Secure" : "");
    return value ? fields_add(&x->arena, f, FIELD_SET_COOKIE, S("Set-Cookie"), slice_text(value)) : -1;
}
