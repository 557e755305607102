#include <stdio.h>
#include <stdlib.h>

#include "cache/redis/internal.h"
#include "core/log.h"

#define BAD_MAX    5u          /* failed look-ups, or writes, in a row: it is left alone */
#define ANSWER_MAX (64u << 10) /* bytes of an answer to a write */
#define PLACE_MAX  (128u + sizeof REDIS_FORMAT + REDIS_FRAME_KEY_HEX)

static const struct redis_link_handler reads_handler, writes_handler;

static void on_deadline(evutil_socket_t fd, short what, void *argument);

/* Whatever stands before the content of a value that may be found. */
static size_t value_max(const struct cache_redis_settings *s)
{
    return (size_t)s->max_object + REDIS_FRAME_HEAD_MAX;
}

struct cache_redis *cache_redis_create(struct cache_redis_fleet *f, struct loop *l, unsigned worker)
{
    struct cache_redis *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    ASSERT(worker < f->workers);
    redis_fleet_hold(f);
    r->fleet = f;
    r->counters = &f->counters[worker];
    r->loop = l;
    list_init(&r->calls);
    list_init(&r->ending);
    task_init(&r->task);
    task_init(&r->bury);
    evtimer_assign(&r->deadline, l->base, on_deadline, r);
    redis_link_init(&r->reads, l, &f->settings, &reads_handler, value_max(&f->settings) + ANSWER_MAX);
    redis_link_init(&r->writes, l, &f->settings, &writes_handler, ANSWER_MAX);
    r->reads.greet_max = f->settings.deadline;
    r->writes.watched = true;
    return r;
}

struct cache_redis_fleet *cache_redis_fleet_of(const struct cache_redis *r)
{
    return r->fleet;
}

/* The end of a call. */

static void finish(struct cache_redis_call *c, enum cache_redis_result result, struct slice content)
{
    list_remove(&c->link);
    c->tier = NULL;
    c->done(c, result, content);
}

static void give_up(struct cache_redis_call *c)
{
    finish(c, CACHE_REDIS_UNAVAILABLE, slice_of(NULL, 0));
}

void cache_redis_cancel(struct cache_redis_call *c)
{
    struct cache_redis *r = c->tier;
    if (!r)
        return;
    list_remove(&c->link);
    c->tier = NULL;
    if (!r->closed)
        redis_link_forget(&r->reads, c->ticket);
}

static void free_tier(struct task *t)
{
    struct cache_redis *r = CONTAINER_OF(t, struct cache_redis, bury);
    redis_fleet_release(r->fleet);
    free(r);
}

static void end_calls(struct task *t)
{
    struct cache_redis *r = CONTAINER_OF(t, struct cache_redis, task);
    while (!list_empty(&r->ending))
        give_up(CONTAINER_OF(r->ending.next, struct cache_redis_call, link));
    loop_bury(r->loop, &r->bury, free_tier);
}

void cache_redis_close(struct cache_redis *r)
{
    if (!r || r->closed)
        return;
    r->closed = true;
    event_del(&r->deadline);
    redis_link_close(&r->reads);
    redis_link_close(&r->writes);
    atomic_store_explicit(&r->counters->up, false, memory_order_relaxed);
    list_splice(&r->ending, &r->calls);
    loop_defer(r->loop, &r->task, end_calls);
}

/* Looking up. */

static size_t write_place(const struct cache_redis *r, struct slice key, char out[PLACE_MAX])
{
    struct slice prefix = r->fleet->settings.prefix;
    size_t len = prefix.len;
    if (prefix.len > 128)
        return 0;
    memcpy(out, prefix.at, prefix.len);
    memcpy(out + len, REDIS_FORMAT, sizeof REDIS_FORMAT - 1);
    len += sizeof REDIS_FORMAT - 1;
    return redis_frame_place(key, out + len) == 0 ? len + REDIS_FRAME_KEY_HEX : 0;
}

static void arm(struct cache_redis *r)
{
    if (r->armed || list_empty(&r->calls))
        return;
    usec_t now = loop_now_us(r->loop);
    usec_t at = CONTAINER_OF(r->calls.next, struct cache_redis_call, link)->deadline_us;
    usec_t left = at > now ? at - now : 1;
    struct timeval tv = {.tv_sec = (time_t)(left / 1000000), .tv_usec = (suseconds_t)(left % 1000000)};
    r->armed = event_add(&r->deadline, &tv) == 0;
}

