/* Files: reading one, and `include:`. */
#include "config/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define INCLUDE_DEPTH_MAX 16
#define FILES_MAX         10000

struct file_id {
    dev_t device;
    ino_t inode;
    bool open; /* it or what it includes is being read */
};

struct load {
    struct config *c;
    size_t nodes_left;
    struct file_id *files;
    size_t file_count, file_capacity;
    unsigned depth;
    int rc; /* the worst so far: 0, 1 faults, -1 no tree */
};

/* The identity of what is read: of the disk's file, or as it was when the text was kept. */
struct identity {
    dev_t device;
    ino_t inode;
};

static void load_file(struct load *load, const char *path, const struct config_node *at);
static void load_includes(struct load *load, struct config_node *include);

static void worsen(struct load *load, int rc)
{
    if (load->rc >= 0 && rc)
        load->rc = rc;
}

static void out_of_memory(struct load *load)
{
    load->c->out_of_memory = true;
    worsen(load, -1);
}

/* A file that cannot be had: where it is asked for, or as a whole when that was the command line. */
__attribute__((format(printf, 4, 5))) static void
file_fault(struct load *load, const char *path, const struct config_node *at, const char *format, ...)
{
    char words[256];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    if (at)
        config_fault(load->c, at, "%s: %s", path, words);
    else
        config_fault_place(load->c, path, 0, 0, "%s", words);
    worsen(load, at ? 1 : -1); /* without one of its parts, the rest can still be checked */
}

/* Everything up to the end, for pipes too. `*text` is the caller's to free. 0, or -1 with errno; EFBIG past
 * the limit. */
static int read_all(int fd, char **text, size_t *len)
{
    size_t capacity = 65536;
    char *bytes = malloc(capacity);
    *len = 0;
    while (bytes) {
        ssize_t n = read(fd, bytes + *len, capacity - *len);
        if (n == 0) {
            *text = bytes;
            return 0;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        *len += (size_t)n;
        if (*len > CONFIG_FILE_BYTES_MAX) {
            errno = EFBIG;
            break;
        }
        if (*len == capacity) {
            char *larger = realloc(bytes, capacity * 2);
            if (!larger)
                break;
            bytes = larger;
            capacity *= 2;
        }
    }
    int error = errno;
    free(bytes);
    errno = error;
    return -1;
}

/* True when the file is to be read: not yet read, and not one of those that ask for it. */
static bool admit(struct load *load, const char *path, const struct config_node *at, struct identity id,
                  size_t *index)
{
    for (size_t i = 0; i < load->file_count; i++) {
        if (load->files[i].device != id.device || load->files[i].inode != id.inode)
            continue;
        if (load->files[i].open)
            file_fault(load, path, at, "includes itself");
        return false;
    }
    if (load->file_count == FILES_MAX || load->depth == INCLUDE_DEPTH_MAX) {
        file_fault(load, path, at,
                   load->depth == INCLUDE_DEPTH_MAX ? "includes are nested more than 16 deep"
                                                    : "more than 10000 files are included");
        return false;
    }
    if (load->file_count == load->file_capacity) {
        size_t capacity = load->file_capacity ? load->file_capacity * 2 : 16;
        struct file_id *larger = realloc(load->files, capacity * sizeof *larger);
        if (!larger) {
            out_of_memory(load);
            return false;
        }
        load->files = larger;
        load->file_capacity = capacity;
    }
    *index = load->file_count++;
    load->files[*index] = (struct file_id){id.device, id.inode, true};
    return true;
}

/* The x- keys go, once every alias to them is resolved; `include` comes back apart. */
static struct config_node *take_own_keys(struct config_node *root)
{
    struct config_node *include = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < root->count; i++) {
        struct config_node *item = root->items[i];
        if (slice_equal(item->key, S("include")))
            include = item;
        else if (!slice_begins(item->key, S("x-")))
            root->items[kept++] = item;
    }
    root->count = kept;
    return include;
}

