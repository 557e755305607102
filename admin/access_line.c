/* The access log on the worker: an exchange that has ended becomes a line in the worker's buffer. */
#include <stdlib.h>

#include "admin/access_format.h"
#include "admin/access_internal.h"
#include "proxy/http/fields.h"
#include "tls/info.h"

/* A buffer that is mostly empty is copied, so that what waits in the writer's queue is not mostly air. */
void access_hand_over(struct access_buffer *b)
{
    if (b->len == 0)
        return;
    if (b->len < ACCESS_BUFFER / 2) {
        sink_line(b->log->sink, b->at, b->len);
    } else {
        sink_push(b->log->sink, b->at, b->len);
        b->at = NULL;
    }
    b->len = 0;
}

static struct access_log *log_of(const struct exchange *x)
{
    struct access_log *log = x->listener->config->access;
    ASSERT(!log || log->magic == ACCESS_LOG_MAGIC);
    return log;
}

bool access_log_wants_response(const struct exchange *x)
{
    const struct access_log *log = log_of(x);
    return log && log->wants_response;
}

void access_log_response_begins(struct exchange *x)
{
    const struct access_log *log = log_of(x);
    if (!log || !log->wants_response)
        return;
    for (size_t i = 0; i < log->template.count; i++) {
        const struct template_variable *v = &log->template.pieces[i].variable;
        if (!log->template.pieces[i].has_variable || v->id != TEMPLATE_RESPONSE_HEADER)
            continue;
        const struct fields *from = &x->response->fields;
        const struct field *f =
            v->field_id != FIELD_OTHER ? fields_find(from, v->field_id) : fields_find_name(from, v->name);
        if (!f)
            continue;
        struct slice value = arena_copy(&x->arena, f->value);
        if (!value.at || fields_add(&x->arena, &x->logged, v->field_id, v->name, value) != 0)
            return; /* out of memory: the line goes without it */
    }
}

static const char *end_text(const struct exchange *x)
{
    switch (x->end) {
    case END_COMPLETE:
        return "complete";
    case END_CLIENT_GONE:
        return "client gone";
    case END_SERVER_FAILED:
        return "server failed";
    case END_TIMEOUT:
        return "timeout";
    case END_CUT:
        return "cut";
    }
    return "";
}

static struct slice field_of(const struct exchange *x, enum field_id id, struct slice name)
{
    const struct fields *f = &x->request.fields;
    const struct field *found = id != FIELD_OTHER ? fields_find(f, id) : fields_find_name(f, name);
    return found ? found->value : S("");
}

static struct slice variable(struct exchange *x, enum template_id id)
{
    return exchange_variable(x, &(struct template_variable){.id = id});
}

static void describe(struct exchange *x, struct access_entry *e)
{
    struct loop *l = &x->worker->loop;
    *e = (struct access_entry){
        .wall_us = loop_wall_us(l),
        .client = x->client_text,
        .method = x->request.method,
        .host = x->host.len ? x->host : x->request.host,
        .target = x->request.target,
        .protocol = variable(x, TEMPLATE_PROTOCOL),
        .listener = x->listener->name,
        .route = x->route ? x->route->name : S(""),
        .upstream = x->upstream ? x->upstream->name : S(""),
        .server = x->server ? x->server->name : S(""),
        .request_id = x->request_id,
        .referer = field_of(x, FIELD_OTHER, S("referer")),
        .user_agent = field_of(x, FIELD_USER_AGENT, S("")),
        .tls_version = variable(x, TEMPLATE_TLS_VERSION),
        .termination = termination_word(termination_of(x)),
        .reason = slice_text(x->reason),
        .end = end_text(x),
        .status = x->status ? x->status : 499,
        .grpc_status = variable(x, TEMPLATE_GRPC_STATUS),
        .cache = variable(x, TEMPLATE_CACHE),
        .trace_id = x->snapshot->tracing ? variable(x, TEMPLATE_TRACE_ID) : S(""),
        .attempts = x->attempts,
        .bytes_in = x->request_bytes,
        .bytes_out = x->response_bytes,
        .duration_us = loop_now_us(l) - x->started_us,
        .upstream_us = x->upstream_head_us ? (int64_t)(x->upstream_head_us - x->upstream_started_us) : -1,
    };
    timings_of(x, &e->timings);
}

/* The length of the line at `at`; 0 when there is no room. */
static size_t format(const struct access_log *log, struct exchange *x, const struct access_entry *e, char *at,
                     size_t room, size_t value_max)
{
    struct access_text t = {.at = at, .end = at + room, .value_max = value_max};
    switch (log->form) {
    case ACCESS_JSON:
        access_format_json(&t, e);
        break;
    case ACCESS_COMBINED:
        access_format_combined(&t, e);
        break;
    case ACCESS_TEMPLATE:
        access_format_template(&t, &log->template, exchange_variable, x);
        break;
    }
    return t.overflow ? 0 : (size_t)(t.at - at);
}

/* False when there is no room. */
static bool append(struct access_buffer *b, struct exchange *x, const struct access_entry *e,
                   size_t value_max)
{
    if (!b->at && !(b->at = malloc(ACCESS_BUFFER)))
        return false;
    size_t len = format(b->log, x, e, b->at + b->len, ACCESS_BUFFER - b->len, value_max);
    b->len += len;
    return len != 0;
}

/* A line that does not fit into what is left goes into an empty buffer; one that does not fit there has its
 * values cut. */
static void write_line(struct access_buffer *b, struct exchange *x, const struct access_entry *e)
{
    static const size_t values_max[] = {8192, 1024, 128};
    if (append(b, x, e, values_max[0]))
        return;
    access_hand_over(b);
    for (size_t i = 0; i < COUNT_OF(values_max); i++)
        if (append(b, x, e, values_max[i]))
            return;
    sink_lose(b->log->sink, 1);
}

static bool is_wanted(const struct access_log *log, struct exchange *x)
{
    if (log->all || exchange_meant_status(x) >= 500)
        return true;
    /* 53 bits make a number in [0, 1). */
    return (double)(worker_random(x->worker) >> 11) * 0x1p-53 < log->sample;
}

void access_log_exchange_ended(struct exchange *x)
{
    struct access_log *log = log_of(x);
    if (!log || !is_wanted(log, x))
        return;
    unsigned worker = x->worker->index;
    struct access_buffer *b = &log->buffers[worker];
    struct access_entry e = {0};
    if (log->form != ACCESS_TEMPLATE)
        describe(x, &e);
    write_line(b, x, &e);
    if (b->len == 0 || list_linked(&b->link))
        return;
    struct access_worker *w = &log->logs->workers[worker];
    pthread_mutex_lock(&w->lock);
    list_append(&w->waiting, &b->link);
    pthread_mutex_unlock(&w->lock);
}
