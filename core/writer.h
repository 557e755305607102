/* Writes logs to files, standard streams or syslog without ever blocking who logs: a thread of its own does
 * the writing, and a sink that falls behind loses lines and counts them. One thread serves all, and does not
 * wait for an output that takes nothing (a full pipe): the others go on. Only a disk is waited for. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "core/base.h"
#include "core/slice.h"

#define WRITER_QUEUE_BYTES (4u << 20) /* a sink's backlog; past it lines are lost */

struct writer;
struct sink;

/* NULL when out of memory. Outputs may be opened, and what is pushed waits for the thread. */
struct writer *writer_create(void);
/* Starts the thread: with the rights that its caller has now, since those of a process can be given up thread
 * by thread alone. 0, or -1 with errno. */
int writer_start(struct writer *w);
/* Writes what waits (for at most `wait_ms`), stops the thread, frees it and every sink. A thread that is
 * stuck on its output is left behind with what it holds. */
void writer_free(struct writer *w, msec_t wait_ms);

/* `stdout`, `stderr`, `syslog`, `syslog:/path` (log_output.h) or a file's path, which is opened now (append,
 * created with mode 0640). The same output opened twice is one sink. NULL with errno when it cannot be
 * opened. Counted: sink_release. */
struct sink *writer_open(struct writer *w, struct slice output);
void sink_release(struct sink *s);

/* Takes over a malloc'ed piece of whole lines; frees it. From any thread; never blocks on the output. */
void sink_push(struct sink *s, char *lines, size_t len);
/* Copies whole lines. */
void sink_line(struct sink *s, const char *line, size_t len);

/* There was no memory for them. */
void sink_lose(struct sink *s, uint64_t lines);

/* Lines that were lost because the queue was full or the output failed. */
uint64_t sink_lost(const struct sink *s);
/* Of all sinks since it was made, those that are closed too. */
uint64_t writer_lost(const struct writer *w);

/* The files that are open become this user's and group's, who will have to open them anew; not those that
 * have another name besides, which may be somebody else's. */
void writer_give_to(struct writer *w, uid_t user, gid_t group);

/* SIGUSR1: opens every file anew, on the writer's thread, before the lines that wait are written. */
void writer_reopen(struct writer *w);
