#include <stdlib.h>

#include "core/log.h"
#include "proxy/http/h1/framing.h"
#include "proxy/http/h1/target.h"
#include "proxy/http/h2/internal.h"

#define RESET_SOON_MS 1000
#define HEAD_EXCESS 4 /* times the limits: nobody sends that by mistake */

static struct h2_stream *stream_of(struct h2_connection *c, int32_t id)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(c->session, id);
    ASSERT(!s || s->magic == H2_STREAM_MAGIC);
    return s;
}

/* Streams. */

static void on_timer(struct timer *t);
static void let_go(struct h2_stream *s);

static struct h2_stream *create(struct h2_connection *c, int32_t id)
{
    struct h2_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->magic = H2_STREAM_MAGIC;
    s->id = id;
    s->connection = c;
    list_init(&s->resume);
    list_append(&c->streams, &s->link);
    timer_init(&s->timer, on_timer);
    s->begun = loop_now(&c->worker->loop);
    c->stream_count++;
    nghttp2_session_set_stream_user_data(c->session, id, s);
    return s;
}

void h2_stream_free(struct h2_stream *s, enum exchange_end why)
{
    struct h2_connection *c = s->connection;
    struct exchange *x = s->x;
    s->x = NULL;
    if (x && x->response_done)
        exchange_end(x); /* only the rest of the request was waited for */
    else if (x)
        exchange_abort(x, s->timed_out ? END_TIMEOUT : why);
    loop_timer_clear(&c->worker->loop, &s->timer);
    let_go(s);
    list_remove(&s->link);
    list_remove(&s->resume);
    buffer_clear(&s->pending, &c->worker->loop.blocks);
    buffer_clear(&s->early, &c->worker->loop.blocks);
    free(s->trailers);
    c->stream_count--;
    s->magic = 0;
    free(s);
}

void h2_reset(struct h2_stream *s, uint32_t error)
{
    nghttp2_submit_rst_stream(s->connection->session, NGHTTP2_FLAG_NONE, s->id, error);
    h2_flush_later(s->connection);
}

static bool waits_for_body(const struct h2_stream *s)
{
    return s->x && !s->request_done && s->x->want_body && !s->connects;
}

void h2_stream_clock(struct h2_stream *s)
{
    if (s->tunnel || (!waits_for_body(s) && !s->pending.bytes)) { /* of a tunnel, the responder has one */
        timer_pause(&s->timer);
        return;
    }
    s->progress = s->sent + s->received;
    loop_timer(&s->connection->worker->loop, &s->timer,
               s->x ? exchange_body_timeout(s->x) : h2_timeouts(s->connection)->body);
}

/* The client sends nothing, or takes nothing. */
static void on_timer(struct timer *t)
{
    struct h2_stream *s = CONTAINER_OF(t, struct h2_stream, timer);
    ASSERT(s->magic == H2_STREAM_MAGIC);
    if (s->progress != s->sent + s->received) {
        h2_stream_clock(s);
        return;
    }
    if (s->pending.bytes) {
        s->timed_out = true;
        h2_reset(s, NGHTTP2_CANCEL);
    } else if (waits_for_body(s)) {
        exchange_fail(s->x, 408, "the request's body took too long");
    }
}

/* A stream that waits holds up no other, until many do. */
static void give_back(struct h2_connection *c)
{
    if (!c->owed || c->held > H2_HELD_MAX)
        return;
    nghttp2_session_consume_connection(c->session, c->owed);
    c->owed = 0;
    h2_flush_later(c);
}

/* Nothing of the stream is held any more. */
static void let_go(struct h2_stream *s)
{
    s->connection->held -= s->unconsumed;
    s->unconsumed = 0;
    give_back(s->connection);
}

void h2_consume(struct h2_stream *s)
{
    if (!s->unconsumed)
        return;
    nghttp2_session_consume_stream(s->connection->session, s->id, s->unconsumed);
    let_go(s);
    h2_flush_later(s->connection);
}

/* Collecting a head. */

