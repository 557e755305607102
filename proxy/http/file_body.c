#include "proxy/http/file_body.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

struct slice file_body_range(struct arena *arena, const struct byte_range *r, uint64_t size)
{
    return slice_text(arena_printf(arena, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, r->first,
                                   r->first + r->count - 1, size));
}

/* The ranges as parts, each with a head of its own. */
static int plan_parts(struct file_body *b, struct arena *arena, uint64_t size,
                      const struct byte_range *ranges, const char *boundary, struct slice *type)
{
    unsigned parts = b->count - 1;
    for (unsigned i = 0; i < parts; i++) {
        struct slice range = file_body_range(arena, &ranges[i], size);
        struct slice head =
            slice_text(arena_printf(arena, "%s--%s\r\nContent-Type: %.*s\r\nContent-Range: %.*s\r\n\r\n",
                                    i ? "\r\n" : "", boundary, SLICE_FMT(*type), SLICE_FMT(range)));
        if (!range.at || !head.at)
            return -1;
        b->stretches[i] = (struct stretch){head, ranges[i].first, ranges[i].count};
    }
    struct slice tail = slice_text(arena_printf(arena, "\r\n--%s--\r\n", boundary));
    b->stretches[parts] = (struct stretch){.text = tail};
    *type = slice_text(arena_printf(arena, "multipart/byteranges; boundary=%s", boundary));
    return tail.at && type->at ? 0 : -1;
}

int file_body_plan(struct file_body *b, struct arena *arena, uint64_t size, const struct byte_range *ranges,
                   unsigned count, const char *boundary, struct slice *type)
{
    b->next = 0;
    b->length = 0;
    b->count = count > 1 ? count + 1 : 1;
    b->stretches = arena_zalloc(arena, b->count * sizeof *b->stretches);
    if (!b->stretches)
        return -1;
    if (count == 0)
        b->stretches[0].left = size;
    else if (count == 1)
        b->stretches[0] = (struct stretch){.at = ranges[0].first, .left = ranges[0].count};
    else if (plan_parts(b, arena, size, ranges, boundary, type) != 0)
        return -1;
    for (unsigned i = 0; i < b->count; i++)
        b->length += b->stretches[i].text.len + b->stretches[i].left;
    return 0;
}

static ssize_t read_at(int fd, char *to, size_t size, uint64_t at)
{
    ssize_t got;
    do
        got = pread(fd, to, size, (off_t)at);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        errno = 0;
    return got;
}

int file_body_next(struct file_body *b, char piece[FILE_BODY_PIECE], struct iovec iov[FILE_BODY_VECTORS],
                   size_t *bytes)
{
    size_t used = 0, texts = 0;
    int count = 0;
    while (!file_body_done(b) && count + 2 <= FILE_BODY_VECTORS) {
        struct stretch *s = &b->stretches[b->next];
        if (s->text.len) {
            iov[count++] = (struct iovec){(void *)(uintptr_t)s->text.at, s->text.len};
            texts += s->text.len;
            s->text.len = 0;
        }
        size_t room = FILE_BODY_PIECE - used, want = s->left < room ? (size_t)s->left : room;
        if (want) {
            ssize_t got = read_at(b->fd, piece + used, want, s->at);
            if (got <= 0)
                return -1;
            iov[count++] = (struct iovec){piece + used, (size_t)got};
            used += (size_t)got;
            s->at += (uint64_t)got;
            s->left -= (uint64_t)got;
        }
        if (s->left)
            break;
        b->next++;
    }
    *bytes = used + texts;
    return count;
}
