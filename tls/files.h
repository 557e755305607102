/* The files that a tls_server or tls_client was made of: read whole, and remembered by what stat(2) says, so
 * that a change can be noticed later. */
#pragma once

#include <sys/types.h>

#include "config/tree.h"

#define TLS_FILE_BYTES_MAX (16u << 20)

struct tls_file {
    char *path;
    bool exists;
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t modified_ns;
};

struct tls_files {
    struct tls_file *at;
    size_t count, capacity;
};

/* Reads the file and remembers it (also when it is not there). `*out` is NUL-terminated; tls_file_release()
 * it. 0, or -1 with errno. */
int tls_file_read(struct tls_files *f, const char *path, struct slice *out);

/* Clears and frees: it may have held a key. */
void tls_file_release(struct slice *content);

bool tls_files_changed(const struct tls_files *f);
void tls_files_free(struct tls_files *f);
