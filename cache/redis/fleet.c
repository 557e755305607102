#include <stdio.h>
#include <stdlib.h>

#include "balancer/resolve.h"
#include "cache/redis/internal.h"
#include "core/log.h"

#define SYNC_MAX    (64u << 20)                /* bytes of a record, at most */
#define MESSAGE_MAX (CACHE_REDIS_TEXT_MAX * 4) /* bytes of a message */

static void ask_name(struct cache_redis_fleet *f, int family);

/* Its making and its end. */

static struct slice copy_text(char **at, struct slice text)
{
    char *begin = *at;
    if (text.len)
        memcpy(begin, text.at, text.len);
    begin[text.len] = '\0';
    *at += text.len + 1;
    return slice_of(begin, text.len);
}

static struct slice join(char **at, struct slice a, const char *b)
{
    struct slice first = copy_text(at, a);
    *at -= 1;
    struct slice second = copy_text(at, slice_text(b));
    return slice_of(first.at, first.len + second.len);
}

static int copy_settings(struct cache_redis_fleet *f, const struct cache_redis_settings *s)
{
    const char *why;
    struct slice host = {NULL, 0};
    size_t size = 2 * s->address.len + s->username.len + s->password.len + 3 * s->prefix.len + 64;
    char *at = f->texts = malloc(size);
    if (!at)
        return -1;
    f->settings = *s;
    f->settings.node = NULL;
    f->settings.address = copy_text(&at, s->address);
    f->settings.username = copy_text(&at, s->username);
    f->settings.password = copy_text(&at, s->password);
    f->settings.prefix = copy_text(&at, s->prefix);
    f->channel = join(&at, s->prefix, REDIS_FORMAT "purge");
    f->purges_key = join(&at, s->prefix, REDIS_FORMAT "purges");
    switch (address_parse(f->settings.address, &f->address, &host, &f->port, &why)) {
    case ADDRESS_BAD:
        return -1;
    case ADDRESS_SOCKET:
        break;
    case ADDRESS_NAME:
        f->address.len = 0;
        f->host = copy_text(&at, host);
        break;
    }
    return 0;
}

/* 1 to `limit`, by the keyed hash of what is never twice the same. */
uint64_t redis_fleet_draw(struct cache_redis_fleet *f, uint64_t limit)
{
    const uint64_t seed[] = {(uintptr_t)f, loop_now_us(f->loop), f->drawn++};
    return 1 + hash_keyed(slice_of((const char *)seed, sizeof seed)) % limit;
}

static void free_fleet(struct cache_redis_fleet *f)
{
    redis_records_free(&f->records);
    pthread_mutex_destroy(&f->lock);
    if (f->texts)
        explicit_bzero(f->texts,
                       f->settings.address.len + f->settings.username.len + f->settings.password.len + 3);
    free(f->texts);
    free(f->counters);
    free(f);
}

