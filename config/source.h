/* The files of a configuration as they were when it was read, byte for byte: the file, what it includes, and
 * which files its patterns matched. config_load() fills one (struct config.keep) or reads from one in place
 * of the disk (struct config.kept), so that a configuration can be built again although its files have
 * changed since.
 *
 * Counted; one thread. */
#pragma once

#include <sys/types.h>

#include "core/slice.h"

struct config_source;

struct config_source_file {
    char *path;
    dev_t device; /* which file it was: one that is included twice is read once */
    ino_t inode;
    char *text;
    size_t len;
};

struct config_source_match {
    char *pattern;
    char **paths;
    size_t count;
};

/* An empty one, held once. NULL when out of memory. */
struct config_source *config_source_create(void);
struct config_source *config_source_hold(struct config_source *s);
/* NULL is allowed. */
void config_source_release(struct config_source *s);

/* Adding: 0, or -1 when out of memory. The text is copied. */
int config_source_add(struct config_source *s, const char *path, dev_t device, ino_t inode,
                      struct slice text);
int config_source_add_match(struct config_source *s, const char *pattern, char *const *paths, size_t count);

/* NULL: it was not read. */
const struct config_source_file *config_source_find(const struct config_source *s, const char *path);
const struct config_source_match *config_source_find_match(const struct config_source *s,
                                                           const char *pattern);

size_t config_source_bytes(const struct config_source *s);
/* Of the files' bytes in the order in which they were read, wherever they stood: the same on every machine.
 */
uint64_t config_source_hash(const struct config_source *s);
/* The same files with the same bytes. */
bool config_source_equal(const struct config_source *a, const struct config_source *b);
