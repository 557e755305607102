#include "proxy/http/checks.h"

struct expectation {
    const struct config_node *node;
    const struct config_node *route; /* for the table alone */
    struct slice upstream, location, path;
    uint64_t status; /* 0 = none given */
};

struct check {
    struct slice request, client, listener;
    struct option_pairs headers;
    struct expectation expect;
    const struct config_node *node;
};

static const struct option expect_options[] = {
    OPTION_AT(struct expectation, route, "route", OPTION_NODE, .schema = "{\"type\": [\"string\", \"null\"]}",
              .shape = "a name, or null for none", .help = "The route that is met."),
    OPTION_AT(struct expectation, upstream, "upstream", OPTION_TEXT,
              .help = "An upstream that the route sends to; of a split, one whose weight is not 0."),
    OPTION_AT(struct expectation, status, "status", OPTION_COUNT, .min = 100, .max = 599,
              .help = "Compared where weir answers by itself: redirect, respond, 400, 403, 404, 405."),
    OPTION_AT(struct expectation, location, "location", OPTION_TEXT, .help = "The Location of a redirect."),
    OPTION_AT(struct expectation, path, "path", OPTION_TEXT,
              .help = "The path that is sent on, after a rewrite."),
};

static const struct option_table expect_table = {
    .name = "expect",
    .help = "What must come of it.",
    .options = expect_options,
    .count = COUNT_OF(expect_options),
    .size = sizeof(struct expectation),
    .has_node = true,
    .node_offset = offsetof(struct expectation, node),
};

static const struct option check_options[] = {
    OPTION_AT(struct check, request, "request", OPTION_TEXT, .flags = OPTION_FLAG_REQUIRED,
              .shape = "GET https://example.com/path", .help = "Method and URL."),
    OPTION_AT(struct check, headers, "headers", OPTION_PAIRS, .shape = "{name: value}",
              .help = "Its header fields."),
    OPTION_AT(struct check, client, "client", OPTION_TEXT, .fallback = "127.0.0.1",
              .help = "The client's address."),
    OPTION_AT(struct check, listener, "listener", OPTION_TEXT,
              .help = "The listener that it comes to; by default one with TLS as the URL's scheme says, on "
                      "the URL's port if there is one."),
    OPTION_AT(struct check, expect, "expect", OPTION_BLOCK, .table = &expect_table,
              .flags = OPTION_FLAG_REQUIRED, .help = "What must come of it."),
};

const struct option_table check_table = {
    .name = "test",
    .help = "A request, and what must come of it: run by `weir check` and before a reload takes effect, "
            "without sending anything.",
    .options = check_options,
    .count = COUNT_OF(check_options),
    .size = sizeof(struct check),
    .has_node = true,
    .node_offset = offsetof(struct check, node),
};

/* One that is under way. */
struct run {
    struct config *c;
    const struct checks *with;
    const struct check *check;
    struct plain_request request;
    struct explanation got;
};

static const struct config_node *place(const struct run *run, const char *key)
{
    const struct config_node *node = config_get(run->check->node, key);
    return node ? node : run->check->node;
}

static const struct config_node *expected(const struct run *run, const char *key)
{
    const struct config_node *node = config_get(run->check->expect.node, key);
    return node ? node : run->check->node;
}

static int choose_listener(struct run *run)
{
    struct slice name = run->check->listener;
    const struct checks *with = run->with;
    if (!name.len) {
        if (plain_request_listener(&run->request, with->listeners, with->listener_count))
            return 0;
        config_fault(run->c, run->check->node, "no listener serves http");
        return -1;
    }
    for (size_t i = 0; i < with->listener_count; i++)
        if (slice_equal(with->listeners[i].name, name)) {
            run->request.listener = name;
            run->request.listener_slot = with->listeners[i].slot;
            return 0;
        }
    config_fault(run->c, place(run, "listener"), "no http listener is called %s", config_quote(run->c, name));
    return -1;
}

static int make_request(struct run *run)
{
    const struct check *check = run->check;
    struct arena *arena = &run->c->arena;
    struct slice text = slice_trim(check->request);
    size_t space = slice_find(text, ' ');
    struct field *headers = arena_alloc(arena, (check->headers.count + 1) * sizeof *headers);
    if (!headers) {
        run->c->out_of_memory = true;
        return -1;
    }
    for (size_t i = 0; i < check->headers.count; i++)
        headers[i] = (struct field){.name = check->headers.at[i].name, .value = check->headers.at[i].value};

    const char *why = NULL;
    if (plain_request_make(arena, slice_of(text.at, space), slice_trim(slice_skip(text, space)), headers,
                           check->headers.count, check->client, &run->request, &why)) {
        config_fault(run->c, place(run, "request"), "%s", why);
        return -1;
    }
    return 0;
}

