#include "proxy/http/forward_request.h"

#include "proxy/http/client_address.h"
#include "proxy/http/fields.h"
#include "proxy/http/forwarded.h"
#include "proxy/http/hops.h"
#include "proxy/http/trace.h"
#include "proxy/http/websocket.h"

/* Fields that are set anew whatever came. */
#define SET_ANEW                                                                                             \
    (FIELD_BIT(FIELD_X_FORWARDED_FOR) | FIELD_BIT(FIELD_X_FORWARDED_PROTO) |                                 \
     FIELD_BIT(FIELD_X_FORWARDED_HOST) | FIELD_BIT(FIELD_FORWARDED) | FIELD_BIT(FIELD_X_REQUEST_ID) |        \
     FIELD_BIT(FIELD_HOST))

#define FIELDS_ADDED 12  /* at most, but for what a route adds */
#define LINES_NAMES  128 /* more than the names of add_lines(), and what stands around them */

/* All X-Forwarded-For lines that came, in order, and the peer. Where none came, but Forwarded did, the client
 * that it names: servers that read X-Forwarded-For alone would take the proxy for it. */
static struct slice forwarded_for(struct exchange *x, bool trusted)
{
    if (!trusted)
        return x->client_text; /* the peer itself */
    char *peer_text = arena_alloc(&x->arena, 48);
    if (!peer_text)
        return slice_of(NULL, 0);
    struct slice peer = slice_of(peer_text, ip_print(&x->peer, peer_text, 48));
    struct slice all = peer;
    if (!fields_find(&x->request.fields, FIELD_X_FORWARDED_FOR) && !slice_equal(x->client_text, peer))
        return slice_text(arena_printf(&x->arena, "%.*s, %.*s", SLICE_FMT(x->client_text), SLICE_FMT(peer)));
    for (uint32_t i = x->request.fields.count; i-- > 0;) {
        const struct field *f = &x->request.fields.at[i];
        if (f->id == FIELD_X_FORWARDED_FOR && f->value.len)
            all = slice_text(arena_printf(&x->arena, "%.*s, %.*s", SLICE_FMT(f->value), SLICE_FMT(all)));
    }
    return all;
}

/* What came of Forwarded, as one list; empty when some of it is none: an element behind it would be lost. */
static struct slice forwarded_that_came(struct exchange *x)
{
    struct slice all = S("");
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        const struct field *f = &x->request.fields.at[i];
        if (f->id != FIELD_FORWARDED || f->value.len == 0)
            continue;
        struct slice *nodes = arena_alloc(&x->arena, forwarded_bound(f->value) * sizeof *nodes);
        if (!nodes || forwarded_nodes(f->value, nodes) < 0)
            return S("");
        all = slice_text(
            arena_printf(&x->arena, "%.*s%s%.*s", SLICE_FMT(all), all.len ? ", " : "", SLICE_FMT(f->value)));
    }
    return all;
}

/* Servers that read Forwarded get a true one; where none came, X-Forwarded-* is all they get. */
static int add_forwarded(struct exchange *x, struct fields *out, bool trusted)
{
    if (!fields_find(&x->request.fields, FIELD_FORWARDED))
        return 0;
    struct slice own = forwarded_element(&x->arena, &x->peer, x->request.host, x->request.scheme);
    struct slice before = trusted ? forwarded_that_came(x) : S("");
    if (before.len && own.at)
        own = slice_text(arena_printf(&x->arena, "%.*s, %.*s", SLICE_FMT(before), SLICE_FMT(own)));
    return own.at ? fields_add(&x->arena, out, FIELD_FORWARDED, S("Forwarded"), own) : -1;
}

static bool upgrade_is_passed_on(const struct exchange *x)
{
    const struct field *f = fields_find(&x->request.fields, FIELD_UPGRADE);
    /* h2c would let the client speak to the server in a protocol that nobody here checks. */
    return x->request.upgrade && x->request_done && f && !slice_equal_nocase(f->value, S("h2c")) &&
           slice_find(f->value, ',') == f->value.len;
}

/* What asks the server for the upgrade that the client asked for. An extended CONNECT has no fields for that
 * (RFC 8441 §5): they are made, and a key that came is not the one that the answer proves to have seen. */
static int add_upgrade(struct exchange *x, struct fields *out)
{
    struct arena *a = &x->arena;
    struct slice protocol = x->request.protocol;
    if (protocol.len) {
        struct slice key = websocket_key(a);
        fields_remove_name(out, S("sec-websocket-key"));
        if (!key.len || fields_add(a, out, FIELD_OTHER, S("Sec-WebSocket-Key"), key) != 0)
            return -1;
    } else if (upgrade_is_passed_on(x)) {
        protocol = fields_find(&x->request.fields, FIELD_UPGRADE)->value;
    } else {
        return 0;
    }
    return fields_add(a, out, FIELD_UPGRADE, S("Upgrade"), protocol) |
           fields_add(a, out, FIELD_CONNECTION, S("Connection"), S("upgrade"));
}

/* X_Forwarded_For and its like: servers that make variables of fields (RFC 3875 §4.1.18) take it for the real
 * one. */
static bool poses_as_set_anew(const struct field *f)
{
    char name[sizeof "x-forwarded-proto" - 1];
    if (f->name.len > sizeof name || !memchr(f->name.at, '_', f->name.len))
        return false;
    for (size_t i = 0; i < f->name.len; i++)
        name[i] = f->name.at[i] == '_' ? '-' : f->name.at[i];
    return SET_ANEW >> field_id(slice_of(name, f->name.len)) & 1;
}

