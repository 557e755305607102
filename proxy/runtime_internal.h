/* What the files of the runtime share among themselves; nobody else includes it. */
#pragma once

#include "proxy/runtime.h"

/* reload.c: builds a snapshot and hands it to the workers; at the start also makes these. */
struct load_result {
    bool ok;
    char *changes;                /* what it changes, in words; malloc'ed, never NULL */
    char *why;                    /* the faults; malloc'ed; NULL when ok */
    struct config_source *source; /* what it was read from, held; NULL unless ok */
};
/* Of the disk, or of what was kept (NULL: of the disk). */
struct load_result load(struct runtime *rt, const char *file, struct config_source *kept, bool first);
struct snapshot_context context_of(struct runtime *rt, bool dry);
void explain_refusals(struct runtime *rt, struct snapshot *s);

/* change.c: what was loaded first is generation 1. */
void change_began(struct runtime *rt, const struct load_result *first, const char *by);
/* The last hold on a snapshot is gone. */
void release_snapshot(struct snapshot *s);

/* runtime.c */
int runtime_start_workers(struct runtime *rt);

/* runtime_cache.c. Start: 0, or -1 when out of memory. Stop: when no worker runs any more. */
int runtime_cache_start(struct runtime *rt, const struct cache_settings *s);
void runtime_cache_configure(struct runtime *rt, const struct cache_settings *s);
void runtime_cache_stop(struct runtime *rt);
/* The workers are there: their second tiers follow the settings. */
void runtime_redis_apply(struct runtime *rt, const struct cache_settings *s);

/* drain.c */
void drain_is_over(struct timer *t);
void drain_begin(struct runtime *rt, bool handed_over);

/* upgrade.c: whether this process was started by an upgrade (until it has told that it serves). */
bool upgrade_is_next(void);
/* This process is the next one, and serves. */
void upgrade_tell_ready(void);
void upgrade_forget(struct runtime *rt);
/* The process is to stop: so is the next one, if it does not serve yet. */
void upgrade_call_off(struct runtime *rt);
void upgrade_is_late(struct timer *t);

/* signals.c; 0 or -1. */
int signals_install(struct runtime *rt);
void signals_remove(struct runtime *rt);

/* descriptors.c: as many descriptors as the system lets us have; with a configuration, more than the hard
 * limit where this process may (root), and what is too few for it is told. */
void raise_descriptor_limit(const struct snapshot *s);
