/* The option tables of a route. */
#include "proxy/http/route.h"

#include <sys/stat.h>

#include "proxy/http/cache/settings.h"

static int read_path(struct config *c, const struct config_node *node, void *field);

static const struct option redirect_options[] = {
    OPTION_AT(struct redirect_settings, to, "to", OPTION_TEXT,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY, .shape = "\"https://${host}${target}\"",
              .help = "The Location; a template."),
    OPTION_AT(struct redirect_settings, status, "status", OPTION_COUNT, .fallback = "308",
              .help = "301, 302, 303, 307 or 308."),
};

static const struct option_table redirect_table = {
    .name = "redirect",
    .help = "Answers with another place to go to.",
    .options = redirect_options,
    .count = COUNT_OF(redirect_options),
    .size = sizeof(struct redirect_settings),
    .has_node = true,
    .node_offset = offsetof(struct redirect_settings, node),
    .shorthand = "to",
};

static const struct option respond_options[] = {
    OPTION_AT(struct respond_settings, status, "status", OPTION_COUNT, .fallback = "200", .min = 200,
              .max = 599, .help = "The status of the answer."),
    OPTION_AT(struct respond_settings, body, "body", OPTION_TEXT, .help = "The answer's body; a template."),
    OPTION_AT(struct respond_settings, headers, "headers", OPTION_PAIRS, .shape = "{name: value}",
              .help = "Its header fields; values are templates."),
};

static const struct option_table respond_table = {
    .name = "respond",
    .help = "Answers at once.",
    .options = respond_options,
    .count = COUNT_OF(respond_options),
    .size = sizeof(struct respond_settings),
    .has_node = true,
    .node_offset = offsetof(struct respond_settings, node),
};

static const struct option files_options[] = {
    OPTION_AT(struct files_settings, root, "root", OPTION_TEXT,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY, .shape = "./public",
              .help = "The directory, relative to the file that names it; nothing outside it is served."),
    OPTION_AT(struct files_settings, index, "index", OPTION_TEXTS, .fallback = "[index.html]",
              .shape = "[index.html]",
              .help = "What is served for a directory: the first of these names that is there."),
    OPTION_AT(struct files_settings, fallback, "fallback", OPTION_TEXT, .shape = "/index.html",
              .help = "A file under the root that is served for what is not there: for single-page apps."),
    OPTION_AT(struct files_settings, browse, "browse", OPTION_BOOL, .fallback = "false",
              .help = "Lists directories that have no index."),
};

static void check_files(struct config *c, const struct config_node *node, void *object)
{
    struct files_settings *s = object;
    struct stat st;
    if (s->root.len == 0)
        return;
    struct slice root = config_relative_path(c, node, s->root, CONFIG_READS);
    if (!root.at)
        return;
    s->root = root;
    if (stat(root.at, &st) != 0 || !S_ISDIR(st.st_mode))
        config_warn(c, node, "%s is no directory now; every request will be a 404", config_quote(c, root));
}

static const struct option_table files_table = {
    .name = "files",
    .help = "Serves files of a directory.",
    .options = files_options,
    .count = COUNT_OF(files_options),
    .size = sizeof(struct files_settings),
    .has_node = true,
    .node_offset = offsetof(struct files_settings, node),
    .shorthand = "root",
    .check = check_files,
};

static const struct option limit_options[] = {
    OPTION_AT(struct route_limits, body_size, "body_size", OPTION_SIZE,
              .set_offset = offsetof(struct route_limits, has_body_size),
              .help = "Bytes of a request's body; 0 = no limit; 413 past it. Absent: the listener's."),
};

static const struct option_table route_limits_table = {
    .name = "limits of a route",
    .help = "What may differ from the listener's limits.",
    .options = limit_options,
    .count = COUNT_OF(limit_options),
    .size = sizeof(struct route_limits),
};

