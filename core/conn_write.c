/* Writing: what the socket takes goes at once, and the rest waits in blocks. */
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>

#include "core/calls.h"
#include "core/conn_internal.h"

#define WRITE_VECTORS 64

void conn_write_failed(struct conn *c, int error)
{
    if (c->broken)
        return;
    conn_fail_later(c, error);
    c->last_words = c->can_read = true;
}

/* What a broken connection had to send was dropped: no end follows it that looks like one in order. */
static void after_flush(struct conn *c)
{
    if (!c->broken && conn_backlog(c) == 0 && c->shutdown_wanted && !c->shutdown_done) {
        c->shutdown_done = true;
        shutdown(c->fd, SHUT_WR);
    }
}

static ssize_t send_vectors(struct conn *c, const struct iovec *iov, int count)
{
    ssize_t n;
    int flags = MSG_NOSIGNAL | (c->more_follows ? MSG_MORE : 0);
    do {
        if (count == 1) {
            n = call_send(c->fd, iov[0].iov_base, iov[0].iov_len, flags);
        } else {
            struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
            n = call_sendmsg(c->fd, &message, flags);
        }
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        c->bytes_out += (uint64_t)n;
    return n;
}

int conn_raw_write(struct conn *c, const struct iovec *iov, int count)
{
    if (c->closed || c->broken)
        return -1;
    size_t total = 0, sent = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return 0;
    if (c->out.bytes == 0 && c->can_write && !c->connecting) {
        ssize_t n = send_vectors(c, iov, count > IOV_MAX ? IOV_MAX : count);
        if (n < 0 && errno != EAGAIN) {
            conn_write_failed(c, errno);
            return -1;
        }
        sent = n > 0 ? (size_t)n : 0;
        if (sent == total)
            return 0;
        if (count <= IOV_MAX)
            conn_is_full(c);
    }
    if (buffer_append(&c->out, &c->loop->blocks, iov, count, sent) != 0) {
        conn_fail_later(c, ENOMEM);
        return -1;
    }
    if (c->out.bytes > CONN_LOW_WATER)
        c->draining_told = true;
    if (c->can_write && !c->connecting)
        conn_flush(c);
    return 0;
}

int conn_write(struct conn *c, const struct iovec *iov, int count)
{
    if (c->closed || c->broken)
        return -1;
    if (!c->transport)
        return conn_raw_write(c, iov, count);
    int error = c->transport->write(c, iov, count);
    if (error != 0) {
        conn_fail_later(c, -error);
        return -1;
    }
    return 0;
}

size_t conn_write_some(struct conn *c, const struct iovec *iov, int count)
{
    ASSERT(!c->transport && count <= IOV_MAX);
    size_t total = 0;
    ssize_t n = 0;
    if (c->closed || c->broken)
        return 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (c->out.bytes == 0 && c->can_write && !c->connecting) {
        n = send_vectors(c, iov, count);
        if (n < 0 && errno != EAGAIN) {
            conn_write_failed(c, errno);
            return 0;
        }
        if (n < 0)
            n = 0;
        if ((size_t)n < total)
            conn_is_full(c);
    }
    if ((size_t)n < total)
        c->draining_told = true;
    return (size_t)n;
}

int conn_write_more(struct conn *c, const struct iovec *iov, int count)
{
    c->more_follows = true;
    int error = conn_write(c, iov, count);
    c->more_follows = false;
    return error;
}

/* The kernel holds a last segment back that is not full when more was said to follow: behind what was written
 * with MSG_MORE, and inside sendfile() itself. Where the socket is full nothing follows for a while. */
void conn_push(struct conn *c)
{
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

size_t conn_send_file(struct conn *c, int fd, uint64_t offset, size_t bytes)
{
    ASSERT(!c->transport);
    ssize_t n = 0;
    if (c->closed || c->broken)
        return 0;
    if (c->out.bytes == 0 && c->can_write && !c->connecting) {
        off_t at = (off_t)offset;
        do {
            n = sendfile(c->fd, fd, &at, bytes);
        } while (n < 0 && errno == EINTR);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            conn_write_failed(c, n == 0 ? EIO : errno);
            return 0;
        }
        if (n < 0)
            n = 0;
        c->bytes_out += (uint64_t)n;
        if ((size_t)n < bytes) {
            conn_is_full(c);
            conn_push(c);
        }
    }
    if ((size_t)n < bytes)
        c->draining_told = true;
    return (size_t)n;
}

void conn_flush(struct conn *c)
{
    struct iovec iov[WRITE_VECTORS];
    if (c->piped && c->can_write)
        conn_flush_pipe(c);
    while (c->out.bytes && c->can_write) {
        int count = buffer_peek(&c->out, iov, WRITE_VECTORS);
        size_t asked = 0;
        for (int i = 0; i < count; i++)
            asked += iov[i].iov_len;
        ssize_t n = send_vectors(c, iov, count);
        if (n < 0) {
            if (errno == EAGAIN) {
                conn_is_full(c);
                break;
            }
            conn_write_failed(c, errno);
            return;
        }
        buffer_consume(&c->out, &c->loop->blocks, (size_t)n);
        if ((size_t)n < asked)
            conn_is_full(c);
    }
    after_flush(c);
    if (c->draining_told && conn_is_drained(c))
        conn_later(c);
}

void conn_shutdown(struct conn *c)
{
    if (c->closed || c->shutdown_wanted)
        return;
    if (c->transport && !c->broken) {
        c->more_follows = true; /* the socket's end */
        c->transport->shutdown(c);
        c->more_follows = false;
    }
    c->shutdown_wanted = true;
    if (!c->connecting)
        after_flush(c);
}
