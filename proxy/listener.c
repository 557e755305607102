#include "proxy/listener.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/http/h1/downstream.h"
#include "proxy/prelude.h"
#include "proxy/stream/tcp.h"
#include "proxy/stream/udp.h"
#include "proxy/worker.h"
#include "tls/info.h"

#define ACCEPTS_A_TURN   64
#define TURNS_OF_A_QUEUE 65 /* a full queue (sockets.c) */
#define PAUSE_MS         50 /* without descriptors: let some come back */

static bool accept_some(struct acceptor *a);
static void on_acceptable(evutil_socket_t fd, short what, void *argument);
static void on_pause_over(struct timer *t);

/* Attaching and detaching sockets. */

static struct acceptor *find_acceptor(struct listener *l, int fd)
{
    LIST_EACH (node, &l->acceptors) {
        struct acceptor *a = CONTAINER_OF(node, struct acceptor, link);
        if (a->fd == fd)
            return a;
    }
    return NULL;
}

static void attach(struct listener *l, const struct listener_socket *s)
{
    if (find_acceptor(l, s->fd))
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

static void detach(struct acceptor *a)
{
    if (a->udp)
        udp_detach(a->udp, false);
    else
        event_del(&a->event);
    loop_timer_clear(&a->listener->worker->loop, &a->pause);
    list_remove(&a->link);
    free(a);
}

static bool is_named(const struct acceptor *a, const struct listener_config *config)
{
    for (size_t i = 0; i < config->address_count; i++)
        if (address_equal(&config->addresses[i], &a->address))
            return true;
    return false;
}

/* A socket that is given up may have connections in its queue: they are served before it goes. So that none
 * comes between the last one and the close, no new handshake is answered from here on: clients try again
 * shortly after, and are refused or taken by whoever listens there then. */
static void close_queue(struct acceptor *a)
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
    detach(a);
    close(fd);
}

/* The listener's life. */

static void bury(struct task *t)
{
    struct listener *l = CONTAINER_OF(t, struct listener, bury);
    free((char *)(uintptr_t)l->name.at);
    free(l);
}

static void free_listener(struct listener *l)
{
    LIST_EACH_SAFE (node, &l->acceptors) {
        detach(CONTAINER_OF(node, struct acceptor, link));
    }
    udp_sessions_free(l->udp);
    list_remove(&l->link);
    snapshot_release(l->snapshot, l->worker->index);
    loop_bury(&l->worker->loop, &l->bury, bury);
}

static struct listener *create(struct worker *w, const struct listener_config *config)
{
    struct listener *l = calloc(1, sizeof *l);
    char *name = strndup(config->name.at, config->name.len);
    if (!l || !name) {
        free(l);
        free(name);
        return NULL;
    }
    l->worker = w;
    l->name = slice_of(name, config->name.len);
    list_init(&l->acceptors);
    list_init(&l->clients);
    task_init(&l->bury);
    list_append(&w->listeners, &l->link);
    return l;
}

static struct listener *find(struct worker *w, struct slice name, enum listener_protocol protocol)
{
    LIST_EACH (node, &w->listeners) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        if (!l->removed && slice_equal(l->name, name) && l->config->protocol == protocol)
            return l;
    }
    return NULL;
}

static void use_config(struct listener *l, struct snapshot *s, const struct listener_config *config)
{
    snapshot_hold(s, l->worker->index);
    if (l->snapshot)
        snapshot_release(l->snapshot, l->worker->index);
    l->snapshot = s;
    l->config = config;
    l->stats = config->stats->worker[l->worker->index];
}

static void free_if_unused(struct listener *l)
{
    if (l->removed && l->client_count == 0 && l->holds == 0)
        free_listener(l);
}

void listener_hold(struct listener *l)
{
    l->holds++;
}

void listener_let_go(struct listener *l)
{
    l->holds--;
    free_if_unused(l);
}

/* Marked last: from then on it goes with its last client. */
static void remove_listener(struct listener *l)
{
    LIST_EACH_SAFE (node, &l->acceptors) {
        detach(CONTAINER_OF(node, struct acceptor, link));
    }
    LIST_EACH_SAFE (node, &l->clients) {
        struct client *client = CONTAINER_OF(node, struct client, link);
        client->drain(client, false);
    }
    l->removed = true;
    free_if_unused(l);
}

/* What a listener of either list has, it serves; what none has (a process before had it) is closed as it is.
 */
static void close_given_up(struct worker *w, struct list *old, int fd)
{
    struct list *lists[] = {&w->listeners, old};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        LIST_EACH (node, lists[i]) {
            struct acceptor *a = find_acceptor(CONTAINER_OF(node, struct listener, link), fd);
            if (a) {
                close_queue(a);
                return;
            }
        }
    }
    close(fd);
}

