#include "proxy/http/h1/framing.h"
#include "proxy/http/h1/target.h"

#define BIT FIELD_BIT

/* The members of all Connection fields that mean something here. */
struct connection_options {
    bool close, keep_alive, upgrade;
};

static bool frame_host(struct http_request *out, struct field_ids seen, struct h1_fault *fault);
static bool parse_connection(const struct fields *fields, struct connection_options *options,
                             struct h1_fault *fault);
static void parse_expect(struct http_request *out);
static bool parse_content_length(const struct fields *fields, struct field_ids seen, uint64_t *length,
                                 struct h1_fault *fault);
static bool check_transfer_encoding(const struct fields *fields, struct field_ids seen, unsigned minor,
                                    struct h1_fault *fault);
static bool frame_response_body(struct http_response *out, enum http_method request_method,
                                struct field_ids seen, struct h1_fault *fault);

bool h1_refuse(struct h1_fault *fault, unsigned status, const char *reason)
{
    *fault = (struct h1_fault){(uint16_t)status, reason};
    return false;
}

bool h1_frame_request(struct http_request *out, struct h1_fault *fault)
{
    struct field_ids seen = fields_identify(&out->fields);

    if (!frame_host(out, seen, fault))
        return false;
    out->keep_alive = out->minor == 1;
    if (LIKELY(!(seen.once & (BIT(FIELD_CONNECTION) | BIT(FIELD_CONTENT_LENGTH) |
                              BIT(FIELD_TRANSFER_ENCODING) | BIT(FIELD_EXPECT)))))
        return true;

    if (seen.once & BIT(FIELD_CONNECTION)) {
        struct connection_options options = {0};
        if (!parse_connection(&out->fields, &options, fault))
            return false;
        out->keep_alive = !options.close && (out->minor == 1 || options.keep_alive);
        out->upgrade = options.upgrade && out->minor == 1 && (seen.once & BIT(FIELD_UPGRADE));
    }
    if (seen.once & BIT(FIELD_TRANSFER_ENCODING)) {
        if (!check_transfer_encoding(&out->fields, seen, out->minor, fault))
            return false;
        out->body = BODY_CHUNKED;
    } else if (seen.once & BIT(FIELD_CONTENT_LENGTH)) {
        if (!parse_content_length(&out->fields, seen, &out->content_length, fault))
            return false;
        out->body = BODY_LENGTH;
    }
    if (seen.once & BIT(FIELD_EXPECT) && out->minor == 1) /* RFC 9110 §10.1.1: ignored in a 1.0 request */
        parse_expect(out);
    return true;
}

/* RFC 9112 §3.2: one valid Host in a 1.1 request, empty when the target has no authority. RFC 9112 §3.2.2 has
 * an absolute form override it; a Host that says something else has another reader believe something else. */
static bool frame_host(struct http_request *out, struct field_ids seen, struct h1_fault *fault)
{
    if (UNLIKELY(seen.again & BIT(FIELD_HOST)))
        return h1_refuse(fault, 400, "more than one Host");
    if (UNLIKELY(!(seen.once & BIT(FIELD_HOST))))
        return out->minor == 0 || h1_refuse(fault, 400, "no Host");

    struct slice host = fields_find(&out->fields, FIELD_HOST)->value;
    if (host.len && !h1_is_authority(host, false))
        return h1_refuse(fault, 400, "Host is not valid");
    if (out->host.at && !slice_equal_nocase(host, out->host))
        return h1_refuse(fault, 400, "Host is not that of the target");
    if (!out->host.at)
        out->host = host;
    return true;
}

/* RFC 9110 §7.6.1. To name a field that frames or routes the message would have it taken away on the way. */
static bool take_option(struct slice option, struct connection_options *options, struct h1_fault *fault)
{
    switch (field_id(option)) {
    case FIELD_KEEP_ALIVE:
        options->keep_alive = true;
        return true;
    case FIELD_UPGRADE:
        options->upgrade = true;
        return true;
    case FIELD_HOST:
    case FIELD_CONTENT_LENGTH:
        return h1_refuse(fault, 400, "Connection names a field that is not its own");
    default:
        if (slice_equal_nocase(option, S("close")))
            options->close = true;
        else if (!is_token(option))
            return h1_refuse(fault, 400, "Connection is not a list of tokens");
        return true;
    }
}

