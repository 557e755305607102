/* The admin interface's listening sockets: TCP addresses and the control socket. They are handed to the next
 * process at an upgrade by their numbers in the environment, so that no client of theirs is refused and
 * nobody has to be allowed to bind anew. */
#pragma once

#include "admin/http_server.h"
#include "core/list.h"

#define DOORS_ENVIRONMENT "WEIR_ADMIN_FDS" /* 7=127.0.0.1:9900,8=unix:/run/weir.sock */

struct door {
    struct list link;
    struct address address;
    struct http_server *server;
    bool is_control;    /* the control socket, which is of mode 0600 */
    bool wanted, fresh; /* fresh: opened since doors_unwant */
};

struct doors {
    struct list all;
    struct list servers;                /* those of closed doors too */
    struct http_server_options options; /* of every server; is_local is the door's */
};

void doors_init(struct doors *d);
/* Opened, or there already; marked as wanted. NULL with errno. What a living process listens on is
 * EADDRINUSE; a Unix socket whose process is gone is replaced. */
struct door *doors_open(struct doors *d, const struct address *a, bool is_control);
/* Nothing is wanted any more; doors_restore takes that back, and closes what was opened since. */
void doors_unwant(struct doors *d);
void doors_restore(struct doors *d);
/* Closes what is not wanted (answers under way are given), and what the process before left and nobody took.
 * Those that stay are in the environment from now on, for the next process. */
void doors_close_unwanted(struct doors *d);
/* No more clients. Files of Unix sockets go too, unless another process goes on with them (`handed_over`);
 * answers under way are given. The second call ends what is left. */
void doors_close(struct doors *d, bool handed_over);
