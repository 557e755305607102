/* The cache, and its second tier where there is one. */
#include "admin/api_cache.h"
#include "admin/metrics.h"
#include "cache/redis.h"
#include "cache/store.h"

struct word_count {
    const char *word;
    uint64_t count;
};

static void by_word(struct metrics_writer *w, const char *name, const char *help, const char *label,
                    const struct word_count *words, size_t count)
{
    metrics_family(w, METRICS_COUNTER, name, help);
    for (size_t i = 0; i < count; i++) {
        size_t none = metrics_label(w, label, slice_text(words[i].word));
        metrics_count(w, name, words[i].count);
        metrics_cut(w, none);
    }
}

static void results(struct metrics_run *r)
{
    uint64_t counts[CACHE_RESULTS];
    cache_count_results(r->runtime, counts);
    metrics_family(&r->w, METRICS_COUNTER, "cache_requests_total",
                   "Finished requests of routes with a cache, by what the cache did.");
    for (unsigned i = CACHE_RESULT_NONE + 1; i < CACHE_RESULTS; i++) {
        size_t none = metrics_label(&r->w, "result", cache_result_name((enum cache_result)i));
        metrics_count(&r->w, "cache_requests_total", counts[i]);
        metrics_cut(&r->w, none);
    }
}

static void redis(struct metrics_writer *w, struct cache_redis_fleet *fleet)
{
    struct cache_redis_stats s;
    cache_redis_stats(fleet, &s);
    uint64_t of_misses = s.purged + s.unreadable;
    const struct word_count lookups[] = {
        {"hit", s.hits},         {"miss", s.misses > of_misses ? s.misses - of_misses : 0},
        {"purged", s.purged},    {"unreadable", s.unreadable},
        {"timeout", s.timeouts}, {"skipped", s.skipped},
    };
    by_word(w, "cache_redis_lookups_total",
            "Look-ups in Redis; skipped: not made, because Redis was away, slow or too busy.", "result",
            lookups, COUNT_OF(lookups));
    metrics_single(w, METRICS_GAUGE, "cache_redis_workers_up", "Workers that use Redis now.", s.workers_up);
    metrics_single(w, METRICS_GAUGE, "cache_redis_synced", "1 while the fleet's purges are heard.", s.synced);
    metrics_single(w, METRICS_COUNTER, "cache_redis_errors_total",
                   "Connections to Redis that broke, answers that were errors.", (double)s.errors);
    metrics_single(w, METRICS_COUNTER, "cache_redis_trips_total", "Times that a worker stopped using Redis.",
                   (double)s.trips);
    metrics_single(w, METRICS_COUNTER, "cache_redis_writes_total", "Responses written to Redis.",
                   (double)s.puts);
    metrics_single(w, METRICS_COUNTER, "cache_redis_writes_dropped_total", "Responses that were not.",
                   (double)s.dropped);
    metrics_single(w, METRICS_GAUGE, "cache_redis_purges_waiting", "Purges that Redis has not taken yet.",
                   (double)s.purges_waiting);
}

bool metrics_cache(struct metrics_run *r)
{
    struct metrics_writer *w = &r->w;
    struct cache_stats s;
    cache_store_stats(r->runtime->cache, &s);
    results(r);
    metrics_single(w, METRICS_GAUGE, "cache_bytes", "Memory that the cache takes, everything counted.",
                   (double)s.bytes);
    metrics_single(w, METRICS_GAUGE, "cache_limit_bytes", "Memory that it may take.", (double)s.memory);
    metrics_single(w, METRICS_GAUGE, "cache_objects", "Stored responses.", (double)s.objects);
    metrics_single(w, METRICS_GAUGE, "cache_fills", "Fetches for the cache that are under way.",
                   (double)s.fills);
    metrics_single(w, METRICS_COUNTER, "cache_insertions_total", "Responses that were stored.",
                   (double)s.insertions);
    metrics_single(w, METRICS_COUNTER, "cache_evictions_total",
                   "Stored responses that went for want of memory.", (double)s.evictions);
    metrics_single(w, METRICS_COUNTER, "cache_purges_total", "Purges that were asked for.", (double)s.purges);
    metrics_single(w, METRICS_COUNTER, "cache_purged_total", "Stored responses that went by a purge.",
                   (double)s.purged);
    const struct word_count rejected[] = {
        {"size", s.rejected_size}, {"first", s.rejected_first}, {"memory", s.rejected_memory}};
    by_word(
        w, "cache_rejected_total",
        "Responses that were not stored: too large (size), large and asked for once (first), no memory to be "
        "had (memory).",
        "reason", rejected, COUNT_OF(rejected));
    if (r->runtime->redis)
        redis(w, r->runtime->redis);
    return false;
}
