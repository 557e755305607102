#include "balancer/check_udp.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "balancer/escape.h"
#include "balancer/server.h"

static void on_readable(evutil_socket_t fd, short what, void *argument);
static void on_time(struct timer *t);

static int send_first(const struct check_udp *c, struct slice header)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)header.at, header.len},
                           {(void *)(uintptr_t)c->settings->send.at, c->settings->send.len}};
    struct msghdr h = {.msg_iov = iov, .msg_iovlen = 2};
    return sendmsg(c->fd, &h, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int check_udp_begin(struct check_udp *c, struct loop *l, const struct address *to,
                    const struct check_settings *settings, struct slice header,
                    void (*done)(struct check_udp *, bool ok, const char *text))
{
    *c = (struct check_udp){.loop = l, .settings = settings, .done = done};
    c->fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -1;
    if (connect(c->fd, &to->any, to->len) != 0 || send_first(c, header) != 0) {
        int error = errno;
        close(c->fd);
        errno = error;
        return -1;
    }
    c->open = true;
    event_assign(&c->event, l->base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    event_add(&c->event, NULL);
    timer_init(&c->timer, on_time);
    loop_timer(l, &c->timer, settings->timeout);
    return 0;
}

void check_udp_close(struct check_udp *c)
{
    if (!c->open)
        return;
    c->open = false;
    event_del(&c->event);
    loop_timer_clear(c->loop, &c->timer);
    close(c->fd);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct check_udp *c = argument;
    (void)what;
    ssize_t n = recv((int)fd, c->loop->read_buffer, LOOP_READ_BUFFER, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            c->done(c, false, strerrordesc_np(errno));
        return;
    }
    struct slice in = slice_of(c->loop->read_buffer, (size_t)n);
    if (slice_begins(in, c->settings->receive)) {
        c->done(c, true, c->settings->receive.len ? "the expected answer" : "an answer");
        return;
    }
    char got[64], text[SERVER_REASON_MAX];
    escape_print(in, got, sizeof got);
    snprintf(text, sizeof text, "its answer begins with \"%s\", which is not expected", got);
    c->done(c, false, text);
}

static void on_time(struct timer *t)
{
    struct check_udp *c = CONTAINER_OF(t, struct check_udp, timer);
    char text[SERVER_REASON_MAX];
    if (c->settings->receive.len == 0) {
        c->done(c, true, "not refused");
        return;
    }
    snprintf(text, sizeof text, "no answer within %llu ms", (unsigned long long)c->settings->timeout);
    c->done(c, false, text);
}
