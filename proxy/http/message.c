#include "proxy/http/message.h"

#define T BYTE_TOKEN
#define V BYTE_TEXT
#define G BYTE_TARGET
#define H BYTE_HOST
const uint8_t byte_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | G | H,
    ['"'] = V | G,
    ['#'] = T | V,
    ['$'] = T | V | G | H,
    ['%'] = T | V | G,
    ['&' ... '\''] = T | V | G | H,
    ['(' ... ')'] = V | G | H,
    ['*' ... '+'] = T | V | G | H,
    [','] = V | G | H,
    ['-' ... '.'] = T | V | G | H,
    ['/'] = V | G,
    ['0' ... '9'] = T | V | G | H,
    [':'] = V | G,
    [';'] = V | G | H,
    ['<'] = V | G,
    ['='] = V | G | H,
    ['>' ... '@'] = V | G,
    ['A' ... 'Z'] = T | V | G | H,
    ['[' ... ']'] = V | G,
    ['^'] = T | V | G,
    ['_'] = T | V | G | H,
    ['`'] = T | V | G,
    ['a' ... 'z'] = T | V | G | H,
    ['{'] = V | G,
    ['|'] = T | V | G,
    ['}'] = V | G,
    ['~'] = T | V | G | H,
    [0x80 ... 0xFF] = V,
};
#undef T
#undef V
#undef G
#undef H

static const struct slice names[FIELD_ID_COUNT] = {
    [FIELD_OTHER] = SLICE(""),
    [FIELD_ACCEPT] = SLICE("accept"),
    [FIELD_ACCEPT_ENCODING] = SLICE("accept-encoding"),
    [FIELD_AGE] = SLICE("age"),
    [FIELD_AUTHORIZATION] = SLICE("authorization"),
    [FIELD_CACHE_CONTROL] = SLICE("cache-control"),
    [FIELD_CONNECTION] = SLICE("connection"),
    [FIELD_CONTENT_ENCODING] = SLICE("content-encoding"),
    [FIELD_CONTENT_LENGTH] = SLICE("content-length"),
    [FIELD_CONTENT_RANGE] = SLICE("content-range"),
    [FIELD_CONTENT_TYPE] = SLICE("content-type"),
    [FIELD_COOKIE] = SLICE("cookie"),
    [FIELD_DATE] = SLICE("date"),
    [FIELD_ETAG] = SLICE("etag"),
    [FIELD_EXPECT] = SLICE("expect"),
    [FIELD_EXPIRES] = SLICE("expires"),
    [FIELD_FORWARDED] = SLICE("forwarded"),
    [FIELD_HOST] = SLICE("host"),
    [FIELD_IF_MATCH] = SLICE("if-match"),
    [FIELD_IF_MODIFIED_SINCE] = SLICE("if-modified-since"),
    [FIELD_IF_NONE_MATCH] = SLICE("if-none-match"),
    [FIELD_IF_RANGE] = SLICE("if-range"),
    [FIELD_IF_UNMODIFIED_SINCE] = SLICE("if-unmodified-since"),
    [FIELD_KEEP_ALIVE] = SLICE("keep-alive"),
    [FIELD_LAST_MODIFIED] = SLICE("last-modified"),
    [FIELD_LOCATION] = SLICE("location"),
    [FIELD_ORIGIN] = SLICE("origin"),
    [FIELD_PRAGMA] = SLICE("pragma"),
    [FIELD_PROXY_AUTHENTICATE] = SLICE("proxy-authenticate"),
    [FIELD_PROXY_AUTHORIZATION] = SLICE("proxy-authorization"),
    [FIELD_PROXY_CONNECTION] = SLICE("proxy-connection"),
    [FIELD_RANGE] = SLICE("range"),
    [FIELD_RETRY_AFTER] = SLICE("retry-after"),
    [FIELD_SERVER] = SLICE("server"),
    [FIELD_SET_COOKIE] = SLICE("set-cookie"),
    [FIELD_TE] = SLICE("te"),
    [FIELD_TRAILER] = SLICE("trailer"),
    [FIELD_TRANSFER_ENCODING] = SLICE("transfer-encoding"),
    [FIELD_UPGRADE] = SLICE("upgrade"),
    [FIELD_USER_AGENT] = SLICE("user-agent"),
    [FIELD_VARY] = SLICE("vary"),
    [FIELD_VIA] = SLICE("via"),
    [FIELD_X_FORWARDED_FOR] = SLICE("x-forwarded-for"),
    [FIELD_X_FORWARDED_HOST] = SLICE("x-forwarded-host"),
    [FIELD_X_FORWARDED_PROTO] = SLICE("x-forwarded-proto"),
    [FIELD_X_REQUEST_ID] = SLICE("x-request-id"),
};

