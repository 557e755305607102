#include "tls/files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int remember(struct tls_files *f, const char *path, const struct stat *st);
static int read_all(int fd, size_t size, struct slice *out);

int tls_file_read(struct tls_files *f, const char *path, struct slice *out)
{
    struct stat st;
    /* A FIFO would block the open. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        bool known = stat(path, &st) == 0;
        if (remember(f, path, known ? &st : NULL) != 0)
            error = ENOMEM;
        errno = error;
        return -1;
    }

    int error = remember(f, path, &st);
    if (error == 0 && S_ISDIR(st.st_mode))
        error = EISDIR;
    else if (error == 0 && !S_ISREG(st.st_mode))
        error = EINVAL;
    else if (error == 0 && st.st_size > TLS_FILE_BYTES_MAX)
        error = EFBIG;
    else if (error == 0)
        error = read_all(fd, (size_t)st.st_size, out);
    close(fd);
    errno = error;
    return error ? -1 : 0;
}

/* 0 or an errno. What is longer than stat said was appended meanwhile: the change is noticed later. */
static int read_all(int fd, size_t size, struct slice *out)
{
    char *bytes = malloc(size + 1);
    if (!bytes)
        return ENOMEM;
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, bytes + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            free(bytes);
            return error;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    bytes[len] = '\0';
    *out = slice_of(bytes, len);
    return 0;
}

void tls_file_release(struct slice *content)
{
    char *bytes = (char *)(uintptr_t)content->at;
    if (bytes)
        OPENSSL_cleanse(bytes, content->len);
    free(bytes);
    *content = slice_of(NULL, 0);
}

static void describe(struct tls_file *f, const struct stat *st)
{
    f->exists = st != NULL;
    if (!st)
        return;
    f->device = st->st_dev;
    f->inode = st->st_ino;
    f->size = st->st_size;
    f->modified_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* 0 or an errno. */
static int remember(struct tls_files *f, const char *path, const struct stat *st)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->at[i].path, path) == 0)
            return 0;
    }
    if (f->count == f->capacity) {
        size_t capacity = f->capacity ? f->capacity * 2 : 8;
        struct tls_file *at = realloc(f->at, capacity * sizeof *at);
        if (!at)
            return ENOMEM;
        f->at = at;
        f->capacity = capacity;
    }
    struct tls_file file = {.path = strdup(path)};
    if (!file.path)
        return ENOMEM;
    describe(&file, st);
    f->at[f->count++] = file;
    return 0;
}

bool tls_files_changed(const struct tls_files *f)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct tls_file *old = &f->at[i];
        struct tls_file now = {0};
        struct stat st;
        describe(&now, stat(old->path, &st) == 0 ? &st : NULL);
        if (now.exists != old->exists || now.device != old->device || now.inode != old->inode ||
            now.size != old->size || now.modified_ns != old->modified_ns)
            return true;
    }
    return false;
}

void tls_files_free(struct tls_files *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->at[i].path);
    free(f->at);
    *f = (struct tls_files){0};
}
