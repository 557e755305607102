/* The cache: what it holds and how it does; purging. */
#include "admin/api_cache.h"
#include "admin/cache_urls.h"
#include "admin/internal.h"
#include "cache/redis.h"
#include "cache/shadow.h"
#include "cache/store.h"
#include "proxy/http/route.h"

/* How it does. */

void cache_count_results(const struct runtime *rt, uint64_t out[CACHE_RESULTS])
{
    memset(out, 0, CACHE_RESULTS * sizeof *out);
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next)
        for (unsigned w = 0; w < rt->worker_count; w++)
            for (unsigned i = 0; i < CACHE_RESULTS; i++)
                out[i] += counter_get(&l->worker[w]->cache[i]);
}

static size_t count_routes(const struct snapshot *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->route_count; i++)
        count += s->routes[i].cache != NULL;
    return count;
}

/* Of what was looked up, the share that no client waited for the origin for; null when there was nothing. */
static json_t *hit_ratio(const uint64_t results[CACHE_RESULTS])
{
    uint64_t hits = results[CACHE_RESULT_HIT] + results[CACHE_RESULT_STALE];
    uint64_t all = hits + results[CACHE_RESULT_MISS] + results[CACHE_RESULT_REVALIDATED];
    return all ? json_real((double)hits / (double)all) : json_null();
}

static json_t *results_json(const uint64_t results[CACHE_RESULTS])
{
    json_t *out = json_object();
    for (unsigned i = CACHE_RESULT_NONE + 1; out && i < CACHE_RESULTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", SLICE_FMT(cache_result_name((enum cache_result)i)));
        json_object_set_new(out, name, json_integer((json_int_t)results[i]));
    }
    return out;
}

static json_t *figures_json(const struct cache_shadow_figures *f)
{
    if (f->sampled == 0)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "requests", f->requests, "hit_ratio", f->hit_ratio,
                     "other_hit_ratio", f->other_hit_ratio, "double_hit_ratio", f->double_hit_ratio,
                     "other_points", f->other_points, "double_points", f->double_points);
}

/* What another policy or more memory would bring; "advice" is that in words, null when there is none yet. */
static json_t *shadow_json(struct runtime *rt, json_t **advice)
{
    struct cache_shadow *shadow = cache_store_shadow(rt->cache);
    struct cache_shadow_report r;
    char text[CACHE_SHADOW_ADVICE_MAX];
    *advice = json_null();
    if (!shadow)
        return json_null();
    cache_shadow_report(shadow, loop_now(&rt->control), &r);
    size_t len = cache_shadow_advice(&r, text);
    if (len)
        *advice = json_stringn(text, len);
    return json_pack("{s:s, s:s, s:s, s:I, s:f, s:o, s:o}", "standing",
                     cache_shadow_standing_name(r.standing), "policy", r.policy, "other_policy",
                     r.other_policy, "memory", (json_int_t)r.memory, "sample", r.sample, "hour",
                     figures_json(&r.hour), "total", figures_json(&r.total));
}

/* The second tier; null without one. */
static json_t *redis_json(const struct runtime *rt)
{
    struct cache_redis_stats s;
    const struct cache_redis_settings *settings = rt->snapshot->settings.cache.redis;
    if (!rt->redis || !settings)
        return json_null();
    cache_redis_stats(rt->redis, &s);
    const char *reason = cache_redis_reason(rt->redis);
    return json_pack(
        "{s:o, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", //
        "address", json_slice(settings->address), "state", reason[0] ? "away" : "up", "reason", reason,
        "workers_up", (int)s.workers_up, "synced", s.synced, "hits", (json_int_t)s.hits, "misses",
        (json_int_t)s.misses, "purged", (json_int_t)s.purged, "unreadable", (json_int_t)s.unreadable,
        "timeouts", (json_int_t)s.timeouts, "errors", (json_int_t)s.errors, "skipped", (json_int_t)s.skipped,
        "puts", (json_int_t)s.puts, "put_bytes", (json_int_t)s.put_bytes, "dropped", (json_int_t)s.dropped,
        "trips", (json_int_t)s.trips, "purges_waiting", (json_int_t)s.purges_waiting);
}

json_t *cache_json(struct admin *a)
{
    struct runtime *rt = a->runtime;
    struct cache_stats s;
    uint64_t results[CACHE_RESULTS];
    json_t *advice;
    cache_store_stats(rt->cache, &s);
    cache_count_results(rt, results);
    json_t *shadow = shadow_json(rt, &advice);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:{s:I, s:I, s:I}, s:I, s:I, s:I, s:o, s:o, "
                     "s:o, s:o, s:o}", //
                     "routes", (json_int_t)count_routes(rt->snapshot), "memory", (json_int_t)s.memory,
                     "bytes", (json_int_t)s.bytes, "objects", (json_int_t)s.objects, "max_object",
                     (json_int_t)cache_store_max_object(rt->cache), "policy", s.policy, "evictions",
                     (json_int_t)s.evictions, "insertions", (json_int_t)s.insertions, "rejected", "size",
                     (json_int_t)s.rejected_size, "first", (json_int_t)s.rejected_first, "memory",
                     (json_int_t)s.rejected_memory, "purges", (json_int_t)s.purges, "purged",
                     (json_int_t)s.purged, "fills", (json_int_t)s.fills, "requests", results_json(results),
                     "hit_ratio", hit_ratio(results), "advice", advice, "shadow", shadow, "redis",
                     redis_json(rt));
}

