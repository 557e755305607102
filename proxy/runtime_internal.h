/* What the files of the runtime share among themselves; nobody else includes it. */
#pragma once

#include "proxy/runtime.h"

/* reload.c: builds a snapshot and hands it to the workers; at the start also makes these. */
struct reload_result load(struct runtime *rt, const char *file, bool first);
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

/* upgrade.c: this process is the next one, and serves. */
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