static bool parse_connection(const struct fields *fields, struct connection_options *options,
                             struct h1_fault *fault)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        if (fields->at[i].id != FIELD_CONNECTION)
            continue;
        struct slice rest = fields->at[i].value;
        struct slice option;
        if (field_id(rest) == FIELD_KEEP_ALIVE) { /* nearly always, and faster than the list's loop */
            options->keep_alive = true;
            continue;
        }
        while (slice_next(&rest, ',', &option))
            if (!take_option(option, options, fault))
                return false;
    }
    return true;
}

/* RFC 9110 §10.1.1. */
static void parse_expect(struct http_request *out)
{
    for (uint32_t i = 0; i < out->fields.count; i++) {
        struct slice rest = out->fields.at[i].value;
        struct slice expectation;

        if (out->fields.at[i].id != FIELD_EXPECT)
            continue;
        while (slice_next(&rest, ',', &expectation)) {
            if (slice_equal_nocase(expectation, S("100-continue")))
                out->expect_continue = true;
            else
                out->expect_unknown = true;
        }
    }
}

/* RFC 9110 §8.6: 1*DIGIT. The list of equal values that a recipient may make one of is refused, as is what
 * does not fit 63 bits (so that sums of it cannot wrap) or hides behind leading zeros. */
static bool parse_content_length(const struct fields *fields, struct field_ids seen, uint64_t *length,
                                 struct h1_fault *fault)
{
    struct slice value = fields_find(fields, FIELD_CONTENT_LENGTH)->value;
    uint64_t number = 0;

    if (seen.again & BIT(FIELD_CONTENT_LENGTH))
        return h1_refuse(fault, 400, "more than one Content-Length");
    for (size_t i = 0; i < value.len; i++) { /* what wraps has more than 19 digits */
        unsigned digit = (unsigned char)value.at[i] - (unsigned)'0';
        if (digit > 9)
            return h1_refuse(fault, 400, "Content-Length is not a number");
        number = number * 10 + digit;
    }
    if (value.len == 0)
        return h1_refuse(fault, 400, "Content-Length is empty");
    if (value.len > 19 || number > INT64_MAX)
        return h1_refuse(fault, 400, "Content-Length is too large");
    *length = number;
    return true;
}

/* RFC 9112 §6.1: "chunked" alone, once, in an HTTP/1.1 message without Content-Length. Everything else ends
 * in a fault, and the rest of the function only finds out which. */
static bool check_transfer_encoding(const struct fields *fields, struct field_ids seen, unsigned minor,
                                    struct h1_fault *fault)
{
    if (minor == 0)
        return h1_refuse(fault, 400, "Transfer-Encoding in an HTTP/1.0 message");
    if (seen.once & BIT(FIELD_CONTENT_LENGTH))
        return h1_refuse(fault, 400, "both Content-Length and Transfer-Encoding");
    if (!(seen.again & BIT(FIELD_TRANSFER_ENCODING)) &&
        slice_equal_nocase(fields_find(fields, FIELD_TRANSFER_ENCODING)->value, S("chunked")))
        return true;

    bool chunked = false;
    bool unknown = false;
    for (uint32_t i = 0; i < fields->count; i++) {
        struct slice rest = fields->at[i].value;
        struct slice coding;

        if (fields->at[i].id != FIELD_TRANSFER_ENCODING)
            continue;
        while (slice_next(&rest, ',', &coding)) {
            struct slice name = slice_trim(slice_of(coding.at, slice_find(coding, ';')));
            if (!is_token(name))
                return h1_refuse(fault, 400, "Transfer-Encoding is malformed");
            if (chunked)
                return h1_refuse(fault, 400, "Transfer-Encoding goes on behind chunked");
            if (slice_equal_nocase(name, S("chunked"))) {
                if (name.len != coding.len)
                    return h1_refuse(fault, 400, "parameters of chunked");
                chunked = true;
            } else {
                unknown = true;
            }
        }
    }
    if (unknown)
        return h1_refuse(fault, 501, "a transfer coding that is not known");
    return h1_refuse(fault, 400, "Transfer-Encoding has an empty member");
}

bool h1_frame_response(struct http_response *out, enum http_method request_method, struct h1_fault *fault)
{
    struct field_ids seen = fields_identify(&out->fields);
    struct connection_options options = {0};

    if (seen.once & BIT(FIELD_CONNECTION) && !parse_connection(&out->fields, &options, fault))
        return false;
    out->keep_alive = !options.close && (out->minor == 1 || options.keep_alive);
    if (out->status == 101) {
        if (out->minor == 0) /* RFC 9110 §7.8: Upgrade is not for HTTP/1.0 */
            return h1_refuse(fault, 400, "101 in an HTTP/1.0 response");
        out->upgrade = true;
    }
    return frame_response_body(out, request_method, seen, fault);
}

