#include "admin/top_rates.h"

#include <stdbool.h>
#include <stdio.h>

#define BUCKETS_MAX 64u

void top_reading_free(struct top_reading *r)
{
    json_decref(r->status);
    json_decref(r->listeners);
    json_decref(r->routes);
    json_decref(r->upstreams);
    *r = (struct top_reading){0};
}

/* Differences. */

struct span {
    double seconds;
    bool known; /* the readings are of one process */
};

static double grown(const json_t *before, const json_t *now, const char *key)
{
    double a = json_number_value(json_object_get(before, key)),
           b = json_number_value(json_object_get(now, key));
    return before && b > a ? b - a : 0;
}

static double rate(struct span s, const json_t *before, const json_t *now, const char *key)
{
    return s.known ? grown(before, now, key) / s.seconds : 0;
}

/* How many answers took how long. */
struct histogram {
    size_t count;
    double bounds[BUCKETS_MAX], numbers[BUCKETS_MAX];
};

static void add_grown(struct histogram *h, struct span s, const json_t *before, const json_t *now)
{
    const json_t *a = json_object_get(before, "durations"), *b = json_object_get(now, "durations");
    if (!s.known || !before)
        return;
    for (size_t i = 0; i < json_array_size(b) && i < BUCKETS_MAX; i++) {
        const json_t *bucket = json_array_get(b, i);
        double old = json_number_value(json_array_get(json_array_get(a, i), 1));
        double fresh = json_number_value(json_array_get(bucket, 1));
        h->bounds[i] = json_number_value(json_array_get(bucket, 0));
        h->numbers[i] += fresh > old ? fresh - old : 0;
        h->count = i + 1 > h->count ? i + 1 : h->count;
    }
}

/* Inside a bucket as if its answers lay evenly; in the last, which has no bound, where it begins. */
static json_t *percentile(const struct histogram *h, double share)
{
    double sum = 0, seen = 0;
    for (size_t i = 0; i < h->count; i++)
        sum += h->numbers[i];
    for (size_t i = 0; i < h->count && sum > 0; i++) {
        double low = i ? h->bounds[i - 1] : 0, wanted = sum * share - seen;
        seen += h->numbers[i];
        if (h->numbers[i] == 0 || seen < sum * share)
            continue;
        double high = h->bounds[i] > low ? h->bounds[i] : low;
        return json_real(low + (high - low) * wanted / h->numbers[i]);
    }
    return json_null();
}

static void set(json_t *out, const char *key, double number)
{
    json_object_set_new(out, key, json_real(number));
}

static void copy(json_t *out, const json_t *from, const char *key)
{
    json_object_set(out, key, json_object_get(from, key));
}

static void set_times(json_t *out, const struct histogram *h)
{
    json_object_set_new(out, "p50_ms", percentile(h, 0.5));
    json_object_set_new(out, "p95_ms", percentile(h, 0.95));
}

/* Rows. */

/* The elements of a list by their names; the caller's. */
static json_t *by_name(const json_t *list)
{
    json_t *names = json_object();
    for (size_t i = 0; names && i < json_array_size(list); i++) {
        json_t *element = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(element, "name"));
        if (name)
            json_object_set(names, name, element);
    }
    return names;
}

static const json_t *like(const json_t *names, const json_t *element)
{
    const char *name = json_string_value(json_object_get(element, "name"));
    return name ? json_object_get(names, name) : NULL;
}

static json_t *listener_row(struct span s, const json_t *before, const json_t *now, struct histogram *all)
{
    json_t *row = json_object();
    struct histogram h = {0};
    add_grown(&h, s, before, now);
    add_grown(all, s, before, now);
    copy(row, now, "name");
    copy(row, now, "protocol");
    copy(row, now, "connections");
    set(row, "connections_per_second", rate(s, before, now, "connections_total"));
    set(row, "requests_per_second", rate(s, before, now, "requests"));
    set(row, "errors_per_second", rate(s, before, now, "errors"));
    set_times(row, &h);
    set(row, "bytes_in_per_second", rate(s, before, now, "bytes_in"));
    set(row, "bytes_out_per_second", rate(s, before, now, "bytes_out"));
    return row;
}

static json_t *route_row(struct span s, const json_t *before, const json_t *now)
{
    json_t *row = json_object();
    struct histogram h = {0};
    add_grown(&h, s, before, now);
    copy(row, now, "name");
    copy(row, now, "listeners");
    copy(row, now, "action");
    set(row, "requests_per_second", rate(s, before, now, "requests"));
    set(row, "errors_per_second", rate(s, before, now, "errors"));
    set_times(row, &h);
    return row;
}

