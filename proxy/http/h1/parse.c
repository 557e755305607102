#include "proxy/http/h1/parse.h"
#include "proxy/http/h1/framing.h"
#include "proxy/http/h1/scan.h"
#include "proxy/http/h1/target.h"
#include <stdlib.h>

/* The fast path takes whole valid lines and nothing else. Where it stops, explain() looks at the one line
 * again, slowly: it is either not all there, or faulty, and then why. */

/* Set once, before there are threads. */
static const struct h1_scanner *scanner = &h1_scan_scalar;

/* One head or trailer section being parsed. */
struct section {
    const char *begin, *end; /* what there is of it, no more than header_size */
    const struct h1_limits *limits;
    struct h1_fault *fault;
    size_t *scanned;
};

typedef bool line_explainer(const char *line, const char *eol, struct h1_fault *fault);

static struct section section_of(struct slice in, size_t *scanned, const struct h1_limits *limits,
                                 struct h1_fault *fault);
static void clear_request(struct http_request *out);
static bool has_new_line(const struct section *s);
static ssize_t need_more(const struct section *s);
static ssize_t explain(const struct section *s, const char *line, const char *end, line_explainer *why);
static const char *parse_request_line(const char *begin, const char *at, const char *end,
                                      struct http_request *out, const char **question);
static const char *parse_status_line(const char *begin, const char *at, const char *end,
                                     struct http_response *out);
static ssize_t parse_fields(const struct section *s, const char *at, struct fields *out);
static bool explain_request_line(const char *line, const char *eol, struct h1_fault *fault);
static bool explain_status_line(const char *line, const char *eol, struct h1_fault *fault);
static bool explain_field_line(const char *line, const char *eol, struct h1_fault *fault);
static bool explain_surplus_line(const char *line, const char *eol, struct h1_fault *fault);

static bool is_crlf(const char *at, const char *end)
{
    return end - at >= 2 && at[0] == '\r' && at[1] == '\n';
}

