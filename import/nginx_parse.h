/* nginx's grammar: directives of words, ended by `;` or followed by a block; quotes, `\` escapes, `${…}` in
 * words, comments; files of `include` take its place. Nothing is known here of what a directive means. */
#pragma once

#include "import/text.h"

struct ng {
    const char *name;
    const char **args;
    size_t arg_count;
    bool is_block, done; /* done: converted, or reported */
    const char *file;
    unsigned line;
    struct ng *parent, *children, *next;
};

#define NG_DEPTH_MAX 32
#define NG_FILES_MAX 1000

/* One text, no includes. The root is a block without a name. NULL with *why ("FILE:LINE: …") when it is
 * malformed. */
struct ng *nginx_parse(struct arena *a, const char *file, struct slice text, const char **why);

/* A file with all that it includes: patterns count from the file's own folder, as nginx counts from that of
 * nginx.conf, and from the folder above it for one of sites-available and the like. */
struct ng *nginx_load(struct arena *a, const char *file, const char **why);

/* The first, and the next, child of that name. */
struct ng *ng_child(const struct ng *block, const char *name);
struct ng *ng_next(const struct ng *d);
