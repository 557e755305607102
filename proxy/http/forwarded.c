#include "proxy/http/forwarded.h"

#include <string.h>

size_t forwarded_bound(struct slice value)
{
    size_t count = 1;
    for (size_t i = 0; i < value.len; i++)
        count += value.at[i] == ',';
    return count;
}

/* RFC 9110 §5.6.2. */
static bool is_token_byte(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct slice *in)
{
    while (in->len && (in->at[0] == ' ' || in->at[0] == '\t'))
        *in = slice_skip(*in, 1);
}

static struct slice take_token(struct slice *in)
{
    size_t n = 0;
    while (n < in->len && is_token_byte(in->at[n]))
        n++;
    struct slice token = slice_of(in->at, n);
    *in = slice_skip(*in, n);
    return token;
}

/* A quoted string without its quotes. Backslashes are refused: no address needs one, and what is quoted twice
 * over is meant to be read in two ways. */
static int take_quoted(struct slice *in, struct slice *out)
{
    size_t n = 1;
    while (n < in->len && in->at[n] != '"') {
        if (in->at[n] == '\\')
            return -1;
        n++;
    }
    if (n == in->len)
        return -1;
    *out = slice_of(in->at + 1, n - 1);
    *in = slice_skip(*in, n + 1);
    return 0;
}

static int take_pair(struct slice *in, struct slice *node)
{
    struct slice value, name = take_token(in);
    if (name.len == 0 || in->len == 0 || in->at[0] != '=')
        return -1;
    *in = slice_skip(*in, 1);
    if (in->len && in->at[0] == '"') {
        if (take_quoted(in, &value) != 0)
            return -1;
    } else {
        value = take_token(in);
        if (value.len == 0)
            return -1;
    }
    if (!slice_equal_nocase(name, S("for")))
        return 0;
    if (node->len)
        return -1; /* §4: each parameter once in an element */
    *node = value;
    return 0;
}

ssize_t forwarded_nodes(struct slice value, struct slice *nodes)
{
    ssize_t count = 0;
    for (;;) {
        struct slice *node = &nodes[count];
        *node = slice_of(NULL, 0);
        for (bool more = true; more;) {
            skip_space(&value);
            if (value.len && value.at[0] != ',' && value.at[0] != ';' && take_pair(&value, node) != 0)
                return -1;
            skip_space(&value);
            more = value.len && value.at[0] == ';';
            if (more)
                value = slice_skip(value, 1);
        }
        count++;
        if (value.len == 0)
            return count;
        if (value.at[0] != ',')
            return -1;
        value = slice_skip(value, 1);
    }
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token_byte(s.at[i]))
            return false;
    return true;
}

static bool is_quotable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] == '"' || s.at[i] == '\\' || (unsigned char)s.at[i] < ' ' || s.at[i] == 0x7f)
            return false;
    return s.len != 0;
}

struct slice forwarded_element(struct arena *a, const struct ip *peer, struct slice host, struct slice proto)
{
    char address[48];
    size_t len = ip_print(peer, address, sizeof address);
    const char *before = "", *after = "";
    if (peer->is_unix)
        len = (size_t)(stpcpy(address, "unknown") - address);
    else if (!ip_is_v4(peer)) {
        before = "\"[";
        after = "]\"";
    }
    const char *quote = is_token(host) ? "" : "\"";
    if (!is_quotable(host))
        return slice_text(
            arena_printf(a, "for=%s%.*s%s;proto=%.*s", before, (int)len, address, after, SLICE_FMT(proto)));
    return slice_text(arena_printf(a, "for=%s%.*s%s;host=%s%.*s%s;proto=%.*s", before, (int)len, address,
                                   after, quote, SLICE_FMT(host), quote, SLICE_FMT(proto)));
}
