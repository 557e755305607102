#include "cache/settings.h"

#include "cache/redis.h"

static const char *const policies[] = {"lru", "s3fifo", NULL};

static const struct option cache_options[] = {
    OPTION_AT(struct cache_settings, memory, "memory", OPTION_SIZE, .fallback = "256MiB", .min = 1 << 20,
              .help = "Bytes that the cache may take, everything counted: bodies, heads, keys, the index and "
                      "what the heap adds. Taken as objects come, and never passed."),
    OPTION_AT(struct cache_settings, policy, "policy", OPTION_ENUM, .choices = policies, .fallback = "lru",
              .help = "What goes when room is needed: what was not used for longest, or S3-FIFO, which lets "
                      "what is asked for once pass without pushing out what is asked for often."),
    OPTION_AT(struct cache_settings, max_object, "max_object", OPTION_SIZE, .fallback = "8MiB", .min = 1,
              .help = "Bytes of a body that is stored, at most; a longer one is passed on and not stored. "
                      "Absent: no more than half of `memory`."),
    OPTION_AT(struct cache_settings, redis, "redis", OPTION_BLOCK_IF, .table = &cache_redis_table,
              .help = "A second tier in Redis, which the proxies of a fleet share."),
};

static void check_sizes(struct config *c, const struct config_node *node, void *object)
{
    struct cache_settings *s = object;
    const struct config_node *given = config_get(node, "max_object");
    if (!given || given->kind == NODE_NULL) {
        if (s->max_object > s->memory / 2)
            s->max_object = s->memory / 2;
    } else if (s->max_object > s->memory) {
        config_fault(c, given, "an object of %llu bytes has no room in a memory of %llu",
                     (unsigned long long)s->max_object, (unsigned long long)s->memory);
    } else if (s->max_object > s->memory / 2) {
        config_warn(c, given, "is more than half of the memory: one object pushes out most of the others");
    }
}

const struct option_table cache_table = {
    .name = "cache",
    .help =
        "The store of cached responses, one for all routes. A route's `cache` turns it on there. A reload "
        "keeps what is stored; a restart begins with nothing.",
    .options = cache_options,
    .count = COUNT_OF(cache_options),
    .size = sizeof(struct cache_settings),
    .has_node = true,
    .node_offset = offsetof(struct cache_settings, node),
    .check = check_sizes,
};
