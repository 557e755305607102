/* One worker's side of a listener of the configuration: its listening sockets, and the connections that came
 * by them. It lives from the snapshot that first names it until a later one does not and its last connection
 * has ended.
 *
 * The sockets themselves are the control thread's (sockets.h): a reload attaches and detaches them here, and
 * closes none that stays in the file. */
#pragma once

#include "core/conn.h"
#include "proxy/snapshot.h"

struct worker;
struct listener;
struct udp_port;
struct udp_sessions;

/* Of a client that another proxy introduced, in a PROXY header. */
struct proxied {
    struct ip peer;        /* as the socket says: what limits count */
    struct ip destination; /* where the header says that the client came to */
};

/* What the kinds of connection (http, tcp) have in common: being counted and told to end. Embedded in each.
 */
struct client {
    struct list link; /* in listener->clients */
    struct listener *listener;
    struct ip ip; /* the client: the peer, or whom its PROXY header names */
    bool ip_counted;
    struct proxied *proxied; /* own; NULL = it had no PROXY header */
    /* Ends the connection as soon as it has answered; an idle one at once if close_idle, else after its next
     * request. */
    void (*drain)(struct client *, bool close_idle);
    /* Ends it now. */
    void (*cut)(struct client *);
};

static inline const struct ip *client_peer(const struct client *c)
{
    return c->proxied ? &c->proxied->peer : &c->ip;
}

/* Where its PROXY header says that it came to; NULL = it had none. */
static inline const struct ip *client_destination(const struct client *c)
{
    return c->proxied ? &c->proxied->destination : NULL;
}

/* A connection on its way to a codec. */
struct arrival {
    int fd;
    struct ip ip;          /* as in struct client */
    struct ip destination; /* as in struct proxied, if there is one */
    bool has_destination;
    struct upstream *upstream; /* chosen by name: it goes there undecrypted; NULL = as the listener says */
    struct slice server_name;  /* by which it was chosen; gone after the call */
    struct client
        *counted; /* that it has been so far: its place is taken over; NULL = it comes from accept */
};

struct acceptor {
    struct list link;
    struct listener *listener;
    struct address address;
    int fd;               /* borrowed from sockets.h */
    struct udp_port *udp; /* who reads it, when it is for datagrams; NULL = it is accepted on */
    struct event event;
    struct timer pause; /* when descriptors ran out */
};

struct listener {
    struct list link; /* in worker->listeners */
    struct worker *worker;
    struct slice name;         /* own copy */
    struct snapshot *snapshot; /* held: the one that `config` is of */
    const struct listener_config *config;
    struct listener_worker_stats *stats;
    struct list acceptors;
    struct list clients;
    unsigned client_count;
    unsigned holds;           /* of those who are no clients: listener_hold() */
    struct udp_sessions *udp; /* NULL until it has a socket for datagrams */
    bool removed;
    struct task bury;
};

/* A socket that a worker is to accept on. */
struct listener_socket {
    const struct listener_config *config;
    const struct address *address;
    int fd;
};

/* Which sockets a worker gets with a snapshot, in the order of the snapshot's listeners and their addresses;
 * and those that are its own now, to serve what waits in their queues and to close. */
struct listener_sockets {
    struct listener_socket *at;
    size_t count;
    int *given_up;
    size_t given_up_count;
};

/* Brings the worker's listeners in line with its new snapshot. */
void listeners_apply(struct worker *w, struct snapshot *s, const struct listener_sockets *sockets);
/* Lets go of the sockets: `given_up` as above, or lent ones (another process goes on with them). */
void listeners_stop_accepting(struct worker *w, bool given_up);
void listeners_drain_clients(struct worker *w, bool close_idle);
void listeners_cut_clients(struct worker *w);
/* At the worker's end. */
void listeners_free(struct worker *w);

/* Counts the client in (its addresses are set), or takes over the place that it has; false when a limit says
 * no. */
bool client_enter(struct client *c, struct listener *l, const struct arrival *a);
/* Counts it out; the listener may go with it. */
void client_leave(struct client *c);

/* It lives on, though its last client leaves and no configuration names it: for what is fetched for the
 * cache. */
void listener_hold(struct listener *l);
void listener_let_go(struct listener *l);

/* To the codec of the listener's protocol. 0, or -1 when it was refused (limits, memory); it is closed then.
 */
int listener_take(struct listener *l, const struct arrival *a);

struct tls_info;
void listener_count_handshake(struct listener *l, const struct tls_info *info);
