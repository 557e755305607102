/* From a request's path to a file's: decoding, and what is refused before the file system is asked. A pure
 * rule; that nothing leads out of the root is seen to a second time when the file is opened (files_open.h).
 */
#pragma once

#include <sys/types.h>

#include "core/slice.h"

enum files_path_fault {
    FILES_PATH_BAD_ESCAPE = -1, /* 400: "%" without two hex digits, or %00 */
    FILES_PATH_REFUSED = -2,    /* 404: no file has that name, or none that may be served */
};

/* Decodes `path` (which begins with "/") once. Refused are empty segments, "." and "..", a slash or a control
 * character that was encoded, and names that begin with a dot, but for .well-known (RFC 8615).
 *
 * `out` has room for path.len bytes at least; it gets the path below the root without slashes at its ends,
 * and a NUL. The length without the NUL, which is 0 for the root itself, or an enum files_path_fault.
 * *is_directory: the path ended with a slash. */
ssize_t files_path_decode(struct slice path, char *out, bool *is_directory);
