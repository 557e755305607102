/* A hash table from names to pointers: anchors, the keys of large maps. Open addressing, on the heap; names
 * are not copied and must outlive the table. Zero-initialised is empty. */
#pragma once

#include "core/slice.h"

struct name_slot {
    struct slice name; /* at == NULL: free */
    void *value;
};

struct name_table {
    struct name_slot *slots;
    size_t capacity, count;
};

/* The slot of `name`, made with value NULL when there is none. NULL when out of memory. Valid until the next
 * call. */
struct name_slot *name_table_add(struct name_table *table, struct slice name);

/* Its value, or NULL. */
void *name_table_get(const struct name_table *table, struct slice name);

void name_table_free(struct name_table *table);
