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
#include "proxy/generation.h"
#include "proxy/notify.h"
#include "proxy/sandbox.h"
#include "proxy/snapshot.h"
#include "proxy/sockets.h"
#include "proxy/stats.h"
#include "proxy/trial_watch.h"
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
    struct generations generations; /* those that were in force; the newest is the current one */
    struct trial_watch trial;       /* of the newest, and what a trial is compared with */
    uint64_t rollbacks;             /* by hand and by trials */
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

/* The result of what changes the configuration. */
struct reload_result {
    bool ok;
    bool conflict;       /* refused for what is going on just now, whatever the file says */
    char *text;          /* malloc'ed: what changed, or the faults, a line each */
    char *notes;         /* malloc'ed or NULL: what else is to be known, a line each */
    uint64_t generation; /* that is in force now; 0 = refused */
    uint64_t before;     /* that it took the place of: what a trial falls back to */
};
void reload_result_free(struct reload_result *r);

/* Reads the file anew. A file with faults changes nothing. The answer is there at once; workers take the new
 * configuration up at their next new request. `by` (a literal) says who asked: signal, command, api, watch,
 * of which a watch reads certificates alone anew: what is in force stays, whatever the file says now.
 *
 * With a trial the new configuration falls back by itself when it does worse than the limits allow, or when
 * nobody confirms it in time (trial_watch.h). While one is on, reloads and upgrades are refused. */
struct reload_result runtime_reload(struct runtime *rt, const char *by, const struct trial_limits *trial);

/* The trial has ended well: the configuration stays. */
struct reload_result runtime_confirm(struct runtime *rt, const char *by);

/* A configuration that was in force before is so again, with the text that it was read from, whatever its
 * file says now. 0: the one before; in a trial, the one that it falls back to. */
struct reload_result runtime_rollback(struct runtime *rt, uint64_t number, const char *by);

/* The trial falls back; what stands in the way is told, and it stays on to try again. */
void runtime_fall_back(struct runtime *rt, enum trial_end how, const char *why);

/* What a reload with that file (NULL: the one that is in use) would change, in words. Nothing is touched. */
struct reload_result runtime_diff(struct runtime *rt, const char *file);
/* What differs between two generations that are kept. */
struct reload_result runtime_diff_generations(struct runtime *rt, uint64_t from, uint64_t to);

/* A generation's text as YAML, without comments and secrets; malloc'ed, NULL when it is not kept. */
char *runtime_config_text(struct runtime *rt, uint64_t number, size_t most);
/* Whether a reload would find another text than the one that is in force. */
bool runtime_file_differs(struct runtime *rt);

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
