/* A file read whole. */
#pragma once

#include "import/text.h"

#define SOURCE_BYTES_MAX (16u << 20)

/* 0, or -1 with *why: it cannot be read, is too long, or holds a NUL. */
int source_read(struct arena *a, const char *file, struct slice *out, const char **why);

/* `path` as it is when it is absolute, else below the folder that `file` is in; made absolute. */
const char *source_path(struct arena *a, const char *file, const char *path);