#define INLINE static inline __attribute__((always_inline))

/* Eight bytes at a time against lower-case letters and hyphens: where the wanted byte is a letter (0x40 is
 * set), either case will do; a hyphen must be one. With a literal everything but one load, one OR and one
 * compare is folded away. */
INLINE bool same_8(const char *name, const char *lower)
{
    uint64_t have, want;
    memcpy(&have, name, 8);
    memcpy(&want, lower, 8);
    return (have | (want & 0x4040404040404040u) >> 1) == want;
}

INLINE bool same_4(const char *name, const char *lower)
{
    uint32_t have, want;
    memcpy(&have, name, 4);
    memcpy(&want, lower, 4);
    return (have | (want & 0x40404040u) >> 1) == want;
}

INLINE bool same_1(const char *name, const char *lower)
{
    return (*name | (*lower & 0x40) >> 1) == *lower;
}

INLINE bool same(const char *name, const char *lower, size_t len)
{
    if (len >= 16 && !same_8(name + 8, lower + 8))
        return false;
    if (len >= 8)
        return same_8(name, lower) && same_8(name + len - 8, lower + len - 8);
    if (len >= 4)
        return same_4(name, lower) && same_4(name + len - 4, lower + len - 4);
    for (size_t i = 0; i < len; i++)
        if (!same_1(name + i, lower + i))
            return false;
    return true;
}

/* For the switch below: the answer, if the name is this one. */
#define NAMED(literal, id) return same(name.at, literal, sizeof(literal) - 1) ? (id) : FIELD_OTHER

INLINE enum field_id id_of(struct slice name)
{
    if (name.len < 2 || name.len > 19)
        return FIELD_OTHER;

    char first = (char)(name.at[0] | 0x20);
    switch (name.len) {
    case 2:
        NAMED("te", FIELD_TE);
    case 3:
        if (first == 'a')
            NAMED("age", FIELD_AGE);
        NAMED("via", FIELD_VIA);
    case 4:
        if (first == 'h')
            NAMED("host", FIELD_HOST);
        if (first == 'd')
            NAMED("date", FIELD_DATE);
        if (first == 'e')
            NAMED("etag", FIELD_ETAG);
        NAMED("vary", FIELD_VARY);
    case 5:
        NAMED("range", FIELD_RANGE);
    case 6:
        if (first == 'a')
            NAMED("accept", FIELD_ACCEPT);
        if (first == 'c')
            NAMED("cookie", FIELD_COOKIE);
        if (first == 's')
            NAMED("server", FIELD_SERVER);
        if (first == 'o')
            NAMED("origin", FIELD_ORIGIN);
        if (first == 'p')
            NAMED("pragma", FIELD_PRAGMA);
        NAMED("expect", FIELD_EXPECT);
    case 7:
        if (first == 'u')
            NAMED("upgrade", FIELD_UPGRADE);
        if (first == 'e')
            NAMED("expires", FIELD_EXPIRES);
        NAMED("trailer", FIELD_TRAILER);
    case 8:
        if (first == 'l')
            NAMED("location", FIELD_LOCATION);
        if (name.at[3] == 'm' || name.at[3] == 'M')
            NAMED("if-match", FIELD_IF_MATCH);
        NAMED("if-range", FIELD_IF_RANGE);
    case 9:
        NAMED("forwarded", FIELD_FORWARDED);
    case 10:
        if (first == 'u')
            NAMED("user-agent", FIELD_USER_AGENT);
        if (first == 'c')
            NAMED("connection", FIELD_CONNECTION);
        if (first == 's')
            NAMED("set-cookie", FIELD_SET_COOKIE);
        NAMED("keep-alive", FIELD_KEEP_ALIVE);
    case 11:
        NAMED("retry-after", FIELD_RETRY_AFTER);
    case 12:
        if (first == 'c')
            NAMED("content-type", FIELD_CONTENT_TYPE);
        NAMED("x-request-id", FIELD_X_REQUEST_ID);
    case 13:
        if (first == 'c' && (name.at[1] | 0x20) == 'a')
            NAMED("cache-control", FIELD_CACHE_CONTROL);
        if (first == 'c')
            NAMED("content-range", FIELD_CONTENT_RANGE);
        if (first == 'i')
            NAMED("if-none-match", FIELD_IF_NONE_MATCH);
        if (first == 'l')
            NAMED("last-modified", FIELD_LAST_MODIFIED);
        NAMED("authorization", FIELD_AUTHORIZATION);
    case 14:
        NAMED("content-length", FIELD_CONTENT_LENGTH);
    case 15:
        if (first == 'a')
            NAMED("accept-encoding", FIELD_ACCEPT_ENCODING);
        NAMED("x-forwarded-for", FIELD_X_FORWARDED_FOR);
    case 16:
        if (first == 'c')
            NAMED("content-encoding", FIELD_CONTENT_ENCODING);
        if (first == 'x')
            NAMED("x-forwarded-host", FIELD_X_FORWARDED_HOST);
        NAMED("proxy-connection", FIELD_PROXY_CONNECTION);
    case 17:
        if (first == 't')
            NAMED("transfer-encoding", FIELD_TRANSFER_ENCODING);
        if (first == 'i')
            NAMED("if-modified-since", FIELD_IF_MODIFIED_SINCE);
        NAMED("x-forwarded-proto", FIELD_X_FORWARDED_PROTO);
    case 18:
        NAMED("proxy-authenticate", FIELD_PROXY_AUTHENTICATE);
    case 19:
        if (first == 'i')
            NAMED("if-unmodified-since", FIELD_IF_UNMODIFIED_SINCE);
        NAMED("proxy-authorization", FIELD_PROXY_AUTHORIZATION);
    default:
        return FIELD_OTHER;
    }
}