void h1_parse_init(enum h1_path path)
{
    scanner = &h1_scan_scalar;
#ifdef __x86_64__
    if (path == H1_PATH_AUTO && getenv("WEIR_H1_SCALAR"))
        return;
    if (path != H1_PATH_SCALAR && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        scanner = &h1_scan_avx2;
#else
    (void)path;
#endif
}

ssize_t h1_parse_request(struct slice in, size_t *scanned, const struct h1_limits *limits,
                         struct http_request *out, struct h1_fault *fault)
{
    struct section s = section_of(in, scanned, limits, fault);
    const char *line = s.begin;

    for (int i = 0; i < 2 && is_crlf(line, s.end); i++) /* RFC 9112 §2.2 */
        line += 2;

    size_t line_max = limits->request_line;
    bool is_clipped = (size_t)(s.end - line) >= line_max;
    const char *line_end = is_clipped ? line + line_max : s.end;

    if (*scanned > 0 && !has_new_line(&s) && !(is_clipped && !memchr(line, '\n', line_max)))
        return need_more(&s);

    clear_request(out);
    const char *question;
    const char *fields = parse_request_line(s.begin, line, line_end, out, &question);
    if (UNLIKELY(!fields)) {
        ssize_t result = explain(&s, line, line_end, explain_request_line);
        if (result == 0 && is_clipped) {
            h1_refuse(fault, 414, "the request line is too long");
            return -1;
        }
        return result;
    }
    const char *reason = h1_target(out, question);
    if (UNLIKELY(reason)) {
        h1_refuse(fault, 400, reason);
        return -1;
    }

    ssize_t length = parse_fields(&s, fields, &out->fields);
    if (length > 0 && !h1_frame_request(out, fault))
        return -1;
    return length;
}

ssize_t h1_parse_response(struct slice in, size_t *scanned, const struct h1_limits *limits,
                          enum http_method request_method, struct http_response *out, struct h1_fault *fault)
{
    struct section s = section_of(in, scanned, limits, fault);

    *out = (struct http_response){.fields = {.at = out->fields.at, .capacity = out->fields.capacity}};
    ssize_t length;
    if (*scanned > 0 && !has_new_line(&s)) {
        length = need_more(&s);
    } else {
        const char *fields = parse_status_line(s.begin, s.begin, s.end, out);
        length = fields ? parse_fields(&s, fields, &out->fields)
                        : explain(&s, s.begin, s.end, explain_status_line);
    }
    if (length > 0 && !h1_frame_response(out, request_method, fault))
        length = -1;
    if (length < 0)
        fault->status = 502;
    return length;
}

ssize_t h1_parse_trailers(struct slice in, size_t *scanned, const struct h1_limits *limits,
                          struct fields *out, struct h1_fault *fault)
{
    struct section s = section_of(in, scanned, limits, fault);

    out->count = 0;
    out->absent = 0;
    if (*scanned > 0 && !has_new_line(&s))
        return need_more(&s);

    ssize_t length = parse_fields(&s, s.begin, out);
    if (length > 0 && !h1_check_trailers(out, fault))
        return -1;
    return length;
}

static struct section section_of(struct slice in, size_t *scanned, const struct h1_limits *limits,
                                 struct h1_fault *fault)
{
    ASSERT(*scanned <= in.len);
    size_t len = in.len < limits->header_size ? in.len : limits->header_size;
    return (struct section){in.at, in.at + len, limits, fault, scanned};
}

/* Everything but the fields' storage; in words, not by one store of a zero struct, which compilers make a
 * slow REP STOS. */
static void clear_request(struct http_request *out)
{
    out->protocol = out->scheme = out->host = out->path = out->query = (struct slice){0};
    out->has_query = out->absolute_form = false;
    out->fields.count = 0;
    out->fields.absent = 0;
    out->body = BODY_NONE;
    out->content_length = 0;
    out->keep_alive = out->expect_continue = out->expect_unknown = out->upgrade = false;
}

/* Since the last call: has a line ended, or has something come that is a fault wherever it stands? */
static bool has_new_line(const struct section *s)
{
    const char *from = s->begin + *s->scanned;
    const char *stop = scanner->text(s->begin, from, s->end);
    return stop < s->end && !(*stop == '\r' && stop + 1 == s->end);
}

/* 0, or 431 when a head may not be longer. A CR at the end is to be looked at again, with what follows it. */
static ssize_t need_more(const struct section *s)
{
    size_t len = (size_t)(s->end - s->begin);
    if (len >= s->limits->header_size) {
        h1_refuse(s->fault, 431, "the head is too large");
        return -1;
    }
    *s->scanned = len > 0 && s->end[-1] == '\r' ? len - 1 : len;
    return 0;
}

/* The line at `line` was not taken. What is known of it by its bytes in their order is what decides, so that
 * it makes no difference in how many pieces they came. `end` is the section's, or where a limit ends the
 * line. */
static ssize_t explain(const struct section *s, const char *line, const char *end, line_explainer *why)
{
    const char *stop = line;
    while (stop < end && byte_is(*stop, BYTE_TEXT))
        stop++;
    if (stop == end || (*stop == '\r' && stop + 1 == end))
        return end < s->end ? 0 : need_more(s);

    if (is_crlf(stop, end))
        why(line, stop, s->fault);
    else if (*stop == '\r')
        h1_refuse(s->fault, 400, "a bare CR"); /* RFC 9112 §2.2 */
    else if (*stop == '\n')
        h1_refuse(s->fault, 400, "a bare LF");
    else
        h1_refuse(s->fault, 400, "a control character");
    return -1;
}

/* RFC 9112 §3: method SP request-target SP HTTP-version CRLF. What follows it, or NULL when it is not all
 * there and well-formed. */
static const char *parse_request_line(const char *begin, const char *at, const char *end,
                                      struct http_request *out, const char **question)
{
    const char *space = at;
    while (space < end && byte_is(*space, BYTE_TOKEN))
        space++;
    if (space == at || space == end || *space != ' ')
        return NULL;

    const char *target = space + 1;
    const char *target_end = scanner->target(begin, target, end, question);
    if (target_end == target || end - target_end < 11 || memcmp(target_end, " HTTP/1.", 8) != 0)
        return NULL;

    unsigned minor = (unsigned)(unsigned char)target_end[8] - '0';
    if (minor > 1 || target_end[9] != '\r' || target_end[10] != '\n')
        return NULL;

    out->method = slice_of(at, (size_t)(space - at));
    out->method_id = method_id(out->method);
    out->target = slice_of(target, (size_t)(target_end - target));
    out->minor = (uint8_t)minor;
    return target_end + 11;
}

/* RFC 9112 §4: HTTP-version SP status-code SP [ reason-phrase ] CRLF; the second SP may be missing with the
 * reason. */
static const char *parse_status_line(const char *begin, const char *at, const char *end,
                                     struct http_response *out)
{
    if (end - at < 14 || memcmp(at, "HTTP/1.", 7) != 0 || (at[7] != '0' && at[7] != '1') || at[8] != ' ')
        return NULL;

    unsigned class = (unsigned)(unsigned char)at[9] - '0', tens = (unsigned)(unsigned char)at[10] - '0',
             ones = (unsigned)(unsigned char)at[11] - '0';
    if (class < 1 || class > 5 || tens > 9 || ones > 9)
        return NULL;

    const char *reason = at + 12;
    if (*reason == ' ')
        reason++;
    else if (*reason != '\r')
        return NULL;
    const char *eol = scanner->text(begin, reason, end);
    if (!is_crlf(eol, end))
        return NULL;

    out->status = (uint16_t)(class * 100 + tens * 10 + ones);
    out->minor = (uint8_t)(at[7] - '0');
    out->reason = slice_of(reason, (size_t)(eol - reason));
    return eol + 2;
}

/* The field lines and the empty line behind them. The whole section's length, 0 or -1. */
static ssize_t parse_fields(const struct section *s, const char *at, struct fields *out)
{
    uint32_t max = s->limits->header_count < out->capacity ? s->limits->header_count : out->capacity;
    const char *stop = scanner->fields(s->begin, at, s->end, out, max);

    if (LIKELY(is_crlf(stop, s->end))) {
        *s->scanned = 0;
        return stop + 2 - s->begin;
    }
    return explain(s, stop, s->end, out->count == max ? explain_surplus_line : explain_field_line);
}

/* The explanations below are asked only about a whole line without control characters that was refused. */

static bool explain_request_line(const char *line, const char *eol, struct h1_fault *fault)
{
    struct slice rest = slice_of(line, (size_t)(eol - line));
    struct slice method = slice_of(rest.at, slice_find(rest, ' '));

    if (rest.len == 0)
        return h1_refuse(fault, 400, "empty lines instead of a request");
    if (!is_token(method))
        return h1_refuse(fault, 400, "the method is no token");
    rest = slice_skip(rest, method.len + 1);

    struct slice target = slice_of(rest.at, slice_find(rest, ' '));
    for (size_t i = 0; i < target.len; i++)
        if (!byte_is(target.at[i], BYTE_TARGET))
            return h1_refuse(fault, 400, "a character that may not be in a target");
    if (target.len == 0)
        return h1_refuse(fault, 400, "no target in the request line, or more than one space");
    rest = slice_skip(rest, target.len + 1);

    if (rest.len == 8 && slice_begins(rest, S("HTTP/")) && rest.at[5] >= '0' && rest.at[5] <= '9' &&
        rest.at[6] == '.' && rest.at[7] >= '0' && rest.at[7] <= '9')
        return h1_refuse(fault, 505, "a version of HTTP other than 1.0 and 1.1");
    return h1_refuse(fault, 400, "the request line does not end in a version");
}

static bool explain_status_line(const char *line, const char *eol, struct h1_fault *fault)
{
    struct slice rest = slice_of(line, (size_t)(eol - line));

    if (!slice_begins(rest, S("HTTP/1.0 ")) && !slice_begins(rest, S("HTTP/1.1 ")))
        return h1_refuse(fault, 502, "the response does not begin with HTTP/1.0 or HTTP/1.1");
    return h1_refuse(fault, 502, "the status is not a number of three digits from 100 to 599");
}

static bool explain_field_line(const char *line, const char *eol, struct h1_fault *fault)
{
    struct slice text = slice_of(line, (size_t)(eol - line));
    struct slice name = slice_of(text.at, slice_find(text, ':'));

    if (*line == ' ' || *line == '\t') /* RFC 9112 §5.2, §2.2 */
        return h1_refuse(fault, 400, "a header line that begins with a blank (obs-fold)");
    if (name.len == text.len)
        return h1_refuse(fault, 400, "a header line without a colon");
    if (name.len == 0)
        return h1_refuse(fault, 400, "an empty header name");
    if (name.at[name.len - 1] == ' ' || name.at[name.len - 1] == '\t') /* RFC 9112 §5.1 */
        return h1_refuse(fault, 400, "a blank before a header's colon");
    return h1_refuse(fault, 400, "a header name that is no token");
}

static bool explain_surplus_line(const char *line, const char *eol, struct h1_fault *fault)
{
    (void)line, (void)eol;
    return h1_refuse(fault, 431, "too many headers");
}
