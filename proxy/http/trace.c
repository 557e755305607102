#include "proxy/http/trace.h"

#include "proxy/http/fields.h"
#include "proxy/http/target.h"

static bool is_off(const struct exchange *x)
{
    return !x->snapshot->tracing ||
           (x->route && x->route->settings->has_tracing && !x->route->settings->tracing);
}

static uint64_t new_id(struct worker *w)
{
    uint64_t id = worker_random(w);
    return LIKELY(id) ? id : 1;
}

/* Beginning. */

static struct trace *begin(struct exchange *x)
{
    struct trace_parent parent;
    struct trace *t = arena_zalloc(&x->arena, sizeof *t);
    if (!t)
        return NULL;
    t->has_come = trace_is_there(&x->request.fields);
    if (UNLIKELY(t->has_come) && trace_parent_of(&x->request.fields, &parent)) {
        t->high = parent.high;
        t->low = parent.low;
        t->remote = parent.span;
        t->is_random = parent.is_random;
        t->parent_sampled = parent.sampled;
        t->state = trace_state_of(&x->request.fields, &x->arena);
    } else {
        t->high = new_id(x->worker);
        t->low = worker_random(x->worker);
    }
    t->span = t->seed = new_id(x->worker);
    x->trace = t;
    return t;
}

struct trace *trace_of(struct exchange *x)
{
    if (is_off(x))
        return NULL;
    return x->trace || x->is_fetch ? x->trace : begin(x);
}

static bool is_sampled(const struct exchange *x, struct trace *t)
{
    const struct tracing_settings *s = x->snapshot->tracing;
    const struct route_tracing_settings *own = x->route ? x->route->settings->tracing : NULL;
    if (t->decided)
        return t->sampled;
    t->decided = true;
    if (t->remote && s->parent) {
        t->sampled = t->parent_sampled;
        t->refused = !t->parent_sampled;
    } else {
        t->sampled = trace_is_among(t->low, own && own->has_sample ? own->sample : s->sample);
    }
    return t->sampled;
}

void trace_lead(struct exchange *fetch, struct exchange *client)
{
    struct trace *from = trace_of(client), *to = from ? arena_alloc(&fetch->arena, sizeof *to) : NULL;
    if (!to)
        return;
    is_sampled(client, from);
    *to = *from;
    to->told = NULL;
    to->seed = new_id(fetch->worker);
    to->state = arena_copy(&fetch->arena, from->state);
    if (!to->state.at)
        to->state = S("");
    fetch->trace = to;
}

/* Towards servers. */

int trace_fields(struct exchange *x, struct fields *out)
{
    struct trace *t = trace_of(x);
    if (!t)
        return 0;
    t->told = arena_alloc(&x->arena, TRACE_PARENT_TEXT);
    if (!t->told)
        return -1;
    struct trace_parent p = {.high = t->high,
                             .low = t->low,
                             .span = t->span,
                             .sampled = is_sampled(x, t),
                             .is_random = t->is_random};
    trace_parent_write(&p, t->told);
    if (UNLIKELY(t->has_come)) {
        fields_remove_name(out, S("traceparent"));
        fields_remove_name(out, S("tracestate"));
    }
    int failed =
        fields_add(&x->arena, out, FIELD_OTHER, S("traceparent"), slice_of(t->told, TRACE_PARENT_TEXT));
    if (t->state.len)
        failed |= fields_add(&x->arena, out, FIELD_OTHER, S("tracestate"), t->state);
    return failed;
}

void trace_attempt(struct exchange *x, const struct attempt *a)
{
    const struct trace *t = x->trace;
    unsigned number = 0;
    if (!t->told)
        return;
    for (const struct attempt *each = x->tries; each && each != a; each = each->next)
        number++;
    trace_hex(trace_attempt_id(t->seed, number), t->told + 36);
}

/* The end. */

/* What is there of a text, at most `max` bytes. */
static struct span_text put(struct span *s, struct slice text, size_t max)
{
    size_t room = SPAN_TEXT - s->text_len;
    size_t len = text.len < max ? text.len : max;
    len = len < room ? len : room;
    struct span_text t = {s->text_len, (uint16_t)len};
    if (len)
        memcpy(s->text + s->text_len, text.at, len);
    s->text_len = (uint16_t)(s->text_len + len);
    return t;
}

/* Cut, it would be another one. */
static struct span_text put_whole(struct span *s, struct slice text)
{
    return put(s, text.len <= (size_t)(SPAN_TEXT - s->text_len) ? text : S(""), SPAN_TEXT);
}

static void write_common(struct span *s, const struct exchange *x, const struct trace *t, enum span_kind kind)
{
    struct loop *l = &x->worker->loop;
    memset(s, 0, offsetof(struct span, text));
    s->kind = (uint8_t)kind;
    s->trace_high = t->high;
    s->trace_low = t->low;
    s->sampled = t->sampled;
    s->is_random = t->is_random;
    s->base_us = (int64_t)x->started_us + l->wall_offset_us;
    s->is_other_method = x->request.method_id == METHOD_OTHER;
    s->for_cache = x->is_fetch;
    s->method = put(s, x->request.method, 24);
    s->upstream = put(s, x->upstream ? x->upstream->name : S(""), 48);
}

