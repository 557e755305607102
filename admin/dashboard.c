/* GET /: the dashboard, one document with its styles and scripts inside, each of which a strict
 * Content-Security-Policy names by its digest. It holds no data; it asks the API for it. Where a token is
 * asked for and not shown, the status is 401 and the page is the same: it asks its reader for the token.
 *
 * In dashboard.html the text `embed NAME` between comment signs stands for the asset of that name, as the
 * whole content of a style or a script. */
#include <stdlib.h>

#include <openssl/evp.h>

#include "admin/internal.h"
#include "core/embedded.h"

extern const struct embedded admin_assets[];

struct page {
    FILE *text, *styles, *scripts; /* the document, and what the policy allows */
    char *text_at, *styles_at, *scripts_at;
    size_t text_len, styles_len, scripts_len;
};

static struct slice asset(struct slice name)
{
    for (const struct embedded *e = admin_assets; e->name.len; e++)
        if (slice_equal(e->name, name))
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
    fprintf(out, " 'sha256-%s'", (const char *)base64);
}

/* Writes `rest` up to the next mark and what the mark stands for; what follows is left in it. */
static void print_piece(struct page *p, struct slice *rest)
{
    struct slice mark = S("/* embed "), end = S(" */");
    const char *at = memmem(rest->at, rest->len, mark.at, mark.len);
    size_t before = at ? (size_t)(at - rest->at) : rest->len;
    fwrite(rest->at, 1, before, p->text);
    *rest = slice_skip(*rest, before);
    if (!at)
        return;
    *rest = slice_skip(*rest, mark.len);
    const char *closed = memmem(rest->at, rest->len, end.at, end.len);
    struct slice name = slice_of(rest->at, closed ? (size_t)(closed - rest->at) : rest->len);
    *rest = slice_skip(*rest, name.len + (closed ? end.len : 0));
    struct slice content = asset(name);
    bool is_style = name.len > 4 && memcmp(name.at + name.len - 4, ".css", 4) == 0;
    fwrite(content.at, 1, content.len, p->text);
    print_digest(is_style ? p->styles : p->scripts, content);
}

static void page_free(struct page *p)
{
    free(p->text_at);
    free(p->styles_at);
    free(p->scripts_at);
}

static int make_page(struct page *p)
{
    struct slice rest = asset(S("dashboard.html"));
    *p = (struct page){0};
    p->text = open_memstream(&p->text_at, &p->text_len);
    p->styles = open_memstream(&p->styles_at, &p->styles_len);
    p->scripts = open_memstream(&p->scripts_at, &p->scripts_len);
    bool ok = p->text && p->styles && p->scripts;
    while (ok && rest.len)
        print_piece(p, &rest);
    FILE *const all[] = {p->text, p->styles, p->scripts};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        ok = (!all[i] || fclose(all[i]) == 0) && ok;
    return ok ? 0 : -1;
}

void dashboard_answer(struct http_call *c)
{
    bool asks = !guard_has_token(c);
    struct page p;
    char *head = NULL;
    if (make_page(&p) == 0)
        head = arena_printf(
            &c->arena,
            "Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; "
            "style-src%s; script-src%s; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n"
            "Cross-Origin-Opener-Policy: same-origin\r\n%s",
            p.styles_at, p.scripts_at, asks ? "WWW-Authenticate: Bearer realm=\"weir\"\r\n" : "");
    if (head)
        http_call_reply(c, asks ? 401 : 200, "text/html; charset=utf-8", slice_of(p.text_at, p.text_len),
                        head);
    else
        api_problem(c, 503, "out of memory", NULL);
    page_free(&p);
}
