/* `sandbox: true` - what weir cannot do any more from the moment before its threads start until its end, even
 * when somebody else's code runs in it:
 *
 * - Files (Landlock, sandbox_files.c): it opens nothing but what lies in the folders of the paths that the
 *   configuration names (config/tree.h, config_named), and what it needs of the system: libraries, name
 *   service, authorities, /proc. Of these it writes only in the folders of logs, and makes sockets only in
 * the folders of sockets. Which kernel knows how much differs; what is not known is not restricted, and told.
 * - System calls (seccomp, sandbox_calls.c): a list of those that weir makes. Others fail with EPERM; those
 *   that only an intruder makes end the process.
 *
 * The sandbox cannot be left or widened: a reload that names a path outside is refused (sandbox_check), and a
 * program that an upgrade starts is in the same one. The paths in it, not the files: a symbolic link counts
 * as where it leads. */
#pragma once

#include "proxy/snapshot.h"

/* What may be done in a folder; the first three are 1 << enum config_use. */
enum sandbox_use {
    SANDBOX_READ = 1 << CONFIG_READS,
    SANDBOX_WRITE = 1 << CONFIG_WRITES, /* files are made and appended to */
    SANDBOX_BIND = 1 << CONFIG_BINDS,   /* Unix sockets are made and removed */
    SANDBOX_EXECUTE = 1 << 3,
    SANDBOX_DEVICE = 1 << 4, /* written to, not made */
};

struct sandbox_place {
    char *path; /* as realpath() gives it */
    unsigned uses;
};

struct sandbox {
    bool entered;
    struct sandbox_place *places;
    size_t count, capacity;
};

/* The process before this one was in a sandbox (SANDBOX_ENVIRONMENT): so is this one. Before any thread is
 * there. */
void sandbox_inherit(struct sandbox *sb);

/* Enters, unless the process is in one already. For a process of one thread; `program` is what an upgrade
 * starts. 0; or -1 with *why (static) and errno. A kernel without Landlock or seccomp is told of in the log
 * and is no failure. */
int sandbox_enter(struct sandbox *sb, const struct snapshot *s, const char *program, const char **why);

/* Faults for what the configuration names and the sandbox does not have. Nothing when it was not entered. */
void sandbox_check(const struct sandbox *sb, struct snapshot *s);

void sandbox_free(struct sandbox *sb);

/* A line for each place, for the next process. */
#define SANDBOX_ENVIRONMENT "WEIR_SANDBOX"
