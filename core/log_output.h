/* Where the lines of a log go: a file, a standard stream, or syslog. The writer's (core/writer.h): one thread
 * uses an output, and no call waits for whoever reads it.
 *
 * syslog: datagrams to /dev/log, or to the socket of "syslog:/path", one a line, as RFC 3164 has them:
 * `<30>Nov 21 19:36:07 weir[4711]: …`. A socket that is gone is looked for again. */
#pragma once

#include <sys/types.h>

#include "core/base.h"
#include "core/slice.h"

enum log_output_kind {
    LOG_OUTPUT_FILE,   /* a regular one: writing to it is waited for, by this thread alone */
    LOG_OUTPUT_STREAM, /* a pipe, terminal, device or socket, which may take nothing for a while */
    LOG_OUTPUT_SYSLOG,
};

struct log_output {
    const char *name; /* "stdout", "stderr", "syslog", "syslog:/path" or a path; the owner's */
    enum log_output_kind kind;
    int fd; /* -1 = not connected */
    bool is_socket;
    bool is_torn;    /* what was written last is the beginning of a line */
    usec_t tried_us; /* syslog: the last look for the socket */
    int error;       /* of the last failure; 0 = the last write was good */
};

/* 0, or -1 with errno. A missing syslog is no failure. */
int log_output_open(struct log_output *o, const char *name);
void log_output_close(struct log_output *o);
/* Opens a file anew; the old one stays when that fails: -1 with errno. Nothing for others. */
int log_output_reopen(struct log_output *o);

uint64_t log_output_count_lines(const char *bytes, size_t len);

/* Whether the name is of syslog. */
bool log_output_is_syslog(struct slice name);

/* Writes of `bytes`, which are whole lines, from *done on, and moves that on. 0 when all is written, or lost:
 * then *lost counts the lines that are. 1 when the output takes nothing now (wait for log_output_poll_fd). */
int log_output_write(struct log_output *o, const char *bytes, size_t len, size_t *done, uint64_t *lost);
