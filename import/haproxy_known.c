/* What is left when all converters are through: keywords that need nothing in weir, those that it does
 * otherwise or not at all, and those that nobody knows. */
#include <stdio.h>

#include "import/haproxy.h"

/* One or two words. */
static const char *const nothing_to_do[] = {
    "mode",
    "log",
    "log-tag",
    "log-send-hostname",
    "daemon",
    "chroot",
    "pidfile",
    "group",
    "gid",
    "uid",
    "node",
    "description",
    "nbproc",
    "nbthread",
    "cpu-map",
    "maxconn",
    "maxsslconn",
    "maxconnrate",
    "maxpipes",
    "ulimit-n",
    "master-worker",
    "ca-base",
    "crt-base",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-ciphersuites",
    "ssl-default-bind-options",
    "ssl-default-bind-curves",
    "ssl-default-server-ciphers",
    "ssl-default-server-ciphersuites",
    "ssl-default-server-options",
    "ssl-server-verify",
    "ssl-dh-param-file",
    "ssl-mode-async",
    "hard-stop-after",
    "spread-checks",
    "max-spread-checks",
    "expose-fd",
    "unix-bind",
    "set-dumpable",
    "localpeer",
    "user",
    "external-check",
    "presetenv",
    "h1-case-adjust",
    "zero-warning",
    "strict-limits",
    "insecure-fork-wanted",
    "server-state-base",
    "server-state-file",
    "load-server-state-from-file",
    "default-server",
    "hash-type",
    "hash-balance-factor",
    "http-reuse",
    "fullconn",
    "backlog",
    "id",
    "retries",
    "acl",
    "timeout queue",
    "timeout check",
    "timeout client",
    "timeout server",
    "timeout connect",
    "timeout http-request",
    "timeout http-keep-alive",
    "timeout tunnel",
    "timeout client-fin",
    "timeout server-fin",
    "timeout tarpit",
    "option forwardfor",
    "option http-server-close",
    "option httpclose",
    "option forceclose",
    "option http-keep-alive",
    "option http-pretend-keepalive",
    "option http-tunnel",
    "option redispatch",
    "option dontlognull",
    "option dontlog-normal",
    "option httplog",
    "option tcplog",
    "option log-health-checks",
    "option log-separate-errors",
    "option logasap",
    "option tcpka",
    "option clitcpka",
    "option srvtcpka",
    "option splice-auto",
    "option splice-request",
    "option splice-response",
    "option abortonclose",
    "option nolinger",
    "option contstats",
    "option socket-stats",
    "option tcp-smart-accept",
    "option tcp-smart-connect",
    "option http-no-delay",
    "option http-buffer-request",
    "option idle-close-on-response",
    "option prefer-last-server",
    "option allbackups",
    "option checkcache",
    "option http-use-htx",
    "option tcp-check",
    "option http-ignore-probes",
    "option accept-invalid-http-request",
    "option forwarded",
    "option persist",
    "option independent-streams",
    "unique-id-format",
    "unique-id-header",
    "stats socket",
    "stats timeout",
    "stats bind-process",
    "stats maxconn",
    "tcp-request inspect-delay",
    "tcp-request content accept",
    "monitor fail",
    "option srvtcpka",
    "option clitcpka-cnt",
    "capture request",
    "capture response",
    "http-request capture",
    "http-request unset-var",
    "http-request disable-l7-retry",
    "compression offload",
    "disabled",
    "enabled",
    "option httpslog",
    "bind-process",
    "grace",
    "quiet",
    "email-alert",
    "option httpchk",
    "http-check",
    "default_backend",
    "http-request set-log-level",
    "http-response set-log-level",
    "option dontlog-normal",
    "busy-polling",
    "default-path",
};

