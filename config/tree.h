/* YAML text to a tree of nodes that know where they stood. The tree is what option tables (option.h) are
 * applied to; nothing past config/ sees libyaml.
 *
 * config_load() reads a file with what the contract promises: `${NAME}` and `${NAME:-default}` in scalars
 * come from the environment when NAME is written in capitals, digits and underscores (`${client}` and the
 * like are template variables and stay), `include:` at the top level merges files, anchors, aliases and merge
 * keys work, a duplicate key is an error. Size, depth and the number of visited nodes are bounded.
 *
 * Top-level keys that begin "x-" are dropped after the aliases to them are resolved: a place for shared
 * pieces. An included file's sections (maps) gain keys and its lists follow on; a key that two files define
 * is a fault.
 *
 * A node stands at one place and has one path. A value written `*name` is a node of its own, at the alias;
 * what is inside it, and what came by a merge key, keeps the place and the path of where it was written.
 *
 * All memory is the config's arena; the tree dies with it. Every error is collected with its place; none is
 * printed. */
#pragma once

#include "config/source.h"
#include "core/arena.h"
#include "core/base.h"

enum node_kind {
    NODE_NULL, /* empty, ~ or null, unquoted */
    NODE_SCALAR,
    NODE_LIST,
    NODE_MAP,
};

struct config_node {
    enum node_kind kind;
    bool quoted;           /* a quoted scalar is text, whatever it looks like */
    bool faulty;           /* had a fault while it was read: further ones at this value are not recorded */
    bool is_merge;         /* the value of a merge key `<<`; only while its map is being read */
    bool is_secret;        /* never shown; config_mark_secrets() */
    uint16_t height;       /* levels, itself included */
    bool has_variables;    /* of the environment: config_written() is not the text */
    uint32_t weight;       /* nodes that a walk over it visits, itself included */
    const char *file;      /* as given on the command line or in include */
    uint32_t line, column; /* from 1; of the value */
    struct config_node *parent; /* NULL at the root */
    /* In a map: the key and where it stands. */
    struct slice key;
    uint32_t key_line, key_column;
    uint32_t index;             /* in a list */
    struct slice text;          /* of a scalar; NUL-terminated behind its length */
    struct config_node **items; /* of a list or a map, in the order of the file */
    size_t count;
};

struct config_error {
    const char *file;
    uint32_t line, column; /* 0: the file as a whole */
    const char *message;   /* path and mend included: `listeners.web.protocol: unknown value "htpp" (…)` */
    const char *path;      /* `listeners.web.protocol`; "" of none */
    /* Of config_advise(); NULL otherwise. */
    const char *rule, *mend, *example;
    const char *words; /* without path and mend */
};

/* What a warning has besides its words. The texts live as long as the config; each may be NULL. */
struct config_advice {
    const char *rule;    /* `unreachable-route`: by what the documentation calls it */
    const char *mend;    /* the way to mend it, in the imperative: `give it another path` */
    const char *example; /* a request, as the arguments of `weir explain`: `GET http://a.example/x` */
    bool at_key;         /* it is told at the node's key */
};

/* A file or a folder that the configuration names, and what is done with it. */
enum config_use { CONFIG_READS, CONFIG_WRITES, CONFIG_BINDS };
struct config_named {
    const char *path;             /* as it is opened */
    const struct config_node *at; /* NULL: the file that was given */
    enum config_use use;
};

struct config {
    struct arena arena;
    struct config_node *root; /* a map; never NULL after a load without syntax errors */
    struct config_error *errors;
    size_t error_count, error_capacity;
    struct config_error *warnings;
    size_t warning_count, warning_capacity;
    size_t errors_dropped, errors_repeated; /* past CONFIG_ERRORS_MAX; recorded before */
    size_t warnings_dropped;                /* likewise; or so many more, where nobody looked on */
    bool out_of_memory;                     /* an error could not even be recorded */
    struct name_table *fallbacks;           /* parsed defaults of option tables, by their text */
    struct config_named *named;             /* every path, in the arena; the same one perhaps repeatedly */
    size_t named_count, named_capacity;
    /* Where `${NAME}` comes from; NULL = getenv. */
    const char *(*environment)(const char *name);
    /* Set before config_load(), whose caller holds them: gets every file that is read; is read from in place
     * of the disk. NULL = neither. */
    struct config_source *keep;
    const struct config_source *kept;
};

#define CONFIG_FILE_BYTES_MAX (16u << 20)
#define CONFIG_DEPTH_MAX      64
#define CONFIG_NODES_MAX      4000000u
#define CONFIG_ERRORS_MAX     1000

