#include <errno.h>
#include <stdlib.h>

#include "proxy/http/h2/upstream_internal.h"

/* On a connection, and off it. */

void h2_call_attach(struct h2_call *call, struct h2_server *c)
{
    call->magic = H2_CALL_MAGIC;
    call->connection = c;
    list_init(&call->due);
    call->opened = h2_call_is_ready(call, c);
    list_append(call->opened ? &c->calls : &c->waiting, &call->link);
    c->begun = c->begun || call->opened;
    c->call_count++;
    c->requests++;
    if (c->requests > 1) {
        c->uc->requests++;
        c->uc->reused = true;
    }
    if (c->session)
        counter_add(&c->uc->counters->reused, 1);
    if (c->requests_max && c->requests >= c->requests_max)
        h2_server_drain(c);
    h2_server_called(c);
}

static void let_go_of_bytes(struct h2_call *call)
{
    struct h2_server *c = call->connection;
    c->held -= call->unconsumed;
    call->unconsumed = 0;
    if (!c->over)
        h2_calls_give_back(c);
}

void h2_call_detach(struct h2_call *call)
{
    struct h2_server *c = call->connection;
    ASSERT(c && c->call_count);
    let_go_of_bytes(call);
    list_remove(&call->link);
    list_remove(&call->due);
    buffer_clear(&call->pending, &c->loop->blocks);
    if (call->id && !call->closed)
        nghttp2_session_set_stream_user_data(c->session, call->id, NULL);
    call->connection = NULL;
    c->call_count--;
    if (c->uc)
        pool_count_bytes(c->uc);
    h2_server_called(c);
}

/* For the caller. */

int h2_call_open(struct h2_call *call, const struct h2_open *o)
{
    struct h2_server *c = h2_server_find(o, call->may_be_http1);
    if (!c)
        return -errno;
    h2_call_attach(call, c);
    return call->opened ? 1 : 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *user_data);

void h2_call_send(struct h2_call *call, const nghttp2_nv *head, size_t count, bool end)
{
    struct h2_server *c = call->connection;
    nghttp2_data_provider provider = {.read_callback = read_body};
    call->out_ended = end;
    call->id = nghttp2_submit_request(c->session, NULL, head, count, end ? NULL : &provider, call);
    if (call->id < 0) {
        call->id = 0;
        call->closed = true;
        h2_server_drain(c); /* its numbers are used up, or memory is */
        h2_call_set_fate(call, H2_CALL_REFUSED, "no more requests can be sent on the connection");
    }
    h2_server_flush_later(c);
}

static void go_on(struct h2_call *call)
{
    if (call->deferred && !call->closed) {
        call->deferred = false;
        nghttp2_session_resume_data(call->connection->session, call->id);
    }
    h2_server_flush_later(call->connection);
}

void h2_call_write(struct h2_call *call, const struct iovec *iov, int count, bool end)
{
    struct h2_server *c = call->connection;
    if (call->out_ended || call->closed)
        return;
    if (count && buffer_append(&call->pending, &c->loop->blocks, iov, count, 0) != 0) {
        h2_call_set_fate(call, H2_CALL_LOST, "out of memory");
        return;
    }
    if (call->pending.bytes >= H2_CALL_HIGH_WATER)
        call->over = true;
    call->out_ended = end;
    go_on(call);
}

static void consume(struct h2_call *call)
{
    struct h2_server *c = call->connection;
    if (!call->unconsumed)
        return;
    if (!call->closed)
        nghttp2_session_consume_stream(c->session, call->id, call->unconsumed);
    let_go_of_bytes(call);
    h2_server_flush_later(c);
}

void h2_call_pause(struct h2_call *call, bool pause)
{
    call->paused = pause;
    if (!pause)
        consume(call);
}

bool h2_call_is_on_idle(const struct h2_call *call)
{
    const struct h2_server *c = call->connection;
    return c->requests > 1 && c->call_count == 1;
}

bool h2_call_joins(const struct h2_call *call)
{
    return call->connects || call->connection->requests > 1;
}

