/* What the files of UDP share: udp.c (ports: datagrams from clients), udp_session.c (sessions),
 * udp_server.c (their servers), udp_send.c (datagrams to them), udp_table.c (finding them, the oldest first),
 * udp_batch.c (many datagrams a system call). */
#pragma once

#include "proxy/listener.h"
#include "proxy/stream/udp.h"
#include "proxy/stream/udp_batch.h"
#include "proxy/worker.h"

#define UDP_TRIED_MAX 8
#define UDP_KEPT_MAX  4    /* datagrams that are sent again to another server … */
#define UDP_KEPT_SIZE 2048 /* … and their bytes */

/* What a session is found by, beside its port. Without holes: compared and hashed as bytes. */
struct udp_key {
    struct udp_place client, local;
    uint32_t client_port;
};

/* A listening socket. */
struct udp_port {
    struct listener *listener;
    struct address address;
    int fd;
    bool wildcard;      /* answers must say where they come from */
    bool detached;      /* fd is our own, for answers alone */
    bool given_up;      /* nobody else reads it */
    msec_t detached_ms; /* since when */
    size_t session_count;
    struct event event;
    struct task bury;
};

/* The first datagrams to a server that has not answered yet. */
struct udp_kept {
    unsigned count, used;
    bool too_much;
    uint16_t len[UDP_KEPT_MAX];
    char bytes[];
};

/* Owned by its listener's table, from udp_session_begin until udp_session_end. */
struct udp_session {
    uint32_t magic;
    int fd;                   /* connected to the server; -1 = none */
    struct udp_session *next; /* in its bucket */
    struct list age;          /* in udp_sessions.by_age */
    uint64_t hash;
    struct udp_key key;
    msec_t active_ms;
    struct udp_port *port;
    bool closed;
    bool counted;    /* upstream_done is owed */
    bool answered;   /* by this server */
    bool waits;      /* the last datagram was the client's */
    bool introduced; /* the PROXY header, if any, is sent */
    bool whole;      /* UDP_SEGMENT does not work on this path */
    bool draining;
    bool ends_answered; /* with the next answer */
    unsigned tried_count;
    int first, last;             /* messages of this batch; -1 = none */
    struct udp_session *touched; /* the next one that has messages */
    struct snapshot *snapshot;   /* held: the upstream is its */
    struct upstream *upstream;
    struct server_set *servers; /* held: `server` is its */
    struct server *server;
    struct server_counters *counters;
    uint32_t address_version;
    struct udp_kept *kept;
    usec_t attempt_us, answer_us; /* when the server was chosen; how long it took for the first answer */
    struct server *tried[UDP_TRIED_MAX];
    struct event event;
    struct client client;
    struct task bury;
};

/* A listener's sessions on one worker. */
struct udp_sessions {
    struct listener *listener;
    struct udp_session **buckets;
    size_t size; /* of buckets: 0 or a power of two */
    size_t count;
    struct list by_age; /* the quietest first */
    size_t draining;    /* how many of them */
    struct timer timer;
    msec_t warned_ms;
    bool freed;
    struct task bury;
};

static inline struct ip udp_ip(const struct udp_place *p, uint32_t port)
{
    struct ip ip = {.port = (uint16_t)port};
    memcpy(ip.bytes, &p->ip, sizeof ip.bytes);
    return ip;
}

static inline struct worker *udp_worker(const struct udp_session *s)
{
    return s->client.listener->worker;
}

/* udp_table.c */

struct udp_sessions *udp_sessions_create(struct listener *l);
struct udp_session *udp_find(const struct udp_sessions *t, const struct udp_port *p,
                             const struct udp_key *key, uint64_t hash);
/* 0, or -1 when out of memory. */
int udp_insert(struct udp_sessions *t, struct udp_session *s);
void udp_remove(struct udp_sessions *t, struct udp_session *s);
/* A datagram went one way or the other. */
void udp_touch(struct udp_sessions *t, struct udp_session *s);
static inline struct udp_session *udp_oldest(const struct udp_sessions *t)
{
    return list_empty(&t->by_age) ? NULL : CONTAINER_OF(t->by_age.next, struct udp_session, age);
}
/* Looks for sessions that are to end, `wait` from now or earlier. */
void udp_look(struct udp_sessions *t, msec_t wait);

/* udp_session.c */

/* A session for datagrams that begin one: with a server and a socket. NULL when they are to be dropped, which
 * is counted. */
struct udp_session *udp_session_begin(struct udp_port *p, const struct udp_key *key, uint64_t hash);
void udp_session_end(struct udp_session *s);
/* No more datagrams will come from its client. */
void udp_session_drain(struct udp_session *s, bool when_answered);

/* Takes up the configuration and the servers of now. */
void udp_take_up(struct udp_session *s);
/* Its server has sent something. */
void udp_on_answers(evutil_socket_t fd, short what, void *argument);
/* Ends the quietest session of the listener; false when there is none. */
bool udp_evict(struct listener *l);
/* Whether a line about the listener may be logged again. */
bool udp_may_warn(struct listener *l);
void udp_say_no_server(struct listener *l, const struct upstream *u, enum pick_failure why);

/* udp_server.c */

/* The next server that takes it; false when none does, with the reason. */
bool udp_find_server(struct udp_session *s, enum pick_failure *why);
void udp_leave_server(struct udp_session *s, enum outcome_kind kind);
/* Whether it has a server, another one than before if that is gone from the configuration; else it has ended.
 */
bool udp_session_is_placed(struct udp_session *s);
/* The server is not there. True when the session goes on with another one; else it has ended. */
bool udp_session_refused(struct udp_session *s, int error, bool has_datagram);

/* udp_send.c */

/* Sends on the messages that it has in this batch. It may have ended after that. */
void udp_session_forward(struct udp_session *s);
/* The datagrams that the last server did not answer. -1 with errno when this one refuses already. */
int udp_send_kept(struct udp_session *s);
void udp_forget_kept(struct udp_session *s);
/* Whether that errno says that nobody is there. */
bool udp_is_refusal(int error);

/* udp.c */

/* The last session of a port that reads no more closes it. */
void udp_port_left(struct udp_port *p);

static inline void udp_count_drop(struct listener *l, enum udp_drop why, uint64_t n)
{
    counter_add(&l->stats->udp_dropped[why], n);
}
