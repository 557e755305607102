/* For the tests of the Redis tier: a real redis-server on a socket of its own, and nodes of a fleet on one
 * loop, each with one worker's tier. */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/redis/internal.h"
#include "config/option.h"
#include "core/log.h"
#include "tests/unit/patience.h"

#define REDIS_WAIT_MS (10000 * test_scale())
#define TOLD_MAX      64

struct redis_server {
    pid_t pid; /* 0 = not running */
    char folder[64], socket[96], password[32];
    unsigned port; /* 0 = the Unix socket alone */
};

struct told {
    enum cache_purge_kind kind;
    bool soft;
    char text[64];
};

struct node {
    struct config config;
    struct cache_redis_settings settings;
    struct cache_redis_fleet *fleet;
    struct cache_redis *tier;
    struct told told[TOLD_MAX];
    unsigned told_count;
};

struct world {
    struct redis_server server;
    struct loop loop;
    struct timer guard;
    struct node a, b;
};

struct call {
    struct cache_redis_call call;
    enum cache_redis_result result;
    unsigned done; /* how often */
    bool inside;   /* cache_redis_get() runs: no callback may come */
    char *content;
    size_t len;
};

static inline uint64_t test_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline bool redis_is_there(void)
{
    return access("/usr/bin/redis-server", X_OK) == 0;
}

static inline int raw_connect(const struct redis_server *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", s->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

/* An inline command; the beginning of its answer. */
static inline void raw(const struct redis_server *s, const char *command, char *out, size_t size)
{
    char line[512];
    int fd = raw_connect(s);
    assert_true(fd >= 0);
    if (s->password[0]) {
        dprintf(fd, "AUTH %s\r\n", s->password);
        assert_true(read(fd, line, sizeof line) > 0);
    }
    dprintf(fd, "%s\r\n", command);
    ssize_t n = read(fd, out, size - 1);
    assert_true(n > 0);
    out[n] = '\0';
    close(fd);
}

static inline void raw_ok(const struct redis_server *s, const char *command)
{
    char answer[512];
    raw(s, command, answer, sizeof answer);
    if (answer[0] == '-')
        fail_msg("%s: %s", command, answer);
}

static inline int server_try(struct redis_server *s)
{
    char port[16];
    snprintf(port, sizeof port, "%u", s->port);
    unlink(s->socket);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        char *arguments[] = {
            "redis-server", "--port", port,           "--bind", "127.0.0.1", "--unixsocket", s->socket,
            "--save",       "",       "--appendonly", "no",     "--dir",     s->folder,      "--requirepass",
            s->password,    NULL};
        execv("/usr/bin/redis-server", arguments);
        _exit(127);
    }
    int fd = -1;
    for (uint64_t end = test_ms() + REDIS_WAIT_MS; fd < 0; usleep(1000)) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0; /* its port is another's */
            return -1;
        }
        if (test_ms() > end)
            fail_msg("redis-server does not answer");
        fd = raw_connect(s);
    }
    close(fd);
    return 0;
}

static inline void server_start(struct redis_server *s)
{
    if (server_try(s) != 0)
        fail_msg("redis-server does not start");
}

static inline void server_signal(struct redis_server *s, int number)
{
    assert_int_equal(kill(s->pid, number), 0);
}

