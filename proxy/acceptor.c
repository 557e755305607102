/* Accepting: a listening socket's queue, taken from as long as there is something, handed to the codec. */
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/http/h1/downstream.h"
#include "proxy/listener_internal.h"
#include "proxy/prelude.h"
#include "proxy/stream/tcp.h"
#include "proxy/stream/udp.h"
#include "proxy/worker.h"

#define ACCEPTS_A_TURN   64
#define TURNS_OF_A_QUEUE 65 /* a full queue (sockets_open.c) */
#define PAUSE_MS         50 /* without descriptors: let some come back */

static bool accept_some(struct acceptor *a);
static void on_acceptable(evutil_socket_t fd, short what, void *argument);
static void on_pause_over(struct timer *t);

struct acceptor *acceptor_find(struct listener *l, int fd)
{
    LIST_EACH (node, &l->acceptors) {
        struct acceptor *a = CONTAINER_OF(node, struct acceptor, link);
        if (a->fd == fd)
            return a;
    }
    return NULL;
}

void acceptor_attach(struct listener *l, const struct listener_socket *s)
{
    if (acceptor_find(l, s->fd))
        return;
    struct acceptor *a = calloc(1, sizeof *a);
    if (!a) {
        log_error("out of memory for a listening socket", LOG_SLICE("listener", l->name));
        return;
    }
    a->listener = l;
    a->address = *s->address;
    a->fd = s->fd;
    timer_init(&a->pause, on_pause_over);
    if (l->config->protocol == LISTENER_UDP && !(a->udp = udp_attach(l, s->fd, s->address))) {
        log_error("out of memory for a listening socket", LOG_SLICE("listener", l->name));
        free(a);
        return;
    }
    list_append(&l->acceptors, &a->link);
    if (a->udp)
        return;
    event_assign(&a->event, l->worker->loop.base, a->fd, EV_READ | EV_PERSIST, on_acceptable, a);
    event_add(&a->event, NULL);
}

void acceptor_detach(struct acceptor *a)
{
    if (a->udp)
        udp_detach(a->udp, false);
    else
        event_del(&a->event);
    loop_timer_clear(&a->listener->worker->loop, &a->pause);
    list_remove(&a->link);
    free(a);
}

void acceptor_close_queue(struct acceptor *a)
{
    if (a->udp) {
        udp_detach(a->udp, true);
        list_remove(&a->link);
        free(a);
        return;
    }
    /* The filter sees the TCP header; 13 is the place of its flags (RFC 9293 §3.1), 2 the SYN. Handshakes
     * that have begun go on. */
    struct sock_filter no_syn[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog filter = {.len = COUNT_OF(no_syn), .filter = no_syn};
    int fd = a->fd;
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
    for (int turns = 0; turns < TURNS_OF_A_QUEUE && accept_some(a); turns++)
        ;
    acceptor_detach(a);
    close(fd);
}

/* Accepting. */

int listener_take(struct listener *l, const struct arrival *a)
{
    return l->config->protocol == LISTENER_HTTP && !a->upstream ? h1_accept(l, a) : tcp_accept(l, a);
}

/* Mostly for want of descriptors (EMFILE, ENFILE). The connection waits in the queue, and would wake us again
 * and again. */
static void pause_accepting(struct acceptor *a)
{
    int error = errno;
    event_del(&a->event);
    loop_timer(&a->listener->worker->loop, &a->pause, PAUSE_MS);
    log_warn("a new connection cannot be accepted; waiting", LOG_SLICE("listener", a->listener->name),
             LOG_TEXT("error", strerror(error)));
}

static void on_pause_over(struct timer *t)
{
    struct acceptor *a = CONTAINER_OF(t, struct acceptor, pause);
    event_add(&a->event, NULL);
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    accept_some(argument);
}

/* True when its turn was up: more may be waiting. */
static bool accept_some(struct acceptor *a)
{
    struct listener *l = a->listener;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct address peer = {0};
        socklen_t len = sizeof peer - offsetof(struct address, any);
        int client = accept4(a->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            if (errno != EAGAIN)
                pause_accepting(a);
            return false;
        }
        peer.len = len;
        struct arrival arrival = {.fd = client, .ip = ip_of_address(&peer)};
        int taken = prelude_is_wanted(l) ? prelude_accept(l, &arrival) : listener_take(l, &arrival);
        if (taken != 0)
            counter_add(&l->stats->connections_refused, 1);
    }
    return true;
}