enum field_id field_id(struct slice name)
{
    return id_of(name);
}

struct field_ids fields_identify(struct fields *f)
{
    struct field_ids ids = {0};
    for (uint32_t i = 0; i < f->count; i++) {
        enum field_id id = id_of(f->at[i].name);
        f->at[i].id = (uint16_t)id;
        ids.again |= ids.once & FIELD_BIT(id);
        ids.once |= FIELD_BIT(id);
    }
    return ids;
}

struct slice field_name(enum field_id id)
{
    return (unsigned)id < FIELD_ID_COUNT ? names[id] : names[FIELD_OTHER];
}

struct field *fields_find(const struct fields *f, enum field_id id)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (f->at[i].id == id)
            return &f->at[i];
    return NULL;
}

struct field *fields_find_name(const struct fields *f, struct slice name)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (slice_equal_nocase(f->at[i].name, name))
            return &f->at[i];
    return NULL;
}

enum http_method method_id(struct slice method)
{
#define METHOD(literal, id) return memcmp(method.at, literal, sizeof(literal) - 1) == 0 ? (id) : METHOD_OTHER
    switch (method.len) { /* case-sensitive: RFC 9110 §9.1 */
    case 3:
        if (method.at[0] == 'G')
            METHOD("GET", METHOD_GET);
        METHOD("PUT", METHOD_PUT);
    case 4:
        if (method.at[0] == 'H')
            METHOD("HEAD", METHOD_HEAD);
        METHOD("POST", METHOD_POST);
    case 5:
        if (method.at[0] == 'P')
            METHOD("PATCH", METHOD_PATCH);
        METHOD("TRACE", METHOD_TRACE);
    case 6:
        METHOD("DELETE", METHOD_DELETE);
    case 7:
        if (method.at[0] == 'O')
            METHOD("OPTIONS", METHOD_OPTIONS);
        METHOD("CONNECT", METHOD_CONNECT);
    default:
        return METHOD_OTHER;
    }
#undef METHOD
}

bool method_is_idempotent(enum http_method m)
{
    switch (m) {
    case METHOD_GET:
    case METHOD_HEAD:
    case METHOD_OPTIONS:
    case METHOD_TRACE:
    case METHOD_PUT:
    case METHOD_DELETE:
        return true;
    case METHOD_POST:
    case METHOD_PATCH:
    case METHOD_CONNECT:
    case METHOD_OTHER:
        break;
    }
    return false;
}

