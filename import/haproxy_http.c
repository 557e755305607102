/* http-request, http-response, redirect: what they do, without their condition. */
#include "import/haproxy.h"

size_t hx_if(const struct hx_line *l)
{
    for (size_t i = 1; i < l->count; i++)
        if (text_is(l->args[i], "if") || text_is(l->args[i], "unless"))
            return i;
    return l->count;
}

static const char *lower(struct haproxy *h, const char *s)
{
    char *copy = import_alloc(h->a, strlen(s) + 1);
    for (size_t i = 0; s[i]; i++)
        copy[i] = ascii_lower(s[i]);
    return copy;
}

/* Header fields and the path. */

static bool header(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    const char *what = hx_arg(l, 1), *name = lower(h, hx_arg(l, 2)), *value = hx_arg(l, 3), *unknown = "";
    bool response = text_is(l->args[0], "http-response") || text_is(l->args[0], "http-after-response");
    struct yaml_node *edits = yaml_at(h->a, body, response ? "response_headers" : "request_headers");
    if (text_is(what, "del-header")) {
        yaml_add_text(h->a, yaml_list_at(h->a, edits, "remove"), name);
        return true;
    }
    const char *text = hx_template(h, value, &unknown);
    if (!text) {
        hx_left(h, l, "weir has no %s", unknown);
        return false;
    }
    struct yaml_node *map = yaml_at(h->a, edits, text_is(what, "add-header") ? "add" : "set");
    if (yaml_get(map, name) && text_is(what, "add-header")) {
        hx_left(h, l, "a name is added once; put both values in one, divided by a comma");
        return false;
    }
    yaml_set_text(h->a, map, name, text);
    return true;
}

/* \1 becomes $1. */
static const char *replacement(struct haproxy *h, const char *s)
{
    struct text out = {0};
    text_add(&out, "");
    for (; *s; s++) {
        if (*s == '\\' && s[1] >= '0' && s[1] <= '9')
            text_add(&out, "$");
        else if (*s == '$')
            text_add(&out, "$$");
        else
            text_add_bytes(&out, s, 1);
    }
    const char *copy = import_copy(h->a, out.at, out.len);
    text_free(&out);
    return copy;
}

static bool set_rewrite(struct haproxy *h, struct hx_line *l, struct yaml_node *body, const char *regex,
                        const char *to)
{
    struct yaml_node *rewrite = yaml_map(h->a);
    if (yaml_get(body, "rewrite")) {
        hx_left(h, l, "a route has one rewrite");
        return false;
    }
    yaml_set_text(h->a, rewrite, "regex", regex);
    yaml_set_text(h->a, rewrite, "to", replacement(h, to));
    yaml_set(h->a, body, "rewrite", rewrite);
    return true;
}

/* replace-path takes the whole path away where the regex matches, weir what it matched. */
static bool replace_path(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    const char *regex = hx_arg(l, 2);
    bool to_end = text_ends(regex, "$") || text_ends(regex, "(.*)");
    return set_rewrite(
        h, l, body, import_printf(h->a, "%s%s%s", regex[0] == '^' ? "" : "^.*?", regex, to_end ? "" : ".*$"),
        hx_arg(l, 3));
}

/* set-path %[path,regsub(A,B)], and %[path,regsub(A,B,g)] is left. set-path /x%[path] puts it before. */
static bool set_path(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    const char *value = hx_arg(l, 2), *sub = strstr(value, ",regsub("), *percent = strchr(value, '%');
    if (text_begins(value, "%[path,regsub(") && sub && text_ends(value, ")]")) {
        const char *regex = sub + strlen(",regsub("), *comma = strchr(regex, ',');
        const char *end = value + strlen(value) - 2;
        if (comma && !memchr(comma + 1, ',', (size_t)(end - comma - 1)))
            return set_rewrite(h, l, body, import_copy(h->a, regex, (size_t)(comma - regex)),
                               import_copy(h->a, comma + 1, (size_t)(end - comma) - 1));
    } else if (value[0] == '/' && percent && text_is(percent, "%[path]")) {
        return set_rewrite(h, l, body, "^", import_copy(h->a, value, (size_t)(percent - value)));
    } else if (value[0] == '/' && !percent) {
        return set_rewrite(h, l, body, "^.*$", value);
    }
    hx_left(h, l, "write rewrite: { prefix } or { regex, to } into the route");
    return false;
}