static const struct option timeout_options[] = {
    OPTION_AT(struct route_timeouts, body, "body", OPTION_DURATION, .min = 1,
              .set_offset = offsetof(struct route_timeouts, has_body),
              .help = "Between two reads of a body, either side. Absent: the listener's."),
    OPTION_AT(struct route_timeouts, response, "response", OPTION_DURATION, .min = 1,
              .set_offset = offsetof(struct route_timeouts, has_response),
              .help = "From the request's end to the response's head; 504. Absent: the listener's."),
};

static const struct option_table route_timeouts_table = {
    .name = "timeouts of a route",
    .help = "What may differ from the listener's timeouts.",
    .options = timeout_options,
    .count = COUNT_OF(timeout_options),
    .size = sizeof(struct route_timeouts),
};

#define PATH_SCHEMA                                                                                          \
    "{\"anyOf\": [{\"type\": \"string\", \"pattern\": \"^/\"}, {\"type\": \"object\", "                      \
    "\"additionalProperties\": false, "                                                                      \
    "\"minProperties\": 1, \"maxProperties\": 1, \"properties\": {\"prefix\": {\"type\": \"string\"}, "      \
    "\"exact\": {\"type\": \"string\"}, \"regex\": {\"type\": \"string\"}}}]}"

#define CONDITIONS_SCHEMA                                                                                    \
    "{\"type\": \"object\", \"additionalProperties\": {\"anyOf\": [{\"type\": [\"string\", \"number\", "     \
    "\"boolean\", \"null\"]}, "                                                                              \
    "{\"type\": \"object\", \"additionalProperties\": false, \"minProperties\": 1, \"maxProperties\": 1, "   \
    "\"properties\": {\"regex\": {\"type\": \"string\"}, \"present\": {\"type\": \"boolean\"}}}]}}"

#define CONDITIONS_SHAPE "{name: value}, {name: {regex: …}} or {name: {present: true}}"

/* The first OWN_OPTIONS are a route's own; `defaults` has the others. */
enum { OWN_OPTIONS = 13 };

static const char *const priorities[] = {"high", "normal", "low", NULL};

