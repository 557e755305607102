/* Which file answers a path: the one of that name, a directory's index, the fallback. */
#pragma once

#include <sys/stat.h>

#include "core/arena.h"
#include "proxy/http/route.h"

enum files_kind {
    FILES_FILE,          /* open */
    FILES_LISTING,       /* a directory to be listed, open */
    FILES_FORBIDDEN,     /* a directory without an index, which is not to be listed */
    FILES_WITHOUT_SLASH, /* a directory, but the path does not say so */
    FILES_NOTHING,       /* neither it nor a fallback is there */
    FILES_ERROR,         /* it may be there, but cannot be had: see error */
};

struct files_found {
    enum files_kind kind;
    int fd;            /* of a file or listing; the caller's to take (and set to -1). Else -1 */
    int root;          /* the root's, good for files_open(); -1 when it could not be opened */
    int error;         /* an errno; 0 where kind is not FILES_ERROR */
    struct slice path; /* what was opened, below the root; NUL-terminated */
    struct stat st;    /* of what is open */
};

/* `path` is files_path_decode()'s. Blocks as the file system does. Closed by files_found_close(), whatever
 * came of it. */
void files_find(const struct files_settings *s, struct arena *arena, struct slice path, bool is_directory,
                struct files_found *out);
void files_found_close(struct files_found *f);
