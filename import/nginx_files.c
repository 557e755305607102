/* root, alias, index, try_files, autoindex; error_page. */
#include <unistd.h>

#include "import/nginx.h"

#define NGINX_PREFIX                                                                                         \
    "/usr/share/nginx" /* where Debian's nginx looks for paths that do not begin with a slash */

static const char *below_prefix(struct nginx *n, const char *path)
{
    return path[0] == '/' ? path : import_printf(n->a, "%s/%s", NGINX_PREFIX, path);
}

const char *ng_root(struct nginx *n, const struct ng *scope)
{
    struct ng *d = ng_effective(scope, "root");
    const char *unknown = "", *root = d ? ng_template(n, d->parent, ng_arg(d, 0), false, &unknown) : NULL;
    if (d && (!root || strstr(root, "${"))) {
        ng_left(n, d, "the root is one folder for a route; write a route for each");
        return NULL;
    }
    if (d && root[0] != '/')
        ng_note(n, d, "counted from %s, where Debian's nginx counts from", NGINX_PREFIX);
    return root ? below_prefix(n, root) : NULL;
}

static void index_of(struct nginx *n, const struct ng *scope, struct yaml_node *files)
{
    struct ng *d = ng_effective(scope, "index");
    struct yaml_node *list = yaml_list(n->a);
    bool usual = d && d->arg_count == 1 && text_is(d->args[0], "index.html");
    for (size_t i = 0; d && i < d->arg_count; i++) {
        if (strpbrk(d->args[i], "/$"))
            ng_left(n, d, "\"%s\": an index is a name in the folder itself", d->args[i]);
        else
            yaml_add_text(n->a, list, d->args[i]);
    }
    if (yaml_count(list) && !usual)
        yaml_set(n->a, files, "index", list);
}

/* $uri and $uri/ are what weir does; the last is `=404`, or a file for single-page apps. */
static void try_files(struct nginx *n, struct ng *d, struct yaml_node *files)
{
    const char *last = d->arg_count ? d->args[d->arg_count - 1] : "";
    d->done = true;
    for (size_t i = 0; i + 1 < d->arg_count; i++)
        if (!text_is(d->args[i], "$uri") && !text_is(d->args[i], "$uri/") && !text_is(d->args[i], "\"\"")) {
            ng_left(n, d,
                    "weir looks for the path itself, then for the index of a folder; it does not try %s",
                    d->args[i]);
            break;
        }
    if (text_is(last, "=404"))
        return;
    if (last[0] == '=') {
        ng_left(n, d, "what is not there is a 404");
    } else if (last[0] == '@') {
        ng_left(n, d, "no upstream behind files: write a route for the files' folder, and one for the rest");
    } else if (last[0] == '/' && !strpbrk(last, "$?") && !text_ends(last, ".php")) {
        yaml_set_text(n->a, files, "fallback", last);
    } else {
        ng_left(n, d, "the fallback is one file under the root");
    }
}

void ng_files(struct nginx *n, struct ng_server *s, struct ng_place *p)
{
    struct ng *alias = text_is(p->block->name, "location") ? ng_child(p->block, "alias") : NULL;
    struct ng *tries = ng_effective(p->block, "try_files"), *browse = ng_effective(p->block, "autoindex");
    struct yaml_node *files = yaml_map(n->a), *answer = yaml_map(n->a);
    const char *root = alias ? below_prefix(n, ng_arg(alias, 0)) : ng_root(n, p->block);
    (void)s;
    if (alias) {
        alias->done = true;
        if (p->match >= NG_REGEX || strchr(ng_arg(alias, 0), '$')) {
            ng_left(n, alias,
                    "an alias of a regex; write a route by prefix with files and rewrite: { prefix: / }");
            ng_close(n, p->route, "its files could not be converted");
            return;
        }
        struct yaml_node *rewrite = yaml_map(n->a);
        yaml_set_text(n->a, rewrite, "prefix", "/");
        if (p->match == NG_EXACT) { /* the file itself */
            const char *slash = strrchr(root, '/');
            yaml_set_text(n->a, rewrite, "prefix", slash);
            root = slash == root ? "/" : import_copy(n->a, root, (size_t)(slash - root));
        }
        yaml_set(n->a, p->route->body, "rewrite", rewrite);
    }
    if (!root) {
        yaml_set_raw(n->a, answer, "status", "404");
        yaml_set(n->a, p->route->body, "respond", answer);
        return;
    }
    yaml_set_text(n->a, files, "root", root);
    index_of(n, p->block, files);
    if (tries)
        try_files(n, tries, files);
    if (browse && text_is(ng_arg(browse, 0), "on"))
        yaml_set_raw(n->a, files, "browse", "true");
    yaml_set(n->a, p->route->body, "files", files);
}

/* error_page */

static const char *page_file(struct nginx *n, const struct ng_server *s, const struct ng *scope,
                             const char *uri)
{
    for (struct ng *l = s ? ng_child(s->block, "location") : NULL; l; l = ng_next(l))
        if (text_is(ng_arg(l, l->arg_count > 1), uri)) {
            const char *root = ng_root(n, l);
            return root ? import_printf(n->a, "%s%s", root, uri) : NULL;
        }
    const char *root = ng_root(n, scope);
    return import_printf(n->a, "%s%s", root ? root : NGINX_PREFIX "/html", uri);
}

void ng_errors(struct nginx *n, struct ng_server *s, struct ng_place *p)
{
    for (struct ng *d = ng_level(p->block, "error_page"); d; d = ng_next(d)) {
        const char *uri = d->arg_count ? d->args[d->arg_count - 1] : "";
        bool changes = d->arg_count > 1 && d->args[d->arg_count - 2][0] == '=';
        if (uri[0] != '/' || strpbrk(uri, "$?") || changes) {
            ng_left(n, d, "`errors` takes a file for a status; no other status, place or location");
            continue;
        }
        const char *file = page_file(n, s, p->block, uri);
        if (!file || access(file, R_OK) != 0) {
            ng_left(n, d, "%s cannot be read now; write errors: { STATUS: FILE } when it is there",
                    file ? file : uri);
            continue;
        }
        for (size_t i = 0; i + 1 < d->arg_count; i++)
            if (text_number(d->args[i]) >= 400)
                yaml_set_text(n->a, yaml_at(n->a, p->route->body, "errors"), d->args[i], file);
    }
}
