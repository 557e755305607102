#include "core/conn.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define WRITE_VECTORS 64
#define LOOK_AFTER_MS 100

static void on_event(evutil_socket_t fd, short what, void *argument);
static void on_timer(struct timer *t);
static void on_look(struct timer *t);
static void on_ready(struct task *t);
static void finish_connect(struct conn *c);
static void go_on_handshake(struct conn *c);
static void flush(struct conn *c);
static void fail_later(struct conn *c, int error);
static void write_failed(struct conn *c, int error);
static void look_for_reset(struct conn *c);

static int set_up(struct conn *c, struct loop *l, int fd, const struct conn_handler *h)
{
    *c = (struct conn){.magic = CONN_MAGIC, .fd = fd, .loop = l, .handler = h, .want_read = true};
    task_init(&c->task);
    timer_init(&c->timer, on_timer);
    timer_init(&c->look, on_look);
    event_assign(&c->event, l->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, c);
    if (event_add(&c->event, NULL) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        c->fd = -1;
        c->closed = true;
        return -1;
    }
    return 0;
}

int conn_open(struct conn *c, struct loop *l, int fd, const struct conn_handler *h)
{
    if (set_up(c, l, fd, h) != 0)
        return -1;
    c->can_write = true;
    return 0;
}

int conn_connect(struct conn *c, struct loop *l, const struct address *to, const struct address *source,
                 const struct conn_handler *h)
{
    *c = (struct conn){.magic = CONN_MAGIC, .fd = -1, .loop = l, .closed = true};
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    if (to->any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (source && source->len) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, &source->any, source->len) != 0)
            goto fail;
    }
    int failed = 0;
    if (connect(fd, &to->any, to->len) != 0 && errno != EINPROGRESS)
        failed = errno;
    if (set_up(c, l, fd, h) != 0)
        return -1;
    c->connecting = true;
    if (failed)
        fail_later(c, failed);
    return 0;
fail:;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

void conn_set_transport(struct conn *c, const struct conn_transport *t, void *state)
{
    c->transport = t;
    c->transport_state = state;
    c->handshaking = true;
    if (!c->connecting)
        loop_defer(c->loop, &c->task, on_ready);
}

void conn_drop_transport(struct conn *c)
{
    if (c->transport)
        c->transport->destroy(c);
    c->transport = NULL;
    c->transport_state = NULL;
    c->transport_pending = false;
    c->handshaking = false;
}

void conn_close(struct conn *c)
{
    if (c->closed || !c->loop)
        return;
    c->closed = true;
    conn_drop_transport(c);
    wheel_clear(&c->loop->wheel, &c->timer);
    wheel_clear(&c->loop->wheel, &c->look);
    list_remove(&c->task.link);
    event_del(&c->event);
    close(c->fd);
    c->fd = -1;
    buffer_clear(&c->out, &c->loop->blocks);
    free(c->kept);
    c->kept = NULL;
    c->kept_len = c->kept_capacity = 0;
}

void conn_reset(struct conn *c)
{
    if (c->closed)
        return;
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    conn_close(c);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    struct conn *c = argument;
    (void)fd;
    ASSERT(c->magic == CONN_MAGIC);
    if (c->closed || c->broken)
        return;
    /* libevent leaves EV_CLOSED out of an event with an error, and of no other after a hang-up. */
    if ((c->hangup || c->eof) && (what & EV_READ) && !(what & EV_CLOSED))
        look_for_reset(c);
    if (c->broken)
        return;
    if (what & EV_CLOSED)
        c->hangup = true;
    if (what & (EV_READ | EV_CLOSED))
        c->can_read = !c->eof;
    if (c->connecting) {
        if (what & EV_WRITE)
            finish_connect(c);
        if (c->closed || c->broken || c->connecting)
            return;
    }
    if (what & EV_WRITE) {
        c->can_write = true;
        if (c->out.bytes || c->draining_told || (c->shutdown_wanted && !c->shutdown_done))
            flush(c);
        if (c->closed || c->broken)
            return;
    }
    if (c->handshaking) {
        go_on_handshake(c);
        if (c->closed || c->handshaking)
            return;
    }
    if (!c->can_read && !c->transport_pending)
        return;
    if (c->want_read) {
        c->handler->readable(c);
        return;
    }
    /* Nobody reads now, but a reset must be noticed: it comes as an event like any other. */
    if (what & EV_READ)
        look_for_reset(c);
}

/* Behind unread bytes a reset waits until they are read: they were sent before it. */
static void look_for_reset(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        fail_later(c, errno);
    else if (n == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error)
        fail_later(c, error);
}

