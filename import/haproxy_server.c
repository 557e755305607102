/* server lines, with default-server before them. */
#include "import/haproxy.h"
#include "import/source.h"

struct server_state {
    struct haproxy *h;
    struct hx_line *line;
    struct yaml_node *server, *upstream, *check;
    bool checked, tls, verify_none;
};

static void tls_set(struct server_state *s, const char *key, const char *value)
{
    yaml_set_text(s->h->a, yaml_at(s->h->a, s->upstream, "tls"), key, value);
}

static const char *ca_path(struct haproxy *h, const char *path)
{
    const struct hx_line *l = h->global ? hx_find(h->global, "ca-base", NULL, NULL) : NULL;
    return path[0] == '/' || !l ? source_path(h->a, h->file, path)
                                : import_printf(h->a, "%s/%s", hx_arg(l, 1), path);
}

/* A word without a value; false when it is none of these. */
static bool flag(struct server_state *s, const char *o)
{
    struct arena *a = s->h->a;
    static const char *const nothing[] = {"no-check",       "allow-0rtt", "no-ssl",        "enabled",
                                          "no-tls-tickets", "no-sslv3",   "no-tlsv10",     "no-tlsv11",
                                          "no-tlsv12",      "tfo",        "non-stick",     "check-ssl",
                                          "force-tlsv12",   "no-backup",  "no-send-proxy", "stick"};
    if (text_is(o, "backup"))
        yaml_set_raw(a, s->server, "backup", "true");
    else if (text_is(o, "check"))
        s->checked = true;
    else if (text_is(o, "disabled"))
        yaml_set_raw(a, s->server, "weight", "0");
    else if (text_is(o, "ssl"))
        s->tls = true;
    else if (text_is(o, "send-proxy") || text_is(o, "send-proxy-v2"))
        yaml_set_raw(a, s->upstream, "proxy_protocol", text_is(o, "send-proxy") ? "v1" : "v2");
    else
        return text_in(o, nothing, COUNT_OF(nothing));
    return true;
}

static bool number(struct server_state *s, const char *o, const char *v)
{
    struct arena *a = s->h->a;
    if (text_is(o, "weight"))
        yaml_set_raw(a, s->server, "weight", v);
    else if (text_is(o, "maxconn"))
        yaml_set_raw(a, s->server, "max_connections", v);
    else if (text_is(o, "rise") || text_is(o, "fall"))
        yaml_set_raw(a, s->check, o, v);
    else
        return false;
    return text_number(v) >= 0;
}

/* A word with a value; false when it is none of these. */
static bool valued(struct server_state *s, const char *o, const char *v)
{
    struct arena *a = s->h->a;
    static const char *const nothing[] = {
        "cookie",    "id",         "resolvers",     "init-addr",        "resolve-prefer", "resolve-net",
        "minconn",   "maxqueue",   "pool-max-conn", "pool-purge-delay", "pool-low-conn",  "max-reuse",
        "fastinter", "downinter",  "ciphers",       "ciphersuites",     "ssl-min-ver",    "ssl-max-ver",
        "check-sni", "check-alpn", "check-proto",   "log-proto",        "tcp-ut",         "namespace"};
    if (number(s, o, v))
        return true;
    if (text_is(o, "inter") && hx_duration(s->h, v))
        yaml_set_raw(a, s->check, "interval", hx_duration(s->h, v));
    else if (text_is(o, "slowstart") && hx_duration(s->h, v))
        yaml_set_raw(a, s->upstream, "slow_start", hx_duration(s->h, v));
    else if (text_is(o, "verify"))
        s->verify_none = text_is(v, "none");
    else if (text_is(o, "ca-file"))
        tls_set(s, "ca", ca_path(s->h, v));
    else if (text_is(o, "crt"))
        tls_set(s, "cert", ca_path(s->h, v));
    else if (text_is(o, "sni") && text_begins(v, "str("))
        tls_set(s, "server_name", import_copy(a, v + 4, strlen(v) - 4 - text_ends(v, ")")));
    else if (text_is(o, "verifyhost"))
        tls_set(s, "server_name", v);
    else if (text_is(o, "proto") || text_is(o, "alpn"))
        yaml_set_raw(a, s->upstream, "protocol",
                     text_is(v, "h2")        ? "http2"
                     : text_begins(v, "h2,") ? "auto"
                                             : "http1");
    else if (text_is(o, "on-marked-down") && text_is(v, "shutdown-sessions"))
        yaml_set_raw(a, s->upstream, "on_down", "close");
    else
        return text_in(o, nothing, COUNT_OF(nothing));
    return true;
}