bool h2_call_may_connect(const struct h2_call *call)
{
    const struct h2_server *c = call->connection;
    return c->session &&
           nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

void h2_call_leave(struct h2_call *call)
{
    struct h2_server *c = call->connection;
    if (!c)
        return;
    if (call->id && !call->closed && !c->over) {
        /* RFC 9113 §8.1: an answer that came early is an answer. */
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, call->id,
                                  call->ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
        h2_server_flush_later(c);
    }
    h2_call_detach(call);
}

/* Telling. */

void h2_call_is_due(struct h2_call *call)
{
    if (!list_linked(&call->due))
        list_append(&call->connection->due, &call->due);
}

void h2_call_set_fate(struct h2_call *call, enum h2_call_fate fate, const char *reason)
{
    if (call->fate != H2_CALL_GOES_ON)
        return;
    call->fate = (uint8_t)fate;
    call->reason = reason;
    h2_call_is_due(call);
    h2_server_flush_later(call->connection);
}

static void end(struct h2_call *call)
{
    enum h2_call_fate fate = call->fate;
    h2_call_leave(call);
    if (fate == H2_CALL_REFUSED)
        call->events->refused(call, call->reason);
    else if (fate == H2_CALL_LOST)
        call->events->lost(call, call->reason);
    else
        call->events->bad(call, call->reason);
}

static void tell(struct h2_call *call)
{
    struct h2_server *c = call->connection;
    bool ended = call->ended;
    if (call->ready_due && call->fate == H2_CALL_GOES_ON) {
        call->ready_due = false;
        call->events->ready(call);
        return;
    }
    if (call->room && !ended) {
        call->room = false;
        call->events->drained(call);
        if (call->connection != c)
            return;
    }
    if (call->fate != H2_CALL_BAD && (call->head_due || call->body_count || ended)) {
        struct http_response *head = call->head_due ? &call->response : NULL;
        const struct fields *trailers = call->response_trailers.count ? &call->response_trailers : NULL;
        int count = call->body_count;
        call->head_due = false;
        call->body_count = 0;
        call->events->response(call, head, call->body, count, ended, trailers);
        if (call->connection != c)
            return;
        ASSERT(!ended);
        if (!call->paused)
            consume(call);
    }
    if (call->fate != H2_CALL_GOES_ON)
        end(call);
}

void h2_calls_tell(struct h2_server *c)
{
    while (!list_empty(&c->due)) {
        struct h2_call *call = CONTAINER_OF(c->due.next, struct h2_call, due);
        ASSERT(call->magic == H2_CALL_MAGIC);
        list_remove(&call->due);
        tell(call);
    }
}

void h2_calls_give_back(struct h2_server *c)
{
    if (!c->owed || c->held > H2_CALLS_HELD_MAX || !c->session)
        return;
    nghttp2_session_consume_connection(c->session, c->owed);
    c->owed = 0;
    h2_server_flush_later(c);
}

/* Writing: what nghttp2 asks for. A call that was left has no more to give. */

static int submit_trailers(struct h2_server *c, const struct h2_call *call)
{
    const struct fields *f = call->trailers;
    nghttp2_nv *nv = malloc((f->count + 1) * sizeof *nv);
    if (!nv)
        return -1;
    for (uint32_t i = 0; i < f->count; i++)
        nv[i] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)f->at[i].name.at,
                             .namelen = f->at[i].name.len,
                             .value = (uint8_t *)(uintptr_t)f->at[i].value.at,
                             .valuelen = f->at[i].value.len};
    int failed = nghttp2_submit_trailer(c->session, call->id, nv, f->count);
    free(nv);
    return failed;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *user_data)
{
    struct h2_server *c = user_data;
    struct h2_call *call = h2_call_of(c, id);
    (void)session, (void)buf, (void)source;
    if (!call)
        return NGHTTP2_ERR_DEFERRED;
    if (call->pending.bytes == 0 && !call->out_ended) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = call->pending.bytes < size ? call->pending.bytes : size;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == call->pending.bytes && call->out_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (call->trailers && call->trailers->count) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (submit_trailers(c, call) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                     nghttp2_data_source *source, void *user_data)
{
    struct h2_server *c = user_data;
    struct h2_call *call = h2_call_of(c, frame->hd.stream_id);
    struct iovec iov[4];
    (void)session, (void)source;
    if (!call || call->pending.bytes < length)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (h2_server_is_full(c))
        return NGHTTP2_ERR_WOULDBLOCK;
    h2_abuse_sent(&c->abuse, length);
    h2_server_put(c, (const char *)head, 9);
    while (length) {
        int count = buffer_peek(&call->pending, iov, COUNT_OF(iov));
        size_t taken = 0;
        for (int i = 0; i < count && length; i++) {
            size_t n = iov[i].iov_len < length ? iov[i].iov_len : length;
            h2_server_put(c, iov[i].iov_base, n);
            taken += n;
            length -= n;
        }
        buffer_consume(&call->pending, &c->loop->blocks, taken);
        call->sent += taken;
    }
    if (call->over && call->pending.bytes <= H2_CALL_LOW_WATER) {
        call->over = false;
        call->room = true;
        h2_call_is_due(call);
    }
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)session;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_call *call = h2_call_of(user_data, frame->hd.stream_id);
    if (call)
        call->on_wire = true;
    return 0;
}

static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
    (void)session, (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    call->closed = true;
    h2_call_set_fate(call, H2_CALL_REFUSED, nghttp2_strerror(error));
    return 0;
}

void h2_call_callbacks(nghttp2_session_callbacks *to)
{
    nghttp2_session_callbacks_set_send_data_callback(to, send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(to, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(to, on_not_sent);
}