static void head_begin(struct h2_connection *c)
{
    struct h2_head *h = &c->head;
    h->len = h->count = h->decoded = 0;
    h->fault = NULL;
    h->status = 0;
    c->head_open = true;
    h2_set_clock(c);
}

void h2_head_free(struct h2_head *h)
{
    free(h->bytes);
    free(h->lines);
    *h = (struct h2_head){0};
}

static void head_end(struct h2_connection *c)
{
    c->head_open = false;
    if (c->head.capacity > H2_HEAD_KEPT)
        h2_head_free(&c->head);
    h2_set_clock(c);
}

static void refuse_head(struct h2_head *h, uint16_t status, const char *reason)
{
    if (h->fault)
        return;
    h->fault = reason;
    h->status = status;
}

/* RFC 9113 §8.2: what nghttp2 looks at too, and what it does not. */
static const char *field_fault(struct slice name, struct slice value)
{
    struct slice token = name.len && name.at[0] == ':' ? slice_skip(name, 1) : name;
    if (!is_token(token))
        return "a field name is not a token";
    for (size_t i = 0; i < token.len; i++)
        if (token.at[i] >= 'A' && token.at[i] <= 'Z')
            return "a field name has capitals";
    if (!is_field_value(value))
        return "a control character in a field";
    if (slice_trim(value).len != value.len)
        return "a field value begins or ends with white space";
    switch (field_id(name)) {
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return "a field that is the connection's"; /* RFC 9113 §8.2.2 */
    case FIELD_TE:
        return slice_equal_nocase(value, S("trailers")) ? NULL : "TE is not \"trailers\"";
    default:
        return NULL;
    }
}

static int head_room(struct h2_head *h, size_t bytes)
{
    if (h->capacity - h->len < bytes) {
        uint32_t capacity = h->capacity * 2 + 1024;
        while (capacity - h->len < bytes)
            capacity *= 2;
        char *at = realloc(h->bytes, capacity);
        if (!at)
            return -1;
        h->bytes = at;
        h->capacity = capacity;
    }
    if (h->count == h->room) {
        uint32_t room = h->room * 2 + 16;
        struct h2_line *lines = realloc(h->lines, room * sizeof *lines);
        if (!lines)
            return -1;
        h->lines = lines;
        h->room = room;
    }
    return 0;
}

static int head_add(struct h2_connection *c, struct slice name, struct slice value)
{
    struct h2_head *h = &c->head;
    const struct h1_limits *limits = &c->client.listener->config->head_limits;
    size_t bytes = name.len + value.len + 4;
    h->decoded += (uint32_t)bytes;
    if (h->decoded > HEAD_EXCESS * (limits->header_size + 1024)) {
        h2_calm(c, H2_ABUSE_HEADERS);
        return 0;
    }
    if (h->fault)
        return 0;
    const char *fault = field_fault(name, value);
    if (fault) {
        refuse_head(h, 400, fault);
    } else if (h->decoded > limits->header_size || h->count >= limits->header_count + 4) {
        refuse_head(h, 431, "the head is past its limits");
    } else if (head_room(h, bytes) != 0) {
        refuse_head(h, 503, "out of memory");
    } else {
        h->lines[h->count++] = (struct h2_line){h->len, (uint32_t)name.len, (uint32_t)value.len};
        char *to = h->bytes + h->len;
        memcpy(to, name.at, name.len);
        memcpy(to + name.len, ": ", 2);
        if (value.len)
            memcpy(to + name.len + 2, value.at, value.len);
        memcpy(to + bytes - 2, "\r\n", 2);
        h->len += (uint32_t)bytes;
    }
    return 0;
}

/* From a head to a request. */

/* The lines as fields, in the exchange's arena; pseudo-header fields go to the request. 0, or -1 when out of
 * memory. */