void redis_fleet_hold(struct cache_redis_fleet *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void redis_fleet_release(struct cache_redis_fleet *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
        free_fleet(f);
}

static int begin(struct cache_redis_fleet *f, const struct cache_redis_options *o)
{
    f->counters = aligned_alloc(64, o->workers * sizeof *f->counters);
    if (!f->counters || copy_settings(f, o->settings) != 0)
        return -1;
    memset(f->counters, 0, o->workers * sizeof *f->counters);
    redis_link_init(&f->ears, f->loop, &f->settings, &redis_ears_handler, MESSAGE_MAX);
    redis_link_init(&f->mouth, f->loop, &f->settings, &redis_mouth_handler, SYNC_MAX);
    f->mouth.watched = true;
    if (f->host.len == 0)
        return 0;
    f->resolver = resolver_create(f->loop, o->dns_servers, 1000);
    return f->resolver ? 0 : -1;
}

struct cache_redis_fleet *cache_redis_fleet_create(const struct cache_redis_options *o)
{
    struct cache_redis_fleet *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->loop = o->loop;
    f->workers = o->workers;
    f->on_purge = o->on_purge;
    f->argument = o->argument;
    f->node = redis_fleet_draw(f, UINT64_MAX);
    f->heard_us = loop_now_us(f->loop);
    f->created_us = f->heard_us;
    f->letter.deliver = redis_purges_deliver;
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    bool known = redis_records_init(&f->records) == 0;
    task_init(&f->bury);
    timer_init(&f->listen, redis_purges_listen);
    snprintf(f->reason, sizeof f->reason, "not connected yet");
    if (!known || begin(f, o) != 0) {
        free_fleet(f);
        return NULL;
    }
    if (f->resolver) {
        ask_name(f, AF_INET);
    } else {
        redis_link_start(&f->ears);
        redis_link_start(&f->mouth);
    }
    return f;
}

bool cache_redis_fleet_is_of(const struct cache_redis_fleet *f, const struct cache_redis_settings *s)
{
    return cache_redis_settings_equal(&f->settings, s);
}

static void bury(struct task *t)
{
    redis_fleet_release(CONTAINER_OF(t, struct cache_redis_fleet, bury));
}

void cache_redis_fleet_close(struct cache_redis_fleet *f)
{
    if (!f || f->closed)
        return;
    f->closed = true;
    atomic_store_explicit(&f->synced, false, memory_order_release);
    redis_link_close(&f->ears);
    redis_link_close(&f->mouth);
    loop_timer_clear(f->loop, &f->listen);
    resolve_cancel(f->query);
    if (f->resolver)
        resolver_free(f->resolver);
    f->resolver = NULL;
    loop_bury(f->loop, &f->bury, bury);
}

/* Where it is. */

bool redis_fleet_address(struct cache_redis_fleet *f, struct address *out)
{
    pthread_mutex_lock(&f->lock);
    *out = f->address;
    pthread_mutex_unlock(&f->lock);
    return out->len != 0;
}

static void on_resolved(struct cache_redis_fleet *f, const struct resolve_result *r, int family)
{
    f->query = NULL;
    if (!r->count && family == AF_INET) {
        ask_name(f, AF_INET6);
        return;
    }
    if (r->count) {
        pthread_mutex_lock(&f->lock);
        f->address = r->records[0].address;
        address_set_port(&f->address, f->port);
        pthread_mutex_unlock(&f->lock);
    }
    redis_link_start(&f->ears); /* without an address: for its pauses */
    redis_link_start(&f->mouth);
}

static void on_v4(void *argument, const struct resolve_result *r)
{
    on_resolved(argument, r, AF_INET);
}

static void on_v6(void *argument, const struct resolve_result *r)
{
    on_resolved(argument, r, AF_INET6);
}

static void ask_name(struct cache_redis_fleet *f, int family)
{
    if (f->resolver && !f->query)
        f->query =
            resolver_ask_addresses(f->resolver, f->host.at, family, family == AF_INET ? on_v4 : on_v6, f);
}

/* Used or not. */

void redis_fleet_trouble(struct cache_redis_fleet *f, const char *reason)
{
    snprintf(f->reason, sizeof f->reason, "%s", reason);
    if (!f->troubled)
        log_warn("redis is not used", LOG_SLICE("address", f->settings.address),
                 LOG_TEXT("reason", f->reason));
    f->troubled = true;
    ask_name(f, AF_INET);
}

void redis_fleet_set_synced(struct cache_redis_fleet *f, bool synced)
{
    bool before = atomic_exchange_explicit(&f->synced, synced, memory_order_acq_rel);
    if (!synced || before)
        return;
    log_info("redis is used", LOG_SLICE("address", f->settings.address));
    f->troubled = false;
    f->reason[0] = '\0';
}

struct cache_redis_stamp cache_redis_now(struct cache_redis_fleet *f)
{
    return redis_records_now(&f->records);
}

/* Figures. */

void cache_redis_stats(struct cache_redis_fleet *f, struct cache_redis_stats *out)
{
    struct cache_redis_stamp now = redis_records_now(&f->records);
    *out = (struct cache_redis_stats){.synced = redis_fleet_synced(f),
                                      .epoch = now.epoch,
                                      .purges = now.number,
                                      .purges_waiting = redis_records_own_count(&f->records)};
    for (unsigned i = 0; i < f->workers; i++) {
        const struct redis_counters *c = &f->counters[i];
        out->hits += counter_get(&c->hits);
        out->misses += counter_get(&c->misses);
        out->purged += counter_get(&c->purged);
        out->unreadable += counter_get(&c->unreadable);
        out->timeouts += counter_get(&c->timeouts);
        out->errors += counter_get(&c->errors);
        out->skipped += counter_get(&c->skipped);
        out->puts += counter_get(&c->puts);
        out->put_bytes += counter_get(&c->put_bytes);
        out->dropped += counter_get(&c->dropped);
        out->put_errors += counter_get(&c->put_errors);
        out->trips += counter_get(&c->trips);
        out->workers_up += atomic_load_explicit(&c->up, memory_order_relaxed);
    }
}

const char *cache_redis_reason(const struct cache_redis_fleet *f)
{
    return f->reason;
}
