/* A file's text to routes, a router and answers of it: what the tests of routing share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/http/checks.h"
#include "proxy/http/explain.h"

struct routing {
    struct config c;
    struct route_settings *settings;
    struct route *routes;
    size_t count;
    struct router *router;
    struct router_scratch scratch;
    struct arena arena;
};

static const char *const fixture_listeners[] = {"web", "web-tls", "db"};
static const bool fixture_http[] = {true, true, false};
static const char *const fixture_upstreams[] = {"api", "app", "blue", "green"};
static const struct route_names fixture_names = {fixture_listeners, fixture_http, 3, fixture_upstreams, 4};

static inline const char *no_environment(const char *name)
{
    (void)name;
    return NULL;
}

/* Reads `routes:` and `defaults:` of the text; faults stay in r->c. */
static inline void routing_read(struct routing *r, const char *text)
{
    *r = (struct routing){0};
    arena_init(&r->arena, NULL, 0);
    config_init(&r->c);
    r->c.environment = no_environment;
    config_parse(&r->c, "weir.yaml", slice_text(text));
    assert_non_null(r->c.root);
    const struct config_node *list = config_get(r->c.root, "routes"),
                             *defaults = config_get(r->c.root, "defaults");
    if (defaults) {
        struct route_settings unused;
        option_apply(&r->c, &defaults_table, defaults, &unused);
    }
    r->count = list ? list->count : 0;
    r->settings = calloc(r->count + 1, sizeof *r->settings);
    for (size_t i = 0; i < r->count; i++)
        route_settings_load(&r->c, defaults, list->items[i], &r->settings[i]);
    r->routes = routes_compile(&r->c, r->settings, r->count, &fixture_names);
    r->router = router_build(&r->c, r->routes, r->count);
    assert_non_null(r->router);
}

static inline void routing_free(struct routing *r)
{
    router_free(r->router);
    routes_free(r->routes, r->count);
    router_scratch_free(&r->scratch);
    free(r->settings);
    arena_reset(&r->arena);
    config_free(&r->c);
}

/* The text has these faults, and no others. */
static inline void assert_route_faults(const char *text, const char *expected)
{
    struct routing r;
    routing_read(&r, text);
    assert_string_equal(config_errors_text(&r.c), expected);
    routing_free(&r);
}

/* One that must be without faults. */
static inline void routing_make(struct routing *r, const char *text)
{
    routing_read(r, text);
    assert_string_equal(config_errors_text(&r->c), "");
}

/* "GET http://host/path", with up to one header "name: value" a line. */
static inline void routing_request(struct routing *r, const char *text, const char *headers,
                                   struct plain_request *out)
{
    struct field fields[8];
    size_t count = 0, space = slice_find(slice_text(text), ' ');
    struct slice rest = slice_text(headers ? headers : ""), line;
    while (slice_next(&rest, '\n', &line)) {
        size_t colon = slice_find(line, ':');
        fields[count++] =
            (struct field){.name = slice_of(line.at, colon), .value = slice_skip(line, colon + 1)};
    }
    const char *why = "";
    int rc = plain_request_make(&r->arena, slice_of(text, space), slice_skip(slice_text(text), space + 1),
                                fields, count, S(""), out, &why);
    if (rc)
        fail_msg("%s: %s", text, why);
}

/* The name of the route that is met, "405 METHODS" or "404". */
static inline const char *routing_ask(struct routing *r, unsigned listener, const char *text,
                                      const char *headers)
{
    struct plain_request p;
    routing_request(r, text, headers, &p);
    p.listener_slot = listener;
    struct route_match match;
    if (p.path_fault)
        return "400";
    const struct route *route =
        router_find(r->router, listener, &p.request, p.host, p.path, &r->scratch, &match);
    if (route)
        return arena_printf(&r->arena, "%.*s", SLICE_FMT(route->name));
    struct slice allow = router_allow(r->router, match.allow, &r->arena);
    return match.allow ? arena_printf(&r->arena, "405 %.*s", SLICE_FMT(allow)) : "404";
}