static const struct option route_options[] = {
    OPTION_AT(struct route_settings, name, "name", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .help = "Shows in logs, metrics and explain; `routes[3]` and so on when absent."),
    OPTION_AT(struct route_settings, listener, "listener", OPTION_TEXTS, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "a name or a list", .help = "The http listeners that it is for; all when absent."),
    OPTION_AT(struct route_settings, host, "host", OPTION_TEXTS, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "example.com, \"*.example.com\" or a list",
              .help =
                  "Exact names and wildcards, which hold names of any depth below; any host when absent."),
    OPTION_AT(
        struct route_settings, path, "path", OPTION_CUSTOM, .parse = read_path, .schema = PATH_SCHEMA,
        .shape = "/v1/, {exact: /v1} or {regex: \"^/v[0-9]+/\"}",
        .help = "A prefix, which holds by whole segments, or a whole path, or a regex anywhere in the path."),
    OPTION_AT(struct route_settings, methods, "methods", OPTION_TEXTS, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "[GET, POST]", .help = "All when absent. GET stands for HEAD too."),
    OPTION_AT(struct route_settings, headers, "headers", OPTION_NODE, .schema = CONDITIONS_SCHEMA,
              .shape = CONDITIONS_SHAPE, .help = "What header fields must hold; the first of a name counts."),
    OPTION_AT(struct route_settings, query, "query", OPTION_NODE, .schema = CONDITIONS_SCHEMA,
              .shape = CONDITIONS_SHAPE,
              .help = "What arguments of the query must hold, as they came, undecoded."),
    OPTION_AT(struct route_settings, cookies, "cookies", OPTION_NODE, .schema = CONDITIONS_SCHEMA,
              .shape = CONDITIONS_SHAPE, .help = "What cookies must hold."),
    OPTION_AT(struct route_settings, upstream, "upstream", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .help = "Action: sends requests to this upstream."),
    OPTION_AT(struct route_settings, split, "split", OPTION_PAIRS, .flags = OPTION_FLAG_PLAIN,
              .shape = "{blue: 90, green: 10}",
              .help =
                  "Action: sends each request to one of these upstreams, in proportion to their weights."),
    OPTION_AT(struct route_settings, redirect, "redirect", OPTION_BLOCK_IF, .table = &redirect_table,
              .help = "Action: redirects."),
    OPTION_AT(struct route_settings, respond, "respond", OPTION_BLOCK_IF, .table = &respond_table,
              .flags = OPTION_FLAG_TRUE,
              .help = "Action: answers with a fixed status, body and header fields."),
    OPTION_AT(struct route_settings, files, "files", OPTION_BLOCK_IF, .table = &files_table,
              .help = "Action: serves files."),

    OPTION_AT(struct route_settings, rewrite, "rewrite", OPTION_BLOCK_IF, .table = &rewrite_table,
              .help = "Sends another path than the one that was matched."),
    OPTION_AT(struct route_settings, request_headers, "request_headers", OPTION_BLOCK, .table = &edits_table,
              .help = "Changes to what the server gets."),
    OPTION_AT(
        struct route_settings, response_headers, "response_headers", OPTION_BLOCK, .table = &edits_table,
        .help = "Changes to what the client gets, on every answer of the route: errors of weir's own too."),
    OPTION_AT(struct route_settings, retries, "retries", OPTION_BLOCK, .table = &retries_table,
              .help = "When a request is sent to another server."),
    OPTION_AT(struct route_settings, timeout, "timeout", OPTION_DURATION,
              .help = "Of the whole exchange, from its head to the answer's last byte; 0 = none."),
    OPTION_AT(struct route_settings, concurrency, "concurrency", OPTION_COUNT, .max = UINT32_MAX,
              .help =
                  "Requests in flight on this route, over all workers and across reloads; past it 503. 0: "
                  "no limit."),
    OPTION_AT(struct route_settings, priority, "priority", OPTION_ENUM, .fallback = "normal",
              .choices = priorities,
              .help = "Where its requests stand in an upstream's queue: high before normal before low, first "
                      "come, first served within each."),
    OPTION_AT(struct route_settings, limits, "limits", OPTION_BLOCK, .table = &route_limits_table,
              .help = "What differs from the listener's limits."),
    OPTION_AT(struct route_settings, timeouts, "timeouts", OPTION_BLOCK, .table = &route_timeouts_table,
              .help = "What differs from the listener's timeouts."),
    OPTION_AT(struct route_settings, allow, "allow", OPTION_TEXTS, .shape = "[10.0.0.0/8]",
              .help = "Networks of clients, by their true address. The longest prefix of allow and deny "
                      "wins, deny where "
                      "both are as long; with allow alone all others get 403, otherwise they are let in."),
    OPTION_AT(struct route_settings, deny, "deny", OPTION_TEXTS, .shape = "[10.1.0.0/16]",
              .help = "Networks of clients that get 403."),
    OPTION_AT(struct route_settings, errors, "errors", OPTION_PAIRS, .flags = OPTION_FLAG_PLAIN,
              .shape = "{502: pages/502.html}",
              .help = "Files that are sent instead of weir's own error pages, by status."),
    OPTION_AT(struct route_settings, normalize, "normalize", OPTION_BOOL, .fallback = "true",
              .help = "false: the path is sent as it came; it is still matched in its normal form."),
    OPTION_AT(struct route_settings, cache, "cache", OPTION_BLOCK_IF, .table = &route_cache_table,
              .flags = OPTION_FLAG_TRUE,
              .help = "Stores answers of the upstream and answers from them. In `defaults` it is for those "
                      "routes that have an upstream."),
    OPTION_AT(struct route_settings, tracing, "tracing", OPTION_BLOCK_IF, .table = &route_tracing_table,
              .set_offset = offsetof(struct route_settings, has_tracing), .flags = OPTION_FLAG_TRUE,
              .help =
                  "Where the global `tracing` is on: what this route does otherwise; false = no spans, and "
                  "traceparent goes through as it came."),
    {.name = "compress", .type = OPTION_PLANNED, .help = "Compresses responses."},
    {.name = "buffer_request",
     .type = OPTION_PLANNED,
     .help = "Reads the whole body before an upstream is chosen."},
    {.name = "rate_limit", .type = OPTION_PLANNED, .help = "Limits requests by key."},
    {.name = "auth", .type = OPTION_PLANNED, .help = "Asks for credentials."},
    {.name = "mirror", .type = OPTION_PLANNED, .help = "Sends a copy of requests elsewhere."},
};

