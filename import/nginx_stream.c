/* stream: listeners of protocol tcp and udp. A server whose access rules could not be converted is left
 * whole, so that nothing is open that was not. */
#include "import/nginx.h"

struct stream {
    const char *bind, *port;
    bool udp, tls, proxy_protocol;
};

static bool read_listen(struct nginx *n, struct ng *d, struct stream *s)
{
    const char *where = ng_arg(d, 0);
    d->done = true;
    *s = (struct stream){.bind = text_number(where) > 0 ? import_printf(n->a, "*:%s", where) : where};
    const char *colon = strrchr(s->bind, ':');
    s->port = text_begins(where, "unix:") || !colon ? NULL : colon + 1;
    for (size_t i = 1; i < d->arg_count; i++) {
        s->udp |= text_is(d->args[i], "udp");
        s->tls |= text_is(d->args[i], "ssl");
        s->proxy_protocol |= text_is(d->args[i], "proxy_protocol");
    }
    if (!colon || (s->port && text_number(s->port) <= 0)) {
        ng_left(n, d, "an address needs one port that is a number; write a listener for each");
        return false;
    }
    return true;
}

static const char *upstream_name(struct nginx *n, struct ng *at, const char *name,
                                 const struct yaml_node *settings)
{
    return ng_upstream(n, at, n->stream, name, settings, "0")->name;
}

/* map $ssl_preread_server_name $name { … } */
static bool names_of(struct nginx *n, struct ng *pass, const struct yaml_node *settings,
                     struct yaml_node *body)
{
    for (struct ng *m = ng_child(n->stream, "map"); m; m = ng_next(m)) {
        if (!text_is(ng_arg(m, 1), ng_arg(pass, 0)) || !text_is(ng_arg(m, 0), "$ssl_preread_server_name"))
            continue;
        struct yaml_node *sni = yaml_map(n->a);
        m->done = true;
        for (struct ng *d = m->children; d; d = d->next) {
            d->done = true;
            if (text_is(d->name, "hostnames") || text_is(d->name, "volatile"))
                continue;
            if (d->name[0] == '~') {
                ng_left(n, d,
                        "weir knows no regexes of names; name them, or by a wildcard: \"*.example.com\"");
                continue;
            }
            const char *up = upstream_name(n, d, ng_arg(d, 0), settings);
            if (d->name[0] == '.') {
                yaml_set_text(n->a, sni, import_printf(n->a, "*%s", d->name), up);
                yaml_set_text(n->a, sni, d->name + 1, up);
            } else {
                yaml_set_text(n->a, sni, d->name, up);
            }
        }
        yaml_set(n->a, body, "sni", sni);
        return true;
    }
    ng_left(n, pass, "where it goes is known only when a stream is there; name the upstream, or use `sni`");
    return false;
}

static void timeouts_of(struct nginx *n, const struct ng *block, struct yaml_node *body)
{
    struct ng *idle = ng_effective(block, "proxy_timeout"),
              *connect = ng_effective(block, "proxy_connect_timeout");
    const char *idle_time = idle ? ng_duration(n, ng_arg(idle, 0)) : "10m",
               *connect_time = connect ? ng_duration(n, ng_arg(connect, 0)) : NULL;
    if (idle_time && !text_is(idle_time, "10m"))
        yaml_set_raw(n->a, yaml_at(n->a, body, "timeouts"), "idle", idle_time);
    if (connect_time)
        yaml_set_raw(n->a, yaml_at(n->a, body, "timeouts"), "connect", connect_time);
}

static void certificates_of(struct nginx *n, struct ng *block, struct ng *listen, struct yaml_node *body)
{
    struct ng_server server = {.block = block}, *servers[] = {&server};
    struct ng_socket socket = {
        .tls = true, .servers = servers, .server_count = 1, .first = &server, .at = listen};
    ng_server_tls(n, &socket, body);
}

static void convert_server(struct nginx *n, struct ng *block)
{
    struct ng *pass = ng_child(block, "proxy_pass"), *deny = ng_level(block, "deny"),
              *allow = ng_level(block, "allow");
    if (deny || allow) {
        ng_left(
            n, block,
            "allow and deny hold for HTTP routes alone; it is not converted, for it would be open to all: "
            "guard the port by the firewall");
        for (struct ng *d = block->children; d; d = d->next)
            d->done = true;
        return;
    }
    if (!pass) {
        ng_left(n, block, "a stream without proxy_pass");
        return;
    }
    block->done = pass->done = true;
    struct yaml_node *settings = yaml_map(n->a);
    struct ng *header = ng_effective(block, "proxy_protocol"), *tls = ng_effective(block, "proxy_ssl");
    if (header && text_is(ng_arg(header, 0), "on"))
        yaml_set_raw(n->a, settings, "proxy_protocol", "v1");
    if (tls && text_is(ng_arg(tls, 0), "on"))
        yaml_set_raw(n->a, yaml_at(n->a, settings, "tls"), "verify", "false");
    ng_level(block, "ssl_preread");
    for (struct ng *d = ng_child(block, "listen"); d; d = ng_next(d)) {
        struct stream s;
        if (!read_listen(n, d, &s))
            continue;
        struct import_listener *l = import_listener(
            n->in, import_printf(n->a, "%s-%s", s.udp ? "udp" : "tcp", s.port ? s.port : "unix"),
            ng_origin(n, d));
        l->port = s.port;
        l->tls = s.tls;
        struct yaml_node *binds = yaml_list_at(n->a, l->body, "bind");
        yaml_add_text(n->a, binds, s.bind);
        yaml_set_raw(n->a, l->body, "protocol", s.udp ? "udp" : "tcp");
        if (s.proxy_protocol)
            yaml_set_raw(n->a, l->body, "proxy_protocol", "true");
        if (ng_arg(pass, 0)[0] == '$')
            names_of(n, pass, settings, l->body);
        else
            yaml_set_text(n->a, l->body, "upstream", upstream_name(n, pass, ng_arg(pass, 0), settings));
        if (s.tls)
            certificates_of(n, block, d, l->body);
        timeouts_of(n, block, l->body);
    }
}

void ng_streams(struct nginx *n)
{
    for (struct ng *d = ng_child(n->stream, "server"); d; d = ng_next(d))
        convert_server(n, d);
    for (struct ng *d = ng_child(n->stream, "upstream"); d; d = ng_next(d))
        if (!d->done)
            ng_upstream(n, d, d, ng_arg(d, 0), yaml_map(n->a), "0");
}
