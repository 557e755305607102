/* What the files of the listening sockets share: sockets.c (which there are, and which are wanted),
 * sockets_open.c (making them), sockets_handover.c (taking them from another process, and giving them to the
 * next). */
#pragma once

#include "proxy/sockets.h"

/* sockets.c */

/* NULL = there are none. */
struct listening *sockets_find(const struct sockets *s, const struct address *a, bool datagrams);
/* Without descriptors yet. NULL when out of memory. */
struct listening *sockets_create(struct sockets *s, const struct address *a, bool datagrams);
/* The descriptor is the set's from then on. 0, or -1 when out of memory: it is still the caller's. */
int sockets_add_fd(struct listening *l, int fd);

/* sockets_open.c */

/* One descriptor for each worker. 0, or -1 with errno and, in *what, the call that failed. */
int sockets_fill(struct sockets *s, struct listening *l, const char **what);
/* What a socket for datagrams needs, before it is bound if it is our own. */
void sockets_prepare_datagrams(int fd, const struct address *a);
