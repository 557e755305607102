#include <stdlib.h>

#include "balancer/upstream_internal.h"
#include "core/log.h"

#define GATHER_MS 2 /* changes that come together make one new set */

/* One look at everything that gives servers. */
struct look {
    struct upstream *u;
    struct source *hand; /* NULL = nothing was done by hand */
    struct upstream_member **members;
    size_t count;
    size_t added, removed, changed;
    bool failed;
};

static void want(struct look *l, struct server_settings settings, struct source *source, struct found *found);
static void drop_unseen(struct look *l);
static void on_source(struct source_use *use);
static void on_gathered(struct timer *t);

static const struct server_settings *entry_of(const struct upstream *u, size_t i)
{
    return (const struct server_settings *)u->settings->servers.at + i;
}

static size_t entry_count(const struct upstream *u)
{
    return u->settings->servers.count;
}

/* Sources. An upstream that is not active looks at those that others use. */

static struct source *source_of(const struct upstream *u, size_t entry)
{
    enum source_kind kind;
    struct slice what;
    if (u->uses)
        return u->uses[entry].source;
    if (!u->registry || !discovery_entry(entry_of(u, entry), &kind, &what))
        return NULL;
    return discovery_find(registry_discovery(u->registry), u->name, kind, what);
}

static struct source *hand_of(const struct upstream *u)
{
    if (u->uses)
        return u->uses[entry_count(u)].source;
    return u->registry
               ? discovery_find(registry_discovery(u->registry), u->name, SOURCE_HAND, (struct slice){0})
               : NULL;
}

int upstream_use_sources(struct upstream *u)
{
    size_t count = entry_count(u);
    u->uses = calloc(count + 1, sizeof *u->uses);
    if (!u->uses)
        return -1;
    timer_init(&u->gather, on_gathered);
    for (size_t i = 0; i <= count; i++) {
        struct source_use *use = &u->uses[i];
        enum source_kind kind = SOURCE_HAND;
        struct slice what = {0};
        list_init(&use->link);
        if (i < count && !discovery_entry(entry_of(u, i), &kind, &what))
            continue;
        use->upstream = u;
        use->changed = on_source;
        use->refresh = i < count ? entry_of(u, i)->refresh : 0;
        if (discovery_use(registry_discovery(u->registry), u->name, kind, what, use) != 0) {
            upstream_leave_sources(u);
            return -1;
        }
    }
    return 0;
}

void upstream_leave_sources(struct upstream *u)
{
    if (!u->uses)
        return;
    loop_timer_clear(registry_loop(u->registry), &u->gather);
    for (size_t i = 0; i < u->member_count; i++)
        u->members[i]->source = NULL;
    for (size_t i = 0; i <= entry_count(u); i++)
        if (u->uses[i].source)
            discovery_leave(&u->uses[i]);
    free(u->uses);
    u->uses = NULL;
}

static void on_source(struct source_use *use)
{
    struct upstream *u = use->upstream;
    if (!u->gather.deadline)
        loop_timer(registry_loop(u->registry), &u->gather, GATHER_MS);
}

static void on_gathered(struct timer *t)
{
    upstream_refresh(CONTAINER_OF(t, struct upstream, gather));
}

void upstream_refresh(struct upstream *u)
{
    bool changed = false;
    if (!u->active)
        return;
    loop_timer_clear(registry_loop(u->registry), &u->gather);
    if (upstream_collect(u, &changed) != 0)
        log_error("servers are left out: out of memory", LOG_SLICE("upstream", u->name));
    struct server_set *set = changed ? upstream_make_set(u) : NULL;
    if (set)
        upstream_replace(u, set);
    else if (changed)
        log_error("the servers stay as they were: out of memory", LOG_SLICE("upstream", u->name));
}

/* Members. */

int upstream_collect(struct upstream *u, bool *changed)
{
    size_t room = entry_count(u) + 1;
    for (size_t i = 0; i <= entry_count(u); i++) {
        const struct source *s = i < entry_count(u) ? source_of(u, i) : hand_of(u);
        room += s ? s->found_count : 0;
    }
    struct look l = {.u = u, .hand = hand_of(u), .members = calloc(room, sizeof(struct upstream_member *))};
    if (!l.members)
        return -1;
    u->looks++;
    for (size_t i = 0; i < entry_count(u); i++) {
        const struct server_settings *entry = entry_of(u, i);
        struct source *s = source_of(u, i);
        if (entry->address.len)
            want(&l, *entry, NULL, NULL);
        for (size_t k = 0; s && k < s->found_count; k++)
            want(&l, discovery_settings(s, entry, s->found[k]), s, s->found[k]);
    }
    for (size_t k = 0; l.hand && k < l.hand->found_count; k++)
        want(&l, discovery_settings(l.hand, NULL, l.hand->found[k]), l.hand, l.hand->found[k]);
    drop_unseen(&l);
    if (u->active && (l.added || l.removed))
        log_info("servers have changed", LOG_SLICE("upstream", u->name), LOG_U64("added", l.added),
                 LOG_U64("removed", l.removed), LOG_U64("servers", l.count));
    *changed = l.added || l.removed || l.changed;
    free(u->members);
    u->members = l.members;
    u->member_count = l.count;
    return l.failed ? -1 : 0;
}

static struct upstream_member *find_member(const struct upstream *u, struct slice name)
{
    uint64_t value;
    return table_get(u->by_name, name, &value) ? (struct upstream_member *)(uintptr_t)value : NULL;
}

