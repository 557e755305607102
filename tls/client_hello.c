#include "tls/client_hello.h"

#include "core/base.h"

#define RECORD_HEADER    5u
#define RECORD_MAX       16384u
#define RECORD_HANDSHAKE 22
#define HELLO_TYPE       1
#define HELLO_HEADER     4u
#define RANDOM_BYTES     32u
#define EXTENSION_NAME   0
#define NAME_HOST        0

/* The rest of a vector; `bad` once something was asked for that is not there. */
struct reader {
    const unsigned char *at;
    size_t len;
    bool bad;
};

static unsigned number(struct reader *r, unsigned bytes)
{
    unsigned n = 0;
    if (r->len < bytes)
        r->bad = true;
    if (r->bad)
        return 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | r->at[i];
    r->at += bytes;
    r->len -= bytes;
    return n;
}

static struct reader take(struct reader *r, size_t bytes)
{
    if (r->len < bytes)
        r->bad = true;
    if (r->bad)
        return (struct reader){.bad = true};
    struct reader part = {r->at, bytes, false};
    r->at += bytes;
    r->len -= bytes;
    return part;
}

/* A vector with its length ahead, in so many bytes. */
static struct reader vector(struct reader *r, unsigned length_bytes)
{
    return take(r, number(r, length_bytes));
}

/* What a name may hold: no byte that could make it look like another in a log or a header. */
static bool is_name_byte(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
}

static enum client_hello read_name(struct reader host, char *room, struct slice *name)
{
    if (host.len && host.at[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > CLIENT_HELLO_NAME_MAX)
        return CLIENT_HELLO_BROKEN;
    for (size_t i = 0; i < host.len; i++) {
        char c = ascii_lower((char)host.at[i]);
        if (!is_name_byte((unsigned char)c))
            return CLIENT_HELLO_BROKEN;
        room[i] = c;
    }
    *name = slice_of(room, host.len);
    return CLIENT_HELLO_NAMED;
}

/* The server_name extension: a list, of which the type host_name may stand once. */
static enum client_hello read_names(struct reader extension, char *room, struct slice *name)
{
    struct reader list = vector(&extension, 2), host = {0};
    bool found = false;
    if (list.bad || extension.len)
        return CLIENT_HELLO_BROKEN;
    while (list.len) {
        unsigned type = number(&list, 1);
        struct reader value = vector(&list, 2);
        if (value.bad || (type == NAME_HOST && found))
            return CLIENT_HELLO_BROKEN;
        if (type == NAME_HOST) {
            host = value;
            found = true;
        }
    }
    return found ? read_name(host, room, name) : CLIENT_HELLO_NAMELESS;
}

/* RFC 8446 §4.1.2. */
static enum client_hello read_hello(struct reader r, char *room, struct slice *name)
{
    number(&r, 2);
    take(&r, RANDOM_BYTES);
    vector(&r, 1); /* session */
    vector(&r, 2); /* cipher suites */
    vector(&r, 1); /* compression */
    if (r.bad)
        return CLIENT_HELLO_BROKEN;
    if (r.len == 0)
        return CLIENT_HELLO_NAMELESS; /* TLS 1.2 may do without extensions */
    struct reader extensions = vector(&r, 2), names = {0};
    bool found = false;
    if (extensions.bad || r.len)
        return CLIENT_HELLO_BROKEN;
    while (extensions.len) {
        unsigned type = number(&extensions, 2);
        struct reader value = vector(&extensions, 2);
        if (value.bad || (type == EXTENSION_NAME && found))
            return CLIENT_HELLO_BROKEN;
        if (type == EXTENSION_NAME) {
            names = value;
            found = true;
        }
    }
    return found ? read_names(names, room, name) : CLIENT_HELLO_NAMELESS;
}

/* Whether these can be the first bytes of a record with a ClientHello, as far as they go. */
static bool looks_like_hello(struct slice in)
{
    const unsigned char *at = (const unsigned char *)in.at;
    return (in.len < 1 || at[0] == RECORD_HANDSHAKE) && (in.len < 2 || at[1] == 3) &&
           (in.len < 6 || at[5] == HELLO_TYPE);
}

/* The handshake bytes of the records, one behind the other: CLIENT_HELLO_NAMELESS when the message is whole.
 */
static enum client_hello gather(struct slice in, unsigned char *message, size_t *len)
{
    size_t need = HELLO_HEADER, have = 0;
    struct reader r = {(const unsigned char *)in.at, in.len, false};
    while (have < need) {
        if (r.len < RECORD_HEADER)
            return CLIENT_HELLO_MORE;
        unsigned type = number(&r, 1), version = number(&r, 2), size = number(&r, 2);
        if (type != RECORD_HANDSHAKE || version >> 8 != 3 || size == 0 || size > RECORD_MAX)
            return CLIENT_HELLO_BROKEN;
        size_t there = size < r.len ? size : r.len;
        size_t room = CLIENT_HELLO_MAX - have;
        size_t taken = there < room ? there : room;
        memcpy(message + have, r.at, taken);
        have += taken;
        if (have >= HELLO_HEADER)
            need = HELLO_HEADER + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
        if (need > CLIENT_HELLO_MAX)
            return CLIENT_HELLO_BROKEN;
        if (have < need && there < size)
            return CLIENT_HELLO_MORE;
        take(&r, there);
    }
    *len = need;
    return CLIENT_HELLO_NAMELESS;
}

enum client_hello client_hello_parse(struct slice in, char room[CLIENT_HELLO_NAME_MAX], struct slice *name)
{
    unsigned char message[CLIENT_HELLO_MAX];
    size_t len = 0;
    *name = slice_of(NULL, 0);
    if (!looks_like_hello(in))
        return CLIENT_HELLO_NOT_TLS;
    if (in.len <= RECORD_HEADER)
        return CLIENT_HELLO_MORE;
    bool all_there = in.len >= CLIENT_HELLO_MAX;
    enum client_hello result = gather(slice_of(in.at, all_there ? CLIENT_HELLO_MAX : in.len), message, &len);
    if (result == CLIENT_HELLO_MORE && all_there)
        return CLIENT_HELLO_BROKEN;
    if (result != CLIENT_HELLO_NAMELESS)
        return result;
    return read_hello((struct reader){message + HELLO_HEADER, len - HELLO_HEADER, false}, room, name);
}
