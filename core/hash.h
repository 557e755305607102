/* Hashing of text that a peer may choose (SipHash-1-3 with a key of this process), and a table from text to a
 * number. */
#pragma once

#include "core/slice.h"

/* Keyed by random bytes drawn at the first call; equal for equal text within one process. */
uint64_t hash_keyed(struct slice text);

/* Open addressing; keys are not copied and must outlive the table. */
struct table;

struct table *table_create(void);
void table_free(struct table *t);

/* Whether the key is there; its value in *value. */
bool table_get(const struct table *t, struct slice key, uint64_t *value);
/* Adds or replaces. 0, or -1 when out of memory. */
int table_put(struct table *t, struct slice key, uint64_t value);
/* Whether it was there. */
bool table_remove(struct table *t, struct slice key);
size_t table_count(const struct table *t);

/* Walks all entries in no order: start with *at = 0; false at the end. The table must not be changed
 * meanwhile. */
bool table_next(const struct table *t, size_t *at, struct slice *key, uint64_t *value);