bool cache_redis_get(struct cache_redis *r, struct slice key, struct cache_redis_call *c)
{
    char place[PLACE_MAX], last[24];
    size_t len;
    if (r->closed || !redis_fleet_synced(r->fleet) || r->reads.state != REDIS_LINK_UP ||
        redis_link_pending(&r->reads) >= CACHE_REDIS_CALLS_MAX || key.len > CACHE_REDIS_TEXT_MAX ||
        (len = write_place(r, key, place)) == 0) {
        counter_add(&r->counters->skipped, 1);
        if (!r->closed && redis_fleet_synced(r->fleet))
            redis_link_start(&r->reads);
        return false;
    }
    int digits = snprintf(last, sizeof last, "%zu", value_max(&r->fleet->settings) - 1);
    struct slice arguments[] = {S("GETRANGE"), slice_of(place, len), S("0"), slice_of(last, (size_t)digits)};
    if (redis_link_send(&r->reads, arguments, 4, NULL, 0, c) != 0) {
        counter_add(&r->counters->skipped, 1);
        return false;
    }
    c->tier = r;
    c->key = key;
    c->ticket = redis_link_ticket(&r->reads);
    c->deadline_us = loop_now_us(r->loop) + r->fleet->settings.deadline * 1000;
    list_append(&r->calls, &c->link);
    arm(r);
    return true;
}

static void on_deadline(evutil_socket_t fd, short what, void *argument)
{
    struct cache_redis *r = argument;
    (void)fd;
    (void)what;
    r->armed = false;
    usec_t now = loop_now_us(r->loop);
    while (!r->closed && !list_empty(&r->calls)) {
        struct cache_redis_call *c = CONTAINER_OF(r->calls.next, struct cache_redis_call, link);
        if (c->deadline_us > now)
            break;
        counter_add(&r->counters->timeouts, 1);
        r->bad_reads++;
        redis_link_forget(&r->reads, c->ticket);
        give_up(c);
    }
    if (r->closed)
        return;
    if (r->bad_reads >= BAD_MAX)
        redis_link_fail(&r->reads, "it answers too slowly");
    if (!r->closed)
        arm(r);
}

/* What a value is worth for the call. */
static enum cache_redis_result judge(struct cache_redis *r, struct slice value, struct slice key,
                                     struct slice *content)
{
    struct redis_frame frame;
    if (redis_frame_read(value, key, &frame) != 0) {
        counter_add(&r->counters->unreadable, 1);
        return CACHE_REDIS_ABSENT;
    }
    if (!redis_fleet_synced(r->fleet))
        return CACHE_REDIS_UNAVAILABLE;
    enum redis_verdict verdict = redis_records_judge(&r->fleet->records, &frame);
    if (verdict == REDIS_PURGED) {
        counter_add(&r->counters->purged, 1);
        return CACHE_REDIS_ABSENT;
    }
    *content = frame.content;
    return verdict == REDIS_SOFTLY_PURGED ? CACHE_REDIS_STALE : CACHE_REDIS_FOUND;
}

static struct cache_redis *of_reads(struct redis_link *l)
{
    return CONTAINER_OF(l, struct cache_redis, reads);
}

static void count_good_read(struct cache_redis *r)
{
    r->bad_reads = 0;
    redis_link_good(&r->reads);
}

static void reads_reply(struct redis_link *l, void *about, const struct redis_reply *reply)
{
    struct cache_redis *r = of_reads(l);
    struct cache_redis_call *c = about;
    struct slice content = {NULL, 0};
    enum cache_redis_result result = CACHE_REDIS_ABSENT;
    if (!c)
        return; /* too late, or cancelled */
    ASSERT(c->tier == r);
    if (reply->kind == REDIS_TEXT && reply->text.len) {
        result = judge(r, reply->text, c->key, &content);
    } else if (reply->kind == REDIS_FAULT && slice_begins(reply->text, S("WRONGTYPE"))) {
        counter_add(&r->counters->unreadable, 1);
    } else if (reply->kind != REDIS_TEXT) {
        counter_add(&r->counters->errors, 1);
        bool is_last = ++r->bad_reads >= BAD_MAX;
        give_up(c);
        if (is_last && !r->closed)
            redis_link_fail(l, "it answers with errors");
        return;
    }
    count_good_read(r);
    if (result != CACHE_REDIS_UNAVAILABLE)
        counter_add(result == CACHE_REDIS_ABSENT ? &r->counters->misses : &r->counters->hits, 1);
    finish(c, result, content);
}

static bool reads_target(struct redis_link *l, struct address *out)
{
    return redis_fleet_address(of_reads(l)->fleet, out);
}

