/* A value as it stands in Redis, and where. All numbers little-endian:
 *
 *      0  magic, 8 bytes          24  stamp: number         48  length of the tags, u32
 *      8  XXH3-64 of what follows 32  length of content     52  how many tags, u32
 *     16  stamp: epoch            40  length of the key, u32
 *                                 44  length of the URL, u32
 *     56  key, URL, tags (a u16 length before each), content
 *
 * The checksum finds what is cut short or was changed by accident; it is no seal. */
#pragma once

#include "cache/redis.h"

#define REDIS_FRAME_FIXED    56u
#define REDIS_FRAME_HEAD_MAX (96u << 10) /* all before the content */
#define REDIS_FRAME_KEY_HEX  32u

/* 32 hexadecimal digits for the key. 0, or -1 when OpenSSL fails. */
int redis_frame_place(struct slice key, char out[REDIS_FRAME_KEY_HEX]);

/* Writes all before the content. The length, or 0 when it is more than `size`, or a label is too long. */
size_t redis_frame_write(const struct cache_redis_value *v, char *out, size_t size);

struct redis_frame {
    struct cache_redis_stamp stamp;
    struct slice url, tags, content; /* within the value */
    uint32_t tag_count;
};

/* 0, or -1 when this is no value of that key. */
int redis_frame_read(struct slice value, struct slice key, struct redis_frame *out);
/* The next one out of frame.tags; false at the end. */
bool redis_frame_next_tag(struct slice *tags, struct slice *tag);