static inline void server_kill(struct redis_server *s)
{
    if (!s->pid)
        return;
    server_signal(s, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

/* The loop. */

static inline void guard_fires(struct timer *t)
{
    (void)t;
}

static inline void pass(struct world *w)
{
    w->loop.now_fresh = false;
    loop_timer(&w->loop, &w->guard, 5);
    loop_pass(&w->loop);
}

#define UNTIL(w, condition)                                                                                  \
    do {                                                                                                     \
        uint64_t end_ = test_ms() + REDIS_WAIT_MS;                                                           \
        while (!(condition)) {                                                                               \
            if (test_ms() > end_)                                                                            \
                fail_msg("waited in vain for: %s", #condition);                                              \
            pass(w);                                                                                         \
        }                                                                                                    \
    } while (0)

static inline void pass_for(struct world *w, unsigned ms)
{
    for (uint64_t end = test_ms() + ms; test_ms() < end;)
        pass(w);
}

/* Nodes. */

static inline void on_told(void *argument, enum cache_purge_kind kind, struct slice text, bool soft)
{
    struct node *n = argument;
    if (n->told_count >= TOLD_MAX)
        return;
    struct told *t = &n->told[n->told_count++];
    *t = (struct told){.kind = kind, .soft = soft};
    snprintf(t->text, sizeof t->text, "%.*s", SLICE_FMT(text));
}

static inline void assert_told(const struct node *n, unsigned i, enum cache_purge_kind kind, const char *text,
                               bool soft)
{
    assert_true(i < n->told_count);
    assert_int_equal(n->told[i].kind, kind);
    assert_string_equal(n->told[i].text, text);
    assert_int_equal(n->told[i].soft, soft);
}

static inline void node_open_with(struct world *w, struct node *n, const char *yaml, unsigned workers)
{
    memset(n, 0, sizeof *n);
    config_init(&n->config);
    assert_int_equal(config_parse_value(&n->config, "test", slice_text(yaml)), 0);
    assert_int_equal(option_apply(&n->config, &cache_redis_table, n->config.root, &n->settings), 0);
    n->fleet = cache_redis_fleet_create(&(struct cache_redis_options){
        .settings = &n->settings, .loop = &w->loop, .workers = workers, .on_purge = on_told, .argument = n});
    assert_non_null(n->fleet);
    n->tier = cache_redis_create(n->fleet, &w->loop, 0);
    assert_non_null(n->tier);
}

/* `more`: options, ", prefix: x". A deadline that no quiet machine misses, unless `more` has one. */
static inline void node_open(struct world *w, struct node *n, const char *more)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml, "{address: \"unix:%s\", retry: 10ms%s%s}", w->server.socket,
             strstr(more, "deadline") ? "" : ", deadline: 5s", more);
    node_open_with(w, n, yaml, 1);
}

static inline void node_close(struct node *n)
{
    cache_redis_close(n->tier);
    cache_redis_fleet_close(n->fleet);
    n->tier = NULL;
    n->fleet = NULL;
}

static inline struct cache_redis_stats stats_of(struct node *n)
{
    struct cache_redis_stats s;
    cache_redis_stats(n->fleet, &s);
    return s;
}

/* Calls. */

static inline void on_done(struct cache_redis_call *c, enum cache_redis_result result, struct slice content)
{
    struct call *k = CONTAINER_OF(c, struct call, call);
    assert_false(k->inside);
    k->done++;
    k->result = result;
    free(k->content);
    k->content = NULL;
    k->len = content.len;
    if (content.len) {
        k->content = malloc(content.len);
        memcpy(k->content, content.at, content.len);
    }
}

static inline bool call_begin(struct node *n, struct call *k, const char *key)
{
    free(k->content);
    *k = (struct call){.call.done = on_done, .inside = true};
    bool begun = cache_redis_get(n->tier, slice_text(key), &k->call);
    k->inside = false;
    return begun;
}

/* Whether look-ups are made: the connections come when they are wanted. */
static inline bool is_used(struct node *n)
{
    struct call k = {.content = NULL};
    if (!call_begin(n, &k, "nothing"))
        return false;
    cache_redis_cancel(&k.call);
    return true;
}

static inline struct slice place_of(const char *key, char out[64])
{
    memcpy(out, "weir:1:", 7);
    assert_int_equal(redis_frame_place(slice_text(key), out + 7), 0);
    out[7 + REDIS_FRAME_KEY_HEX] = '\0';
    return slice_of(out, 7 + REDIS_FRAME_KEY_HEX);
}

static inline bool put_now(struct node *n, const char *key, const char *url, const char *tag,
                           struct cache_redis_stamp stamp, struct slice content)
{
    struct slice tags[] = {slice_text(tag), S("another")};
    struct iovec iov[2] = {
        {(void *)(uintptr_t)content.at, content.len / 2},
        {(void *)(uintptr_t)(content.at + content.len / 2), content.len - content.len / 2}};
    return cache_redis_put(n->tier, &(struct cache_redis_value){.key = slice_text(key),
                                                                .stamp = stamp,
                                                                .url = slice_text(url),
                                                                .tags = tags,
                                                                .tag_count = 2,
                                                                .content = iov,
                                                                .count = 2,
                                                                .ttl = 60});
}

/* Until Redis has it. */
static inline void put_at(struct world *w, struct node *n, const char *key, const char *url, const char *tag,
                          struct cache_redis_stamp stamp, struct slice content)
{
    UNTIL(w, put_now(n, key, url, tag, stamp, content));
    UNTIL(w, redis_link_pending(&n->tier->writes) == 0);
}

static inline void put(struct world *w, struct node *n, const char *key, const char *url, const char *tag,
                       const char *content)
{
    UNTIL(w, stats_of(n).synced);
    put_at(w, n, key, url, tag, cache_redis_now(n->fleet), slice_text(content));
}

static inline enum cache_redis_result look(struct world *w, struct node *n, const char *key, struct call *k)
{
    UNTIL(w, call_begin(n, k, key));
    UNTIL(w, k->done);
    assert_int_equal(k->done, 1);
    return k->result;
}

#define assert_found(w, n, key, expected)                                                                    \
    do {                                                                                                     \
        struct call k_ = {.content = NULL};                                                                  \
        assert_int_equal(look(w, n, key, &k_), CACHE_REDIS_FOUND);                                           \
        assert_int_equal(k_.len, strlen(expected));                                                          \
        assert_memory_equal(k_.content, expected, k_.len);                                                   \
        free(k_.content);                                                                                    \
    } while (0)

#define assert_result(w, n, key, expected)                                                                   \
    do {                                                                                                     \
        struct call k_ = {.content = NULL};                                                                  \
        assert_int_equal(look(w, n, key, &k_), expected);                                                    \
        free(k_.content);                                                                                    \
    } while (0)

/* The world. */

static inline int world_make(void **state)
{
    if (!redis_is_there()) {
        fputs("redis-server is not there\n", stderr);
        return -1;
    }
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    struct world *w = calloc(1, sizeof *w);
    if (!w || loop_init(&w->loop, 0) != 0)
        return -1;
    timer_init(&w->guard, guard_fires);
    snprintf(w->server.folder, sizeof w->server.folder, "/tmp/weir-redis-XXXXXX");
    assert_non_null(mkdtemp(w->server.folder));
    snprintf(w->server.socket, sizeof w->server.socket, "%s/redis.sock", w->server.folder);
    *state = w;
    return 0;
}

static inline int world_free(void **state)
{
    struct world *w = *state;
    node_close(&w->a);
    node_close(&w->b);
    pass_for(w, 10);
    loop_timer_clear(&w->loop, &w->guard);
    loop_free(&w->loop);
    config_free(&w->a.config);
    config_free(&w->b.config);
    server_kill(&w->server);
    unlink(w->server.socket);
    rmdir(w->server.folder);
    free(w);
    return 0;
}
