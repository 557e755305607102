/* Servers and their addresses: listeners of weir, each for the sockets that the same servers share. Which
 * server a request meets is nginx's rule: by name among those of the socket, else the socket's default
 * server. */
#include "core/address.h"
#include "import/nginx.h"

/* listen */

static const char *bind_of(struct nginx *n, const char *s, const char **port)
{
    const char *colon = strrchr(s, ':');
    if (text_begins(s, "unix:")) {
        *port = NULL;
        return s;
    }
    if (text_number(s) > 0) {
        *port = s;
        return import_printf(n->a, "*:%s", s);
    }
    bool has_port = colon && text_number(colon + 1) > 0 && (s[0] != '[' || colon[-1] == ']');
    const char *host = has_port ? import_copy(n->a, s, (size_t)(colon - s)) : s;
    *port = has_port ? colon + 1 : "80";
    if (text_is(host, "0.0.0.0"))
        host = "*";
    if (text_is(host, "localhost"))
        host = "127.0.0.1";
    struct ip ip;
    if (!text_is(host, "*") && ip_parse(slice_text(host), &ip) != 0)
        return NULL;
    return import_printf(n->a, "%s:%s", host, *port);
}

static struct ng_socket *socket_of(struct nginx *n, struct ng *d, const char *bind, const char *port)
{
    struct ng_socket **at = &n->sockets;
    for (; *at; at = &(*at)->next)
        if (text_is((*at)->bind, bind))
            return *at;
    *at = import_alloc(n->a, sizeof **at);
    (*at)->bind = bind;
    (*at)->port = port;
    (*at)->at = d;
    return *at;
}

static void add_server(struct nginx *n, struct ng_socket *s, struct ng_server *server)
{
    if (s->server_count && s->servers[s->server_count - 1] == server)
        return;
    struct ng_server **more = import_alloc(n->a, (s->server_count + 1) * sizeof *more);
    if (s->server_count)
        memcpy(more, s->servers, s->server_count * sizeof *more);
    more[s->server_count++] = server;
    s->servers = more;
}

static void listen_option(struct nginx *n, struct ng *d, struct ng_socket *s, struct ng_server *server,
                          const char *option)
{
    static const char *const nothing[] = {"http2", "reuseport", "deferred", "bind", "default"};
    static const char *const begins[] = {
        "backlog=", "rcvbuf=", "sndbuf=", "ipv6only=", "fastopen=", "so_keepalive=", "setfib="};
    if (text_is(option, "ssl"))
        s->tls = true;
    else if (text_is(option, "proxy_protocol"))
        s->proxy_protocol = true;
    if (text_is(option, "default_server") || text_is(option, "default"))
        s->first = server;
    bool known = text_is(option, "ssl") || text_is(option, "proxy_protocol") ||
                 text_is(option, "default_server") || text_in(option, nothing, COUNT_OF(nothing));
    for (size_t i = 0; i < COUNT_OF(begins); i++)
        known |= text_begins(option, begins[i]);
    if (!known)
        ng_left(n, d, "weir's listeners have no \"%s\"", option);
}

static void listens(struct nginx *n, struct ng_server *server)
{
    struct ng *d = ng_child(server->block, "listen");
    if (!d)
        add_server(n, socket_of(n, server->block, "*:80", "80"), server);
    for (; d; d = ng_next(d)) {
        const char *port, *bind = bind_of(n, ng_arg(d, 0), &port);
        d->done = true;
        if (!bind) {
            ng_left(n, d, "that is no address that weir can listen on; name it by numbers");
            continue;
        }
        struct ng_socket *s = socket_of(n, d, bind, port);
        add_server(n, s, server);
        for (size_t i = 1; i < d->arg_count; i++)
            listen_option(n, d, s, server, d->args[i]);
    }
}

/* server_name */

static bool is_host(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') && !strchr("-._:[]", *p))
            return false;
    return *s != '\0' && *s != '.' && *s != '_';
}

static const char *lower(struct nginx *n, const char *s)
{
    char *copy = import_alloc(n->a, strlen(s) + 1);
    for (size_t i = 0; s[i]; i++)
        copy[i] = ascii_lower(s[i]);
    return copy;
}

static void server_name(struct nginx *n, struct ng_server *server, struct ng *d, const char *name)
{
    if (text_is(name, "_") || text_is(name, "")) /* for the default server: no name that a client sends */
        return;
    if (is_host(name)) {
        yaml_add_text(n->a, server->hosts, name);
        if (!server->first_name)
            server->first_name = name;
    } else if (name[0] == '.' && is_host(name + 1)) {
        yaml_add_text(n->a, server->hosts, name + 1);
        yaml_add_text(n->a, server->hosts, import_printf(n->a, "*%s", name));
        if (!server->first_name)
            server->first_name = name + 1;
    } else if (text_begins(name, "*.") && is_host(name + 2)) {
        yaml_add_text(n->a, server->hosts, name);
    } else if (name[0] == '~') {
        ng_left(n, d, "weir knows no regexes of hosts; name them, or by a wildcard: \"*.example.com\"");
    } else {
        ng_left(n, d, "\"%s\" is no host that weir can match; name each", name);
    }
}

