#include "proxy/stream/udp.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/log.h"
#include "proxy/stream/udp_internal.h"

#define TURNS_OF_A_QUEUE 1024 /* more than SO_RCVBUF of sockets.c has room for */

static void on_client_readable(evutil_socket_t fd, short what, void *argument);
static bool take_batch(struct udp_port *p);

/* Ports. */

static bool is_wildcard(const struct address *a)
{
    return a->any.sa_family == AF_INET ? a->v4.sin_addr.s_addr == htonl(INADDR_ANY)
                                       : IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

struct udp_port *udp_attach(struct listener *l, int fd, const struct address *a)
{
    struct worker *w = l->worker;
    if (!l->udp)
        l->udp = udp_sessions_create(l);
    if (!w->udp)
        w->udp = udp_batches_create(w);
    struct udp_port *p = l->udp && w->udp ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    p->listener = l;
    p->fd = fd;
    p->address = *a;
    /* As it is bound: its family may be the other one where there is no IPv6, its port was 0 perhaps. */
    socklen_t len = sizeof p->address - offsetof(struct address, any);
    if (getsockname(fd, &p->address.any, &len) == 0)
        p->address.len = len;
    p->wildcard = is_wildcard(&p->address);
    task_init(&p->bury);
    event_assign(&p->event, w->loop.base, fd, EV_READ | EV_PERSIST, on_client_readable, p);
    event_add(&p->event, NULL);
    return p;
}

static void bury(struct task *t)
{
    free(CONTAINER_OF(t, struct udp_port, bury));
}

void udp_port_left(struct udp_port *p)
{
    struct worker *w = p->listener->worker;
    if (!p->detached || p->session_count)
        return;
    if (w->udp->out_port == p)
        udp_flush(w->udp);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    loop_bury(&w->loop, &p->bury, bury);
}

/* A socket that is connected elsewhere gets none of the datagrams that now go to others on its address, but
 * still sends from it. */
static void hear_nobody(const struct udp_port *p)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(9), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool is_v4 = p->address.any.sa_family == AF_INET;
    if (connect(p->fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
                is_v4 ? sizeof v4 : sizeof v6) != 0)
        log_debug("a socket that is given up cannot be connected", LOG_SLICE("listener", p->listener->name));
}

static void drain_sessions(struct udp_port *p)
{
    struct udp_sessions *t = p->listener->udp;
    LIST_EACH_SAFE (node, &t->by_age) {
        struct udp_session *s = CONTAINER_OF(node, struct udp_session, age);
        if (s->port == p)
            udp_session_drain(s, false);
    }
}

void udp_detach(struct udp_port *p, bool given_up)
{
    event_del(&p->event);
    for (int turns = 0; given_up && turns < TURNS_OF_A_QUEUE && take_batch(p); turns++)
        ;
    udp_flush(p->listener->worker->udp);
    p->given_up = given_up;
    p->detached_ms = loop_now(&p->listener->worker->loop);
    drain_sessions(p);
    if (given_up)
        hear_nobody(p);
    else
        p->fd = p->session_count ? fcntl(p->fd, F_DUPFD_CLOEXEC, 3) : -1;
    p->detached = true;
    udp_port_left(p);
}

/* Datagrams from clients. */

static void on_client_readable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    take_batch(argument);
}

static void count_in(struct listener *l, const struct udp_message *m)
{
    counter_add(&l->stats->bytes_in, m->bytes.len);
    counter_add(&l->stats->udp_in, udp_datagrams(m->bytes.len, m->segment));
}

static struct udp_session *session_of(struct udp_port *p, const struct udp_message *m)
{
    struct udp_key key = {.client = m->client, .local = m->local, .client_port = m->client_port};
    uint64_t hash = hash_keyed(slice_of((const char *)&key, sizeof key));
    struct udp_session *s = udp_find(p->listener->udp, p, &key, hash);
    return s ? s : udp_session_begin(p, &key, hash);
}

/* Puts the message to its session's others; the first one puts the session to the list. */
static void hand_over(struct udp_batches *b, int i, struct udp_session *s, struct udp_session ***tail)
{
    if (s->first < 0) {
        s->first = i;
        s->touched = NULL;
        **tail = s;
        *tail = &s->touched;
    } else {
        b->in[s->last].next = i;
    }
    s->last = i;
}

/* One turn of the socket. True when its turn was up: more may be waiting. */
static bool take_batch(struct udp_port *p)
{
    struct udp_batches *b = p->listener->worker->udp;
    struct udp_session *touched = NULL, **tail = &touched;
    int n = udp_receive(b, p);
    for (int i = 0; i < n; i++) {
        count_in(p->listener, &b->in[i]);
        struct udp_session *s = session_of(p, &b->in[i]);
        if (s)
            hand_over(b, i, s, &tail);
    }
    for (struct udp_session *s = touched; s; s = s->touched) {
        if (!s->closed)
            udp_session_forward(s);
        s->first = s->last = -1;
    }
    return n == UDP_TURN;
}
