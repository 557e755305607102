/* What the service manager is told (sd_notify(3), by its protocol: datagrams to the socket that NOTIFY_SOCKET
 * names). Without one every call does nothing.
 *
 * The watchdog (WatchdogSec= of the unit) is answered by the control thread, and only while every worker's
 * loop goes round: a worker that hangs makes the manager end the process and start it anew. */
#pragma once

#include "core/loop.h"

struct runtime;

struct notify {
    int fd;             /* connected; -1 = nobody listens */
    usec_t watchdog_us; /* 0 = none wanted */
    struct timer timer;
    uint64_t *beats; /* of each worker, when the manager was told last */
};

/* Before another thread is there, and before a sandbox. Leaves the socket's name in the environment, for the
 * program that an upgrade starts. */
void notify_init(struct notify *n);
void notify_free(struct notify *n, struct loop *control);

/* Variables as sd_notify(3) has them, a line each. */
void notify_tell(const struct notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The process serves, goes on after a reload (successful or not), begins one, ends, or has handed over. */
void notify_serving(struct runtime *rt);
void notify_reloading(struct runtime *rt);
void notify_stopping(struct runtime *rt);
void notify_handed_over(struct runtime *rt, pid_t next);
