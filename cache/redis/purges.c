#include <stdio.h>
#include <stdlib.h>

#include "cache/redis/internal.h"
#include "cache/redis/script.h"

#define LISTEN_MS 1000u
#define MOUTH_MAX 512u /* purges that Redis has not answered */

static const char sync_mark; /* what that command is about; others are about an own purge */
#define SYNC ((void *)(uintptr_t)&sync_mark)

static void try_sync(struct cache_redis_fleet *f);

/* The fault's text, which Redis chose. */
static void fail_for(struct redis_link *l, const struct redis_reply *reply)
{
    char reason[REDIS_LINK_REASON_MAX];
    if (reply->kind == REDIS_FAULT)
        snprintf(reason, sizeof reason, "%.*s", (int)(reply->text.len < 120 ? reply->text.len : 120),
                 reply->text.at);
    else
        snprintf(reason, sizeof reason, "its answer is not understood");
    redis_link_fail(l, reason);
}

/* The ears. */

static struct cache_redis_fleet *of_ears(struct redis_link *l)
{
    return CONTAINER_OF(l, struct cache_redis_fleet, ears);
}

static bool ears_target(struct redis_link *l, struct address *out)
{
    return redis_fleet_address(of_ears(l), out);
}

static void ears_up(struct redis_link *l)
{
    struct cache_redis_fleet *f = of_ears(l);
    f->heard_us = loop_now_us(f->loop);
    if (redis_link_subscribe(l, f->channel) == 0)
        loop_timer(f->loop, &f->listen, LISTEN_MS);
}

void redis_purges_listen(struct timer *t)
{
    struct cache_redis_fleet *f = CONTAINER_OF(t, struct cache_redis_fleet, listen);
    struct iovec ping = {(void *)(uintptr_t) "*1\r\n$4\r\nPING\r\n", 14};
    if (f->ears.state != REDIS_LINK_UP)
        return;
    if (loop_now_us(f->loop) - f->heard_us > CACHE_REDIS_SILENCE_MS * 1000u) {
        redis_link_fail(&f->ears, "it fell silent");
        return;
    }
    conn_write(&f->ears.conn, &ping, 1); /* failed() tells when it breaks */
    loop_timer(f->loop, t, LISTEN_MS);
}

static void tell(struct cache_redis_fleet *f, enum cache_purge_kind kind, struct slice text, bool soft)
{
    if (!f->closed && f->on_purge)
        f->on_purge(f->argument, kind, text, soft);
}

static void on_message(struct cache_redis_fleet *f, struct slice text)
{
    struct redis_message m;
    struct cache_redis_stamp now = redis_records_now(&f->records);
    enum cache_purge_kind kind;
    bool soft;
    if (f->syncing || slice_equal(text, S("S"))) {
        try_sync(f);
        return;
    }
    if (redis_message_read(text, &m) != 0)
        return;
    if (m.stamp.epoch != now.epoch || m.stamp.number > now.number + 1) {
        try_sync(f);
        return;
    }
    if (m.stamp.number <= now.number || redis_record_read(m.record, &kind, &soft, &text) != 0)
        return;
    redis_records_add(&f->records, kind, text, soft, m.stamp.number);
    redis_records_advance(&f->records, m.stamp.number);
    if (m.node != f->node)
        tell(f, kind, text, soft);
}

static void ears_reply(struct redis_link *l, void *about, const struct redis_reply *reply)
{
    struct cache_redis_fleet *f = of_ears(l);
    (void)about;
    f->heard_us = loop_now_us(f->loop);
    if (reply->kind != REDIS_LIST || reply->count < 2 || reply->at[0].kind != REDIS_TEXT) {
        fail_for(l, reply);
        return;
    }
    if (slice_equal(reply->at[0].text, S("subscribe"))) {
        f->subscribed = true;
        redis_link_good(l);
        try_sync(f);
    } else if (slice_equal(reply->at[0].text, S("message")) && reply->count == 3 &&
               reply->at[2].kind == REDIS_TEXT && f->subscribed) {
        on_message(f, reply->at[2].text);
    }
}

static void ears_lost(struct redis_link *l, void *about)
{
    (void)l;
    (void)about;
}

static void ears_down(struct redis_link *l, const char *reason)
{
    struct cache_redis_fleet *f = of_ears(l);
    f->subscribed = false;
    redis_fleet_set_synced(f, false);
    loop_timer_clear(f->loop, &f->listen);
    redis_fleet_trouble(f, reason);
}

const struct redis_link_handler redis_ears_handler = {ears_target, ears_up, ears_reply, ears_lost, ears_down};

/* The mouth. */

static struct cache_redis_fleet *of_mouth(struct redis_link *l)
{
    return CONTAINER_OF(l, struct cache_redis_fleet, mouth);
}

