#include "admin/explain_upstream.h"

#include <time.h>

#include "admin/explain_pick.h"
#include "admin/explain_settings.h"
#include "balancer/discovery.h"
#include "balancer/ewma.h"
#include "balancer/sticky.h"
#include "balancer/suspicion.h"

#define MARGIN "                 "

static usec_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (usec_t)t.tv_sec * 1000000 + (usec_t)t.tv_nsec / 1000;
}

static const char *score_of(const struct upstream *u, struct server *s, const struct server_report *r,
                            struct arena *a)
{
    if (!u->active)
        return NULL;
    if (u->policy == &policy_least_connections || u->policy == &policy_random_two)
        return r->weight ? arena_printf(a, "%.2f in flight a weight", (double)r->in_flight / r->weight)
                         : NULL;
    if (u->policy != &policy_ewma)
        return NULL;
    uint32_t us = ewma_value(s, now_us());
    return us ? arena_printf(a, "answers in %.1f ms", us / 1000.0) : "no answer measured yet";
}

/* Why it gets less than its weight says, or nothing. */
static const char *reason_of(struct server *s, const struct server_report *r, struct arena *a)
{
    if (r->reason[0])
        return arena_printf(a, "%s", r->reason);
    if (r->max_connections && r->in_flight >= r->max_connections)
        return "full: as many in flight as max_connections allows";
    if (server_is_suspect(s, now_us()))
        return "passed over for a moment: its last attempt failed";
    if (r->weight == 0)
        return "its weight is 0";
    if (r->ramp < SERVER_WEIGHT_SCALE)
        return arena_printf(a, "starts slowly: %u%% of its weight", r->ramp * 100 / SERVER_WEIGHT_SCALE);
    return "";
}

static const char *zone_of(const struct upstream *u, struct slice name, struct arena *a)
{
    const struct server_settings *all = u->settings->servers.at;
    for (size_t i = 0; i < u->settings->servers.count; i++)
        if (slice_equal(all[i].address, name) && all[i].zone.len)
            return arena_printf(a, "%.*s", SLICE_FMT(all[i].zone));
    return NULL;
}

int explain_servers(const struct upstream *u, struct arena *a, struct explained_servers *out)
{
    const struct server_set *set = u->set;
    *out = (struct explained_servers){.at = arena_alloc(a, (set->count + 1) * sizeof *out->at)};
    if (!out->at)
        return -1;
    for (size_t t = 0; t < set->tier_count; t++)
        out->tiers += set->tiers[t].count != 0;
    for (size_t i = 0; i < set->count; i++) {
        struct server *s = set->servers[i];
        struct server_report r;
        server_report(s, &r);
        out->at[out->count++] = (struct explained_server){.server = s,
                                                          .source = upstream_source(u, s->name),
                                                          .state = u->active ? r.state : NULL,
                                                          .reason = u->active ? reason_of(s, &r, a) : "",
                                                          .score = score_of(u, s, &r, a),
                                                          .zone = zone_of(u, s->name, a),
                                                          .tier = server_set_tier(set, s),
                                                          .weight = r.weight,
                                                          .in_flight = r.in_flight,
                                                          .max_connections = r.max_connections,
                                                          .backup = r.backup};
    }
    return 0;
}

static void print_server(const struct explained_servers *all, const struct explained_server *s, FILE *out)
{
    fprintf(out, MARGIN "%.*s", SLICE_FMT(s->server->name));
    if (s->weight != 1)
        fprintf(out, " weight %u", s->weight);
    if (s->max_connections)
        fprintf(out, " at most %u at once", s->max_connections);
    if (s->zone)
        fprintf(out, " zone %s", s->zone);
    fprintf(out, "%s", s->backup ? " backup" : "");
    if (all->tiers > 1)
        fprintf(out, " (asked in turn %zu)", s->tier + 1);
    if (strcmp(s->source, "file") != 0)
        fprintf(out, " (%s)", s->source);
    if (s->state)
        fprintf(out, ", %s%s%s, %u in flight", s->state, s->reason[0] ? ": " : "", s->reason, s->in_flight);
    if (s->score)
        fprintf(out, ", %s", s->score);
    fprintf(out, "\n");
}

