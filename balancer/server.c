#include "balancer/server.h"

#include <stdlib.h>

#include "balancer/group.h"
#include "balancer/server_internal.h"

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
        server_ids_give(ids, s);
    if (kind == ADDRESS_SOCKET)
        server_set_addresses(s, &address, 1);
    else
        server_copy_reason(s->address_reason, "its name is not resolved yet");
    return s;
}

void server_release(struct server *s)
{
    if (!s)
        return;
    ASSERT(s->magic == SERVER_MAGIC);
    if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    server_ids_take_back(s);
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
    server_update(s);
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
    server_copy_reason(s->address_reason, reason);
    pthread_mutex_unlock(&s->lock);
}
