#include "admin/status_text.h"

#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_uptime(double seconds, FILE *out)
{
    long long s = (long long)seconds;
    if (s >= 86400)
        fprintf(out, "%lldd ", s / 86400);
    if (s >= 3600)
        fprintf(out, "%lldh ", s / 3600 % 24);
    if (s >= 60)
        fprintf(out, "%lldm ", s / 60 % 60);
    fprintf(out, "%llds", s % 60);
}

static void print_process(const json_t *s, FILE *out)
{
    fprintf(out, "weir %s, %s, process %lld, up ", text_of(s, "version"), text_of(s, "state"),
            number_of(s, "pid"));
    print_uptime(json_real_value(json_object_get(s, "uptime_seconds")), out);
    fprintf(out, "\nconfiguration %s, generation %lld, loaded %s", text_of(s, "file"),
            number_of(s, "generation"), text_of(s, "loaded"));
    const json_t *trial = json_object_get(s, "trial");
    if (json_is_object(trial))
        fprintf(out, ", on trial for %.0f s more (then back to %lld; `weir confirm` keeps it)",
                json_number_value(json_object_get(trial, "remaining_seconds")),
                number_of(trial, "falls_back_to"));
    if (number_of(s, "reload_failures"))
        fprintf(out, "; %lld reloads refused", number_of(s, "reload_failures"));
    fprintf(out, "\n%lld workers, %lld connections\n", number_of(s, "workers"), number_of(s, "connections"));
    if (number_of(s, "log_lines_lost"))
        fprintf(out, "%lld log lines were lost\n", number_of(s, "log_lines_lost"));
}

/* Only where a route has a cache, or had one that something is left of. */
static void print_cache(const json_t *c, FILE *out)
{
    const json_t *ratio = json_object_get(c, "hit_ratio");
    if (!number_of(c, "routes") && !number_of(c, "objects"))
        return;
    fprintf(out, "cache %s: %lld objects, %.1f of %.1f MiB", text_of(c, "policy"), number_of(c, "objects"),
            (double)number_of(c, "bytes") / 1048576, (double)number_of(c, "memory") / 1048576);
    if (json_is_number(ratio))
        fprintf(out, ", %.1f%% hits", json_number_value(ratio) * 100);
    if (number_of(c, "evictions"))
        fprintf(out, ", %lld evicted", number_of(c, "evictions"));
    fprintf(out, "\n");
    const json_t *redis = json_object_get(c, "redis");
    if (json_is_object(redis))
        fprintf(out, "cache's redis %s: %s%s%s, %lld hits, %lld misses\n", text_of(redis, "address"),
                text_of(redis, "state"), text_of(redis, "reason")[0] ? ": " : "", text_of(redis, "reason"),
                number_of(redis, "hits"), number_of(redis, "misses"));
}

static void print_listener(const json_t *l, FILE *out)
{
    const json_t *addresses = json_object_get(l, "addresses");
    fprintf(out, "  %-16s %s%s on", text_of(l, "name"), text_of(l, "protocol"),
            json_is_true(json_object_get(l, "tls")) ? " over TLS" : "");
    for (size_t i = 0; i < json_array_size(addresses); i++)
        fprintf(out, "%s %s", i ? "," : "", json_string_value(json_array_get(addresses, i)));
    fprintf(out, "; %lld connections, %lld in all\n", number_of(l, "connections"),
            number_of(l, "connections_total"));
}

static void print_server(const json_t *s, FILE *out)
{
    fprintf(out, "    %-24s %s", text_of(s, "address"), text_of(s, "state"));
    if (text_of(s, "reason")[0])
        fprintf(out, " (%s)", text_of(s, "reason"));
    if (number_of(s, "weight") != 1)
        fprintf(out, ", weight %lld", number_of(s, "weight"));
    if (json_is_true(json_object_get(s, "backup")))
        fprintf(out, ", backup");
    fprintf(out, "; %lld in flight, %lld requests, %lld errors, mean %.1f ms\n", number_of(s, "in_flight"),
            number_of(s, "requests"), number_of(s, "errors"), json_real_value(json_object_get(s, "mean_ms")));
}

/* The line of an upstream: what is not as ever stands behind. */
static void print_upstream(const json_t *u, FILE *out)
{
    const json_t *servers = json_object_get(u, "servers"), *queue = json_object_get(u, "queue");
    const char *breaker = text_of(u, "breaker");
    unsigned ejected = 0;
    for (size_t i = 0; i < json_array_size(servers); i++)
        ejected += json_is_true(json_object_get(json_array_get(servers, i), "ejected"));
    fprintf(out, "  %-16s %s, %s", text_of(u, "name"), text_of(u, "state"), text_of(u, "balance"));
    if (number_of(queue, "waiting"))
        fprintf(out, ", %lld of %lld waiting in the queue", number_of(queue, "waiting"),
                number_of(queue, "size"));
    if (ejected)
        fprintf(out, ", %u ejected", ejected);
    if (strcmp(breaker, "open") == 0 || strcmp(breaker, "half_open") == 0)
        fprintf(out, ", breaker %s", breaker[0] == 'o' ? "open" : "half open");
    if (json_is_true(json_object_get(u, "panic")))
        fprintf(out, ", panic: all servers are used");
    fprintf(out, "\n");
}

void status_print(const json_t *status, const json_t *listeners, const json_t *upstreams, FILE *out)
{
    const json_t *all = json_object_get(listeners, "listeners");
    print_process(status, out);
    print_cache(json_object_get(status, "cache"), out);
    fprintf(out, "\nlisteners\n");
    for (size_t i = 0; i < json_array_size(all); i++)
        print_listener(json_array_get(all, i), out);
    all = json_object_get(upstreams, "upstreams");
    if (json_array_size(all))
        fprintf(out, "\nupstreams\n");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *u = json_array_get(all, i), *servers = json_object_get(u, "servers");
        print_upstream(u, out);
        for (size_t k = 0; k < json_array_size(servers); k++)
            print_server(json_array_get(servers, k), out);
    }
}
