#include "admin/explain_files.h"

#include <errno.h>

#include "proxy/http/files_find.h"
#include "proxy/http/files_path.h"

static void tell_error(int error, struct explained_file *out)
{
    bool forbidden = error == EACCES || error == EPERM;
    bool nothing = error == EXDEV || error == ELOOP || error == ENXIO || error == ENODEV;
    out->status = forbidden ? 403 : nothing ? 404 : 500;
    out->text = forbidden                           ? "the file may not be read"
                : error == EXDEV || error == ELOOP  ? "a symbolic link leads out of the root"
                : error == ENXIO || error == ENODEV ? "this is no regular file"
                                                    : "the file cannot be read";
}

static void tell(const struct files_found *found, struct arena *a, struct explained_file *out)
{
    switch (found->kind) {
    case FILES_FILE:
        *out = (struct explained_file){200, arena_copy(a, found->path), (uint64_t)found->st.st_size,
                                       "this file"};
        break;
    case FILES_LISTING:
        *out = (struct explained_file){200, arena_copy(a, found->path), 0, "a listing of this directory"};
        break;
    case FILES_WITHOUT_SLASH:
        *out =
            (struct explained_file){301, S(""), 0, "a directory: redirected to the same path with a slash"};
        break;
    case FILES_FORBIDDEN:
        *out = (struct explained_file){403, S(""), 0, "a directory without an index, and browse is false"};
        break;
    case FILES_NOTHING:
        *out = (struct explained_file){404, S(""), 0, "there is no such file"};
        break;
    case FILES_ERROR:
        tell_error(found->error, out);
    }
}

int explain_file_of(const struct explained *e, struct arena *a, struct explained_file *out)
{
    const struct route *r = e->why.route;
    bool is_directory;
    *out = (struct explained_file){.path = S("")};
    if (!r || r->action != ROUTE_FILES || e->why.action != EXPLAIN_ROUTED || e->why.rewrite_fault)
        return 0;
    if (e->request.request.method_id != METHOD_GET && e->request.request.method_id != METHOD_HEAD) {
        *out = (struct explained_file){405, S(""), 0, "files can only be read: GET, HEAD"};
        return 0;
    }
    char *path = arena_alloc(a, e->why.path.len + 1);
    if (!path)
        return -1;
    ssize_t len = files_path_decode(e->why.path, path, &is_directory);
    if (len < 0) {
        *out = (struct explained_file){len == FILES_PATH_BAD_ESCAPE ? 400 : 404, S(""), 0,
                                       "the path can name no file"};
        return 0;
    }
    struct files_found found;
    files_find(r->files, a, slice_of(path, (size_t)len), is_directory, &found);
    tell(&found, a, out);
    files_found_close(&found);
    return 0;
}
