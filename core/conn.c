/* A connection's life: its beginning, its events, its timer, its failure and its end. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/conn_internal.h"

static void on_event(evutil_socket_t fd, short what, void *argument);
static void on_timer(struct timer *t);
static void on_ready(struct task *t);
static void finish_connect(struct conn *c, short what);
static void go_on_handshake(struct conn *c);
static void look_for_reset(struct conn *c);

#define EVENTS (EV_READ | EV_CLOSED | EV_ET | EV_PERSIST)

static void set_up(struct conn *c, struct loop *l, int fd, const struct conn_handler *h, short events)
{
    *c = (struct conn){.magic = CONN_MAGIC, .fd = fd, .loop = l, .handler = h, .want_read = true};
    task_init(&c->task);
    timer_init(&c->timer, on_timer);
    timer_init(&c->look, conn_on_look);
    event_assign(&c->event, l->base, fd, events, on_event, c);
}

static int watch_or_close(struct conn *c)
{
    if (event_add(&c->event, NULL) != 0) {
        int error = errno;
        close(c->fd);
        errno = error;
        c->fd = -1;
        c->closed = true;
        return -1;
    }
    c->watched = true;
    return 0;
}

void conn_watch_now(struct conn *c)
{
    if (c->closed || c->broken)
        return;
    if (event_add(&c->event, NULL) != 0)
        conn_fail_later(c, errno);
    else
        c->watched = true;
}

void conn_is_full(struct conn *c)
{
    c->can_write = false;
    if (c->watched && (c->event.ev_events & EV_WRITE))
        return;
    event_del(&c->event);
    c->watched = false;
    event_assign(&c->event, c->loop->base, c->fd, EVENTS | EV_WRITE, on_event, c);
    conn_watch_now(c);
}

int conn_open(struct conn *c, struct loop *l, int fd, const struct conn_handler *h)
{
    set_up(c, l, fd, h, EVENTS);
    c->can_write = true;
    return watch_or_close(c);
}

void conn_accept(struct conn *c, struct loop *l, int fd, const struct conn_handler *h)
{
    set_up(c, l, fd, h, EVENTS);
    c->can_read = c->can_write = true;
    conn_later(c);
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
    set_up(c, l, fd, h, EVENTS | EV_WRITE);
    if (watch_or_close(c) != 0)
        return -1;
    c->connecting = true;
    if (failed)
        conn_fail_later(c, failed);
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
        conn_later(c);
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
    conn_drop_pipe(c);
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
            finish_connect(c, what);
        if (c->closed || c->broken || c->connecting)
            return;
    }
    if (what & EV_WRITE) {
        c->can_write = true;
        if (conn_backlog(c) || c->draining_told || (c->shutdown_wanted && !c->shutdown_done))
            conn_flush(c);
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
        conn_fail_later(c, errno);
    else if (n == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error)
        conn_fail_later(c, error);
}

/* Whether the connect is done; its failure is told later. */
static bool is_connected(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error) {
        conn_fail_later(c, error);
        return false;
    }
    struct sockaddr_storage peer;
    len = sizeof peer;
    c->can_write = getpeername(c->fd, (struct sockaddr *)&peer, &len) == 0;
    return c->can_write;
}

/* libevent tells an error, and a hang-up, as readable and writable: what is writable alone is connected. */
static void finish_connect(struct conn *c, short what)
{
    if ((what & EV_READ) && !is_connected(c))
        return;
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
        conn_fail_later(c, ECONNRESET);
        break;
    case CONN_ERROR:
        conn_fail_later(c, errno ? errno : EPROTO);
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
            conn_later(c);
            return;
        }
    }
    if (c->failure_told)
        return;
    c->failure_told = true;
    c->handler->failed(c, c->error);
}

static void watch_if_due(struct conn *c)
{
    if (!c->want_read)
        loop_timer(c->loop, &c->look, LOOK_AFTER_MS);
    else if (!c->can_read)
        conn_watch(c);
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
        if (c->handshaking)
            conn_watch(c);
        if (c->closed || c->handshaking)
            return;
    }
    if (c->broken || c->connecting)
        return;
    if (c->draining_told && conn_is_drained(c)) {
        c->draining_told = false;
        if (c->handler->drained)
            c->handler->drained(c);
        if (c->closed)
            return;
    }
    if (c->want_read && (c->can_read || c->transport_pending || c->kept_len))
        c->handler->readable(c);
    if (UNLIKELY(!c->watched) && !c->closed)
        watch_if_due(c);
}

void conn_fail_later(struct conn *c, int error)
{
    if (c->broken)
        return;
    c->broken = true;
    c->error = error;
    buffer_clear(&c->out, &c->loop->blocks);
    conn_drop_pipe(c);
    conn_later(c);
}

void conn_later(struct conn *c)
{
    loop_defer(c->loop, &c->task, on_ready);
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
