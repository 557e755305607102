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
 * set), either case will do; a hyphen must be one. */
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

/* The names of each length: what they begin with, and their ids; FIELD_OTHER ends them. */
#define SHORTEST 2
#define LONGEST  19
static const struct candidate {
    char first;
    unsigned char id;
} of_length[LONGEST + 1][8] = {
    [2] = {{'t', FIELD_TE}},
    [3] = {{'a', FIELD_AGE}, {'v', FIELD_VIA}},
    [4] = {{'h', FIELD_HOST}, {'d', FIELD_DATE}, {'e', FIELD_ETAG}, {'v', FIELD_VARY}},
    [5] = {{'r', FIELD_RANGE}},
    [6] = {{'a', FIELD_ACCEPT},
           {'c', FIELD_COOKIE},
           {'s', FIELD_SERVER},
           {'o', FIELD_ORIGIN},
           {'p', FIELD_PRAGMA},
           {'e', FIELD_EXPECT}},
    [7] = {{'u', FIELD_UPGRADE}, {'e', FIELD_EXPIRES}, {'t', FIELD_TRAILER}},
    [8] = {{'l', FIELD_LOCATION}, {'i', FIELD_IF_MATCH}, {'i', FIELD_IF_RANGE}},
    [9] = {{'f', FIELD_FORWARDED}},
    [10] = {{'u', FIELD_USER_AGENT},
            {'c', FIELD_CONNECTION},
            {'s', FIELD_SET_COOKIE},
            {'k', FIELD_KEEP_ALIVE}},
    [11] = {{'r', FIELD_RETRY_AFTER}},
    [12] = {{'c', FIELD_CONTENT_TYPE}, {'x', FIELD_X_REQUEST_ID}},
    [13] = {{'c', FIELD_CACHE_CONTROL},
            {'c', FIELD_CONTENT_RANGE},
            {'i', FIELD_IF_NONE_MATCH},
            {'l', FIELD_LAST_MODIFIED},
            {'a', FIELD_AUTHORIZATION}},
    [14] = {{'c', FIELD_CONTENT_LENGTH}},
    [15] = {{'a', FIELD_ACCEPT_ENCODING}, {'x', FIELD_X_FORWARDED_FOR}},
    [16] = {{'c', FIELD_CONTENT_ENCODING}, {'x', FIELD_X_FORWARDED_HOST}, {'p', FIELD_PROXY_CONNECTION}},
    [17] = {{'t', FIELD_TRANSFER_ENCODING}, {'i', FIELD_IF_MODIFIED_SINCE}, {'x', FIELD_X_FORWARDED_PROTO}},
    [18] = {{'p', FIELD_PROXY_AUTHENTICATE}},
    [19] = {{'i', FIELD_IF_UNMODIFIED_SINCE}, {'p', FIELD_PROXY_AUTHORIZATION}},
};

INLINE enum field_id id_of(struct slice name)
{
    if (name.len < SHORTEST || name.len > LONGEST)
        return FIELD_OTHER;

    const char first = (char)(name.at[0] | 0x20);
    for (const struct candidate *c = of_length[name.len]; c->id != FIELD_OTHER; c++)
        if (c->first == first && same(name.at, names[c->id].at, name.len))
            return (enum field_id)c->id;
    return FIELD_OTHER;
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