/* The second look after a short read (see conn_raw_read). */
static void on_look(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, look);
    ASSERT(c->magic == CONN_MAGIC && !c->closed);
    if (c->broken || c->can_read || c->eof)
        return;
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail_later(c, errno);
        return;
    }
    c->can_read = true;
    conn_yield(c);
}

static void finish_connect(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error) {
        fail_later(c, error);
        return;
    }
    /* The first writable edge may come before the connection is there. */
    struct sockaddr_storage peer;
    len = sizeof peer;
    if (getpeername(c->fd, (struct sockaddr *)&peer, &len) != 0) {
        c->can_write = false;
        return;
    }
    c->connecting = false;
    c->can_write = true;
    if (c->transport) {
        if (c->handshake_ms)
            conn_timer(c, c->handshake_ms);
        return; /* the handshake goes on in on_event */
    }
    c->handler->connected(c);
}

static void go_on_handshake(struct conn *c)
{
    switch (c->transport->handshake(c)) {
    case CONN_DATA:
        c->handshaking = false;
        c->handler->connected(c);
        break;
    case CONN_AGAIN:
        break;
    case CONN_EOF:
        fail_later(c, ECONNRESET);
        break;
    case CONN_ERROR:
        fail_later(c, errno ? errno : EPROTO);
        break;
    }
}

/* A server that has answered early may have closed: what it said before a write failed is read first. */
static void tell_failure(struct conn *c)
{
    if (c->last_words && c->want_read && c->can_read && !c->eof && !c->connecting && !c->handshaking) {
        uint64_t before = c->bytes_in;
        c->handler->readable(c);
        if (c->closed)
            return;
        if (c->want_read && c->can_read && c->bytes_in != before) {
            loop_defer(c->loop, &c->task, on_ready);
            return;
        }
    }
    if (c->failure_told)
        return;
    c->failure_told = true;
    c->handler->failed(c, c->error);
}

static void on_ready(struct task *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, task);
    ASSERT(c->magic == CONN_MAGIC);
    if (c->closed)
        return;
    if (c->broken) {
        tell_failure(c);
        return;
    }
    if (c->handshaking && !c->connecting) {
        go_on_handshake(c);
        if (c->closed || c->handshaking)
            return;
    }
    if (c->broken || c->connecting)
        return;
    if (c->draining_told && c->out.bytes <= CONN_LOW_WATER) {
        c->draining_told = false;
        if (c->handler->drained)
            c->handler->drained(c);
        if (c->closed)
            return;
    }
    if (c->want_read && (c->can_read || c->transport_pending || c->kept_len))
        c->handler->readable(c);
}

static void fail_later(struct conn *c, int error)
{
    if (c->broken)
        return;
    c->broken = true;
    c->error = error;
    buffer_clear(&c->out, &c->loop->blocks);
    loop_defer(c->loop, &c->task, on_ready);
}

static void write_failed(struct conn *c, int error)
{
    if (c->broken)
        return;
    fail_later(c, error);
    c->last_words = c->can_read = true;
}

static void on_timer(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);
    ASSERT(c->magic == CONN_MAGIC && !c->closed);
    if (!c->broken)
        c->handler->timeout(c);
}

void conn_timer(struct conn *c, msec_t delay)
{
    if (!c->closed)
        loop_timer(c->loop, &c->timer, delay);
}

/* Reading. */

ssize_t conn_raw_read(struct conn *c, char *buf, size_t size)
{
    if (!c->can_read)
        return -EAGAIN;
    ssize_t n;
    do {
        n = recv(c->fd, buf, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        c->can_read = false;
        return errno == EAGAIN ? -EAGAIN : -errno;
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
    size_t room = LOOP_READ_BUFFER - kept;
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
        loop_defer(c->loop, &c->task, on_ready);
}

void conn_want_read(struct conn *c, bool want)
{
    c->want_read = want;
    if (want)
        conn_yield(c);
}

/* Writing. */

static void after_flush(struct conn *c)
{
    if (c->out.bytes == 0 && c->shutdown_wanted && !c->shutdown_done) {
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
            n = send(c->fd, iov[0].iov_base, iov[0].iov_len, flags);
        } else {
            struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
            n = sendmsg(c->fd, &message, flags);
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
            write_failed(c, errno);
            return -1;
        }
        sent = n > 0 ? (size_t)n : 0;
        if (sent == total)
            return 0;
        if (count <= IOV_MAX)
            c->can_write = false;
    }
    if (buffer_append(&c->out, &c->loop->blocks, iov, count, sent) != 0) {
        fail_later(c, ENOMEM);
        return -1;
    }
    if (c->out.bytes > CONN_LOW_WATER)
        c->draining_told = true;
    if (c->can_write && !c->connecting)
        flush(c);
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
        fail_later(c, -error);
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
            write_failed(c, errno);
            return 0;
        }
        if (n < 0)
            n = 0;
        c->can_write = (size_t)n == total;
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
static void push(struct conn *c)
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
            write_failed(c, n == 0 ? EIO : errno);
            return 0;
        }
        if (n < 0)
            n = 0;
        c->bytes_out += (uint64_t)n;
        c->can_write = (size_t)n == bytes;
        if (!c->can_write)
            push(c);
    }
    if ((size_t)n < bytes)
        c->draining_told = true;
    return (size_t)n;
}

