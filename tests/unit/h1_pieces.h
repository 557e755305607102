/* Runs the HTTP/1.1 parser on an input that comes in pieces, each copied to where an unreadable page begins
 * behind it, and writes down all that it says, so that two runs can be compared. For unit tests and fuzzers
 * alike. */
#pragma once

#include "proxy/http/h1/parse.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PIECES_ROOM = 1 << 17, PIECES_FIELDS = 128 };

/* Memory that ends at an unreadable page. */
struct guarded {
    char *end;
};

static inline struct guarded guarded_new(void)
{
    char *at = mmap(NULL, PIECES_ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(at + PIECES_ROOM, 4096, PROT_NONE) != 0)
        abort();
    return (struct guarded){at + PIECES_ROOM};
}

/* A copy of s, `gap` bytes before the unreadable page. */
static inline struct slice guarded_put(struct guarded g, struct slice s, size_t gap)
{
    char *at = g.end - gap - s.len;
    if (s.len)
        memcpy(at, s.at, s.len);
    return slice_of(at, s.len);
}

/* What a run says, in words. */
struct outcome {
    ssize_t result; /* > 0: length, 0: more, -1: fault */
    unsigned status;
    const char *reason;
    size_t len;
    char text[2 * PIECES_ROOM];
};

static inline void outcome_add(struct outcome *o, struct slice s)
{
    if (o->len + s.len > sizeof(o->text))
        abort();
    if (s.len)
        memcpy(o->text + o->len, s.at, s.len);
    o->len += s.len;
}

__attribute__((format(printf, 2, 3))) static inline void outcome_print(struct outcome *o, const char *format,
                                                                       ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    outcome_add(o, slice_of(line, (size_t)len));
}

static inline bool outcome_equal(const struct outcome *a, const struct outcome *b)
{
    return a->result == b->result && a->status == b->status &&
           (a->reason == b->reason || strcmp(a->reason, b->reason) == 0) &&
           slice_equal(slice_of(a->text, a->len), slice_of(b->text, b->len));
}

static inline void outcome_body(struct outcome *o, enum body_kind body, uint64_t length)
{
    static const char *const names[] = {"none", "length", "chunked", "close"};
    outcome_print(o, " %s", names[body]);
    if (body == BODY_LENGTH)
        outcome_print(o, "=%llu", (unsigned long long)length);
}

static inline void outcome_fields(struct outcome *o, const struct fields *fields, bool in_full)
{
    for (uint32_t i = 0; i < fields->count && in_full; i++) {
        const struct field *f = &fields->at[i];
        outcome_print(o, "\n%u %u [", f->id, f->line_len);
        outcome_add(o, f->name);
        outcome_print(o, "]=[");
        outcome_add(o, f->value);
        outcome_print(o, "] %td", f->value.at - f->name.at);
    }
}

/* Which parser, and what it needs to know. */
struct parse_job {
    enum { JOB_REQUEST, JOB_RESPONSE, JOB_TRAILERS } kind;
    struct h1_limits limits;
    enum http_method method; /* of the request, for a response */
    bool in_full;            /* every field in the outcome, too */
};

static inline void outcome_request(struct outcome *o, const struct http_request *r, bool in_full)
{
    outcome_add(o, r->method);
    outcome_print(o, " ");
    outcome_add(o, r->path);
    if (r->has_query) {
        outcome_print(o, "?");
        outcome_add(o, r->query);
    }
    outcome_print(o, " @");
    outcome_add(o, r->host);
    outcome_print(o, " 1.%u", r->minor);
    outcome_body(o, r->body, r->content_length);
    outcome_print(o, "%s%s%s%s%s n=%u", r->keep_alive ? " keep" : "", r->expect_continue ? " 100" : "",
                  r->expect_unknown ? " 417" : "", r->upgrade ? " upgrade" : "",
                  r->absolute_form ? " absolute" : "", r->fields.count);
    if (in_full)
        outcome_print(o, " %d %zu", r->method_id, r->target.len);
    outcome_fields(o, &r->fields, in_full);
}

static inline void outcome_response(struct outcome *o, const struct http_response *r, bool in_full)
{
    outcome_print(o, "%u [", r->status);
    outcome_add(o, r->reason);
    outcome_print(o, "] 1.%u", r->minor);
    outcome_body(o, r->body, r->content_length);
    if (r->has_content_length)
        outcome_print(o, " cl=%llu", (unsigned long long)r->content_length);
    outcome_print(o, "%s%s n=%u", r->keep_alive ? " keep" : "", r->upgrade ? " upgrade" : "",
                  r->fields.count);
    outcome_fields(o, &r->fields, in_full);
}

/* Parses the prefixes of `in` that end at cuts[0], cuts[1], ... until one of them says something. */
static inline void run_head(const struct parse_job *job, struct guarded g, size_t gap, struct slice in,
                            const size_t *cuts, size_t count, struct outcome *o)
{
    static _Thread_local struct field storage[PIECES_FIELDS];
    struct http_request request = {.fields = {storage, 0, PIECES_FIELDS, 0}};
    struct http_response response = {.fields = {storage, 0, PIECES_FIELDS, 0}};
    struct fields trailers = {storage, 0, PIECES_FIELDS, 0};
    struct h1_fault fault = {0};
    size_t scanned = 0;

    o->result = 0;
    o->status = 0;
    o->reason = "";
    o->len = 0;
    for (size_t i = 0; i < count && o->result == 0; i++) {
        struct slice piece = guarded_put(g, slice_of(in.at, cuts[i]), gap);
        switch (job->kind) {
        case JOB_REQUEST:
            o->result = h1_parse_request(piece, &scanned, &job->limits, &request, &fault);
            break;
        case JOB_RESPONSE:
            o->result = h1_parse_response(piece, &scanned, &job->limits, job->method, &response, &fault);
            break;
        case JOB_TRAILERS:
            o->result = h1_parse_trailers(piece, &scanned, &job->limits, &trailers, &fault);
            break;
        }
        if (o->result > 0 && (scanned != 0 || (size_t)o->result > piece.len))
            abort();
    }
    if (o->result < 0) {
        o->status = fault.status;
        o->reason = fault.reason;
    } else if (o->result > 0) {
        if (job->kind == JOB_REQUEST)
            outcome_request(o, &request, job->in_full);
        else if (job->kind == JOB_RESPONSE)
            outcome_response(o, &response, job->in_full);
        else
            outcome_fields(o, &trailers, true);
    }
}

/* Decodes a chunked body whose pieces end at the cuts. The text is its data; result is what was eaten when it
 * is done. */
static inline void run_chunked(struct guarded g, size_t gap, struct slice in, const size_t *cuts,
                               size_t count, struct outcome *o)
{
    struct h1_chunked c = {0};
    struct h1_fault fault = {0};
    size_t eaten = 0;

    o->result = 0;
    o->status = 0;
    o->reason = "";
    o->len = 0;
    for (size_t i = 0; i < count && !c.done; i++) {
        struct slice piece = guarded_put(g, slice_of(in.at + eaten, cuts[i] - eaten), gap);
        while (piece.len && !c.done) {
            struct slice data;
            size_t before = piece.len;
            if (h1_chunked_next(&c, &piece, &data, &fault) != 0) {
                o->result = -1;
                o->status = fault.status;
                o->reason = fault.reason;
                return;
            }
            if (piece.len == before || (data.len == 0 && piece.len && !c.done))
                abort(); /* no progress, or a pause for no reason */
            eaten += before - piece.len;
            outcome_add(o, data);
        }
    }
    o->result = c.done ? (ssize_t)eaten : 0;
}
