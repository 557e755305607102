/* How long a look-up takes, with few and with many routes: nanoseconds, the best of several rounds. "same"
 * asks for one route again and again (its data is in the cache); "random" for another one each time, in an
 * order that no prefetcher guesses. Requests are made beforehand and read in order, as those of a read buffer
 * would be. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/http/router.h"

enum { REQUESTS = 1 << 16, ROUNDS = 9, TEXT = 64 };

struct routes {
    struct config c;
    struct route_settings *settings;
    struct route *at;
    size_t count;
    struct router *router;
};

/* A request's host and path, side by side. */
struct asked {
    char text[TEXT];
    uint8_t host, path;
};

enum shape { HOSTS, PREFIXES, BOTH };

static size_t host_of(enum shape shape, size_t i)
{
    return shape == HOSTS ? i : shape == PREFIXES ? 0 : i / 300;
}

static size_t path_of(enum shape shape, size_t i)
{
    return shape == HOSTS ? 0 : shape == PREFIXES ? i : i % 300;
}

static void build(struct routes *r, enum shape shape, size_t count)
{
    size_t size = count * 100 + 100, len = 0;
    char *text = malloc(size);
    ASSERT(text);
    len = (size_t)snprintf(text, size, "routes:\n");
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, size - len,
                                "- {host: host-%zu.example.com, path: /api/v%zu/users, respond: true}\n",
                                host_of(shape, i), path_of(shape, i));
    config_init(&r->c);
    config_parse(&r->c, "bench", slice_of(text, len));
    free(text);
    ASSERT(r->c.root && r->c.error_count == 0);
}

static void compile(struct routes *r)
{
    const struct config_node *list = config_get(r->c.root, "routes");
    static const struct route_names names = {0};
    struct route_settings *settings = r->settings = calloc(list->count, sizeof *settings);
    ASSERT(settings);
    for (size_t i = 0; i < list->count; i++)
        ASSERT(route_settings_load(&r->c, NULL, list->items[i], &settings[i]) == 0);
    r->count = list->count;
    r->at = routes_compile(&r->c, settings, r->count, &names);
    r->router = router_build(&r->c, r->at, r->count);
    ASSERT(r->router && r->c.error_count == 0);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct asked *make_requests(enum shape shape, size_t count, bool same)
{
    struct asked *asked = malloc(REQUESTS * sizeof *asked);
    ASSERT(asked);
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < REQUESTS; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        size_t route = same ? count / 2 : random % count;
        struct asked *a = &asked[i];
        a->host = (uint8_t)snprintf(a->text, TEXT, "host-%zu.example.com", host_of(shape, route));
        a->path = (uint8_t)snprintf(a->text + a->host, (size_t)(TEXT - a->host), "/api/v%zu/users/42",
                                    path_of(shape, route));
    }
    return asked;
}

static double measure(const struct routes *r, const struct asked *asked)
{
    struct router_scratch scratch = {0};
    struct http_request request = {.method_id = METHOD_GET, .method = S("GET")};
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (size_t i = 0; i < REQUESTS; i++) {
            const struct asked *a = &asked[i];
            struct route_match match;
            const struct route *found = router_find(r->router, 0, &request, slice_of(a->text, a->host),
                                                    slice_of(a->text + a->host, a->path), &scratch, &match);
            ASSERT(found);
        }
        double each = (now_ns() - start) / REQUESTS;
        best = each < best ? each : best;
    }
    router_scratch_free(&scratch);
    return best;
}

int main(void)
{
    static const char *const names[] = {"one prefix on each host", "one host, many prefixes",
                                        "300 prefixes a host"};
    static const size_t counts[] = {10, 1000, 100000};
    for (enum shape shape = HOSTS; shape <= BOTH; shape++)
        for (size_t i = 0; i < COUNT_OF(counts); i++) {
            struct routes r;
            build(&r, shape, counts[i]);
            double start = now_ns();
            compile(&r);
            double built = (now_ns() - start) / 1e6;
            double times[2];
            for (int same = 0; same < 2; same++) {
                struct asked *asked = make_requests(shape, counts[i], same);
                times[same] = measure(&r, asked);
                free(asked);
            }
            printf("%-24s %6zu routes: random %6.1f ns   same %6.1f ns   (built in %.0f ms)\n", names[shape],
                   counts[i], times[0], times[1], built);
            router_free(r.router);
            routes_free(r.at, r.count);
            free(r.settings);
            config_free(&r.c);
        }
    return 0;
}
