/* What the balancer's tests share: upstreams from YAML text, servers that are scripted on threads, and a loop
 * that runs until a condition holds. */
#pragma once

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/upstream.h"
#include "config/option.h"
#include "tests/unit/patience.h"

/* A configuration and the upstreams that were made of it. */
struct fixture {
    struct config config;
    struct upstream_settings settings;
    struct upstream *upstream;
};

/* The text is an upstream's map, `{servers: […]}`. The number of faults. */
static inline size_t fixture_read(struct fixture *f, const char *text)
{
    *f = (struct fixture){0};
    config_init(&f->config);
    if (config_parse(&f->config, "test.yaml", slice_text(text)) == 0)
        option_apply(&f->config, &upstream_table, f->config.root, &f->settings);
    return f->config.error_count;
}

static inline struct upstream *fixture_make(struct fixture *f, const char *text, struct server_registry *r,
                                            unsigned workers)
{
    size_t faults = fixture_read(f, text);
    if (faults)
        print_error("%s", config_errors_text(&f->config));
    assert_int_equal(faults, 0);
    f->upstream = upstream_create(&f->config, f->config.root, S("up"), &f->settings, r, workers);
    assert_non_null(f->upstream);
    return f->upstream;
}

static inline void fixture_free(struct fixture *f)
{
    upstream_free(f->upstream);
    config_free(&f->config);
}

static inline struct server *fixture_server(const struct fixture *f, const char *name)
{
    struct server *s = upstream_server(f->upstream, slice_text(name));
    assert_non_null(s);
    return s;
}

static inline msec_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec_t)t.tv_sec * 1000 + (msec_t)t.tv_nsec / 1000000;
}

/* Never idle for long: a timer keeps the loop turning. */
struct ticker {
    struct timer timer;
    struct loop *loop;
};

static inline void ticker_fire(struct timer *t)
{
    struct ticker *k = CONTAINER_OF(t, struct ticker, timer);
    loop_timer(k->loop, &k->timer, 5);
}

/* Runs the loop until `condition` is true; fails the test after five seconds, times the scale. */
#define RUN_UNTIL(loop_, condition)                                                                          \
    do {                                                                                                     \
        struct ticker ticker_ = {.loop = (loop_)};                                                           \
        msec_t limit_ = clock_ms() + 5000 * test_scale();                                                    \
        timer_init(&ticker_.timer, ticker_fire);                                                             \
        loop_timer((loop_), &ticker_.timer, 5);                                                              \
        while (!(condition) && clock_ms() < limit_)                                                          \
            loop_pass(loop_);                                                                                \
        loop_timer_clear((loop_), &ticker_.timer);                                                           \
        if (!(condition))                                                                                    \
            fail_msg("still not so: %s", #condition);                                                        \
    } while (0)

/* A server on a thread: says `answer` to each connection once it has got something (or at once, when
 * `greets`). */
struct scripted {
    pthread_t thread;
    int fd;
    char address[64];
    _Atomic(const char *) answer; /* "" = closes without a word; NULL = accepts and says nothing */
    _Atomic bool stop, keeps_open, greets;
    _Atomic unsigned connections;
    char request[4096]; /* the last; read it after scripted_stop */
};

static inline void scripted_serve(struct scripted *s, int fd)
{
    const char *answer = atomic_load(&s->answer);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (!atomic_load(&s->greets)) {
        for (int i = 0; i < 250 && !atomic_load(&s->stop) && poll(&p, 1, 20) == 0; i++)
            ;
        /* One that was cut off by the stop says nothing: the last whole request stays. */
        ssize_t n = recv(fd, s->request, sizeof s->request - 1, MSG_DONTWAIT);
        if (n <= 0)
            return;
        s->request[n] = '\0';
    }
    if (answer)
        (void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    while ((!answer || atomic_load(&s->keeps_open)) && !atomic_load(&s->stop)) {
        char bytes[256];
        if (poll(&p, 1, 20) > 0 && recv(fd, bytes, sizeof bytes, 0) <= 0)
            break;
    }
}

static inline void *scripted_run(void *argument)
{
    struct scripted *s = argument;
    while (!atomic_load(&s->stop)) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            continue;
        atomic_fetch_add(&s->connections, 1);
        scripted_serve(s, fd);
        close(fd);
    }
    return NULL;
}

/* A bound socket on a free port of 127.0.0.1. */
static inline int listen_anywhere(char *address, size_t size, bool listening)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    if (listening)
        assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    snprintf(address, size, "127.0.0.1:%u", ntohs(a.sin_port));
    return fd;
}

static inline void scripted_start(struct scripted *s, const char *answer)
{
    memset(s, 0, sizeof *s);
    atomic_store(&s->answer, answer);
    s->fd = listen_anywhere(s->address, sizeof s->address, true);
    assert_int_equal(pthread_create(&s->thread, NULL, scripted_run, s), 0);
}

static inline void scripted_stop(struct scripted *s)
{
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    close(s->fd);
}