static void reads_up(struct redis_link *l)
{
    struct cache_redis *r = of_reads(l);
    r->bad_reads = 0;
    atomic_store_explicit(&r->counters->up, true, memory_order_relaxed);
}

static void reads_lost(struct redis_link *l, void *about)
{
    (void)l;
    give_up(about);
}

static void reads_down(struct redis_link *l, const char *reason)
{
    struct cache_redis *r = of_reads(l);
    counter_add(&r->counters->errors, 1);
    if (!atomic_exchange_explicit(&r->counters->up, false, memory_order_relaxed))
        return;
    counter_add(&r->counters->trips, 1);
    log_warn("redis is left alone for a while", LOG_SLICE("address", r->fleet->settings.address),
             LOG_TEXT("reason", reason), LOG_U64("worker", r->loop->index));
}

static const struct redis_link_handler reads_handler = {reads_target, reads_up, reads_reply, reads_lost,
                                                        reads_down};

/* Writing. */

static struct cache_redis *of_writes(struct redis_link *l)
{
    return CONTAINER_OF(l, struct cache_redis, writes);
}

/* Bytes of the content, or -1 when this value is not to be written. */
static ssize_t admitted(const struct cache_redis *r, const struct cache_redis_value *v)
{
    const struct cache_redis_settings *s = &r->fleet->settings;
    size_t bytes = 0;
    if (v->count < 0 || v->count > CACHE_REDIS_IOV_MAX || v->ttl == 0 || v->stamp.epoch == 0 ||
        v->stamp.epoch != redis_records_now(&r->fleet->records).epoch)
        return -1;
    for (int i = 0; i < v->count; i++)
        bytes += v->content[i].iov_len;
    if (bytes > s->max_object || conn_backlog(&r->writes.conn) + bytes > s->queue)
        return -1;
    return (ssize_t)bytes;
}

static bool put(struct cache_redis *r, const struct cache_redis_value *v)
{
    char place[PLACE_MAX], ttl[24];
    struct iovec body[CACHE_REDIS_IOV_MAX + 1];
    if (r->closed || !redis_fleet_synced(r->fleet))
        return false;
    redis_link_start(&r->writes);
    if (r->writes.state != REDIS_LINK_UP)
        return false;
    ssize_t bytes = admitted(r, v);
    if (bytes < 0)
        return false;
    size_t len = write_place(r, v->key, place);
    size_t head = len ? redis_frame_write(v, r->loop->scratch, REDIS_FRAME_HEAD_MAX) : 0;
    if (!head)
        return false;
    uint64_t longest = r->fleet->settings.ttl / 1000;
    int digits = snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)(v->ttl < longest ? v->ttl : longest));
    body[0] = (struct iovec){r->loop->scratch, head};
    if (v->count)
        memcpy(body + 1, v->content, (size_t)v->count * sizeof *body);
    struct slice arguments[] = {S("SETEX"), slice_of(place, len), slice_of(ttl, (size_t)digits)};
    if (redis_link_send(&r->writes, arguments, 3, body, v->count + 1, r) != 0)
        return false;
    counter_add(&r->counters->put_bytes, head + (size_t)bytes);
    return true;
}

bool cache_redis_put(struct cache_redis *r, const struct cache_redis_value *v)
{
    bool done = put(r, v);
    counter_add(done ? &r->counters->puts : &r->counters->dropped, 1);
    return done;
}

static bool writes_target(struct redis_link *l, struct address *out)
{
    return redis_fleet_address(of_writes(l)->fleet, out);
}

static void writes_up(struct redis_link *l)
{
    of_writes(l)->bad_writes = 0;
}

static void writes_reply(struct redis_link *l, void *about, const struct redis_reply *reply)
{
    struct cache_redis *r = of_writes(l);
    (void)about;
    if (reply->kind != REDIS_FAULT) {
        r->bad_writes = 0;
        redis_link_good(l);
        return;
    }
    counter_add(&r->counters->put_errors, 1);
    if (++r->bad_writes >= BAD_MAX)
        redis_link_fail(l, "it refuses to write");
}

static void writes_lost(struct redis_link *l, void *about)
{
    (void)about;
    counter_add(&of_writes(l)->counters->put_errors, 1);
}

static void writes_down(struct redis_link *l, const char *reason)
{
    (void)l;
    (void)reason;
}

static const struct redis_link_handler writes_handler = {writes_target, writes_up, writes_reply, writes_lost,
                                                         writes_down};
