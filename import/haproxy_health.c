/* check, option httpchk and tcp-check: the upstream's health_check. */
#include "import/haproxy.h"

static void http_line(struct haproxy *h, struct hx_line *l, size_t at, struct yaml_node *check)
{
    const char *method = hx_arg(l, at), *uri = hx_arg(l, at + 1);
    if (method[0] == '/') {
        uri = method;
        method = "GET";
    }
    if (*uri)
        yaml_set_text(h->a, check, "path", uri);
    if (!text_is(method, "GET"))
        hx_note(h, l, "weir's check is a GET");
    const char *host = strstr(hx_arg(l, at + 2), "Host:");
    if (host) {
        host += 5 + strspn(host + 5, " \\");
        yaml_set_text(h->a, yaml_at(h->a, check, "headers"), "host",
                      import_copy(h->a, host, strcspn(host, "\r\n\\")));
    }
}

static void send_line(struct haproxy *h, struct hx_line *l, struct yaml_node *check)
{
    const char *method = hx_option(l, "meth", 2), *uri = hx_option(l, "uri", 2);
    if (uri)
        yaml_set_text(h->a, check, "path", uri);
    if (method && !text_is(method, "GET"))
        hx_note(h, l, "weir's check is a GET");
    for (size_t i = 2; i + 2 < l->count; i++)
        if (text_is(l->args[i], "hdr")) {
            char *name = import_alloc(h->a, strlen(l->args[i + 1]) + 1);
            for (size_t k = 0; l->args[i + 1][k]; k++)
                name[k] = ascii_lower(l->args[i + 1][k]);
            yaml_set_text(h->a, yaml_at(h->a, check, "headers"), name, l->args[i + 2]);
        }
    if (hx_option(l, "body", 2))
        hx_left(h, l, "weir's check sends no body");
}

static void expect_line(struct haproxy *h, struct hx_line *l, struct yaml_node *check)
{
    struct yaml_node *list = yaml_list(h->a);
    struct slice rest = slice_text(hx_arg(l, 3)), one;
    if (!text_is(hx_arg(l, 2), "status")) {
        hx_left(h, l, "a check looks at the status: expect: [200-299]");
        return;
    }
    while (slice_next(&rest, ',', &one))
        yaml_add(h->a, list, yaml_raw(h->a, import_copy(h->a, one.at, one.len)));
    yaml_set(h->a, check, "expect", list);
}

/* As health_check.send has them: \r, \n, \xHH. */
static const char *escape_bytes(struct haproxy *h, const char *s)
{
    struct text out = {0};
    text_add(&out, "");
    for (; *s; s++) {
        if (*s == '\r' || *s == '\n')
            text_add(&out, *s == '\r' ? "\\r" : "\\n");
        else if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
            text_printf(&out, "\\x%02X", (unsigned char)*s);
        else
            text_add_bytes(&out, s, 1);
    }
    const char *copy = import_copy(h->a, out.at, out.len);
    text_free(&out);
    return copy;
}

static void tcp_lines(struct haproxy *h, const struct hx_section *s, struct yaml_node *check)
{
    for (struct hx_line *l = s ? s->lines : NULL; l; l = l->next) {
        if (!hx_is(l, "tcp-check", NULL))
            continue;
        l->done = true;
        bool last = yaml_get(check, "receive") != NULL;
        if (hx_is(l, "tcp-check", "connect") && l->count == 2)
            continue;
        if (hx_is(l, "tcp-check", "send") && !yaml_get(check, "send") && !last)
            yaml_set_text(h->a, check, "send", escape_bytes(h, hx_arg(l, 2)));
        else if (hx_is(l, "tcp-check", "expect") && text_is(hx_arg(l, 2), "string") && !last)
            yaml_set_text(h->a, check, "receive", escape_bytes(h, hx_arg(l, 3)));
        else
            hx_left(h, l, "a check sends once and looks at how the answer begins: send, receive");
    }
}

/* The section's own lines take the place of those of its defaults. */
static bool has_own(const struct hx_section *s, const char *word)
{
    for (const struct hx_line *l = s->lines; l; l = l->next)
        if (hx_is(l, word, NULL))
            return true;
    return false;
}

static void http_checks(struct haproxy *h, const struct hx_section *s, struct yaml_node *check)
{
    for (struct hx_line *l = s ? s->lines : NULL; l; l = l->next) {
        if (!hx_is(l, "http-check", NULL))
            continue;
        l->done = true;
        if (hx_is(l, "http-check", "send"))
            send_line(h, l, check);
        else if (hx_is(l, "http-check", "expect"))
            expect_line(h, l, check);
        else
            hx_left(h, l, "a check is one GET: path, headers, expect");
    }
}

static struct hx_line *other_check(const struct hx_section *s)
{
    static const char *const names[] = {"mysql-check", "pgsql-check",    "smtpchk",
                                        "ldap-check",  "external-check", "spop-check"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct hx_line *l = hx_find(s, "option", names[i], NULL);
        if (l)
            return l;
    }
    return NULL;
}

void hx_health(struct haproxy *h, struct hx_section *s, struct yaml_node *body)
{
    struct yaml_node *check = yaml_map(h->a), *of_servers = yaml_map(h->a);
    bool checked = hx_servers(h, s, body, of_servers);
    struct hx_line *http = hx_find(s, "option", "httpchk", NULL),
                   *redis = hx_find(s, "option", "redis-check", NULL),
                   *hello = hx_find(s, "option", "ssl-hello-chk", NULL), *l = other_check(s),
                   *timeout = hx_find(s, "timeout", "check", NULL);
    hx_find(s, "option", "tcp-check", NULL);
    if (l)
        hx_left(h, l, "weir checks by http, tcp, tls, grpc or udp; by tcp now");
    yaml_set_raw(h->a, check, "type", http ? "http" : hello ? "tls" : "tcp");
    if (http && http->count > 2)
        http_line(h, http, 2, check);
    http_checks(h, has_own(s, "http-check") ? s : s->defaults, check);
    tcp_lines(h, has_own(s, "tcp-check") ? s : s->defaults, check);
    if (redis) {
        yaml_set_text(h->a, check, "send", "PING\\r\\n");
        yaml_set_text(h->a, check, "receive", "+PONG");
    }
    if (timeout && hx_duration(h, hx_arg(timeout, 2)))
        yaml_set_raw(h->a, check, "timeout", hx_duration(h, hx_arg(timeout, 2)));
    yaml_merge(h->a, check, of_servers);
    if (checked)
        yaml_set(h->a, body, "health_check", check);
}
