/* What a Redis may say: replies whole and in pieces, values whose checksum is right, messages that were
 * published. */
#include <stdlib.h>
#include <xxhash.h>

#include "cache/redis/internal.h"

#define REPLY_MAX 4096u

/* How many replies it is, -1 when it is none; fed so many bytes at a time. */
static int replies(struct slice in, size_t step)
{
    struct redis_reader *r = redis_reader_create(REPLY_MAX);
    int count = 0, result = 0;
    ASSERT(r);
    for (size_t at = 0; at < in.len && result >= 0; at += step) {
        struct redis_reply *reply;
        size_t len = in.len - at < step ? in.len - at : step;
        result = redis_reader_feed(r, slice_of(in.at + at, len));
        while (result >= 0 && (result = redis_reader_next(r, &reply)) > 0) {
            ASSERT(reply->kind == REDIS_LIST || reply->count == 0);
            redis_reply_free(reply);
            count++;
        }
    }
    redis_reader_free(r);
    return result < 0 ? -1 : count;
}

static void read_value(struct slice in)
{
    struct redis_frame frame;
    struct slice tag;
    char *copy = malloc(in.len ? in.len : 1); /* of that size, so that reading past it is seen */
    ASSERT(copy);
    memcpy(copy, in.at, in.len);
    if (in.len >= REDIS_FRAME_FIXED) {
        uint64_t sum = XXH3_64bits(copy + 16, in.len - 16);
        memcpy(copy, "weirrd1\n", 8);
        memcpy(copy + 8, &sum, 8);
    }
    if (redis_frame_read(slice_of(copy, in.len), S("key"), &frame) == 0) {
        uint32_t count = 0;
        while (redis_frame_next_tag(&frame.tags, &tag))
            count += tag.at >= copy && tag.at + tag.len <= copy + in.len;
        ASSERT(count == frame.tag_count && frame.content.at + frame.content.len == copy + in.len);
    }
    free(copy);
}

static void read_message(struct slice in)
{
    struct redis_message m;
    enum cache_purge_kind kind;
    bool soft;
    struct slice text;
    if (redis_message_read(in, &m) != 0 || redis_record_read(m.record, &kind, &soft, &text) != 0)
        return;
    char head[REDIS_RECORD_HEAD];
    redis_record_write(kind, soft, head);
    ASSERT(memcmp(head, m.record.at, sizeof head) == 0 && text.len + sizeof head == m.record.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice in = slice_of((const char *)bytes, len);
    if (redis_reader_is_built() && len <= REPLY_MAX) {
        int whole = replies(in, len ? len : 1);
        ASSERT(replies(in, 1) == whole && replies(in, 7) == whole);
    }
    read_value(in);
    read_message(in);
    return 0;
}
