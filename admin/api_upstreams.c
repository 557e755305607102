/* Upstreams and their servers: what they are, how they do, and changes by hand. */
#include "admin/api_upstreams.h"

#include "admin/asked.h"
#include "admin/live.h"
#include "admin/totals.h"
#include "balancer/discovery.h"
#include "balancer/ewma.h"
#include "balancer/keepalive.h"

static const char *balance_text(const struct upstream *u)
{
    return u->policy->name;
}

const char *server_admin_word(enum server_admin admin)
{
    static const char *const words[] = {[ADMIN_UP] = "up", [ADMIN_DRAIN] = "drain", [ADMIN_DOWN] = "down"};
    return words[admin];
}

static json_t *check_json(const struct server_report *r)
{
    if (!r->checked)
        return json_null();
    return json_pack("{s:b, s:s, s:o, s:f}", "ok", r->check_ok, "text", r->check_text, "at",
                     json_time(r->check_us), "took_ms", (double)r->check_took_us / 1000);
}

static uint64_t sum_of(const uint64_t *numbers, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += numbers[i];
    return sum;
}

static void add_figures(json_t *out, const struct server_totals *t)
{
    json_object_set_new(out, "reuse_ratio", live_reuse_json(t->opened, t->reused));
    json_object_set_new(out, "statuses", live_classes_json(t->statuses));
    json_object_set_new(out, "durations", totals_durations_json(t->fine));
}

json_t *server_json(const struct runtime *rt, const struct upstream *u, struct server *s)
{
    struct counters *tables[WORKERS_MAX];
    struct server_totals t;
    struct server_report r;
    counters_sum(tables, metrics_tables(rt, tables), s, &t);
    server_report(s, &r);
    uint64_t answered = sum_of(t.durations, COUNTERS_DURATIONS);
    json_t *out =
        json_pack("{s:o, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:b, s:I, s:I}", //
                  "address", json_slice(s->name), "source", upstream_source(u, s->name), "state", r.state,
                  "reason", r.reason, "usable", r.usable, "admin", server_admin_word(r.admin), "weight",
                  (json_int_t)r.weight, "file_weight", (json_int_t)r.file_weight, "backup", r.backup,
                  "max_connections", (json_int_t)r.max_connections, "in_flight", (json_int_t)r.in_flight);
    json_t *more = json_pack(
        "{s:b, s:I, s:f, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:f, s:I, s:I, s:I}", //
        "ejected", r.ejected, "ejections", (json_int_t)sum_of(r.ejections, EJECTIONS), "effective_weight",
        (double)r.weight * r.ramp / SERVER_WEIGHT_SCALE, //
        "socket", r.address.len ? json_address(&r.address) : json_null(), "changed", json_time(r.changed_us),
        "check", check_json(&r), "connections", "idle", (json_int_t)t.idle, "busy", (json_int_t)t.busy,
        "opened", (json_int_t)t.opened, "reused", (json_int_t)t.reused, "failed",
        (json_int_t)r.connect_failures, "requests", (json_int_t)sum_of(t.statuses, COUNTERS_STATUSES),
        "errors", (json_int_t)totals_server_errors(t.statuses), "unanswered", (json_int_t)t.statuses[0],
        "mean_ms", answered ? (double)t.duration_us / (double)answered / 1000 : 0.0, "duration_us",
        (json_int_t)t.duration_us, "bytes_in", (json_int_t)t.bytes_in, "bytes_out", (json_int_t)t.bytes_out);
    if (out && more)
        json_object_update_new(out, more);
    else
        json_decref(more);
    add_figures(out, &t);
    usec_t now_us = loop_now_us((struct loop *)(uintptr_t)&rt->control);
    uint32_t learned_us = ewma_value(s, now_us);
    msec_t limit = keepalive_limit(s, now_us);
    json_object_set_new(out, "learned_ms", learned_us ? json_real((double)learned_us / 1000) : json_null());
    json_object_set_new(out, "keepalive_learned_ms", limit ? json_integer((json_int_t)limit) : json_null());
    return out;
}