static uint16_t port_of(struct slice digits)
{
    uint64_t port;
    return slice_to_u64(digits, &port) == 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static void write_request(struct span *s, const struct exchange *x, const struct trace *t)
{
    struct loop *l = &x->worker->loop;
    const struct field *agent = fields_find(&x->request.fields, FIELD_USER_AGENT);
    const struct route *route = x->route;
    struct slice path = route ? route->settings->path.text : S("");
    write_common(s, x, t, SPAN_SERVER);
    s->id = t->span;
    s->parent = t->remote;
    s->has_remote_parent = t->remote != 0;
    s->began_us = s->base_us;
    s->ended_us = loop_wall_us(l);
    s->request_bytes = x->request_bytes;
    s->response_bytes = x->response_bytes;
    s->status = x->status;
    s->meant_status = (uint16_t)exchange_meant_status(x);
    s->termination = termination_word((enum termination)x->termination);
    s->word = termination_is_failure((enum termination)x->termination) ? s->termination : NULL;
    s->cache = cache_result_name(exchange_cache_result(x)).at;
    s->attempts = x->attempts;
    s->protocol = x->protocol;
    s->is_tls = x->is_tls;
    s->is_grpc = x->is_grpc;
    s->grpc_status = x->grpc_status;
    s->port = port_of(host_port(x->request.host));
    s->route = put(s, route && !path.len ? S("/") : path, 64);
    s->name = put(s, route ? route->name : S(""), 48);
    s->listener = put(s, x->listener->name, 32);
    s->client = put(s, x->client_text, 46);
    s->request_id = put(s, x->request_id, 64);
    s->reason = put(s, slice_text(x->reason), 96);
    s->host = put(s, x->host, 96);
    s->agent = put(s, agent ? agent->value : S(""), 96);
    s->path = put(s, x->request.path, SPAN_TEXT);
    s->state = put_whole(s, t->state);
    s->query = put(s, x->snapshot->tracing->query ? x->request.query : S(""), SPAN_TEXT);
}

static const char *word_of(const struct attempt *a)
{
    switch ((enum outcome_kind)a->outcome) {
    case OUTCOME_UNREACHABLE:
        return "unreachable";
    case OUTCOME_RESET:
        return "reset";
    case OUTCOME_BAD:
        return "bad_response";
    case OUTCOME_TIMEOUT:
        return "timeout";
    case OUTCOME_ABANDONED: /* it says nothing of the server */
    case OUTCOME_ANSWERED:
        break;
    }
    return NULL;
}

static void write_attempt(struct span *s, const struct exchange *x, const struct trace *t,
                          const struct attempt *a, unsigned number)
{
    const struct server *server = a->server;
    write_common(s, x, t, SPAN_CLIENT);
    s->id = trace_attempt_id(t->seed, number);
    s->parent = t->span;
    s->began_us = s->base_us + a->started_us;
    s->ended_us = a->ended_us ? s->base_us + a->ended_us : loop_wall_us(&x->worker->loop);
    s->connected_us = a->connected_us;
    s->sent_us = a->sent_us;
    s->head_us = a->head_us;
    s->status = s->meant_status = a->status;
    s->number = (uint16_t)number;
    s->reused = a->reused;
    s->word = word_of(a);
    s->is_tls = x->upstream && x->upstream->tls;
    s->is_unix = slice_begins(server->name, S("unix:"));
    s->server = put(s, server->name, 64);
    s->address = put(s, s->is_unix ? slice_skip(server->name, 5) : server->host, 96);
    s->port = s->is_unix ? 0 : port_of(host_port(server->name));
    s->reason = put(s, slice_text(a->reason), 96);
    s->path = put(s, x->path, SPAN_TEXT);
    s->state = put_whole(s, t->state);
}

static bool has_failed(const struct exchange *x)
{
    return exchange_meant_status(x) >= 500 || termination_is_failure((enum termination)x->termination) ||
           (x->is_fetch && x->last_try && x->last_try->status >= 500);
}

/* What a fetch has tried is told by itself; a client that it was for knows of it, too. */
static const struct attempt *own_attempts(const struct exchange *x, const struct trace *t)
{
    return t->told ? x->tries : NULL;
}

void trace_end(struct exchange *x)
{
    struct trace *t = trace_of(x);
    const struct observers *o = x->worker->observers;
    struct span_ring *ring = t && o && o->spans ? o->spans(o->argument, x->worker->index) : NULL;
    uint32_t count = !x->is_fetch, i = 0;
    if (!ring)
        return;
    if (!is_sampled(x, t) && (t->refused || !x->snapshot->tracing->errors || !has_failed(x)))
        return;
    const struct attempt *attempts = own_attempts(x, t);
    for (const struct attempt *a = attempts; a; a = a->next)
        count++;
    if (count == 0 || !span_ring_has_room(ring, count))
        return;
    for (const struct attempt *a = attempts; a; a = a->next, i++)
        write_attempt(span_ring_next(ring, i), x, t, a, i);
    if (!x->is_fetch)
        write_request(span_ring_next(ring, i), x, t);
    span_ring_publish(ring, count);
}

/* Texts. */

static struct slice digits(struct exchange *x, uint64_t high, uint64_t low, bool both)
{
    size_t len = both ? 32 : 16;
    char *text = arena_alloc(&x->arena, len);
    if (!text)
        return S("");
    if (both)
        trace_hex(high, text);
    trace_hex(low, text + len - 16);
    return slice_of(text, len);
}

struct slice trace_id_text(struct exchange *x)
{
    struct trace_parent parent;
    const struct trace *t = trace_of(x);
    if (t)
        return digits(x, t->high, t->low, true);
    return trace_parent_of(&x->request.fields, &parent) ? digits(x, parent.high, parent.low, true) : S("");
}

struct slice trace_span_text(struct exchange *x)
{
    const struct trace *t = trace_of(x);
    return t ? digits(x, 0, t->span, false) : S("");
}
