/* The listening sockets of the process. Made by the control thread, one a worker for each address
 * (SO_REUSEPORT), and lent to the workers; closed only when no snapshot names the address any more and every
 * worker has let go. An upgrade hands the same descriptors to the next process, so that no connection in
 * their queues is lost. */
#pragma once

#include "core/address.h"
#include "core/list.h"

struct listening {
    struct list link;
    struct address address;
    int *fds; /* one a worker, or more after an upgrade from a process with more workers */
    size_t count;
    bool keep_file; /* of a Unix socket, when this is closed */
    bool wanted;    /* by the configuration that is being taken up */
};

struct sockets {
    struct list all; /* of struct listening */
    unsigned workers;
};

void sockets_init(struct sockets *s, unsigned workers);
/* Closes all. */
void sockets_free(struct sockets *s);

/* Takes over what the process before left in the environment (sockets_export). Before any other thread is
 * there. */
void sockets_inherit(struct sockets *s);

/* Sockets for the address, made if they are not there; marked as wanted. NULL with errno and, in *what, the
 * call that failed. A Unix socket's file that nobody listens to any more is removed first. */
struct listening *sockets_open(struct sockets *s, const struct address *a, const char **what);

/* Marks those of the address as wanted, if they are there. */
void sockets_want(struct sockets *s, const struct address *a);
/* The files of Unix sockets that this process made are another's now: they stay. */
void sockets_forget_files(struct sockets *s);

/* Before a configuration is taken up: nothing is wanted. */
void sockets_begin(struct sockets *s);
/* Gives up what is not wanted: out of the list, to be closed (listening_close) when the workers have let go.
 */
void sockets_take_unwanted(struct sockets *s, struct list *unwanted);
void listening_close(struct listening *l);

/* For the environment of the next process, and which descriptors it needs: malloc'ed text, and each
 * descriptor's close-on-exec is to be cleared by the caller in the child. NULL when out of memory. */
#define SOCKETS_ENVIRONMENT "WEIR_LISTEN_FDS"
char *sockets_export(const struct sockets *s);