static json_t *breaker_json(const struct upstream *u)
{
    static const char *const words[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half_open"};
    return u->breaker ? json_string(words[breaker_state(u->breaker)]) : json_null();
}

/* up: every server gets requests; degraded: not all; down: none. */
static const char *state_of(const struct upstream *u)
{
    size_t usable = 0;
    for (size_t i = 0; i < u->set->count; i++)
        usable += server_usable(u->set->servers[i]);
    return usable && usable == u->set->count ? "up" : usable ? "degraded" : "down";
}

static json_t *source_json(const struct source *s)
{
    return json_pack("{s:s, s:I, s:s, s:o, s:o}", "source", s->name, "servers", (json_int_t)s->found_count,
                     "reason", s->reason, "asked", json_time(s->asked_us), "changed",
                     json_time(s->changed_us));
}

/* Of the entries that are no addresses: what they gave last, and why not anew. */
static json_t *sources_json(const struct upstream *u)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < u->settings->servers.count; i++) {
        const struct source *s = upstream_entry_source(u, i);
        if (s)
            json_array_append_new(all, source_json(s));
    }
    return all;
}

static json_t *removed_json(const struct upstream *u)
{
    const struct source *hand = upstream_hand(u);
    size_t count = 0;
    const struct slice *hidden = hand ? hand_hidden(hand, &count) : NULL;
    json_t *all = json_array();
    for (size_t i = 0; all && i < count; i++)
        json_array_append_new(all, json_slice(hidden[i]));
    return all;
}

static json_t *queue_json(const struct upstream *u)
{
    return u->queue ? json_pack("{s:I, s:I}", "waiting", (json_int_t)queue_waiting(u->queue), "size",
                                (json_int_t)u->settings->queue->size)
                    : json_null();
}

/* Which servers are wanted, and how many of them may still be shown. */
struct wanted {
    struct slice match;
    size_t left, total, matched;
};

/* `?match=` looks at the upstream's name, and at servers' addresses and states. */
static json_t *servers_json(const struct runtime *rt, const struct upstream *u, struct wanted *w)
{
    json_t *servers = json_array();
    w->total += u->set->count;
    for (size_t i = 0; servers && i < u->set->count; i++) {
        struct server_report r;
        server_report(u->set->servers[i], &r);
        const struct slice texts[] = {u->name, u->set->servers[i]->name, slice_text(r.state)};
        if (!asked_finds(w->match, texts, COUNT_OF(texts)))
            continue;
        w->matched++;
        if (w->left == 0)
            continue;
        w->left--;
        json_array_append_new(servers, server_json(rt, u, u->set->servers[i]));
    }
    return servers;
}

static json_t *upstream_json(const struct runtime *rt, const struct upstream *u, json_t *servers)
{
    const struct server_group *g = registry_group(rt->registry, u->name);
    return json_pack("{s:o, s:s, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "name", json_slice(u->name),
                     "balance", balance_text(u), "state", state_of(u), "panic", g && group_in_panic(g), "tls",
                     u->tls != NULL, "checked", u->settings->health_check != NULL, "breaker", breaker_json(u),
                     "queue", queue_json(u), "sources", sources_json(u), "removed", removed_json(u),
                     "servers", servers);
}

/* Upstreams without a server that is wanted are shown when all are. */
static json_t *wanted_json(struct admin *a, struct wanted *w)
{
    const struct snapshot *s = a->runtime->snapshot;
    bool is_all = w->match.len == 0 && w->left == SIZE_MAX;
    json_t *all = json_array();
    for (size_t i = 0; all && i < s->upstream_count; i++) {
        json_t *servers = servers_json(a->runtime, s->upstreams[i], w);
        if (is_all || json_array_size(servers))
            json_array_append_new(all, upstream_json(a->runtime, s->upstreams[i], servers));
        else
            json_decref(servers);
    }
    return all;
}

json_t *upstreams_json(struct admin *a)
{
    struct wanted w = {.left = SIZE_MAX};
    return wanted_json(a, &w);
}

void api_upstreams(struct http_call *c)
{
    struct wanted w = {.match = asked_value(c, "match"), .left = asked_number(c, "limit", SIZE_MAX)};
    usec_t now_us = api_reading_time(admin_of(c));
    json_t *all = wanted_json(admin_of(c), &w);
    api_reply(c, 200,
              json_pack("{s:o, s:I, s:I, s:I}", "upstreams", all, "now_us", (json_int_t)now_us,
                        "servers_total", (json_int_t)w.total, "servers_matched", (json_int_t)w.matched));
}

