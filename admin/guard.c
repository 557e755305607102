/* Who may ask for what: the token, the control socket's own, and the pages of other sites. */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "admin/internal.h"

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

/* RFC 6750 §2.1. */
bool guard_has_token(const struct http_call *c)
{
    const struct admin *a = c->context;
    struct slice value = http_call_field(c, "authorization");
    if (c->is_local || !a->token[0])
        return true;
    if (value.len < 7 || !slice_equal_nocase(slice_of(value.at, 7), S("Bearer ")))
        return false;
    return guard_same_secret(slice_trim(slice_skip(value, 7)), slice_text(a->token));
}

/* A name would do for a page that makes its own name point here (DNS rebinding); an address or localhost
 * cannot be made so. */
static bool host_is_local(struct http_call *c)
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
    return ip_parse(host, &ip) == 0 || slice_equal_nocase(host, S("localhost"));
}

/* Fetch Metadata, and RFC 6454 where a browser has no such thing. What is no browser sends neither. */
static bool comes_from_another_site(struct http_call *c)
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
    return !authority.len || !slice_equal_nocase(authority, c->request.host);
}

static bool refuse(struct http_call *c, unsigned status, const char *detail, const char *extra)
{
    api_problem(c, status, detail, extra);
    return false;
}

bool guard_allows(struct http_call *c, const struct http_endpoint *e)
{
    const struct admin *a = admin_of(c);
    unsigned flags = e ? e->flags : 0;
    if (c->is_local)
        return true;
    /* The dashboard's page asks for the token itself, with the same status. */
    if (!(flags & ENDPOINT_OPEN) && !guard_has_token(c) && !(e && e->answer == dashboard_answer)) {
        return refuse(c, 401, "the token is asked for: Authorization: Bearer TOKEN",
                      "WWW-Authenticate: Bearer realm=\"weir\"\r\n");
    }
    if (flags & ENDPOINT_LOCAL)
        return refuse(c, 403, "this is for the control socket alone (admin.socket): use the command line",
                      NULL);
    if (!(flags & ENDPOINT_CHANGES))
        return true;
    if (comes_from_another_site(c))
        return refuse(c, 403, "a page of another site may change nothing here", NULL);
    if (!a->token[0] && !host_is_local(c))
        return refuse(c, 403,
                      "without a token, what changes something is asked for under an address or localhost; "
                      "set admin.token to use a name",
                      NULL);
    return true;
}
