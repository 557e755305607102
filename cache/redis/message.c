#include "cache/redis/internal.h"

static const char kinds[] = "upta"; /* by enum cache_purge_kind */

void redis_record_write(enum cache_purge_kind kind, bool soft, char out[REDIS_RECORD_HEAD])
{
    out[0] = kinds[kind];
    out[1] = soft ? 's' : 'h';
}

int redis_record_read(struct slice record, enum cache_purge_kind *kind, bool *soft, struct slice *text)
{
    if (record.len < REDIS_RECORD_HEAD || (record.at[1] != 's' && record.at[1] != 'h'))
        return -1;
    size_t which = slice_find(slice_text(kinds), record.at[0]);
    if (which >= sizeof kinds - 1)
        return -1;
    *kind = (enum cache_purge_kind)which;
    *soft = record.at[1] == 's';
    *text = slice_skip(record, REDIS_RECORD_HEAD);
    return 0;
}

/* A number, and the space behind it. */
static int take_number(struct slice *rest, uint64_t *out)
{
    size_t len = slice_find(*rest, ' ');
    if (len == rest->len || slice_to_u64(slice_of(rest->at, len), out) != 0)
        return -1;
    *rest = slice_skip(*rest, len + 1);
    return 0;
}

int redis_message_read(struct slice text, struct redis_message *out)
{
    struct redis_message m = {.record = text};
    if (take_number(&m.record, &m.stamp.epoch) != 0 || take_number(&m.record, &m.stamp.number) != 0 ||
        take_number(&m.record, &m.node) != 0)
        return -1;
    *out = m;
    return 0;
}
