/* bind lines: one listener for the plain ones of a frontend, one for those with TLS. */
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import/haproxy.h"
#include "import/source.h"

static struct hx_line *global_line(const struct haproxy *h, const char *word)
{
    return h->global ? hx_find(h->global, word, NULL, NULL) : NULL;
}

/* A file of `crt` or `ca-file`: below crt-base or ca-base. */
static const char *based(struct haproxy *h, const char *base, const char *path)
{
    const struct hx_line *l = global_line(h, base);
    if (path[0] == '/' || !l)
        return source_path(h->a, h->file, path);
    return import_printf(h->a, "%s/%s", hx_arg(l, 1), path);
}

static void add_certificate(struct haproxy *h, struct hx_line *l, const char *path, struct yaml_node *list)
{
    struct yaml_node *entry = yaml_map(h->a);
    const char *key = import_printf(h->a, "%s.key", path);
    if (access(path, F_OK) != 0)
        hx_note(h, l, "%s: there is no such file now; weir check refuses the file until it is there", path);
    yaml_set_text(h->a, entry, "cert", path);
    if (access(key, F_OK) == 0)
        yaml_set_text(h->a, entry, "key", key);
    yaml_add(h->a, list, entry);
}

/* A file, or each of a folder. */
static void certificates(struct haproxy *h, struct hx_line *l, const char *path, struct yaml_node *list)
{
    struct stat st;
    glob_t found = {0};
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        add_certificate(h, l, path, list);
        return;
    }
    if (glob(import_printf(h->a, "%s/*", path), 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (!text_ends(found.gl_pathv[i], ".key") && !text_ends(found.gl_pathv[i], ".ocsp"))
                add_certificate(h, l, import_copy(h->a, found.gl_pathv[i], strlen(found.gl_pathv[i])), list);
    globfree(&found);
    hx_note(h, l, "the certificates that are in the folder now are named; a new one needs a line of its own");
}

static void tls_options(struct haproxy *h, struct hx_line *l, struct yaml_node *body)
{
    struct yaml_node *tls = yaml_at(h->a, body, "tls"), *list = yaml_list_at(h->a, tls, "certificates");
    const char *ca = hx_option(l, "ca-file", 2), *verify = hx_option(l, "verify", 2), *v;
    for (size_t i = 2; i + 1 < l->count; i++)
        if (text_is(l->args[i], "crt"))
            certificates(h, l, based(h, "crt-base", l->args[i + 1]), list);
    if (ca && !text_is(verify, "none")) {
        yaml_set_text(h->a, tls, "client_ca", based(h, "ca-base", ca));
        yaml_set_raw(h->a, tls, "client_verify", text_is(verify, "optional") ? "optional" : "require");
    }
    const struct hx_line *options = global_line(h, "ssl-default-bind-options");
    const char *least = hx_option(l, "ssl-min-ver", 2);
    if (!least && options)
        least = hx_option(options, "ssl-min-ver", 1);
    if (text_is(least, "TLSv1.3"))
        yaml_set_text(h->a, tls, "min_version", "1.3");
    for (size_t i = 1; options && i < options->count; i++)
        if (text_is(options->args[i], "no-tls-tickets"))
            yaml_set_raw(h->a, tls, "session_tickets", "false");
    static const char *const texts[][3] = {{"ciphers", "ssl-default-bind-ciphers", "ciphers"},
                                           {"ciphersuites", "ssl-default-bind-ciphersuites", "ciphersuites"},
                                           {"curves", "ssl-default-bind-curves", "curves"}};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const struct hx_line *g = global_line(h, texts[i][1]);
        v = hx_option(l, texts[i][0], 2);
        v = v ? v : g ? hx_arg(g, 1) : NULL;
        if (!v)
            continue;
        if (i < 2) {
            yaml_set_text(h->a, tls, texts[i][2], v);
            continue;
        }
        struct slice rest = slice_text(v), one;
        while (slice_next(&rest, ':', &one))
            yaml_add_text(h->a, yaml_list_at(h->a, tls, "curves"), import_copy(h->a, one.at, one.len));
    }
    v = hx_option(l, "alpn", 2);
    if (v && !strstr(v, "h2"))
        yaml_set_raw(h->a, body, "http2", "false");
    if (hx_option(l, "crt-list", 2))
        hx_left(h, l, "name each certificate of the list in tls.certificates");
}

