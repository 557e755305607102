/* Reading: what comes goes into the loop's buffer; what is not used up is kept. */
#include <errno.h>
#include <stdlib.h>

#include "core/calls.h"
#include "core/conn_internal.h"

ssize_t conn_raw_read(struct conn *c, char *buf, size_t size)
{
    if (!c->can_read) {
        conn_watch(c);
        return -EAGAIN;
    }
    ssize_t n;
    do {
        n = call_recv(c->fd, buf, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        c->can_read = false;
        if (errno != EAGAIN)
            return -errno;
        conn_watch(c);
        return -EAGAIN;
    }
    if (n == 0) {
        /* A failed write has used up the error that would stand here. EPIPE: the end came before it. */
        if (!c->last_words || c->hangup || c->error == EPIPE)
            return 0;
        c->can_read = false;
        return -c->error;
    }
    c->bytes_in += (uint64_t)n;
    /* A short read has emptied the socket, and a new edge will come - unless the peer has hung up: that was
     * the last. A reset in the same edge as the bytes cannot be told from them; it is found by looking again
     * when the connection has been quiet for a while, so that a busy one pays no system call for it. */
    if ((size_t)n < size && !c->hangup && !c->last_words) {
        c->can_read = false;
        loop_timer(c->loop, &c->look, LOOK_AFTER_MS);
    }
    return n;
}

enum conn_status conn_read(struct conn *c, struct slice *in)
{
    return conn_read_some(c, in, LOOP_READ_BUFFER);
}

enum conn_status conn_read_some(struct conn *c, struct slice *in, size_t max)
{
    ASSERT(!c->closed);
    *in = slice_of(c->kept, c->kept_len);
    if ((c->broken && !c->last_words) || c->connecting || c->handshaking)
        return CONN_AGAIN;
    if (c->eof)
        return CONN_EOF;
    char *buf = c->loop->read_buffer;
    size_t kept = c->kept_len;
    if (kept >= LOOP_READ_BUFFER)
        return CONN_AGAIN;
    if (!c->can_read && !c->transport_pending)
        return CONN_AGAIN;
    size_t room = max < LOOP_READ_BUFFER - kept ? max : LOOP_READ_BUFFER - kept;
    ssize_t n = c->transport ? c->transport->read(c, buf + kept, room) : conn_raw_read(c, buf + kept, room);
    if (n == -EAGAIN)
        return CONN_AGAIN;
    if (n == 0) {
        c->eof = true;
        c->can_read = false;
        return CONN_EOF;
    }
    if (n < 0) {
        errno = (int)-n;
        return CONN_ERROR;
    }
    if (kept)
        memcpy(buf, c->kept, kept);
    c->kept_len = 0;
    *in = slice_of(buf, kept + (size_t)n);
    return CONN_DATA;
}

int conn_keep(struct conn *c, struct slice rest)
{
    if (rest.len == 0) {
        if (c->kept) {
            free(c->kept);
            c->kept = NULL;
            c->kept_len = c->kept_capacity = 0;
        }
        return 0;
    }
    if (rest.at >= c->kept && c->kept && rest.at < c->kept + c->kept_capacity) {
        memmove(c->kept, rest.at, rest.len);
        c->kept_len = (uint32_t)rest.len;
        return 0;
    }
    if (rest.len > c->kept_capacity) {
        size_t capacity = (rest.len + 1023) & ~(size_t)1023;
        char *bytes = malloc(capacity);
        if (!bytes)
            return -1;
        free(c->kept);
        c->kept = bytes;
        c->kept_capacity = (uint32_t)capacity;
    }
    memcpy(c->kept, rest.at, rest.len);
    c->kept_len = (uint32_t)rest.len;
    return 0;
}

void conn_yield(struct conn *c)
{
    if (!c->closed && (c->can_read || c->transport_pending || c->kept_len))
        conn_later(c);
}

void conn_want_read(struct conn *c, bool want)
{
    c->want_read = want;
    if (!want || c->closed)
        return;
    if (!c->can_read)
        conn_watch(c);
    conn_yield(c);
}

void conn_on_look(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, look);
    ASSERT(c->magic == CONN_MAGIC && !c->closed);
    if (!c->watched) {
        conn_watch(c); /* what there is to see comes as an event at once */
        return;
    }
    if (c->broken || c->can_read || c->eof)
        return;
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            conn_fail_later(c, errno);
        return;
    }
    c->can_read = true;
    conn_yield(c);
}
