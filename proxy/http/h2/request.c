#include "core/log.h"
#include "proxy/http/h1/framing.h"
#include "proxy/http/h2/head.h"

#define RESET_SOON_MS 1000

static void begin_exchange(struct h2_stream *s)
{
    struct h2_connection *c = s->connection;
    struct h2_head *h = &c->head;
    const char *fault = h->fault;
    unsigned status = h->status;
    struct exchange *x = exchange_create(c->worker, c->client.listener, &h2_ops, s);
    if (!x) {
        h2_reset(s, NGHTTP2_REFUSED_STREAM);
        return;
    }
    x->is_tls = c->conn->transport != NULL;
    x->keep_alive_ok = true;
    x->peer = c->client.ip;
    x->destination = client_destination(&c->client);
    x->protocol = 20;
    s->x = x;
    if (!fault)
        fault = h2_request_read(s, h, &status);
    if (!fault && s->request_done && s->has_length && s->length) {
        fault = "content-length without a body";
        status = 400;
    }
    if (fault) {
        if (status == 431)
            h2_count_abuse(c, H2_ABUSE_HEADERS);
        x->request_done = true; /* what may still come of it is of no use */
        x->keep_alive_ok = false;
        exchange_refuse(x, status, fault);
        return;
    }
    x->request_done = s->request_done || s->connects;
    exchange_begin(x);
    h2_stream_clock(s); /* what it allows is known only now */
}
static void take_trailers(struct h2_stream *s)
{
    struct h2_head *h = &s->connection->head;
    struct h1_fault fault;
    if (!s->x) {
        s->request_done = true;
        return;
    }
    if (s->connects || h->fault || /* RFC 9113 §8.5 */
        h2_head_fields(h, &s->x->arena, &s->x->trailers, NULL) != 0 ||
        !h1_check_trailers(&s->x->trailers, &fault)) {
        h2_count_abuse(s->connection, H2_ABUSE_RESET);
        h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    h2_stream_end(s);
}
/* What nghttp2 tells. */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = user_data;
    (void)session;
    h2_request_head_begin(c);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    h2_strict_opened(&c->strict, frame->hd.stream_id);
    if (!h2_stream_create(c, frame->hd.stream_id))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user_data)
{
    (void)session, (void)frame, (void)flags;
    h2_request_head_add(user_data, slice_of((const char *)name, name_len),
                        slice_of((const char *)value, value_len));
    return 0;
}

/* Whatever nghttp2 finds wrong with a field makes the message malformed: without this it would leave the
 * field out. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *user_data)
{
    (void)session, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len, (void)flags;
    (void)user_data;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void on_headers(struct h2_connection *c, const nghttp2_frame *frame)
{
    struct h2_stream *s = h2_stream_of(c, frame->hd.stream_id);
    if (s && !c->ending) {
        bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            s->request_done = end;
            begin_exchange(s);
        } else if (end) {
            take_trailers(s);
        }
    }
    h2_request_head_end(c);
}

/* What a client gives up after it has waited is no flood: no more of that can be than streams at once. A
 * client of gRPC resets every call that runs out of time, a little before weir would end it. */
static bool is_soon(const struct h2_stream *s)
{
    struct loop *loop = &s->connection->worker->loop;
    const struct exchange *x = s->x;
    if (x && x->expires_us && loop_now_us(loop) > x->expires_us - (x->expires_us - x->started_us) / 5)
        return false;
    return loop_now(loop) - s->begun < RESET_SOON_MS;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = user_data;
    struct h2_stream *s;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_headers(c, frame);
        break;
    case NGHTTP2_DATA:
        s = h2_stream_of(c, frame->hd.stream_id);
        if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            h2_stream_end(s);
        else if (frame->hd.length <= frame->data.padlen)
            h2_count_abuse(c, H2_ABUSE_EMPTY_DATA);
        break;
    case NGHTTP2_RST_STREAM:
        s = h2_stream_of(c, frame->hd.stream_id);
        if (!s && h2_strict_late(&c->strict, frame->hd.stream_id) == H2_LATE_RESET)
            h2_count_abuse(c, H2_ABUSE_RESET); /* once more */
        h2_strict_reset(&c->strict, frame->hd.stream_id, true);
        if (s && !s->end_sent && is_soon(s))
            h2_count_abuse(c, H2_ABUSE_RESET);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            h2_count_abuse(c, H2_ABUSE_SETTINGS);
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK && c->goaway == 1)
            loop_timer(&c->worker->loop, &c->goaway_timer, 0);
        else
            h2_count_abuse(c, H2_ABUSE_PING);
        break;
    default:
        break;
    }
    return 0;
}

