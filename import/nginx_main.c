/* `weir import nginx`: the order in which things are converted, and what all converters use. */
#include <stdio.h>

#include "import/nginx.h"

#define WORDS_SHOWN 160

const char *ng_words(struct nginx *n, const struct ng *d)
{
    struct text out = {0};
    text_add(&out, d->name);
    for (size_t i = 0; i < d->arg_count && out.len < WORDS_SHOWN; i++)
        text_printf(&out, " %s", d->args[i]);
    const char *copy = out.len > WORDS_SHOWN ? import_printf(n->a, "%.*s…", WORDS_SHOWN, out.at)
                                             : import_copy(n->a, out.at, out.len);
    text_free(&out);
    return copy;
}

const char *ng_origin(struct nginx *n, const struct ng *d)
{
    return import_printf(n->a, "%s:%u: %s", d->file, d->line, ng_words(n, d));
}

void ng_left(struct nginx *n, struct ng *d, const char *format, ...)
{
    char why[800];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    report_add(&n->in->report, REPORT_LEFT, d->file, d->line, ng_words(n, d), "%s", why);
    d->done = true;
}

void ng_note(struct nginx *n, const struct ng *d, const char *format, ...)
{
    char why[800];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    report_add(&n->in->report, REPORT_NOTE, d->file, d->line, ng_words(n, d), "%s", why);
}

struct ng *ng_level(const struct ng *scope, const char *name)
{
    struct ng *found = NULL;
    for (; scope; scope = scope->parent) {
        struct ng *d = ng_child(scope, name);
        if (d && !found)
            found = d;
        for (; d; d = ng_next(d))
            d->done = true;
    }
    return found;
}

struct ng *ng_effective(const struct ng *scope, const char *name)
{
    struct ng *found = ng_level(scope, name);
    for (struct ng *d = found; d; d = ng_next(d))
        found = d;
    return found;
}

/* A file of sites-available has no `http` around it. */
static void find_contexts(struct nginx *n)
{
    n->http = ng_child(n->root, "http");
    n->stream = ng_child(n->root, "stream");
    if (n->http)
        n->http->done = true;
    else if (ng_child(n->root, "server") || ng_child(n->root, "upstream"))
        n->http = n->root;
    if (n->stream)
        n->stream->done = true;
}

void nginx_convert(struct import *in, struct ng *root)
{
    struct nginx n = {.in = in, .a = in->arena, .root = root};
    find_contexts(&n);
    ng_globals(&n);
    if (n.http)
        ng_servers(&n);
    if (n.stream)
        ng_streams(&n);
    ng_samples(&n);
    ng_report_rest(&n);
}

int nginx_import(struct import *in, const char *file, const char **why)
{
    struct ng *root = nginx_load(in->arena, file, why);
    if (!root)
        return -1;
    nginx_convert(in, root);
    return 0;
}
