/* Moving bytes from one socket to another without copying them: splice(2) through a pipe. What the other
 * socket does not take waits in the pipe, which is that connection's until it is empty. */
#include <errno.h>
#include <fcntl.h>

#include "core/conn_internal.h"

#define PIECE_MAX CONN_HIGH_WATER /* into the pipe in one call */
#define TURN_MAX  (512u << 10)    /* in one call of conn_splice, so that others get theirs */

static ssize_t move(int from, int to, size_t bytes)
{
    ssize_t n;
    do {
        n = splice(from, NULL, to, NULL, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    return n;
}

void conn_flush_pipe(struct conn *c)
{
    /* Until the socket says that it is full: only then does an edge follow. */
    while (c->piped) {
        ssize_t n = move(c->pipe->from, c->fd, c->piped);
        if (n < 0 && errno == EAGAIN) {
            conn_is_full(c);
            conn_push(c);
            return;
        }
        if (n <= 0) {
            conn_write_failed(c, n == 0 ? EPIPE : errno);
            return;
        }
        c->bytes_out += (uint64_t)n;
        c->piped -= (uint32_t)n;
    }
    pipe_give(&c->loop->pipes, c->pipe);
    c->pipe = NULL;
}

void conn_drop_pipe(struct conn *c)
{
    if (c->pipe)
        pipe_drop(&c->loop->pipes, c->pipe);
    c->pipe = NULL;
    c->piped = 0;
}

static bool is_open(const struct conn *c)
{
    return !c->closed && !c->broken && !c->connecting && !c->transport;
}

/* splice() says that there is nothing where it stands before urgent data or gets no memory, too, and no edge
 * tells of what is behind. So when it moved nothing conn_read() is asked, and otherwise a second look is
 * taken later (see conn_raw_read). */
static enum conn_spliced is_empty(struct conn *from, bool moved)
{
    if (!moved)
        return SPLICE_NOT;
    from->can_read = false;
    loop_timer(from->loop, &from->look, LOOK_AFTER_MS);
    return SPLICE_EMPTY;
}

/* Fills the pipe of `to` with what `from` has; `moved` = it had something before. */
static enum conn_spliced fill(struct conn *from, struct conn *to, size_t bytes, bool moved)
{
    if (!to->pipe && !(to->pipe = pipe_take(&to->loop->pipes)))
        return SPLICE_NOT;
    ssize_t n = move(from->fd, to->pipe->to, bytes);
    if (n > 0) {
        from->bytes_in += (uint64_t)n;
        to->piped = (uint32_t)n;
        return SPLICE_MOVED;
    }
    enum conn_spliced result = SPLICE_NOT; /* the end, or it cannot be had like this: conn_read() tells */
    if (n < 0 && errno == EAGAIN) {
        result = is_empty(from, moved);
    } else if (n < 0 && errno != EINVAL && errno != ENOMEM) {
        conn_fail_later(from, errno);
        result = SPLICE_EMPTY;
    }
    pipe_give(&to->loop->pipes, to->pipe);
    to->pipe = NULL;
    return result;
}

enum conn_spliced conn_splice(struct conn *from, struct conn *to, uint64_t max, size_t *moved)
{
    *moved = 0;
    if (!is_open(from) || !is_open(to) || from->eof || from->kept_len)
        return SPLICE_NOT;
    while (to->can_write && !to->out.bytes) {
        if (*moved == max || *moved >= TURN_MAX)
            return SPLICE_MOVED;
        if (!from->can_read)
            return SPLICE_EMPTY;
        uint64_t left = max - *moved;
        enum conn_spliced result = fill(from, to, left < PIECE_MAX ? (size_t)left : PIECE_MAX, *moved);
        if (result != SPLICE_MOVED)
            return result;
        *moved += to->piped;
        conn_flush_pipe(to);
        if (to->broken)
            break;
    }
    to->draining_told = true;
    return SPLICE_FULL;
}