void listeners_apply(struct worker *w, struct snapshot *s, const struct listener_sockets *sockets)
{
    struct list old;
    list_init(&old);
    list_splice(&old, &w->listeners);
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *config = &s->listeners[i];
        /* Look among the old ones: a listener that keeps its name and protocol keeps its life. */
        struct listener *l = NULL;
        LIST_EACH (node, &old) {
            struct listener *o = CONTAINER_OF(node, struct listener, link);
            if (!o->removed && slice_equal(o->name, config->name) &&
                o->config->protocol == config->protocol) {
                l = o;
                break;
            }
        }
        if (l) {
            list_remove(&l->link);
            list_append(&w->listeners, &l->link);
        } else {
            l = create(w, config);
        }
        if (!l) {
            log_error("out of memory for a listener", LOG_SLICE("listener", config->name));
            continue;
        }
        use_config(l, s, config);
    }
    for (size_t i = 0; i < sockets->given_up_count; i++)
        close_given_up(w, &old, sockets->given_up[i]);
    /* Sockets that a listener no longer has, before others take them. */
    LIST_EACH_SAFE (node, &old) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        list_remove(&l->link);
        list_append(&w->listeners, &l->link);
        remove_listener(l);
    }
    LIST_EACH (node, &w->listeners) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        LIST_EACH_SAFE (a, &l->acceptors) {
            struct acceptor *acceptor = CONTAINER_OF(a, struct acceptor, link);
            if (!is_named(acceptor, l->config))
                detach(acceptor);
        }
    }
    for (size_t i = 0; i < sockets->count; i++) {
        const struct listener_socket *socket = &sockets->at[i];
        struct listener *l = find(w, socket->config->name, socket->config->protocol);
        if (l)
            attach(l, socket);
    }
}

void listeners_stop_accepting(struct worker *w, bool given_up)
{
    LIST_EACH (node, &w->listeners) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        LIST_EACH_SAFE (a, &l->acceptors) {
            struct acceptor *acceptor = CONTAINER_OF(a, struct acceptor, link);
            if (given_up)
                close_queue(acceptor);
            else
                detach(acceptor);
        }
    }
}

/* Closing a client may free its listener: the next one is looked up before. */
void listeners_drain_clients(struct worker *w, bool close_idle)
{
    LIST_EACH_SAFE (node, &w->listeners) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        LIST_EACH_SAFE (c, &l->clients) {
            struct client *client = CONTAINER_OF(c, struct client, link);
            client->drain(client, close_idle);
        }
    }
}

void listeners_cut_clients(struct worker *w)
{
    LIST_EACH_SAFE (node, &w->listeners) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        while (!list_empty(&l->clients)) {
            struct client *client = CONTAINER_OF(l->clients.next, struct client, link);
            bool last = l->client_count == 1;
            client->cut(client);
            if (last)
                break; /* the listener may be gone */
        }
    }
}

void listeners_free(struct worker *w)
{
    LIST_EACH_SAFE (node, &w->listeners) {
        free_listener(CONTAINER_OF(node, struct listener, link));
    }
}

/* Clients. */

/* 0, or -1 when out of memory. */
static int note_proxy(struct client *c, const struct arrival *a)
{
    c->proxied = malloc(sizeof *c->proxied);
    if (!c->proxied)
        return -1;
    *c->proxied = (struct proxied){*client_peer(a->counted), a->destination};
    return 0;
}

static void take_over(struct client *c, struct client *from)
{
    c->listener = from->listener;
    c->ip_counted = from->ip_counted;
    list_remove(&from->link);
    list_append(&c->listener->clients, &c->link);
    from->listener = NULL;
}

bool client_enter(struct client *c, struct listener *l, const struct arrival *a)
{
    c->ip = a->ip;
    c->proxied = NULL;
    if (a->counted) {
        if (a->has_destination && note_proxy(c, a) != 0)
            return false;
        take_over(c, a->counted);
        return true;
    }
    struct connection_limits *limits = &l->config->stats->limits;
    const struct limits *max = &l->config->settings->limits;
    if (!connection_limits_enter(limits, max->connections))
        return false;
    c->ip_counted = max->connections_per_ip != 0 && !c->ip.is_unix;
    if (c->ip_counted && !connection_limits_enter_ip(limits, &c->ip, max->connections_per_ip)) {
        connection_limits_leave(limits);
        return false;
    }
    c->listener = l;
    list_append(&l->clients, &c->link);
    l->client_count++;
    counter_add(&l->stats->connections, 1);
    counter_add(&l->stats->connections_open, 1);
    return true;
}

void client_leave(struct client *c)
{
    struct listener *l = c->listener;
    struct connection_limits *limits = &l->config->stats->limits;
    connection_limits_leave(limits);
    if (c->ip_counted)
        connection_limits_leave_ip(limits, client_peer(c));
    free(c->proxied);
    c->proxied = NULL;
    list_remove(&c->link);
    counter_add(&l->stats->connections_open, (uint64_t)-1);
    l->client_count--;
    free_if_unused(l);
    worker_client_left(l->worker);
}

void listener_count_handshake(struct listener *l, const struct tls_info *info)
{
    unsigned version = slice_equal(info->version, S("TLSv1.3"))   ? 3
                       : slice_equal(info->version, S("TLSv1.2")) ? 2
                                                                  : 0;
    counter_add(&l->stats->handshakes[version][info->resumed], 1);
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