struct slice status_reason(unsigned status)
{
    switch (status) {
#define REASON(number, text)                                                                                 \
    case number:                                                                                             \
        return S(text)
        REASON(100, "Continue");
        REASON(101, "Switching Protocols");
        REASON(102, "Processing");
        REASON(103, "Early Hints");
        REASON(200, "OK");
        REASON(201, "Created");
        REASON(202, "Accepted");
        REASON(203, "Non-Authoritative Information");
        REASON(204, "No Content");
        REASON(205, "Reset Content");
        REASON(206, "Partial Content");
        REASON(207, "Multi-Status");
        REASON(208, "Already Reported");
        REASON(226, "IM Used");
        REASON(300, "Multiple Choices");
        REASON(301, "Moved Permanently");
        REASON(302, "Found");
        REASON(303, "See Other");
        REASON(304, "Not Modified");
        REASON(305, "Use Proxy");
        REASON(307, "Temporary Redirect");
        REASON(308, "Permanent Redirect");
        REASON(400, "Bad Request");
        REASON(401, "Unauthorized");
        REASON(402, "Payment Required");
        REASON(403, "Forbidden");
        REASON(404, "Not Found");
        REASON(405, "Method Not Allowed");
        REASON(406, "Not Acceptable");
        REASON(407, "Proxy Authentication Required");
        REASON(408, "Request Timeout");
        REASON(409, "Conflict");
        REASON(410, "Gone");
        REASON(411, "Length Required");
        REASON(412, "Precondition Failed");
        REASON(413, "Content Too Large");
        REASON(414, "URI Too Long");
        REASON(415, "Unsupported Media Type");
        REASON(416, "Range Not Satisfiable");
        REASON(417, "Expectation Failed");
        REASON(421, "Misdirected Request");
        REASON(422, "Unprocessable Content");
        REASON(423, "Locked");
        REASON(424, "Failed Dependency");
        REASON(425, "Too Early");
        REASON(426, "Upgrade Required");
        REASON(428, "Precondition Required");
        REASON(429, "Too Many Requests");
        REASON(431, "Request Header Fields Too Large");
        REASON(451, "Unavailable For Legal Reasons");
        REASON(500, "Internal Server Error");
        REASON(501, "Not Implemented");
        REASON(502, "Bad Gateway");
        REASON(503, "Service Unavailable");
        REASON(504, "Gateway Timeout");
        REASON(505, "HTTP Version Not Supported");
        REASON(506, "Variant Also Negotiates");
        REASON(507, "Insufficient Storage");
        REASON(508, "Loop Detected");
        REASON(511, "Network Authentication Required");
#undef REASON
    default:
        return S("");
    }
}

static bool all_bytes_are(struct slice s, enum byte_class which)
{
    for (size_t i = 0; i < s.len; i++)
        if (!byte_is(s.at[i], which))
            return false;
    return true;
}

bool is_token(struct slice s)
{
    return s.len > 0 && all_bytes_are(s, BYTE_TOKEN);
}

/* No byte below 0x20, and no 0x7f: text that has no HTAB. */
static bool are_plain(const char at[8])
{
    uint64_t eight, del;
    memcpy(&eight, at, 8);
    del = eight ^ 0x7f7f7f7f7f7f7f7fu;
    return !((((eight - 0x2020202020202020u) & ~eight) | ((del - 0x0101010101010101u) & ~del)) &
             0x8080808080808080u);
}

bool is_field_value(struct slice s)
{
    while (s.len >= 8 && are_plain(s.at))
        s = slice_skip(s, 8);
    return all_bytes_are(s, BYTE_TEXT);
}

static void slice_move(struct slice *s, struct slice from, const char *to)
{
    uintptr_t offset = (uintptr_t)s->at - (uintptr_t)from.at;
    if (s->at && offset <= from.len && s->len <= from.len - offset)
        s->at = to + offset;
}

static void fields_move(struct fields *fields, struct slice from, const char *to)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        slice_move(&fields->at[i].name, from, to);
        slice_move(&fields->at[i].value, from, to);
    }
}

void http_request_move(struct http_request *request, struct slice from, const char *to)
{
    slice_move(&request->method, from, to);
    slice_move(&request->target, from, to);
    slice_move(&request->scheme, from, to);
    slice_move(&request->host, from, to);
    slice_move(&request->path, from, to);
    slice_move(&request->query, from, to);
    fields_move(&request->fields, from, to);
}

void http_response_move(struct http_response *response, struct slice from, const char *to)
{
    slice_move(&response->reason, from, to);
    fields_move(&response->fields, from, to);
}
