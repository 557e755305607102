#include "proxy/prelude.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "core/proxy_protocol.h"
#include "proxy/worker.h"
#include "tls/client_hello.h"

#define PRELUDE_MAGIC 0x5052454cu

/* Owned by itself, from prelude_accept until leave(). */
struct prelude {
    uint32_t magic;
    bool watching; /* the event is set */
    bool header_wanted;
    struct loop *loop;
    struct arrival arrival;
    struct client client;
    struct event event;
    struct timer deadline;
    struct task bury;
    char name[CLIENT_HELLO_NAME_MAX];
};

enum step { STEP_DONE, STEP_MORE, STEP_REFUSED };

static int look(struct prelude *p, bool ended);
static void on_event(evutil_socket_t fd, short what, void *argument);
static void on_deadline(struct timer *t);
static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

bool prelude_is_wanted(const struct listener *l)
{
    return l->config->settings->proxy_protocol || l->config->names;
}

/* A Unix socket's peers were let in by its file's mode. */
static bool may_send_header(const struct listener *l, const struct ip *peer)
{
    const struct cidr_set *trusted = &l->config->trusted;
    return trusted->count == 0 || peer->is_unix || cidr_set_match(trusted, peer);
}

static void tell(const struct listener *l, const struct ip *peer, const char *why)
{
    char text[64];
    ip_print(peer, text, sizeof text);
    log_debug("connection refused", LOG_SLICE("listener", l->name), LOG_TEXT("peer", text),
              LOG_TEXT("reason", why));
}

int prelude_accept(struct listener *l, const struct arrival *a)
{
    bool header_wanted = l->config->settings->proxy_protocol;
    if (header_wanted && !may_send_header(l, &a->ip)) {
        tell(l, &a->ip, "a PROXY header is taken from trusted_proxies alone");
        close(a->fd);
        return -1;
    }
    struct prelude *p = calloc(1, sizeof *p);
    if (!p || !client_enter(&p->client, l, a)) {
        free(p);
        close(a->fd);
        return -1;
    }
    p->magic = PRELUDE_MAGIC;
    p->header_wanted = header_wanted;
    p->loop = &l->worker->loop;
    p->arrival = *a;
    p->client.drain = drain_client;
    p->client.cut = cut_client;
    task_init(&p->bury);
    timer_init(&p->deadline, on_deadline);
    return look(p, false);
}

/* The end of the prelude, one way or the other. */

static void bury(struct task *t)
{
    struct prelude *p = CONTAINER_OF(t, struct prelude, bury);
    free(p);
}

static void leave(struct prelude *p)
{
    if (p->watching)
        event_del(&p->event);
    loop_timer_clear(p->loop, &p->deadline);
    p->magic = 0;
    if (p->client.listener)
        client_leave(&p->client);
    loop_bury(p->loop, &p->bury, bury);
}

static int refuse(struct prelude *p, const char *why)
{
    tell(p->client.listener, client_peer(&p->client), why);
    close(p->arrival.fd);
    leave(p);
    return -1;
}

static int hand_over(struct prelude *p)
{
    if (p->watching)
        event_del(&p->event);
    p->watching = false;
    p->arrival.counted = &p->client;
    int taken = listener_take(p->client.listener, &p->arrival);
    leave(p);
    return taken;
}

/* Looking. */

static int watch(struct prelude *p)
{
    struct loop *l = p->loop;
    if (p->watching)
        return 0;
    event_assign(&p->event, l->base, p->arrival.fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_event, p);
    if (event_add(&p->event, NULL) != 0)
        return refuse(p, "out of memory");
    p->watching = true;
    loop_timer(l, &p->deadline, p->client.listener->config->settings->timeouts.header);
    return 0;
}

static void use_header(struct prelude *p, const struct proxy_header *h)
{
    if (h->local)
        return;
    p->arrival.ip = h->source;
    p->arrival.destination = h->destination;
    p->arrival.has_destination = true;
}

static enum step take_header(struct prelude *p, struct slice in, const char **why)
{
    struct proxy_header h;
    ssize_t n = proxy_header_parse(in, &h, why);
    if (n <= 0)
        return n == 0 ? STEP_MORE : STEP_REFUSED;
    use_header(p, &h);
    if (recv(p->arrival.fd, p->loop->read_buffer, (size_t)n, MSG_DONTWAIT) != n) {
        *why = "the PROXY header could not be read";
        return STEP_REFUSED;
    }
    p->header_wanted = false;
    return STEP_DONE;
}

