#include "proxy/http/message.h"

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
    f->absent = ~ids.once;
    return ids;
}

struct slice field_name(enum field_id id)
{
    return (unsigned)id < FIELD_ID_COUNT ? names[id] : names[FIELD_OTHER];
}

struct field *fields_look_for(const struct fields *f, enum field_id id)
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
