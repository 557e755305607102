#include "proxy/listener.h"

#include <stdlib.h>
#include <unistd.h>

#include "proxy/listener_internal.h"
#include "proxy/stream/udp.h"
#include "proxy/worker.h"
#include "tls/info.h"

static bool is_named(const struct acceptor *a, const struct listener_config *config)
{
    for (size_t i = 0; i < config->address_count; i++)
        if (address_equal(&config->addresses[i], &a->address))
            return true;
    return false;
}

static void bury(struct task *t)
{
    struct listener *l = CONTAINER_OF(t, struct listener, bury);
    free((char *)(uintptr_t)l->name.at);
    free(l);
}

static void free_listener(struct listener *l)
{
    LIST_EACH_SAFE (node, &l->acceptors) {
        acceptor_detach(CONTAINER_OF(node, struct acceptor, link));
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
        acceptor_detach(CONTAINER_OF(node, struct acceptor, link));
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
            struct acceptor *a = acceptor_find(CONTAINER_OF(node, struct listener, link), fd);
            if (a) {
                acceptor_close_queue(a);
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
                acceptor_detach(acceptor);
        }
    }
    for (size_t i = 0; i < sockets->count; i++) {
        const struct listener_socket *socket = &sockets->at[i];
        struct listener *l = find(w, socket->config->name, socket->config->protocol);
        if (l)
            acceptor_attach(l, socket);
    }
}

void listeners_stop_accepting(struct worker *w, bool given_up)
{
    LIST_EACH (node, &w->listeners) {
        struct listener *l = CONTAINER_OF(node, struct listener, link);
        LIST_EACH_SAFE (a, &l->acceptors) {
            struct acceptor *acceptor = CONTAINER_OF(a, struct acceptor, link);
            if (given_up)
                acceptor_close_queue(acceptor);
            else
                acceptor_detach(acceptor);
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
