/* Answers and streams. */
#include <stdio.h>

#include "admin/http_internal.h"
#include "proxy/worker.h"

/* Nobody of another site sees, frames or embeds an answer, and nothing keeps it. A page brings a policy of
 * its own. */
static const char closed_to_others[] = "Cache-Control: no-store\r\n"
                                       "X-Content-Type-Options: nosniff\r\n"
                                       "X-Frame-Options: DENY\r\n"
                                       "Referrer-Policy: no-referrer\r\n"
                                       "Cross-Origin-Resource-Policy: same-origin\r\n";
static const char no_page[] = "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";

static const char *connection_line(const struct http_connection *h)
{
    if (!h->keep_alive)
        return "Connection: close\r\n";
    return h->call->request.minor == 0 ? "Connection: keep-alive\r\n" : "";
}

static void write_head(struct http_connection *h, unsigned status, const char *type, const char *framing,
                       const char *extra, struct slice body)
{
    char date[32];
    http_date(loop_wall_us(h->conn.loop) / 1000000, date);
    struct slice reason = status_reason(status);
    bool has_policy = extra && strstr(extra, "Content-Security-Policy:");
    char *head = arena_printf(
        &h->call->arena, "HTTP/1.1 %u %.*s\r\nDate: %s\r\nServer: weir\r\n%s%s%s%s%s%s%s%s\r\n", status,
        SLICE_FMT(reason), date, type ? "Content-Type: " : "", type ? type : "", type ? "\r\n" : "", framing,
        extra ? extra : "", connection_line(h), closed_to_others, has_policy ? "" : no_page);
    if (!head) {
        conn_close(&h->conn);
        return;
    }
    struct iovec iov[] = {{head, strlen(head)}, {(void *)(uintptr_t)body.at, body.len}};
    conn_write(&h->conn, iov, body.len ? 2 : 1);
}

/* Whoever is furthest behind with taking answers ends, when all that wait are too much to hold. */
static void bound_backlog(struct http_connection *h, size_t more)
{
    if (more <= CONN_LOW_WATER && conn_backlog(&h->conn) == 0)
        return;
    while (http_server_load(h->server).backlog + more > HTTP_BACKLOG_MAX) {
        struct http_connection *slowest = http_server_slowest(h->server);
        if (!slowest || slowest == h)
            return;
        http_connection_close(slowest);
    }
}

void http_call_reply(struct http_call *c, unsigned status, const char *type, struct slice body,
                     const char *extra)
{
    struct http_connection *h = c->connection;
    if (h->replied || h->conn.closed)
        return;
    h->replied = true;
    bool is_head = c->request.method_id == METHOD_HEAD;
    bound_backlog(h, is_head ? 0 : body.len);
    char framing[64];
    snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", body.len);
    write_head(h, status, type, framing, extra, is_head ? S("") : body);
}

void http_call_stream(struct http_call *c, const char *type, const char *extra, struct list *streams)
{
    struct http_connection *h = c->connection;
    if (h->replied || h->conn.closed)
        return;
    if (http_server_load(h->server).streams >= HTTP_STREAMS_MAX) {
        h->server->options.problem(c, 503, "too many listen already; close one and ask again", NULL);
        return;
    }
    h->replied = true;
    h->keep_alive = false;
    write_head(h, 200, type, "", extra, S(""));
    if (c->request.method_id == METHOD_HEAD || h->conn.closed)
        return;
    h->state = HTTP_STREAM;
    conn_timer_pause(&h->conn);
    list_append(streams, &h->stream.link);
}

void http_stream_send(struct http_stream *s, struct slice text)
{
    struct http_connection *h = CONTAINER_OF(s, struct http_connection, stream);
    if (conn_backlog(&h->conn) + text.len > HTTP_STREAM_MAX) {
        http_connection_close(h);
        return;
    }
    conn_write(&h->conn, &(struct iovec){(void *)(uintptr_t)text.at, text.len}, 1);
}

void http_stream_close(struct http_stream *s)
{
    http_connection_finish(CONTAINER_OF(s, struct http_connection, stream));
}

size_t http_stream_backlog(const struct http_stream *s)
{
    return conn_backlog(&CONTAINER_OF(s, struct http_connection, stream)->conn);
}

/* What a call tells of its request. */

struct slice http_call_field(const struct http_call *c, const char *name)
{
    const struct field *f = fields_find_name(&c->request.fields, slice_text(name));
    return f ? f->value : slice_of(NULL, 0);
}

size_t http_call_field_count(const struct http_call *c, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < c->request.fields.count; i++)
        count += slice_equal_nocase(c->request.fields.at[i].name, slice_text(name));
    return count;
}

bool http_call_has_body(const struct http_call *c)
{
    return c->request.body == BODY_CHUNKED || (c->request.body == BODY_LENGTH && c->request.content_length);
}

int http_call_peer(const struct http_call *c, struct address *out)
{
    return conn_peer(&c->connection->conn, out);
}
