/* The options of the block `cache:` at the top of the file: the store. */
#pragma once

#include "config/option.h"

enum cache_policy_kind { CACHE_POLICY_LRU, CACHE_POLICY_S3FIFO };

struct cache_redis_settings;

struct cache_settings {
    const struct config_node *node;     /* NULL = not in the file: the defaults */
    uint64_t memory;                    /* bytes */
    int policy;                         /* enum cache_policy_kind */
    uint64_t max_object;                /* bytes of a body */
    struct cache_redis_settings *redis; /* NULL = none */
};

extern const struct option_table cache_table;
