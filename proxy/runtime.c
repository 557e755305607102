#include "proxy/runtime.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/activation.h"
#include "proxy/http/h1/parse.h"
#include "proxy/runtime_internal.h"
#include "tls/client.h"

#define CERTIFICATES_MS 20000

static void watch_certificates(struct timer *t);
static void free_all(struct runtime *rt);

/* Starting. */

static unsigned count_workers(const struct snapshot *s)
{
    if (s->settings.workers)
        return (unsigned)s->settings.workers;
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return cpus < 1 ? 1 : cpus > WORKERS_MAX ? WORKERS_MAX : (unsigned)cpus;
}

static void print_faults(struct snapshot *s)
{
    fputs(config_errors_text(&s->config), stderr);
    if (s->config.errors_dropped)
        fprintf(stderr, "%zu more faults\n", s->config.errors_dropped);
}

/* How many workers there will be is in the file, and must be known before anything is built for them. */
static int read_worker_count(struct runtime *rt)
{
    struct snapshot_context dry = {
        .workers = 1, .dry = true, .access = rt->hooks->access, .argument = rt->hooks->argument};
    struct snapshot *s = snapshot_build(rt->file, &dry);
    if (!s) {
        fprintf(stderr, "weir: out of memory\n");
        return -1;
    }
    bool good = s->config.error_count == 0;
    if (!good)
        print_faults(s);
    rt->worker_count = count_workers(s);
    snapshot_free(s);
    return good ? 0 : -1;
}

static void on_server_change(struct server *s, void *argument)
{
    struct runtime *rt = argument;
    char text[512];
    struct server_report report;
    server_report(s, &report);
    snprintf(text, sizeof text, "%.*s %.*s is %s%s%s", SLICE_FMT(s->upstream), SLICE_FMT(s->name),
             report.retired ? "no server any more" : report.state, report.reason[0] ? ": " : "",
             report.reason);
    if (rt->hooks->event)
        rt->hooks->event(rt->hooks->argument, "server", text);
}

static struct loop *loop_of_worker(void *argument, unsigned index)
{
    const struct runtime *rt = argument;
    return &rt->workers[index]->loop;
}

static void sum_totals(const struct server *s, struct server_totals *out, void *argument)
{
    struct runtime *rt = argument;
    struct counters *tables[WORKERS_MAX];
    size_t count = 0;
    while (count < rt->worker_count && rt->workers && rt->workers[count]) {
        tables[count] = &rt->workers[count]->counters;
        count++;
    }
    counters_sum(tables, count, s, out);
}

static int create_parts(struct runtime *rt)
{
    if (loop_init(&rt->control, rt->worker_count) != 0)
        return -1;
    rt->control.owner = rt;
    if (signals_install(rt) != 0)
        return -1;
    if (stats_init(&rt->stats, rt->worker_count) != 0)
        return -1;
    struct registry_options options = {.loop = &rt->control,
                                       .on_change = on_server_change,
                                       .argument = rt,
                                       .totals = sum_totals,
                                       .dns_servers = getenv("WEIR_DNS_SERVERS"),
                                       .tls_worker = rt->worker_count,
                                       .worker = loop_of_worker};
    rt->registry = registry_create(&options);
    rt->tickets = tls_tickets_create();
    rt->workers = calloc(rt->worker_count, sizeof *rt->workers);
    return rt->registry && rt->tickets && rt->workers ? 0 : -1;
}

static int start_workers(struct runtime *rt)
{
    if (writer_start(rt->writer) != 0) {
        fprintf(stderr, "weir: cannot start the writer of logs: %s\n", strerror(errno));
        return -1;
    }
    for (unsigned i = 0; i < rt->worker_count; i++) {
        struct worker *w = aligned_alloc(64, (sizeof *w + 63) & ~(size_t)63);
        if (!w || worker_start(w, i, rt->observers, rt->cache, &rt->control) != 0) {
            fprintf(stderr, "weir: cannot start worker %u: %s\n", i, strerror(errno));
            free(w);
            return -1;
        }
        rt->workers[i] = w;
    }
    return 0;
}

