/* Tests of a listener's routes: a request for each, and what HAProxy's rules, asked in their order, do with
 * it. */
#include "import/haproxy.h"
#include "import/regex_sample.h"

struct request {
    const char *host, *path, *method;
    struct yaml_node *headers;       /* map */
    const struct yaml_node *demands; /* the conditions that it was made for */
    bool tls;
};

static bool host_holds(const struct yaml_node *hosts, const char *host)
{
    if (!yaml_count(hosts))
        return true;
    for (size_t i = 0; i < yaml_count(hosts); i++) {
        const char *one = yaml_scalar(yaml_item(hosts, i));
        if (text_is(one, host) || (one[0] == '*' && text_ends(host, one + 1)))
            return true;
    }
    return false;
}

static bool path_holds(const struct hx_match *m, const char *path)
{
    switch (m->kind) {
    case IMPORT_PATH_ANY:
        return true;
    case IMPORT_PATH_PREFIX:
        return text_begins(path, m->path);
    case IMPORT_PATH_EXACT:
        return text_is(path, m->path);
    case IMPORT_PATH_REGEX:
        return regex_holds(m->path, false, path);
    }
    return false;
}

/* The request has what it was made for, and nothing else. */
static bool conditions_hold(const struct yaml_node *conditions, const struct request *r)
{
    static const char *const groups[] = {"headers", "query", "cookies"};
    const struct yaml_node *methods = yaml_get(conditions, "methods");
    if (methods && !yaml_has(methods, r->method))
        return false;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        const struct yaml_node *map = yaml_get(conditions, groups[i]),
                               *mine = yaml_get(r->demands, groups[i]);
        for (size_t k = 0; k < yaml_count(map); k++) {
            const struct yaml_node *has = yaml_get(mine, yaml_key(map, k));
            if (!has || !yaml_equal(has, yaml_item(map, k)))
                return false;
        }
    }
    return true;
}

static const struct hx_rule *first_rule(const struct hx_rule *rules, const struct request *r)
{
    for (; rules; rules = rules->next)
        if (rules->action != HX_GUARD && (rules->match.tls < 0 || rules->match.tls == r->tls) &&
            host_holds(rules->match.hosts, r->host) && path_holds(&rules->match, r->path) &&
            conditions_hold(rules->match.conditions, r))
            return rules;
    return NULL;
}

/* Header fields that hold; false when there is no saying. */
static bool make_fields(struct haproxy *h, const struct yaml_node *conditions, struct request *r)
{
    const struct yaml_node *headers = yaml_get(conditions, "headers"),
                           *cookies = yaml_get(conditions, "cookies");
    if (yaml_get(conditions, "query"))
        return false;
    for (size_t i = 0; i < yaml_count(headers) + yaml_count(cookies); i++) {
        bool cookie = i >= yaml_count(headers);
        const struct yaml_node *map = cookie ? cookies : headers;
        size_t at = cookie ? i - yaml_count(headers) : i;
        const char *name = yaml_key(map, at), *value = yaml_scalar(yaml_item(map, at));
        const struct yaml_node *present = yaml_get(yaml_item(map, at), "present");
        if (present && text_is(yaml_scalar(present), "false"))
            continue;
        value = present ? "sample" : value;
        if (!value)
            return false;
        r->headers = r->headers ? r->headers : yaml_map(h->a);
        yaml_set_text(h->a, r->headers, cookie ? "cookie" : name,
                      cookie ? import_printf(h->a, "%s=%s", name, value) : value);
    }
    return true;
}

static bool make_request(struct haproxy *h, const struct hx_match *m, struct request *r)
{
    const char *host = yaml_scalar(yaml_first(m->hosts)),
               *method = yaml_scalar(yaml_first(yaml_get(m->conditions, "methods")));
    r->host = !host ? "any.invalid" : host[0] == '*' ? import_printf(h->a, "sample%s", host + 1) : host;
    r->method = method ? method : "GET";
    r->demands = m->conditions;
    r->path = m->kind == IMPORT_PATH_REGEX ? regex_sample(h->a, m->path, false)
              : m->kind == IMPORT_PATH_ANY ? "/sample-path"
                                           : m->path;
    if (!r->path || strpbrk(r->path, " ?#%\"\\") || strstr(r->path, "/."))
        return false;
    return make_fields(h, m->conditions, r);
}

static void test_of(struct haproxy *h, const struct hx_rule *made, const struct hx_rule *wanted,
                    const struct request *r, const struct import_listener *listener)
{
    const char *client = import_client(h->a, made->route->body);
    struct import_test t = {.listener = listener,
                            .host = r->host,
                            .target = r->path,
                            .method = r->method,
                            .headers = r->headers,
                            .route = made->route->name};
    t.client = client && *client ? client : NULL;
    const struct yaml_node *redirect = yaml_get(wanted->body, "redirect"),
                           *respond = yaml_get(wanted->body, "respond");
    if (client && !*client) {
        t.status = 403;
    } else if (wanted->action == HX_UPSTREAM) {
        t.upstream = wanted->upstream->name;
    } else {
        const char *to = yaml_scalar(yaml_get(redirect, "to"));
        t.status = (int)text_number(yaml_scalar(yaml_get(redirect ? redirect : respond, "status")));
        t.location = to && !strchr(to, '$') ? to : NULL;
    }
    import_test(h->in, &t);
}

void hx_samples(struct haproxy *h, const struct hx_rule *rules, const struct hx_rule *made,
                const struct import_listener *listener)
{
    for (; made; made = made->next) {
        struct request r = {.tls = listener->tls};
        if (!made->route || !make_request(h, &made->match, &r))
            continue;
        const struct hx_rule *wanted = first_rule(rules, &r);
        bool same = wanted && wanted->action == made->action && wanted->upstream == made->upstream &&
                    wanted->line == made->line;
        if (same)
            test_of(h, made, wanted, &r, listener);
    }
}
