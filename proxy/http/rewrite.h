/* The rewrite of a route: what path is sent instead of the one that was matched. The query is never touched.
 *
 *   prefix: /other          the route's own path (a prefix or an exact path), matched by whole segments,
 * becomes this one regex: ^/old/(.*)       the first match in the path becomes `to`; $0 to $9 are what groups
 * matched, $$ is a "$"; a path to: /new/$1             without a match stays as it is
 *
 * What comes out is normalised again: dot segments that the pieces make together are removed, or refused
 * above the root. */
#pragma once

#include "config/option.h"
#include "proxy/http/regex.h"
#include "proxy/http/target.h"

struct rewrite_settings {
    const struct config_node *node;
    struct slice prefix, regex, to;
};

extern const struct option_table rewrite_table;

struct rewrite_piece {
    struct slice text; /* literal; goes before the group */
    int group;         /* -1 = none */
};

struct rewrite {
    struct slice prefix; /* without the trailing slash: "" for "/" */
    struct regex *regex; /* NULL = by prefix; owned */
    struct rewrite_piece *to;
    size_t to_count;
};

/* Into c's arena; 0, or -1 with faults. rewrite_free frees the regex alone. */
int rewrite_compile(struct config *c, const struct rewrite_settings *s, struct rewrite *out);
void rewrite_free(struct rewrite *r);

/* `matched` is route_match.prefix_len. 0 with *out (which may be `path` itself), or an enum target_fault. */
int rewrite_apply(const struct rewrite *r, struct arena *arena, struct regex_scratch *scratch,
                  struct slice path, size_t matched, struct slice *out);