/* Changes. */

struct change {
    bool has_weight, has_state;
    int64_t weight; /* -1: the file's again */
    enum server_admin state;
};

static const char *read_weight(const json_t *value, struct change *out)
{
    if (!value)
        return NULL;
    out->has_weight = true;
    out->weight = json_is_null(value) ? -1 : json_integer_value(value);
    bool good = json_is_null(value) ||
                (json_is_integer(value) && out->weight >= 0 && out->weight <= SERVER_WEIGHT_MAX);
    return good ? NULL : "\"weight\" must be a whole number from 0 to 65535, or null for the file's";
}

static const char *read_state(const json_t *value, struct change *out)
{
    const char *word = json_string_value(value);
    if (!value)
        return NULL;
    for (int i = ADMIN_UP; word && i <= ADMIN_DOWN; i++) {
        if (strcmp(server_admin_word((enum server_admin)i), word) == 0) {
            out->has_state = true;
            out->state = (enum server_admin)i;
            return NULL;
        }
    }
    return "\"state\" must be \"up\", \"drain\" or \"down\"";
}

void problem_no_server(struct http_call *c, const struct upstream *u)
{
    char detail[512];
    int n = snprintf(detail, sizeof detail,
                     u ? "upstream %.*s has no server %.*s; its servers:" : "no upstream is called %.*s",
                     SLICE_FMT(c->arguments[0]), SLICE_FMT(c->arguments[1]));
    for (size_t i = 0; u && i < u->set->count && n > 0 && (size_t)n < sizeof detail - 1; i++)
        n += snprintf(detail + n, sizeof detail - (size_t)n, "%s %.*s", i ? "," : "",
                      SLICE_FMT(u->set->servers[i]->name));
    api_problem(c, 404, detail, NULL);
}

/* Until the file's weight changes, or as long as the process knows the server. */
static const char *lasts(const struct change *change)
{
    if (change->has_weight && change->weight < 0 && (!change->has_state || change->state == ADMIN_UP))
        return "the file's again";
    return change->has_weight ? "until its weight in the file changes, it leaves the upstream, or weir stops"
                              : "until it is set again, it leaves the upstream, or weir stops";
}

static void change_server(struct http_call *c, struct upstream *u, struct server *s,
                          const struct change *change)
{
    struct admin *a = admin_of(c);
    char text[256];
    if (change->has_weight)
        server_set_weight(s, change->weight);
    if (change->has_weight && upstream_reweigh(u) != 0)
        log_error("a weight does not count yet: out of memory", LOG_SLICE("server", s->name));
    if (change->has_state)
        server_set_admin(s, change->state);
    if (change->has_state && change->state == ADMIN_UP)
        server_readmit(s, loop_now_us(&a->runtime->control));
    struct server_report r;
    server_report(s, &r);
    snprintf(text, sizeof text, "%.*s %.*s is set to %s, weight %u, by hand", SLICE_FMT(s->upstream),
             SLICE_FMT(s->name), r.state, r.weight);
    log_info("a server was changed by hand", LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name),
             LOG_TEXT("state", r.state), LOG_U64("weight", r.weight));
    events_notice(a, "change", text);
    json_t *answer = server_json(a->runtime, u, s);
    if (answer)
        json_object_set_new(answer, "lasts", json_string(lasts(change)));
    api_reply(c, 200, answer);
}

void api_patch_server(struct http_call *c)
{
    static const char *const keys[] = {"weight", "state", NULL};
    struct upstream *u = snapshot_upstream(admin_of(c)->runtime->snapshot, c->arguments[0]);
    struct server *s = u ? upstream_server(u, c->arguments[1]) : NULL;
    struct change change = {0};
    if (!s) {
        problem_no_server(c, u);
        return;
    }
    json_t *body = api_body(c);
    if (body && api_only_keys(c, body, keys)) {
        const char *wrong = read_weight(json_object_get(body, "weight"), &change);
        if (!wrong)
            wrong = read_state(json_object_get(body, "state"), &change);
        if (!wrong && !change.has_weight && !change.has_state)
            wrong = "say what is to change: {\"weight\": 3} or {\"state\": \"drain\"}";
        if (wrong)
            api_problem(c, 400, wrong, NULL);
        else
            change_server(c, u, s, &change);
    }
    json_decref(body);
}
