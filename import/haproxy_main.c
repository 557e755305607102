/* `weir import haproxy`: the order in which things are converted, what all converters use, and what is said
 * once for all. */
#include <stdio.h>

#include "import/haproxy.h"
#include "import/source.h"

#define WORDS_SHOWN 160

static const char *words(struct haproxy *h, const struct hx_line *l)
{
    struct text out = {0};
    text_add(&out, l->args[0]);
    for (size_t i = 1; i < l->count && out.len < WORDS_SHOWN; i++)
        text_printf(&out, " %s", l->args[i]);
    const char *copy = out.len > WORDS_SHOWN ? import_printf(h->a, "%.*s…", WORDS_SHOWN, out.at)
                                             : import_copy(h->a, out.at, out.len);
    text_free(&out);
    return copy;
}

const char *hx_origin(struct haproxy *h, const struct hx_line *l)
{
    return import_printf(h->a, "%s:%u: %s", h->file, l->line, words(h, l));
}

const char *hx_section_origin(struct haproxy *h, const struct hx_section *s)
{
    return import_printf(h->a, "%s:%u: %s %s", h->file, s->line, s->kind, s->name);
}

void hx_left(struct haproxy *h, struct hx_line *l, const char *format, ...)
{
    char why[800];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    report_add(&h->in->report, REPORT_LEFT, h->file, l->line, words(h, l), "%s", why);
    l->done = true;
}

void hx_note(struct haproxy *h, const struct hx_line *l, const char *format, ...)
{
    char why[800];
    va_list args;
    if (!l)
        return;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    report_add(&h->in->report, REPORT_NOTE, h->file, l->line, words(h, l), "%s", why);
}

bool hx_is(const struct hx_line *l, const char *first, const char *second)
{
    return (!first || text_is(hx_arg(l, 0), first)) && (!second || text_is(hx_arg(l, 1), second));
}

static struct hx_line *last_in(const struct hx_section *s, const char *first, const char *second)
{
    struct hx_line *found = NULL;
    for (struct hx_line *l = s ? s->lines : NULL; l; l = l->next) {
        bool off = hx_is(l, "no", NULL) && text_is(hx_arg(l, 1), first) &&
                   (!second || text_is(hx_arg(l, 2), second));
        if (hx_is(l, first, second) || off) {
            l->done = true;
            found = off ? NULL : l;
        }
    }
    return found;
}

struct hx_line *hx_find(const struct hx_section *s, const char *first, const char *second, bool *inherited)
{
    struct hx_line *above = last_in(s->defaults, first, second), *own = last_in(s, first, second);
    if (inherited)
        *inherited = !own;
    return own ? own : above;
}

bool hx_is_tcp(const struct hx_section *s)
{
    const struct hx_line *l = hx_find(s, "mode", NULL, NULL);
    return !l || !text_is(hx_arg(l, 1), "http");
}

/* What is said once. */

static struct hx_line *global_line(const struct haproxy *h, const char *first, const char *second)
{
    return h->global ? hx_find(h->global, first, second, NULL) : NULL;
}

static void logs(struct haproxy *h)
{
    bool wanted = false;
    for (struct hx_section *s = h->sections; s; s = s->next) {
        bool proxy = text_is(s->kind, "frontend") || text_is(s->kind, "listen");
        if (!proxy)
            continue;
        wanted |= hx_find(s, "option", "httplog", NULL) != NULL;
        wanted |= hx_find(s, "option", "tcplog", NULL) != NULL;
        hx_find(s, "log", NULL, NULL);
    }
    struct hx_line *log = global_line(h, "log", NULL);
    if (!log || !wanted)
        return;
    struct yaml_node *access = yaml_map(h->a);
    yaml_set_raw(h->a, access, "format", "combined");
    yaml_set_raw(h->a, access, "output", text_is(hx_arg(log, 1), "stdout") ? "stdout" : "syslog");
    yaml_set(h->a, yaml_at(h->a, h->in->top, "log"), "access", access);
    hx_note(h, log,
            "the access log's lines have another form; log.access.format takes json, combined or a template");
}

