/* Listeners, and the certificates that they show. */
#include "admin/internal.h"
#include "admin/live.h"
#include "admin/totals.h"

static json_t *addresses_json(const struct listener_config *l)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < l->address_count; i++)
        json_array_append_new(all, json_address(&l->addresses[i]));
    return all;
}

static json_t *limits_json(const struct limits *l)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "connections", (json_int_t)l->connections,
                     "connections_per_ip", (json_int_t)l->connections_per_ip, "request_line",
                     (json_int_t)l->request_line, "header_size", (json_int_t)l->header_size, "header_count",
                     (json_int_t)l->header_count, "body_size", (json_int_t)l->body_size);
}

static json_t *timeouts_json(const struct timeouts *t)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "connect_ms", (json_int_t)t->connect, "header_ms",
                     (json_int_t)t->header, "body_ms", (json_int_t)t->body, "response_ms",
                     (json_int_t)t->response, "keepalive_ms", (json_int_t)t->keepalive,
                     "upstream_keepalive_ms", (json_int_t)t->upstream_keepalive, "idle_ms",
                     (json_int_t)t->idle);
}

static json_t *listener_json(const struct runtime *rt, const struct listener_config *l)
{
    static const char *const protocols[] = {
        [LISTENER_HTTP] = "http", [LISTENER_TCP] = "tcp", [LISTENER_UDP] = "udp"};
    uint64_t open = 0, all = 0, refused = 0, in = 0, out = 0, handshake_failures = 0;
    struct totals t = {0};
    for (unsigned w = 0; w < rt->worker_count; w++) {
        const struct listener_worker_stats *s = l->stats->worker[w];
        open += counter_get(&s->connections_open);
        all += counter_get(&s->connections);
        refused += counter_get(&s->connections_refused);
        in += counter_get(&s->bytes_in);
        out += counter_get(&s->bytes_out);
        handshake_failures += counter_get(&s->handshake_failures);
    }
    totals_add_listener(&t, &rt->stats, l->stats);
    return json_pack(
        "{s:o, s:s, s:o, s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:I}", "name",
        json_slice(l->name), "protocol", protocols[l->protocol], "addresses", addresses_json(l), "tls",
        l->tls != NULL, "upstream", l->upstream ? json_slice(l->upstream->name) : json_null(), "connections",
        (json_int_t)open, "connections_total", (json_int_t)all, "connections_refused", (json_int_t)refused,
        "bytes_in", (json_int_t)in, "bytes_out", (json_int_t)out, "requests", (json_int_t)t.requests,
        "errors", (json_int_t)t.server_errors, "durations", totals_durations_json(t.fine), "limits",
        limits_json(&l->settings->limits), "timeouts", timeouts_json(&l->settings->timeouts), "handshakes",
        live_tls_json(&rt->stats, l->stats), "handshake_failures", (json_int_t)handshake_failures);
}

void api_listeners(struct http_call *c)
{
    const struct runtime *rt = admin_of(c)->runtime;
    json_t *all = json_array();
    for (size_t i = 0; all && i < rt->snapshot->listener_count; i++)
        json_array_append_new(all, listener_json(rt, &rt->snapshot->listeners[i]));
    api_reply(c, 200, json_pack("{s:o}", "listeners", all));
}

static json_t *certificate_json(const struct listener_config *l, const struct tls_certificate *t, int64_t now)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < t->name_count; i++)
        json_array_append_new(names, json_slice(t->names[i]));
    json_t *file = t->file ? json_slice(slice_text(t->file)) : json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:s, s:I, s:s}", "listener",
                     json_slice(l->name), "names", names, "file", file, "subject", json_slice(t->subject),
                     "issuer", json_slice(t->issuer), "not_before", json_time(t->not_before * 1000000),
                     "not_after", json_time(t->not_after * 1000000), "expires_seconds",
                     (json_int_t)(t->not_after - now), "key", t->key_type, "key_bits",
                     (json_int_t)t->key_bits, "fingerprint", t->fingerprint);
}

void api_certificates(struct http_call *c)
{
    struct runtime *rt = admin_of(c)->runtime;
    json_t *all = json_array();
    for (size_t i = 0; all && i < rt->snapshot->listener_count; i++) {
        const struct listener_config *l = &rt->snapshot->listeners[i];
        const struct tls_certificate *at = NULL;
        size_t count = l->tls ? tls_server_certificates(l->tls, &at) : 0;
        for (size_t k = 0; k < count; k++)
            json_array_append_new(all, certificate_json(l, &at[k], loop_wall_us(&rt->control) / 1000000));
    }
    api_reply(c, 200, json_pack("{s:o}", "certificates", all));
}
