/* The configurations that were in force, the newest last: for `weir history`, `weir diff`, `weir rollback`.
 * The last GENERATIONS_KEPT are kept with the text of every file that they were read from (config/source.h)
 * and digests of the other files that they name (certificates, keys, pages), whose content is never kept.
 * Reloads that were refused stand among them, without a number and without a text. Where the texts come to
 * more than GENERATIONS_BYTES, the oldest ones go before their time.
 *
 * Owned by the runtime; control thread. */
#pragma once

#include "config/tree.h"

#define GENERATIONS_KEPT  10u
#define GENERATIONS_ALL   20u /* with those that were refused */
#define GENERATIONS_BYTES (64u << 20)
#define GENERATION_WORDS  (64u << 10) /* of one diff */

enum generation_result {
    GENERATION_ACTIVE,
    GENERATION_ON_TRIAL,
    GENERATION_CONFIRMED,   /* in force, after a trial that ended well */
    GENERATION_REPLACED,    /* by a later one */
    GENERATION_ROLLED_BACK, /* taken back: `reason` says why */
    GENERATION_REFUSED,     /* never in force: `reason` has the faults */
};

/* A file that a configuration names, as it was. */
struct generation_file {
    char *path;
    unsigned char digest[32]; /* SHA-256; all 0 = it could not be read */
};

struct generation {
    uint64_t number;  /* 0: refused */
    int64_t at_us;    /* wall clock */
    char by[16];      /* who asked: start, upgrade, signal, command, api, watch, trial */
    uint64_t text_of; /* the generation whose text it is; 0 = the file's of that moment */
    enum generation_result result;
    char *reason;                 /* never NULL */
    char *words;                  /* what it changed, a line each; never NULL */
    struct config_source *source; /* NULL: refused, or dropped for its size */
    struct generation_file *files;
    size_t file_count;
};

struct generations {
    struct generation at[GENERATIONS_ALL];
    size_t count;
};

const char *generation_result_text(enum generation_result r);

/* Takes one up as the newest, with copies of `reason` and `words` (NULL = ""); `source` is held once more,
 * `files` are taken over. What is too many goes. NULL when out of memory. The pointer is good until the next
 * call. */
struct generation *generations_add(struct generations *g, const struct generation *like);
void generations_free(struct generations *g);

/* NULL: never was, or kept no more. */
struct generation *generations_find(struct generations *g, uint64_t number);
/* The newest that is in force or was (not refused), or NULL. */
struct generation *generations_newest(struct generations *g);
/* The one before that in force: what the newest took the place of; NULL when it is kept no more. */
struct generation *generations_before(struct generations *g, uint64_t number);

/* Another outcome. `reason` is copied; NULL leaves it. */
void generation_end(struct generation *g, enum generation_result result, const char *reason);

/* The digests of the plain files that `c` names and that are not its own text. */
void generation_digest(struct generation *g, const struct config *c, const struct config_source *source);
/* A line for each file that both name and that has changed, `certificate.pem: has changed since generation
 * 3`; malloc'ed, "" when there is none. */
char *generation_changed_files(const struct generation *old, const struct generation *now);
