/* One HTTP message as every codec (h1, h2) sees it: a head of slices, and what is known of its body. The
 * slices belong to whoever parsed the head: the worker's read buffer during the callback, the exchange's
 * arena afterwards. */
#pragma once

#include "core/base.h"
#include "core/slice.h"

/* Field names that the proxy itself has to know; FIELD_OTHER is every other one. Sorted as in the table in
 * field_id.c, which field_id() searches by length and first letter. */
enum field_id {
    FIELD_OTHER = 0,
    FIELD_ACCEPT,
    FIELD_ACCEPT_ENCODING,
    FIELD_AGE,
    FIELD_AUTHORIZATION,
    FIELD_CACHE_CONTROL,
    FIELD_CONNECTION,
    FIELD_CONTENT_ENCODING,
    FIELD_CONTENT_LENGTH,
    FIELD_CONTENT_RANGE,
    FIELD_CONTENT_TYPE,
    FIELD_COOKIE,
    FIELD_DATE,
    FIELD_ETAG,
    FIELD_EXPECT,
    FIELD_EXPIRES,
    FIELD_FORWARDED,
    FIELD_HOST,
    FIELD_IF_MATCH,
    FIELD_IF_MODIFIED_SINCE,
    FIELD_IF_NONE_MATCH,
    FIELD_IF_RANGE,
    FIELD_IF_UNMODIFIED_SINCE,
    FIELD_KEEP_ALIVE,
    FIELD_LAST_MODIFIED,
    FIELD_LOCATION,
    FIELD_ORIGIN,
    FIELD_PRAGMA,
    FIELD_PROXY_AUTHENTICATE,
    FIELD_PROXY_AUTHORIZATION,
    FIELD_PROXY_CONNECTION,
    FIELD_RANGE,
    FIELD_RETRY_AFTER,
    FIELD_SERVER,
    FIELD_SET_COOKIE,
    FIELD_TE,
    FIELD_TRAILER,
    FIELD_TRANSFER_ENCODING,
    FIELD_UPGRADE,
    FIELD_USER_AGENT,
    FIELD_VARY,
    FIELD_VIA,
    FIELD_X_FORWARDED_FOR,
    FIELD_X_FORWARDED_HOST,
    FIELD_X_FORWARDED_PROTO,
    FIELD_X_REQUEST_ID,
    FIELD_ID_COUNT,
};

struct field {
    struct slice name;  /* as it came (h1) or in lower case (h2) */
    struct slice value; /* trimmed of OWS */
    /* When the whole line "name: value CRLF" stands at name.at in memory, its length with the CRLF; 0
     * otherwise. Lets a codec copy neighbouring lines in one piece. */
    uint32_t line_len;
    uint16_t id; /* enum field_id */
};

struct fields {
    struct field *at;
    uint32_t count, capacity;
    /* Of these ids (bit 1 << id) there is no field for certain. 0 = nothing is known; who puts a field in by
     * other means than fields_add() takes its bit out. */
    uint64_t absent;
};

enum http_method {
    METHOD_OTHER,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_CONNECT,
    METHOD_OPTIONS,
    METHOD_TRACE,
    METHOD_PATCH,
};

enum body_kind {
    BODY_NONE,
    BODY_LENGTH,      /* content_length bytes; may be 0 */
    BODY_CHUNKED,     /* h1: chunked; h2: until END_STREAM */
    BODY_UNTIL_CLOSE, /* responses only */
};

struct http_request {
    enum http_method method_id;
    struct slice method;
    struct slice target; /* as received: origin-form, absolute-form, authority-form or "*" */
    /* Of an extended CONNECT (RFC 8441), which is a GET with an upgrade from here on: "websocket"; else
     * empty. */
    struct slice protocol;
    struct slice scheme; /* "http" or "https", of the connection (absolute-form must agree or is refused by
                            the exchange) */
    struct slice
        host; /* authority of the target if absolute, else Host; as received, port included; may be empty */
    /* Of the target, from its first "/" to "?"; empty for CONNECT. "*" (static text) for OPTIONS * and for
     * OPTIONS of an absolute form with neither path nor query; "/" for every other absolute form without a
     * path. */
    struct slice path;
    struct slice query; /* behind "?", without it */
    bool has_query;
    uint8_t minor; /* HTTP/1.minor; 0 or 1 */
    struct fields fields;

