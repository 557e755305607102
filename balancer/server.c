#include "balancer/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/group.h"

#define RAMP_NEXT_TICK UINT64_MAX

static void update(struct server *s);
static void copy_reason(char *to, const char *from);

/* Numbers. */

struct server_ids {
    pthread_mutex_t lock;
    _Atomic uint32_t references;
    uint64_t *used;
    size_t words;
    uint64_t next_serial;
};

struct server_ids *server_ids_create(void)
{
    struct server_ids *ids = calloc(1, sizeof *ids);
    if (!ids)
        return NULL;
    ids->next_serial = 1;
    atomic_init(&ids->references, 1);
    pthread_mutex_init(&ids->lock, NULL);
    return ids;
}

void server_ids_release(struct server_ids *ids)
{
    if (!ids || atomic_fetch_sub_explicit(&ids->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&ids->lock);
    free(ids->used);
    free(ids);
}

static uint32_t take_lowest(struct server_ids *ids)
{
    for (size_t i = 0; i < ids->words; i++) {
        if (ids->used[i] == UINT64_MAX)
            continue;
        unsigned bit = (unsigned)__builtin_ctzll(~ids->used[i]);
        ids->used[i] |= UINT64_C(1) << bit;
        return (uint32_t)(i * 64 + bit);
    }
    if (ids->words * 64 >= SERVER_ID_MAX)
        return SERVER_ID_NONE;
    size_t words = ids->words ? ids->words * 2 : 4;
    uint64_t *used = realloc(ids->used, words * sizeof *used);
    if (!used)
        return SERVER_ID_NONE;
    memset(used + ids->words, 0, (words - ids->words) * sizeof *used);
    uint32_t id = (uint32_t)(ids->words * 64);
    used[ids->words] = 1;
    ids->used = used;
    ids->words = words;
    return id;
}

static void give_id(struct server *s, struct server_ids *ids)
{
    pthread_mutex_lock(&ids->lock);
    s->id = take_lowest(ids);
    s->serial = ids->next_serial++;
    pthread_mutex_unlock(&ids->lock);
    atomic_fetch_add_explicit(&ids->references, 1, memory_order_relaxed);
    s->ids = ids;
}

static void take_id_back(struct server *s)
{
    if (!s->ids)
        return;
    pthread_mutex_lock(&s->ids->lock);
    if (s->id != SERVER_ID_NONE)
        s->ids->used[s->id / 64] &= ~(UINT64_C(1) << (s->id % 64));
    pthread_mutex_unlock(&s->ids->lock);
    server_ids_release(s->ids);
}

/* Life. */

static char *put_text(char *at, struct slice text, struct slice *out)
{
    if (text.len)
        memcpy(at, text.at, text.len);
    at[text.len] = '\0';
    *out = slice_of(at, text.len);
    return at + text.len + 1;
}

static void set_host(struct server *s, enum address_kind kind, const struct address *a, struct slice host,
                     char *room)
{
    char text[ADDRESS_TEXT_MAX];
    if (kind == ADDRESS_SOCKET && a->any.sa_family == AF_UNIX) {
        host = S("localhost");
    } else if (kind == ADDRESS_SOCKET) {
        struct ip ip = ip_of_address(a);
        host = slice_of(text, ip_print(&ip, text, sizeof text));
    }
    put_text(room, host, &s->host);
}

struct server *server_create(struct server_ids *ids, struct slice upstream, struct slice name)
{
    return server_create_as(ids, upstream, name, (struct slice){0});
}

struct server *server_create_as(struct server_ids *ids, struct slice upstream, struct slice name,
                                struct slice called)
{
    struct address address = {0};
    struct slice host = {0};
    uint16_t port;
    const char *why;
    enum address_kind kind = address_parse(name, &address, &host, &port, &why);
    if (kind == ADDRESS_BAD)
        return NULL; /* the option table has told it already */

    size_t size =
        sizeof(struct server) + upstream.len + name.len + 2 + ADDRESS_TEXT_MAX + host.len + called.len;
    size = (size + 63) & ~(size_t)63;
    struct server *s = aligned_alloc(64, size);
    if (!s)
        return NULL;
    memset(s, 0, size);
    s->magic = SERVER_MAGIC;
    s->id = SERVER_ID_NONE;
    s->hand_weight = -1;
    atomic_init(&s->references, 1);
    atomic_init(&s->ramp, SERVER_WEIGHT_SCALE);
    list_init(&s->group_link);
    pthread_mutex_init(&s->lock, NULL);
    char *at = put_text((char *)(s + 1), upstream, &s->upstream);
    at = put_text(at, name, &s->name);
    if (called.len)
        put_text(at, called, &s->host);
    else
        set_host(s, kind, &address, host, at);
    if (ids)
        give_id(s, ids);
    if (kind == ADDRESS_SOCKET)
        server_set_addresses(s, &address, 1);
    else
        copy_reason(s->address_reason, "its name is not resolved yet");
    return s;
}

void server_release(struct server *s)
{
    if (!s)
        return;
    ASSERT(s->magic == SERVER_MAGIC);
    if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    take_id_back(s);
    group_release(s->group);
    free(s->latency);
    pthread_mutex_destroy(&s->lock);
    s->magic = 0;
    free(s);
}

/* Requests in flight. */

bool server_begin(struct server *s)
{
    uint32_t limit = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
    if (limit == 0) {
        atomic_fetch_add_explicit(&s->in_flight, 1, memory_order_relaxed);
        return true;
    }
    uint32_t now = server_in_flight(s);
    do {
        if (now >= limit)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&s->in_flight, &now, now + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void server_end(struct server *s)
{
    uint32_t before = atomic_fetch_sub_explicit(&s->in_flight, 1, memory_order_relaxed);
    ASSERT(before != 0);
}

/* Address. */

bool server_address(struct server *s, struct address *out, uint32_t *version)
{
    pthread_mutex_lock(&s->lock);
    uint32_t now = atomic_load_explicit(&s->address_version, memory_order_relaxed);
    if (now)
        *out = s->addresses[s->address_at];
    pthread_mutex_unlock(&s->lock);
    if (version)
        *version = now;
    return now != 0;
}

/* Under the lock. */
static void use_address(struct server *s, unsigned at)
{
    uint32_t version = atomic_load_explicit(&s->address_version, memory_order_relaxed);
    s->address_at = at;
    version = version + 1 ? version + 1 : 1;
    atomic_store_explicit(&s->address_version, version, memory_order_relaxed);
}

void server_set_addresses(struct server *s, const struct address *a, size_t count)
{
    ASSERT(count > 0);
    if (count > SERVER_ADDRESSES)
        count = SERVER_ADDRESSES;
    pthread_mutex_lock(&s->lock);
    bool known = s->address_count != 0;
    struct address present = s->addresses[s->address_at];
    memcpy(s->addresses, a, count * sizeof *a);
    s->address_count = (unsigned)count;
    unsigned at = 0;
    while (known && at < count && !address_equal(&a[at], &present))
        at++;
    if (known && at < count)
        s->address_at = at;
    else
        use_address(s, 0);
    s->address_reason[0] = '\0';
    update(s);
    pthread_mutex_unlock(&s->lock);
}

void server_address_failed(struct server *s, uint32_t version)
{
    pthread_mutex_lock(&s->lock);
    if (s->address_count > 1 && atomic_load_explicit(&s->address_version, memory_order_relaxed) == version)
        use_address(s, (s->address_at + 1) % s->address_count);
    pthread_mutex_unlock(&s->lock);
}

void server_set_address_failure(struct server *s, const char *reason)
{
    pthread_mutex_lock(&s->lock);
    copy_reason(s->address_reason, reason);
    pthread_mutex_unlock(&s->lock);
}

/* State. */

static uint32_t wanted_weight(const struct server *s)
{
    return s->hand_weight >= 0 ? (uint32_t)s->hand_weight : s->file_weight;
}

/* A server that returns begins with a small share, if its group says so; what its answers took before its
 * failure says nothing any more. */
static void start_slowly(struct server *s)
{
    atomic_store_explicit(&s->ewma, 0, memory_order_relaxed);
    bool slowly = s->group && group_starts_slowly(s->group);
    s->ramp_began_us = slowly ? RAMP_NEXT_TICK : 0;
    atomic_store_explicit(&s->ramp, slowly ? SERVER_RAMP_LEAST : SERVER_WEIGHT_SCALE, memory_order_relaxed);
}

/* The one number that a pick looks at; under the lock. */
static void update(struct server *s)
{
    bool reachable = atomic_load_explicit(&s->address_version, memory_order_relaxed) != 0 &&
                     atomic_load_explicit(&s->admin, memory_order_relaxed) == ADMIN_UP;
    bool well =
        atomic_load_explicit(&s->health, memory_order_relaxed) != HEALTH_DOWN && s->ejected_until_us == 0;
    bool ready = reachable && well && wanted_weight(s) != 0;
    if (ready && !s->ready)
        start_slowly(s);
    if (ready != s->ready && s->group)
        group_stir(s->group);
    s->ready = ready;
    bool usable = reachable && (well || (s->group && group_in_panic(s->group)));
    uint32_t weight = usable ? wanted_weight(s) * server_ramp(s) : 0;
    atomic_store_explicit(&s->weight, weight, memory_order_relaxed);
    bool good = atomic_load_explicit(&s->health, memory_order_relaxed) != HEALTH_DOWN || s->check_ok;
    atomic_store_explicit(&s->spare, weight == 0 && reachable && good && wanted_weight(s) != 0,
                          memory_order_relaxed);
}

uint32_t server_full_weight(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t weight = wanted_weight(s) * SERVER_WEIGHT_SCALE;
    pthread_mutex_unlock(&s->lock);
    return weight;
}

static void copy_reason(char *to, const char *from)
{
    snprintf(to, SERVER_REASON_MAX, "%s", from ? from : "");
}

void server_configure(struct server *s, uint32_t weight, uint32_t max_connections, bool backup)
{
    pthread_mutex_lock(&s->lock);
    if (s->file_weight != weight)
        s->hand_weight = -1;
    s->file_weight = weight;
    atomic_store_explicit(&s->max_connections, max_connections, memory_order_relaxed);
    atomic_store_explicit(&s->backup, backup, memory_order_relaxed);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

void server_set_weight(struct server *s, int64_t weight)
{
    ASSERT(weight >= -1 && weight <= SERVER_WEIGHT_MAX);
    pthread_mutex_lock(&s->lock);
    s->hand_weight = weight;
    update(s);
    pthread_mutex_unlock(&s->lock);
}

void server_set_admin(struct server *s, enum server_admin admin)
{
    pthread_mutex_lock(&s->lock);
    atomic_store_explicit(&s->admin, (uint8_t)admin, memory_order_relaxed);
    if (s->group)
        group_stir(s->group);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

bool server_set_health(struct server *s, enum server_health health, const char *reason, int64_t wall_us)
{
    pthread_mutex_lock(&s->lock);
    bool changed = atomic_load_explicit(&s->health, memory_order_relaxed) != health;
    copy_reason(s->health_reason, reason);
    if (changed) {
        atomic_store_explicit(&s->health, (uint8_t)health, memory_order_relaxed);
        s->health_changed_us = wall_us;
        update(s);
    }
    pthread_mutex_unlock(&s->lock);
    return changed;
}

void server_set_check(struct server *s, bool ok, const char *text, usec_t took_us, int64_t wall_us)
{
    pthread_mutex_lock(&s->lock);
    s->check_ok = ok;
    s->check_us = wall_us;
    s->check_took_us = took_us;
    copy_reason(s->check_text, text);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

/* Ejection and slow start. */

bool server_eject(struct server *s, usec_t now_us, usec_t us, enum ejection why, const char *reason)
{
    pthread_mutex_lock(&s->lock);
    bool done = s->ejected_until_us == 0 && !atomic_load_explicit(&s->retired, memory_order_relaxed);
    if (done) {
        s->ejected_until_us = now_us + us;
        atomic_store_explicit(&s->ejected, true, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->ejections[why], 1, memory_order_relaxed);
        copy_reason(s->ejection_reason, reason);
        update(s);
    }
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* Under the lock. */
static bool readmit(struct server *s, usec_t now_us)
{
    if (s->ejected_until_us == 0)
        return false;
    s->ejected_until_us = 0;
    s->ejection_over_us = now_us;
    group_ejection_over(s->group);
    atomic_store_explicit(&s->ejected, false, memory_order_relaxed);
    atomic_store_explicit(&s->errors_in_row, 0, memory_order_relaxed);
    update(s);
    return true;
}

bool server_readmit(struct server *s, usec_t now_us)
{
    pthread_mutex_lock(&s->lock);
    bool done = readmit(s, now_us);
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* The share grows evenly until the time is over. Under the lock. */
static void go_on_slowly(struct server *s, usec_t now_us)
{
    usec_t whole = (usec_t)group_slow_start(s->group) * 1000;
    if (s->ramp_began_us == RAMP_NEXT_TICK)
        s->ramp_began_us = now_us;
    usec_t passed = now_us - s->ramp_began_us;
    uint32_t ramp = SERVER_WEIGHT_SCALE;
    if (passed < whole)
        ramp = (uint32_t)(passed * SERVER_WEIGHT_SCALE / whole);
    else
        s->ramp_began_us = 0;
    atomic_store_explicit(&s->ramp, ramp < SERVER_RAMP_LEAST ? SERVER_RAMP_LEAST : ramp,
                          memory_order_relaxed);
}

bool server_tick(struct server *s, usec_t now_us, bool *readmitted)
{
    pthread_mutex_lock(&s->lock);
    bool over = s->ejected_until_us != 0 && now_us >= s->ejected_until_us && readmit(s, now_us);
    if (s->ramp_began_us)
        go_on_slowly(s, now_us);
    update(s);
    bool waiting = s->ejected_until_us != 0 || s->ramp_began_us != 0;
    pthread_mutex_unlock(&s->lock);
    if (readmitted)
        *readmitted = over;
    return waiting;
}

enum server_standing server_standing(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    bool wanted = wanted_weight(s) != 0 && atomic_load_explicit(&s->admin, memory_order_relaxed) == ADMIN_UP;
    enum server_standing standing = s->ready ? STANDING_READY : wanted ? STANDING_UNWELL : STANDING_UNWANTED;
    pthread_mutex_unlock(&s->lock);
    return standing;
}

void server_join(struct server *s, struct server_group *g)
{
    pthread_mutex_lock(&s->lock);
    if (!s->group)
        s->group = group_hold(g); /* else it was away for a while: its upstream's group is the same */
    if (s->ready)
        start_slowly(s);
    group_stir(g);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

/* State and reason in words; the hand's word first, then what makes it impossible. */
static void put_state(struct server_report *r, const struct server *s)
{
    r->state = "up";
    if (r->admin == ADMIN_DOWN) {
        r->state = "down";
        copy_reason(r->reason, "taken down by hand");
    } else if (r->admin == ADMIN_DRAIN) {
        r->state = "drain";
        copy_reason(r->reason, "drained by hand");
    } else if (r->address.len == 0) {
        r->state = "down";
        copy_reason(r->reason, s->address_reason);
    } else if (r->health == HEALTH_DOWN) {
        r->state = "down";
        copy_reason(r->reason, s->health_reason);
    } else if (s->ejected_until_us) {
        r->state = "ejected";
        copy_reason(r->reason, s->ejection_reason);
    } else if (r->weight == 0) {
        r->state = "drain";
        copy_reason(r->reason, "its weight is 0");
    }
}

void server_report(struct server *s, struct server_report *out)
{
    *out = (struct server_report){0};
    pthread_mutex_lock(&s->lock);
    out->health = (enum server_health)atomic_load_explicit(&s->health, memory_order_relaxed);
    out->admin = (enum server_admin)atomic_load_explicit(&s->admin, memory_order_relaxed);
    out->usable = server_usable(s);
    out->backup = atomic_load_explicit(&s->backup, memory_order_relaxed);
    out->retired = atomic_load_explicit(&s->retired, memory_order_relaxed);
    out->checked = s->check_us != 0;
    out->check_ok = s->check_ok;
    out->ejected = s->ejected_until_us != 0;
    out->weight = wanted_weight(s);
    out->ramp = server_ramp(s);
    out->file_weight = s->file_weight;
    out->max_connections = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
    out->in_flight = server_in_flight(s);
    out->connect_failures = atomic_load_explicit(&s->connect_failures, memory_order_relaxed);
    for (size_t i = 0; i < EJECTIONS; i++)
        out->ejections[i] = atomic_load_explicit(&s->ejections[i], memory_order_relaxed);
    out->changed_us = s->health_changed_us;
    out->check_us = s->check_us;
    out->check_took_us = s->check_took_us;
    copy_reason(out->check_text, s->check_text);
    if (atomic_load_explicit(&s->address_version, memory_order_relaxed))
        out->address = s->addresses[s->address_at];
    put_state(out, s);
    pthread_mutex_unlock(&s->lock);
}