/* Appends those that came, without those that end here and those that are set anew; there is room for all. */
static void take_fields(const struct fields *in, bool keep_forwarded, struct fields *out)
{
    uint64_t drop = SET_ANEW;
    if (keep_forwarded)
        drop &= ~(FIELD_BIT(FIELD_X_FORWARDED_PROTO) | FIELD_BIT(FIELD_X_FORWARDED_HOST));
    struct field *to = out->at + out->count;
    struct fields came = *in;
    if (UNLIKELY((in->absent & FIELDS_HOP_BY_HOP) != FIELDS_HOP_BY_HOP) && in->count) {
        memcpy(to, in->at, in->count * sizeof *to);
        came.at = to;
        fields_strip_hop_by_hop(&came);
    }
    for (uint32_t i = 0; i < came.count; i++) {
        const struct field *f = &came.at[i];
        if (!(drop >> f->id & 1) && !(f->id == FIELD_OTHER && poses_as_set_anew(f)))
            *to++ = *f;
    }
    out->count = (uint32_t)(to - out->at);
    out->absent = came.absent | drop;
}

/* Host goes first (RFC 9110 §7.2), as it came; an absolute target's authority counts as that. */
static int add_host(struct exchange *x, struct fields *out)
{
    const struct field *came = fields_find(&x->request.fields, FIELD_HOST);
    if (came && slice_equal(came->value, x->request.host)) {
        out->at[out->count++] = *came;
        return 0;
    }
    return fields_add(&x->arena, out, FIELD_HOST, S("Host"), x->request.host);
}

/* One line of those that are set anew, behind the one before it. */
static inline char *put_line(char *line, struct fields *out, enum field_id id, struct slice name,
                             struct slice value)
{
    char *at = line + name.len;
    memcpy(line, name.at, name.len);
    memcpy(at, ": ", 2);
    if (value.len)
        memcpy(at + 2, value.at, value.len);
    at += 2 + value.len;
    memcpy(at, "\r\n", 2);
    at += 2;
    out->at[out->count++] = (struct field){.name = slice_of(line, name.len),
                                           .value = slice_of(line + name.len + 2, value.len),
                                           .line_len = (uint32_t)(at - line),
                                           .id = (uint16_t)id};
    out->absent &= ~FIELD_BIT(id);
    return at;
}

/* What every server is told, as lines that stand one behind the other: a head is written of them in one
 * piece. */
static int add_lines(struct exchange *x, struct fields *out, struct slice chain, bool trusted)
{
    const struct http_request *r = &x->request;
    struct slice via = x->protocol == 20 ? S("2.0 weir") : r->minor ? S("1.1 weir") : S("1.0 weir");
    char *at = arena_alloc(&x->arena, chain.len + r->scheme.len + r->host.len + x->request_id.len + via.len +
                                          LINES_NAMES);
    if (!at)
        return -1;
    at = put_line(at, out, FIELD_X_FORWARDED_FOR, S("X-Forwarded-For"), chain);
    if (!trusted || !fields_find(out, FIELD_X_FORWARDED_PROTO))
        at = put_line(at, out, FIELD_X_FORWARDED_PROTO, S("X-Forwarded-Proto"), r->scheme);
    if ((!trusted || !fields_find(out, FIELD_X_FORWARDED_HOST)) && r->host.len)
        at = put_line(at, out, FIELD_X_FORWARDED_HOST, S("X-Forwarded-Host"), r->host);
    at = put_line(at, out, FIELD_X_REQUEST_ID, S("X-Request-Id"), x->request_id);
    put_line(at, out, FIELD_VIA, S("Via"), via);
    return 0;
}

int forward_fields(struct exchange *x, struct fields *out)
{
    bool trusted = client_peer_is_trusted(x);
    struct arena *a = &x->arena;
    struct slice chain = forwarded_for(x, trusted);
    uint32_t capacity = x->request.fields.count + FIELDS_ADDED;
    *out = (struct fields){.at = arena_alloc(a, capacity * sizeof *out->at), .capacity = capacity};
    if (!out->at || !chain.at || add_host(x, out) != 0)
        return -1;
    take_fields(&x->request.fields, trusted, out);
    out->absent &= ~FIELD_BIT(FIELD_HOST);
    int failed = add_lines(x, out, chain, trusted);
    failed |= add_forwarded(x, out, trusted);
    failed |= hops_count_down(a, &x->request, out);
    failed |= add_upgrade(x, out);
    if (UNLIKELY(x->snapshot->tracing != NULL))
        failed |= trace_fields(x, out);
    if (x->route->request_headers.count)
        failed |= edits_apply(&x->route->request_headers, out, a, exchange_variable, x);
    return failed;
}

void forward_put_deadline(struct exchange *x, struct fields *f)
{
    struct field *timeout = fields_find_name(f, S("grpc-timeout"));
    usec_t now = loop_now_us(&x->worker->loop);
    char *room = x->expires_us && timeout ? arena_alloc(&x->arena, GRPC_TIMEOUT_TEXT) : NULL;
    if (!room)
        return;
    timeout->value = grpc_write_timeout(x->expires_us > now ? x->expires_us - now : 0, room);
    timeout->line_len = 0;
}

void forward_write_head(const struct exchange *x, const struct fields *f, struct head_writer *w)
{
    head_put_request_line(w, &x->request, x->path);
    head_put_fields(w, f, 0);
    if (x->request.body == BODY_CHUNKED)
        head_put(w, S("Transfer-Encoding: chunked\r\n"));
    else if (x->request.body == BODY_LENGTH && !fields_find(f, FIELD_CONTENT_LENGTH)) {
        head_put(w, S("Content-Length: "));
        head_put_number(w, x->request.content_length);
        head_put(w, S("\r\n"));
    }
    head_put(w, S("\r\n"));
}
