/* What is counted by listener. */
#include "admin/metrics.h"
#include "core/hash.h"
#include "proxy/http/h2/abuse.h"

#define AT(member) offsetof(struct listener_worker_stats, member)

/* Each listener that is shown, in turn: NULL after the last. */
static const struct listener_stats *next(const struct metrics_run *r, const struct listener_stats *l)
{
    do
        l = l ? l->next : r->runtime->stats.listeners;
    while (l && !metrics_shows_listener(r, l));
    return l;
}

#define EACH_LISTENER(r, l) for (const struct listener_stats *l = next(r, NULL); l; l = next(r, l))

static void one(struct metrics_run *r, const struct listener_stats *l, const char *name, size_t offset)
{
    size_t none = metrics_label(&r->w, "listener", slice_text(l->name));
    metrics_count(&r->w, name, metrics_sum_listener(r->runtime, l, offset));
    metrics_cut(&r->w, none);
}

static void by_listener(struct metrics_run *r, enum metrics_type type, const char *name, const char *help,
                        size_t offset)
{
    metrics_family(&r->w, type, name, help);
    EACH_LISTENER(r, l)
    {
        one(r, l, name, offset);
    }
}

/* A row of counters, each under a word; those without a word are left out, and (but for `zeros`) those that
 * are 0. */
struct words {
    const char *label;
    const char *(*word)(unsigned index);
    unsigned count;
    bool zeros;
};

static void by_word(struct metrics_run *r, const struct listener_stats *l, const char *name, size_t offset,
                    const struct words *words)
{
    size_t none = metrics_label(&r->w, "listener", slice_text(l->name));
    for (unsigned i = 0; i < words->count; i++) {
        uint64_t n = metrics_sum_listener(r->runtime, l, offset + i * sizeof(counter));
        const char *word = words->word(i);
        if (!word || (!n && !words->zeros))
            continue;
        size_t before = metrics_label(&r->w, words->label, slice_text(word));
        metrics_count(&r->w, name, n);
        metrics_cut(&r->w, before);
    }
    metrics_cut(&r->w, none);
}

static void family_by_word(struct metrics_run *r, const char *name, const char *help, size_t offset,
                           const struct words *words)
{
    metrics_family(&r->w, METRICS_COUNTER, name, help);
    EACH_LISTENER(r, l)
    {
        by_word(r, l, name, offset, words);
    }
}

static const char *way(unsigned i)
{
    static const char *const ways[] = {"in", "out"};
    return ways[i];
}

static const struct words both_ways = {"direction", way, 2, true};

/* Of those of the configuration, its limit. */
static void limits(struct metrics_run *r)
{
    const struct snapshot *s = r->runtime->snapshot;
    metrics_family(&r->w, METRICS_GAUGE, "connections_limit", "Client connections that may be open at once.");
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        if (!l->settings->limits.connections)
            continue;
        size_t none = metrics_label(&r->w, "listener", l->name);
        metrics_count(&r->w, "connections_limit", l->settings->limits.connections);
        metrics_cut(&r->w, none);
    }
}

/* Datagrams. */

static bool is_udp(const struct metrics_run *r, const struct listener_stats *l)
{
    const struct listener_config *config = snapshot_listener(r->runtime->snapshot, slice_text(l->name));
    return config && config->protocol == LISTENER_UDP;
}

static const char *drop_reason(unsigned i)
{
    static const char *const reasons[UDP_DROPS] = {"limit", "no_server", "send"};
    return reasons[i];
}

static void datagrams(struct metrics_run *r)
{
    static const struct words dropped = {"reason", drop_reason, UDP_DROPS, true};
    metrics_family(&r->w, METRICS_COUNTER, "udp_datagrams_total",
                   "Datagrams from (in) and to (out) clients.");
    EACH_LISTENER(r, l)
    {
        if (is_udp(r, l))
            by_word(r, l, "udp_datagrams_total", AT(udp_in), &both_ways);
    }
    metrics_family(&r->w, METRICS_COUNTER, "udp_datagrams_dropped_total",
                   "Datagrams that were not passed on.");
    EACH_LISTENER(r, l)
    {
        if (is_udp(r, l))
            by_word(r, l, "udp_datagrams_dropped_total", AT(udp_dropped), &dropped);
    }
    metrics_family(&r->w, METRICS_COUNTER, "udp_sessions_evicted_total",
                   "Sessions that ended to make room for others, the quietest first.");
    EACH_LISTENER(r, l)
    {
        if (is_udp(r, l))
            one(r, l, "udp_sessions_evicted_total", AT(udp_evicted));
    }
}
_Static_assert(AT(udp_out) == AT(udp_in) + sizeof(counter), "read as a row");
_Static_assert(AT(bytes_out) == AT(bytes_in) + sizeof(counter), "read as a row");

