/* Servers that are added and removed by hand (balancer/discovery.h). */
#include <stdlib.h>

#include "admin/api_upstreams.h"
#include "balancer/discovery.h"

#define LASTS_ADDED   "until weir stops, or DELETE"
#define LASTS_REMOVED "until weir stops, or POST"

static struct upstream *upstream_of(struct http_call *c)
{
    return snapshot_upstream(admin_of(c)->runtime->snapshot, c->arguments[0]);
}

static void tell(struct http_call *c, const char *what, const struct upstream *u, struct slice server)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s %.*s was %s by hand", SLICE_FMT(u->name), SLICE_FMT(server), what);
    log_info("the servers were changed by hand", LOG_SLICE("upstream", u->name), LOG_SLICE("server", server),
             LOG_TEXT("change", what));
    events_notice(admin_of(c), "change", text);
}

/* Adding. */

/* The body is read as an entry of `servers` is, by the same table. -1 after a 400. */
static int read_server(struct http_call *c, const json_t *body, struct backing *b,
                       struct server_settings *out)
{
    char *text = json_dumps(body, JSON_COMPACT);
    *out = (struct server_settings){0};
    if (!text) {
        api_problem(c, 503, "out of memory", NULL);
        return -1;
    }
    if (config_parse_value(&b->config, "body", slice_text(text)) == 0)
        option_apply(&b->config, &server_table, b->config.root, out);
    free(text);
    if (b->config.error_count) {
        api_problem_with(c, 400, "the body is no server", json_lines(config_errors_text(&b->config)));
        return -1;
    }
    if (out->address.len)
        return 0;
    api_problem(c, 400, "a server is added by its address: {\"address\": \"10.0.0.1:8000\"}", NULL);
    return -1;
}

static void reply_added(struct http_call *c, const struct upstream *u, struct server *s)
{
    json_t *answer = server_json(admin_of(c)->runtime, u, s);
    if (answer)
        json_object_set_new(answer, "lasts", json_string(LASTS_ADDED));
    api_reply(c, 201, answer);
}

static void add(struct http_call *c, struct upstream *u, struct backing *b,
                const struct server_settings *settings)
{
    if (upstream_server(u, settings->address)) {
        api_problem(c, 409, "the upstream has that server; PATCH changes its weight and its state", NULL);
        return;
    }
    struct found *added = found_of(b, settings);
    if (!added || upstream_add_server(u, added) != 0) {
        api_problem(c, 503, "out of memory", NULL);
        return;
    }
    struct server *s = upstream_server(u, settings->address);
    if (!s) {
        api_problem(c, 503, "out of memory", NULL);
        return;
    }
    tell(c, "added", u, s->name);
    reply_added(c, u, s);
}

void api_add_server(struct http_call *c)
{
    struct upstream *u = upstream_of(c);
    if (!u) {
        problem_no_server(c, NULL);
        return;
    }
    json_t *body = api_body(c);
    struct backing *b = body ? backing_create() : NULL;
    struct server_settings settings;
    if (body && !b)
        api_problem(c, 503, "out of memory", NULL);
    else if (body && read_server(c, body, b, &settings) == 0)
        add(c, u, b, &settings);
    if (b)
        backing_release(b);
    json_decref(body);
}

/* Removing. */

void api_delete_server(struct http_call *c)
{
    struct upstream *u = upstream_of(c);
    struct server *s = u ? upstream_server(u, c->arguments[1]) : NULL;
    if (!s) {
        problem_no_server(c, u);
        return;
    }
    server_hold(s);
    bool was_added = strcmp(upstream_source(u, s->name), "hand") == 0;
    if (upstream_remove_server(u, s->name) != 0) {
        api_problem(c, 503, "out of memory", NULL);
    } else {
        tell(c, "removed", u, s->name);
        api_reply(c, 200,
                  json_pack("{s:o, s:s, s:I, s:s}", "address", json_slice(s->name), "state", "removed",
                            "in_flight", (json_int_t)server_in_flight(s), "lasts",
                            was_added ? "it was added by hand, and is gone" : LASTS_REMOVED));
    }
    server_release(s);
}
