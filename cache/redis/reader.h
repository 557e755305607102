/* What Redis says, read: the parser of hiredis, with bounds. Its asynchronous layer is not used: that ends
 * the program (by assert) when a server answers what was not asked, or publishes what is none, and it
 * resolves names with getaddrinfo(). */
#pragma once

#include "core/slice.h"

#define REDIS_READER_ELEMENTS (4u << 12) /* of one list; lists within lists are refused */

enum redis_kind { REDIS_TEXT, REDIS_FAULT, REDIS_NUMBER, REDIS_NOTHING, REDIS_LIST };

struct redis_reply {
    enum redis_kind kind;
    struct slice text; /* TEXT, FAULT */
    int64_t number;    /* NUMBER */
    struct redis_reply *at;
    size_t count; /* LIST */
};

struct redis_reader;

/* Whether this build has hiredis; all else fails without. */
bool redis_reader_is_built(void);

/* `limit`: bytes of one reply. NULL when out of memory. */
struct redis_reader *redis_reader_create(size_t limit);
void redis_reader_free(struct redis_reader *r); /* NULL is allowed */

/* Copies the bytes. 0, or -1: out of memory, or the reply is too long. */
int redis_reader_feed(struct redis_reader *r, struct slice bytes);
/* 1: *out is a whole reply, to be freed; 0: more is needed; -1: this is no Redis. */
int redis_reader_next(struct redis_reader *r, struct redis_reply **out);
void redis_reply_free(struct redis_reply *reply); /* NULL is allowed */