int runtime_start(struct runtime *rt, const char *file, char **argv, const struct observers *o,
                  const struct runtime_hooks *hooks)
{
    *rt = (struct runtime){.argv = argv, .observers = o, .hooks = hooks, .upgrade_fd = -1};
    timer_init(&rt->certificates, watch_certificates);
    timer_init(&rt->drain, drain_is_over);
    timer_init(&rt->upgrade_deadline, upgrade_is_late);
    h1_parse_init(H1_PATH_AUTO);
    raise_descriptor_limit(NULL);
    rt->file = strdup(file);
    rt->program = realpath("/proc/self/exe", NULL);
    rt->writer = writer_create(); /* its thread comes with the workers', in what sandbox they are in */
    sandbox_inherit(&rt->sandbox);
    if (!rt->file || !rt->writer || read_worker_count(rt) != 0)
        return -1;
    sockets_init(&rt->sockets, rt->worker_count);
    sockets_inherit(&rt->sockets);
    activation_take(&rt->sockets);
    notify_init(
        &rt->notify); /* after it: whatever has a number that LISTEN_FDS counts in is taken or closed */
    if (create_parts(rt) != 0) {
        fprintf(stderr, "weir: cannot start: %s\n", strerror(errno));
        return -1;
    }
    rt->started_us = loop_now_us(&rt->control);
    rt->started_wall_us = loop_wall_us(&rt->control);
    rt->log_sink = writer_open(rt->writer, S("stderr"));
    struct load_result first = load(rt, file, NULL, true);
    if (!first.ok) {
        fputs(first.why, stderr);
        free(first.why);
        free(first.changes);
        return -1;
    }
    change_began(rt, &first, upgrade_is_next() ? "upgrade" : "start");
    trial_watch_start(rt);
    loop_timer(&rt->control, &rt->certificates, CERTIFICATES_MS);
    log_to(rt->log_sink);
    log_info("serving", LOG_TEXT("file", rt->file), LOG_U64("workers", rt->worker_count),
             LOG_U64("pid", getpid()));
    upgrade_tell_ready();
    notify_serving(rt);
    return 0;
}

int runtime_start_workers(struct runtime *rt)
{
    return start_workers(rt);
}

int runtime_run(struct runtime *rt)
{
    loop_run(&rt->control);
    free_all(rt);
    return rt->exit_status;
}

/* The end. Workers have stopped their loops when this begins. */
static void free_all(struct runtime *rt)
{
    if (rt->hooks->close)
        rt->hooks->close(rt->hooks->argument, rt->handed_over);
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_join(rt->workers[i]);
    loop_timer_clear(&rt->control, &rt->certificates);
    loop_timer_clear(&rt->control, &rt->drain);
    trial_watch_stop(rt);
    generations_free(&rt->generations);
    upgrade_forget(rt);
    notify_free(&rt->notify, &rt->control);
    signals_remove(rt);
    /* The last holds come back as letters. */
    loop_deliver(&rt->control);
    if (rt->snapshot)
        release_snapshot(rt->snapshot);
    for (unsigned i = 0; i < rt->worker_count; i++)
        free(rt->workers[i]);
    free(rt->workers);
    rt->workers = NULL; /* sum_totals: nothing more is counted */
    runtime_cache_stop(rt);
    if (rt->handed_over)
        sockets_forget_files(&rt->sockets);
    sockets_free(&rt->sockets);
    registry_free(rt->registry);
    tls_tickets_free(rt->tickets);
    log_info("stopped");
    log_to(NULL);
    sink_release(rt->log_sink);
    writer_free(rt->writer, 2000);
    sandbox_free(&rt->sandbox);
    loop_free(&rt->control);
    stats_free(&rt->stats);
    free(rt->file);
    free(rt->program);
}

/* Certificates that are renewed on disk are taken up without being asked: by a reload, which refuses
 * half-written ones. */
static void watch_certificates(struct timer *t)
{
    struct runtime *rt = CONTAINER_OF(t, struct runtime, certificates);
    bool changed = false;
    tls_tickets_refresh(rt->tickets, loop_now(&rt->control));
    for (size_t i = 0; i < rt->snapshot->listener_count && !changed; i++)
        changed = rt->snapshot->listeners[i].tls && tls_server_changed(rt->snapshot->listeners[i].tls);
    for (size_t i = 0; i < rt->snapshot->upstream_count && !changed; i++)
        changed = rt->snapshot->upstreams[i]->tls && tls_client_changed(rt->snapshot->upstreams[i]->tls);
    if (changed && rt->state == RUNTIME_SERVING && !rt->trial.on) {
        log_info("a certificate file has changed");
        struct reload_result r = runtime_reload(rt, "watch", NULL);
        reload_result_free(&r);
    }
    loop_timer(&rt->control, &rt->certificates, CERTIFICATES_MS);
}

uint64_t runtime_connections(const struct runtime *rt)
{
    uint64_t open = 0;
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next)
        for (unsigned i = 0; i < rt->worker_count; i++)
            open += counter_get(&l->worker[i]->connections_open);
    return open;
}

void runtime_reopen(struct runtime *rt)
{
    log_info("log files are opened anew");
    writer_reopen(rt->writer);
}
