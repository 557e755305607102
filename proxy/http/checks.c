#include "proxy/http/checks.h"

#include "proxy/http/explain_fields.h"
#include "proxy/http/explain_lookup.h"

struct expectation {
    const struct config_node *node;
    const struct config_node *route; /* for the table alone */
    const struct config_node *request_headers, *response_headers;
    struct slice upstream, location, path, cache_key;
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
    OPTION_AT(struct expectation, request_headers, "request_headers", OPTION_NODE,
              .schema = "{\"type\": \"object\"}", .shape = "{name: value}, or null for none",
              .help = "Header fields as a server would get them."),
    OPTION_AT(struct expectation, response_headers, "response_headers", OPTION_NODE,
              .schema = "{\"type\": \"object\"}", .shape = "{name: value}, or null for none",
              .help = "Header fields that weir puts into the answer."),
    OPTION_AT(struct expectation, cache_key, "cache_key", OPTION_TEXT,
              .help =
                  "The key by which it is looked up in the cache, as `weir explain` shows it; the last line "
                  "of it is enough."),
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
    struct router_scratch *scratch;
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
            run->request.config = with->listeners[i].config;
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
        return arena_printf(&c->arena, "no route (%u%s%s)", got->status, got->reason ? ": " : "",
                            got->reason ? got->reason : "");
    return arena_printf(&c->arena, "route %s (%s:%u)%s", config_quote(c, got->route->name),
                        got->route->node->file, got->route->node->line,
                        got->action == EXPLAIN_DENIED ? ", which denies this client (403)" : "");
}

/* Why the route that was expected is not met, as `weir explain` says it; "" when nothing is to be said. */
static const char *why_not(struct run *run, struct slice name)
{
    const struct checks *with = run->with;
    struct explanation e;
    if (!with->routes || router_explain(with->router, with->routes, with->route_count, &run->request,
                                        run->scratch, &run->c->arena, &e) != 0)
        return "";
    for (size_t i = 0; i < e.step_count; i++)
        if (slice_equal(e.steps[i].route->name, name))
            return arena_printf(&run->c->arena, "; %.*s (%s:%u): %.*s", SLICE_FMT(name),
                                e.steps[i].route->node->file, e.steps[i].route->node->line,
                                SLICE_FMT(e.steps[i].text));
    return "";
}

static void compare_route(struct run *run)
{
    /* Not the option's value, which is NULL for a null in the file too. */
    const struct config_node *want = config_get(run->check->expect.node, "route");
    if (!want)
        return;
    struct slice name = want->kind == NODE_SCALAR ? want->text : S("");
    struct slice got = run->got.route ? run->got.route->name : S("");
    if (slice_equal(name, got))
        return;
    if (want->kind == NODE_NULL)
        config_fault(run->c, want, "expected no route, met %s", describe(run));
    else
        config_fault(run->c, want, "expected route %s, met %s%s", config_quote(run->c, name), describe(run),
                     why_not(run, name));
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

static const struct field *field_with(const struct fields *f, struct slice name, struct slice value)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (slice_equal_nocase(f->at[i].name, name) && slice_equal(f->at[i].value, value))
            return &f->at[i];
    return NULL;
}

static void compare_headers(struct run *run, const struct config_node *want, const struct fields *got)
{
    for (size_t i = 0; i < want->count; i++) {
        const struct config_node *item = want->items[i];
        const struct field *there = fields_find_name(got, item->key);
        if (item->kind == NODE_NULL && there)
            config_fault(run->c, item, "expected none, got %s, from %s", config_quote(run->c, there->value),
                         describe(run));
        else if (item->kind != NODE_NULL && item->kind != NODE_SCALAR)
            config_fault(run->c, item, "expected a value, or null for none");
        else if (item->kind == NODE_SCALAR && !field_with(got, item->key, item->text))
            config_fault(run->c, item, "expected %s, got %s, from %s", config_quote(run->c, item->text),
                         there ? config_quote(run->c, there->value) : "none", describe(run));
    }
}

/* Of a request that a server gets, and of an answer. */
static void compare_all_headers(struct run *run)
{
    const struct expectation *e = &run->check->expect;
    const struct config_node *const want[] = {e->request_headers, e->response_headers};
    bool is_routed = run->got.action == EXPLAIN_ROUTED && !run->got.rewrite_fault && run->request.config;
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        struct fields got = {0};
        bool is_sent = is_routed && (i == 1 || run->got.route->target_count);
        int failed = 0;
        if (!want[i] || want[i]->kind == NODE_NULL)
            continue;
        if (want[i]->kind != NODE_MAP) {
            config_fault(run->c, want[i], "expected {name: value}, or null for none");
            continue;
        }
        if (is_sent)
            failed = (i ? explain_response_fields : explain_request_fields)(&run->request, &run->got,
                                                                            &run->c->arena, &got);
        if (failed)
            run->c->out_of_memory = true;
        else
            compare_headers(run, want[i], &got);
    }
}

static void compare_key(struct run *run)
{
    struct slice want = run->check->expect.cache_key, key = S("");
    struct explained_lookup lookup;
    if (!want.len)
        return;
    if (explain_lookup(&run->request, &run->got, &run->c->arena, &lookup) && !lookup.refused)
        key = lookup.names.key;
    if (!slice_ends(key, want) || (key.len > want.len && key.at[key.len - want.len - 1] != '\n'))
        compare_text(run, "cache_key", want, key);
}

static void run_one(struct config *c, const struct checks *with, const struct check *check,
                    struct router_scratch *scratch)
{
    struct run run = {.c = c, .with = with, .check = check, .scratch = scratch};
    if (make_request(&run) || choose_listener(&run))
        return;
    if (plain_request_receive(&c->arena, &run.request) != 0 ||
        router_decide(with->router, &run.request, scratch, &c->arena, &run.got)) {
        c->out_of_memory = true;
        return;
    }
    compare_route(&run);
    compare_upstream(&run);
    compare_status(&run);
    compare_text(&run, "location", check->expect.location, run.got.location);
    compare_text(&run, "path", check->expect.path, run.got.path);
    compare_all_headers(&run);
    compare_key(&run);
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
