/* Routes and requests made from the input: the look-up gives what trying every route gives (router_explain
 * asserts that), a path that is normal stays so, and what comes out of a rewrite is normal too. */
#include <stdlib.h>

#include "proxy/http/explain.h"

struct input {
    const uint8_t *at;
    size_t left;
};

static unsigned take(struct input *in, unsigned below)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++ % below;
}

/* Up to 15 characters of the alphabet behind `begin`. */
static struct slice take_text(struct input *in, struct arena *arena, const char *begin, const char *alphabet)
{
    char text[32];
    size_t len = strlen(begin), count = take(in, 16);
    memcpy(text, begin, len);
    for (size_t i = 0; i < count; i++)
        text[len++] = alphabet[take(in, (unsigned)strlen(alphabet))];
    return arena_copy(arena, slice_of(text, len));
}

static const char path_alphabet[] = "///aab.%2eF*";
static const char host_alphabet[] = "ab..AB";
static const char regex_alphabet[] = "/ab.*+()|^$[]\\?";

static struct config_node *node(struct arena *arena, enum node_kind kind)
{
    struct config_node *n = arena_zalloc(arena, sizeof *n);
    n->kind = kind;
    n->file = "fuzz";
    n->line = 1;
    n->text = S("");
    return n;
}

static struct option_texts texts(struct input *in, struct arena *arena, unsigned most)
{
    struct option_texts t = {.at = arena_zalloc(arena, most * sizeof *t.at),
                             .nodes = arena_zalloc(arena, most * sizeof *t.nodes)};
    t.count = take(in, most + 1);
    for (size_t i = 0; i < t.count; i++)
        t.nodes[i] = node(arena, NODE_SCALAR);
    return t;
}

/* {x-a: 1}, {x-a: {present: false}} and the like. */
static struct config_node *conditions(struct input *in, struct arena *arena)
{
    static const struct slice names[] = {SLICE("x-a"), SLICE("X-B")}, values[] = {SLICE("1"), SLICE("2")};
    struct config_node *map = node(arena, NODE_MAP), *value = node(arena, NODE_SCALAR);
    map->items = arena_alloc(arena, sizeof *map->items);
    map->items[0] = value;
    map->count = 1;
    value->text = values[take(in, 2)];
    if (take(in, 3) == 0) {
        struct config_node *inner = value;
        inner->key = take(in, 2) ? S("present") : S("regex");
        inner->text = take(in, 2) ? S("true") : S("false");
        value = node(arena, NODE_MAP);
        value->items = arena_alloc(arena, sizeof *value->items);
        value->items[0] = inner;
        value->count = 1;
        map->items[0] = value;
    }
    value->key = names[take(in, 2)];
    return map;
}

static void take_route(struct input *in, struct arena *arena, struct route_settings *s)
{
    static const struct slice methods[] = {SLICE("GET"), SLICE("HEAD"), SLICE("PUT"), SLICE("BREW")};
    static const struct slice listeners[] = {SLICE("one"), SLICE("two")};
    unsigned flags = take(in, 256);
    *s = (struct route_settings){.node = node(arena, NODE_MAP), .normalize = true};
    if (flags & 3) {
        s->host = texts(in, arena, 3);
        for (size_t i = 0; i < s->host.count; i++)
            s->host.at[i] = take_text(in, arena, take(in, 2) ? "*." : "", host_alphabet);
    }
    s->path.kind = (enum route_path_kind)take(in, 3);
    s->path.node = node(arena, NODE_SCALAR);
    s->path.text = s->path.kind == ROUTE_PATH_REGEX ? take_text(in, arena, "", regex_alphabet)
                                                    : take_text(in, arena, "/", path_alphabet);
    if (flags & 4) {
        s->methods = texts(in, arena, 2);
        for (size_t i = 0; i < s->methods.count; i++)
            s->methods.at[i] = methods[take(in, 4)];
    }
    if ((flags & 24) == 24)
        s->headers = conditions(in, arena);
    if ((flags & 96) == 96) {
        s->listener = texts(in, arena, 1);
        for (size_t i = 0; i < s->listener.count; i++)
            s->listener.at[i] = listeners[take(in, 2)];
    }
    if (flags & 128 && s->path.kind != ROUTE_PATH_REGEX) {
        s->rewrite = arena_zalloc(arena, sizeof *s->rewrite);
        s->rewrite->node = node(arena, NODE_MAP);
        s->rewrite->prefix = take_text(in, arena, "/", path_alphabet);
    }
}

static void ask(struct input *in, struct arena *arena, const struct router *router,
                const struct route *routes, size_t count)
{
    static const struct slice methods[] = {SLICE("GET"), SLICE("HEAD"), SLICE("PUT"), SLICE("BREW"),
                                           SLICE("X")};
    static const struct field headers[] = {{.name = SLICE("X-A"), .value = SLICE("1")},
                                           {.name = SLICE("x-b"), .value = SLICE("2")}};
    struct slice host = take_text(in, arena, "", host_alphabet),
                 path = take_text(in, arena, "/", path_alphabet);
    const char *url = arena_printf(arena, "http://%.*s%.*s", SLICE_FMT(host), SLICE_FMT(path));
    struct plain_request p;
    const char *why;
    size_t from = take(in, 3);
    if (plain_request_make(arena, methods[take(in, 5)], slice_text(url), headers + from, 2 - from, S(""), &p,
                           &why))
        return;
    p.listener_slot = take(in, 2);
    p.listener = S("l");
    if (p.path_fault == 0) {
        struct slice again;
        ASSERT(target_normalise(arena, p.path, &again) == 0 && again.at == p.path.at &&
               again.len == p.path.len);
    }

    struct router_scratch scratch = {0};
    struct explanation walked, found;
    ASSERT(router_explain(router, routes, count, &p, &scratch, arena, &walked) == 0);
    ASSERT(router_decide(router, &p, &scratch, arena, &found) == 0);
    ASSERT(walked.route == found.route && walked.status == found.status);
    if (found.route) {
        ssize_t len = route_path_match(&found.route->path, p.path, &scratch.regex);
        ASSERT(len >= 0 && (size_t)len == found.match.prefix_len);
    } else if (found.status == 405) {
        ASSERT(found.allow.len > 0);
    }
    if (found.route && found.route->rewrite && !found.rewrite_fault) {
        struct slice again;
        ASSERT(target_normalise(arena, found.path, &again) == 0 && slice_equal(again, found.path));
    }
    router_scratch_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const listeners[] = {"one", "two"};
    static const struct route_names names = {.listeners = listeners, .listener_count = 2};
    struct input in = {data, size};
    struct config c;
    config_init(&c);

    struct route_settings settings[24];
    size_t count = 1 + take(&in, COUNT_OF(settings));
    for (size_t i = 0; i < count; i++)
        take_route(&in, &c.arena, &settings[i]);
    struct route *routes = routes_compile(&c, settings, count, &names);
    struct router *router = router_build(&c, routes, count);
    ASSERT(routes && router);
    for (int i = 0; i < 8; i++)
        ask(&in, &c.arena, router, routes, count);

    router_free(router);
    routes_free(routes, count);
    config_free(&c);
    return 0;
}
