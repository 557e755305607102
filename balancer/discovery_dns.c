/* `dns:`, each address of a name a server; and `srv:` (RFC 2782), each address of each target. */
#include <stdio.h>
#include <stdlib.h>

#include "balancer/discovery_host.h"
#include "balancer/discovery_internal.h"
#include "core/log.h"

#define SHORTEST_MS 1000 /* between two look-ups, whatever the TTL or the trouble */

struct target {
    struct host *host; /* the names' */
    uint16_t port, priority, weight;
};

/* Both kinds: a `dns:` entry is one target that never changes. */
struct names {
    struct source source;
    struct resolver *resolver;
    struct timer timer;
    struct resolve_query *query; /* the SRV question */
    struct list hosts;           /* each once */
    struct target *targets;
    size_t target_count;
    unsigned pending; /* hosts that are looked up */
    uint32_t srv_ttl;
    unsigned failures; /* in a row */
};

static void look_up(struct names *n);
static void look_up_hosts(struct names *n);
static void on_host(struct host *h);
static void on_due(struct timer *t);

static struct names *names_of(struct source *s)
{
    return CONTAINER_OF(s, struct names, source);
}

static struct host *find_host(struct names *n, struct slice name)
{
    LIST_EACH (node, &n->hosts) {
        struct host *h = CONTAINER_OF(node, struct host, link);
        if (slice_equal_nocase(slice_text(h->name), name))
            return h;
    }
    struct host *h = host_create(n->resolver, name, on_host, n);
    if (h)
        list_append(&n->hosts, &h->link);
    return h;
}

static int init(struct source *s)
{
    struct names *n = names_of(s);
    list_init(&n->hosts);
    timer_init(&n->timer, on_due);
    n->resolver = s->discovery->resolver(s->discovery->argument);
    return n->resolver ? 0 : -1;
}

static int start_dns(struct source *s)
{
    struct names *n = names_of(s);
    size_t colon = s->what.len;
    while (colon > 0 && s->what.at[colon - 1] != ':')
        colon--;
    uint64_t port = 0;
    if (init(s) != 0 || colon == 0 || slice_to_u64(slice_skip(s->what, colon), &port) != 0)
        return -1;
    struct slice host = slice_of(s->what.at, colon - 1);
    if (host.len > 2 && host.at[0] == '[')
        host = slice_of(host.at + 1, host.len - 2);
    n->targets = calloc(1, sizeof *n->targets);
    if (!n->targets || !(n->targets->host = find_host(n, host)))
        return -1;
    n->targets->port = (uint16_t)port;
    n->targets->weight = 1;
    n->target_count = 1;
    n->srv_ttl = UINT32_MAX;
    look_up(n);
    return 0;
}

static int start_srv(struct source *s)
{
    if (init(s) != 0)
        return -1;
    look_up(names_of(s));
    return 0;
}

static void stop(struct source *s)
{
    struct names *n = names_of(s);
    loop_timer_clear(s->discovery->loop, &n->timer);
    resolve_cancel(n->query);
    LIST_EACH_SAFE (node, &n->hosts) {
        host_free(CONTAINER_OF(node, struct host, link));
    }
    free(n->targets);
}

/* A shorter one counts at once. */
static void refreshed(struct source *s)
{
    struct names *n = names_of(s);
    if (n->timer.deadline > loop_now(s->discovery->loop) + s->refresh)
        loop_timer(s->discovery->loop, &n->timer, s->refresh);
}

const struct source_kind_ops source_dns = {
    .name = "dns", .size = sizeof(struct names), .start = start_dns, .stop = stop, .refreshed = refreshed};
const struct source_kind_ops source_srv = {
    .name = "srv", .size = sizeof(struct names), .start = start_srv, .stop = stop, .refreshed = refreshed};

/* Asking. */

static void on_due(struct timer *t)
{
    look_up(CONTAINER_OF(t, struct names, timer));
}

static void retry(struct names *n)
{
    msec_t wait = (msec_t)SHORTEST_MS << (n->failures < 8 ? n->failures : 8);
    n->failures++;
    loop_timer(n->source.discovery->loop, &n->timer, wait < n->source.refresh ? wait : n->source.refresh);
}

static void fail(struct names *n, const char *reason)
{
    source_fail(&n->source, reason);
    retry(n);
}

