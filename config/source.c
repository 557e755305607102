#include "config/source.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "config/names.h"

struct config_source {
    unsigned references;
    struct config_source_file *files;
    size_t file_count, file_capacity;
    struct config_source_match *matches;
    size_t match_count, match_capacity;
    size_t bytes;
    struct name_table index; /* of paths: the place in files, from 1 */
};

struct config_source *config_source_create(void)
{
    struct config_source *s = calloc(1, sizeof *s);
    if (s)
        s->references = 1;
    return s;
}

struct config_source *config_source_hold(struct config_source *s)
{
    s->references++;
    return s;
}

static void free_match(struct config_source_match *m)
{
    for (size_t i = 0; m->paths && i < m->count; i++)
        free(m->paths[i]);
    free(m->paths);
    free(m->pattern);
}

void config_source_release(struct config_source *s)
{
    if (!s || --s->references)
        return;
    for (size_t i = 0; i < s->file_count; i++) {
        free(s->files[i].path);
        free(s->files[i].text);
    }
    for (size_t i = 0; i < s->match_count; i++)
        free_match(&s->matches[i]);
    name_table_free(&s->index);
    free(s->files);
    free(s->matches);
    free(s);
}

/* Room for one more. */
static int grow(void **at, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return 0;
    size_t more = *capacity ? *capacity * 2 : 4;
    void *larger = realloc(*at, more * size);
    if (!larger)
        return -1;
    *at = larger;
    *capacity = more;
    return 0;
}

int config_source_add(struct config_source *s, const char *path, dev_t device, ino_t inode, struct slice text)
{
    struct config_source_file f = {strdup(path), device, inode, malloc(text.len + 1), text.len};
    void *files = s->files;
    if (!f.path || !f.text || grow(&files, s->file_count, &s->file_capacity, sizeof f) != 0) {
        free(f.path);
        free(f.text);
        return -1;
    }
    if (text.len)
        memcpy(f.text, text.at, text.len);
    f.text[text.len] = 0;
    s->files = files;
    s->files[s->file_count++] = f;
    s->bytes += text.len + strlen(path);
    struct name_slot *slot = name_table_add(&s->index, slice_text(f.path));
    if (!slot)
        return -1;
    if (!slot->value)
        slot->value = (void *)(uintptr_t)s->file_count;
    return 0;
}

int config_source_add_match(struct config_source *s, const char *pattern, char *const *paths, size_t count)
{
    struct config_source_match m = {strdup(pattern), calloc(count + 1, sizeof(char *)), count};
    bool complete = m.pattern && m.paths;
    for (size_t i = 0; m.paths && i < count; i++) {
        m.paths[i] = strdup(paths[i]);
        complete = complete && m.paths[i];
    }
    void *matches = s->matches;
    if (!complete || grow(&matches, s->match_count, &s->match_capacity, sizeof m) != 0) {
        free_match(&m);
        return -1;
    }
    s->matches = matches;
    s->matches[s->match_count++] = m;
    return 0;
}

const struct config_source_file *config_source_find(const struct config_source *s, const char *path)
{
    size_t place = (size_t)(uintptr_t)name_table_get(&s->index, slice_text(path));
    return place ? &s->files[place - 1] : NULL;
}

const struct config_source_match *config_source_find_match(const struct config_source *s, const char *pattern)
{
    for (size_t i = 0; i < s->match_count; i++)
        if (strcmp(s->matches[i].pattern, pattern) == 0)
            return &s->matches[i];
    return NULL;
}

size_t config_source_bytes(const struct config_source *s)
{
    return s->bytes;
}

uint64_t config_source_hash(const struct config_source *s)
{
    uint64_t hash = s->file_count;
    for (size_t i = 0; i < s->file_count; i++)
        hash = XXH3_64bits_withSeed(s->files[i].text, s->files[i].len, hash);
    return hash;
}

bool config_source_equal(const struct config_source *a, const struct config_source *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->file_count != b->file_count || a->bytes != b->bytes)
        return false;
    for (size_t i = 0; i < a->file_count; i++)
        if (a->files[i].len != b->files[i].len || strcmp(a->files[i].path, b->files[i].path) != 0 ||
            memcmp(a->files[i].text, b->files[i].text, a->files[i].len) != 0)
            return false;
    return true;
}
