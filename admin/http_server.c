/* The server: listening, accepting, and how many connections there may be. */
#include "admin/http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/log.h"

#define ACCEPT_PAUSE_MS   1000
#define ACCEPTS_A_TURN    16
#define CONNECTIONS_LEAST 16u
#define DESCRIPTORS_SHARE 16u /* one in so many of the process's descriptors may be a connection here */

static void on_acceptable(evutil_socket_t fd, short what, void *argument);
static void on_pause_over(struct timer *t);

struct http_server *http_server_create(const struct http_server_options *o, int fd)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return NULL;
    }
    s->options = *o;
    s->fd = fd;
    list_init(&s->connections);
    list_append(o->servers, &s->link);
    task_init(&s->bury);
    timer_init(&s->pause, on_pause_over);
    event_assign(&s->event, o->loop->base, fd, EV_READ | EV_PERSIST, on_acceptable, s);
    event_add(&s->event, NULL);
    return s;
}

static void bury_server(struct task *t)
{
    free(CONTAINER_OF(t, struct http_server, bury));
}

static void free_when_unused(struct http_server *s)
{
    if (s->fd >= 0 || s->connection_count)
        return;
    list_remove(&s->link);
    loop_bury(s->options.loop, &s->bury, bury_server);
}

void http_server_close(struct http_server *s, bool now)
{
    LIST_EACH_SAFE (node, &s->connections) {
        struct http_connection *h = CONTAINER_OF(node, struct http_connection, link);
        if (now)
            http_connection_close(h);
        else if (h->state == HTTP_STREAM || (h->state == HTTP_HEAD && !h->call))
            http_connection_finish(h);
        else
            h->keep_alive = false;
    }
    if (s->fd < 0)
        return;
    event_del(&s->event);
    loop_timer_clear(s->options.loop, &s->pause);
    close(s->fd);
    s->fd = -1;
    free_when_unused(s);
}

void http_servers_close(struct list *servers)
{
    LIST_EACH_SAFE (node, servers) {
        http_server_close(CONTAINER_OF(node, struct http_server, link), true);
    }
}

int http_server_fd(const struct http_server *s)
{
    return s->fd;
}

/* All servers of the same kind. */

static struct http_server *next_of_kind(const struct http_server *s, struct list **at)
{
    while ((*at = (*at)->next) != s->options.servers) {
        struct http_server *other = CONTAINER_OF(*at, struct http_server, link);
        if (other->options.is_local == s->options.is_local)
            return other;
    }
    return NULL;
}

struct http_load http_server_load(const struct http_server *s)
{
    struct http_load load = {0};
    struct http_server *other;
    for (struct list *at = s->options.servers; (other = next_of_kind(s, &at));) {
        load.connections += other->connection_count;
        LIST_EACH (node, &other->connections) {
            const struct http_connection *h = CONTAINER_OF(node, struct http_connection, link);
            load.streams += h->state == HTTP_STREAM;
            load.bodies += h->body_size;
            load.backlog += conn_backlog(&h->conn);
        }
    }
    return load;
}

struct http_connection *http_server_slowest(const struct http_server *s)
{
    struct http_connection *slowest = NULL;
    struct http_server *other;
    size_t most = 0;
    for (struct list *at = s->options.servers; (other = next_of_kind(s, &at));) {
        LIST_EACH (node, &other->connections) {
            struct http_connection *h = CONTAINER_OF(node, struct http_connection, link);
            if (conn_backlog(&h->conn) <= most)
                continue;
            most = conn_backlog(&h->conn);
            slowest = h;
        }
    }
    return slowest;
}

static size_t connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return CONNECTIONS_LEAST;
    rlim_t share = limit.rlim_cur / DESCRIPTORS_SHARE;
    return share > HTTP_CONNECTIONS_MAX ? HTTP_CONNECTIONS_MAX
           : share < CONNECTIONS_LEAST  ? CONNECTIONS_LEAST
                                        : (size_t)share;
}

/* Who has waited longest without asking for anything, else who takes an answer. */
static struct http_connection *longest_idle(const struct http_server *s, bool takes_answer)
{
    struct http_server *other;
    for (struct list *at = s->options.servers; (other = next_of_kind(s, &at));) {
        LIST_EACH (node, &other->connections) {
            struct http_connection *h = CONTAINER_OF(node, struct http_connection, link);
            if ((h->state == HTTP_HEAD || h->state == HTTP_ENDING) &&
                (conn_backlog(&h->conn) != 0) == takes_answer)
                return h;
        }
    }
    return NULL;
}

/* False when nobody can be asked to leave. */
static bool make_room(const struct http_server *s)
{
    if (http_server_load(s).connections < connections_max())
        return true;
    struct http_connection *leaves = longest_idle(s, false);
    if (!leaves)
        leaves = longest_idle(s, true);
    if (leaves)
        http_connection_close(leaves);
    return leaves;
}

/* Accepting. */

static void accept_one(struct http_server *s, int fd)
{
    struct http_connection *h = make_room(s) ? calloc(1, sizeof *h) : NULL;
    if (!h) {
        close(fd);
        return;
    }
    h->magic = HTTP_CONNECTION_MAGIC;
    h->server = s;
    h->keep_alive = true;
    list_init(&h->link);
    list_init(&h->stream.link);
    task_init(&h->bury);
    if (conn_open(&h->conn, s->options.loop, fd, &http_connection_handler) != 0) {
        free(h);
        return;
    }
    list_append(&s->connections, &h->link);
    s->connection_count++;
    conn_timer(&h->conn, HTTP_HEAD_MS);
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    struct http_server *s = argument;
    (void)what;
    for (int i = 0; i < ACCEPTS_A_TURN && s->fd >= 0; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            accept_one(s, client);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            event_del(&s->event);
            loop_timer(s->options.loop, &s->pause, ACCEPT_PAUSE_MS);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

static void on_pause_over(struct timer *t)
{
    struct http_server *s = CONTAINER_OF(t, struct http_server, pause);
    event_add(&s->event, NULL);
}

/* The end of connections. */

static void bury_connection(struct task *t)
{
    struct http_connection *h = CONTAINER_OF(t, struct http_connection, bury);
    h->magic = 0;
    free(h);
}

void http_connection_drop_call(struct http_connection *h)
{
    if (!h->call)
        return;
    arena_reset(&h->call->arena);
    free(h->call);
    h->call = NULL;
    h->endpoint = NULL;
    free(h->body);
    h->body = NULL;
    h->body_len = h->body_size = 0;
}

void http_connection_close(struct http_connection *h)
{
    struct http_server *s = h->server;
    if (!list_linked(&h->link))
        return;
    conn_close(&h->conn);
    http_connection_drop_call(h);
    list_remove(&h->link);
    list_remove(&h->stream.link);
    loop_bury(s->options.loop, &h->bury, bury_connection);
    s->connection_count--;
    free_when_unused(s);
}

static void gone(struct conn *c)
{
    struct http_connection *h = CONTAINER_OF(c, struct http_connection, conn);
    ASSERT(h->magic == HTTP_CONNECTION_MAGIC);
    http_connection_close(h);
}

void http_connection_finish(struct http_connection *h)
{
    if (h->state == HTTP_ENDING || h->conn.closed)
        return;
    h->state = HTTP_ENDING;
    list_remove(&h->stream.link);
    conn_linger(&h->conn, HTTP_LINGER_MS, gone);
}

void http_connection_waits(struct http_connection *h)
{
    list_remove(&h->link);
    list_append(&h->server->connections, &h->link);
    h->seen_out = h->conn.bytes_out;
    conn_timer(&h->conn, HTTP_IDLE_MS);
}