static json_t *server_row(struct span s, const json_t *upstream, const json_t *before, const json_t *now)
{
    json_t *row = json_object();
    double requests = grown(before, now, "requests"), us = grown(before, now, "duration_us");
    json_object_set(row, "upstream", json_object_get(upstream, "name"));
    copy(row, now, "address");
    copy(row, now, "state");
    copy(row, now, "reason");
    copy(row, now, "weight");
    copy(row, now, "in_flight");
    json_t *waiting = json_object_get(json_object_get(upstream, "queue"), "waiting");
    json_object_set_new(row, "queue", waiting ? json_incref(waiting) : json_null());
    set(row, "requests_per_second", rate(s, before, now, "requests"));
    set(row, "errors_per_second",
        rate(s, before, now, "errors") + rate(s, before, now, "unanswered") +
            rate(s, json_object_get(before, "connections"), json_object_get(now, "connections"), "failed"));
    json_object_set_new(row, "mean_ms",
                        s.known && requests > 0 ? json_real(us / requests / 1000) : json_null());
    return row;
}

static const json_t *find_server(const json_t *upstream, const json_t *server)
{
    const json_t *all = json_object_get(upstream, "servers");
    const json_t *address = json_object_get(server, "address");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (json_equal(json_object_get(json_array_get(all, i), "address"), address))
            return json_array_get(all, i);
    return NULL;
}

/* A set rarely changes: the server has the place that it had, or it is looked for. */
static const json_t *same_server(const json_t *upstream, const json_t *server, size_t place)
{
    const json_t *there = json_array_get(json_object_get(upstream, "servers"), place);
    if (json_equal(json_object_get(there, "address"), json_object_get(server, "address")))
        return there;
    return find_server(upstream, server);
}

static json_t *server_rows(struct span s, const json_t *before, const json_t *now)
{
    json_t *rows = json_array(), *names = by_name(before);
    for (size_t i = 0; i < json_array_size(now); i++) {
        const json_t *u = json_array_get(now, i), *servers = json_object_get(u, "servers");
        const json_t *old = like(names, u);
        for (size_t k = 0; k < json_array_size(servers); k++) {
            const json_t *server = json_array_get(servers, k);
            json_array_append_new(rows, server_row(s, u, same_server(old, server, k), server));
        }
    }
    json_decref(names);
    return rows;
}

static double sum_of(const json_t *rows, const char *key)
{
    double sum = 0;
    for (size_t i = 0; i < json_array_size(rows); i++)
        sum += json_number_value(json_object_get(json_array_get(rows, i), key));
    return sum;
}

/* NULL where no route has one. */
static json_t *cache_of(struct span s, const json_t *before, const json_t *now)
{
    static const char *const results[] = {"hit", "stale", "revalidated", "miss"};
    const json_t *was = json_object_get(before, "requests"), *is = json_object_get(now, "requests");
    double hits = 0, all = 0;
    if (json_number_value(json_object_get(now, "routes")) <= 0)
        return NULL;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        double n = rate(s, was, is, results[i]);
        hits += i < 2 ? n : 0;
        all += n;
    }
    json_t *out = json_object();
    set(out, "requests_per_second", all);
    json_object_set_new(out, "hit_ratio", all > 0 ? json_real(hits / all) : json_null());
    set(out, "evictions_per_second", rate(s, before, now, "evictions"));
    copy(out, now, "bytes");
    copy(out, now, "memory");
    copy(out, now, "objects");
    return out;
}

json_t *top_rates(const struct top_reading *before, const struct top_reading *now)
{
    static const char *const kept[] = {"version", "state", "uptime_seconds", "workers", "connections"};
    struct span s = {.seconds = now->seconds - before->seconds};
    const json_t *listeners = json_object_get(now->listeners, "listeners");
    const json_t *routes = json_object_get(now->routes, "routes");
    struct histogram all = {0};
    json_t *out = json_object(), *listener_rows = json_array(), *route_rows = json_array();
    s.known = s.seconds > 0 &&
              json_equal(json_object_get(before->status, "pid"), json_object_get(now->status, "pid"));

    json_t *names = by_name(json_object_get(before->listeners, "listeners"));
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        const json_t *l = json_array_get(listeners, i);
        json_array_append_new(listener_rows, listener_row(s, like(names, l), l, &all));
    }
    json_decref(names);
    names = by_name(json_object_get(before->routes, "routes"));
    for (size_t i = 0; i < json_array_size(routes); i++) {
        const json_t *r = json_array_get(routes, i);
        json_array_append_new(route_rows, route_row(s, like(names, r), r));
    }
    json_decref(names);

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        copy(out, now->status, kept[i]);
    json_t *cache =
        cache_of(s, json_object_get(before->status, "cache"), json_object_get(now->status, "cache"));
    if (cache)
        json_object_set_new(out, "cache", cache);
    set(out, "seconds", s.seconds);
    set(out, "requests_per_second", sum_of(listener_rows, "requests_per_second"));
    set(out, "errors_per_second", sum_of(listener_rows, "errors_per_second"));
    set_times(out, &all);
    json_object_set_new(out, "listeners", listener_rows);
    json_object_set_new(out, "routes", route_rows);
    json_object_set_new(out, "servers",
                        server_rows(s, json_object_get(before->upstreams, "upstreams"),
                                    json_object_get(now->upstreams, "upstreams")));
    return out;
}
