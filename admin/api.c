/* The table of what the admin interface answers, and what all answers have in common. */
#include <stdlib.h>
#include <time.h>

#include "admin/internal.h"

const struct http_endpoint admin_endpoints[] = {
    {"GET", "/", dashboard_answer, 0},
    {"GET", "/metrics", metrics_answer, ENDPOINT_OPEN},
    {"GET", "/health", health_answer, ENDPOINT_OPEN},
    {"GET", "/api/v1/status", api_status, 0},
    {"GET", "/api/v1/listeners", api_listeners, 0},
    {"GET", "/api/v1/routes", api_routes, 0},
    {"PATCH", "/api/v1/routes/{*}", api_patch_route, ENDPOINT_CHANGES},
    {"GET", "/api/v1/upstreams", api_upstreams, 0},
    {"PATCH", "/api/v1/upstreams/{}/servers/{*}", api_patch_server, ENDPOINT_CHANGES},
    {"POST", "/api/v1/upstreams/{}/servers", api_add_server, ENDPOINT_CHANGES},
    {"DELETE", "/api/v1/upstreams/{}/servers/{*}", api_delete_server, ENDPOINT_CHANGES},
    {"GET", "/api/v1/cache", api_cache, 0},
    {"POST", "/api/v1/cache/purge", api_purge, ENDPOINT_CHANGES},
    {"GET", "/api/v1/certificates", api_certificates, 0},
    {"GET", "/api/v1/config", api_config, 0},
    {"POST", "/api/v1/reload", api_reload, ENDPOINT_CHANGES},
    {"POST", "/api/v1/confirm", api_confirm, ENDPOINT_CHANGES},
    {"POST", "/api/v1/rollback", api_rollback, ENDPOINT_CHANGES},
    {"POST", "/api/v1/explain", api_explain, 0},
    {"GET", "/api/v1/events", api_events, 0},
    {"GET", "/api/v1/requests", api_requests, 0},
    {"GET", "/api/v1/requests/{*}", api_request, 0},
    {"POST", "/api/v1/diff", api_diff, ENDPOINT_LOCAL},
    {"POST", "/api/v1/stop", api_stop, ENDPOINT_LOCAL},
    {"POST", "/api/v1/upgrade", api_upgrade, ENDPOINT_LOCAL},
};
const size_t admin_endpoint_count = COUNT_OF(admin_endpoints);

/* Answering. */

static void reply_json(struct http_call *c, unsigned status, const char *type, json_t *value,
                       const char *extra)
{
    char *text = value ? json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    size_t len = text ? strlen(text) : 0;
    if (text)
        text[len] = '\n'; /* in place of its NUL: the length is told */
    if (text)
        http_call_reply(c, status, type, slice_of(text, len + 1), extra);
    else
        http_call_reply(c, 503, "text/plain", S("out of memory\n"), NULL);
    free(text);
    json_decref(value);
}

void api_reply(struct http_call *c, unsigned status, json_t *value)
{
    reply_json(c, status, "application/json", value, NULL);
}

static json_t *problem_of(unsigned status, const char *detail)
{
    return json_pack("{s:s, s:o, s:i, s:o}", "type", "about:blank", "title",
                     json_slice(status_reason(status)), "status", (int)status, "detail",
                     json_slice(slice_text(detail)));
}

void api_problem(struct http_call *c, unsigned status, const char *detail, const char *extra)
{
    reply_json(c, status, "application/problem+json", problem_of(status, detail), extra);
}

void api_problem_with(struct http_call *c, unsigned status, const char *detail, json_t *errors)
{
    json_t *problem = problem_of(status, detail);
    if (problem)
        json_object_set_new(problem, "errors", errors);
    else
        json_decref(errors);
    reply_json(c, status, "application/problem+json", problem, NULL);
}

/* Asking. */

json_t *api_body(struct http_call *c)
{
    json_error_t error;
    if (slice_trim(c->body).len == 0)
        return json_object();
    json_t *body = json_loadb(c->body.at, c->body.len, JSON_REJECT_DUPLICATES, &error);
    if (body && json_is_object(body))
        return body;
    char detail[256];
    if (body)
        snprintf(detail, sizeof detail, "the body must be a JSON object");
    else
        snprintf(detail, sizeof detail, "the body is not JSON: line %d, column %d: %s", error.line,
                 error.column, error.text);
    json_decref(body);
    api_problem(c, 400, detail, NULL);
    return NULL;
}

bool api_only_keys(struct http_call *c, const json_t *object, const char *const *known)
{
    size_t count = 0;
    while (known[count])
        count++;
    for (void *at = json_object_iter((json_t *)(uintptr_t)object); at;
         at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        const char *key = json_object_iter_key(at);
        size_t i = 0;
        while (i < count && strcmp(known[i], key) != 0)
            i++;
        if (i < count)
            continue;
        const char *near = config_suggest(slice_text(key), known, count);
        char detail[256];
        snprintf(detail, sizeof detail, "unknown key \"%.60s\"%s%s%s", key, near ? "; did you mean \"" : "",
                 near ? near : "", near ? "\"?" : "");
        api_problem(c, 400, detail, NULL);
        return false;
    }
    return true;
}

/* Values. */

json_t *json_slice(struct slice s)
{
    json_t *text = json_stringn(s.at ? s.at : "", s.len);
    if (text)
        return text;
    /* Not UTF-8: as the logs write it. */
    char escaped[1024];
    size_t n = json_escape(s.len > 256 ? slice_of(s.at, 256) : s, escaped, sizeof escaped);
    return json_stringn_nocheck(escaped, n);
}

json_t *json_lines(const char *text)
{
    json_t *lines = json_array();
    struct slice rest = slice_text(text);
    while (lines && rest.len) {
        struct slice line = slice_of(rest.at, slice_find(rest, '\n'));
        rest = slice_skip(rest, line.len + 1);
        if (line.len)
            json_array_append_new(lines, json_slice(line));
    }
    return lines;
}

json_t *json_address(const struct address *a)
{
    char text[ADDRESS_TEXT_MAX];
    return json_stringn(text, address_print(a, text, sizeof text));
}

json_t *json_time(int64_t wall_us)
{
    if (wall_us <= 0)
        return json_null();
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    char text[40];
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof text - n, ".%03dZ", (int)(wall_us % 1000000 / 1000));
    return json_stringn(text, n);
}

/* Health. */

void health_answer(struct http_call *c)
{
    if (admin_of(c)->runtime->state == RUNTIME_SERVING)
        http_call_reply(c, 200, "text/plain", S("ok\n"), NULL);
    else
        http_call_reply(c, 503, "text/plain", S("draining\n"), NULL);
}