static int adopt_lines(struct exchange *x, const struct h2_head *h, struct fields *out,
                       struct slice *authority)
{
    struct http_request *r = &x->request;
    char *copy = arena_alloc(&x->arena, h->len + 1);
    *out = (struct fields){arena_alloc(&x->arena, (h->count + 4) * sizeof *out->at), 0, h->count + 4};
    if (!copy || !out->at)
        return -1;
    if (h->len)
        memcpy(copy, h->bytes, h->len);
    for (uint32_t i = 0; i < h->count; i++) {
        const struct h2_line *l = &h->lines[i];
        struct slice name = slice_of(copy + l->at, l->name_len);
        struct slice value = slice_of(copy + l->at + l->name_len + 2, l->value_len);
        if (name.at[0] != ':')
            out->at[out->count++] = (struct field){.name = name,
                                                   .value = value,
                                                   .line_len = l->name_len + l->value_len + 4,
                                                   .id = (uint16_t)field_id(name)};
        else if (slice_equal(name, S(":method")))
            r->method = value;
        else if (slice_equal(name, S(":scheme")))
            r->scheme = value;
        else if (slice_equal(name, S(":path")))
            r->target = value;
        else if (slice_equal(name, S(":protocol")))
            r->protocol = value;
        else if (authority && slice_equal(name, S(":authority")))
            *authority = value;
    }
    return 0;
}

/* RFC 9113 §8.2.3: the crumbs of Cookie become one field again. */
static int join_cookies(struct exchange *x, struct fields *f)
{
    struct field *first = fields_find(f, FIELD_COOKIE);
    size_t len = 0, crumbs = 0;
    for (uint32_t i = 0; i < f->count; i++)
        if (f->at[i].id == FIELD_COOKIE) {
            len += f->at[i].value.len + 2;
            crumbs++;
        }
    if (crumbs < 2)
        return 0;
    char *joined = arena_alloc(&x->arena, len), *to = joined;
    if (!joined)
        return -1;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        struct field *at = &f->at[i];
        if (at->id == FIELD_COOKIE) {
            if (at->value.len)
                memcpy(to, at->value.at, at->value.len);
            to += at->value.len;
            memcpy(to, "; ", 2);
            to += 2;
        }
        if (at->id != FIELD_COOKIE || at == first)
            f->at[kept++] = *at;
    }
    f->count = kept;
    first->value = slice_of(joined, len - 2);
    first->line_len = 0;
    return 0;
}

static const char *read_host(struct http_request *r, struct slice authority, struct field_ids seen)
{
    const struct field *host = fields_find(&r->fields, FIELD_HOST);
    if (seen.again & FIELD_BIT(FIELD_HOST))
        return "more than one Host";
    if (authority.at && host && !slice_equal_nocase(authority, host->value))
        return "Host is not :authority";
    r->host = authority.at ? authority : host ? host->value : slice_of(NULL, 0);
    if (!h1_is_authority(r->host, false))
        return "the authority is not valid";
    return NULL;
}

static const char *read_target(struct http_request *r)
{
    if (r->method_id == METHOD_CONNECT)
        r->target = r->host;
    for (size_t i = 0; i < r->target.len; i++)
        if (!byte_is(r->target.at[i], BYTE_TARGET))
            return "a byte in :path that no path has";
    if (r->target.len == 0)
        return "no :path";
    if (r->method_id != METHOD_CONNECT && r->target.at[0] != '/' && !slice_equal(r->target, S("*")))
        return ":path is not a path";
    if (r->method_id != METHOD_CONNECT && !slice_equal_nocase(r->scheme, S("http")) &&
        !slice_equal_nocase(r->scheme, S("https")))
        return ":scheme is neither http nor https";
    r->absolute_form = r->method_id != METHOD_CONNECT; /* :scheme is told, and must be the connection's */
    bool absolute = r->absolute_form;
    const char *fault = h1_target(r, r->target.at + slice_find(r->target, '?'));
    r->absolute_form = absolute;
    return fault;
}

