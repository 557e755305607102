/* For the tests of connections: one on a loop of its own, everything it is told written down, and a plain
 * blocking socket on the other side. */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/conn.h"
#include "tests/unit/patience.h"

#define TEST_WAIT_MS (5000 * test_scale())

struct side {
    struct conn conn;
    int peer; /* the other end, -1 when closed */
    char *got;
    size_t got_len;
    int connected, readable, eof, broken_reads, drained, timeouts, failed, gone;
    int error;
    bool inside;                        /* a call into the connection is running: no callback may come */
    bool close_when_told;               /* every callback closes */
    void (*on_readable)(struct side *); /* instead of reading all */
    void (*on_connected)(struct side *);
    void (*on_failed)(struct side *);
};

struct world {
    struct loop loop;
    struct timer guard;
    struct side a, b;
};

static inline uint64_t test_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void guard_fires(struct timer *t)
{
    (void)t;
}

/* One pass that waits for at most a few milliseconds. */
static inline void pass(struct world *w)
{
    w->loop.now_fresh = false;
    loop_timer(&w->loop, &w->guard, 5);
    loop_pass(&w->loop);
}

#define UNTIL(w, condition)                                                                                  \
    do {                                                                                                     \
        uint64_t end_ = test_ms() + TEST_WAIT_MS;                                                            \
        while (!(condition)) {                                                                               \
            if (test_ms() > end_)                                                                            \
                fail_msg("waited in vain for: %s", #condition);                                              \
            pass(w);                                                                                         \
        }                                                                                                    \
    } while (0)

/* Long enough for what must not happen. */
static inline void pass_for(struct world *w, unsigned ms)
{
    for (uint64_t end = test_ms() + ms; test_ms() < end;)
        pass(w);
}

static inline struct side *side_of(struct conn *c)
{
    return CONTAINER_OF(c, struct side, conn);
}

static inline void side_take(struct side *s, struct slice bytes)
{
    if (!bytes.len)
        return;
    s->got = realloc(s->got, s->got_len + bytes.len);
    memcpy(s->got + s->got_len, bytes.at, bytes.len);
    s->got_len += bytes.len;
}

/* Reads once and notes what came; the kept bytes are taken too. */
static inline enum conn_status side_read(struct side *s)
{
    struct slice in;
    enum conn_status status = conn_read(&s->conn, &in);
    if (status == CONN_DATA) {
        side_take(s, in);
        assert_int_equal(conn_keep(&s->conn, slice_of(NULL, 0)), 0);
    } else if (status == CONN_EOF) {
        s->eof++;
    } else if (status == CONN_ERROR) {
        s->broken_reads++;
        s->error = errno;
        conn_close(&s->conn);
    }
    return status;
}

static inline void side_told(struct side *s)
{
    assert_false(s->inside);
    assert_false(s->conn.closed);
    if (s->close_when_told)
        conn_close(&s->conn);
}

static inline void side_connected(struct conn *c)
{
    struct side *s = side_of(c);
    s->connected++;
    side_told(s);
    if (s->on_connected)
        s->on_connected(s);
}

static inline void side_readable(struct conn *c)
{
    struct side *s = side_of(c);
    s->readable++;
    side_told(s);
    if (c->closed)
        return;
    if (s->on_readable) {
        s->on_readable(s);
        return;
    }
    while (side_read(s) == CONN_DATA)
        ;
}

static inline void side_drained(struct conn *c)
{
    side_of(c)->drained++;
    side_told(side_of(c));
}

static inline void side_timeout(struct conn *c)
{
    side_of(c)->timeouts++;
    side_told(side_of(c));
}

static inline void side_failed(struct conn *c, int error)
{
    struct side *s = side_of(c);
    s->failed++;
    s->error = error;
    side_told(s);
    if (s->on_failed)
        s->on_failed(s);
}

static inline void side_gone(struct conn *c)
{
    assert_true(c->closed);
    side_of(c)->gone++;
}

static const struct conn_handler side_handler = {
    .connected = side_connected,
    .readable = side_readable,
    .drained = side_drained,
    .timeout = side_timeout,
    .failed = side_failed,
};

static inline int side_write(struct side *s, const void *bytes, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    s->inside = true;
    int result = conn_write(&s->conn, &iov, 1);
    s->inside = false;
    return result;
}

/* Two ends of a TCP connection over loopback. */
static inline void tcp_pair(int fds[2])
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&at, sizeof at), 0);
    fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(fds[0] >= 0);
    close(listener);
}

enum pair_kind { PAIR_TCP, PAIR_UNIX };

static inline void side_open(struct world *w, struct side *s, enum pair_kind kind)
{
    int fds[2];
    if (kind == PAIR_TCP) {
        tcp_pair(fds);
    } else {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(evutil_make_socket_nonblocking(fds[0]), 0);
    }
    assert_int_equal(conn_open(&s->conn, &w->loop, fds[0], &side_handler), 0);
    s->peer = fds[1];
}

static inline void peer_close(struct side *s)
{
    close(s->peer);
    s->peer = -1;
}

static inline void peer_reset(struct side *s)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(s->peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    peer_close(s);
}

static inline void peer_send(struct side *s, const char *text)
{
    assert_int_equal(send(s->peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads what is there now, without waiting; how much, -1 at the end. */
static inline ssize_t peer_receive(struct side *s, char *out, size_t size)
{
    ssize_t n = recv(s->peer, out, size, MSG_DONTWAIT);
    return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
}

/* Runs the loop and reads at the other end until `len` bytes came (or the end); the number. */
static inline size_t peer_receive_all(struct world *w, struct side *s, char *out, size_t len)
{
    size_t have = 0;
    for (uint64_t end = test_ms() + TEST_WAIT_MS; have < len && test_ms() < end;) {
        ssize_t n = peer_receive(s, out + have, len - have);
        if (n < 0)
            break;
        have += (size_t)n;
        if (n == 0)
            pass(w);
    }
    return have;
}

static inline bool peer_at_end(struct side *s)
{
    char byte;
    return recv(s->peer, &byte, 1, MSG_DONTWAIT) == 0;
}

static inline void assert_got(const struct side *s, const char *text)
{
    assert_int_equal(s->got_len, strlen(text));
    assert_memory_equal(s->got, text, s->got_len);
}

static inline int world_make(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->a.peer = w->b.peer = -1;
    if (!w || loop_init(&w->loop, 0) != 0)
        return -1;
    timer_init(&w->guard, guard_fires);
    *state = w;
    return 0;
}

static inline int world_free(void **state)
{
    struct world *w = *state;
    struct side *sides[] = {&w->a, &w->b};
    for (int i = 0; i < 2; i++) {
        conn_close(&sides[i]->conn);
        if (sides[i]->peer >= 0)
            close(sides[i]->peer);
        free(sides[i]->got);
    }
    loop_timer_clear(&w->loop, &w->guard);
    loop_free(&w->loop);
    free(w);
    return 0;
}