static void options(struct server_state *s, struct hx_line *l, size_t from)
{
    l->done = true;
    for (size_t i = from; i < l->count; i++) {
        const char *o = l->args[i];
        static const char *const left[] = {"agent-check",
                                           "agent-inter",
                                           "agent-port",
                                           "agent-addr",
                                           "track",
                                           "observe",
                                           "error-limit",
                                           "on-error",
                                           "redir",
                                           "source",
                                           "port",
                                           "addr",
                                           "sni",
                                           "usesrc",
                                           "interface",
                                           "set-proxy-v2-tlv-fmt",
                                           "proxy-v2-options",
                                           "ws",
                                           "agent-send"};
        if (flag(s, o))
            continue;
        if (i + 1 < l->count && valued(s, o, l->args[i + 1])) {
            i++;
            continue;
        }
        hx_left(s->h, l, "weir's servers have no \"%s\"", o);
        i += text_in(o, left, COUNT_OF(left)) && !text_is(o, "agent-check");
    }
}

static void finish(struct server_state *s)
{
    if (!s->tls) {
        yaml_drop(s->upstream, "tls");
        return;
    }
    struct yaml_node *tls = yaml_at(s->h->a, s->upstream, "tls");
    if (s->verify_none)
        yaml_set_raw(s->h->a, tls, "verify", "false");
    if (!yaml_count(tls))
        yaml_set_raw(s->h->a, s->upstream, "tls", "true");
}

static void default_servers(struct server_state *s, const struct hx_section *section)
{
    for (struct hx_line *l = section ? section->lines : NULL; l; l = l->next)
        if (hx_is(l, "default-server", NULL))
            options(s, l, 1);
}

static bool is_address(const char *s)
{
    const char *colon = strrchr(s, ':');
    return s[0] == '/' || text_begins(s, "unix@") || (colon && text_number(colon + 1) > 0);
}

static void one(struct haproxy *h, struct hx_section *section, struct hx_line *l, struct yaml_node *list,
                struct server_state *s)
{
    bool is_template = hx_is(l, "server-template", NULL);
    const char *where = hx_arg(l, is_template ? 3 : 2);
    s->line = l;
    s->server = yaml_map(h->a);
    l->done = true;
    if (text_begins(where, "ipv4@") || text_begins(where, "ipv6@"))
        where += 5;
    if (!is_address(where)) {
        hx_left(h, l, "a server needs an address with a port");
        return;
    }
    yaml_set_text(h->a, s->server, is_template ? "dns" : "address",
                  where[0] == '/'               ? import_printf(h->a, "unix:%s", where)
                  : text_begins(where, "unix@") ? import_printf(h->a, "unix:%s", where + 5)
                                                : where);
    default_servers(s, section->defaults);
    default_servers(s, section);
    options(s, l, is_template ? 4 : 3);
    bool plain = yaml_count(s->server) == 1 && !is_template;
    yaml_add(h->a, list, plain ? yaml_get(s->server, "address") : s->server);
}

bool hx_servers(struct haproxy *h, struct hx_section *section, struct yaml_node *upstream,
                struct yaml_node *check)
{
    struct server_state s = {.h = h, .upstream = upstream, .check = check};
    struct yaml_node *list = yaml_list_at(h->a, upstream, "servers");
    for (struct hx_line *l = section->lines; l; l = l->next)
        if (hx_is(l, "server", NULL) || hx_is(l, "server-template", NULL))
            one(h, section, l, list, &s);
    finish(&s);
    return s.checked;
}
