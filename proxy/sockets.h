/* The listening sockets of the process. Made by the control thread, one a worker for each address
 * (SO_REUSEPORT), and lent to the workers. When an address is given up, each worker is given its sockets to
 * close: it alone can serve what waits in their queues. An upgrade hands the same descriptors to the next
 * process, so that no connection in their queues is lost. */
#pragma once

#include "core/address.h"
#include "core/list.h"

struct listening {
    struct list link;
    struct address address;
    bool datagrams; /* UDP; else connections are accepted there */
    int *fds;       /* one a worker, or more after an upgrade from a process with more workers */
    size_t count;
    bool activated;      /* the service manager's (activation.h); its file is never removed */
    char name[64];       /* that the service manager gave it */
    bool keep_file;      /* of a Unix socket, when this is closed or given up */
    bool wanted;         /* by the configuration that is being taken up */
    int64_t given_up_ms; /* for datagrams: the workers may keep them open that long (stream/udp.h) */
};

struct sockets {
    struct list all;     /* of struct listening */
    struct list closing; /* likewise, but without descriptors: given up, and perhaps not closed yet */
    unsigned workers;
};

void sockets_init(struct sockets *s, unsigned workers);
/* Closes all. */
void sockets_free(struct sockets *s);

/* Takes over what the process before left in the environment (sockets_export). Before any other thread is
 * there. The files of Unix sockets stay that process's until sockets_own_files(). */
void sockets_inherit(struct sockets *s);

/* Takes a socket that is bound already, and listening unless it is for datagrams; its descriptor is ours from
 * then on. 0, or -1. */
int sockets_adopt(struct sockets *s, int fd, const struct address *a, bool datagrams, struct slice name);
bool sockets_has(const struct sockets *s, const struct address *a, bool datagrams);
/* Closes and frees one that no worker has. */
void sockets_drop(struct listening *l);

/* Sockets for the address, made if they are not there; marked as wanted. NULL with errno and, in *what, the
 * call that failed. A Unix socket's file that nobody listens to any more is removed first. An address may
 * overlap with others of ours (127.0.0.1:80 with :80) when none of them is wanted. */
struct listening *sockets_open(struct sockets *s, const struct address *a, bool datagrams, const char **what);

/* Before a configuration is taken up: nothing is wanted. */
void sockets_begin(struct sockets *s);
/* Marks those of the address as wanted, if they are there. */
void sockets_want(struct sockets *s, const struct address *a, bool datagrams);
/* What is not wanted: closes it (no worker has it), or gives it up (the descriptors are the workers' to
 * close, which sockets_given_up() says that they have done). */
void sockets_close_unwanted(struct sockets *s);
void sockets_give_up(struct sockets *s);
void sockets_given_up(struct sockets *s);
/* Gives up all. */
void sockets_abandon(struct sockets *s);

/* Sockets share an address with those of the same user alone (SO_REUSEPORT): those that root opened become
 * the user's that the process is about to be, or neither a reload nor an upgrade could open more beside them.
 * The files of Unix sockets stay root's. */
void sockets_give_to(struct sockets *s, uid_t user, gid_t group);

/* The files of Unix sockets go with the sockets from now on, or stay: they are another process's. */
void sockets_own_files(struct sockets *s);
void sockets_forget_files(struct sockets *s);

/* For the environment of the next process, and which descriptors it needs: malloc'ed text, and each
 * descriptor's close-on-exec is to be cleared by the caller in the child. NULL when out of memory. */
#define SOCKETS_ENVIRONMENT "WEIR_LISTEN_FDS"
char *sockets_export(const struct sockets *s);
