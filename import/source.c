#include "import/source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

int source_read(struct arena *a, const char *file, struct slice *out, const char **why)
{
    struct text text = {0};
    char piece[8192];
    FILE *f = fopen(file, "re");
    if (!f) {
        *why = import_printf(a, "%s: %s", file, strerror(errno));
        return -1;
    }
    for (size_t n; text.len <= SOURCE_BYTES_MAX && (n = fread(piece, 1, sizeof piece, f)) > 0;)
        text_add_bytes(&text, piece, n);
    int error = ferror(f) ? errno : 0;
    fclose(f);
    const char *fault = error                                      ? strerror(error)
                        : text.len > SOURCE_BYTES_MAX              ? "more than 16 MiB"
                        : text.len && memchr(text.at, 0, text.len) ? "a NUL byte in it: no text"
                                                                   : NULL;
    if (fault)
        *why = import_printf(a, "%s: %s", file, fault);
    else
        *out = slice_of(import_copy(a, text.len ? text.at : "", text.len), text.len);
    text_free(&text);
    return fault ? -1 : 0;
}

const char *source_path(struct arena *a, const char *file, const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(file, '/');
    if (path[0] == '/')
        return path;
    const char *parent = slash ? import_copy(a, file, (size_t)(slash - file) + 1) : ".";
    if (!realpath(parent, folder))
        return path;
    return import_printf(a, "%s/%s", text_is(folder, "/") ? "" : folder, path);
}
