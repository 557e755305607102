#include "balancer/check_grpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/check_http.h"
#include "balancer/escape.h"
#include "core/base.h"

#define PREFIX 5 /* of a message: is it compressed, and its length in four bytes */

enum serving { SERVING_UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN };

/* Writes the length-prefixed request; its size. */
static size_t write_request(struct slice service, unsigned char out[PREFIX + 3 + CHECK_GRPC_SERVICE_MAX])
{
    unsigned char *to = out + PREFIX;
    if (service.len) {
        *to++ = 1 << 3 | 2; /* field 1, bytes */
        if (service.len >= 128)
            *to++ = (unsigned char)(service.len & 127) | 128;
        *to++ = (unsigned char)(service.len >= 128 ? service.len >> 7 : service.len);
        memcpy(to, service.at, service.len);
        to += service.len;
    }
    size_t len = (size_t)(to - out) - PREFIX;
    memset(out, 0, PREFIX);
    out[3] = (unsigned char)(len >> 8);
    out[4] = (unsigned char)len;
    return len + PREFIX;
}

struct check_h2 *check_grpc_create(const struct check_settings *c, struct slice authority, bool is_tls)
{
    unsigned char body[PREFIX + 3 + CHECK_GRPC_SERVICE_MAX];
    struct check_h2_field *fields = calloc(c->headers.count + 8, sizeof *fields);
    size_t n = 0;
    if (!fields)
        return NULL;
    fields[n++] = (struct check_h2_field){S(":method"), S("POST")};
    fields[n++] = (struct check_h2_field){S(":scheme"), is_tls ? S("https") : S("http")};
    fields[n++] = (struct check_h2_field){S(":authority"), check_http_authority(c, authority)};
    fields[n++] = (struct check_h2_field){S(":path"), S("/grpc.health.v1.Health/Check")};
    fields[n++] = (struct check_h2_field){S("te"), S("trailers")};
    fields[n++] = (struct check_h2_field){S("content-type"), S("application/grpc")};
    fields[n++] = (struct check_h2_field){S("user-agent"), S("weir-health-check")};
    for (size_t i = 0; i < c->headers.count; i++)
        if (!slice_equal_nocase(c->headers.at[i].name, S("content-type")) &&
            !slice_equal_nocase(c->headers.at[i].name, S("user-agent")))
            fields[n++] = (struct check_h2_field){c->headers.at[i].name, c->headers.at[i].value};
    size_t len = write_request(c->service, body);
    struct check_h2 *h = check_h2_create(fields, n, slice_of((const char *)body, len));
    free(fields);
    return h;
}

/* The answer. */

/* A varint of at most ten bytes; its length, 0 when it is cut short or too long. */
static size_t read_varint(const unsigned char *at, size_t len, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len && i < 10; i++) {
        value |= (uint64_t)(at[i] & 127) << (7 * i);
        if (!(at[i] & 128)) {
            *out = value;
            return i + 1;
        }
    }
    return 0;
}

/* Behind the value of a field of that wire type; 0 when the bytes are no message. */
static size_t field_end(const unsigned char *at, size_t len, unsigned wire, uint64_t *varint)
{
    uint64_t n = 0;
    size_t head;
    switch (wire) {
    case 0:
        return read_varint(at, len, varint);
    case 1:
        return len >= 8 ? 8 : 0;
    case 2:
        head = read_varint(at, len, &n);
        return head && n <= len - head ? head + (size_t)n : 0;
    case 5:
        return len >= 4 ? 4 : 0;
    default:
        return 0;
    }
}

/* Its `status`; -1 when the bytes are no such message. */
static int read_serving(const unsigned char *at, size_t len)
{
    uint64_t serving = SERVING_UNKNOWN, tag, value;
    while (len) {
        size_t n = read_varint(at, len, &tag);
        if (n == 0)
            return -1;
        value = 0;
        size_t end = field_end(at + n, len - n, tag & 7, &value);
        if (end == 0)
            return -1;
        if (tag == (1 << 3 | 0))
            serving = value;
        at += n + end;
        len -= n + end;
    }
    return serving <= SERVICE_UNKNOWN ? (int)serving : -1;
}

bool check_grpc_is_type(struct slice type)
{
    struct slice begin = S("application/grpc");
    return type.len >= begin.len && slice_equal_nocase(slice_of(type.at, begin.len), begin) &&
           (type.len == begin.len || type.at[begin.len] == '+' || type.at[begin.len] == ';');
}

const char *grpc_status_words(int status)
{
    static const char *const words[] = {
        "ok",        "cancelled",      "unknown",           "invalid argument",   "deadline exceeded",
        "not found", "already exists", "permission denied", "resource exhausted", "failed precondition",
        "aborted",   "out of range",   "unimplemented",     "internal",           "unavailable",
        "data loss", "unauthenticated"};
    return status >= 0 && (size_t)status < COUNT_OF(words) ? words[status] : "unknown";
}

static int judge_message(const struct check_h2_answer *a, char *text, size_t size)
{
    static const char *const words[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    if (a->body_len < PREFIX || a->body_len > CHECK_H2_BODY_MAX) {
        snprintf(text, size, "its answer is no HealthCheckResponse");
        return -1;
    }
    const unsigned char *b = a->body;
    size_t len = (size_t)b[1] << 24 | (size_t)b[2] << 16 | (size_t)b[3] << 8 | b[4];
    int serving = b[0] == 0 && len == a->body_len - PREFIX ? read_serving(b + PREFIX, len) : -1;
    snprintf(text, size, "%s", serving < 0 ? "its answer is no HealthCheckResponse" : words[serving]);
    return serving == SERVING ? 1 : -1;
}

int check_grpc_judge(const struct check_h2_answer *a, char *text, size_t size)
{
    char message[CHECK_H2_MESSAGE_MAX * 2];
    if (a->status != 0 && a->status != 200) {
        snprintf(text, size, "HTTP status %d", a->status);
        return -1;
    }
    if (!a->ended && !a->reset)
        return 0;
    if (a->grpc_status > 0) {
        escape_print(slice_text(a->grpc_message), message, sizeof message);
        snprintf(text, size, "grpc-status %d %s%s%s", a->grpc_status, grpc_status_words(a->grpc_status),
                 message[0] ? ": " : "", message);
        return -1;
    }
    if (a->reset) {
        snprintf(text, size, "the call was reset with error %u", a->error);
        return -1;
    }
    if (!a->is_grpc || a->grpc_status < 0) {
        snprintf(text, size, a->is_grpc ? "an answer without grpc-status" : "its answer is not gRPC");
        return -1;
    }
    return judge_message(a, text, size);
}
