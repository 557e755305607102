#include "proxy/http/h1/target.h"
#include <arpa/inet.h>

static const char *absolute_form(struct http_request *out, const char *question);
static size_t reg_name_length(struct slice s);
static size_t ip_literal_length(struct slice s);
static bool is_port(struct slice s);

const char *h1_target(struct http_request *out, const char *question)
{
    struct slice target = out->target;
    const char *end = target.at + target.len;

    if (out->method_id == METHOD_CONNECT) { /* RFC 9112 §3.2.3 */
        if (!h1_is_authority(target, true))
            return "the target of CONNECT is not host:port";
        out->host = target;
        return NULL;
    }
    /* RFC 9113 §11.6: never a method of HTTP/1. What follows such a head may be read as HTTP/2 by another. */
    if (UNLIKELY(out->method_id == METHOD_OTHER && slice_equal(out->method, S("PRI"))))
        return "PRI is HTTP/2's, and not a method";
    if (UNLIKELY(target.at[0] != '/')) {
        if (target.at[0] != '*' || target.len != 1)
            return absolute_form(out, question);
        if (out->method_id != METHOD_OPTIONS) /* RFC 9112 §3.2.4 */
            return "the target * is for OPTIONS only";
        out->path = S("*");
        return NULL;
    }
    out->path = slice_of(target.at, (size_t)(question - target.at));
    out->has_query = question < end;
    if (out->has_query)
        out->query = slice_of(question + 1, (size_t)(end - question - 1));
    return NULL;
}

/* RFC 9112 §3.2.2, for the schemes http and https (RFC 9110 §4.2). */
static const char *absolute_form(struct http_request *out, const char *question)
{
    struct slice rest = out->target;
    const char *end = rest.at + rest.len;

    if (rest.len >= 7 && slice_equal_nocase(slice_of(rest.at, 7), S("http://")))
        rest = slice_skip(rest, 7);
    else if (rest.len >= 8 && slice_equal_nocase(slice_of(rest.at, 8), S("https://")))
        rest = slice_skip(rest, 8);
    else
        return "the target is neither a path nor an http URI";

    size_t authority_len = 0;
    while (authority_len < rest.len && rest.at[authority_len] != '/' && rest.at[authority_len] != '?')
        authority_len++;
    struct slice authority = slice_of(rest.at, authority_len);
    if (slice_find(authority, '@') < authority.len) /* RFC 9110 §4.2.4 */
        return "userinfo in the target";
    if (!h1_is_authority(authority, false))
        return "the target's authority is not valid";

    out->absolute_form = true;
    out->host = authority;
    out->has_query = question < end;
    if (out->has_query)
        out->query = slice_of(question + 1, (size_t)(end - question - 1));

    const char *path = authority.at + authority.len;
    if (path < question)
        out->path = slice_of(path, (size_t)(question - path));
    else if (out->method_id == METHOD_OPTIONS && !out->has_query)
        out->path = S("*"); /* RFC 9112 §3.2.4 */
    else
        out->path = S("/"); /* RFC 9112 §3.2.1 */
    return NULL;
}

bool h1_is_authority(struct slice s, bool need_port)
{
    if (s.len == 0)
        return false;
    size_t host_len = s.at[0] == '[' ? ip_literal_length(s) : reg_name_length(s);
    if (host_len == 0)
        return false;
    if (host_len == s.len)
        return !need_port;
    if (s.at[host_len] != ':')
        return false;

    struct slice port = slice_skip(s, host_len + 1);
    return port.len ? is_port(port) : !need_port; /* RFC 3986 §3.2.3: it may be empty */
}

static bool is_port(struct slice s)
{
    unsigned number = 0;
    if (s.len > 5)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.at[i] - (unsigned)'0';
        if (digit > 9)
            return false;
        number = number * 10 + digit;
    }
    return number <= 65535;
}

/* How many bytes at the start are a reg-name or an IPv4 address. 0 when an escape in it is broken. */
static size_t reg_name_length(struct slice s)
{
    size_t i = 0;
    for (;;) {
        while (i < s.len && byte_is(s.at[i], BYTE_HOST))
            i++;
        if (LIKELY(i == s.len || s.at[i] != '%'))
            break;
        for (size_t digit = i + 1; digit < i + 3; digit++) {
            if (digit >= s.len)
                return 0;
            char c = ascii_lower(s.at[digit]);
            if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
                return 0;
        }
        i += 3;
    }
    return i;
}

/* The length of "[" IPv6address "]" at the start, or 0. Of IPvFuture nobody has seen one, and a zone (RFC
 * 6874) means nothing to another machine: both are refused. */
static size_t ip_literal_length(struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t close = slice_find(s, ']');

    if (close == s.len || close < 3 || close - 1 >= sizeof(text))
        return 0;
    memcpy(text, s.at + 1, close - 1);
    text[close - 1] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 ? close + 1 : 0;
}
