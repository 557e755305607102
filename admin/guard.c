/* Who may ask for what: the token, the control socket's own, and the pages of other sites. Everything here is
 * decided by a request's head, before its body is read. */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "admin/internal.h"

static const char *const refusal_words[GUARD_REFUSALS] = {
    [GUARD_NO_TOKEN] = "no_token",       [GUARD_WRONG_TOKEN] = "wrong_token",
    [GUARD_TOO_MANY] = "too_many_tries", [GUARD_HOST] = "host",
    [GUARD_OTHER_SITE] = "other_site",   [GUARD_LOCAL_ONLY] = "control_socket_only",
};

const char *guard_refusal_word(enum guard_refusal why)
{
    return refusal_words[why];
}

/* Digests are compared, so that neither length nor content can be measured. */
bool guard_same_secret(struct slice a, struct slice b)
{
    unsigned char digest_a[EVP_MAX_MD_SIZE], digest_b[EVP_MAX_MD_SIZE];
    unsigned len_a = 0, len_b = 0;
    if (EVP_Digest(a.at ? a.at : "", a.len, digest_a, &len_a, EVP_sha256(), NULL) != 1 ||
        EVP_Digest(b.at ? b.at : "", b.len, digest_b, &len_b, EVP_sha256(), NULL) != 1)
        return false;
    return len_a == len_b && CRYPTO_memcmp(digest_a, digest_b, len_a) == 0;
}

/* RFC 6750 §2.1: in the one field Authorization, and nowhere else. */
bool guard_has_token(const struct http_call *c)
{
    static const struct slice scheme = SLICE("Bearer ");
    const struct admin *a = c->context;
    struct slice value = http_call_field(c, "authorization");
    if (c->is_local || !a->token[0])
        return true;
    if (http_call_field_count(c, "authorization") != 1 ||
        !slice_equal_nocase(slice_of(value.at, value.len < scheme.len ? value.len : scheme.len), scheme))
        return false;
    return guard_same_secret(slice_skip(value, scheme.len), slice_text(a->token));
}

/* A name would do for a page that makes its own name point here (DNS rebinding); an address or localhost
 * cannot be made so. Browsers always say a host. */
static bool host_is_local(const struct http_call *c)
{
    struct ip ip;
    struct slice host = c->request.host;
    size_t end;
    if (host.len && host.at[0] == '[') {
        end = slice_find(host, ']');
        end += end < host.len;
    } else {
        end = slice_find(host, ':');
    }
    host = slice_of(host.at, end);
    return !host.len || ip_parse(host, &ip) == 0 || slice_equal_nocase(host, S("localhost"));
}

/* Fetch Metadata, and RFC 6454 where a browser has no such thing. What is no browser sends neither. */
static bool comes_from_another_site(const struct http_call *c)
{
    struct slice site = http_call_field(c, "sec-fetch-site"), origin = http_call_field(c, "origin");
    if (site.at && !slice_equal(site, S("same-origin")) && !slice_equal(site, S("none")))
        return true;
    if (!origin.at)
        return false;
    struct slice http = S("http://"), https = S("https://");
    struct slice authority = slice_begins(origin, http)    ? slice_skip(origin, http.len)
                             : slice_begins(origin, https) ? slice_skip(origin, https.len)
                                                           : slice_of("", 0);
    return http_call_field_count(c, "origin") != 1 || !authority.len ||
           !slice_equal_nocase(authority, c->request.host);
}

/* "application/json", with parameters or without. None is said: then it is what is asked for. */
static bool body_is_json(const struct http_call *c)
{
    struct slice type = http_call_field(c, "content-type");
    if (!type.at || !http_call_has_body(c))
        return true;
    return slice_equal_nocase(slice_trim(slice_of(type.at, slice_find(type, ';'))), S("application/json"));
}

/* Refusing. */

static bool refuse(struct http_call *c, enum guard_refusal why, unsigned status, const char *detail,
                   const char *extra)
{
    admin_of(c)->refused[why]++;
    api_problem(c, status, detail, extra);
    return false;
}