static void caches(struct haproxy *h)
{
    for (struct hx_section *s = h->sections; s; s = s->next) {
        if (!text_is(s->kind, "cache"))
            continue;
        struct yaml_node *cache = yaml_at(h->a, h->in->top, "cache");
        struct hx_line *total = hx_find(s, "total-max-size", NULL, NULL),
                       *most = hx_find(s, "max-object-size", NULL, NULL),
                       *age = hx_find(s, "max-age", NULL, NULL);
        hx_find(s, "process-vary", NULL, NULL);
        hx_find(s, "max-secondary-entries", NULL, NULL);
        if (total && text_number(hx_arg(total, 1)) > 0)
            yaml_set_raw(h->a, cache, "memory", import_printf(h->a, "%sMiB", hx_arg(total, 1)));
        if (most && text_number(hx_arg(most, 1)) > 0)
            yaml_set_raw(h->a, cache, "max_object", hx_arg(most, 1));
        if (age)
            hx_note(h, age,
                    "weir keeps an answer as long as the answer says; where it says nothing, cache: { ttl: … "
                    "} of the route");
    }
}

void hx_globals(struct haproxy *h)
{
    struct hx_line *threads = global_line(h, "nbthread", NULL), *user = global_line(h, "user", NULL),
                   *most = global_line(h, "maxconn", NULL);
    if (threads && text_number(hx_arg(threads, 1)) > 0)
        yaml_set_raw(h->a, h->in->top, "workers", hx_arg(threads, 1));
    if (user)
        yaml_set_text(h->a, h->in->top, "user", hx_arg(user, 1));
    if (most && text_number(hx_arg(most, 1)) > 0)
        import_once(h->in, "limits", "connections", hx_arg(most, 1));
    logs(h);
    caches(h);
}

static bool uses_defaults(const struct haproxy *h, const struct hx_section *d)
{
    for (const struct hx_section *s = h->sections; s; s = s->next)
        if (s->defaults == d && !text_is(s->kind, "defaults"))
            return true;
    return false;
}

/* Defaults that no proxy has yet: times are worth keeping, as the shipped file has them. */
static void lone_defaults(struct haproxy *h)
{
    static const char *const names[][2] = {{"connect", "connect"},           {"client", "body"},
                                           {"server", "response"},           {"http-request", "header"},
                                           {"http-keep-alive", "keepalive"}, {"tunnel", "idle"}};
    for (struct hx_section *s = h->sections; s; s = s->next) {
        if (!text_is(s->kind, "defaults") || uses_defaults(h, s))
            continue;
        for (size_t i = 0; i < COUNT_OF(names); i++) {
            struct hx_line *l = last_in(s, "timeout", names[i][0]);
            const char *time = l ? hx_duration(h, hx_arg(l, 2)) : NULL;
            if (time && !text_is(time, "0"))
                import_once(h->in, "timeouts", names[i][1], time);
        }
    }
}

void haproxy_convert(struct import *in, const char *file, struct hx_section *sections)
{
    struct haproxy h = {.in = in, .a = in->arena, .file = file, .sections = sections};
    for (struct hx_section *s = sections; s; s = s->next)
        if (text_is(s->kind, "global"))
            h.global = s;
    hx_globals(&h);
    lone_defaults(&h);
    hx_backends(&h);
    hx_frontends(&h);
    hx_report_rest(&h);
}

int haproxy_import(struct import *in, const char *file, const char **why)
{
    struct slice text;
    if (source_read(in->arena, file, &text, why))
        return -1;
    struct hx_section *sections = haproxy_parse(in->arena, file, text, why);
    if (!sections)
        return -1;
    haproxy_convert(in, file, sections);
    return 0;
}
