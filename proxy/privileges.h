/* Becoming an ordinary user after binding, when started as root: everything is given up but the right to bind
 * ports under 1024, which a reload may need. */
#pragma once

#include <sys/types.h>

#include "core/slice.h"

/* Who `user` is. 0, or -1 with *why (static) and errno. */
int privileges_find(struct slice user, uid_t *uid, gid_t *gid, const char **why);

/* The process becomes that user with the user's groups; no capability but CAP_NET_BIND_SERVICE is left, in no
 * set, and no program that is started can gain any (no_new_privs). Capabilities are a thread's: threads that
 * are there already lose them all. 0 (also when not root: nothing to give up), or -1 with *why (static) and
 * errno. */
int privileges_drop(struct slice user, const char **why);
