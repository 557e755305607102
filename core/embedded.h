/* Files that are part of the program: tables made by tools/embed when building. */
#pragma once

#include "core/slice.h"

/* One file. A table ends with a row whose name is empty. Declare a table where it is used:
 *     extern const struct embedded admin_assets[];
 */
struct embedded {
    struct slice name;   /* path under the folder that was embedded, as "style.css" */
    struct slice digest; /* 16 hex digits of the content's SHA-256: good as an ETag */
    struct slice content;
};
