#include "proxy/http/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/http/files_open.h"

/* Reading. */

/* A name that no request can ask for is not shown (files_path.h). */
static bool is_shown(const char *name)
{
    if (name[0] == '.')
        return false;
    for (; *name; name++)
        if ((unsigned char)*name < ' ' || *name == 0x7f)
            return false;
    return true;
}

/* What the name stands for. A symbolic link is looked at as a request would follow it: one that leads out is
 * not there. */
static int look(int root, const char *path, int directory, const char *name, struct stat *st)
{
    if (fstatat(directory, name, st, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    if (!S_ISLNK(st->st_mode))
        return 0;
    char *whole;
    if (asprintf(&whole, "%s%s%s", path, *path ? "/" : "", name) < 0)
        return -1;
    int fd = files_open(root, whole, O_PATH);
    free(whole);
    if (fd < 0)
        return -1;
    int error = fstat(fd, st);
    close(fd);
    return error;
}

static int add(struct listing *l, const char *name, const struct stat *st)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 64;
        struct listing_entry *at = realloc(l->at, capacity * sizeof *at);
        if (!at)
            return -1;
        l->at = at;
        l->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        return -1;
    l->at[l->count++] = (struct listing_entry){
        .name = copy,
        .name_len = strlen(copy),
        .size = (uint64_t)st->st_size,
        .modified = st->st_mtim.tv_sec,
        .is_directory = S_ISDIR(st->st_mode),
    };
    return 0;
}

int listing_read(int root, const char *path, int directory, struct listing *out)
{
    *out = (struct listing){0};
    DIR *d = fdopendir(directory);
    if (!d) {
        close(directory);
        return -1;
    }
    int error = 0;
    for (;;) {
        struct stat st;
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) {
            error = errno;
            break;
        }
        if (!is_shown(e->d_name) || look(root, path, directory, e->d_name, &st) != 0 ||
            (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
            continue;
        out->is_cut = out->count == LISTING_MAX;
        if (out->is_cut)
            break;
        if (add(out, e->d_name, &st) != 0) {
            error = ENOMEM;
            break;
        }
    }
    closedir(d);
    errno = error;
    return error ? -1 : 0;
}

void listing_free(struct listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->at[i].name);
    free(l->at);
    *l = (struct listing){0};
}

/* Writing. */

static int compare(const void *left, const void *right)
{
    const struct listing_entry *a = left, *b = right;
    if (a->is_directory != b->is_directory)
        return a->is_directory ? -1 : 1;
    return strcmp(a->name, b->name);
}

static void put_html(FILE *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        switch (text.at[i]) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            fputc(text.at[i], out);
        }
    }
}

/* As a segment of a path (RFC 3986 §2.3); what comes of it is safe within an attribute. */
static void put_segment(FILE *out, struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.at[i];
        bool plain = (c >= '0' && c <= '9') || (ascii_lower((char)c) >= 'a' && ascii_lower((char)c) <= 'z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        fprintf(out, plain ? "%c" : "%%%02X", c);
    }
}

static void put_size(FILE *out, uint64_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (size < 1024) {
        fprintf(out, "%u B", (unsigned)size);
        return;
    }
    double value = (double)size / 1024;
    unsigned unit = 0;
    for (; value >= 1024; unit++)
        value /= 1024;
    fprintf(out, "%.1f %s", value, units[unit]);
}

static void put_date(FILE *out, int64_t seconds)
{
    time_t at = (time_t)seconds;
    struct tm tm;
    char text[32];
    if (gmtime_r(&at, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M", &tm))
        fputs(text, out);
}

static void put_entry(FILE *out, const struct listing_entry *e)
{
    struct slice name = slice_of(e->name, e->name_len), slash = e->is_directory ? S("/") : S("");
    /* "./": or else "a:b" would be read as a scheme. */
    fputs("<tr><td><a href=\"./", out);
    put_segment(out, name);
    fprintf(out, "%.*s\">", SLICE_FMT(slash));
    put_html(out, name);
    fprintf(out, "%.*s</a></td><td>", SLICE_FMT(slash));
    if (!e->is_directory)
        put_size(out, e->size);
    fputs("</td><td>", out);
    put_date(out, e->modified);
    fputs("</td></tr>\n", out);
}

struct slice listing_html(struct listing *l, struct slice path)
{
    char *page = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&page, &len);
    if (!out)
        return (struct slice){0};
    if (l->count)
        qsort(l->at, l->count, sizeof *l->at, compare);

    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width\"><title>",
          out);
    put_html(out, path);
    fputs(
        "</title>\n<style>body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:56em;padding:0 "
        "1em;color:#333}"
        "h1{font-size:1.3em;font-weight:600;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}"
        "td{padding:.15em 1em .15em 0;overflow-wrap:anywhere}td+td{white-space:nowrap;text-align:right}"
        "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}</style>\n</"
        "head><body><h1>",
        out);
    put_html(out, path);
    fputs("</h1>\n<table>\n", out);
    if (!slice_equal(path, S("/")))
        fputs("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n", out);
    for (size_t i = 0; i < l->count; i++)
        put_entry(out, &l->at[i]);
    fputs("</table>\n", out);
    if (l->is_cut)
        fprintf(out, "<p>There is more: %u entries are shown.</p>\n", LISTING_MAX);
    fputs("</body></html>\n", out);

    bool failed = ferror(out) != 0;
    failed = fclose(out) != 0 || failed;
    if (failed) {
        free(page);
        return (struct slice){0};
    }
    return slice_of(page, len);
}
