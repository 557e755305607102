/* Trials of a configuration: how a question asks for one, and how an answer shows it. */
#include <math.h>

#include "admin/api_config.h"
#include "config/option.h"

/* Asking. */

static bool wrong(struct http_call *c, const char *key, const char *expected)
{
    char detail[256];
    snprintf(detail, sizeof detail, "\"%s\" must be %s", key, expected);
    api_problem(c, 400, detail, NULL);
    return false;
}

static bool read_duration(const char *text, msec_t *out)
{
    struct config c;
    const struct config_node node = {.kind = NODE_SCALAR, .file = "", .text = slice_text(text)};
    config_init(&c);
    bool good = option_duration(&c, &node, out) == 0;
    config_free(&c);
    return good;
}

/* 5, 5.5, "5" or "5%"; "2" or "2x". */
static bool read_number(const json_t *value, const char *unit, double least, double most, double *out)
{
    double n = json_number_value(value);
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        char *end = NULL;
        n = strtod(text, &end);
        if (end == text || (*end && strcmp(end, unit) != 0))
            return false;
    } else if (!json_is_number(value)) {
        return false;
    }
    if (!isfinite(n) || n < least || n > most)
        return false;
    *out = n;
    return true;
}

static bool read_share(struct http_call *c, const json_t *limits, const char *key, double *out)
{
    const json_t *value = json_object_get(limits, key);
    double percent;
    if (!value)
        return true;
    if (!read_number(value, "%", 0, 100, &percent))
        return wrong(c, key, "a number of percent, from 0 to 100");
    *out = percent / 100;
    return true;
}

static bool read_count(struct http_call *c, const json_t *limits, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(limits, key);
    double n;
    if (!value)
        return true;
    if (!read_number(value, "", 1, 1e12, &n) || n != floor(n))
        return wrong(c, key, "a whole number, at least 1");
    *out = (uint64_t)n;
    return true;
}

static bool read_latency(struct http_call *c, const json_t *limits, struct trial_limits *out)
{
    const json_t *times = json_object_get(limits, "latency"), *least = json_object_get(limits, "latency_ms");
    double ms;
    if (times && !read_number(times, "x", 1, 1e6, &out->latency))
        return wrong(c, "latency", "a number of times, at least 1");
    if (!least)
        return true;
    if (!read_number(least, "ms", 0, 1e9, &ms))
        return wrong(c, "latency_ms", "a number of milliseconds");
    out->latency_least = (msec_t)ms;
    return true;
}

static bool read_limits(struct http_call *c, const json_t *limits, struct trial_limits *out)
{
    static const char *const keys[] = {"errors",   "unhealthy",        "latency", "latency_ms",
                                       "requests", "latency_requests", NULL};
    if (!limits)
        return true;
    if (!json_is_object(limits))
        return wrong(c, "limits", "an object");
    return api_only_keys(c, limits, keys) && read_share(c, limits, "errors", &out->errors) &&
           read_share(c, limits, "unhealthy", &out->unhealthy) && read_latency(c, limits, out) &&
           read_count(c, limits, "requests", &out->requests) &&
           read_count(c, limits, "latency_requests", &out->latency_requests);
}

bool trial_read(struct http_call *c, const json_t *body, struct trial_limits *out, bool *wanted)
{
    const json_t *confirm = json_object_get(body, "confirm"), *limits = json_object_get(body, "limits");
    const char *text = json_string_value(confirm);
    *out = trial_limits_default();
    *wanted = confirm != NULL;
    if (limits && !confirm)
        return wrong(c, "confirm", "there, with \"limits\": they are those of a trial");
    if (confirm && (!text || !read_duration(text, &out->confirm) || out->confirm < TRIAL_CONFIRM_LEAST ||
                    out->confirm > TRIAL_CONFIRM_MOST))
        return wrong(c, "confirm", "a duration from 1s to 1d, written \"60s\"");
    return read_limits(c, limits, out);
}

/* Answering. */

static json_t *period_json(const struct trial_period *p)
{
    return json_pack("{s:f, s:I, s:f, s:f}", "seconds", (double)p->us / 1e6, "requests",
                     (json_int_t)p->requests, "error_percent", trial_error_ratio(p) * 100, "p95_ms",
                     trial_p95(p) / 1000);
}

static json_t *limits_json(const struct trial_limits *l)
{
    return json_pack("{s:f, s:f, s:f, s:I, s:I, s:I}", "errors", l->errors * 100, "unhealthy",
                     l->unhealthy * 100, "latency", l->latency, "latency_ms", (json_int_t)l->latency_least,
                     "requests", (json_int_t)l->requests, "latency_requests",
                     (json_int_t)l->latency_requests);
}

json_t *trial_json(struct admin *a)
{
    struct runtime *rt = a->runtime;
    const struct trial_watch *w = &rt->trial;
    struct trial_period before, now;
    if (!w->on)
        return json_null();
    trial_compare(rt, &before, &now);
    return json_pack("{s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o}", "generation", (json_int_t)w->generation,
                     "falls_back_to", (json_int_t)w->before, "seconds", (double)w->limits.confirm / 1000,
                     "remaining_seconds", (double)trial_left(rt) / 1000, "limits", limits_json(&w->limits),
                     "before", period_json(&before), "now", period_json(&now), "cannot_fall_back",
                     json_slice(slice_text(w->verdict)));
}
