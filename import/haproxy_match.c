/* Where two matches meet. */
#include "import/haproxy.h"
#include "import/regex_sample.h"

static bool host_holds(const char *wide, const char *host)
{
    return text_is(wide, host) ||
           (wide[0] == '*' && strlen(host) > strlen(wide + 1) && text_ends(host, wide + 1));
}

static bool meet_hosts(struct haproxy *h, struct yaml_node *a, struct yaml_node *b, struct yaml_node **out)
{
    if (!yaml_count(a) || !yaml_count(b)) {
        *out = yaml_count(a) ? a : b;
        return true;
    }
    *out = yaml_list(h->a);
    for (size_t i = 0; i < yaml_count(a); i++)
        for (size_t k = 0; k < yaml_count(b); k++) {
            const char *x = yaml_scalar(yaml_item(a, i)), *y = yaml_scalar(yaml_item(b, k));
            if (host_holds(y, x))
                yaml_add_text(h->a, *out, x);
            else if (host_holds(x, y))
                yaml_add_text(h->a, *out, y);
        }
    return yaml_count(*out) > 0;
}

/* By segments. */
static bool prefix_holds(const char *prefix, const char *path)
{
    size_t len = strlen(prefix);
    len -= len && prefix[len - 1] == '/';
    return strncmp(prefix, path, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* A regex as a look-ahead from the path's begin. */
static const char *ahead(struct haproxy *h, const char *regex)
{
    return regex[0] == '^' && !strchr(regex, '|') ? import_printf(h->a, "(?=%s)", regex + 1)
                                                  : import_printf(h->a, "(?=.*?(?:%s))", regex);
}

/* A regex that was made of a prefix, `^(?=/admin)…`, and another prefix. */
static bool is_elsewhere(const char *regex, const char *prefix)
{
    if (!text_begins(regex, "^(?=/"))
        return false;
    const char *mine = regex + 4;
    size_t len = strcspn(mine, ")"), other = strlen(prefix), both = len < other ? len : other;
    return strncmp(mine, prefix, both) != 0;
}

static bool meet_paths(struct haproxy *h, const struct hx_match *a, const struct hx_match *b,
                       struct hx_match *out)
{
    const struct hx_match *narrow = a->kind >= b->kind ? a : b, *wide = narrow == a ? b : a;
    out->kind = narrow->kind;
    out->path = narrow->path;
    if (wide->kind == IMPORT_PATH_ANY)
        return true;
    if (narrow->kind == IMPORT_PATH_REGEX) {
        if (wide->kind == IMPORT_PATH_EXACT) {
            out->kind = IMPORT_PATH_EXACT;
            out->path = wide->path;
            return regex_holds(narrow->path, false, wide->path);
        }
        if (text_is(narrow->path, wide->path))
            return true;
        if (wide->kind == IMPORT_PATH_PREFIX && is_elsewhere(narrow->path, hx_escaped(h, wide->path)))
            return false;
        const char *first = wide->kind == IMPORT_PATH_REGEX
                                ? ahead(h, wide->path)
                                : import_printf(h->a, "(?=%s)", hx_escaped(h, wide->path));
        out->path = import_printf(h->a, "^%s%s", first, ahead(h, narrow->path));
        return true;
    }
    if (narrow->kind == IMPORT_PATH_EXACT)
        return wide->kind == IMPORT_PATH_EXACT ? text_is(narrow->path, wide->path)
                                               : prefix_holds(wide->path, narrow->path);
    if (prefix_holds(a->path, b->path))
        out->path = b->path;
    else if (prefix_holds(b->path, a->path))
        out->path = a->path;
    else
        return false;
    return true;
}

static bool meet_methods(struct haproxy *h, const struct yaml_node *a, const struct yaml_node *b,
                         struct yaml_node *out)
{
    struct yaml_node *both = yaml_list(h->a);
    for (size_t i = 0; i < yaml_count(a); i++)
        if (yaml_has(b, yaml_scalar(yaml_item(a, i))))
            yaml_add_text(h->a, both, yaml_scalar(yaml_item(a, i)));
    if (!yaml_count(both))
        return false;
    yaml_set(h->a, out, "methods", both);
    return true;
}

/* headers, query, cookies: two demands on one name are only certain where they are the same. */
static bool meet_fields(struct haproxy *h, const struct yaml_node *a, const struct yaml_node *b,
                        const char *group, struct yaml_node *out, bool *certain)
{
    struct yaml_node *x = yaml_get(a, group), *y = yaml_get(b, group), *both = yaml_map(h->a);
    if (x)
        yaml_merge(h->a, both, x);
    for (size_t i = 0; i < yaml_count(y); i++) {
        const char *name = yaml_key(y, i);
        const struct yaml_node *mine = yaml_get(x, name), *other = yaml_item(y, i);
        if (mine && !yaml_equal(mine, other)) {
            *certain = yaml_scalar(mine) && yaml_scalar(other);
            return false;
        }
    }
    if (y)
        yaml_merge(h->a, both, y);
    if (yaml_count(both))
        yaml_set(h->a, out, group, both);
    return true;
}

bool hx_intersect(struct haproxy *h, const struct hx_match *a, const struct hx_match *b, struct hx_match *out,
                  bool *certain)
{
    static const char *const groups[] = {"headers", "query", "cookies"};
    struct yaml_node *x = yaml_get(a->conditions, "methods"), *y = yaml_get(b->conditions, "methods");
    *certain = true;
    *out = (struct hx_match){.conditions = yaml_map(h->a), .tls = a->tls < 0 ? b->tls : a->tls};
    if ((a->tls >= 0 && b->tls >= 0 && a->tls != b->tls) || !meet_hosts(h, a->hosts, b->hosts, &out->hosts) ||
        !meet_paths(h, a, b, out))
        return false;
    if (x && y && !meet_methods(h, x, y, out->conditions))
        return false;
    if ((x || y) && !(x && y))
        yaml_set(h->a, out->conditions, "methods", x ? x : y);
    for (size_t i = 0; i < COUNT_OF(groups); i++)
        if (!meet_fields(h, a->conditions, b->conditions, groups[i], out->conditions, certain))
            return false;
    if ((a->sources && b->sources) || (a->names && b->names)) {
        *certain = false;
        return false;
    }
    out->sources = a->sources ? a->sources : b->sources;
    out->sources_negated = a->sources ? a->sources_negated : b->sources_negated;
    out->names = a->names ? a->names : b->names;
    return true;
}

static bool same_list(const struct yaml_node *a, const struct yaml_node *b)
{
    return a == b || (a && b && yaml_equal(a, b));
}

bool hx_match_equal(const struct hx_match *a, const struct hx_match *b)
{
    bool paths = a->kind == b->kind && (a->kind == IMPORT_PATH_ANY || text_is(a->path, b->path));
    if (a->kind == IMPORT_PATH_PREFIX && b->kind == IMPORT_PATH_PREFIX)
        paths = prefix_holds(a->path, b->path) && prefix_holds(b->path, a->path);
    return paths && a->tls == b->tls && same_list(a->hosts, b->hosts) &&
           same_list(a->conditions, b->conditions);
}
