#include "admin/explain_stream.h"

static bool is_https(const struct explained *e)
{
    return slice_equal(e->request.request.scheme, S("https"));
}

static bool has_port(const struct listener_config *l, uint64_t port)
{
    for (size_t i = 0; i < l->address_count; i++)
        if (address_port(&l->addresses[i]) == port)
            return true;
    return false;
}

static uint64_t port_of(const struct explained *e)
{
    uint64_t port;
    if (slice_to_u64(host_port(e->request.request.host), &port) != 0)
        port = is_https(e) ? 443 : 80;
    return port;
}

/* The name that a client would ask for; an address is none (RFC 6066 §3). */
static struct slice asked_for(const struct explained *e)
{
    struct ip ip;
    bool asks = is_https(e) && e->request.host.len && e->request.host.at[0] != '[' &&
                ip_parse(e->request.host, &ip) != 0;
    return asks ? e->request.host : S("");
}

static const struct upstream *by_name(const struct explained *e, const struct listener_config *l)
{
    return l->names ? server_names_find(l->names, asked_for(e)) : NULL;
}

static const struct listener_config *stream_listener(const struct explained *e)
{
    const struct snapshot *s = e->snapshot;
    enum listener_protocol wanted = e->scheme == EXPLAIN_UDP ? LISTENER_UDP : LISTENER_TCP;
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].protocol == wanted && has_port(&s->listeners[i], port_of(e)))
            return &s->listeners[i];
    return NULL;
}

bool explain_stream(struct explained *out)
{
    const struct listener_config *http =
        out->listener ? &out->snapshot->listeners[out->listener->slot] : NULL;
    const struct listener_config *l =
        http && out->scheme == EXPLAIN_HTTP && has_port(http, port_of(out)) ? NULL : stream_listener(out);
    const struct upstream *u;
    if (l) {
        u = by_name(out, l);
        out->stream = l;
        out->stream_upstream = u ? u : l->upstream;
        return true;
    }
    u = http && out->scheme != EXPLAIN_UDP ? by_name(out, http) : NULL;
    if (!u) {
        out->no_stream = out->scheme != EXPLAIN_HTTP;
        return out->no_stream;
    }
    out->stream = http;
    out->stream_upstream = u;
    return true;
}

void explain_stream_action(const struct explained *e, FILE *out)
{
    const struct listener_config *l = e->stream;
    struct slice name = asked_for(e);
    if (!e->stream_upstream) {
        fprintf(out, "refused: ");
        if (name.len)
            fprintf(out, "no upstream is for the name %.*s, and there is no default", SLICE_FMT(name));
        else
            fprintf(out, "%s, and there is no default", is_https(e) ? "no name is asked for" : "not TLS");
        return;
    }
    fprintf(out, "upstream %.*s, ", SLICE_FMT(e->stream_upstream->name));
    if (l->protocol == LISTENER_UDP)
        fprintf(out, "as datagrams: one session for each client's address and port");
    else if (l->tls && !by_name(e, l))
        fprintf(out, "as a stream of bytes; TLS ends here");
    else if (l->names && name.len)
        fprintf(out, "undecrypted, by the name %.*s", SLICE_FMT(name));
    else
        fprintf(out, "as a stream of bytes");
}
