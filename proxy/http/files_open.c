#include "proxy/http/files_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/slice.h"

#define TRIES 8 /* while directories are being renamed; see EAGAIN in openat2(2) */

static int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    for (int i = 0; i < TRIES; i++) {
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return -errno;
}

/* Opens one segment of a path, which is no symbolic link. */
static int open_segment(int directory, struct slice segment, int flags)
{
    char name[256];
    if (segment.len >= sizeof name)
        return -ENAMETOOLONG;
    if (segment.len == 0 || slice_equal(segment, S("..")))
        return -EXDEV;
    memcpy(name, segment.at, segment.len);
    name[segment.len] = '\0';
    int fd = openat(directory, name, flags | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int files_open_by_segments(int root, const char *path, int flags)
{
    struct slice rest = slice_text(path);
    int directory = root;
    for (;;) {
        size_t len = slice_find(rest, '/');
        bool is_last = len == rest.len;
        int fd = open_segment(directory, slice_of(rest.at, len),
                              is_last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory != root)
            close(directory);
        if (fd < 0 || is_last)
            return fd;
        directory = fd;
        rest = slice_skip(rest, len + 1);
    }
}

int files_open(int root, const char *path, int flags)
{
    flags |= O_CLOEXEC;
    if (!(flags & O_PATH)) /* openat2 refuses flags that mean nothing */
        flags |= O_NONBLOCK | O_NOCTTY;
    if (*path == '\0')
        path = ".";
    int fd = open_beneath(root, path, flags);
    /* EPERM: what filters of system calls in old containers say. */
    return fd == -ENOSYS || fd == -EPERM ? files_open_by_segments(root, path, flags) : fd;
}
