#include "proxy/generation.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "core/hash.h"

#define DIGEST_FILE_MAX (4u << 20) /* larger ones are no certificates */

const char *generation_result_text(enum generation_result r)
{
    static const char *const texts[] = {"active",   "on trial",    "confirmed",
                                        "replaced", "rolled back", "refused"};
    return texts[r];
}

static void clear(struct generation *g)
{
    free(g->reason);
    free(g->words);
    config_source_release(g->source);
    for (size_t i = 0; i < g->file_count; i++)
        free(g->files[i].path);
    free(g->files);
}

void generations_free(struct generations *g)
{
    for (size_t i = 0; i < g->count; i++)
        clear(&g->at[i]);
    g->count = 0;
}

static void drop_oldest(struct generations *g)
{
    clear(&g->at[0]);
    g->count--;
    memmove(g->at, g->at + 1, g->count * sizeof g->at[0]);
}

static size_t count_numbered(const struct generations *g)
{
    size_t count = 0;
    for (size_t i = 0; i < g->count; i++)
        count += g->at[i].number != 0;
    return count;
}

/* What was refused is dropped before the first that was in force; so are those that came before it. */
static void trim(struct generations *g)
{
    while (count_numbered(g) > GENERATIONS_KEPT)
        drop_oldest(g);
    while (g->count && count_numbered(g) == GENERATIONS_KEPT && g->at[0].number == 0)
        drop_oldest(g);
}

static void drop_refused(struct generations *g)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->at[i].number)
            continue;
        clear(&g->at[i]);
        g->count--;
        memmove(g->at + i, g->at + i + 1, (g->count - i) * sizeof g->at[0]);
        return;
    }
    drop_oldest(g);
}

/* The texts of several may be one. The newest two stay: what is in force, and what a trial falls back to. */
static void bound_bytes(struct generations *g)
{
    size_t bytes = 0, seen = 0;
    for (size_t i = g->count; i-- > 0;) {
        struct generation *one = &g->at[i];
        if (!one->source)
            continue;
        bool again = false;
        for (size_t k = i + 1; k < g->count; k++)
            again = again || g->at[k].source == one->source;
        bytes += again ? 0 : config_source_bytes(one->source);
        if (++seen > 2 && bytes > GENERATIONS_BYTES) {
            config_source_release(one->source);
            one->source = NULL;
        }
    }
}

/* Whole lines of it, and whether there were more. */
static char *copy(const char *text)
{
    size_t len = text ? strlen(text) : 0, end = len;
    char *cut = NULL;
    if (len <= GENERATION_WORDS)
        return strdup(text ? text : "");
    for (end = GENERATION_WORDS; end && text[end - 1] != '\n';)
        end--;
    return asprintf(&cut, "%.*s… and more\n", (int)end, text) < 0 ? NULL : cut;
}

struct generation *generations_add(struct generations *g, const struct generation *like)
{
    struct generation fresh = *like;
    fresh.reason = copy(like->reason);
    fresh.words = copy(like->words);
    fresh.source = like->source ? config_source_hold(like->source) : NULL;
    if (!fresh.reason || !fresh.words) {
        clear(&fresh);
        return NULL;
    }
    if (g->count == GENERATIONS_ALL)
        drop_refused(g);
    g->at[g->count++] = fresh;
    trim(g);
    bound_bytes(g);
    return &g->at[g->count - 1];
}

struct generation *generations_find(struct generations *g, uint64_t number)
{
    for (size_t i = 0; i < g->count && number; i++)
        if (g->at[i].number == number)
            return &g->at[i];
    return NULL;
}

struct generation *generations_newest(struct generations *g)
{
    for (size_t i = g->count; i-- > 0;)
        if (g->at[i].number)
            return &g->at[i];
    return NULL;
}

struct generation *generations_before(struct generations *g, uint64_t number)
{
    for (size_t i = g->count; i-- > 0;)
        if (g->at[i].number && g->at[i].number < number)
            return &g->at[i];
    return NULL;
}

void generation_end(struct generation *g, enum generation_result result, const char *reason)
{
    char *text = reason ? copy(reason) : NULL;
    g->result = result;
    if (!text)
        return;
    free(g->reason);
    g->reason = text;
}

/* Digests. */

static void digest_file(const char *path, unsigned char out[32])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char piece[16384];
    ssize_t n = -1;
    memset(out, 0, 32);
    if (md && fd >= 0 && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
        while ((n = read(fd, piece, sizeof piece)) > 0)
            EVP_DigestUpdate(md, piece, (size_t)n);
        if (n == 0)
            EVP_DigestFinal_ex(md, out, NULL);
    }
    if (fd >= 0)
        close(fd);
    EVP_MD_CTX_free(md);
}

static bool is_small_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= DIGEST_FILE_MAX;
}

void generation_digest(struct generation *g, const struct config *c, const struct config_source *source)
{
    struct table *seen = table_create();
    g->files = calloc(c->named_count + 1, sizeof *g->files);
    for (size_t i = 0; seen && g->files && i < c->named_count; i++) {
        const struct config_named *n = &c->named[i];
        uint64_t ignored;
        if (n->use != CONFIG_READS || table_get(seen, slice_text(n->path), &ignored) ||
            table_put(seen, slice_text(n->path), 1) != 0 || config_source_find(source, n->path) ||
            !is_small_file(n->path))
            continue;
        struct generation_file *f = &g->files[g->file_count];
        f->path = strdup(n->path);
        if (!f->path)
            break;
        digest_file(f->path, f->digest);
        g->file_count++;
    }
    table_free(seen);
}

static const struct generation_file *find_file(const struct generation *g, const char *path)
{
    for (size_t i = 0; i < g->file_count; i++)
        if (strcmp(g->files[i].path, path) == 0)
            return &g->files[i];
    return NULL;
}

char *generation_changed_files(const struct generation *old, const struct generation *now)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return strdup("");
    for (size_t i = 0; i < now->file_count; i++) {
        const struct generation_file *f = &now->files[i], *was = find_file(old, f->path);
        if (was && memcmp(was->digest, f->digest, sizeof f->digest) != 0)
            fprintf(out, "%s: has changed since generation %llu, and is read as it is now\n", f->path,
                    (unsigned long long)old->number);
    }
    if (fclose(out) != 0) {
        free(text);
        return strdup("");
    }
    return text;
}
