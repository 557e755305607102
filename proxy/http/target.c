#include "proxy/http/target.h"

#include "proxy/http/message.h"

static const char hex_digits[] = "0123456789ABCDEF";

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 §2.3. */
static bool is_unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* The octet that s[i], a "%", stands for; -1 when it is no escape. */
static int escape_at(struct slice s, size_t i)
{
    if (s.len - i < 3)
        return -1;
    int high = hex_value(s.at[i + 1]), low = hex_value(s.at[i + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Whether the "%" or "." at s[i] may stay as it stands; a "%" that is no escape may not. */
static bool is_normal_at(struct slice s, size_t i)
{
    if (s.at[i] == '%') {
        int octet = escape_at(s, i);
        return octet > 0 && !is_unreserved((unsigned char)octet) && s.at[i + 1] < 'a' && s.at[i + 2] < 'a';
    }
    if (s.at[i - 1] != '/')
        return true;
    size_t next = i + 1;
    if (next < s.len && s.at[next] == '.')
        next++;
    return next < s.len && s.at[next] != '/';
}

/* High bit of each byte of `word` that is `c` (and perhaps of one above such a byte, which only costs a
 * second look). */
static inline uint64_t bytes_equal(uint64_t word, char c)
{
    const uint64_t ones = 0x0101010101010101;
    uint64_t zero_where = word ^ (ones * (unsigned char)c);
    return (zero_where - ones) & ~zero_where & (ones << 7);
}

static bool is_normal(struct slice s)
{
    size_t i = 1;
    for (; s.len - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, s.at + i, 8);
        if (LIKELY(!(bytes_equal(word, '%') | bytes_equal(word, '.'))))
            continue;
        for (size_t k = i; k < i + 8; k++)
            if ((s.at[k] == '%' || s.at[k] == '.') && !is_normal_at(s, k))
                return false;
    }
    for (; i < s.len; i++)
        if ((s.at[i] == '%' || s.at[i] == '.') && !is_normal_at(s, i))
            return false;
    return true;
}

/* A path being written: what stands in out[0..len) is normal up to the segment that begins at `segment`. */
struct path_writer {
    char *out;
    size_t len, segment;
};

/* The segment is complete; "." and ".." take effect (RFC 3986 §5.2.4). */
static int end_segment(struct path_writer *w, bool is_last)
{
    struct slice segment = slice_of(w->out + w->segment, w->len - w->segment);
    if (slice_equal(segment, S("."))) {
        w->len = w->segment;
    } else if (slice_equal(segment, S(".."))) {
        if (w->segment == 1)
            return TARGET_ABOVE_ROOT;
        w->len = w->segment - 1;
        while (w->out[w->len - 1] != '/')
            w->len--;
        w->segment = w->len;
    } else if (!is_last) {
        w->out[w->len++] = '/';
        w->segment = w->len;
    }
    return 0;
}

/* Copies what stands at s[*i], in its normal spelling. */
static int put_octet(struct path_writer *w, struct slice s, size_t *i)
{
    char c = s.at[(*i)++];
    if (c != '%') {
        w->out[w->len++] = c;
        return 0;
    }
    int octet = escape_at(s, *i - 1);
    if (octet <= 0)
        return TARGET_BAD_ESCAPE;
    *i += 2;
    if (is_unreserved((unsigned char)octet)) {
        w->out[w->len++] = (char)octet;
    } else {
        w->out[w->len++] = '%';
        w->out[w->len++] = hex_digits[octet >> 4];
        w->out[w->len++] = hex_digits[octet & 15];
    }
    return 0;
}

int target_normalise(struct arena *arena, struct slice path, struct slice *out)
{
    if (path.len == 0 || path.at[0] != '/') {
        if (path.len && !slice_equal(path, S("*")))
            return TARGET_NO_SLASH;
        *out = path;
        return 0;
    }
    if (LIKELY(is_normal(path))) {
        *out = path;
        return 0;
    }

    struct path_writer w = {.out = arena_alloc(arena, path.len), .len = 1, .segment = 1};
    if (!w.out)
        return TARGET_NO_MEMORY;
    w.out[0] = '/';
    for (size_t i = 1; i <= path.len;) {
        bool is_last = i == path.len;
        int fault = is_last || path.at[i] == '/' ? (i++, end_segment(&w, is_last)) : put_octet(&w, path, &i);
        if (fault)
            return fault;
    }
    *out = slice_of(w.out, w.len);
    return 0;
}

int target_from_text(struct arena *arena, struct slice text, struct slice *out)
{
    char *at = arena_alloc(arena, text.len * 3 + 1);
    size_t len = 0;
    if (!at)
        return TARGET_NO_MEMORY;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c > ' ' && c < 0x7f && !memchr("\"<>?#", c, 5)) {
            at[len++] = (char)c;
            continue;
        }
        at[len++] = '%';
        at[len++] = hex_digits[c >> 4];
        at[len++] = hex_digits[c & 15];
    }
    return target_normalise(arena, slice_of(at, len), out);
}

const char *target_fault_text(int fault)
{
    switch (fault) {
    case TARGET_BAD_ESCAPE:
        return "bad percent-escape in the path";
    case TARGET_ABOVE_ROOT:
        return "the path climbs above the root";
    case TARGET_NO_SLASH:
        return "the path does not begin with a slash";
    case TARGET_NO_MEMORY:
        return "out of memory";
    default:
        return "";
    }
}

/* Where the host's name ends: before the colon of a port. */
static size_t name_end(struct slice host)
{
    if (host.len == 0 || host.at[0] != '[')
        return slice_find(host, ':');
    size_t bracket = slice_find(host, ']');
    return bracket < host.len ? bracket + 1 : host.len;
}

struct slice host_normalise(struct arena *arena, struct slice host)
{
    size_t i = 0;
    while (i < host.len && byte_is(host.at[i], BYTE_PLAIN))
        i++;
    if (LIKELY(i && (i == host.len || host.at[i] == ':') && host.at[i - 1] != '.'))
        return slice_of(host.at, i);

    host.len = name_end(host);
    if (host.len && host.at[host.len - 1] == '.')
        host.len--;
    i = 0;
    while (i < host.len && (host.at[i] < 'A' || host.at[i] > 'Z'))
        i++;
    if (LIKELY(i == host.len))
        return host;

    char *lower = arena_alloc(arena, host.len);
    if (!lower)
        return (struct slice){0};
    for (i = 0; i < host.len; i++)
        lower[i] = ascii_lower(host.at[i]);
    return slice_of(lower, host.len);
}

struct slice host_port(struct slice host)
{
    struct slice rest = slice_skip(host, name_end(host));
    return rest.len && rest.at[0] == ':' ? slice_skip(rest, 1) : S("");
}