/* RFC 9112 §6.3, the rules in their order. What forbids a body still has its framing fields checked: they are
 * passed on. */
static bool frame_response_body(struct http_response *out, enum http_method request_method,
                                struct field_ids seen, struct h1_fault *fault)
{
    bool is_bodyless = out->status < 200 || out->status == 204;
    bool is_tunnel = request_method == METHOD_CONNECT && out->status / 100 == 2;

    if (seen.once & BIT(FIELD_TRANSFER_ENCODING)) {
        if (is_bodyless || is_tunnel) /* RFC 9112 §6.1 */
            return h1_refuse(fault, 400, "Transfer-Encoding where there can be no body");
        if (!check_transfer_encoding(&out->fields, seen, out->minor, fault))
            return false;
        out->body = BODY_CHUNKED;
    } else if (seen.once & BIT(FIELD_CONTENT_LENGTH)) {
        if (!parse_content_length(&out->fields, seen, &out->content_length, fault))
            return false;
        if ((is_bodyless || is_tunnel) && out->content_length > 0) /* RFC 9110 §8.6 */
            return h1_refuse(fault, 400, "Content-Length where there can be no body");
        out->has_content_length = !is_bodyless && !is_tunnel;
        out->body = BODY_LENGTH;
    } else {
        out->body = BODY_UNTIL_CLOSE;
    }

    if (is_tunnel)
        out->upgrade = true;
    if (is_bodyless || is_tunnel || out->status == 304 || request_method == METHOD_HEAD)
        out->body = BODY_NONE;
    if (out->body == BODY_UNTIL_CLOSE)
        out->keep_alive = false;
    return true;
}

/* RFC 9110 §6.5.1: nothing that frames, routes, modifies the request, authenticates, controls the response or
 * says how the content is to be read, as it has been acted upon by then; nor what other servers take for the
 * client's identity. */
bool h1_check_trailers(struct fields *fields, struct h1_fault *fault)
{
    static const uint64_t forbidden =
        BIT(FIELD_ACCEPT) | BIT(FIELD_ACCEPT_ENCODING) | BIT(FIELD_AGE) | BIT(FIELD_AUTHORIZATION) |
        BIT(FIELD_CACHE_CONTROL) | BIT(FIELD_CONNECTION) | BIT(FIELD_CONTENT_ENCODING) |
        BIT(FIELD_CONTENT_LENGTH) | BIT(FIELD_CONTENT_RANGE) | BIT(FIELD_CONTENT_TYPE) | BIT(FIELD_COOKIE) |
        BIT(FIELD_DATE) | BIT(FIELD_EXPECT) | BIT(FIELD_EXPIRES) | BIT(FIELD_FORWARDED) | BIT(FIELD_HOST) |
        BIT(FIELD_IF_MATCH) | BIT(FIELD_IF_MODIFIED_SINCE) | BIT(FIELD_IF_NONE_MATCH) | BIT(FIELD_IF_RANGE) |
        BIT(FIELD_IF_UNMODIFIED_SINCE) | BIT(FIELD_KEEP_ALIVE) | BIT(FIELD_LOCATION) | BIT(FIELD_ORIGIN) |
        BIT(FIELD_PRAGMA) | BIT(FIELD_PROXY_AUTHENTICATE) | BIT(FIELD_PROXY_AUTHORIZATION) |
        BIT(FIELD_PROXY_CONNECTION) | BIT(FIELD_RANGE) | BIT(FIELD_RETRY_AFTER) | BIT(FIELD_SET_COOKIE) |
        BIT(FIELD_TE) | BIT(FIELD_TRAILER) | BIT(FIELD_TRANSFER_ENCODING) | BIT(FIELD_UPGRADE) |
        BIT(FIELD_VARY) | BIT(FIELD_X_FORWARDED_FOR) | BIT(FIELD_X_FORWARDED_HOST) |
        BIT(FIELD_X_FORWARDED_PROTO);
    static const struct slice others[] = {SLICE("www-authenticate"), SLICE("max-forwards"), SLICE("warning"),
                                          SLICE("x-real-ip")};

    struct field_ids seen = fields_identify(fields);
    if (seen.once & forbidden)
        return h1_refuse(fault, 400, "a trailer field that may not be one");
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (fields_find_name(fields, others[i]))
            return h1_refuse(fault, 400, "a trailer field that may not be one");
    return true;
}