void api_cache(struct http_call *c)
{
    api_reply(c, 200, cache_json(admin_of(c)));
}

/* Purging. */

static const char *const purge_keys[] = {"url", "prefix", "tag", "all", "soft", NULL};

/* The one key of the body that says what; NULL after a 400. */
static const char *what_of(struct http_call *c, const json_t *body)
{
    const char *what = NULL;
    for (size_t i = 0; i < 4; i++) {
        if (!json_object_get(body, purge_keys[i]))
            continue;
        if (what) {
            api_problem(c, 400, "one of \"url\", \"prefix\", \"tag\" and \"all\" at a time", NULL);
            return NULL;
        }
        what = purge_keys[i];
    }
    if (!what)
        api_problem(c, 400,
                    "say what: {\"url\": \"https://example.com/a\"}, {\"prefix\": …}, {\"tag\": …} or "
                    "{\"all\": true}",
                    NULL);
    return what;
}

static void answer_purged(struct http_call *c, const char *what, struct slice text, bool soft)
{
    char notice[160];
    bool is_all = strcmp(what, "all") == 0;
    snprintf(notice, sizeof notice, "%s%s %.*s", soft ? "made stale: " : "", what,
             (int)(text.len > 100 ? 100 : text.len), text.len ? text.at : "");
    events_notice(admin_of(c), "purge", notice);
    log_info("purged", LOG_TEXT("what", what), LOG_SLICE("text", text),
             LOG_TEXT("soft", soft ? "true" : "false"));
    api_reply(
        c, 200,
        json_pack("{s:{s:o}, s:b}", "purged", what, is_all ? json_true() : json_slice(text), "soft", soft));
}

static int purge_urls(struct http_call *c, struct slice url, bool is_prefix, bool soft, struct slice *shown)
{
    struct runtime *rt = admin_of(c)->runtime;
    struct cache_urls urls;
    const char *why;
    if (cache_urls_read(rt->snapshot, url, is_prefix, &c->arena, &urls, &why) != 0) {
        api_problem(c, 400, why, NULL);
        return -1;
    }
    int rc = 0;
    for (size_t i = 0; i < urls.count; i++)
        rc |= runtime_purge(rt, is_prefix ? CACHE_PURGE_PREFIX : CACHE_PURGE_URL, urls.at[i], soft);
    *shown = urls.at[0];
    if (rc)
        api_problem(c, 503, "out of memory: everything that is stored was purged", NULL);
    return rc;
}

static void purge(struct http_call *c, const json_t *body, const char *what)
{
    struct runtime *rt = admin_of(c)->runtime;
    const json_t *value = json_object_get(body, what), *soft_value = json_object_get(body, "soft");
    struct slice text = slice_of(json_string_value(value), json_string_length(value));
    bool soft = json_is_true(soft_value);
    if (soft_value && !json_is_boolean(soft_value)) {
        api_problem(c, 400, "\"soft\" must be true or false", NULL);
    } else if (strcmp(what, "all") == 0) {
        if (!json_is_true(value)) {
            api_problem(c, 400, "\"all\" must be true", NULL);
            return;
        }
        runtime_purge(rt, CACHE_PURGE_ALL, S(""), soft);
        answer_purged(c, what, S(""), soft);
    } else if (!text.len) {
        char detail[80];
        snprintf(detail, sizeof detail, "\"%s\" must be a text that is not empty", what);
        api_problem(c, 400, detail, NULL);
    } else if (strcmp(what, "tag") == 0) {
        if (!is_field_value(text) || memchr(text.at, ' ', text.len) || memchr(text.at, ',', text.len)) {
            api_problem(c, 400, "a tag has no spaces, commas or control characters", NULL);
            return;
        }
        runtime_purge(rt, CACHE_PURGE_TAG, text, soft);
        answer_purged(c, what, text, soft);
    } else if (purge_urls(c, text, strcmp(what, "prefix") == 0, soft, &text) == 0) {
        answer_purged(c, what, text, soft);
    }
}

void api_purge(struct http_call *c)
{
    json_t *body = api_body(c);
    if (body && api_only_keys(c, body, purge_keys)) {
        const char *what = what_of(c, body);
        if (what)
            purge(c, body, what);
    }
    json_decref(body);
}
