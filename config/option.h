/* Option tables: every module states its options in a table beside the code that uses them - name, type,
 * where the value goes in the module's struct, default, limits, a line of help. This machinery applies a
 * table to a node of the tree (every fault collected, with a suggestion), and prints the same tables as the
 * reference in docs/ and as JSON Schema.
 *
 *     static const struct option tcp_options[] = {
 *         OPTION_AT(struct tcp_settings, idle_ms, "idle", OPTION_DURATION, .fallback = "10m", .help = "…"),
 *     };
 *     static const struct option_table tcp_table = {
 *         .name = "tcp", .options = tcp_options, .count = COUNT_OF(tcp_options),
 *         .size = sizeof(struct tcp_settings),
 *     };
 *
 * A key that is there with null is as one that is absent. A field whose value has a fault keeps its default,
 * so that check() and others can go on; a BLOCK_IF, LIST or MAP that was begun keeps what could be read.
 *
 * Values live in the config's arena: a snapshot that keeps them keeps the config. */
#pragma once

#include "config/tree.h"

enum option_type {
    OPTION_BOOL,     /* bool: true or false, unquoted */
    OPTION_COUNT,    /* uint64_t within [min, max] (max 0 = no limit) */
    OPTION_NUMBER,   /* double within [min, max]; "20%" is 0.2 when OPTION_FLAG_PERCENT is set */
    OPTION_DURATION, /* msec_t: 500ms, 10s, 5m, 1h, 1d; a bare 0 */
    OPTION_SIZE,     /* uint64_t bytes: 16KiB, 8MiB, 1GiB, k, m, g, or a bare number */
    OPTION_TEXT,     /* struct slice, NUL-terminated */
    OPTION_ENUM,     /* int: the index in `choices` */
    OPTION_TEXTS,    /* struct option_texts: one scalar or a list of them */
    OPTION_BLOCK,    /* an embedded struct with `table`; absent = the table's defaults */
    OPTION_BLOCK_IF, /* a pointer to a struct with `table`; absent, null or `false` = NULL; `true` = all
                        defaults when OPTION_FLAG_TRUE is set */
    OPTION_LIST,     /* struct option_list of structs with `table`; a single map counts as a list of one */
    OPTION_MAP, /* struct option_list of structs with `table`: name -> struct. See option_table.name_offset */
    OPTION_PAIRS,  /* struct option_pairs: a map of scalars, in order */
    OPTION_NODE,   /* struct config_node *: left as it is, for what the module reads by itself; NULL if absent
                    */
    OPTION_CUSTOM, /* parse() fills the field */
    OPTION_PLANNED, /* in the contract, but not built: refused with "not supported yet" */
};

enum option_flags {
    OPTION_FLAG_REQUIRED = 1 << 0,
    OPTION_FLAG_PERCENT = 1 << 1, /* a NUMBER that may be written 20% */
    OPTION_FLAG_TRUE = 1 << 2,    /* a BLOCK_IF that may be written `true` */
    OPTION_FLAG_LIST =
        1 << 4, /* a NODE whose `table` (for schema and reference) is of each element of a list */
    OPTION_FLAG_NONEMPTY = 1 << 3,     /* a TEXT, TEXTS, LIST or MAP that may not be empty */
    OPTION_FLAG_SECRET = 1 << 5,       /* never shown: see config_mark_secrets */
    OPTION_FLAG_MAYBE_SECRET = 1 << 6, /* a text: not shown when it looks like a secret */
    OPTION_FLAG_PLAIN = 1 << 7,        /* PAIRS whose names say nothing of secrets: upstreams, hosts */
};

struct option_texts {
    struct slice *at;
    const struct config_node **nodes; /* where each stands, for later faults */
    size_t count;
};

struct option_pair {
    struct slice name, value;
    const struct config_node *node;
};

struct option_pairs {
    struct option_pair *at;
    size_t count;
};

/* Elements of the table's size, one behind the other. */
struct option_list {
    void *at;
    size_t count;
};

struct option_table;