/* An empty one. Free with config_free. */
void config_init(struct config *c);
void config_free(struct config *c);

/* Reads `path` (with its includes, relative to the file that names them) or, with config_parse, the text
 * itself called `name` in errors (no includes). 0, or -1 with errors in c. After -1 the root is NULL when a
 * file could not be read or parsed; otherwise (a duplicate key, an unset variable) the tree is whole but for
 * the faults, and options may be applied to it, so that one run tells every fault. Once per struct config. */
int config_load(struct config *c, const char *path);
int config_parse(struct config *c, const char *name, struct slice text);
/* As config_parse, of data: the root may be of any kind (NULL in c when the text is empty), and `${NAME}`
 * stays as it is. */
int config_parse_value(struct config *c, const char *name, struct slice text);

/* Records a fault at a node's value (or at its key, for an unknown key). The message is preceded by the
 * node's path, `listeners.web.protocol: `. `at` may be NULL: the file as a whole. The same message at the
 * same place is recorded once (a value that is used by several aliases is read several times); past
 * CONFIG_ERRORS_MAX faults are only counted. Control characters are written \\xHH, so that a fault is one
 * line. */
void config_fault(struct config *c, const struct config_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_fault_key(struct config *c, const struct config_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A warning: as a fault, but the configuration is good all the same. */
void config_warn(struct config *c, const struct config_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with advice: `PATH: WORDS; MEND [RULE]`. */
void config_advise(struct config *c, const struct config_node *at, const struct config_advice *advice,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* False when one more warning would only be counted: its wording can be spared. */
bool config_wants_warnings(const struct config *c);

/* `listeners.web.bind[0]`, `routes[3].upstream`; in the arena. The root's is "". */
const char *config_path(struct config *c, const struct config_node *at);

/* Any text in double quotes for a message, cut short when it is long; in the arena. */
const char *config_quote(struct config *c, struct slice text);

/* ` (one of: http, tcp, udp); did you mean "http"?`, or as much of it as is known; what follows `no upstream
 * is called "ap1"` and the like. `list` = false leaves the words away, and many words are never listed. In
 * the arena. */
const char *config_mend(struct config *c, struct slice word, const char *const *words, size_t count,
                        bool list);

/* Sorted by file and place, one a line: `weir.yaml:12:15: …\n`, of warnings `weir.yaml:12:15: warning: …\n`;
 * in the arena. */
const char *config_errors_text(struct config *c);
const char *config_warnings_text(struct config *c);
/* One line of it, without its end; in the arena. NULL when out of memory. */
const char *config_warning_line(struct config *c, const struct config_error *warning);
/* The same order; NULL when out of memory. In the arena. */
const struct config_error **config_errors_sorted(struct config *c);
const struct config_error **config_warnings_sorted(struct config *c);
/* What stands behind the last "; " outside of quotes of a fault's words is how to mend it; empty when nothing
 * does. *what gets the rest. */
struct slice config_error_mend(const struct config_error *error, struct slice *what);

/* A scalar as it stands in the file, variables of the environment and all. */
static inline struct slice config_written(const struct config_node *node)
{
    return node->has_variables ? slice_text(node->text.at + node->text.len + 1) : node->text;
}

/* The value of a map's key, or NULL. */
struct config_node *config_get(const struct config_node *map, const char *key);

/* base overlaid by `over`: maps merge by key, a list or scalar replaces, null takes the inherited value away.
 * Either may be NULL. Nodes keep their places. The result may share nodes with both; NULL when out of memory.
 */
struct config_node *config_merge(struct config *c, struct config_node *base, struct config_node *over);

/* A path of the file: relative to the directory of the file that names it. NUL-terminated, in the arena;
 * {NULL, 0} when out of memory. Every path that an option names comes through here, so that a sandbox knows
 * them all (c->named). */
struct slice config_relative_path(struct config *c, const struct config_node *at, struct slice path,
                                  enum config_use use);
/* Records a path (which lives as long as `c`) that is opened as it is. */
void config_name_path(struct config *c, const struct config_node *at, const char *path, enum config_use use);

/* A map that stands in no file, with one key (a literal), at the place of `like`; for config_merge. */
struct config_node *config_map_of(struct config *c, const struct config_node *like, const char *key,
                                  struct config_node *value);

/* The nearest of `count` words by edit distance (Damerau-Levenshtein, at most 2 and less than half the
 * length), or NULL. */
const char *config_suggest(struct slice word, const char *const *words, size_t count);