bool metrics_listeners(struct metrics_run *r)
{
    by_listener(r, METRICS_GAUGE, "connections", "Client connections open now.", AT(connections_open));
    by_listener(r, METRICS_LONE_COUNTER, "connections_total", "Client connections accepted.",
                AT(connections));
    by_listener(r, METRICS_COUNTER, "connections_refused_total",
                "Client connections closed at once, by a limit.", AT(connections_refused));
    limits(r);
    family_by_word(r, "bytes_total", "Bytes on the wire, from (in) and to (out) clients.", AT(bytes_in),
                   &both_ways);
    datagrams(r);
    return false;
}

/* How requests ended. */

static const char *grpc_status(unsigned i)
{
    static const char *const numbers[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                          "9", "10", "11", "12", "13", "14", "15", "16"};
    _Static_assert(COUNT_OF(numbers) == GRPC_STATUSES, "a status, a text");
    return i < GRPC_STATUSES ? numbers[i] : "none";
}

static const char *abuse(unsigned i)
{
    return h2_abuse_name((enum h2_abuse_kind)i);
}

static const char *termination(unsigned i)
{
    return termination_word((enum termination)i);
}

bool metrics_endings(struct metrics_run *r)
{
    static const struct words statuses = {"grpc_status", grpc_status, GRPC_STATUSES + 1, false};
    static const struct words kinds = {"kind", abuse, H2_ABUSE_KINDS, false};
    static const struct words terminations = {"termination", termination, TERMINATIONS, false};
    family_by_word(r, "terminations_total", "Finished requests, by the word for how they ended.",
                   AT(terminations), &terminations);
    metrics_family(&r->w, METRICS_COUNTER, "rate_limited_total",
                   "Requests that a route's rate limit refused.");
    size_t none = metrics_label(&r->w, "route", S("-"));
    metrics_count(&r->w, "rate_limited_total", 0); /* no route can have a limit yet */
    metrics_cut(&r->w, none);
    family_by_word(r, "grpc_calls_total",
                   "Finished requests of gRPC, by the status that the client was told (none: it was cut).",
                   AT(grpc), &statuses);
    by_listener(r, METRICS_COUNTER, "http2_malformed_total",
                "HTTP/2 requests whose stream was reset for what is in them.", AT(h2_malformed));
    family_by_word(r, "http2_abuse_total", "HTTP/2 connections that were cut for a flood of some kind.",
                   AT(h2_abuse), &kinds);
    return false;
}

/* TLS. */

static void handshakes(struct metrics_run *r)
{
    static const char *const versions[4] = {"other", NULL, "1.2", "1.3"};
    metrics_family(&r->w, METRICS_COUNTER, "tls_handshakes_total", "Handshakes that were completed.");
    EACH_LISTENER(r, l)
    {
        size_t none = metrics_label(&r->w, "listener", slice_text(l->name));
        for (unsigned i = 0; i < COUNT_OF(versions) * 2; i++) {
            uint64_t n = metrics_sum_listener(r->runtime, l, AT(handshakes) + i * sizeof(counter));
            if (!n || !versions[i / 2])
                continue;
            size_t before = metrics_label(&r->w, "version", slice_text(versions[i / 2]));
            metrics_label(&r->w, "resumed", i % 2 ? S("true") : S("false"));
            metrics_count(&r->w, "tls_handshakes_total", n);
            metrics_cut(&r->w, before);
        }
        metrics_cut(&r->w, none);
    }
}

static void certificate(struct metrics_run *r, const struct listener_config *l,
                        const struct tls_certificate *t)
{
    int64_t now = loop_wall_us(&r->runtime->control) / 1000000;
    size_t none = metrics_label(&r->w, "listener", l->name);
    metrics_label(&r->w, "name", t->name_count ? t->names[0] : S(""));
    metrics_label(&r->w, "fingerprint", slice_of(t->fingerprint, 16));
    metrics_number(&r->w, "tls_certificate_expiry_seconds", (double)(t->not_after - now));
    metrics_cut(&r->w, none);
}

/* The same certificate may stand twice in a file; a series may not. */
static void certificates_of(struct metrics_run *r, const struct listener_config *l)
{
    const struct tls_certificate *all;
    size_t count = tls_server_certificates(l->tls, &all);
    struct table *told = table_create();
    for (size_t i = 0; told && i < count; i++) {
        uint64_t unused;
        struct slice fingerprint = slice_text(all[i].fingerprint);
        if (table_get(told, fingerprint, &unused))
            continue;
        certificate(r, l, &all[i]);
        r->w.failed |= table_put(told, fingerprint, 1) != 0;
    }
    r->w.failed |= !told;
    table_free(told);
}

static void certificates(struct metrics_run *r)
{
    const struct snapshot *s = r->runtime->snapshot;
    metrics_family(&r->w, METRICS_GAUGE, "tls_certificate_expiry_seconds",
                   "Seconds until the certificate expires; negative once it has.");
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].tls)
            certificates_of(r, &s->listeners[i]);
}

bool metrics_tls(struct metrics_run *r)
{
    handshakes(r);
    by_listener(r, METRICS_COUNTER, "tls_handshake_failures_total", "Handshakes that failed.",
                AT(handshake_failures));
    certificates(r);
    return false;
}