    enum body_kind body;
    uint64_t content_length;
    bool keep_alive;      /* RFC 9112 §9.3 */
    bool expect_continue; /* Expect: 100-continue, HTTP/1.1 */
    bool expect_unknown;  /* another expectation: 417 */
    bool upgrade;         /* Connection: upgrade with an Upgrade field, HTTP/1.1 */
    bool absolute_form;
};

struct http_response {
    uint16_t status;
    struct slice reason; /* may be empty */
    uint8_t minor;
    bool is_http2; /* it came over HTTP/2 */
    struct fields fields;

    enum body_kind body; /* as framed on the wire, given the request's method (HEAD: none) */
    uint64_t content_length;
    bool has_content_length; /* even where body is BODY_NONE (HEAD, 304) */
    bool keep_alive;
    bool upgrade;      /* 101, or 2xx to (extended) CONNECT: the connection is a tunnel behind the head */
    bool file_follows; /* to be sent: downstream_ops.respond_file() is called at once, and the head goes with
                        * what that sends */
    /* To be sent: the head in lines of HTTP/1.1, from the status line to the framing of the body, in two
     * pieces; without fields then. See exchange_takes_lines(). */
    struct slice lines[2];
};

/* What a byte may be part of: the classes of the byte_class table, for the loops that look at bytes one by
 * one. */
enum byte_class {
    BYTE_TOKEN = 1,  /* RFC 9110 §5.6.2: tchar */
    BYTE_TEXT = 2,   /* RFC 9110 §5.5: HTAB, SP, VCHAR, obs-text */
    BYTE_TARGET = 4, /* a request target here: VCHAR but "#" (see h1/target.h) */
    BYTE_HOST = 8,   /* RFC 3986 §3.2.2: reg-name, "%" excepted */
    BYTE_PLAIN = 16, /* of these, what a host in its normal spelling is made of: no upper case */
};
extern const uint8_t byte_class[256];

static inline bool byte_is(char c, enum byte_class which)
{
    return (byte_class[(unsigned char)c] & which) != 0;
}

/* After the bytes [from.at, from.at + from.len) were copied to `to`: every slice of the head that points into
 * them points into the copy; all others (scheme, static text) stay. The array of fields stays where it is. */
void http_request_move(struct http_request *request, struct slice from, const char *to);
void http_response_move(struct http_response *response, struct slice from, const char *to);

/* The id of a name in any case. */
enum field_id field_id(struct slice name);
/* Which ids a list of fields has, and which more than once: bit 1 << id. */
struct field_ids {
    uint64_t once, again;
};
#define FIELD_BIT(id) (UINT64_C(1) << (id))
_Static_assert(FIELD_ID_COUNT <= 64, "one bit for each id");

/* Sets the id of every field, and which are absent. */
struct field_ids fields_identify(struct fields *f);
/* The canonical lower-case name of an id; empty for FIELD_OTHER. */
struct slice field_name(enum field_id id);

/* The first field with that id or name, or NULL. */
struct field *fields_look_for(const struct fields *f, enum field_id id);
static inline struct field *fields_find(const struct fields *f, enum field_id id)
{
    return f->absent >> id & 1 ? NULL : fields_look_for(f, id);
}
struct field *fields_find_name(const struct fields *f, struct slice name);

enum http_method method_id(struct slice method);
/* RFC 9110 §9.2.2. */
bool method_is_idempotent(enum http_method m);

/* The standard reason phrase; "" for one that has none. */
struct slice status_reason(unsigned status);

/* RFC 9110 §5.6.2: token, at least one character. */
bool is_token(struct slice s);
/* RFC 9110 §5.5: no CTL but HTAB. */
bool is_field_value(struct slice s);
