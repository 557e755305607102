/* What the converters of nginx's directives share. Each takes what it knows and marks it done; what nobody
 * took is reported at the end by nginx_known.c, so nothing goes by silently. */
#pragma once

#include "import/model.h"
#include "import/nginx_parse.h"

#define NG_LISTENERS 64 /* of one server */

struct ng_socket {
    const char *bind; /* as weir writes it: `*:80`, `[::]:80`, `127.0.0.1:80`, `unix:/x` */
    const char *port; /* NULL: a Unix socket */
    bool tls, proxy_protocol, grouped;
    struct ng_server **servers;
    size_t server_count;
    struct ng_server *first; /* the default server */
    const struct ng *at;
    struct import_listener *listener;
    struct ng_socket *next;
};

/* A location, flattened: nested ones stand beside those around them. */
enum ng_match { NG_PREFIX, NG_PREFIX_NO_REGEX, NG_EXACT, NG_REGEX, NG_REGEX_NOCASE };

struct ng_place {
    struct ng *block; /* the location; or the server, for what no location takes */
    enum ng_match match;
    const char *path;  /* or the regex */
    const char *under; /* of a nested regex: the prefix around it */
    bool closed;       /* its sample would not say the truth; no test */
    struct import_route *route;
    struct ng_place *next;
};

struct ng_server {
    struct ng *block;
    struct yaml_node *hosts; /* what weir writes; without those that a redirect of their own has taken */
    const char *first_name;  /* NULL: none */
    const struct import_listener *listeners[NG_LISTENERS];
    bool is_default[NG_LISTENERS];
    size_t listener_count;
    struct ng_place *places;
    struct ng_server *next;
};

struct ng_upstream {
    const char *key; /* everything that tells it from others */
    struct import_upstream *made;
    struct ng_upstream *next;
};

struct nginx {
    struct import *in;
    struct arena *a;
    struct ng *root, *http, *stream;
    struct ng_socket *sockets;
    struct ng_server *servers;
    struct ng_upstream *upstreams;
    const struct ng_server
        *server; /* whose routes are made, and the part of its listeners that they are for */
    bool for_default;
};

/* One directive reported and done. */
void ng_left(struct nginx *n, struct ng *d, const char *format, ...) __attribute__((format(printf, 3, 4)));
void ng_note(struct nginx *n, const struct ng *d, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *ng_origin(struct nginx *n, const struct ng *d);
/* The words of a directive, for reports. */
const char *ng_words(struct nginx *n, const struct ng *d);

/* Inheritance: the last of that name in the nearest block from `scope` outwards that has one; the block
 * itself for directives that add up. Those further out are done as well. NULL when there is none. */
struct ng *ng_effective(const struct ng *scope, const char *name);
struct ng *ng_level(const struct ng *scope, const char *name);
static inline const char *ng_arg(const struct ng *d, size_t i)
{
    return d && i < d->arg_count ? d->args[i] : "";
}

/* nginx_values.c. NULL when it is none. */
const char *ng_duration(struct nginx *n, const char *s);
long long ng_duration_ms(const char *s);
const char *ng_size(struct nginx *n, const char *s);
long long ng_size_bytes(const char *s);
/* A text with nginx's variables as a template of weir; NULL with *unknown for a variable that weir has none
 * of. `response`: variables of the response are known too. */
const char *ng_template(struct nginx *n, const struct ng *scope, const char *s, bool response,
                        const char **unknown);

/* nginx_global.c, nginx_server.c, nginx_locations.c, nginx_action.c, … */
void ng_globals(struct nginx *n);
void ng_access_log(struct nginx *n, struct ng *block);
void ng_servers(struct nginx *n);
void ng_server_tls(struct nginx *n, struct ng_socket *s, struct yaml_node *body);
void ng_server_limits(struct nginx *n, const struct ng_server *s);
void ng_server_routes(struct nginx *n, struct ng_server *s);
struct import_route *ng_route(struct nginx *n, const struct ng *d, const char *label, enum import_path kind,
                              const char *path);
void ng_place_convert(struct nginx *n, struct ng_server *s, struct ng_place *p);
bool ng_return(struct nginx *n, struct ng *d, struct import_route *r);
bool ng_rewrite_redirect(struct nginx *n, struct ng *d, struct import_route *r);
bool ng_server_rewrite(struct nginx *n, struct ng *block);
bool ng_matches_all(const char *pattern);
void ng_close(struct nginx *n, struct import_route *r, const char *why);
bool ng_if_words(struct nginx *n, const struct ng *d, const char *words[3]);
bool ng_if_condition(struct nginx *n, const struct ng *d, struct yaml_node *conditions);
void ng_files(struct nginx *n, struct ng_server *s, struct ng_place *p);
void ng_errors(struct nginx *n, struct ng_server *s, struct ng_place *p);
const char *ng_root(struct nginx *n, const struct ng *scope);
void ng_access(struct nginx *n, const struct ng *scope, struct import_route *r);
bool ng_proxy(struct nginx *n, struct ng_place *p);
void ng_request_headers(struct nginx *n, const struct ng *scope, const char *prefix, const char *proxy_host,
                        struct import_route *r);
void ng_response_headers(struct nginx *n, const struct ng *scope, struct import_route *r);
void ng_cache(struct nginx *n, const struct ng *scope, struct import_route *r);
/* The name of the upstream, made when it is not there yet. `name` is a declared one or HOST:PORT. */
struct import_upstream *ng_upstream(struct nginx *n, const struct ng *at, struct ng *owner, const char *name,
                                    const struct yaml_node *settings, const char *default_port);
void ng_streams(struct nginx *n);
void ng_samples(struct nginx *n);
void ng_report_rest(struct nginx *n);

/* The whole: what `file` says, into `in`. 0, or -1 with *why when it cannot be read. */
int nginx_import(struct import *in, const char *file, const char **why);
void nginx_convert(struct import *in, struct ng *root);