/* A client that has not heard yet that its stream is reset goes on, as far as the stream's window lets it;
 * more comes from one that minds no window. */
static void count_late(struct h2_connection *c, uint32_t length)
{
    c->late += length;
    if (c->late <= c->late_allowed)
        return;
    c->calmed = true;
    h2_end_session(c, NGHTTP2_FLOW_CONTROL_ERROR);
}

void h2_check_late(struct h2_connection *c, int32_t id, uint32_t length)
{
    if (c->ending || id > c->strict.last || h2_stream_of(c, id))
        return;
    switch (h2_strict_late(&c->strict, id)) {
    case H2_LATE_NOT:
        if (id % 2 && id <= c->strict.last)
            count_late(c, length);
        break;
    case H2_LATE_RESET:
        h2_count_abuse(c, H2_ABUSE_RESET);
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_STREAM_CLOSED);
        h2_flush_later(c);
        break;
    case H2_LATE_CLOSED:
        h2_end_session(c, NGHTTP2_STREAM_CLOSED);
        break;
    case H2_LATE_NEVER:
        h2_end_session(c, NGHTTP2_PROTOCOL_ERROR);
        break;
    }
}

/* Frames by their head alone: what nghttp2 tells no more of. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
    struct h2_connection *c = user_data;
    (void)session;
    switch (hd->type) {
    case NGHTTP2_CONTINUATION:
        h2_count_abuse(c, H2_ABUSE_CONTINUATION);
        break;
    case NGHTTP2_HEADERS:
        h2_check_late(c, hd->stream_id, 0);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        h2_count_abuse(c, H2_ABUSE_WINDOW);
        break;
    case NGHTTP2_DATA:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
        break;
    default:
        h2_count_abuse(c, H2_ABUSE_PRIORITY);
        break;
    }
    return 0;
}

/* The client made nghttp2 reset a stream. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
    struct h2_connection *c = user_data;
    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS)
        h2_request_head_end(c);
    if (error == NGHTTP2_ERR_HTTP_MESSAGING || error == NGHTTP2_ERR_HTTP_HEADER)
        counter_add(&c->client.listener->stats->h2_malformed, 1);
    h2_strict_reset(&c->strict, frame->hd.stream_id, false);
    log_debug("bad HTTP/2 frame", LOG_SLICE("listener", c->client.listener->name),
              LOG_TEXT("reason", nghttp2_strerror(error)));
    h2_count_abuse(c, H2_ABUSE_RESET);
    return 0;
}

/* Frames of unknown types were counted, and are dropped (RFC 9113 §5.5). */
static int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd, void *user_data)
{
    (void)session, (void)payload, (void)hd, (void)user_data;
    return NGHTTP2_ERR_CANCEL;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                         void *user_data)
{
    struct h2_connection *c = user_data;
    struct h2_stream *s = h2_stream_of(c, id);
    (void)flags;
    if (s)
        h2_stream_data(s, data, len);
    else
        nghttp2_session_consume_connection(session, len);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user_data)
{
    struct h2_connection *c = user_data;
    struct h2_stream *s = h2_stream_of(c, id);
    (void)session, (void)error;
    if (!s)
        return 0;
    h2_stream_closed(s);
    return 0;
}

void h2_request_callbacks(nghttp2_session_callbacks *to)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(to, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(to, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(to, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame);
    nghttp2_session_callbacks_set_on_begin_frame_callback(to, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(to, on_invalid_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(to, on_extension);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(to, on_stream_close);
}
