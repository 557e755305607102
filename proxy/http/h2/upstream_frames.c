#include "core/log.h"
#include "proxy/http/h1/framing.h"
#include "proxy/http/h2/upstream_internal.h"

#define HEAD_EXCESS 4           /* times the limits: no server answers like that */
#define LEFT_HEAD   (64u << 10) /* of an answer that nobody waits for */

static void doom(struct h2_server *c, const char *reason)
{
    if (!c->doomed)
        c->doomed = reason;
}

static int count_abuse(struct h2_server *c, enum h2_abuse_kind kind)
{
    if (!h2_abuse_count(&c->abuse, kind, loop_now(c->loop)))
        return 0;
    log_warn("a server floods", LOG_SLICE("upstream", c->uc->server->upstream),
             LOG_SLICE("server", c->uc->server->name), LOG_TEXT("flood", h2_abuse_name(kind)));
    doom(c, "the server floods");
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* The stream is of no use any more. */
static void refuse(struct h2_call *call, const char *reason)
{
    h2_call_set_fate(call, H2_CALL_BAD, reason);
}

/* Heads. */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_server *c = user_data;
    (void)session, (void)frame;
    h2_head_begin(&c->head);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_at,
                     size_t name_len, const uint8_t *value_at, size_t value_len, uint8_t flags,
                     void *user_data)
{
    struct h2_server *c = user_data;
    struct h2_head *h = &c->head;
    const struct h2_call *call = h2_call_of(c, frame->hd.stream_id);
    struct slice name = slice_of((const char *)name_at, name_len);
    struct slice value = slice_of((const char *)value_at, value_len);
    uint32_t limit = call ? call->limits->header_size : LEFT_HEAD;
    (void)session, (void)flags;
    h->decoded += (uint32_t)(name.len + value.len + 4);
    if (h->decoded > HEAD_EXCESS * (limit + 1024)) {
        doom(c, "the server sends heads far past their limits");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (!call || h->fault)
        return 0;
    h->fault = h2_field_fault(name, value);
    if (!h->fault && (h->decoded > limit || h->count > call->limits->header_count))
        h->fault = "the response's head is past the limits";
    if (!h->fault && h2_head_add(h, name, value) != 0)
        h->fault = "out of memory";
    return 0;
}

/* Without this nghttp2 would leave the field out. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *user_data)
{
    (void)session, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len, (void)flags;
    (void)user_data;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static const char *read_length(struct http_response *r, struct field_ids seen)
{
    uint64_t length;
    if (!(seen.once & FIELD_BIT(FIELD_CONTENT_LENGTH)))
        return NULL;
    struct slice value = fields_find(&r->fields, FIELD_CONTENT_LENGTH)->value;
    if (seen.again & FIELD_BIT(FIELD_CONTENT_LENGTH) || value.len > 19 || slice_to_u64(value, &length) != 0 ||
        length > INT64_MAX)
        return "content-length is not a number";
    r->content_length = length;
    r->has_content_length = r->status != 204;
    return NULL;
}

static void frame_body(struct http_response *r, enum http_method method, bool end)
{
    if (method == METHOD_HEAD || r->status < 200 || r->status == 204 || r->status == 304) {
        r->body = BODY_NONE;
    } else if (r->has_content_length) {
        r->body = BODY_LENGTH;
    } else if (end) {
        r->body = BODY_LENGTH;
        r->has_content_length = true;
    } else {
        r->body = BODY_CHUNKED;
    }
}

/* What is wrong with the head, or NULL. */
static const char *read_response(struct h2_call *call, const struct h2_head *h, bool end)
{
    struct http_response *r = &call->response;
    struct slice status = h2_head_pseudo(h, S(":status"));
    uint64_t number;
    *r = (struct http_response){.minor = 1, .keep_alive = true, .is_http2 = true};
    if (status.len != 3 || slice_to_u64(status, &number) != 0 || number < 100 || number > 599)
        return ":status is not a status";
    r->status = (uint16_t)number;
    if (r->status == 101)
        return "101 over HTTP/2"; /* RFC 9113 §8.6 */
    if (r->status < 200 && end)
        return "an interim response that ends the stream";
    if (h2_head_fields(h, call->arena, &r->fields, NULL) != 0)
        return "out of memory";
    const char *fault = read_length(r, fields_identify(&r->fields));
    if (!fault)
        frame_body(r, call->method, end);
    return fault;
}

static const char *take_head(struct h2_call *call, const struct h2_head *h, bool end)
{
    const char *fault = read_response(call, h, end);
    if (fault)
        return fault;
    if (call->response.status >= 200) {
        call->head_known = call->head_due = true;
        return NULL;
    }
    if (++call->interim > H2_CALL_INTERIM_MAX || call->head_bytes > HEAD_EXCESS * call->limits->header_size)
        return "too many interim responses";
    call->events->interim(call, &call->response);
    return NULL;
}

static const char *take_trailers(struct h2_call *call, const struct h2_head *h, bool end)
{
    struct h1_fault fault;
    if (!end)
        return "a second head";
    if (h2_head_fields(h, call->arena, &call->response_trailers, NULL) != 0)
        return "out of memory";
    return h1_check_trailers(&call->response_trailers, &fault) ? NULL : fault.reason;
}

static void on_headers(struct h2_server *c, const nghttp2_frame *frame)
{
    struct h2_call *call = h2_call_of(c, frame->hd.stream_id);
    struct h2_head *h = &c->head;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (call && call->fate == H2_CALL_GOES_ON) {
        call->head_bytes += h->decoded;
        const char *fault = h->fault;
        if (!fault)
            fault = call->head_known ? take_trailers(call, h, end) : take_head(call, h, end);
        if (fault) {
            refuse(call, fault);
        } else {
            call->ended = end;
            if (end || call->head_due)
                h2_call_is_due(call);
        }
    }
    if (h->capacity > H2_HEAD_KEPT)
        h2_head_free(h);
}

/* Bodies. */

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                         void *user_data)
{
    struct h2_server *c = user_data;
    struct h2_call *call = h2_call_of(c, id);
    (void)session, (void)flags;
    c->owed += len;
    if (!call || call->fate != H2_CALL_GOES_ON || len == 0)
        return 0;
    c->held += len;
    call->unconsumed += len;
    call->body[call->body_count++] = (struct iovec){(void *)(uintptr_t)data, len};
    h2_call_is_due(call);
    if (call->body_count < H2_CALL_VECTORS)
        return 0;
    c->input_paused = true;
    return NGHTTP2_ERR_PAUSE;
}

