/* What the files of config/ share among themselves; nobody else includes it. */
#pragma once

#include "config/names.h"
#include "config/tree.h"

#include <yaml.h>

/* yaml.c: one text to a tree. */
struct yaml_source {
    const char *file; /* lives as long as the config */
    struct slice text;
    bool expand;        /* `${NAME}` comes from the environment */
    size_t *nodes_left; /* counts down over all files of a load; what aliases multiply counts too */
};

/* The root as it stands in the text (NULL for an empty one) goes to *root. 0; 1 when there are faults but the
 * tree is whole otherwise; -1 when there is no tree. All are recorded. */
int yaml_read(struct config *c, const struct yaml_source *source, struct config_node **root);

/* A default as it would be written in a file; parsed once. NULL when it is not YAML or out of memory. */
const struct config_node *yaml_fallback(struct config *c, const char *text);

/* syntax.c: records in plain words what libyaml refused. */
void syntax_fault(struct config *c, const struct yaml_source *source, const yaml_parser_t *parser);

/* environment.c: replaces the variables of a scalar. 0 with the text (NUL-terminated, in the arena); -1 after
 * recording a fault at `at`, or when out of memory. */
int environment_expand(struct config *c, const struct config_node *at, struct slice text, struct slice *out);

/* merge.c: what a map with `<<` keys gets from them. `items` has room for nothing: a new array goes to *map.
 */
int merge_keys_resolve(struct config *c, struct config_node *map, size_t *nodes_left);
/* The root of one more file into `base`. 0; 1 with faults recorded; -1 out of memory. */
int merge_file(struct config *c, struct config_node *base, const struct config_node *over);

/* tree.c */
struct config_node *node_new(struct config *c, enum node_kind kind, const char *file, uint32_t line,
                             uint32_t column);
void node_weigh(struct config_node *node);
void node_remove(struct config_node *map, size_t index);
/* A map's key by name; for maps of any size. */
struct key_index {
    const struct config_node *map;
    struct name_table table; /* used for large maps */
};
int key_index_init(struct key_index *index, const struct config_node *map);
struct config_node *key_index_get(const struct key_index *index, struct slice key);
void key_index_free(struct key_index *index);

/* error.c */
void config_fault_place(struct config *c, const char *file, uint32_t line, uint32_t column,
                        const char *format, ...) __attribute__((format(printf, 5, 6)));
/* What a node is, for "found …": `a list`, `the text "x"`, `nothing`. */
/* The next of our keys that another program's word may mean, from the place `from` on (0 at first); NULL when
 * there is none. */
const char *config_foreign_key(struct slice word, size_t *from);

const char *node_describe(struct config *c, const struct config_node *node);
/* Has room for one more fault that is worth wording. */
bool config_wants_faults(const struct config *c);

/* suggest.c: the nearest word so far. */
struct suggestion {
    struct slice word;
    const char *best;
    size_t distance;
};
void suggestion_consider(struct suggestion *s, const char *candidate);