static const char *address(struct haproxy *h, const char *s, const char **port)
{
    *port = NULL;
    if (text_begins(s, "ipv4@") || text_begins(s, "ipv6@"))
        s += 5;
    if (s[0] == '/')
        return import_printf(h->a, "unix:%s", s);
    if (text_begins(s, "unix@"))
        return import_printf(h->a, "unix:%s", s + 5);
    if (text_begins(s, "abns@"))
        return import_printf(h->a, "unix:@%s", s + 5);
    const char *colon = strrchr(s, ':');
    if (!colon || text_number(colon + 1) <= 0)
        return NULL;
    *port = colon + 1;
    if (colon == s || text_begins(s, "*:") || text_begins(s, "0.0.0.0:"))
        return import_printf(h->a, "*:%s", *port);
    if (text_begins(s, ":::") || text_begins(s, "[::]:"))
        return import_printf(h->a, "[::]:%s", *port);
    return s;
}

static void unknown_options(struct haproxy *h, struct hx_line *l)
{
    static const char *const flags[] = {"ssl",
                                        "accept-proxy",
                                        "defer-accept",
                                        "tfo",
                                        "v4v6",
                                        "v6only",
                                        "no-sslv3",
                                        "no-tlsv10",
                                        "no-tlsv11",
                                        "no-tls-tickets",
                                        "allow-0rtt",
                                        "force-tlsv12",
                                        "prefer-client-ciphers",
                                        "generate-certificates"};
    static const char *const values[] = {
        "crt",   "ca-file",  "verify", "ssl-min-ver", "ssl-max-ver", "ciphers", "ciphersuites", "curves",
        "alpn",  "crt-list", "name",   "maxconn",     "backlog",     "mode",    "user",         "group",
        "uid",   "gid",      "level",  "process",     "thread",      "nice",    "id",           "npn",
        "ecdhe", "proto",    "tcp-ut", "shards",      "mss"};
    for (size_t i = 2; i < l->count; i++) {
        if (text_in(l->args[i], values, COUNT_OF(values)))
            i++;
        else if (!text_in(l->args[i], flags, COUNT_OF(flags)))
            hx_left(h, l, "weir's listeners have no \"%s\"", l->args[i]);
    }
}

static struct import_listener *listener_of(struct haproxy *h, struct hx_section *s, struct hx_line *l,
                                           bool tls, struct import_listener **out, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (out[i]->tls == tls)
            return out[i];
    bool both = false;
    for (const struct hx_line *o = s->lines; o; o = o->next)
        for (size_t i = 2; hx_is(o, "bind", NULL) && i < o->count; i++)
            both |= tls && text_is(o->args[i], "ssl");
    struct import_listener *made = import_listener(
        h->in, both && *count ? import_printf(h->a, "%s-tls", s->name) : s->name, hx_section_origin(h, s));
    made->tls = tls;
    (void)l;
    return out[(*count)++] = made;
}

size_t hx_binds(struct haproxy *h, struct hx_section *s, struct import_listener **out, size_t most)
{
    size_t count = 0;
    for (struct hx_line *l = s->lines; l; l = l->next) {
        bool tls = false, proxied = false;
        if (!hx_is(l, "bind", NULL))
            continue;
        l->done = true;
        for (size_t i = 2; i < l->count; i++) {
            tls |= text_is(l->args[i], "ssl");
            proxied |= text_is(l->args[i], "accept-proxy");
        }
        struct slice rest = slice_text(hx_arg(l, 1)), one;
        while (slice_next(&rest, ',', &one) && count <= most) {
            const char *port, *bind = address(h, import_copy(h->a, one.at, one.len), &port);
            if (!bind) {
                hx_left(h, l, "an address needs one port that is a number; write a listener for each");
                continue;
            }
            struct import_listener *listener = listener_of(h, s, l, tls, out, &count);
            yaml_add_text(h->a, yaml_list_at(h->a, listener->body, "bind"), bind);
            if (!listener->port)
                listener->port = port;
            if (proxied)
                yaml_set_raw(h->a, listener->body, "proxy_protocol", "true");
            if (tls)
                tls_options(h, l, listener->body);
        }
        unknown_options(h, l);
    }
    return count;
}
