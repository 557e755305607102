#include "admin/admin.h"

#include <errno.h>
#include <stdlib.h>

#include "admin/internal.h"

static int open_access(void *argument, struct config *c, const struct access_settings *s, bool dry,
                       void **out);
static void close_access(void *access);
static int apply(void *argument, struct snapshot *s, bool first, char **why);
static void close_all(void *argument, bool handed_over);
static void on_event(void *argument, const char *kind, const char *text);
static void response_begins(void *argument, struct exchange *x);
static bool wants_response(void *argument, const struct exchange *x);
static void exchange_ended(void *argument, struct exchange *x);
static struct span_ring *spans(void *argument, unsigned worker);
static void worker_tick(void *argument, unsigned worker);

struct admin *admin_create(void)
{
    struct admin *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->magic = ADMIN_MAGIC;
    a->logs = access_logs_create();
    a->recorder = recorder_create();
    a->otlp = otlp_create();
    a->token = strdup("");
    a->control = strdup("");
    if (!a->logs || !a->recorder || !a->otlp || !a->token || !a->control) {
        admin_free(a);
        return NULL;
    }
    doors_init(&a->doors);
    events_init(a);
    list_init(&a->scrapes);
    task_init(&a->stop);
    a->hooks = (struct runtime_hooks){.argument = a,
                                      .access = open_access,
                                      .access_free = close_access,
                                      .apply = apply,
                                      .close = close_all,
                                      .event = on_event};
    a->observers = (struct observers){.argument = a,
                                      .spans = spans,
                                      .response_begins = response_begins,
                                      .wants_response = wants_response,
                                      .exchange_ended = exchange_ended,
                                      .worker_tick = worker_tick};
    return a;
}

void admin_attach(struct admin *a, struct runtime *rt)
{
    a->runtime = rt;
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    access_logs_free(a->logs);
    recorder_free(a->recorder);
    otlp_free(a->otlp);
    free(a->token);
    free(a->control);
    a->magic = 0;
    free(a);
}

const struct observers *admin_observers(struct admin *a)
{
    return &a->observers;
}

const struct runtime_hooks *admin_hooks(struct admin *a)
{
    return &a->hooks;
}

/* Access logs. */

static int open_access(void *argument, struct config *c, const struct access_settings *s, bool dry,
                       void **out)
{
    struct admin *a = argument;
    const struct runtime *rt = a->runtime;
    struct access_log *log = NULL;
    int result =
        access_log_open(a->logs, rt ? rt->writer : NULL, rt ? rt->worker_count : 1, c, s, dry || !rt, &log);
    *out = log;
    return result;
}

static void close_access(void *access)
{
    access_log_close(access);
}

static void response_begins(void *argument, struct exchange *x)
{
    (void)argument;
    access_log_response_begins(x);
}

static bool wants_response(void *argument, const struct exchange *x)
{
    (void)argument;
    return access_log_wants_response(x);
}

static void exchange_ended(void *argument, struct exchange *x)
{
    struct admin *a = argument;
    recorder_exchange_ended(a->recorder, x);
    access_log_exchange_ended(x);
}

static struct span_ring *spans(void *argument, unsigned worker)
{
    struct admin *a = argument;
    return otlp_spans(a->otlp, worker);
}

static void worker_tick(void *argument, unsigned worker)
{
    struct admin *a = argument;
    access_logs_tick(a->logs, worker);
}

/* Taking up a configuration. */

static char *refusal(const struct config_node *at, const char *key, struct slice value, const char *reason)
{
    char *text = NULL;
    const struct config_node *node = at ? config_get(at, key) : NULL;
    int n = node ? asprintf(&text, "%s:%u:%u: admin.%s: cannot listen on %.*s: %s\n", node->file, node->line,
                            node->column, key, SLICE_FMT(value), reason)
                 : asprintf(&text, "admin.%s: cannot listen on %.*s: %s\n", key, SLICE_FMT(value), reason);
    return n < 0 ? NULL : text;
}

/* Why a door does not open, in words that say what to do. */
static const char *door_error(bool is_control)
{
    if (errno == EADDRINUSE && is_control)
        return "another weir listens there; stop it, or give this one a socket of its own";
    return strerror(errno);
}

static int open_doors(struct admin *a, const struct admin_settings *s, char **why)
{
    for (size_t i = 0; i < s->bind.count; i++) {
        struct address address;
        struct slice host;
        uint16_t port;
        const char *reason = "";
        enum address_kind kind = address_parse(s->bind.at[i], &address, &host, &port, &reason);
        if (kind == ADDRESS_NAME)
            reason = "an address is needed, not a name";
        if (kind == ADDRESS_SOCKET && doors_open(&a->doors, &address, false))
            continue;
        *why = refusal(s->node, "bind", s->bind.at[i], kind == ADDRESS_SOCKET ? strerror(errno) : reason);
        return -1;
    }
    return 0;
}

/* The path is the one of the start as long as the process lives. */
static int open_control(struct admin *a, const struct admin_settings *s, char **why)
{
    struct slice path = slice_text(a->control);
    if (!path.len)
        return 0;
    struct address address = {0};
    errno = ENAMETOOLONG;
    if (path.len < sizeof address.un.sun_path) {
        address.un.sun_family = AF_UNIX;
        memcpy(address.un.sun_path, path.at, path.len);
        address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
        if (doors_open(&a->doors, &address, true))
            return 0;
    }
    *why = refusal(s->node, "socket", path, door_error(true));
    return -1;
}

static int prepare(struct admin *a, struct config *c, const struct admin_settings *s, bool first,
                   char **token)
{
    if (first) {
        const struct config_node *node = s->node ? config_get(s->node, "socket") : NULL;
        struct slice path = s->socket.len ? config_relative_path(c, node, s->socket, CONFIG_BINDS) : S("");
        char *control = path.at ? strndup(path.at, path.len) : NULL;
        if (!control)
            return -1;
        free(a->control);
        a->control = control;
        a->doors.options = (struct http_server_options){.loop = &a->runtime->control,
                                                        .endpoints = admin_endpoints,
                                                        .endpoint_count = admin_endpoint_count,
                                                        .context = a,
                                                        .guard = guard_allows,
                                                        .problem = api_problem};
    }
    *token = strndup(s->token.at ? s->token.at : "", s->token.len);
    return *token ? 0 : -1;
}

static int apply(void *argument, struct snapshot *s, bool first, char **why)
{
    struct admin *a = argument;
    const struct admin_settings *settings = s->settings.admin;
    char *token = NULL;
    if (prepare(a, &s->config, settings, first, &token) != 0)
        return -1;
    doors_unwant(&a->doors);
    if (open_doors(a, settings, why) != 0 || open_control(a, settings, why) != 0 ||
        otlp_apply(a->otlp, a->runtime, s, first, why) != 0) {
        free(token);
        doors_restore(&a->doors);
        return -1;
    }
    doors_close_unwanted(&a->doors);
    free(a->token);
    a->token = token;
    log_set((enum log_level)s->settings.log.level, (enum log_format)s->settings.log.format);
    guard_warn(a);
    if (a->runtime->snapshot)
        routes_carry_weights(a->runtime->snapshot, s);
    return 0;
}

static void close_all(void *argument, bool handed_over)
{
    struct admin *a = argument;
    events_close(a);
    metrics_close(a);
    doors_close(&a->doors, handed_over);
}

static void on_event(void *argument, const char *kind, const char *text)
{
    events_notice(argument, kind, text);
}
