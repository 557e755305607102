/* ACLs and conditions to what routes match: `a b || c` becomes two conjunctions, and each value of a path a
 * route of its own. What routes cannot say - most negations, and criteria that they have none of - is told by
 * *why. */
#include "import/haproxy.h"

#define ALTERNATIVES_MAX 64

struct criterion {
    const char *what; /* "hdr", "path_beg", "src", … */
    const char *name; /* of hdr(NAME) */
    const char *how;  /* of -m: beg, end, str, reg, found; NULL */
    bool nocase;
    const char *const *values;
    size_t value_count;
};

struct hx_match *hx_match_any(struct haproxy *h)
{
    struct hx_match *m = import_alloc(h->a, sizeof *m);
    m->hosts = yaml_list(h->a);
    m->conditions = yaml_map(h->a);
    m->path = "/";
    m->tls = -1;
    return m;
}

static const char *lower(struct haproxy *h, const char *s)
{
    char *copy = import_alloc(h->a, strlen(s) + 1);
    for (size_t i = 0; s[i]; i++)
        copy[i] = ascii_lower(s[i]);
    return copy;
}

const char *hx_escaped(struct haproxy *h, const char *s)
{
    struct text out = {0};
    text_add(&out, "");
    for (; *s; s++) {
        if (strchr("\\.^$|()[]{}*+?", *s))
            text_add(&out, "\\");
        text_add_bytes(&out, s, 1);
    }
    const char *copy = import_copy(h->a, out.at, out.len);
    text_free(&out);
    return copy;
}

/* `hdr(host) -i a b`: the words from `words[0]` on. */
static struct criterion read_criterion(struct haproxy *h, const char *const *words, size_t count)
{
    struct criterion c = {.what = words[0]};
    const char *open = strchr(words[0], '('), *close = open ? strchr(open, ')') : NULL;
    if (close) {
        c.what = import_copy(h->a, words[0], (size_t)(open - words[0]));
        c.name = lower(h, import_copy(h->a, open + 1, (size_t)(close - open) - 1));
        if (close[1] == ',')
            c.what =
                import_printf(h->a, "%s%s", c.what, close + 1); /* a converter: known to nobody but `lower` */
    }
    if (text_ends(c.what, ",lower"))
        c.what = import_copy(h->a, c.what, strlen(c.what) - 6);
    size_t i = 1;
    for (; i < count && words[i][0] == '-' && words[i][1]; i++) {
        c.nocase |= text_is(words[i], "-i");
        if (text_is(words[i], "-m") && i + 1 < count)
            c.how = words[++i];
        else if (text_is(words[i], "-f"))
            c.how = "file";
        else if (text_is(words[i], "--")) {
            i++;
            break;
        }
    }
    c.values = words + i;
    c.value_count = count - i;
    return c;
}

/* Adds a match to the alternatives. */
static struct hx_match *alternative(struct haproxy *h, struct hx_match **list)
{
    struct hx_match *m = hx_match_any(h);
    while (*list)
        list = &(*list)->next;
    *list = m;
    return m;
}

static bool host_of(struct haproxy *h, const struct criterion *c, const char *how, struct hx_match **out)
{
    struct hx_match *m = alternative(h, out);
    for (size_t i = 0; i < c->value_count; i++) {
        const char *v = lower(h, c->values[i]);
        if (text_is(how, "end") && v[0] == '.') {
            yaml_add_text(h->a, m->hosts, import_printf(h->a, "*%s", v));
        } else if (text_is(how, "dom") && v[0] != '.') {
            yaml_add_text(h->a, m->hosts, v);
            yaml_add_text(h->a, m->hosts, import_printf(h->a, "*.%s", v));
        } else if (text_is(how, "str")) {
            const char *colon = strchr(v, ':');
            yaml_add_text(h->a, m->hosts, colon ? import_copy(h->a, v, (size_t)(colon - v)) : v);
        } else {
            return false;
        }
    }
    return c->value_count > 0;
}

static const char *path_regex(struct haproxy *h, const char *how, const char *v)
{
    if (text_is(how, "reg"))
        return v;
    v = hx_escaped(h, v);
    return text_is(how, "str")   ? import_printf(h->a, "^%s$", v)
           : text_is(how, "beg") ? import_printf(h->a, "^%s", v)
           : text_is(how, "end") ? import_printf(h->a, "%s$", v)
           : text_is(how, "sub") ? v
           : text_is(how, "dir") ? import_printf(h->a, "(^|/)%s(/|$)", v)
                                 : NULL;
}