static const struct {
    const char *begin, *why; /* what the line's words begin with */
} left[] = {
    {"errorfile", "it holds a whole response; put the body alone into a file, and errors: { STATUS: FILE } "
                  "into `defaults`"},
    {"errorloc", "`errors` takes files; it does not redirect"},
    {"errorfiles", "`errors` takes a file for a status"},
    {"compression", "weir does not compress yet; let the servers do it, whose answers pass as they are"},
    {"filter compression",
     "weir does not compress yet; let the servers do it, whose answers pass as they are"},
    {"filter", "weir has no filters of that kind"},
    {"stats", "weir's numbers and its dashboard are at the admin address: admin: { bind: 127.0.0.1:9900 }"},
    {"stick-table",
     "weir has no stick tables; limits.connections_per_ip bounds an address, `sticky` and source_hash keep a "
     "client on its server"},
    {"stick", "write sticky: { cookie: NAME } or balance: source_hash into the upstream"},
    {"http-request track-sc", "weir has no stick tables; limits.connections_per_ip bounds an address"},
    {"tcp-request connection track-sc",
     "weir has no stick tables; limits.connections_per_ip bounds an address"},
    {"tcp-request content track-sc", "weir has no stick tables; limits.connections_per_ip bounds an address"},
    {"http-request lua", "weir runs no code"},
    {"lua-load", "weir runs no code"},
    {"http-request set-var", "weir has no variables of its own; write the value where it is used"},
    {"http-request set-src",
     "the true client address comes from X-Forwarded-For, by the listener's trusted_proxies"},
    {"http-request use-service",
     "weir's numbers are at the admin address: admin: { bind: 127.0.0.1:9900 }, /metrics"},
    {"http-request wait-for-body", "weir does not read bodies beforehand"},
    {"tcp-request", "weir looks at no streams but for their TLS name"},
    {"tcp-response", "weir looks at no streams but for their TLS name"},
    {"monitor-uri", "write a route: { path: { exact: /… }, respond: { status: 200 } }; weir's own health is "
                    "/health at the admin address"},
    {"monitor-net", "write a route for it; weir's own health is /health at the admin address"},
    {"log-format", "write log.access.format as a template; see docs/operations.md"},
    {"error-log-format", "write log.access.format as a template"},
    {"source", "weir connects from the address that the system picks"},
    {"dispatch", "name the server in an upstream"},
    {"option transparent", "name the servers in an upstream"},
    {"option http_proxy", "weir is no forward proxy; name the servers in an upstream"},
    {"http-send-name-header", "servers get X-Forwarded-Host; their own name they know"},
    {"rate-limit", "weir does not limit rates yet; limits.connections bounds what is open"},
    {"force-persist", "weir keeps a sticky client on its server while that is drained"},
    {"ignore-persist", "stickiness holds for a whole upstream"},
    {"use-server", "weir has no rules for servers; make an upstream of it, and a route"},
    {"persist", "write `sticky` into the upstream"},
    {"email-alert", "watch weir_upstream_up by your monitoring"},
    {"declare", "weir keeps nothing of a request but what its log has"},
    {"setenv", "the environment is as it was given; ${NAME} in the file reads it"},
    {"resetenv", "the environment is as it was given"},
    {"unsetenv", "the environment is as it was given"},
    {"51degrees", "weir knows no devices"},
    {"wurfl", "weir knows no devices"},
    {"deviceatlas", "weir knows no devices"},
    {".", "conditions of the file itself: import what they come to"},
};

static bool begins(const struct hx_line *l, const char *with)
{
    char words[256];
    snprintf(words, sizeof words, "%s %s %s", hx_arg(l, 0), hx_arg(l, 1), hx_arg(l, 2));
    return strncmp(words, with, strlen(with)) == 0;
}

static bool is_nothing(const struct hx_line *l)
{
    for (size_t i = 0; i < COUNT_OF(nothing_to_do); i++) {
        bool two = strchr(nothing_to_do[i], ' ') != NULL;
        char words[256];
        snprintf(words, sizeof words, two ? "%s %s" : "%s", hx_arg(l, 0), hx_arg(l, 1));
        if (text_is(words, nothing_to_do[i]) || (two && text_begins(words, nothing_to_do[i])))
            return true;
    }
    return hx_is(l, "no", NULL) || begins(l, "tune.") || begins(l, "tcp-request content accept");
}

static void report_line(struct haproxy *h, struct hx_line *l)
{
    if (l->done || is_nothing(l))
        return;
    for (size_t i = 0; i < COUNT_OF(left); i++)
        if (begins(l, left[i].begin)) {
            hx_left(h, l, "%s", left[i].why);
            return;
        }
    hx_left(h, l,
            "not known to this import, or not where it stands; see docs/configuration.md for what weir has");
}

void hx_report_rest(struct haproxy *h)
{
    static const struct {
        const char *kind, *why;
    } sections[] = {
        {"userlist", "weir asks for no credentials yet"},
        {"peers", "weir has no stick tables to share"},
        {"mailers", "watch weir_upstream_up by your monitoring"},
        {"program", "weir starts no programs; let systemd do it"},
        {"ring", "logs go to stdout, a file or syslog"},
        {"log-forward", "weir forwards no logs"},
        {"http-errors", "`errors` takes a file for a status"},
        {"fcgi-app", "weir speaks HTTP to servers, no FastCGI"},
        {"crt-store", "name each certificate in tls.certificates"},
    };
    for (struct hx_section *s = h->sections; s; s = s->next) {
        const char *why = NULL;
        for (size_t i = 0; i < COUNT_OF(sections); i++)
            if (text_is(s->kind, sections[i].kind))
                why = sections[i].why;
        if (why)
            report_add(&h->in->report, REPORT_LEFT, h->file, s->line,
                       *s->name ? import_printf(h->a, "%s %s", s->kind, s->name) : s->kind, "%s", why);
        for (struct hx_line *l = s->lines; l && !why && !text_is(s->kind, "resolvers"); l = l->next)
            report_line(h, l);
    }
}
