#include "config/names.h"

#include <stdlib.h>

static size_t hash(struct slice name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (unsigned char)name.at[i]) * 1099511628211u;
    return (size_t)(h ^ (h >> 32));
}

/* The slot that holds the name or would. The table is never full. */
static struct name_slot *seek(struct name_slot *slots, size_t capacity, struct slice name)
{
    size_t at = hash(name) & (capacity - 1);
    while (slots[at].name.at && !slice_equal(slots[at].name, name))
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static int grow(struct name_table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : 32;
    struct name_slot *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return -1;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].name.at)
            *seek(slots, capacity, table->slots[i].name) = table->slots[i];
    free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return 0;
}

struct name_slot *name_table_add(struct name_table *table, struct slice name)
{
    if ((table->count + 1) * 2 > table->capacity && grow(table))
        return NULL;
    struct name_slot *slot = seek(table->slots, table->capacity, name);
    if (!slot->name.at) {
        slot->name = slice_of(name.at ? name.at : "", name.len);
        table->count++;
    }
    return slot;
}

void *name_table_get(const struct name_table *table, struct slice name)
{
    return table->capacity ? seek(table->slots, table->capacity, name)->value : NULL;
}

void name_table_free(struct name_table *table)
{
    free(table->slots);
    *table = (struct name_table){0};
}
