#include "balancer/upstream.h"

#include <stdlib.h>

#include "tls/client.h"
#include "tls/settings.h"

static int make_tls(struct upstream *u, struct config *c, const struct config_node *node);
static int make_servers(struct upstream *u);
static int make_states(struct upstream *u);

static const struct policy *const policies[] = {
    [BALANCE_ROUND_ROBIN] = &policy_round_robin,
    [BALANCE_LEAST_CONNECTIONS] = &policy_least_connections,
};

struct upstream *upstream_create(struct config *c, const struct config_node *node, struct slice name,
                                 const struct upstream_settings *settings, struct server_registry *registry,
                                 unsigned workers)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->magic = UPSTREAM_MAGIC;
    u->name = name;
    u->settings = settings;
    u->policy = policies[settings->balance];
    u->registry = registry;
    u->workers = workers;
    if (make_tls(u, c, node) != 0 || make_servers(u) != 0 || make_states(u) != 0) {
        upstream_free(u);
        return NULL;
    }
    return u;
}

/* FNV-1a over what the file says of TLS. */
static uint64_t fingerprint(uint64_t hash, const struct config_node *node)
{
    const struct slice parts[] = {node->key, node->text};
    hash = (hash ^ (uint64_t)node->kind) * UINT64_C(0x100000001b3);
    for (size_t p = 0; p < COUNT_OF(parts); p++) {
        for (size_t i = 0; i < parts[p].len; i++)
            hash = (hash ^ (unsigned char)parts[p].at[i]) * UINT64_C(0x100000001b3);
        hash = (hash ^ 0xff) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i < node->count; i++)
        hash = fingerprint(hash, node->items[i]);
    return hash;
}

/* The contexts of one more thread than there are workers: the control thread's checks. */
static int make_tls(struct upstream *u, struct config *c, const struct config_node *node)
{
    const struct check_settings *check = u->settings->health_check;
    if (u->settings->tls) {
        const struct config_node *at = node ? config_get(node, "tls") : NULL;
        u->transport = at ? fingerprint(UINT64_C(0xcbf29ce484222325), at) | 1 : 1;
        u->tls = tls_client_create(c, at ? at : node, u->settings->tls, u->workers + 1);
        return u->tls ? 0 : -1;
    }
    if (check && check->type == CHECK_TLS) {
        const struct tls_client_settings unverified = {.node = node, .verify = false};
        u->check_tls = tls_client_create(c, node, &unverified, u->workers + 1);
        return u->check_tls ? 0 : -1;
    }
    return 0;
}

static const struct server_settings *settings_of(const struct upstream *u, size_t i)
{
    return (const struct server_settings *)u->settings->servers.at + i;
}

static struct server *find_or_make(struct upstream *u, const struct server_settings *settings)
{
    struct server *s = u->registry ? registry_find(u->registry, u->name, settings->address) : NULL;
    if (s)
        return server_hold(s);
    s = server_create(u->registry ? registry_ids(u->registry) : NULL, u->name, settings->address);
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
    if (!check || (check->type == CHECK_TCP && check->send.len == 0 && check->receive.len == 0))
        return NULL;
    return u->tls ? u->tls : u->check_tls;
}

static int make_servers(struct upstream *u)
{
    size_t count = u->settings->servers.count;
    u->servers = calloc(count ? count : 1, sizeof(struct server *));
    u->uses = calloc(count ? count : 1, sizeof *u->uses);
    if (!u->servers || !u->uses)
        return -1;
    for (int backups = 0; backups < 2; backups++) {
        for (size_t i = 0; i < count; i++) {
            const struct server_settings *settings = settings_of(u, i);
            if (settings->backup != (backups == 1))
                continue;
            struct server *s = find_or_make(u, settings);
            if (!s)
                return -1;
            u->uses[u->count] = (struct server_use){.settings = settings,
                                                    .check = u->settings->health_check,
                                                    .tls = check_transport(u),
                                                    .proxy_protocol = u->settings->proxy_protocol};
            u->servers[u->count++] = s;
        }
        if (backups == 0)
            u->primary_count = u->count;
    }
    u->primary = (struct tier){u->servers, u->primary_count};
    u->backup = (struct tier){u->servers + u->primary_count, u->count - u->primary_count};
    return 0;
}

/* Whole cache lines, so that no worker writes to another's. */
static void *make_state(const struct upstream *u, const struct tier *t, unsigned worker)
{
    size_t size = (u->policy->size(t) + 64) & ~(size_t)63;
    void *state = aligned_alloc(64, size);
    if (!state)
        return NULL;
    memset(state, 0, size);
    u->policy->init(state, t, worker);
    return state;
}