static void free_member(struct upstream_member *m)
{
    found_release(m->found);
    server_release(m->server);
    free(m);
}

static void drop_member(struct upstream *u, struct upstream_member *m)
{
    if (find_member(u, m->server->name) == m)
        table_remove(u->by_name, m->server->name);
    if (u->active)
        registry_leave(u->registry, m->server, &m->use);
    free_member(m);
}

void upstream_drop_members(struct upstream *u)
{
    for (size_t i = 0; i < u->member_count; i++)
        drop_member(u, u->members[i]);
    free(u->members);
    u->members = NULL;
    u->member_count = 0;
}

static void drop_unseen(struct look *l)
{
    for (size_t i = 0; i < l->u->member_count; i++) {
        if (l->u->members[i]->seen == l->u->looks)
            continue;
        drop_member(l->u, l->u->members[i]);
        l->removed++;
    }
}

static struct server *find_or_make(struct upstream *u, const struct server_settings *settings,
                                   struct slice host)
{
    struct server *s = u->registry ? registry_recall(u->registry, u->name, settings->address, host) : NULL;
    if (s)
        return server_hold(s);
    s = server_create_as(u->registry ? registry_ids(u->registry) : NULL, u->name, settings->address, host);
    if (s)
        server_configure(s, (uint32_t)settings->weight, (uint32_t)settings->max_connections,
                         settings->backup);
    return s;
}

/* Which transport a check goes over: what it is about. A bare tcp check is a connect, whatever the upstream
 * speaks. */
static struct tls_client *check_transport(const struct upstream *u)
{
    const struct check_settings *check = u->settings->health_check;
    if (!check || check->type == CHECK_UDP ||
        (check->type == CHECK_TCP && check->send.len == 0 && check->receive.len == 0))
        return NULL;
    return u->tls ? u->tls : u->check_tls;
}

static struct upstream_member *make_member(struct upstream *u, const struct server_settings *settings,
                                           struct slice host)
{
    struct upstream_member *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->server = find_or_make(u, settings, host);
    m->settings = *settings;
    m->use = (struct server_use){.settings = &m->settings,
                                 .check = u->settings->health_check,
                                 .tls = check_transport(u),
                                 .proxy_protocol = u->settings->proxy_protocol,
                                 .protocol = u->settings->protocol};
    list_init(&m->use.link);
    if (!m->server || (u->active && registry_attach(u->registry, &m->server, &m->use) != 0)) {
        free_member(m);
        return NULL;
    }
    if (table_put(u->by_name, m->server->name, (uint64_t)(uintptr_t)m) != 0) {
        drop_member(u, m);
        return NULL;
    }
    return m;
}

static bool differ(const struct server_settings *a, const struct server_settings *b)
{
    return a->weight != b->weight || a->backup != b->backup || a->max_connections != b->max_connections ||
           !slice_equal(a->zone, b->zone);
}

/* What is known of the server stays; the settings are those of now. */
static void update_member(struct look *l, struct upstream_member *m, const struct server_settings *settings)
{
    bool other = differ(&m->settings, settings);
    m->settings = *settings;
    if (!other)
        return;
    l->changed++;
    if (l->u->active)
        registry_refresh(l->u->registry, m->server);
}

/* The first to name a server says how it is used. */
static void want(struct look *l, struct server_settings settings, struct source *source, struct found *found)
{
    struct upstream *u = l->u;
    struct slice host = found ? found->host : (struct slice){0};
    if (l->hand && l->hand != source && hand_hides(l->hand, settings.address))
        return;
    struct upstream_member *m = find_member(u, settings.address);
    if (m && m->seen == u->looks)
        return;
    if (m && (host.len == 0 || slice_equal(m->server->host, host))) {
        update_member(l, m, &settings);
        /* The order counts too. */
        if (l->count >= u->member_count || u->members[l->count] != m)
            l->changed++;
    } else {
        if (m)
            table_remove(u->by_name, settings.address);
        m = make_member(u, &settings, host);
        if (!m) {
            l->failed = true;
            return;
        }
        l->added++;
    }
    struct found *before = m->found;
    m->found = found ? found_hold(found) : NULL;
    m->source = source;
    found_release(before);
    m->seen = u->looks;
    l->members[l->count++] = m;
}

/* For people. */

struct server *upstream_server(const struct upstream *u, struct slice name)
{
    const struct upstream_member *m = find_member(u, name);
    return m ? m->server : NULL;
}

const char *upstream_source(const struct upstream *u, struct slice server)
{
    const struct upstream_member *m = find_member(u, server);
    return m && m->source ? m->source->name : "file";
}

const struct source *upstream_entry_source(const struct upstream *u, size_t entry)
{
    return source_of(u, entry);
}

const struct source *upstream_hand(const struct upstream *u)
{
    return hand_of(u);
}

int upstream_add_server(struct upstream *u, struct found *added)
{
    if (!u->active) {
        found_release(added);
        return -1;
    }
    if (hand_add(hand_of(u), added) != 0)
        return -1;
    upstream_refresh(u);
    return 0;
}

int upstream_remove_server(struct upstream *u, struct slice server)
{
    const struct upstream_member *m = find_member(u, server);
    struct source *hand = u->active ? hand_of(u) : NULL;
    if (!m || !hand || hand_remove(hand, server, m->source != hand) != 0)
        return -1;
    upstream_refresh(u);
    return 0;
}
