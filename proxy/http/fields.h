/* Changing the fields of a message: adding, and taking out what is between two hops only. */
#pragma once

#include "core/arena.h"
#include "proxy/http/message.h"

/* Moves the array into the arena, where it has more room. 0, or -1 when out of memory. */
int fields_grow(struct arena *a, struct fields *f);

/* Appends; grows when there is no room. 0, or -1 when out of memory. */
static inline int fields_add(struct arena *a, struct fields *f, enum field_id id, struct slice name,
                             struct slice value)
{
    if (UNLIKELY(f->count == f->capacity) && fields_grow(a, f) != 0)
        return -1;
    f->at[f->count++] = (struct field){.name = name, .value = value, .id = (uint16_t)id};
    f->absent &= ~FIELD_BIT(id);
    return 0;
}

/* Takes out every field of that id. */
void fields_remove(struct fields *f, enum field_id id);
/* Likewise of that name, in any case. */
void fields_remove_name(struct fields *f, struct slice name);

/* What RFC 9110 §7.6.1 keeps between two hops, whatever Connection names. */
#define FIELDS_HOP_BY_HOP                                                                                    \
    (FIELD_BIT(FIELD_CONNECTION) | FIELD_BIT(FIELD_KEEP_ALIVE) | FIELD_BIT(FIELD_PROXY_CONNECTION) |         \
     FIELD_BIT(FIELD_TE) | FIELD_BIT(FIELD_TRANSFER_ENCODING) | FIELD_BIT(FIELD_UPGRADE))

/* Takes those out, and what Connection names. */
void fields_strip_hop_by_hop(struct fields *f);

/* The parameter `timeout` of a Keep-Alive field (RFC 2068 §19.7.1.1), at most a day. False when there is none
 * that can be read. Its `max` needs no look: the last answer says Connection: close. */
#define KEEP_ALIVE_TIMEOUT_MAX 86400u
bool keep_alive_timeout(struct slice value, uint32_t *seconds);