const struct option_table route_table = {
    .name = "route",
    .help =
        "What is done with which requests. The most specific match wins, whatever the order in the file: "
        "exact host, then "
        "longer wildcard, then any; exact path, then regex in file order, then longer prefix; then more "
        "header, query, cookie "
        "and method conditions. Two that are equally specific and could meet the same request are an error.",
    .options = route_options,
    .count = COUNT_OF(route_options),
    .size = sizeof(struct route_settings),
    .has_node = true,
    .node_offset = offsetof(struct route_settings, node),
};

const struct option_table defaults_table = {
    .name = "defaults",
    .help = "What every route starts from: maps merge by key, a list or a value replaces, null takes away.",
    .options = route_options + OWN_OPTIONS,
    .count = COUNT_OF(route_options) - OWN_OPTIONS,
    .size = sizeof(struct route_settings),
    .has_node = true,
    .node_offset = offsetof(struct route_settings, node),
};

static int read_path(struct config *c, const struct config_node *node, void *field)
{
    static const char *const kinds[] = {"prefix", "exact", "regex"};
    struct route_path_settings *path = field;
    if (node->kind == NODE_SCALAR) {
        path->node = node;
        return option_text(c, node, &path->text);
    }
    const struct config_node *item = node->kind == NODE_MAP && node->count == 1 ? node->items[0] : NULL;
    for (size_t i = 0; item && i < COUNT_OF(kinds); i++)
        if (slice_equal(item->key, slice_text(kinds[i]))) {
            path->node = item;
            path->kind = (enum route_path_kind)i;
            return option_text(c, item, &path->text);
        }
    if (item)
        config_fault_key(c, item, "unknown key%s", config_mend(c, item->key, kinds, COUNT_OF(kinds), true));
    else
        config_fault(c, node, "expected a path like /v1/, {exact: /v1} or {regex: \"^/v[0-9]+/\"}");
    return -1;
}

/* What `defaults` may not say has a fault of its own there; it is not said again at each route. */
static const struct config_node *inheritable(struct config *c, const struct config_node *defaults)
{
    if (!defaults || defaults->kind != NODE_MAP)
        return NULL;
    struct config_node *copy = arena_alloc(&c->arena, sizeof *copy);
    if (!copy) {
        c->out_of_memory = true;
        return NULL;
    }
    *copy = *defaults;
    copy->count = 0;
    copy->items = arena_alloc(&c->arena, (defaults->count + 1) * sizeof(struct config_node *));
    if (!copy->items) {
        c->out_of_memory = true;
        return NULL;
    }
    for (size_t i = 0; i < defaults->count; i++)
        for (size_t k = OWN_OPTIONS; k < COUNT_OF(route_options); k++)
            if (route_options[k].type != OPTION_PLANNED &&
                slice_equal(defaults->items[i]->key, slice_text(route_options[k].name)))
                copy->items[copy->count++] = defaults->items[i];
    return copy;
}

int route_settings_load(struct config *c, const struct config_node *defaults, const struct config_node *route,
                        struct route_settings *out)
{
    const struct config_node *base = inheritable(c, defaults), *whole = route;
    if (base && (!route || route->kind == NODE_MAP))
        whole =
            config_merge(c, (struct config_node *)(uintptr_t)base, (struct config_node *)(uintptr_t)route);
    if (!whole && route) {
        c->out_of_memory = true;
        whole = route;
    }
    return option_apply(c, &route_table, whole, out);
}