struct option {
    const char *name;
    enum option_type type;
    size_t offset;     /* of the field in the table's struct */
    size_t set_offset; /* of a bool that says whether the file gave it; 0 = none (so never the first field) */
    const char *fallback;       /* the default as it would be written; NULL = the zeroed field */
    double min, max;            /* COUNT, NUMBER (a share: 0.2, not 20), DURATION (ms), SIZE; max 0 = none */
    const char *const *choices; /* ENUM; NULL-terminated */
    const struct option_table *table;
    unsigned flags;
    /* CUSTOM: 0, or -1 after config_fault(). `field` is the address of the field. Called only when the key is
     * there and not null; `fallback` is for the reference and the schema alone. */
    int (*parse)(struct config *c, const struct config_node *node, void *field);
    const char *schema; /* CUSTOM, NODE: a JSON Schema of the value, as text */
    const char *shape;  /* how the value is written, for the reference; NULL = by type */
    const char *help;   /* one or two sentences for the reference */
};

#define OPTION_AT(type_, field_, name_, kind_, ...)                                                          \
    {                                                                                                        \
        .name = (name_), .type = (kind_), .offset = offsetof(type_, field_), __VA_ARGS__                     \
    }

struct option_table {
    const char *name; /* for the reference's heading */
    const char *help;
    const struct option *options;
    size_t count;
    size_t size; /* of the struct */
    /* Where the struct keeps the node that it came from (a const struct config_node *), and for MAP elements
     * the key (a struct slice); SIZE_MAX - or for brevity 0 with no such field - means nowhere: see has_*. */
    bool has_node, has_name;
    size_t node_offset, name_offset;
    /* A scalar instead of the map: the option of that name gets it (`servers: [10.0.0.1:80]`). NULL = not
     * allowed. */
    const char *shorthand;
    /* Called after the fields are filled, for faults between fields; may be NULL. Not called for defaults
     * alone (node NULL); called after faults too. */
    void (*check)(struct config *c, const struct config_node *node, void *object);
};

/* Fills *object (cleared first, then defaults, then the node's keys). node may be NULL: defaults alone. Goes
 * on after a fault, so that all are found. 0, or -1 when this call recorded any fault. */
int option_apply(struct config *c, const struct option_table *table, const struct config_node *node,
                 void *object);

/* Marks what may not be shown in a tree that `table` is for: the values of options with OPTION_FLAG_SECRET,
 * and, where a file chooses the names (header fields and the like), of names that sound like a secret:
 * Authorization, Cookie, X-Api-Key, … Before option_apply(), so that no fault quotes them. */
void config_mark_secrets(const struct option_table *table, struct config_node *node);
/* A name that the file chose, as of a header field: better one value hidden too many than one shown. */
bool config_sounds_secret(struct slice name);
/* `Bearer …`, `http://user:password@host`, `/path?token=…` */
bool config_looks_secret(struct slice text);

/* The value readers, for CUSTOM parsers. 0, or -1 after recording the fault at the node. */
int option_bool(struct config *c, const struct config_node *node, bool *out);
int option_count(struct config *c, const struct config_node *node, double min, double max, uint64_t *out);
int option_number(struct config *c, const struct config_node *node, bool percent, double min, double max,
                  double *out);
int option_duration(struct config *c, const struct config_node *node, msec_t *out);
int option_size(struct config *c, const struct config_node *node, uint64_t *out);
int option_text(struct config *c, const struct config_node *node, struct slice *out);
int option_texts(struct config *c, const struct config_node *node, struct option_texts *out);
int option_pairs(struct config *c, const struct config_node *node, struct option_pairs *out);
int option_choice(struct config *c, const struct config_node *node, const char *const *choices, int *out);

/* JSON Schema (draft 2020-12) of a file whose root is `table`, and the Markdown reference; both go to `write`
 * in pieces. Tables that are used in several places are written once and linked. The schema allows `include`
 * and keys that begin "x-" at the top level, and null and `${NAME}` for every value, as the loader does. */
typedef void option_writer(void *argument, const char *text, size_t len);
void option_schema(const struct option_table *table, option_writer *write, void *argument);
void option_reference(const struct option_table *table, option_writer *write, void *argument);
