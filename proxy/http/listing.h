/* The page that shows what is in a directory (`browse: true`). */
#pragma once

#include "core/slice.h"

#define LISTING_MAX 4096 /* entries; the page says when there are more */

struct listing_entry {
    char *name;
    size_t name_len;
    uint64_t size;    /* of a file, in bytes */
    int64_t modified; /* seconds since the epoch */
    bool is_directory;
};

struct listing {
    struct listing_entry *at;
    size_t count, capacity;
    bool is_cut; /* there were more than LISTING_MAX */
};

/* Reads `directory`, which is open for reading and lies at `path` (relative; "" for the root itself) below
 * `root`: what a request could get, and no more. Takes the descriptor over. 0, or -1 (errno); listing_free
 * either way. */
int listing_read(int root, const char *path, int directory, struct listing *out);
void listing_free(struct listing *l);

/* Sorts l, directories first, and writes it as HTML. `path` is the decoded path of the request: the page's
 * heading, and "/" has no parent. A malloc'ed page, or {NULL, 0} when out of memory. */
struct slice listing_html(struct listing *l, struct slice path);