bool hx_edit(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    const char *what = hx_arg(l, 1), *name = hx_arg(l, 2);
    l->done = true;
    if (text_is(what, "set-header") && (slice_equal_nocase(slice_text(name), S("X-Forwarded-Proto")) ||
                                        slice_equal_nocase(slice_text(name), S("X-Forwarded-Host")) ||
                                        slice_equal_nocase(slice_text(name), S("X-Forwarded-For"))))
        return true; /* done without a word */
    if (text_is(what, "set-header") || text_is(what, "add-header") || text_is(what, "del-header"))
        return header(h, l, body);
    if (text_is(what, "replace-path"))
        return replace_path(h, l, body);
    if (text_is(what, "set-path"))
        return set_path(h, l, body);
    if (text_is(what, "cache-use") || text_is(what, "cache-store")) {
        yaml_set_raw(h->a, body, "cache", "true");
        return true;
    }
    l->done = false; /* told with what is left */
    return false;
}

/* Answers. */

/* `redirect scheme https code 301 if …`; `at` is the word behind "redirect". */
bool hx_redirect(struct haproxy *h, struct hx_line *l, size_t at, struct yaml_node *body)
{
    const char *kind = hx_arg(l, at), *unknown = "", *value = hx_template(h, hx_arg(l, at + 1), &unknown);
    const char *code = hx_option(l, "code", at + 2);
    struct yaml_node *map = yaml_map(h->a);
    l->done = true;
    if (!value) {
        hx_left(h, l, "weir has no %s", unknown);
        return false;
    }
    if (text_is(kind, "scheme"))
        value = import_printf(h->a, "%s://${host}${target}", value);
    else if (text_is(kind, "prefix"))
        value = import_printf(h->a, "%s${target}", value);
    else if (!text_is(kind, "location")) {
        hx_left(h, l, "a redirect is one of scheme, prefix, location");
        return false;
    }
    for (size_t i = at + 2; i < hx_if(l); i++)
        if (!text_is(l->args[i], "code") && !text_is(l->args[i - 1], "code"))
            hx_left(h, l, "weir's redirects have no \"%s\"", l->args[i]);
    yaml_set_text(h->a, map, "to", value);
    yaml_set_raw(h->a, map, "status", code && text_number(code) > 0 ? code : "302");
    yaml_set(h->a, body, "redirect", map);
    return true;
}

static void answer(struct haproxy *h, struct yaml_node *body, const char *status, const char *text,
                   const char *type)
{
    struct yaml_node *map = yaml_map(h->a);
    yaml_set_raw(h->a, map, "status", status);
    if (text) {
        struct yaml_node *headers = yaml_map(h->a);
        yaml_set_text(h->a, map, "body", text);
        yaml_set_text(h->a, headers, "content-type", type ? type : "text/plain");
        yaml_set(h->a, map, "headers", headers);
    }
    yaml_set(h->a, body, "respond", map);
}

bool hx_deny(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    const char *status = hx_option(l, "deny_status", 2);
    l->done = true;
    if (!status)
        status = hx_option(l, "status", 2);
    if (text_is(hx_arg(l, 1), "silent-drop") || text_is(hx_arg(l, 1), "reject") ||
        text_is(hx_arg(l, 1), "tarpit"))
        hx_note(h, l, "weir answers at once");
    answer(h, body, status && text_number(status) >= 200 ? status : "403", NULL, NULL);
    return true;
}

bool hx_return(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    const char *status = hx_option(l, "status", 2), *type = hx_option(l, "content-type", 2),
               *text = hx_option(l, "string", 2), *format = hx_option(l, "lf-string", 2), *unknown = "";
    l->done = true;
    if (hx_option(l, "file", 2) || hx_option(l, "errorfile", 2) || hx_option(l, "errorfiles", 2) ||
        hx_option(l, "lf-file", 2)) {
        hx_left(h, l, "respond takes a text; serve a file by `files`");
        return false;
    }
    const char *made = format ? hx_template(h, format, &unknown) : text ? import_literal(h->a, text) : NULL;
    if (format && !made) {
        hx_left(h, l, "weir has no %s", unknown);
        return false;
    }
    answer(h, body, status ? status : "200", made, type);
    if (hx_option(l, "hdr", 2))
        hx_left(h, l, "write its fields into respond: { headers }");
    return true;
}