static void log_wrong_token(struct admin *a, const struct ip *ip, usec_t now_us)
{
    char text[ADDRESS_TEXT_MAX];
    uint64_t about, repeated;
    memcpy(&about, ip->bytes + (ip_is_v4(ip) ? 8 : 0), sizeof about);
    if (!log_limit_allows(&a->log_limit, "admin token", about, now_us, &repeated))
        return;
    size_t n = ip_print(ip, text, sizeof text);
    log_warn("a wrong token was shown to the admin interface", LOG_SLICE("client", slice_of(text, n)),
             LOG_U64("repeated", repeated));
}

/* What is shown is looked at only as long as the client has tries left. */
static bool token_is_right(struct http_call *c)
{
    static const char challenge[] = "WWW-Authenticate: Bearer realm=\"weir\", error=\"invalid_token\"\r\n";
    struct admin *a = admin_of(c);
    usec_t now_us = loop_now_us(&a->runtime->control);
    struct address peer;
    struct ip ip = {.is_unix = true};
    if (http_call_peer(c, &peer) == 0)
        ip = ip_of_address(&peer);
    if (!guard_tries_left(&a->tries, &ip, now_us))
        return refuse(c, GUARD_TOO_MANY, 429,
                      "too many wrong tokens came from this address; wait, or use the "
                      "control socket",
                      "Retry-After: 1\r\n");
    if (guard_has_token(c))
        return true;
    guard_tries_count(&a->tries, &ip, http_call_field(c, "authorization"), now_us);
    log_wrong_token(a, &ip, now_us);
    return refuse(c, GUARD_WRONG_TOKEN, 401,
                  "this is not the token: Authorization: Bearer TOKEN, as in admin.token", challenge);
}

static bool shows_token(struct http_call *c, const struct http_endpoint *e)
{
    if (!admin_of(c)->token[0])
        return true;
    if (http_call_field(c, "authorization").at)
        return token_is_right(c);
    /* The dashboard's page holds no data; it asks for the token itself, with the same status. */
    if (e && e->answer == dashboard_answer)
        return true;
    return refuse(c, GUARD_NO_TOKEN, 401, "the token is asked for: Authorization: Bearer TOKEN",
                  "WWW-Authenticate: Bearer realm=\"weir\"\r\n");
}

static bool is_read(const struct http_call *c)
{
    return c->request.method_id == METHOD_GET || c->request.method_id == METHOD_HEAD;
}

bool guard_allows(struct http_call *c, const struct http_endpoint *e)
{
    const struct admin *a = admin_of(c);
    unsigned flags = e ? e->flags : 0;
    if (c->is_local || flags & ENDPOINT_OPEN)
        return true;
    if (!shows_token(c, e))
        return false;
    if (flags & ENDPOINT_LOCAL)
        return refuse(c, GUARD_LOCAL_ONLY, 403,
                      "this is for the control socket alone (admin.socket): use the command line", NULL);
    if (!a->token[0] && !host_is_local(c))
        return refuse(c, GUARD_HOST, 403,
                      "without a token, this is asked for under an address or localhost; set admin.token to "
                      "use a name",
                      NULL);
    if (!is_read(c) && comes_from_another_site(c))
        return refuse(c, GUARD_OTHER_SITE, 403, "a page of another site may change nothing here", NULL);
    if (!body_is_json(c)) {
        api_problem(c, 415, "the body must be JSON: Content-Type: application/json (curl --json)",
                    "Accept: application/json\r\n");
        return false;
    }
    return true;
}

/* The start. */

static bool is_loopback(const struct address *a)
{
    static const uint8_t six[16] = {[15] = 1};
    struct ip ip = ip_of_address(a);
    return ip.is_unix || (ip_is_v4(&ip) ? ip.bytes[12] == 127 : memcmp(ip.bytes, six, sizeof six) == 0);
}

void guard_warn(const struct admin *a)
{
    LIST_EACH (node, &a->doors.all) {
        const struct door *door = CONTAINER_OF(node, struct door, link);
        char text[ADDRESS_TEXT_MAX];
        if (a->token[0] || door->is_control || is_loopback(&door->address))
            continue;
        size_t n = address_print(&door->address, text, sizeof text);
        log_warn("whoever reaches the admin interface can steer weir: set admin.token, or bind to 127.0.0.1",
                 LOG_SLICE("bind", slice_of(text, n)));
    }
}