static bool mouth_target(struct redis_link *l, struct address *out)
{
    return redis_fleet_address(of_mouth(l), out);
}

/* EVAL script 1 key, and the arguments that every script has; more may follow. */
static int call_script(struct cache_redis_fleet *f, const char *script, const struct slice *more, int count,
                       void *about)
{
    char epoch[24], known_epoch[24], known[24];
    struct cache_redis_stamp now = redis_records_now(&f->records);
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)redis_fleet_draw(f, UINT64_C(1) << 40));
    snprintf(known_epoch, sizeof known_epoch, "%llu", (unsigned long long)now.epoch);
    snprintf(known, sizeof known, "%llu", (unsigned long long)now.number);
    struct slice arguments[REDIS_LINK_ARGUMENTS] = {
        S("EVAL"),         slice_text(script), S("1"),
        f->purges_key,     slice_text(epoch),  slice_text(known_epoch),
        slice_text(known), f->channel};
    ASSERT(count <= 3);
    for (int i = 0; i < count; i++)
        arguments[8 + i] = more[i];
    return redis_link_send(&f->mouth, arguments, 8 + count, NULL, 0, about);
}

/* Reads what was missed; again when something came meanwhile. */
static void try_sync(struct cache_redis_fleet *f)
{
    if (!f->subscribed || f->mouth.state != REDIS_LINK_UP)
        return;
    if (f->syncing) {
        f->sync_again = true;
        return;
    }
    f->syncing = call_script(f, REDIS_SCRIPT_SYNC, NULL, 0, SYNC) == 0;
}

static void send_own(struct cache_redis_fleet *f)
{
    char head[REDIS_RECORD_HEAD + CACHE_REDIS_TEXT_MAX], node[24], kept[16];
    snprintf(node, sizeof node, "%llu", (unsigned long long)f->node);
    snprintf(kept, sizeof kept, "%u", CACHE_REDIS_RECORDS);
    while (f->mouth.state == REDIS_LINK_UP && redis_link_pending(&f->mouth) < MOUTH_MAX) {
        struct redis_own_purge *p = redis_records_next_own(&f->records);
        if (!p)
            return;
        redis_record_write(p->kind, p->soft, head);
        memcpy(head + REDIS_RECORD_HEAD, p->text.at, p->text.len);
        struct slice more[] = {slice_text(node), slice_text(kept),
                               slice_of(head, REDIS_RECORD_HEAD + p->text.len)};
        if (call_script(f, REDIS_SCRIPT_PURGE, more, 3, p) != 0)
            return; /* the connection breaks: it is sent again */
    }
}

static void mouth_up(struct redis_link *l)
{
    struct cache_redis_fleet *f = of_mouth(l);
    try_sync(f);
    send_own(f);
}

#define SYNCED_FIELDS 5u

/* What a sync says, before its records. */
struct synced {
    uint64_t epoch, last, floor, old_epoch, old_last;
};

static int read_synced(const struct redis_reply *reply, struct synced *out)
{
    uint64_t *const fields[SYNCED_FIELDS] = {&out->epoch, &out->last, &out->floor, &out->old_epoch,
                                             &out->old_last};
    if (reply->kind != REDIS_LIST || reply->count < SYNCED_FIELDS || (reply->count - SYNCED_FIELDS) % 2)
        return -1;
    for (size_t i = 0; i < SYNCED_FIELDS; i++) {
        if (reply->at[i].kind != REDIS_NUMBER || reply->at[i].number < 0)
            return -1;
        *fields[i] = (uint64_t)reply->at[i].number;
    }
    for (size_t i = SYNCED_FIELDS; i < reply->count; i += 2)
        if (reply->at[i].kind != REDIS_TEXT || reply->at[i + 1].kind != REDIS_NUMBER ||
            reply->at[i + 1].number < 0)
            return -1;
    return out->epoch ? 0 : -1;
}

/* Purges that this node can have no word of any more: dropped from the record, or of an epoch that is over.
 * Another node may tell only later what it knew of that one. */
static bool has_missed(struct cache_redis_fleet *f, const struct synced *s)
{
    struct cache_redis_stamp known = redis_records_now(&f->records);
    bool missed = known.number < s->floor;
    if (known.epoch != s->epoch) {
        missed = known.epoch != s->old_epoch || s->floor > 0;
        f->before = known;
    }
    if (f->before.epoch == s->old_epoch && f->before.number < s->old_last) {
        f->before.number = s->old_last;
        missed = true;
    }
    return missed;
}

static bool is_own(const struct cache_redis_fleet *f, uint64_t epoch, uint64_t number)
{
    return f->own_epoch == epoch && f->own_numbers[number % REDIS_OWN_NUMBERS] == number;
}

