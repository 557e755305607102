/* What nginx says once for all: workers, user, logs, and the limits and times that weir has at its top. */
#include "import/nginx.h"

static struct ng *take(const struct ng *block, const char *name)
{
    struct ng *d = ng_child(block, name);
    if (d)
        d->done = true;
    return d;
}

static void workers(struct nginx *n)
{
    struct ng *d = take(n->root, "worker_processes");
    if (!d)
        return;
    if (text_is(ng_arg(d, 0), "auto") || text_number(ng_arg(d, 0)) > 0)
        import_once(n->in, NULL, "workers", ng_arg(d, 0));
    else
        ng_left(n, d, "expected a number or auto; write `workers: auto`");
}

static void user(struct nginx *n)
{
    struct ng *d = take(n->root, "user");
    if (!d)
        return;
    yaml_set_text(n->a, n->in->top, "user", ng_arg(d, 0));
    if (d->arg_count > 1)
        ng_note(n, d, "the group is the user's own");
}

static void error_log(struct nginx *n)
{
    struct ng *d = take(n->root, "error_log");
    if (!d && n->http)
        d = take(n->http, "error_log");
    const char *level = d ? ng_arg(d, 1) : "";
    if (!d)
        return;
    if (*level)
        yaml_set_raw(n->a, yaml_at(n->a, n->in->top, "log"), "level",
                     text_is(level, "debug")                              ? "debug"
                     : text_is(level, "info") || text_is(level, "notice") ? "info"
                     : text_is(level, "warn")                             ? "warn"
                                                                          : "error");
    if (!text_is(ng_arg(d, 0), "stderr"))
        ng_note(n, d, "weir's own log goes to standard error, where the journal takes it");
}

/* The access log. */

static const char *log_template(struct nginx *n, struct ng *at, const char *name)
{
    struct text joined = {0};
    const char *unknown = "", *result = NULL;
    for (struct ng *f = n->http ? ng_child(n->http, "log_format") : NULL; f; f = ng_next(f)) {
        if (!text_is(ng_arg(f, 0), name))
            continue;
        f->done = true;
        for (size_t i = 1; i < f->arg_count; i++)
            if (!text_begins(f->args[i], "escape="))
                text_add(&joined, f->args[i]);
        result = joined.at ? ng_template(n, f->parent, joined.at, true, &unknown) : NULL;
        if (!result)
            ng_left(n, f, "weir has no %s; write log.access.format: json, which has everything",
                    *unknown ? unknown : "such format");
        else if (strstr(joined.at, "$time_local"))
            ng_note(n, f, "$time_local became ${time}, which is RFC 3339");
        break;
    }
    text_free(&joined);
    if (!result && !at->done)
        ng_left(n, at, "no log_format is called \"%s\"", name);
    return result;
}

void ng_access_log(struct nginx *n, struct ng *block)
{
    struct ng *d = ng_child(block, "access_log");
    const char *output = ng_arg(d, 0), *format = ng_arg(d, 1);
    if (!d || d->done)
        return;
    struct yaml_node *log = yaml_at(n->a, n->in->top, "log");
    if (text_is(output, "off")) {
        d->done = true;
        if (!yaml_get(log, "access"))
            yaml_set_raw(n->a, log, "access", "false");
        return;
    }
    if (strchr(output, '$') || yaml_get(log, "access"))
        return; /* reported with what is left */
    d->done = true;
    struct yaml_node *access = yaml_map(n->a);
    const char *text = "combined";
    if (*format && !text_is(format, "combined") && !strchr(format, '=')) {
        d->done = false;
        text = log_template(n, d, format);
        d->done = true;
    }
    yaml_set_text(n->a, access, "format", text ? text : "json");
    yaml_set_text(n->a, access, "output",
                  text_is(output, "/dev/stdout")   ? "stdout"
                  : text_is(output, "/dev/stderr") ? "stderr"
                  : text_begins(output, "syslog:") ? "syslog"
                                                   : output);
    yaml_set(n->a, log, "access", access);
    for (size_t i = 1; i < d->arg_count; i++)
        if (text_begins(d->args[i], "if="))
            ng_left(n, d, "weir logs every request, or a share of them: log.access.sample");
}

/* Limits and times. */

static void body_limit(struct nginx *n)
{
    struct ng *d = take(n->http, "client_max_body_size");
    const char *size = d ? ng_size(n, ng_arg(d, 0)) : "1m";
    struct yaml_node *limits = yaml_at(n->a, n->in->top, "limits");
    if (!size) {
        ng_left(n, d, "that is no size");
        size = "1m";
    }
    yaml_set_raw(n->a, limits, "body_size", size);
    if (!d)
        yaml_comment(n->a, limits, "nginx's own client_max_body_size, which is 1m unless it says otherwise");
}

static void once_time(struct nginx *n, const struct ng *block, const char *name, const char *key)
{
    for (struct ng *d = ng_child(block, name); d; d = ng_next(d)) {
        const char *time = ng_duration(n, ng_arg(d, 0));
        if (d->done)
            continue;
        d->done = true;
        if (!time || text_is(time, "0")) {
            if (text_is(time, "0") && text_is(key, "keepalive"))
                ng_left(n, d,
                        "weir keeps connections of clients; a short timeouts.keepalive comes near: 1ms");
            else
                ng_left(n, d, "that is no time that weir takes");
            continue;
        }
        if (!import_once(n->in, "timeouts", key, time))
            ng_left(n, d,
                    "timeouts.%s is %s already: it holds for a whole listener; write it into one of its own",
                    key, yaml_scalar(yaml_get(yaml_at(n->a, n->in->top, "timeouts"), key)));
    }
}

static void times(struct nginx *n, const struct ng *block, unsigned depth)
{
    static const char *const names[][2] = {
        {"keepalive_timeout", "keepalive"},  {"client_header_timeout", "header"},
        {"client_body_timeout", "body"},     {"proxy_connect_timeout", "connect"},
        {"grpc_connect_timeout", "connect"}, {"send_timeout", "body"},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!(text_is(block->name, "upstream")))
            once_time(n, block, names[i][0], names[i][1]);
    for (struct ng *d = block->children; d && depth < NG_DEPTH_MAX; d = d->next)
        if (d->is_block)
            times(n, d, depth + 1);
}

static void logs(struct nginx *n, struct ng *block)
{
    ng_access_log(n, block);
    for (struct ng *d = ng_child(block, "server"); d; d = ng_next(d))
        ng_access_log(n, d);
}

void ng_globals(struct nginx *n)
{
    workers(n);
    user(n);
    error_log(n);
    if (!n->http)
        return;
    logs(n, n->http);
    body_limit(n);
    times(n, n->http, 0);
}