/* A path or prefix is an alternative; what only a regex can say is one regex for all values. */
static bool path_of(struct haproxy *h, const struct criterion *c, const char *how, struct hx_match **out)
{
    const char *regex = NULL;
    for (size_t i = 0; i < c->value_count; i++) {
        const char *v = c->values[i];
        bool prefix = text_is(how, "beg") || text_is(how, "dir");
        if (v[0] == '/' && !c->nocase && (prefix || text_is(how, "str"))) {
            struct hx_match *m = alternative(h, out);
            m->kind = !prefix ? IMPORT_PATH_EXACT : text_is(v, "/") ? IMPORT_PATH_ANY : IMPORT_PATH_PREFIX;
            m->path = v;
            continue;
        }
        v = path_regex(h, how, v);
        if (!v)
            return false;
        regex = regex ? import_printf(h->a, "%s|%s", regex, v) : v;
    }
    if (regex) {
        struct hx_match *m = alternative(h, out);
        m->kind = IMPORT_PATH_REGEX;
        m->path = import_printf(h->a, "%s%s", c->nocase ? "(?i)" : "", regex);
    }
    return c->value_count > 0;
}

/* headers, query, cookies */
static bool field_of(struct haproxy *h, const struct criterion *c, const char *group, const char *how,
                     bool negated, struct hx_match **out)
{
    if (!*c->name)
        return false;
    struct hx_match *m = alternative(h, out);
    struct yaml_node *map = yaml_at(h->a, m->conditions, group), *test = yaml_map(h->a);
    struct text any = {0};
    if (text_is(how, "found")) {
        yaml_set_raw(h->a, test, "present", negated ? "false" : "true");
        yaml_set(h->a, map, c->name, test);
        return true;
    }
    if (negated || c->value_count == 0)
        return false;
    if (text_is(how, "str") && c->value_count == 1 && !c->nocase) {
        yaml_set_text(h->a, map, c->name, c->values[0]);
        return true;
    }
    for (size_t i = 0; i < c->value_count; i++)
        text_printf(&any, "%s%s", i ? "|" : "",
                    text_is(how, "reg") ? c->values[i] : hx_escaped(h, c->values[i]));
    bool known = text_is(how, "str") || text_is(how, "beg") || text_is(how, "end") || text_is(how, "sub") ||
                 text_is(how, "reg");
    bool from_begin = text_is(how, "str") || text_is(how, "beg"),
         to_end = text_is(how, "str") || text_is(how, "end");
    const char *regex = import_printf(h->a, "%s%s%s%s%s%s", c->nocase ? "(?i)" : "", from_begin ? "^" : "",
                                      from_begin || to_end ? "(?:" : "", any.at,
                                      from_begin || to_end ? ")" : "", to_end ? "$" : "");
    text_free(&any);
    yaml_set_text(h->a, test, "regex", regex);
    yaml_set(h->a, map, c->name, test);
    return known;
}

static const char *ending(const char *what, const char *fallback)
{
    static const char *const ends[][2] = {{"_beg", "beg"}, {"_end", "end"}, {"_sub", "sub"}, {"_reg", "reg"},
                                          {"_dir", "dir"}, {"_dom", "dom"}, {"_len", "len"}, {"_cnt", "cnt"}};
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (text_ends(what, ends[i][0]))
            return ends[i][1];
    return fallback;
}

static bool listed(struct haproxy *h, const struct criterion *c, struct yaml_node *list)
{
    for (size_t i = 0; i < c->value_count; i++)
        yaml_add_text(h->a, list, c->values[i]);
    return c->value_count > 0;
}

static bool to_match(struct haproxy *h, const struct criterion *c, bool negated, struct hx_match **out)
{
    const char *how = c->how ? c->how : ending(c->what, "str");
    bool header =
        text_begins(c->what, "hdr") || text_begins(c->what, "req.hdr") || text_begins(c->what, "req.fhdr");
    if (text_is(how, "file"))
        return false;
    if (text_is(c->what, "ssl_fc") || (text_is(c->what, "dst_port") && text_is(c->values[0], "443"))) {
        alternative(h, out)->tls = !negated;
        return true;
    }
    if (text_is(c->what, "src")) {
        struct hx_match *m = alternative(h, out);
        m->sources = yaml_list(h->a);
        m->sources_negated = negated;
        return listed(h, c, m->sources);
    }
    if (header && c->name && !text_is(c->name, "host"))
        return field_of(h, c, "headers", how, negated, out);
    if ((text_begins(c->what, "cook") || text_begins(c->what, "req.cook")) && c->name)
        return field_of(h, c, "cookies", how, negated, out);
    if ((text_begins(c->what, "url_param") || text_begins(c->what, "urlp")) && c->name)
        return field_of(h, c, "query", how, negated, out);
    if (negated)
        return false;
    if (header && c->name)
        return host_of(h, c, how, out);
    if (text_is(c->what, "path") || text_begins(c->what, "path_"))
        return path_of(h, c, how, out);
    if (text_is(c->what, "method"))
        return listed(h, c, yaml_list_at(h->a, alternative(h, out)->conditions, "methods"));
    if (text_begins(c->what, "req.ssl_sni") || text_begins(c->what, "req_ssl_sni") ||
        text_begins(c->what, "ssl_fc_sni")) {
        struct hx_match *names = alternative(h, out);
        bool good = host_of(h, c, how, &names->next);
        names->names = names->next->hosts;
        names->next = NULL;
        return good;
    }
    return false;
}