static int on_data(struct h2_server *c, const nghttp2_frame *frame)
{
    struct h2_call *call = h2_call_of(c, frame->hd.stream_id);
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (call && end && call->fate == H2_CALL_GOES_ON) {
        call->ended = true;
        h2_call_is_due(call);
    }
    return !end && frame->hd.length == 0 ? count_abuse(c, H2_ABUSE_EMPTY_DATA) : 0;
}

/* Everything else. */

static void on_settings(struct h2_server *c)
{
    uint32_t most = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    struct pool_notes *notes = pool_notes(c->pool, c->uc->server);
    c->settings_seen = true;
    h2_server_open_calls(c);
    c->limit = c->allowed = most < H2_CALLS_MAX ? most : H2_CALLS_MAX;
    if (notes)
        notes->streams = c->allowed;
    /* Those that wait for a stream here would wait for who knows how long. */
    unsigned excess = c->call_count > c->limit ? c->call_count - c->limit : 0;
    for (struct list *node = c->calls.prev; excess && node != &c->calls; node = node->prev) {
        struct h2_call *call = CONTAINER_OF(node, struct h2_call, link);
        if (call->on_wire)
            break;
        h2_call_set_fate(call, H2_CALL_REFUSED, "the server allows fewer requests at once");
        excess--;
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_server *c = user_data;
    struct h2_call *call;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_headers(c, frame);
        return 0;
    case NGHTTP2_DATA:
        return on_data(c, frame);
    case NGHTTP2_RST_STREAM:
        call = h2_call_of(c, frame->hd.stream_id);
        if (call)
            call->reset = true;
        return 0;
    case NGHTTP2_SETTINGS:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            return 0;
        on_settings(c);
        return count_abuse(c, H2_ABUSE_SETTINGS);
    case NGHTTP2_PING:
        return frame->hd.flags & NGHTTP2_FLAG_ACK ? 0 : count_abuse(c, H2_ABUSE_PING);
    case NGHTTP2_GOAWAY:
        if (c->clock == H2_SERVER_IDLE)
            pool_idle_ended(c->uc);
        h2_server_drain(c);
        return 0;
    case NGHTTP2_WINDOW_UPDATE:
        return count_abuse(c, H2_ABUSE_WINDOW);
    default:
        return 0;
    }
}

/* Frames by their head alone: what nghttp2 tells no more of. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
    struct h2_server *c = user_data;
    (void)session;
    if (hd->type != NGHTTP2_PING || !(hd->flags & NGHTTP2_FLAG_ACK))
        c->heard++;
    if (hd->type == NGHTTP2_CONTINUATION)
        return count_abuse(c, H2_ABUSE_CONTINUATION);
    if (hd->type == NGHTTP2_PUSH_PROMISE) { /* the SETTINGS that forbid it came ahead of every request */
        doom(c, "the server pushes");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (hd->type == NGHTTP2_PRIORITY || hd->type > NGHTTP2_CONTINUATION)
        return count_abuse(c, H2_ABUSE_PRIORITY);
    return 0;
}

/* Frames of unknown types were counted, and are dropped (RFC 9113 §5.5). */
static int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd, void *user_data)
{
    (void)session, (void)payload, (void)hd, (void)user_data;
    return NGHTTP2_ERR_CANCEL;
}

static const char *reason_of(const struct h2_call *call, uint32_t error)
{
    if (!call->reset)
        return "the response is malformed";
    if (call->head_known)
        return "the server reset the stream in the middle of its answer";
    return error == NGHTTP2_ENHANCE_YOUR_CALM ? "the server asks for calm" : "the server reset the stream";
}

/* After the response's end this is only the end of the stream. A reset that did not come from the server was
 * made for what it sent. */
static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user_data)
{
    struct h2_server *c = user_data;
    struct h2_call *call = h2_call_of(c, id);
    (void)session;
    if (!call)
        return 0;
    call->closed = true;
    if (call->ended) {
        c->limit += c->limit < c->allowed;
    } else if (error == NGHTTP2_REFUSED_STREAM && !call->head_known) {
        /* As many as there are seem to be too many; each that ends well allows one more again. */
        if (call->reset)
            c->limit = c->call_count > 2 ? c->call_count - 1 : 1;
        h2_call_set_fate(call, H2_CALL_REFUSED, "the server refused the request");
    } else {
        h2_call_set_fate(call, call->reset ? H2_CALL_LOST : H2_CALL_BAD, reason_of(call, error));
    }
    return 0;
}

void h2_server_callbacks(nghttp2_session_callbacks *to)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(to, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(to, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(to, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame);
    nghttp2_session_callbacks_set_on_begin_frame_callback(to, on_begin_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(to, on_extension);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(to, on_stream_close);
}
