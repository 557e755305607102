#include "cache/redis.h"
#include "cache/redis/reader.h"

static void check(struct config *c, const struct config_node *node, void *object);

static const struct option redis_options[] = {
    OPTION_AT(struct cache_redis_settings, address, "address", OPTION_TEXT,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY,
              .help = "Where it listens: `127.0.0.1:6379`, `cache.internal:6379`, or `unix:/run/redis.sock`. "
                      "Not encrypted: a private "
                      "network, or a tunnel."),
    OPTION_AT(struct cache_redis_settings, username, "username", OPTION_TEXT,
              .help = "For AUTH, with a `password`."),
    OPTION_AT(struct cache_redis_settings, password, "password", OPTION_TEXT, .flags = OPTION_FLAG_SECRET,
              .help = "For AUTH. `${NAME}` keeps it out of the file."),
    OPTION_AT(struct cache_redis_settings, database, "database", OPTION_COUNT, .fallback = "0", .max = 65535,
              .help = "For SELECT."),
    OPTION_AT(struct cache_redis_settings, prefix, "prefix", OPTION_TEXT,
              .fallback = "weir:", .flags = OPTION_FLAG_NONEMPTY,
              .help =
                  "What all its keys and its channel begin with: one for each fleet that shares a Redis."),
    OPTION_AT(struct cache_redis_settings, deadline, "deadline", OPTION_DURATION, .fallback = "5ms", .min = 1,
              .max = 10000,
              .help = "How long a look-up may take; then the origin is asked. After five in a row it is left "
                      "alone for a while."),
    OPTION_AT(struct cache_redis_settings, connect, "connect", OPTION_DURATION, .fallback = "1s", .min = 10,
              .max = 60000, .help = "How long until a connection can be used. Nobody waits for it."),
    OPTION_AT(struct cache_redis_settings, retry, "retry", OPTION_DURATION, .fallback = "1s", .min = 10,
              .max = 60000,
              .help = "How long it is left alone after a failure: twice as long after each one in a row, "
                      "thirty times at most."),
    OPTION_AT(struct cache_redis_settings, ttl, "ttl", OPTION_DURATION, .fallback = "1d", .min = 1000,
              .max = 2592000000.0, .help = "The longest that a response stays in it."),
    OPTION_AT(struct cache_redis_settings, max_object, "max_object", OPTION_SIZE, .fallback = "1MiB",
              .min = 1024, .max = 67108864, .help = "Larger responses stay out of it."),
    OPTION_AT(
        struct cache_redis_settings, queue, "queue", OPTION_SIZE, .fallback = "8MiB", .min = 65536,
        .max = 1073741824,
        .help =
            "Of each worker, what is to be written and was not taken yet; what would be more is dropped."),
};

const struct option_table cache_redis_table = {
    .name = "cache.redis",
    .help = "A second tier behind the memory, shared by a fleet. Without it nothing but weir is needed.",
    .options = redis_options,
    .count = COUNT_OF(redis_options),
    .size = sizeof(struct cache_redis_settings),
    .has_node = true,
    .node_offset = offsetof(struct cache_redis_settings, node),
    .check = check,
};

static void check(struct config *c, const struct config_node *node, void *object)
{
    const struct cache_redis_settings *s = object;
    struct address address;
    struct slice host;
    uint16_t port;
    const char *why;
    if (!redis_reader_is_built()) {
        config_fault(c, node, "this build of weir has no Redis: libhiredis was not there when it was made");
        return;
    }
    enum address_kind kind =
        s->address.len ? address_parse(s->address, &address, &host, &port, &why) : ADDRESS_SOCKET;
    if (kind == ADDRESS_BAD)
        config_fault(c, node, "\"address\": %s", why);
    else if (kind == ADDRESS_SOCKET && s->address.len && (s->address.at[0] == ':' || s->address.at[0] == '*'))
        config_fault(c, node, "\"address\": expected a host before the port");
    if (s->username.len && !s->password.len)
        config_fault(c, node, "\"username\" needs a \"password\"");
    if (s->prefix.len > 128)
        config_fault(c, node, "\"prefix\": expected at most 128 bytes");
    if (s->max_object > s->queue)
        config_fault(c, node, "\"queue\" is smaller than \"max_object\": no such response could be written");
}

bool cache_redis_settings_equal(const struct cache_redis_settings *a, const struct cache_redis_settings *b)
{
    return slice_equal(a->address, b->address) && slice_equal(a->username, b->username) &&
           slice_equal(a->password, b->password) && a->database == b->database &&
           slice_equal(a->prefix, b->prefix) && a->deadline == b->deadline && a->connect == b->connect &&
           a->retry == b->retry && a->ttl == b->ttl && a->max_object == b->max_object && a->queue == b->queue;
}