static const char *read_length(struct h2_stream *s, struct http_request *r, struct field_ids seen)
{
    if (!(seen.once & FIELD_BIT(FIELD_CONTENT_LENGTH)))
        return NULL;
    struct slice value = fields_find(&r->fields, FIELD_CONTENT_LENGTH)->value;
    if (seen.again & FIELD_BIT(FIELD_CONTENT_LENGTH))
        return "more than one content-length";
    if (value.len > 19 || slice_to_u64(value, &s->length) != 0 || s->length > INT64_MAX)
        return "content-length is not a number";
    s->has_length = true;
    return NULL;
}

/* RFC 8441 §4: what opens a WebSocket is a GET to all that routes, edits and forwards it, as it is over
 * HTTP/1.1. Its stream carries no body but what follows the answer. */
static const char *read_protocol(struct h2_stream *s, struct http_request *r, unsigned *status)
{
    *status = 501;
    if (!slice_equal(r->protocol, S("websocket")))
        return "an extended CONNECT for another protocol than WebSocket";
    *status = 400;
    if (s->request_done)
        return "an extended CONNECT that has ended";
    if (fields_find(&r->fields, FIELD_CONTENT_LENGTH))
        return "an extended CONNECT with a content-length";
    r->method = (struct slice)SLICE("GET");
    r->method_id = METHOD_GET;
    r->upgrade = true;
    s->connects = true;
    return NULL;
}

static void read_expect(struct http_request *r)
{
    const struct field *f = fields_find(&r->fields, FIELD_EXPECT);
    if (!f)
        return;
    r->expect_continue = slice_equal_nocase(f->value, S("100-continue"));
    r->expect_unknown = !r->expect_continue;
}

/* What is wrong with it; *status is what the client gets. */
static const char *read_request(struct h2_stream *s, const struct h2_head *h, unsigned *status)
{
    struct exchange *x = s->x;
    struct http_request *r = &x->request;
    const struct h1_limits *limits = &x->listener->config->head_limits;
    struct slice authority = {0};
    *status = 503;
    if (adopt_lines(x, h, &r->fields, &authority) != 0 || join_cookies(x, &r->fields) != 0)
        return "out of memory";
    *status = 400;
    r->minor = 1;
    r->keep_alive = true;
    r->method_id = method_id(r->method);
    if (!is_token(r->method))
        return ":method is not a token";
    struct field_ids seen = fields_identify(&r->fields);
    const char *fault = r->protocol.at ? read_protocol(s, r, status) : NULL;
    if (!fault)
        fault = read_host(r, authority, seen);
    if (!fault)
        fault = read_target(r);
    if (!fault)
        fault = read_length(s, r, seen);
    if (fault)
        return fault;
    *status = 414;
    if (r->method.len + r->target.len + sizeof "  HTTP/1.1\r\n" > limits->request_line)
        return ":path is too long";
    read_expect(r);
    r->body = s->has_length ? BODY_LENGTH : s->request_done || s->connects ? BODY_NONE : BODY_CHUNKED;
    r->content_length = s->length;
    return NULL;
}

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
    x->destination = c->client.has_destination ? &c->client.destination : NULL;
    x->protocol = 20;
    s->x = x;
    if (!fault)
        fault = read_request(s, h, &status);
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

/* The request's body. */

