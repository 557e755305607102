/* What the converters of HAProxy's keywords share. Each takes what it knows and marks the line done; what
 * nobody took is reported at the end by haproxy_known.c. */
#pragma once

#include "import/haproxy_parse.h"
#include "import/model.h"

/* Which requests a condition holds for, as far as routes can say it: a conjunction. */
struct hx_match {
    struct yaml_node *hosts; /* list; empty = any */
    enum import_path kind;
    const char *path;
    struct yaml_node *conditions; /* as import_route */
    struct yaml_node *sources;    /* of `src`: networks; only for rules that refuse */
    struct yaml_node *names;      /* of req.ssl_sni, in mode tcp */
    bool sources_negated;
    int tls;               /* -1 any, 0 without, 1 with */
    struct hx_match *next; /* or */
};

enum hx_action { HX_UPSTREAM, HX_ANSWER, HX_GUARD };

/* A rule of a frontend, in the order in which HAProxy asks them. */
struct hx_rule {
    enum hx_action action;
    struct hx_match match;
    struct import_upstream *upstream;
    struct yaml_node *body; /* of an answer: respond or redirect; of a guard: allow, deny */
    struct hx_line *line;
    bool derived; /* made of two that overlap */
    struct import_route *route;
    struct hx_rule *next;
};

struct hx_backend {
    struct hx_section *section;
    struct import_upstream *made;
    struct yaml_node *edits; /* what its routes get: headers, rewrite, cache, timeouts */
    struct hx_rule *answers; /* redirects and denials of its own, without a condition */
    struct hx_backend *next;
};

struct haproxy {
    struct import *in;
    struct arena *a;
    const char *file;
    struct hx_section *sections;
    const struct hx_section *global;
    struct hx_backend *backends;
};

void hx_left(struct haproxy *h, struct hx_line *l, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void hx_note(struct haproxy *h, const struct hx_line *l, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *hx_origin(struct haproxy *h, const struct hx_line *l);
const char *hx_section_origin(struct haproxy *h, const struct hx_section *s);
/* The text as a regular expression that matches just that; in the arena. */
const char *hx_escaped(struct haproxy *h, const char *s);

static inline const char *hx_arg(const struct hx_line *l, size_t i)
{
    return i < l->count ? l->args[i] : "";
}
/* Whether a line begins with these words (each may be NULL). */
bool hx_is(const struct hx_line *l, const char *first, const char *second);
/* The last such line of the section, or of its defaults; all are done. *inherited says which (may be NULL).
 */
struct hx_line *hx_find(const struct hx_section *s, const char *first, const char *second, bool *inherited);
bool hx_is_tcp(const struct hx_section *s);

/* haproxy_values.c. NULL when it is none. */
const char *hx_duration(struct haproxy *h, const char *s);
/* A log-format text as a template; NULL with *unknown. */
const char *hx_template(struct haproxy *h, const char *s, const char **unknown);
/* A value after `word` in the line, from word `from` on; NULL. */
const char *hx_option(const struct hx_line *l, const char *word, size_t from);

/* haproxy_acl.c: the condition behind `if` or `unless`, from word `at` on (at the end: everything). NULL with
 * *why when routes cannot say it. */
struct hx_match *hx_condition(struct haproxy *h, const struct hx_section *s, const struct hx_line *l,
                              size_t at, const char **why);
struct hx_match *hx_match_any(struct haproxy *h);
/* ACLs that no rule could use, and those that none did, are told with the rules; the lines are done. */
void hx_acls_done(struct hx_section *s);

/* haproxy_match.c: both at once. False when no request is in both; *certain is false when that cannot be
 * said. */
bool hx_intersect(struct haproxy *h, const struct hx_match *a, const struct hx_match *b, struct hx_match *out,
                  bool *certain);
bool hx_match_equal(const struct hx_match *a, const struct hx_match *b);

/* haproxy_http.c */
bool hx_edit(struct haproxy *h, struct hx_line *l, struct yaml_node *body);
bool hx_redirect(struct haproxy *h, struct hx_line *l, size_t at, struct yaml_node *body);
bool hx_deny(struct haproxy *h, struct hx_line *l, struct yaml_node *body);
bool hx_return(struct haproxy *h, struct hx_line *l, struct yaml_node *body);
/* Where `if` or `unless` stands; the count of words when nowhere. */
size_t hx_if(const struct hx_line *l);

/* haproxy_backend.c, haproxy_frontend.c, haproxy_bind.c, … */
void hx_backends(struct haproxy *h);
struct hx_backend *hx_backend(struct haproxy *h, const char *name);
void hx_frontends(struct haproxy *h);
size_t hx_binds(struct haproxy *h, struct hx_section *s, struct import_listener **out, size_t most);
struct hx_rule *hx_rules(struct haproxy *h, struct hx_section *s, struct yaml_node *edits);
void hx_routes(struct haproxy *h, struct hx_section *s, struct hx_rule *rules, struct yaml_node *edits,
               struct import_listener **listeners, size_t count);
/* Tests of a listener's routes, by HAProxy's own order of `rules`. */
void hx_samples(struct haproxy *h, const struct hx_rule *rules, const struct hx_rule *made,
                const struct import_listener *listener);
/* Into `upstream` and `check`; whether any is checked. */
bool hx_servers(struct haproxy *h, struct hx_section *section, struct yaml_node *upstream,
                struct yaml_node *check);
void hx_health(struct haproxy *h, struct hx_section *s, struct yaml_node *body);
void hx_globals(struct haproxy *h);
void hx_report_rest(struct haproxy *h);

int haproxy_import(struct import *in, const char *file, const char **why);
void haproxy_convert(struct import *in, const char *file, struct hx_section *sections);
