#include "proxy/http/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/http/mime.h"

static int read_file(struct config *c, const char *path, struct slice *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = fstat(fd, &st) != 0           ? -errno
                : !S_ISREG(st.st_mode)        ? -EISDIR
                : st.st_size > PAGE_BYTES_MAX ? -EFBIG
                                              : 0;
    char *bytes = error ? NULL : arena_alloc(&c->arena, (size_t)st.st_size + 1);
    if (!error && !bytes)
        error = -ENOMEM;
    size_t got = 0;
    while (!error && got < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + got, (size_t)st.st_size - got);
        if (n < 0 && errno != EINTR)
            error = -errno;
        else if (n == 0)
            break;
        else if (n > 0)
            got += (size_t)n;
    }
    close(fd);
    if (!error)
        *out = slice_of(bytes, got);
    return error;
}

void pages_load(struct config *c, struct route *r)
{
    for (size_t i = 0; i < r->error_count; i++) {
        struct error_page *p = &r->errors[i];
        const char *path = config_relative_path(c, p->node, p->path, CONFIG_READS).at;
        int error = path ? read_file(c, path, &p->body) : -ENOMEM;
        if (error)
            config_fault(c, p->node, "cannot read %s: %s", path ? path : "the page", strerror(-error));
        else
            p->type = mime_type(p->path);
    }
}
