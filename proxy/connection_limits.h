/* How many client connections a listener has open, over all workers and by client address. Shared by the
 * workers: one atomic count, and shards with short locks that are only touched where `connections_per_ip` is
 * set. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "core/address.h"

#define IP_SHARDS 16

struct ip_count {
    uint8_t bytes[16];
    uint32_t count; /* 0 = free */
};

struct ip_shard {
    pthread_mutex_t lock;
    struct ip_count *entries;
    uint32_t size, used;
} __attribute__((aligned(64)));

struct connection_limits {
    _Atomic uint64_t open;
    struct ip_shard shards[IP_SHARDS];
};

void connection_limits_init(struct connection_limits *l);
void connection_limits_free(struct connection_limits *l);

/* Counts one in unless that would pass `max` (0 = no limit). */
bool connection_limits_enter(struct connection_limits *l, uint64_t max);
void connection_limits_leave(struct connection_limits *l);

/* Likewise for one address. */
bool connection_limits_enter_ip(struct connection_limits *l, const struct ip *ip, uint64_t max);
void connection_limits_leave_ip(struct connection_limits *l, const struct ip *ip);