static int make_states(struct upstream *u)
{
    u->states = calloc((size_t)u->workers * 2 + 1, sizeof(void *));
    u->budgets = aligned_alloc(64, (u->workers + 1) * sizeof *u->budgets);
    for (unsigned w = 0; u->budgets && w < u->workers; w++)
        budget_init(&u->budgets[w]);
    if (!u->states || !u->budgets)
        return -1;
    for (unsigned w = 0; w < u->workers; w++) {
        u->states[2 * w] = make_state(u, &u->primary, w);
        u->states[2 * w + 1] = make_state(u, &u->backup, w);
        if (!u->states[2 * w] || !u->states[2 * w + 1])
            return -1;
    }
    return 0;
}

int upstream_activate(struct upstream *u)
{
    ASSERT(u->magic == UPSTREAM_MAGIC && u->registry && !u->active);
    for (size_t i = 0; i < u->count; i++) {
        if (registry_attach(u->registry, &u->servers[i], &u->uses[i]) == 0)
            continue;
        while (i-- > 0)
            registry_detach(u->registry, u->servers[i], &u->uses[i]);
        return -1;
    }
    u->active = true;
    return 0;
}

void upstream_deactivate(struct upstream *u)
{
    if (!u->active)
        return;
    u->active = false;
    for (size_t i = 0; i < u->count; i++)
        registry_detach(u->registry, u->servers[i], &u->uses[i]);
}

void upstream_free(struct upstream *u)
{
    if (!u)
        return;
    ASSERT(u->magic == UPSTREAM_MAGIC);
    upstream_deactivate(u);
    for (size_t i = 0; i < u->count; i++)
        server_release(u->servers[i]);
    for (size_t i = 0; u->states && i < (size_t)u->workers * 2; i++)
        free(u->states[i]);
    tls_client_free(u->tls);
    tls_client_free(u->check_tls);
    free(u->states);
    free(u->budgets);
    free(u->servers);
    free(u->uses);
    u->magic = 0;
    free(u);
}

/* Picking. */

static struct server *pick_from(const struct upstream *u, void *state, const struct tier *t,
                                const struct pick *p)
{
    /* Another worker may fill the chosen one between the look and the count; then the policy sees it full. */
    for (size_t turn = 0; turn < t->count + 8; turn++) {
        struct server *s = u->policy->pick(state, t, p);
        if (!s)
            return NULL;
        if (server_begin(s))
            return s;
    }
    return NULL;
}

static enum pick_failure why_none(const struct tier *t, const struct pick *p)
{
    enum pick_failure why = PICK_NONE_UP;
    for (size_t i = 0; i < t->count; i++) {
        if (!server_usable(t->servers[i]))
            continue;
        if (!pick_tried(p, t->servers[i]))
            return PICK_ALL_BUSY;
        why = PICK_ALL_TRIED;
    }
    return why;
}

struct server *upstream_pick(struct upstream *u, unsigned worker, const struct pick *p,
                             enum pick_failure *why)
{
    enum pick_failure ignored;
    why = why ? why : &ignored;
    ASSERT(worker < u->workers);
    *why = PICK_OK;
    struct server *s = pick_from(u, u->states[2 * worker], &u->primary, p);
    if (LIKELY(s != NULL))
        return s;
    *why = why_none(&u->primary, p);
    if (*why == PICK_ALL_BUSY || u->backup.count == 0)
        return NULL;

    s = pick_from(u, u->states[2 * worker + 1], &u->backup, p);
    if (s) {
        *why = PICK_OK;
        return s;
    }
    enum pick_failure backup = why_none(&u->backup, p);
    if (backup != PICK_NONE_UP)
        *why = backup;
    return NULL;
}

static void policy_done(const struct upstream *u, unsigned worker, const struct server *s,
                        const struct outcome *o)
{
    bool backup = atomic_load_explicit(&s->backup, memory_order_relaxed);
    u->policy->done(u->states[2 * worker + backup], backup ? &u->backup : &u->primary, s, o);
}

void upstream_done(struct upstream *u, unsigned worker, struct server *s, const struct outcome *o)
{
    server_end(s);
    if (o && o->kind != OUTCOME_ABANDONED && u->policy->done)
        policy_done(u, worker, s, o);
}

enum pick_failure upstream_state(const struct upstream *u)
{
    const struct pick none = {0};
    enum pick_failure state = PICK_NONE_UP;
    for (size_t i = 0; i < u->count; i++) {
        if (i == u->primary_count && state != PICK_NONE_UP)
            break;
        if (pick_weight(&none, u->servers[i]))
            return PICK_OK;
        if (server_usable(u->servers[i]))
            state = PICK_ALL_BUSY;
    }
    return state;
}

const char *pick_failure_text(enum pick_failure why)
{
    switch (why) {
    case PICK_OK:
        return "";
    case PICK_NONE_UP:
        return "no server is up";
    case PICK_ALL_BUSY:
        return "every server is at max_connections";
    case PICK_ALL_TRIED:
        return "every server that is up has failed this request";
    }
    return "";
}

struct server *upstream_server(const struct upstream *u, struct slice name)
{
    for (size_t i = 0; i < u->count; i++)
        if (slice_equal(u->servers[i]->name, name))
            return u->servers[i];
    return NULL;
}
