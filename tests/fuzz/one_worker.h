/* A worker in this process, without threads: what a fuzzer sends a whole proxy is seen to its end in loop
 * passes that it makes itself. Clients are socket pairs, backends sockets of 127.0.0.0/8. */
#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/http/exchange.h"

struct one_worker {
    struct worker worker;
    struct loop control;
    struct stats stats;
    struct server_registry *registry;
    struct snapshot *snapshot; /* NULL = not started */
};

/* Where backends accept, on every address of the machine. */
static int one_worker_listen(unsigned *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ASSERT(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 512) == 0);
    ASSERT(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static struct snapshot *one_worker_build(struct one_worker *o, const char *yaml)
{
    char path[64];
    ssize_t len = (ssize_t)strlen(yaml);
    int fd = memfd_create("weir.yaml", 0);
    ASSERT(fd >= 0 && write(fd, yaml, (size_t)len) == len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct snapshot_context context = {
        .workers = 1, .servers = o->registry, .stats = &o->stats, .control = &o->control};
    struct snapshot *s = snapshot_build(path, &context);
    ASSERT(s);
    if (s->config.error_count)
        fputs(config_errors_text(&s->config), stderr);
    ASSERT(s->config.error_count == 0);
    close(fd);
    return s;
}

static void one_worker_nothing_released(struct snapshot *s)
{
    (void)s;
}

static void one_worker_init(struct one_worker *o)
{
    struct worker *w = &o->worker;
    list_init(&w->listeners);
    list_init(&w->free_exchanges);
    task_init(&w->drained_task);
    counters_init(&w->counters);
    w->head_buffer = malloc(HEAD_BUFFER);
    ASSERT(w->head_buffer && getrandom(w->random, sizeof w->random, 0) > 0);
    ASSERT(loop_init(&w->loop, 0) == 0);
    w->loop.owner = w;
    pool_init(&w->pool, &w->loop, 0, &w->counters);
    w->control = &o->control;
}

static void one_worker_start(struct one_worker *o, const char *yaml)
{
    signal(SIGPIPE, SIG_IGN);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    h1_parse_init(H1_PATH_AUTO);
    ASSERT(loop_init(&o->control, 1) == 0 && stats_init(&o->stats, 1) == 0);
    struct registry_options options = {.loop = &o->control};
    o->registry = registry_create(&options);
    ASSERT(o->registry);
    one_worker_init(o);
    o->snapshot = one_worker_build(o, yaml);
    ASSERT(snapshot_publish(o->snapshot, one_worker_nothing_released) == 0);
    for (size_t i = 0; i < o->snapshot->upstream_count; i++)
        ASSERT(upstream_activate(o->snapshot->upstreams[i]) == 0);
    uint32_t capacity = worker_fields(o->snapshot);
    struct field *fields = calloc(capacity, sizeof *fields);
    struct listener_sockets none = {0};
    worker_apply(&o->worker, o->snapshot, &none, &fields, capacity);
}

static struct listener *one_worker_listener(struct one_worker *o)
{
    return CONTAINER_OF(o->worker.listeners.next, struct listener, link);
}

/* The client's end of a new connection. */
static int one_worker_connect(struct one_worker *o)
{
    int pair[2];
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    struct arrival a = {.fd = pair[0]};
    ASSERT(ip_parse(S("192.0.2.1"), &a.ip) == 0);
    ASSERT(listener_take(one_worker_listener(o), &a) == 0);
    return pair[1];
}

static void one_worker_nothing(struct task *t)
{
    (void)t;
}

/* One that does not wait. */
static void one_worker_pass(struct one_worker *o)
{
    static struct task idle;
    task_init(&idle);
    loop_defer(&o->worker.loop, &idle, one_worker_nothing);
    loop_pass(&o->worker.loop);
}

/* A reset, and no TIME_WAIT: there are many. */
static void one_worker_drop(int fd)
{
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}