/* Entries that are no addresses: what they come to is known to the running process alone. */
static void print_sources(const struct upstream *u, FILE *out)
{
    static const char *const names[] = {[SOURCE_DNS] = "dns", [SOURCE_SRV] = "srv", [SOURCE_FILE] = "file"};
    const struct server_settings *all = u->settings->servers.at;
    for (size_t i = 0; i < u->settings->servers.count; i++) {
        enum source_kind kind;
        struct slice what;
        if (!discovery_entry(&all[i], &kind, &what))
            continue;
        const struct source *s = upstream_entry_source(u, i);
        if (!s)
            fprintf(out, MARGIN "%s %.*s%s: found while weir runs\n", names[kind], SLICE_FMT(what),
                    all[i].backup ? " backup" : "");
        else if (s->reason[0] || s->found_count == 0)
            fprintf(out, MARGIN "%s: %s\n", s->name, s->reason[0] ? s->reason : "no answer yet");
    }
}

/* What is left of the budget is each worker's own; a number that is a moment old does no harm. */
static double retries_left(const struct upstream *u)
{
    double left = 0;
    for (unsigned w = 0; w < u->workers; w++)
        left += budget_left(&u->budgets[w]) / 1000.0;
    return left;
}

size_t explain_upstream_notes(const struct upstream *u, struct arena *a, const char *notes[8])
{
    static const char *const breaker[] = {[BREAKER_CLOSED] = "breaker closed: requests go through",
                                          [BREAKER_OPEN] = "breaker open: requests are refused at once",
                                          [BREAKER_HALF_OPEN] =
                                              "breaker half open: single attempts are let through"};
    size_t count = 0;
    if (!u->active)
        return 0;
    const struct server_group *group = u->set->count ? u->set->servers[0]->group : NULL;
    if (group && group_in_panic(group))
        notes[count++] =
            arena_printf(a, "panic: fewer than %g%% are ready, so checks and ejections do not count",
                         u->settings->panic_threshold * 100);
    if (u->breaker)
        notes[count++] = breaker[breaker_state(u->breaker)];
    if (u->queue && u->settings->queue)
        notes[count++] = arena_printf(a, "queue: %u of at most %llu wait", queue_waiting(u->queue),
                                      (unsigned long long)u->settings->queue->size);
    notes[count++] = arena_printf(a, "retries: the budget has %.0f left now", retries_left(u));
    size_t good = 0;
    for (size_t i = 0; i < count; i++)
        if (notes[i])
            notes[good++] = notes[i];
    return good;
}

void explain_upstream_print(const struct explained *e, const struct upstream *u, FILE *out)
{
    struct arena a;
    struct explained_servers servers;
    struct explained_settings settings;
    const char *notes[8];
    arena_init(&a, NULL, 0);
    fprintf(out, " (%s%s)\n", u->policy->name, u->tls ? ", over TLS" : "");
    if (explain_servers(u, &a, &servers) == 0)
        for (size_t i = 0; i < servers.count; i++)
            print_server(&servers, &servers.at[i], out);
    print_sources(u, out);
    if (u->active) {
        fprintf(out, "               ");
        explain_pick(e, u, &(struct slice){0}, out);
        fprintf(out, "\n");
    }
    size_t count = explain_upstream_notes(u, &a, notes);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "               %s\n", notes[i]);
    explain_upstream_settings(u, &a, &settings);
    for (size_t i = 0; i < settings.count; i++)
        fprintf(out, "               %s %s   [%s]\n", settings.at[i].name, settings.at[i].value,
                settings.at[i].from);
    arena_reset(&a);
}