/* One text becomes the root or goes into it. *include: what it includes. */
static int add_text(struct config *c, const struct yaml_source *source, struct config_node **include)
{
    struct config_node *root = NULL;
    int rc = yaml_read(c, source, &root);
    if (rc < 0)
        return -1;
    if (!root || root->kind == NODE_NULL) {
        root = node_new(c, NODE_MAP, source->file, 1, 1);
        if (!root) {
            c->out_of_memory = true;
            return -1;
        }
    }
    if (root->kind != NODE_MAP) {
        config_fault(c, root, "a configuration is a map, written \"name: value\" line by line; found %s",
                     node_describe(c, root));
        return -1;
    }
    *include = take_own_keys(root);
    if (!c->root) {
        c->root = root;
        return rc;
    }
    int merged = merge_file(c, c->root, root);
    if (merged < 0)
        c->out_of_memory = true;
    return merged < 0 ? -1 : rc | merged;
}

static void load_text(struct load *load, const char *path, struct slice text)
{
    struct yaml_source source = {.file = path, .text = text, .expand = true, .nodes_left = &load->nodes_left};
    struct config_node *include = NULL;
    int rc = add_text(load->c, &source, &include);
    worsen(load, rc);
    if (rc >= 0 && include) {
        load->depth++;
        load_includes(load, include);
        load->depth--;
    }
}

/* From what is kept in place of the disk. */
static void load_kept(struct load *load, const char *path, const struct config_node *at)
{
    const struct config_source_file *f = config_source_find(load->c->kept, path);
    size_t index;
    if (!f) {
        file_fault(load, path, at, "is not among the files that were kept");
    } else if (admit(load, path, at, (struct identity){f->device, f->inode}, &index)) {
        load_text(load, path, slice_of(f->text, f->len));
        load->files[index].open = false;
    }
}

/* Kept before it is parsed, for what it includes follows on it. */
static void take_text(struct load *load, const char *path, struct identity id, struct slice text)
{
    struct config_source *keep = load->c->keep;
    if (keep && config_source_add(keep, path, id.device, id.inode, text) != 0)
        out_of_memory(load);
    load_text(load, path, text);
}

static void load_file(struct load *load, const char *path, const struct config_node *at)
{
    struct stat st;
    size_t index, len;
    char *text;
    config_name_path(load->c, at, path, CONFIG_READS);
    if (load->c->kept) {
        load_kept(load, path, at);
        return;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st)) {
        file_fault(load, path, at, "cannot be read: %s", strerrordesc_np(errno));
    } else if (admit(load, path, at, (struct identity){st.st_dev, st.st_ino}, &index)) {
        if (read_all(fd, &text, &len)) {
            file_fault(load, path, at, "cannot be read: %s",
                       errno == EFBIG ? "it is larger than 16 MiB" : strerrordesc_np(errno));
        } else {
            take_text(load, path, (struct identity){st.st_dev, st.st_ino}, slice_of(text, len));
            free(text);
        }
        load->files[index].open = false;
    }
    if (fd >= 0)
        close(fd);
}

/* The directory of the including file, with what glob() would take for a pattern escaped, then the pattern.
 */
static char *beside(struct config *c, const struct config_node *at)
{
    const char *slash = strrchr(at->file, '/');
    if (!slash || slice_begins(at->text, S("/")))
        return arena_printf(&c->arena, "%.*s", SLICE_FMT(at->text));
    size_t len = (size_t)(slash - at->file) + 1, used = 0;
    char *path = arena_alloc(&c->arena, len * 2 + at->text.len + 1);
    if (!path)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (strchr("*?[]\\", at->file[i]))
            path[used++] = '\\';
        path[used++] = at->file[i];
    }
    memcpy(path + used, at->text.at, at->text.len);
    path[used + at->text.len] = 0;
    return path;
}

/* Where files may appear that the pattern matches. */
static const char *folder_of_pattern(struct config *c, const char *pattern)
{
    size_t len = strcspn(pattern, "*?[\\");
    while (len && pattern[len - 1] != '/')
        len--;
    return len ? arena_printf(&c->arena, "%.*s", (int)len, pattern) : ".";
}