/* Of a stream that is no tunnel yet: it waits for the server's answer, and no window is given for it. */
static void keep_early(struct h2_stream *s, const struct iovec *iov)
{
    struct h2_connection *c = s->connection;
    if (buffer_append(&s->early, &c->worker->loop.blocks, iov, 1, 0) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    give_back(c);
}

static void pass_early(struct h2_stream *s)
{
    struct block_pool *blocks = &s->connection->worker->loop.blocks;
    struct iovec iov;
    while (s->x && buffer_peek(&s->early, &iov, 1) == 1) {
        exchange_body(s->x, &iov, 1, false);
        buffer_consume(&s->early, blocks, iov.iov_len);
    }
    if (s->x && s->request_done && !s->x->request_done)
        exchange_body(s->x, NULL, 0, true);
    if (s->x && s->x->want_body)
        h2_consume(s);
}

void h2_resume(struct h2_stream *s)
{
    if (s->x && s->tunnel && !s->x->request_done)
        pass_early(s);
    if (s->x)
        exchange_resume(s->x);
}

static void take_data(struct h2_stream *s, const uint8_t *data, size_t len)
{
    struct h2_connection *c = s->connection;
    c->owed += len;
    s->received += len;
    if (!s->x) { /* the window closes on what nobody wants */
        give_back(c);
        return;
    }
    if (s->has_length && s->received > s->length) {
        give_back(c);
        h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    s->unconsumed += len;
    c->held += len;
    struct iovec iov = {(void *)(uintptr_t)data, len};
    if (s->connects && (!s->tunnel || s->early.bytes)) {
        keep_early(s, &iov);
        return;
    }
    exchange_body(s->x, &iov, 1, false);
    if (!s->x)
        let_go(s);
    if (!s->x || !s->x->want_body) {
        give_back(c);
        return;
    }
    h2_consume(s);
    if (!s->window_grown && s->received > H2_STREAM_WINDOW / 2) {
        /* Its body is taken as it comes: let more of it be on the way. */
        s->window_grown = true;
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, s->id, 4 * H2_STREAM_WINDOW);
    }
    h2_stream_clock(s);
}

static void end_body(struct h2_stream *s)
{
    s->request_done = true;
    if (!s->x || (s->connects && (!s->tunnel || s->early.bytes)))
        return;
    if (s->has_length && s->received != s->length) {
        h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    exchange_body(s->x, NULL, 0, true);
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
        adopt_lines(s->x, h, &s->x->trailers, NULL) != 0 || !h1_check_trailers(&s->x->trailers, &fault)) {
        h2_count_abuse(s->connection, H2_ABUSE_RESET);
        h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    end_body(s);
}

/* What nghttp2 tells. */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = user_data;
    (void)session;
    head_begin(c);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !create(c, frame->hd.stream_id))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user_data)
{
    (void)session, (void)frame, (void)flags;
    return head_add(user_data, slice_of((const char *)name, name_len),
                    slice_of((const char *)value, value_len));
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
    struct h2_stream *s = stream_of(c, frame->hd.stream_id);
    if (s && !c->ending) {
        bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            s->request_done = end;
            begin_exchange(s);
        } else if (end) {
            take_trailers(s);
        }
    }
    head_end(c);
}

/* What a client gives up after it has waited is no flood: no more of that can be than streams at once. A
 * client of gRPC resets every call that runs out of time. */
static bool is_soon(const struct h2_stream *s)
{
    return loop_now(&s->connection->worker->loop) - s->begun < RESET_SOON_MS;
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
        s = stream_of(c, frame->hd.stream_id);
        if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            end_body(s);
        else if (frame->hd.length == 0)
            h2_count_abuse(c, H2_ABUSE_EMPTY_DATA);
        break;
    case NGHTTP2_RST_STREAM:
        s = stream_of(c, frame->hd.stream_id);
        if (s && !s->end_sent && is_soon(s))
            h2_count_abuse(c, H2_ABUSE_RESET);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            h2_count_abuse(c, H2_ABUSE_SETTINGS);
        break;
    case NGHTTP2_PING:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            h2_count_abuse(c, H2_ABUSE_PING);
        else if (c->goaway == 1)
            loop_timer(&c->worker->loop, &c->goaway_timer, 0);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        h2_count_abuse(c, H2_ABUSE_WINDOW);
        break;
    default:
        break;
    }
    return 0;
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
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_GOAWAY:
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
        head_end(c);
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
    struct h2_stream *s = stream_of(c, id);
    (void)flags;
    if (s)
        take_data(s, data, len);
    else
        nghttp2_session_consume_connection(session, len);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user_data)
{
    struct h2_connection *c = user_data;
    struct h2_stream *s = stream_of(c, id);
    (void)error;
    if (!s)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    h2_stream_free(s, END_CLIENT_GONE);
    h2_set_clock(c);
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