/* Not in one and not in the other network: not in both of them together. */
static bool merge_sources(struct haproxy *h, struct hx_match *first)
{
    const struct hx_match *second = first->next;
    if (!first->sources || !second || !second->sources)
        return false;
    for (size_t i = 0; i < yaml_count(second->sources); i++)
        yaml_add_text(h->a, first->sources, yaml_scalar(yaml_item(second->sources, i)));
    first->next = NULL;
    return true;
}

/* An ACL's lines are alternatives; all of them must hold not for a negation. */
static bool named_acl(struct haproxy *h, const struct hx_section *s, const char *name, bool negated,
                      struct hx_match **out)
{
    size_t lines = 0;
    for (const struct hx_line *l = s->lines; l; l = l->next) {
        if (!hx_is(l, "acl", NULL) || l->count < 3 || !text_is(l->args[1], name))
            continue;
        struct criterion c = read_criterion(h, l->args + 2, l->count - 2);
        if (!to_match(h, &c, negated, out))
            return false;
        if (++lines > 1 && negated && !merge_sources(h, *out))
            return false;
    }
    static const char *const predefined[][3] = {{"TRUE", "", ""},
                                                {"HTTP", "", ""},
                                                {"METH_GET", "GET", "HEAD"},
                                                {"METH_POST", "POST", ""},
                                                {"METH_PUT", "PUT", ""},
                                                {"METH_DELETE", "DELETE", ""},
                                                {"METH_OPTIONS", "OPTIONS", ""},
                                                {"METH_HEAD", "HEAD", ""}};
    for (size_t i = 0; i < COUNT_OF(predefined) && lines == 0 && !negated; i++)
        if (text_is(name, predefined[i][0])) {
            struct hx_match *m = alternative(h, out);
            for (size_t k = 1; k < 3 && *predefined[i][k]; k++)
                yaml_add_text(h->a, yaml_list_at(h->a, m->conditions, "methods"), predefined[i][k]);
            lines++;
        }
    return lines > 0;
}

/* Every pair of alternatives. */
static struct hx_match *combine(struct haproxy *h, struct hx_match *all, struct hx_match *more,
                                const char **why)
{
    struct hx_match *out = NULL, **last = &out;
    size_t count = 0;
    for (; all; all = all->next)
        for (struct hx_match *m = more; m; m = m->next) {
            struct hx_match *both = import_alloc(h->a, sizeof *both);
            bool certain = true;
            if (++count > ALTERNATIVES_MAX) {
                *why = "it has too many alternatives";
                return NULL;
            }
            if (!hx_intersect(h, all, m, both, &certain)) {
                if (!certain) {
                    *why = "two conditions of one kind meet in it";
                    return NULL;
                }
                continue;
            }
            *last = both;
            last = &both->next;
        }
    if (!out && !*why)
        *why = "it never holds";
    return out;
}

static size_t closing(const struct hx_line *l, size_t at)
{
    while (at < l->count && !text_is(l->args[at], "}"))
        at++;
    return at;
}

struct hx_match *hx_condition(struct haproxy *h, const struct hx_section *s, const struct hx_line *l,
                              size_t at, const char **why)
{
    struct hx_match *result = NULL, **last = &result, *all = hx_match_any(h);
    bool unless = text_is(hx_arg(l, at), "unless");
    size_t terms = 0;
    *why = NULL;
    if (at >= l->count)
        return all;
    for (size_t i = at + 1; i <= l->count; i++) {
        const char *word = hx_arg(l, i);
        if (i == l->count || text_is(word, "||") || text_is(word, "or")) {
            *last = all;
            while (*last)
                last = &(*last)->next;
            all = hx_match_any(h);
            continue;
        }
        struct hx_match *one = NULL;
        bool negated = unless;
        if (word[0] == '!') {
            negated = !negated;
            word = word[1] ? word + 1 : hx_arg(l, ++i);
        }
        bool good;
        size_t begin = i;
        if (text_is(word, "{")) {
            size_t end = closing(l, i);
            struct criterion c = read_criterion(h, l->args + i + 1, end > i + 1 ? end - i - 1 : 0);
            good = end < l->count && end > i + 1 && to_match(h, &c, negated, &one);
            i = end;
        } else {
            good = named_acl(h, s, word, negated, &one);
        }
        if (!good || (++terms > 1 && unless)) {
            const char *what = text_is(word, "{") ? hx_arg(l, begin + 1) : word;
            *why = import_printf(h->a, "routes cannot say \"%s%s\"", negated ? "not " : "", what);
            return NULL;
        }
        all = combine(h, all, one, why);
        if (!all)
            return NULL;
    }
    return result;
}

void hx_acls_done(struct hx_section *s)
{
    for (struct hx_line *l = s->lines; l; l = l->next)
        if (hx_is(l, "acl", NULL))
            l->done = true;
}
