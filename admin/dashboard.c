/* GET /: the dashboard, one document with its style and script inside, which a strict Content-Security-Policy
 * names by their digests. It holds no data; it asks the API for it. Where a token is asked for and not shown,
 * the status is 401 and the page is the same: it asks its reader for the token. */
#include <stdlib.h>

#include <openssl/evp.h>

#include "admin/internal.h"
#include "core/embedded.h"

extern const struct embedded admin_assets[];

static struct slice asset(const char *name)
{
    for (const struct embedded *e = admin_assets; e->name.len; e++)
        if (slice_equal(e->name, slice_text(name)))
            return e->content;
    return S("");
}

/* `sha256-…` as CSP writes it (CSP3 §2.3.1). */
static void print_digest(FILE *out, struct slice content)
{
    unsigned char digest[EVP_MAX_MD_SIZE], base64[2 * EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(content.at, content.len, digest, &len, EVP_sha256(), NULL) != 1)
        return;
    EVP_EncodeBlock(base64, digest, (int)len);
    fprintf(out, "'sha256-%s'", (const char *)base64);
}

/* What stands at `mark` in the document is replaced. */
static struct slice print_until(FILE *out, struct slice page, const char *mark)
{
    const char *at = memmem(page.at, page.len, mark, strlen(mark));
    size_t before = at ? (size_t)(at - page.at) : page.len;
    fwrite(page.at, 1, before, out);
    return slice_skip(page, before + strlen(mark));
}

static char *make_page(size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    struct slice rest = asset("dashboard.html"), style = asset("dashboard.css"),
                 script = asset("dashboard.js");
    if (!out)
        return NULL;
    rest = print_until(out, rest, "/* dashboard.css */");
    fwrite(style.at, 1, style.len, out);
    rest = print_until(out, rest, "/* dashboard.js */");
    fwrite(script.at, 1, script.len, out);
    fwrite(rest.at, 1, rest.len, out);
    fclose(out);
    return text;
}

static char *make_policy(bool asks)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    fprintf(out,
            "Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; style-src ");
    print_digest(out, asset("dashboard.css"));
    fprintf(out, "; script-src ");
    print_digest(out, asset("dashboard.js"));
    fprintf(out,
            "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
            "Cross-Origin-Opener-Policy: same-origin\r\n%s",
            asks ? "WWW-Authenticate: Bearer realm=\"weir\"\r\n" : "");
    fclose(out);
    return text;
}

void dashboard_answer(struct http_call *c)
{
    bool asks = !guard_has_token(c);
    size_t len = 0;
    char *page = make_page(&len), *policy = make_policy(asks);
    if (page && policy)
        http_call_reply(c, asks ? 401 : 200, "text/html; charset=utf-8", slice_of(page, len), policy);
    else
        api_problem(c, 503, "out of memory", NULL);
    free(page);
    free(policy);
}
