/* The certificates of listeners and upstreams, one by one. */
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "proxy/lint/internal.h"
#include "tls/inspect.h"

#define DAY        86400
#define DAYS_SOON  30
#define DAYS_CLOSE 14

static const char *date(struct lint *l, int64_t when)
{
    char text[32] = "";
    struct tm parts;
    time_t clock = (time_t)when;
    strftime(text, sizeof text, "%Y-%m-%d", gmtime_r(&clock, &parts));
    struct slice copy = arena_copy(&l->c->arena, slice_text(text));
    return copy.at ? copy.at : "";
}

/* "today", "in 1 day", "in 12 days" */
static const char *in_days(struct lint *l, int64_t end)
{
    long long days = (end - l->now) / DAY;
    const char *text =
        days ? arena_printf(&l->c->arena, "in %lld day%s", days, days == 1 ? "" : "s") : "today";
    return text ? text : "soon";
}

static void check_end(struct lint *l, const struct config_node *at, const char *what, int64_t end)
{
    if (end < l->now || end - l->now > (int64_t)DAYS_SOON * DAY)
        return; /* that it has expired is told where it is loaded */
    bool close = end - l->now <= (int64_t)DAYS_CLOSE * DAY;
    lint_warn(l, LINT_CERTIFICATE_ENDS, at,
              close ? "renew it now, and see why it was not renewed; then weir reload"
                    : "renew it, then weir reload",
              NULL, "%s ends %s, on %s", what, in_days(l, end), date(l, end));
}

/* A file of authorities, or a client certificate of weir's own. */
static void check_file(struct lint *l, const struct config_node *map, const char *key, const char *what)
{
    const struct config_node *at = lint_given(map, key);
    struct tls_bundle bundle;
    if (!at || at->kind != NODE_SCALAR)
        return;
    struct slice path = config_relative_path(l->c, at, at->text, CONFIG_READS);
    if (!path.at || tls_bundle_inspect(path.at, l->now, &bundle) != 0)
        return;
    if (bundle.expired == bundle.count || (bundle.expired && bundle.count == 1))
        lint_warn(l, LINT_CERTIFICATE_ENDS, at, "renew it, then weir reload", NULL, "%s has expired: %s",
                  what, bundle.subject);
    else
        check_end(l, at, what, bundle.first_end);
}

static void check_key_file(struct lint *l, const struct config_node *map, const struct config_node *cert)
{
    const struct config_node *at = lint_given(map, "key");
    struct stat st;
    if (!at)
        at = cert;
    if (!at || at->kind != NODE_SCALAR)
        return;
    struct slice path = config_relative_path(l->c, at, at->text, CONFIG_READS);
    if (path.at && stat(path.at, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & S_IROTH)
        lint_warn(l, LINT_KEY_READABLE, at,
                  arena_printf(&l->scratch, "chmod o-rwx %s, and make it its reader's own", path.at), NULL,
                  "everybody on this machine can read the private key (mode %03o)", st.st_mode & 0777);
}

static void check_entry(struct lint *l, const struct listener_config *on, size_t index,
                        const struct tls_certificate *certificate, const struct config_node *entry)
{
    struct tls_inspection seen;
    const struct config_node *at = lint_place(entry, "cert");
    tls_server_inspect(on->tls, index, &seen);
    check_end(l, at, "the certificate", certificate->not_after);
    if (seen.chain == TLS_CHAIN_OUT_OF_ORDER)
        lint_warn(l, LINT_CERTIFICATE_CHAIN, at,
                  "order the file: the certificate, then the one that issued it, and so on", NULL,
                  "certificate %u of the file is not issued by the one behind it; many clients refuse that",
                  seen.chain_at);
    else if (seen.chain == TLS_CHAIN_MISSING)
        lint_warn(l, LINT_CERTIFICATE_CHAIN, at,
                  "put the issuer's intermediate behind it (a \"fullchain\" file has it)", NULL,
                  "the file holds the certificate alone; clients that do not know %s cannot verify it",
                  config_quote(l->c, certificate->issuer));
    if (seen.weak)
        lint_warn(l, LINT_CERTIFICATE_WEAK, at,
                  "have it issued anew, with an EC key (P-256) or RSA of 2048 bits", NULL,
                  "has %s, which clients refuse", seen.weak);
    const struct config_node *staple = lint_given(on->settings->tls->node, "ocsp_stapling");
    if (staple && on->settings->tls->ocsp_stapling && !seen.has_response)
        lint_warn(l, LINT_OCSP_WITHOUT_EFFECT, staple,
                  seen.has_responder ? "have a job write the response to the certificate's file and \".ocsp\""
                                     : "take it out",
                  NULL, "nothing is stapled for %s: %s", config_quote(l->c, slice_text(certificate->file)),
                  seen.has_responder ? "there is no response beside it" : "it names no OCSP responder");
    check_key_file(l, entry, lint_given(entry, "cert"));
    check_file(l, entry, "client_ca", "an authority of clients");
}

/* Names that mean this machine, or nobody's (RFC 2606). */
static bool is_for_trying(struct slice name)
{
    static const char *const ends[] = {"localhost", ".localhost",  ".test",       ".example",
                                       ".invalid",  "example.com", "example.net", "example.org"};
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (slice_ends(name, slice_text(ends[i])))
            return true;
    return slice_begins(name, S("127.")) || slice_equal(name, S("::1"));
}

static void check_self_signed(struct lint *l, const struct listener_config *on)
{
    const struct option_texts *names = &on->settings->tls->self_signed;
    bool outside = false;
    for (size_t i = 0; i < on->address_count; i++)
        outside |= !lint_is_loopback(&on->addresses[i]);
    for (size_t i = 0; i < names->count && outside; i++)
        if (!is_for_trying(names->at[i])) {
            lint_warn(l, LINT_SELF_SIGNED, lint_place(on->settings->tls->node, "self_signed"),
                      "name a certificate under \"certificates\", or bind to 127.0.0.1", NULL,
                      "is for trying out: clients from elsewhere cannot verify a certificate that is made at "
                      "start");
            return;
        }
}

static void check_listener(struct lint *l, const struct listener_config *on)
{
    const struct tls_server_settings *tls = on->settings->tls;
    const struct tls_certificate_settings *entries = tls->certificates.at;
    const struct tls_certificate *all;
    size_t count = tls_server_certificates(on->tls, &all);
    if (tls->self_signed.count)
        check_self_signed(l, on);
    for (size_t i = 0; i < count && i < tls->certificates.count; i++)
        check_entry(l, on, i, &all[i], entries[i].node);
    check_file(l, tls->node, "client_ca", "an authority of clients");
}

void lint_certificates(struct lint *l)
{
    for (size_t i = 0; i < l->s->listener_count; i++) {
        if (l->s->listeners[i].tls && l->s->listeners[i].settings->tls)
            check_listener(l, &l->s->listeners[i]);
        arena_reset(&l->scratch);
    }
    for (size_t i = 0; i < l->s->settings.upstreams.count; i++) {
        const struct tls_client_settings *tls = l->uses[i].settings->tls;
        if (!tls)
            continue;
        check_file(l, tls->node, "ca", "an authority of servers");
        check_file(l, tls->node, "cert", "the certificate that servers are shown");
        if (tls->cert.len)
            check_key_file(l, tls->node, lint_given(tls->node, "cert"));
    }
}