/* The alert unrecognized_name (RFC 6066 §3). What was not read would make a reset of the close, and the alert
 * would be lost with it. */
static void send_alert(struct prelude *p)
{
    static const char alert[] = {0x15, 3, 3, 0, 2, 2, 112};
    (void)!send(p->arrival.fd, alert, sizeof alert, MSG_NOSIGNAL | MSG_DONTWAIT);
    for (int i = 0; i < 4; i++)
        if (recv(p->arrival.fd, p->loop->read_buffer, LOOP_READ_BUFFER, MSG_DONTWAIT) <= 0)
            break;
}

static void log_nobody(const struct prelude *p, struct slice name)
{
    char client[64];
    ip_print(&p->arrival.ip, client, sizeof client);
    log_info("no upstream for the name that a client asks for",
             LOG_SLICE("listener", p->client.listener->name), LOG_SLICE("name", name),
             LOG_TEXT("client", client));
}

/* By the name that the client asks for: to an upstream undecrypted, or on to where TLS ends. */
static enum step choose(struct prelude *p, struct slice in, const char **why)
{
    const struct listener_config *config = p->client.listener->config;
    struct slice name;
    enum client_hello hello = client_hello_parse(in, p->name, &name);
    if (hello == CLIENT_HELLO_MORE)
        return STEP_MORE;
    p->arrival.upstream = hello == CLIENT_HELLO_BROKEN ? NULL : server_names_find(config->names, name);
    p->arrival.server_name = name;
    if (p->arrival.upstream || config->tls)
        return STEP_DONE;
    *why = hello == CLIENT_HELLO_NOT_TLS  ? "not TLS, and no default"
           : hello == CLIENT_HELLO_BROKEN ? "a broken TLS ClientHello"
                                          : "no upstream for its name";
    if (hello == CLIENT_HELLO_NAMED || hello == CLIENT_HELLO_NAMELESS) {
        log_nobody(p, name);
        send_alert(p);
    }
    return STEP_REFUSED;
}

/* 0, or -1 when the connection was refused. `ended`: the peer will send no more. */
static int look(struct prelude *p, bool ended)
{
    while (p->header_wanted || p->client.listener->config->names) {
        ssize_t n = recv(p->arrival.fd, p->loop->read_buffer, LOOP_READ_BUFFER, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return watch(p);
        if (n <= 0)
            return refuse(p, n < 0 ? strerror(errno) : "closed before its first bytes");
        struct slice in = slice_of(p->loop->read_buffer, (size_t)n);
        const char *why = "";
        bool last = !p->header_wanted;
        switch (last ? choose(p, in, &why) : take_header(p, in, &why)) {
        case STEP_DONE:
            if (last)
                return hand_over(p);
            break;
        case STEP_REFUSED:
            return refuse(p, why);
        case STEP_MORE:
            return ended ? refuse(p, "closed amid its first bytes") : watch(p);
        }
    }
    return hand_over(p);
}

/* Refused after it was taken: counted here, for listener.c has counted what it refused at once. */
static void count_refused(struct listener_worker_stats *stats, int result)
{
    if (result != 0)
        counter_add(&stats->connections_refused, 1);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    struct prelude *p = argument;
    (void)fd;
    ASSERT(p->magic == PRELUDE_MAGIC);
    struct listener_worker_stats *stats = p->client.listener->stats;
    count_refused(stats, look(p, (what & EV_CLOSED) != 0));
}

static void on_deadline(struct timer *t)
{
    struct prelude *p = CONTAINER_OF(t, struct prelude, deadline);
    ASSERT(p->magic == PRELUDE_MAGIC);
    struct listener_worker_stats *stats = p->client.listener->stats;
    count_refused(stats, refuse(p, "no first bytes within timeouts.header"));
}

/* Nothing was begun yet that could be finished. */
static void drain_client(struct client *c, bool close_idle)
{
    if (close_idle)
        cut_client(c);
}

static void cut_client(struct client *c)
{
    struct prelude *p = CONTAINER_OF(c, struct prelude, client);
    ASSERT(p->magic == PRELUDE_MAGIC);
    close(p->arrival.fd);
    leave(p);
}
