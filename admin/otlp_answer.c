/* The collector's answer: read with the proxy's own parser, and what it means. */
#include <jansson.h>
#include <stdio.h>

#include "admin/otlp_client_internal.h"

#define RETRY_AFTER_MAX 300
#define HEAD_FIELDS     64

static const struct h1_limits limits = {
    .request_line = 8192, .header_size = 16384, .header_count = HEAD_FIELDS};

static enum otlp_verdict verdict_of(unsigned status)
{
    if (status / 100 == 2)
        return OTLP_TAKEN;
    return status == 429 || status == 502 || status == 503 || status == 504 ? OTLP_LATER : OTLP_REFUSED;
}

/* ExportTracePartialSuccess. */
static uint64_t rejected_of(const struct otlp_client *c)
{
    uint64_t number = 0;
    json_t *all = c->text_len ? json_loadb(c->text, c->text_len, 0, NULL) : NULL;
    const json_t *rejected = json_object_get(json_object_get(all, "partialSuccess"), "rejectedSpans");
    if (json_is_integer(rejected) && json_integer_value(rejected) > 0)
        number = (uint64_t)json_integer_value(rejected);
    else if (json_is_string(rejected) && slice_to_u64(slice_text(json_string_value(rejected)), &number) != 0)
        number = 0;
    json_decref(all);
    return number;
}

void otlp_answered(struct otlp_client *c, bool whole)
{
    struct otlp_answer a = {
        .verdict = verdict_of(c->status), .status = c->status, .retry_after = c->retry_after};
    snprintf(c->failure, sizeof c->failure, "it answers %u", c->status);
    a.reason = c->failure;
    if (a.verdict == OTLP_TAKEN && whole)
        a.rejected = rejected_of(c);
    otlp_client_tell(c, &a, whole && c->keeps);
}

static void take_head(struct otlp_client *c, const struct http_response *r)
{
    const struct field *after = fields_find(&r->fields, FIELD_RETRY_AFTER);
    uint64_t seconds;
    c->status = r->status;
    c->keeps = r->keep_alive && !r->upgrade && r->body != BODY_UNTIL_CLOSE;
    if (after && slice_to_u64(after->value, &seconds) == 0)
        c->retry_after = (seconds < RETRY_AFTER_MAX ? seconds : RETRY_AFTER_MAX) * 1000;
    c->left = r->body == BODY_LENGTH ? r->content_length : 0;
    c->step = r->body == BODY_CHUNKED ? OTLP_CHUNKS : r->body == BODY_UNTIL_CLOSE ? OTLP_TO_END : OTLP_LENGTH;
}

static void take_text(struct otlp_client *c, struct slice s)
{
    size_t room = sizeof c->text - c->text_len, len = s.len < room ? s.len : room;
    if (len)
        memcpy(c->text + c->text_len, s.at, len);
    c->text_len += len;
    c->read += s.len;
}

/* A step of reading: 1 = there may be more in what is there, 0 = more has to come, -1 = it was told. */
static int read_head(struct otlp_client *c, struct slice *in)
{
    struct field room[HEAD_FIELDS];
    struct http_response r = {.fields = {.at = room, .capacity = HEAD_FIELDS}};
    struct h1_fault fault;
    ssize_t len = h1_parse_response(*in, &c->scanned, &limits, METHOD_POST, &r, &fault);
    if (len < 0) {
        otlp_client_fail(c, "what answers speaks no HTTP/1.1");
        return -1;
    }
    if (len == 0)
        return 0;
    if (r.status >= 200 || r.status == 101)
        take_head(c, &r);
    *in = slice_skip(*in, (size_t)len);
    return 1;
}

static int read_length(struct otlp_client *c, struct slice *in)
{
    size_t len = in->len < c->left ? in->len : (size_t)c->left;
    take_text(c, slice_of(in->at, len));
    *in = slice_skip(*in, len);
    c->left -= len;
    if (c->left)
        return 0;
    otlp_answered(c, true);
    return -1;
}

static int read_chunks(struct otlp_client *c, struct slice *in)
{
    struct slice data;
    struct h1_fault fault;
    if (h1_chunked_next(&c->chunked, in, &data, &fault) != 0) {
        otlp_answered(c, false);
        return -1;
    }
    take_text(c, data);
    if (c->chunked.done)
        c->step = OTLP_TRAILERS;
    return c->chunked.done || data.len;
}

static int read_trailers(struct otlp_client *c, struct slice *in)
{
    struct field room[HEAD_FIELDS];
    struct fields trailers = {.at = room, .capacity = HEAD_FIELDS};
    struct h1_fault fault;
    ssize_t len = h1_parse_trailers(*in, &c->scanned, &limits, &trailers, &fault);
    if (len == 0)
        return 0;
    *in = slice_skip(*in, len > 0 ? (size_t)len : in->len);
    otlp_answered(c, len > 0);
    return -1;
}

static int read_step(struct otlp_client *c, struct slice *in)
{
    switch (c->step) {
    case OTLP_HEAD:
        return read_head(c, in);
    case OTLP_LENGTH:
        return read_length(c, in);
    case OTLP_CHUNKS:
        return read_chunks(c, in);
    case OTLP_TRAILERS:
        return read_trailers(c, in);
    case OTLP_TO_END:
        take_text(c, *in);
        *in = slice_skip(*in, in->len);
        break;
    }
    return 0;
}

bool otlp_take(struct otlp_client *c, struct slice *in)
{
    int more = 1;
    c->has_begun = true;
    while (more > 0) {
        more = read_step(c, in);
        if (more >= 0 && c->read > OTLP_ANSWER_MAX) {
            otlp_answered(c, false);
            return false;
        }
    }
    return more == 0;
}