/* What came, in words: `route "api" (weir.yaml:12)`, `no route (404)`. */
static const char *describe(const struct run *run)
{
    struct config *c = run->c;
    const struct explanation *got = &run->got;
    if (!got->route)
        return arena_printf(&c->arena, "no route (%u)", got->status);
    return arena_printf(&c->arena, "route %s (%s:%u)%s", config_quote(c, got->route->name),
                        got->route->node->file, got->route->node->line,
                        got->action == EXPLAIN_DENIED ? ", which denies this client (403)" : "");
}

static void compare_route(struct run *run)
{
    /* Not the option's value, which is NULL for a null in the file too. */
    const struct config_node *want = config_get(run->check->expect.node, "route");
    if (!want)
        return;
    struct slice name = want->kind == NODE_SCALAR ? want->text : S("");
    struct slice got = run->got.route ? run->got.route->name : S("");
    if (!slice_equal(name, got))
        config_fault(run->c, want, "expected %s%s, met %s", want->kind == NODE_NULL ? "no route" : "route ",
                     want->kind == NODE_NULL ? "" : config_quote(run->c, name), describe(run));
}

static void compare_upstream(struct run *run)
{
    struct slice want = run->check->expect.upstream;
    const struct route *r =
        run->got.action == EXPLAIN_ROUTED && !run->got.rewrite_fault ? run->got.route : NULL;
    if (!want.len)
        return;
    for (size_t i = 0; r && i < r->target_count; i++)
        if (slice_equal(r->targets[i].name, want) &&
            atomic_load_explicit(&r->targets[i].weight, memory_order_relaxed))
            return;
    const char *got = "no upstream";
    if (r && r->target_count)
        got = arena_printf(&run->c->arena, "upstream %s", config_quote(run->c, r->targets[0].name));
    config_fault(run->c, expected(run, "upstream"), "expected upstream %s, met %s, by %s",
                 config_quote(run->c, want), got, describe(run));
}

static void compare_status(struct run *run)
{
    unsigned long long want = run->check->expect.status;
    if (want && run->got.status && want != run->got.status)
        config_fault(run->c, expected(run, "status"), "expected status %llu, got %u, from %s", want,
                     run->got.status, describe(run));
    else if (want >= 300 && !run->got.status)
        config_fault(run->c, expected(run, "status"),
                     "expected weir to answer %llu, but %s sends the request on", want, describe(run));
}

static void compare_text(struct run *run, const char *key, struct slice want, struct slice got)
{
    if (want.len && !slice_equal(want, got))
        config_fault(run->c, expected(run, key), "expected %s, got %s, from %s", config_quote(run->c, want),
                     got.len ? config_quote(run->c, got) : "none", describe(run));
}

static void run_one(struct config *c, const struct checks *with, const struct check *check,
                    struct router_scratch *scratch)
{
    struct run run = {.c = c, .with = with, .check = check};
    if (make_request(&run) || choose_listener(&run))
        return;
    if (router_decide(with->router, &run.request, scratch, &c->arena, &run.got)) {
        c->out_of_memory = true;
        return;
    }
    compare_route(&run);
    compare_upstream(&run);
    compare_status(&run);
    compare_text(&run, "location", check->expect.location, run.got.location);
    compare_text(&run, "path", check->expect.path, run.got.path);
}

size_t checks_run(struct config *c, const struct config_node *tests, const struct checks *with,
                  size_t *passed)
{
    struct router_scratch scratch = {0};
    size_t failed = 0, good = 0;
    size_t count = tests && tests->kind == NODE_LIST ? tests->count : 0;
    if (tests && tests->kind != NODE_LIST && tests->kind != NODE_NULL) {
        config_fault(c, tests, "expected a list of tests");
        failed = 1;
    }
    for (size_t i = 0; i < count; i++) {
        struct check check;
        size_t before = c->error_count + c->errors_dropped;
        if (option_apply(c, &check_table, tests->items[i], &check) == 0)
            run_one(c, with, &check, &scratch);
        bool is_good = c->error_count + c->errors_dropped == before;
        good += is_good;
        failed += !is_good;
    }
    router_scratch_free(&scratch);
    if (passed)
        *passed = good;
    return failed;
}
