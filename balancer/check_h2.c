#include "balancer/check_h2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/check_grpc.h"
#include "core/base.h"

struct check_h2 {
    nghttp2_session *session;
    int32_t stream;
    size_t input; /* bytes so far */
    const char *fault;
    struct check_h2_answer answer;
    char *body; /* of the request */
    size_t body_len, body_sent;
};

static bool is_of_connection(struct slice name)
{
    static const char *const names[] = {"connection", "keep-alive",        "proxy-connection",
                                        "te",         "transfer-encoding", "upgrade",
                                        "host",       "content-length"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (slice_equal_nocase(name, slice_text(names[i])))
            return true;
    return false;
}

/* What nghttp2 tells. */

/* Digits of a status; -1 when it is none. */
static int read_status(struct slice value)
{
    uint64_t status;
    return value.len <= 3 && slice_to_u64(value, &status) == 0 ? (int)status : -1;
}

static void keep_text(char *to, size_t size, struct slice value)
{
    size_t n = value.len < size - 1 ? value.len : size - 1;
    memcpy(to, value.at, n);
    to[n] = '\0';
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_at,
                     size_t name_len, const uint8_t *value_at, size_t value_len, uint8_t flags,
                     void *user_data)
{
    struct check_h2 *h = user_data;
    struct check_h2_answer *a = &h->answer;
    struct slice name = slice_of((const char *)name_at, name_len);
    struct slice value = slice_of((const char *)value_at, value_len);
    (void)session, (void)flags;
    if (frame->hd.stream_id != h->stream)
        return 0;
    if (slice_equal(name, S(":status"))) {
        int status = read_status(value);
        a->status = status >= 200 ? status : 0;
    } else if (slice_equal(name, S("content-type"))) {
        a->is_grpc = check_grpc_is_type(value);
    } else if (slice_equal(name, S("grpc-status"))) {
        a->grpc_status = read_status(value);
    } else if (slice_equal(name, S("grpc-message"))) {
        keep_text(a->grpc_message, sizeof a->grpc_message, value);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *at, size_t len,
                   void *user_data)
{
    struct check_h2 *h = user_data;
    struct check_h2_answer *a = &h->answer;
    (void)session, (void)flags;
    if (stream != h->stream)
        return 0;
    size_t room = a->body_len < CHECK_H2_BODY_MAX ? CHECK_H2_BODY_MAX - a->body_len : 0;
    size_t n = len < room ? len : room;
    if (n)
        memcpy(a->body + a->body_len, at, n);
    a->body_len += len;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct check_h2 *h = user_data;
    (void)session;
    bool can_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (can_end && frame->hd.stream_id == h->stream && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        h->answer.ended = true;
    return 0;
}

/* nghttp2 answers what breaks the protocol by a GOAWAY, which closes the stream too. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct check_h2 *h = user_data;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !h->fault)
        h->fault = "its answer is not HTTP/2";
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user_data)
{
    struct check_h2 *h = user_data;
    (void)session;
    if (stream != h->stream || h->answer.ended)
        return 0;
    h->answer.reset = true;
    h->answer.error = error;
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *user_data)
{
    struct check_h2 *h = source->ptr;
    size_t left = h->body_len - h->body_sent;
    size_t n = left < size ? left : size;
    (void)session, (void)stream, (void)user_data;
    memcpy(to, h->body + h->body_sent, n);
    h->body_sent += n;
    if (h->body_sent == h->body_len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* The beginning. */

static int open_session(struct check_h2 *h)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16384},
    };
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return -1;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    int failed = nghttp2_session_client_new(&h->session, callbacks, h);
    nghttp2_session_callbacks_del(callbacks);
    return failed ? -1 : nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings));
}

static int submit(struct check_h2 *h, const struct check_h2_field *fields, size_t count)
{
    nghttp2_nv *nv = calloc(count + 1, sizeof *nv);
    size_t n = 0;
    if (!nv)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bool is_te = slice_equal(fields[i].name, S("te")) && slice_equal(fields[i].value, S("trailers"));
        if (!is_of_connection(fields[i].name) || is_te)
            nv[n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)fields[i].name.at,
                                   .namelen = fields[i].name.len,
                                   .value = (uint8_t *)(uintptr_t)fields[i].value.at,
                                   .valuelen = fields[i].value.len};
    }
    nghttp2_data_provider body = {.source.ptr = h, .read_callback = read_body};
    h->stream = nghttp2_submit_request(h->session, NULL, nv, n, h->body_len ? &body : NULL, NULL);
    free(nv);
    return h->stream > 0 ? 0 : -1;
}

struct check_h2 *check_h2_create(const struct check_h2_field *fields, size_t count, struct slice body)
{
    struct check_h2 *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->answer.grpc_status = -1;
    h->body_len = body.len;
    h->body = malloc(body.len + 1);
    if (h->body && body.len)
        memcpy(h->body, body.at, body.len);
    if (h->body && open_session(h) == 0 && submit(h, fields, count) == 0)
        return h;
    check_h2_free(h);
    return NULL;
}

void check_h2_free(struct check_h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    free(h->body);
    free(h);
}

/* Bytes. */

struct slice check_h2_output(struct check_h2 *h)
{
    const uint8_t *at;
    ssize_t n = nghttp2_session_mem_send(h->session, &at);
    return n > 0 ? slice_of((const char *)at, (size_t)n) : slice_of(NULL, 0);
}

void check_h2_input(struct check_h2 *h, struct slice in)
{
    if (h->fault || in.len == 0)
        return;
    if (h->input == 0 && in.len >= 5 && memcmp(in.at, "HTTP/", 5) == 0)
        h->fault = "it answers in HTTP/1";
    h->input += in.len;
    if (h->input > CHECK_H2_INPUT_MAX)
        h->fault = "its answer is too long";
    if (!h->fault && nghttp2_session_mem_recv(h->session, (const uint8_t *)in.at, in.len) < 0)
        h->fault = "its answer is not HTTP/2";
}

const char *check_h2_fault(const struct check_h2 *h)
{
    return h->fault;
}

const struct check_h2_answer *check_h2_answer(const struct check_h2 *h)
{
    return &h->answer;
}

void check_h2_finish(struct check_h2 *h)
{
    if (!h->answer.ended && !h->answer.reset)
        nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, h->stream, NGHTTP2_CANCEL);
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
}
