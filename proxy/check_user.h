/* What `weir check` says of `user:` - whether the one that weir becomes can read what a reload reads again.
 * Only root can find out. */
#pragma once

#include "proxy/snapshot.h"

/* Warns of files that the configuration names - itself, certificates, keys, pages - that the user cannot
 * read, and of a user that there is not. Does nothing when not root, or without `user`. Forks: for a process
 * of one thread. */
void check_user(struct snapshot *s);
