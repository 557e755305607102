#include "admin/requests_text.h"

#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static double real_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* Requests. */

static void print_line(const json_t *r, FILE *out)
{
    const json_t *attempts = json_object_get(r, "attempts");
    size_t count = json_array_size(attempts);
    fprintf(out, "%s  %3lld  %9.1f ms  %-24s %s  %s %s%s  %zu %s", text_of(r, "time"), number_of(r, "status"),
            real_of(r, "duration_ms"), text_of(r, "termination"), text_of(r, "request_id"),
            text_of(r, "method"), text_of(r, "host"), text_of(r, "target"), count,
            count == 1 ? "attempt" : "attempts");
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s %s", i ? "," : ":", text_of(json_array_get(attempts, i), "server"));
    fputc('\n', out);
}

static void print_step(const json_t *attempt, const char *key, const char *what, FILE *out)
{
    const json_t *at = json_object_get(attempt, key);
    if (json_is_number(at))
        fprintf(out, "    %10.3f ms  %s\n", json_number_value(at), what);
}

static void print_attempt(const json_t *a, size_t number, FILE *out)
{
    fprintf(out, "    %10.3f ms  attempt %zu: %s%s\n", real_of(a, "started_ms"), number, text_of(a, "server"),
            json_is_true(json_object_get(a, "reused")) ? ", over an idle connection" : "");
    print_step(a, "connected_ms", "connected", out);
    print_step(a, "sent_ms", "the request was sent", out);
    print_step(a, "head_ms", "the answer's head came", out);
    fprintf(out, "    %10.3f ms  %s", real_of(a, "ended_ms"), text_of(a, "outcome"));
    if (number_of(a, "status"))
        fprintf(out, ", status %lld", number_of(a, "status"));
    if (json_is_string(json_object_get(a, "reason")))
        fprintf(out, ": %s", text_of(a, "reason"));
    fputc('\n', out);
}

static void print_story(const json_t *r, FILE *out)
{
    const json_t *attempts = json_object_get(r, "attempts");
    fprintf(out, "%s  %s %s%s  %s\n", text_of(r, "request_id"), text_of(r, "method"), text_of(r, "host"),
            text_of(r, "target"), text_of(r, "protocol"));
    fprintf(out, "    from %s, ended %s; listener %s, route %s, upstream %s\n", text_of(r, "client"),
            text_of(r, "time"), text_of(r, "listener"), text_of(r, "route"), text_of(r, "upstream"));
    for (size_t i = 0; i < json_array_size(attempts); i++)
        print_attempt(json_array_get(attempts, i), i + 1, out);
    fprintf(out, "    %10.3f ms  %s, status %lld", real_of(r, "duration_ms"), text_of(r, "termination"),
            number_of(r, "status"));
    if (json_is_string(json_object_get(r, "reason")))
        fprintf(out, ": %s", text_of(r, "reason"));
    fprintf(out, "; %lld bytes in, %lld out\n", number_of(r, "bytes_in"), number_of(r, "bytes_out"));
}

static void print_list(const json_t *answer, const char *key, const char *title, bool whole, FILE *out)
{
    const json_t *list = json_object_get(answer, key);
    if (!whole)
        fprintf(out, "%s\n", title);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (whole)
            print_story(json_array_get(list, i), out);
        else
            print_line(json_array_get(list, i), out);
    }
    if (!whole && json_array_size(list) == 0)
        fprintf(out, "none\n");
}

void requests_print(const json_t *answer, bool whole, FILE *out)
{
    print_list(answer, "failed", "failed, the newest first", whole, out);
    if (!whole)
        fputc('\n', out);
    print_list(answer, "slowest", "slowest of the last minutes", whole, out);
}

/* Servers. */

static void print_server(const json_t *u, const json_t *s, FILE *out)
{
    const json_t *connections = json_object_get(s, "connections");
    fprintf(out, "%-16s %-28s %-8s %6lld %9lld %6lld %12lld %8lld %9.1f  %s\n", text_of(u, "name"),
            text_of(s, "address"), text_of(s, "state"), number_of(s, "weight"), number_of(s, "in_flight"),
            number_of(connections, "idle"), number_of(s, "requests"), number_of(s, "errors"),
            real_of(s, "mean_ms"), strcmp(text_of(s, "reason"), "-") ? text_of(s, "reason") : "");
}

void upstreams_print(const json_t *answer, FILE *out)
{
    const json_t *all = json_object_get(answer, "upstreams");
    fprintf(out, "%-16s %-28s %-8s %6s %9s %6s %12s %8s %9s  %s\n", "upstream", "server", "state", "weight",
            "in flight", "idle", "requests", "errors", "mean ms", "why");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *u = json_array_get(all, i), *servers = json_object_get(u, "servers");
        for (size_t k = 0; k < json_array_size(servers); k++)
            print_server(u, json_array_get(servers, k), out);
    }
}
