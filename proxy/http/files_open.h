/* Opens what lies below a directory, and nothing else: no "..", no absolute path and no symbolic link leads
 * out of it. The kernel sees to that while it walks the path (openat2(2), Linux 5.6), so that nothing can be
 * swapped between a look and the opening. Where the call is not there or not allowed, no symbolic link is
 * followed at all. */
#pragma once

/* `path` is relative and NUL-terminated, "" for the directory itself; flags as open(2)'s. Never waits for a
 * FIFO's other end. A descriptor (close-on-exec), or -errno; -EXDEV when the path leads out. */
int files_open(int root, const char *path, int flags);

/* What files_open does without openat2(2): one directory after the other. */
int files_open_by_segments(int root, const char *path, int flags);
