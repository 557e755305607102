/* The file that an import gives: the settings of the whole first, then listeners, routes, upstreams, the
 * tests, and what was left, as comments. */
#include "import/model.h"

static const char *const general_notes[] = {
    "A path is matched by whole segments: /api/ holds /api and /api/x, never /apix.",
    "Servers get X-Forwarded-For, -Proto, -Host, X-Request-Id and Via without a word; what clients send of "
    "these is",
    "replaced unless they come from trusted_proxies. WebSockets, gRPC and kept connections need no word "
    "either.",
};

static void emit_head(const struct import *in, struct text *out)
{
    text_printf(out, "# Made from %s by `weir import %s`", in->file, in->from);
    if (in->report.left)
        text_printf(out, "; %zu %s left, told at the end.\n", in->report.left,
                    in->report.left == 1 ? "directive was" : "directives were");
    else
        text_add(out, "; nothing was left.\n");
    text_add(out, "# Prove it with: weir check -c THIS_FILE. What is the same wherever it was converted:\n");
    for (size_t i = 0; i < COUNT_OF(general_notes); i++)
        text_printf(out, "#   %s\n", general_notes[i]);
    text_add(out, "\n");
}

static struct yaml_node *route_node(const struct import *in, const struct import_route *r)
{
    struct arena *a = in->arena;
    struct yaml_node *n = yaml_map(a), *path;
    yaml_comment(a, n, "%s", r->origin);
    yaml_set_text(a, n, "name", r->name);
    if (yaml_count(r->listeners))
        yaml_set(a, n, "listener", r->listeners);
    if (yaml_count(r->hosts))
        yaml_set(a, n, "host", r->hosts);
    switch (r->kind) {
    case IMPORT_PATH_ANY:
        break;
    case IMPORT_PATH_PREFIX:
        yaml_set_text(a, n, "path", r->path);
        break;
    case IMPORT_PATH_EXACT:
    case IMPORT_PATH_REGEX:
        path = yaml_map(a);
        yaml_set_text(a, path, r->kind == IMPORT_PATH_EXACT ? "exact" : "regex", r->path);
        yaml_set(a, n, "path", path);
        break;
    }
    yaml_merge(a, n, r->conditions);
    yaml_merge(a, n, r->body);
    return n;
}

static void emit_group(const struct import *in, const char *key, struct yaml_node *group, struct text *out)
{
    struct yaml_node *top = yaml_map(in->arena);
    if (!yaml_count(group))
        return;
    yaml_set(in->arena, top, key, group);
    yaml_print(top, out);
    text_add(out, "\n");
}

static void emit_report(const struct import *in, struct text *out)
{
    if (in->report.left) {
        text_add(out, "# Left, with the reason and what to do instead:\n");
        report_print(&in->report, REPORT_LEFT, "#   ", out);
    }
    if (in->report.notes) {
        text_add(out, "# Converted, and to be known:\n");
        report_print(&in->report, REPORT_NOTE, "#   ", out);
    }
}

/* Control characters in comments. */
static void clean(struct text *out)
{
    text_clean(out, 0);
    for (size_t i = 0; i < out->len; i++)
        if (((unsigned char)out->at[i] < 0x20 && out->at[i] != '\n') || out->at[i] == 0x7f)
            out->at[i] = '?';
}

void import_emit(const struct import *in, struct text *out)
{
    struct arena *a = in->arena;
    struct yaml_node *listeners = yaml_map(a), *routes = yaml_list(a), *upstreams = yaml_map(a);
    emit_head(in, out);
    yaml_print(in->top, out);
    text_add(out, yaml_count(in->top) ? "\n" : "");
    for (const struct import_listener *l = in->listeners; l; l = l->next) {
        yaml_comment(a, l->body, "%s", l->origin);
        yaml_set(a, listeners, l->name, l->body);
    }
    for (const struct import_route *r = in->routes; r; r = r->next)
        yaml_add(a, routes, route_node(in, r));
    for (const struct import_upstream *u = in->upstreams; u; u = u->next) {
        if (!yaml_count(yaml_get(u->body, "servers")))
            continue;
        yaml_comment(a, u->body, "%s", u->origin);
        yaml_set(a, upstreams, u->name, u->body);
    }
    emit_group(in, "listeners", listeners, out);
    emit_group(in, "routes", routes, out);
    emit_group(in, "upstreams", upstreams, out);
    emit_group(in, "tests", in->tests, out);
    emit_report(in, out);
    clean(out);
}