static void server_names(struct nginx *n, struct ng_server *server)
{
    server->hosts = yaml_list(n->a);
    for (struct ng *d = ng_child(server->block, "server_name"); d; d = ng_next(d)) {
        d->done = true;
        for (size_t i = 0; i < d->arg_count; i++)
            server_name(n, server, d, lower(n, d->args[i]));
    }
}

/* Sockets to listeners. */

static bool same_servers(const struct ng_socket *a, const struct ng_socket *b)
{
    return a->server_count == b->server_count && a->first == b->first && a->tls == b->tls &&
           a->proxy_protocol == b->proxy_protocol && text_is(a->port, b->port) &&
           memcmp(a->servers, b->servers, a->server_count * sizeof(struct ng_server *)) == 0;
}

static const char *listener_name(struct nginx *n, const struct ng_socket *s)
{
    if (!s->port)
        return s->tls ? "unix-tls" : "unix";
    if (text_is(s->port, s->tls ? "443" : "80"))
        return s->tls ? "web-tls" : "web";
    return import_printf(n->a, "%s-%s", s->tls ? "https" : "http", s->port);
}

static void add_binds(struct nginx *n, struct ng_socket *first, struct yaml_node *body)
{
    bool v4 = false, v6 = false;
    struct yaml_node *binds = yaml_list(n->a);
    for (struct ng_socket *s = first; s; s = s->next)
        if (s->listener == first->listener) {
            v4 |= text_begins(s->bind, "*:");
            v6 |= text_begins(s->bind, "[::]:");
        }
    for (struct ng_socket *s = first; s; s = s->next) {
        if (s->listener != first->listener || (v4 && v6 && text_begins(s->bind, "[::]:")))
            continue;
        bool both = v4 && v6 && text_begins(s->bind, "*:");
        yaml_add_text(n->a, binds, both ? s->bind + 1 : s->bind);
    }
    yaml_set(n->a, body, "bind", binds);
}

static void trusted(struct nginx *n, const struct ng_socket *s, struct yaml_node *body)
{
    for (size_t i = 0; i < s->server_count; i++) {
        struct ng *d = ng_level(s->servers[i]->block, "set_real_ip_from");
        struct ng *header = ng_effective(s->servers[i]->block, "real_ip_header");
        const char *name = header ? ng_arg(header, 0) : "X-Real-IP";
        bool fits =
            slice_equal_nocase(slice_text(name), S("x-forwarded-for")) || text_is(name, "proxy_protocol");
        if (!fits && (d || header)) {
            ng_left(n, header ? header : d,
                    "weir takes the client's address from X-Forwarded-For or Forwarded, by trusted_proxies");
            continue;
        }
        for (; d; d = ng_next(d)) {
            struct cidr cidr;
            if (cidr_parse(slice_text(ng_arg(d, 0)), &cidr) == 0)
                yaml_add_text(n->a, yaml_list_at(n->a, body, "trusted_proxies"), ng_arg(d, 0));
            else
                ng_left(n, d, "trusted_proxies takes networks by numbers");
        }
    }
}

static void make_listener(struct nginx *n, struct ng_socket *first)
{
    struct import_listener *l = import_listener(n->in, listener_name(n, first), ng_origin(n, first->at));
    l->tls = first->tls;
    l->port = first->port;
    for (struct ng_socket *s = first; s; s = s->next)
        if (!s->listener && same_servers(first, s))
            s->listener = l;
    add_binds(n, first, l->body);
    if (first->proxy_protocol)
        yaml_set_raw(n->a, l->body, "proxy_protocol", "true");
    trusted(n, first, l->body);
    if (first->tls)
        ng_server_tls(n, first, l->body);
    for (size_t i = 0; i < first->server_count; i++) {
        struct ng_server *server = first->servers[i];
        if (server->listener_count == NG_LISTENERS)
            continue;
        server->is_default[server->listener_count] = server == first->first;
        server->listeners[server->listener_count++] = l;
    }
}

void ng_servers(struct nginx *n)
{
    struct ng_server **last = &n->servers;
    for (struct ng *d = ng_child(n->http, "server"); d; d = ng_next(d)) {
        struct ng_server *server = *last = import_alloc(n->a, sizeof *server);
        last = &server->next;
        server->block = d;
        d->done = true;
        server_names(n, server);
        listens(n, server);
    }
    for (struct ng_socket *s = n->sockets; s; s = s->next)
        if (!s->first && s->server_count)
            s->first = s->servers[0];
    for (struct ng_socket *s = n->sockets; s; s = s->next)
        if (!s->listener && s->server_count)
            make_listener(n, s);
    for (struct ng_server *s = n->servers; s; s = s->next) {
        n->server = s;
        ng_server_limits(n, s);
        ng_server_routes(n, s);
    }
    n->server = NULL;
    for (struct ng *d = ng_child(n->http, "upstream"); d; d = ng_next(d))
        if (!d->done)
            ng_upstream(n, d, d, ng_arg(d, 0), yaml_map(n->a), "80");
}
