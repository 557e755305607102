#include "proxy/http/files_find.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "proxy/http/files_open.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void files_found_close(struct files_found *f)
{
    close_fd(&f->fd);
    close_fd(&f->root);
}

static enum files_kind failed(struct files_found *f, int error)
{
    close_fd(&f->fd);
    if (error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG)
        return FILES_NOTHING;
    f->error = error;
    return FILES_ERROR;
}

/* Opens f->path. A file, or FILES_LISTING for any directory. */
static enum files_kind open_path(struct files_found *f, int flags)
{
    int fd = files_open(f->root, f->path.at, O_RDONLY | flags);
    if (fd < 0)
        return failed(f, -fd);
    f->fd = fd;
    if (fstat(fd, &f->st) != 0)
        return failed(f, errno);
    if (S_ISREG(f->st.st_mode))
        return FILES_FILE;
    return S_ISDIR(f->st.st_mode) ? FILES_LISTING : failed(f, ENOENT); /* a FIFO, a device */
}

/* "directory/name", the directory perhaps being "". */
static struct slice join(struct arena *a, struct slice directory, struct slice name)
{
    char *text = arena_alloc(a, directory.len + name.len + 2);
    size_t len = directory.len;
    if (!text)
        return (struct slice){0};
    memcpy(text, directory.at, len);
    if (len)
        text[len++] = '/';
    memcpy(text + len, name.at, name.len);
    len += name.len;
    text[len] = '\0';
    return slice_of(text, len);
}

/* The index is tried first, without a look at its directory: mostly it is there. */
static enum files_kind find_directory(const struct files_settings *s, struct arena *arena,
                                      struct files_found *f)
{
    struct slice directory = f->path;
    for (size_t i = 0; i < s->index.count; i++) {
        f->path = join(arena, directory, s->index.at[i]);
        if (!f->path.at)
            return failed(f, ENOMEM);
        enum files_kind kind = open_path(f, 0);
        if (kind == FILES_FILE || kind == FILES_ERROR)
            return kind;
        close_fd(&f->fd);
    }
    f->path = directory;
    enum files_kind kind = open_path(f, O_DIRECTORY);
    return kind == FILES_LISTING && !s->browse ? FILES_FORBIDDEN : kind;
}

static enum files_kind find_fallback(const struct files_settings *s, struct arena *arena,
                                     struct files_found *f)
{
    struct slice path = s->fallback;
    while (path.len && path.at[0] == '/')
        path = slice_skip(path, 1);
    f->path = arena_copy(arena, path);
    if (!f->path.at)
        return failed(f, ENOMEM);
    return open_path(f, 0);
}

void files_find(const struct files_settings *s, struct arena *arena, struct slice path, bool is_directory,
                struct files_found *out)
{
    *out = (struct files_found){.fd = -1, .root = -1, .path = path};
    struct slice root = arena_copy(arena, s->root);
    out->root = root.at ? open(root.at, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (out->root < 0) {
        out->kind = failed(out, root.at ? errno : ENOMEM);
        return;
    }

    enum files_kind kind = is_directory ? find_directory(s, arena, out) : open_path(out, 0);
    if (kind == FILES_LISTING && !is_directory)
        kind = FILES_WITHOUT_SLASH;
    if (s->fallback.len && (kind == FILES_NOTHING || kind == FILES_FORBIDDEN)) {
        close_fd(&out->fd);
        enum files_kind other = find_fallback(s, arena, out);
        if (other == FILES_FILE || other == FILES_ERROR)
            kind = other;
    }
    if (kind != FILES_FILE && kind != FILES_LISTING)
        close_fd(&out->fd);
    out->kind = kind;
}
