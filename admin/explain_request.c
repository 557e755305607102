/* Asking: from a method and a URL to everything that `weir explain` tells (explain_text.h). */
#include "admin/explain_stream.h"
#include "admin/explain_text.h"
#include "tls/server.h"

/* "tcp://" and its like stand for the same URL of http, whose host and port count. */
static struct slice without_scheme(struct arena *a, struct slice url, enum explained_scheme *scheme)
{
    static const struct {
        struct slice begin;
        const char *as;
        enum explained_scheme scheme;
    } known[] = {{SLICE("tcp://"), "http://", EXPLAIN_TCP},
                 {SLICE("tls://"), "https://", EXPLAIN_TLS},
                 {SLICE("udp://"), "http://", EXPLAIN_UDP}};
    *scheme = EXPLAIN_HTTP;
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (url.len < 6 || !slice_equal_nocase(slice_of(url.at, 6), known[i].begin))
            continue;
        struct slice rest = slice_skip(url, 6);
        *scheme = known[i].scheme;
        return slice_text(arena_printf(a, "%s%s%.*s", known[i].as,
                                       rest.len && rest.at[0] == ':' ? "localhost" : "", SLICE_FMT(rest)));
    }
    return url;
}

static const struct plain_listener *by_name(struct plain_request *p, const struct plain_listener *listeners,
                                            size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(listeners[i].name, name)) {
            p->listener = name;
            p->listener_slot = listeners[i].slot;
            p->config = listeners[i].config;
            return &listeners[i];
        }
    return NULL;
}

static int choose_listener(struct explained *out, const struct explain_input *in,
                           const struct plain_listener *listeners, size_t count, const char **why)
{
    if (!in->listener.len) {
        out->listener = plain_request_listener(&out->request, listeners, count);
        return 0;
    }
    out->listener = by_name(&out->request, listeners, count, in->listener);
    *why = "no http listener has that name";
    return out->listener ? 0 : -1;
}

/* As is_misdirected() has it: what the connection had to show is not what that host asks for. */
static void refuse_misdirected(struct plain_request *p, struct slice sni)
{
    const struct tls_server *tls = p->config->tls;
    if (!tls || !sni.len || p->refused || p->path_fault ||
        tls_server_policy(tls, p->host) == tls_server_policy(tls, sni))
        return;
    p->refused = 421;
    p->refusal = "this host has other demands on client certificates than the connection's";
}

int explain_request(const struct snapshot *s, const struct explain_input *in, struct arena *arena,
                    struct explained *out, const char **why)
{
    struct router_scratch scratch = {0};
    struct plain_listener *listeners = NULL;
    *out = (struct explained){.snapshot = s, .cache = in->cache, .url = in->url};
    *why = "out of memory";
    struct slice url = without_scheme(arena, in->url, &out->scheme);
    if (!url.at || plain_request_make(arena, in->method, url, in->headers, in->header_count, in->client,
                                      &out->request, why) != 0)
        return -1;
    size_t count = snapshot_plain_listeners(s, arena, &listeners);
    *why = "out of memory";
    if (!listeners || choose_listener(out, in, listeners, count, why) != 0)
        return -1;
    if (!in->listener.len && (explain_stream(out) || !out->listener))
        return 0;
    *why = "out of memory";
    if (plain_request_receive(arena, &out->request) != 0)
        return -1;
    refuse_misdirected(&out->request, in->sni);
    int result =
        router_explain(s->router, s->routes, s->route_count, &out->request, &scratch, arena, &out->why);
    router_scratch_free(&scratch);
    return result;
}