static void succeed(struct names *n, uint32_t ttl)
{
    msec_t wait = ttl < UINT32_MAX / 1000 ? (msec_t)ttl * 1000 : n->source.refresh;
    wait = wait < n->source.refresh ? wait : n->source.refresh;
    n->failures = 0;
    loop_timer(n->source.discovery->loop, &n->timer, wait > SHORTEST_MS ? wait : SHORTEST_MS);
}

static bool has_target(const struct names *n, const struct host *h)
{
    for (size_t i = 0; i < n->target_count; i++)
        if (n->targets[i].host == h)
            return true;
    return false;
}

static void on_srv(void *argument, const struct resolve_result *r)
{
    struct names *n = argument;
    n->query = NULL;
    struct target *targets = calloc(r->count + 1, sizeof *targets);
    if (r->count == 0 || !targets) {
        free(targets);
        fail(n, r->count ? "out of memory" : r->reason);
        return;
    }
    free(n->targets);
    n->targets = targets;
    n->target_count = 0;
    n->srv_ttl = UINT32_MAX;
    for (size_t i = 0; i < r->count; i++) {
        const struct resolve_record *record = &r->records[i];
        struct host *h = find_host(n, record->target);
        if (!h)
            continue;
        n->targets[n->target_count++] = (struct target){h, record->port, record->priority, record->weight};
        n->srv_ttl = record->ttl < n->srv_ttl ? record->ttl : n->srv_ttl;
    }
    LIST_EACH_SAFE (node, &n->hosts) {
        struct host *h = CONTAINER_OF(node, struct host, link);
        if (!has_target(n, h))
            host_free(h);
    }
    look_up_hosts(n);
}

static void look_up(struct names *n)
{
    if (n->source.kind == SOURCE_DNS) {
        look_up_hosts(n);
        return;
    }
    n->query = resolver_ask_srv(n->resolver, n->source.what.at, on_srv, n);
    if (!n->query)
        fail(n, "out of memory");
}

static void look_up_hosts(struct names *n)
{
    n->pending = 0;
    LIST_EACH (node, &n->hosts) {
        if (host_look_up(CONTAINER_OF(node, struct host, link)) == 0)
            n->pending++;
    }
    if (n->pending == 0)
        fail(n, "out of memory");
}

/* The answer. */

static uint16_t first_priority(const struct names *n)
{
    uint16_t least = UINT16_MAX;
    for (size_t i = 0; i < n->target_count; i++)
        if (n->targets[i].priority < least)
            least = n->targets[i].priority;
    return least;
}

/* A weight of 0 is the least that a record can have (RFC 2782), not none. */
static int add_target(const struct target *t, bool backup, struct found **out, size_t *count)
{
    for (size_t f = 0; f < COUNT_OF(t->host->families); f++) {
        const struct host_family *family = &t->host->families[f];
        for (size_t i = 0; i < family->count; i++) {
            struct address a = family->at[i];
            address_set_port(&a, t->port);
            out[*count] = found_create(&a, slice_text(t->host->name), t->weight ? t->weight : 1, backup);
            if (!out[*count])
                return -1;
            ++*count;
        }
    }
    return 0;
}

static void publish(struct names *n, const char *trouble)
{
    size_t room = 1, count = 0;
    for (size_t i = 0; i < n->target_count; i++)
        room += n->targets[i].host->families[0].count + n->targets[i].host->families[1].count;
    struct found **found = calloc(room, sizeof(struct found *));
    uint16_t first = first_priority(n);
    for (size_t i = 0; found && i < n->target_count; i++) {
        const struct target *t = &n->targets[i];
        if (add_target(t, t->priority > first, found, &count) != 0)
            log_error("servers are left out: out of memory", LOG_TEXT("source", n->source.name));
    }
    if (found)
        source_publish(&n->source, found, count, trouble);
}

static void on_host(struct host *h)
{
    struct names *n = h->argument;
    if (--n->pending)
        return;
    uint32_t ttl = n->srv_ttl;
    const struct host *bad = NULL;
    bool any = false;
    LIST_EACH (node, &n->hosts) {
        const struct host *one = CONTAINER_OF(node, struct host, link);
        any |= one->found;
        if (one->found)
            ttl = one->ttl < ttl ? one->ttl : ttl;
        else
            bad = one;
    }
    char trouble[SOURCE_REASON_MAX] = "";
    if (bad)
        snprintf(trouble, sizeof trouble, "%s: %s", bad->name, bad->reason);
    if (any)
        publish(n, trouble);
    else
        source_fail(&n->source, trouble);
    if (bad)
        retry(n);
    else
        succeed(n, ttl);
}