static void remember_own(struct cache_redis_fleet *f, struct cache_redis_stamp as)
{
    if (f->own_epoch != as.epoch)
        memset(f->own_numbers, 0, sizeof f->own_numbers);
    f->own_epoch = as.epoch;
    f->own_numbers[as.number % REDIS_OWN_NUMBERS] = as.number;
}

/* Each record of the answer: into what is known, or to on_purge. */
static void learn(struct cache_redis_fleet *f, const struct redis_reply *reply, uint64_t epoch, bool told)
{
    enum cache_purge_kind kind;
    bool soft;
    struct slice text;
    for (size_t i = SYNCED_FIELDS; i < reply->count; i += 2) {
        uint64_t number = (uint64_t)reply->at[i + 1].number;
        if (redis_record_read(reply->at[i].text, &kind, &soft, &text) != 0)
            continue;
        if (!told)
            redis_records_add(&f->records, kind, text, soft, number);
        else if (!is_own(f, epoch, number))
            tell(f, kind, text, soft);
    }
}

static void on_synced(struct cache_redis_fleet *f, const struct redis_reply *reply)
{
    struct synced s;
    if (read_synced(reply, &s) != 0) {
        fail_for(&f->mouth, reply);
        return;
    }
    redis_link_good(&f->mouth);
    f->syncing = false;
    struct cache_redis_stamp known = redis_records_now(&f->records);
    /* What a node of no age has can hardly be older than what it missed. */
    bool first = known.epoch == 0 && loop_now_us(f->loop) - f->created_us < CACHE_REDIS_SILENCE_MS * 1000u;
    bool missed = has_missed(f, &s);
    if (known.epoch != s.epoch) {
        redis_fleet_set_synced(f, false);
        redis_records_begin(&f->records, (struct cache_redis_stamp){s.epoch, 0}, s.floor);
    } else {
        redis_records_raise_floor(&f->records, known.number < s.floor ? s.floor : 0);
    }
    learn(f, reply, s.epoch, false);
    redis_records_advance(&f->records, s.last);
    if (missed && !first)
        tell(f, CACHE_PURGE_ALL, slice_of(NULL, 0), true);
    if (!first)
        learn(f, reply, s.epoch, true);
    if (f->closed || !f->subscribed)
        return;
    redis_fleet_set_synced(f, true);
    if (f->sync_again) {
        f->sync_again = false;
        try_sync(f);
    }
}

static void on_own_purged(struct cache_redis_fleet *f, struct redis_own_purge *p,
                          const struct redis_reply *reply)
{
    if (reply->kind != REDIS_LIST || reply->count != 2 || reply->at[0].kind != REDIS_NUMBER ||
        reply->at[1].kind != REDIS_NUMBER) {
        fail_for(&f->mouth, reply);
        return;
    }
    struct cache_redis_stamp as = {(uint64_t)reply->at[0].number, (uint64_t)reply->at[1].number};
    redis_link_good(&f->mouth);
    if (as.epoch != redis_records_now(&f->records).epoch) {
        redis_fleet_set_synced(f, false); /* until the new epoch's record is read, this purge in it */
        try_sync(f);
    }
    remember_own(f, as);
    redis_records_own_done(&f->records, p, as);
    send_own(f);
}

static void mouth_reply(struct redis_link *l, void *about, const struct redis_reply *reply)
{
    struct cache_redis_fleet *f = of_mouth(l);
    if (about == SYNC)
        on_synced(f, reply);
    else
        on_own_purged(f, about, reply);
}

static void mouth_lost(struct redis_link *l, void *about)
{
    (void)l;
    (void)about; /* own purges are sent again, all together */
}

static void mouth_down(struct redis_link *l, const char *reason)
{
    struct cache_redis_fleet *f = of_mouth(l);
    f->syncing = f->sync_again = false;
    redis_records_own_again(&f->records);
    if (!redis_fleet_synced(f))
        redis_fleet_trouble(f, reason);
}

const struct redis_link_handler redis_mouth_handler = {mouth_target, mouth_up, mouth_reply, mouth_lost,
                                                       mouth_down};

/* Own purges. */

void redis_purges_deliver(struct letter *letter)
{
    struct cache_redis_fleet *f = CONTAINER_OF(letter, struct cache_redis_fleet, letter);
    atomic_store(&f->posted, false);
    if (!f->closed)
        send_own(f);
    redis_fleet_release(f);
}

int cache_redis_purge(struct cache_redis_fleet *f, enum cache_purge_kind kind, struct slice text, bool soft)
{
    if (text.len > CACHE_REDIS_TEXT_MAX || redis_records_add_own(&f->records, kind, text, soft) != 0)
        return -1;
    if (!atomic_exchange(&f->posted, true)) {
        redis_fleet_hold(f);
        loop_post(f->loop, &f->letter);
    }
    return 0;
}
