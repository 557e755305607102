/* The running process: the control thread's loop, the workers, and the configuration that they serve. Start,
 * reload, drain, stop and upgrade are here; who asks for them (signals, the control socket, the admin
 * interface) is not.
 *
 * Everything in this file runs on the control thread. */
#pragma once

#include "balancer/registry.h"
#include "cache/purge.h"
#include "core/loop.h"
#include "core/writer.h"
#include "proxy/notify.h"
#include "proxy/sandbox.h"
#include "proxy/snapshot.h"
#include "proxy/sockets.h"
#include "proxy/stats.h"
#include "proxy/worker.h"
#include "tls/tickets.h"

struct runtime;

/* What admin/ does for the runtime. Any may be NULL. */
struct runtime_hooks {
    void *argument;
    /* As in snapshot_context. */
    int (*access)(void *argument, struct config *c, const struct access_settings *s, bool dry, void **out);
    void (*access_free)(void *access);
    /* A snapshot is about to be served for the first time (`first`) or by a reload: open or move admin
     * listeners, set the log. -1 with *why (malloc'ed) refuses it. */
    int (*apply)(void *argument, struct snapshot *s, bool first, char **why);
    /* The process stops or hands over: let go of the admin listeners and the control socket. */
    void (*close)(void *argument, bool handed_over);
    /* Something happened that people and event streams want to hear of: "reload", "server down", … */
    void (*event)(void *argument, const char *kind, const char *text);
};

enum runtime_state { RUNTIME_SERVING, RUNTIME_DRAINING, RUNTIME_STOPPED };

#define RUNTIME_SIGNALS 5

struct runtime {
    struct loop control;
    struct writer *writer;
    struct sink *log_sink;
    struct stats stats;
    struct server_registry *registry;
    struct tls_tickets *tickets;
    struct sockets sockets;
    struct sandbox sandbox;
    struct notify notify;
    struct cache_store *cache; /* lives as long as the process: a reload changes its settings alone */
    struct worker **workers;
    unsigned worker_count;
    struct snapshot *snapshot; /* the current one */
    char *file;                /* of the configuration */
    char **argv;               /* as started, for an upgrade */
    char *program; /* its path, looked up at the start: a new file may have taken its place since */
    uint64_t generation;
    usec_t started_us;
    int64_t started_wall_us;
    enum runtime_state state;
    const struct observers *observers;
    const struct runtime_hooks *hooks;
    struct event signals[RUNTIME_SIGNALS];
    struct timer certificates; /* changed files */
    struct timer cache_sweep;
    struct cache_redis_fleet *redis; /* the cache's second tier; NULL = none */
    struct timer drain;              /* the deadline */
    unsigned let_go;                 /* workers that no longer accept */
    unsigned drained;                /* workers that have no client any more */
    unsigned applying;               /* workers that have not yet taken up the newest snapshot */
    bool handed_over;
    pid_t upgrade_pid; /* of the next process, until it is ready or gone */
    int upgrade_fd;
    struct event upgrade_event;
    struct timer upgrade_deadline;
    int exit_status;
};

/* Reads the file, opens everything, starts the workers. 0; or -1 after the faults were written to standard
 * error. */
int runtime_start(struct runtime *rt, const char *file, char **argv, const struct observers *o,
                  const struct runtime_hooks *hooks);

/* Until it is stopped and everything is freed; the process's exit status. */
int runtime_run(struct runtime *rt);

/* The result of a reload: whether the file was taken up, and in words what changed, or the faults, a line
 * each. */
struct reload_result {
    bool ok;
    char *text; /* malloc'ed */
};

/* Reads the file (NULL: the one that is in use) anew. A file with faults changes nothing. The answer is there
 * at once; workers take the new configuration up at their next new request. */
struct reload_result runtime_reload(struct runtime *rt, const char *file);

/* What a reload with that file would change, in words. Nothing is touched. */
struct reload_result runtime_diff(struct runtime *rt, const char *file);

/* Stops accepting, lets exchanges end, cuts what is left after timeouts.drain, stops. A second call: stops
 * now. */
void runtime_stop(struct runtime *rt);

/* Starts the program anew (argv) with the listening sockets; when it is ready, drains and stops. 0, or -1
 * with *why (static). */
int runtime_upgrade(struct runtime *rt, const char **why);

/* What is stored of that is gone at once, or (`soft`) stale. `text` as in cache/purge.h. 0; or -1 when out of
 * memory: then more is gone than was asked for. */
int runtime_purge(struct runtime *rt, enum cache_purge_kind kind, struct slice text, bool soft);

/* Log files are opened anew. */
void runtime_reopen(struct runtime *rt);

/* The sum over workers. */
uint64_t runtime_connections(const struct runtime *rt);

/* What differs between two snapshots, a line each; malloc'ed, empty when nothing does. */
char *snapshot_diff(const struct snapshot *old, struct snapshot *fresh);
/* The same, and what was changed by hand and is not in the file, so that it can be written there. */
char *snapshot_diff_all(const struct snapshot *old, struct snapshot *fresh);