static void load_found(struct load *load, const struct config_node *at, char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct slice path = arena_copy(&load->c->arena, slice_text(paths[i]));
        if (path.at)
            load_file(load, path.at, at);
        else
            out_of_memory(load);
    }
}

static void load_pattern(struct load *load, const struct config_node *at)
{
    char *pattern = beside(load->c, at);
    if (!pattern) {
        out_of_memory(load);
        return;
    }
    glob_t found;
    const char *folder = folder_of_pattern(load->c, pattern);
    if (folder)
        config_name_path(load->c, at, folder, CONFIG_READS);
    if (load->c->kept) {
        const struct config_source_match *m = config_source_find_match(load->c->kept, pattern);
        load_found(load, at, m ? m->paths : NULL, m ? m->count : 0);
        return;
    }
    int rc = glob(pattern, 0, NULL, &found);
    /* A pattern may match nothing; a name without wildcards means a file. */
    if (rc == GLOB_NOMATCH && !strpbrk(at->text.at, "*?["))
        file_fault(load, config_quote(load->c, at->text), at, "there is no such file");
    else if (rc == GLOB_NOMATCH)
        config_warn(load->c, at, "%s matches no file now", config_quote(load->c, at->text));
    else if (rc)
        file_fault(load, config_quote(load->c, at->text), at, "cannot be read");
    if (!rc && load->c->keep &&
        config_source_add_match(load->c->keep, pattern, found.gl_pathv, found.gl_pathc) != 0)
        out_of_memory(load);
    if (!rc)
        load_found(load, at, found.gl_pathv, found.gl_pathc);
    globfree(&found);
}

static void load_includes(struct load *load, struct config_node *include)
{
    bool is_list = include->kind == NODE_LIST;
    if (include->kind == NODE_NULL)
        return;
    for (size_t i = 0; i < (is_list ? include->count : 1); i++) {
        const struct config_node *at = is_list ? include->items[i] : include;
        if (at->kind == NODE_SCALAR && at->text.len) {
            if (!at->faulty)
                load_pattern(load, at);
            continue;
        }
        config_fault(load->c, at,
                     "expected a file or a pattern, written conf.d/*.yaml, or a list of them; found %s",
                     node_describe(load->c, at));
        worsen(load, 1);
    }
}

static int finish(struct config *c, int rc)
{
    if (rc < 0)
        c->root = NULL;
    return rc ? -1 : 0;
}

int config_load(struct config *c, const char *path)
{
    struct load load = {.c = c, .nodes_left = CONFIG_NODES_MAX};
    struct slice name = arena_copy(&c->arena, slice_text(path));
    if (name.at)
        load_file(&load, name.at, NULL);
    else
        out_of_memory(&load);
    free(load.files);
    return finish(c, load.rc);
}

int config_parse(struct config *c, const char *name, struct slice text)
{
    size_t nodes_left = CONFIG_NODES_MAX;
    struct slice file = arena_copy(&c->arena, slice_text(name));
    if (!file.at || text.len > CONFIG_FILE_BYTES_MAX) {
        config_fault_place(c, "", 0, 0, "the configuration is larger than 16 MiB");
        return finish(c, -1);
    }
    struct yaml_source source = {.file = file.at, .text = text, .expand = true, .nodes_left = &nodes_left};
    struct config_node *include = NULL;
    int rc = add_text(c, &source, &include);
    if (rc >= 0 && include) {
        config_fault_key(c, include, "only a file can include others");
        rc = 1;
    }
    return finish(c, rc);
}

int config_parse_value(struct config *c, const char *name, struct slice text)
{
    size_t nodes_left = CONFIG_NODES_MAX;
    struct slice file = arena_copy(&c->arena, slice_text(name));
    if (!file.at)
        return finish(c, -1);
    struct yaml_source source = {.file = file.at, .text = text, .nodes_left = &nodes_left};
    return finish(c, yaml_read(c, &source, &c->root));
}
