/* What `weir explain` says of a route that serves files: which one would be sent, as the disk is now. */
#pragma once

#include "admin/explain_text.h"

struct explained_file {
    unsigned status;   /* that the client would get; 0 = the request meets no such route */
    struct slice path; /* below the root; empty = none */
    uint64_t size;
    const char *text; /* static */
};

/* Looks at the disk. 0, or -1 when out of memory. */
int explain_file_of(const struct explained *e, struct arena *a, struct explained_file *out);