/* Sends what waits, as far as the socket takes it. drained() is told after the pass, or here from an event:
 * never from inside a write. */
static void flush(struct conn *c)
{
    struct iovec iov[WRITE_VECTORS];
    while (c->out.bytes && c->can_write) {
        int count = buffer_peek(&c->out, iov, WRITE_VECTORS);
        size_t asked = 0;
        for (int i = 0; i < count; i++)
            asked += iov[i].iov_len;
        ssize_t n = send_vectors(c, iov, count);
        if (n < 0) {
            if (errno == EAGAIN) {
                c->can_write = false;
                break;
            }
            write_failed(c, errno);
            return;
        }
        buffer_consume(&c->out, &c->loop->blocks, (size_t)n);
        if ((size_t)n < asked)
            c->can_write = false;
    }
    after_flush(c);
    if (c->draining_told && c->out.bytes <= CONN_LOW_WATER)
        loop_defer(c->loop, &c->task, on_ready);
}

void conn_shutdown(struct conn *c)
{
    if (c->closed || c->shutdown_wanted)
        return;
    if (c->transport && !c->broken)
        c->transport->shutdown(c);
    c->shutdown_wanted = true;
    if (!c->broken && !c->connecting)
        after_flush(c);
}

/* Lingering. */

static void linger_end(struct conn *c)
{
    conn_close(c);
    c->gone(c);
}

static void linger_readable(struct conn *c)
{
    for (int turns = 0; turns < 16; turns++) {
        ssize_t n = conn_raw_read(c, c->loop->read_buffer, LOOP_READ_BUFFER);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            c->can_read = false;
            c->eof = true;
            if (n < 0 || c->out.bytes == 0)
                linger_end(c);
            return;
        }
        if (!c->can_read)
            return;
    }
    conn_yield(c);
}

static void linger_drained(struct conn *c)
{
    if (c->out.bytes)
        c->draining_told = true;
    else if (c->eof)
        linger_end(c);
    else
        conn_timer(c, c->linger_ms);
}

/* As long as the backlog moves the peer is given time. */
static void linger_timeout(struct conn *c)
{
    if (c->out.bytes == 0 || c->bytes_out == c->linger_sent) {
        linger_end(c);
        return;
    }
    c->linger_sent = c->bytes_out;
    conn_timer(c, c->linger_ms);
}

static void linger_failed(struct conn *c, int error)
{
    (void)error;
    linger_end(c);
}

static const struct conn_handler linger_handler = {
    .connected = linger_readable,
    .readable = linger_readable,
    .drained = linger_drained,
    .timeout = linger_timeout,
    .failed = linger_failed,
};

void conn_linger(struct conn *c, msec_t for_ms, void (*gone)(struct conn *))
{
    c->gone = gone;
    if (c->closed) {
        gone(c);
        return;
    }
    conn_shutdown(c);
    conn_keep(c, slice_of(NULL, 0));
    conn_drop_transport(c);
    c->handler = &linger_handler;
    c->linger_ms = for_ms;
    c->linger_sent = c->bytes_out;
    c->draining_told = true;
    conn_timer(c, for_ms);
    /* The transport's end was not the socket's; and a failure was told to another. */
    c->eof = c->failure_told = false;
    c->want_read = c->can_read = true;
    loop_defer(c->loop, &c->task, on_ready);
}

int conn_peer(const struct conn *c, struct address *out)
{
    *out = (struct address){0};
    socklen_t len = sizeof *out - offsetof(struct address, any);
    if (getpeername(c->fd, &out->any, &len) != 0)
        return -1;
    out->len = len;
    return 0;
}

int conn_local(const struct conn *c, struct address *out)
{
    *out = (struct address){0};
    socklen_t len = sizeof *out - offsetof(struct address, any);
    if (getsockname(c->fd, &out->any, &len) != 0)
        return -1;
    out->len = len;
    return 0;
}
