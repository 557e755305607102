#include "proxy/http/h1/downstream_internal.h"
#include "proxy/http/h1/write.h"

static void inform(struct exchange *x, const struct http_response *r)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    struct head_writer w;
    if (x->protocol < 11)
        return; /* RFC 9110 §15.2 */
    head_init(&w, d->worker->head_buffer, HEAD_BUFFER);
    head_put_status_line(&w, r);
    head_put_fields(&w, &r->fields, 0);
    head_put(&w, S("\r\n"));
    struct iovec iov = head_iovec(&w);
    if (!w.overflow)
        conn_write(&d->conn, &iov, 1);
}

static bool keeps_alive(const struct h1_downstream *d, const struct exchange *x)
{
    return !d->close_after && x->keep_alive_ok && !d->drain && !d->worker->draining &&
           !d->client.listener->removed;
}

/* The fields that frame the body on this connection (RFC 9112 §6). */
static void put_framing(struct h1_downstream *d, struct head_writer *w, struct exchange *x,
                        const struct http_response *r)
{
    bool unknown = r->body == BODY_CHUNKED || r->body == BODY_UNTIL_CLOSE;
    if (unknown && x->protocol < 11) {
        d->until_close = true;
        d->close_after = true;
    } else if (unknown) {
        d->chunked_out = true;
        head_put(w, S("Transfer-Encoding: chunked\r\n"));
    } else if (r->has_content_length && !fields_find(&r->fields, FIELD_CONTENT_LENGTH)) {
        head_put(w, S("Content-Length: "));
        head_put_number(w, r->content_length);
        head_put(w, S("\r\n"));
    }
}

/* What becomes of the connection. */
static void put_connection(struct h1_downstream *d, struct head_writer *w, struct exchange *x,
                           const struct http_response *r)
{
    if (r->status == 101)
        head_put(w, S("Connection: upgrade\r\n"));
    else if (!keeps_alive(d, x)) {
        d->close_after = true;
        x->keep_alive_ok = false;
        head_put(w, S("Connection: close\r\n"));
    } else if (x->protocol < 11) {
        head_put(w, S("Connection: keep-alive\r\n"));
    }
}

/* Puts a body's vectors behind `count` others, framed as chunks where that is due. */
static int add_body(const struct h1_downstream *d, struct iovec *iov, int count, const struct iovec *body,
                    int body_count, char line[H1_CHUNK_LINE])
{
    uint64_t total = 0;
    for (int i = 0; i < body_count; i++)
        total += body[i].iov_len;
    if (total == 0)
        return count;
    if (d->chunked_out)
        iov[count++] = (struct iovec){line, h1_chunk_line(total, line)};
    for (int i = 0; i < body_count; i++)
        if (body[i].iov_len)
            iov[count++] = body[i];
    if (d->chunked_out)
        iov[count++] = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
    return count;
}

/* The connection ends with this write: its last bytes and the end that done() sends right behind them leave
 * in one segment. */
static bool ends_with(const struct h1_downstream *d, const struct exchange *x, bool end)
{
    return end && d->close_after && x->request_done;
}

static int respond(struct exchange *x, const struct http_response *r, const struct iovec *body, int count,
                   bool end)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    struct iovec iov[RESPOND_VECTORS_MAX + 4];
    char line[H1_CHUNK_LINE];
    struct head_writer w;
    ASSERT(count <= RESPOND_VECTORS_MAX);
    head_init(&w, d->worker->head_buffer, HEAD_BUFFER);
    if (r->lines[0].len) {
        head_put(&w, r->lines[0]);
        head_put(&w, r->lines[1]);
    } else {
        bool unknown = r->body == BODY_CHUNKED || r->body == BODY_UNTIL_CLOSE;
        head_put_status_line(&w, r);
        head_put_fields(&w, &r->fields, unknown ? 1ull << FIELD_CONTENT_LENGTH : 0);
        put_framing(d, &w, x, r);
    }
    put_connection(d, &w, x, r);
    head_put(&w, S("\r\n"));
    if (w.overflow)
        return -1;
    iov[0] = head_iovec(&w);
    int n = add_body(d, iov, 1, body, count, line);
    if (end && d->chunked_out)
        iov[n++] = (struct iovec){(void *)(uintptr_t) "0\r\n\r\n", 5};
    n = head_join(&w, iov, n);
    if (r->file_follows || ends_with(d, x, end))
        conn_write_more(&d->conn, iov, n);
    else
        conn_write(&d->conn, iov, n);
    if (conn_backlog(&d->conn))
        downstream_watch(d);
    return 0;
}

static void respond_body(struct exchange *x, const struct iovec *body, int count, bool end,
                         const struct fields *trailers)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    struct iovec iov[RESPOND_VECTORS_MAX + 4];
    char line[H1_CHUNK_LINE];
    ASSERT(count <= RESPOND_VECTORS_MAX);
    int n = add_body(d, iov, 0, body, count, line);
    if (end && d->chunked_out) {
        struct head_writer w;
        head_init(&w, d->worker->head_buffer, HEAD_BUFFER);
        head_put(&w, S("0\r\n"));
        if (trailers)
            head_put_fields(&w, trailers, 0);
        head_put(&w, S("\r\n"));
        iov[n++] = head_iovec(&w);
    }
    if (ends_with(d, x, end))
        conn_write_more(&d->conn, iov, n);
    else if (n)
        conn_write(&d->conn, iov, n);
    if (d->body_kind == REQUEST_BODY_TUNNEL && end)
        conn_shutdown(&d->conn);
    if (conn_backlog(&d->conn))
        downstream_watch(d);
}

static ssize_t respond_some(struct exchange *x, const struct iovec *body, int count)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    if (d->chunked_out || d->conn.transport || d->body_kind == REQUEST_BODY_TUNNEL)
        return -1;
    size_t taken = conn_write_some(&d->conn, body, count);
    if (conn_is_stuck(&d->conn))
        downstream_watch(d);
    return (ssize_t)taken;
}

static bool takes_files(const struct exchange *x)
{
    return !downstream_of_exchange(x)->conn.transport;
}

static size_t respond_file(struct exchange *x, int fd, uint64_t offset, size_t bytes)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    ASSERT(!d->chunked_out && d->body_kind != REQUEST_BODY_TUNNEL);
    size_t taken = conn_send_file(&d->conn, fd, offset, bytes);
    if (conn_is_stuck(&d->conn))
        downstream_watch(d);
    return taken;
}

static enum conn_spliced respond_splice(struct exchange *x, struct conn *from, uint64_t max, size_t *moved)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    *moved = 0;
    if (d->chunked_out || d->body_kind == REQUEST_BODY_TUNNEL)
        return SPLICE_NOT;
    enum conn_spliced result = conn_splice(from, &d->conn, max, moved);
    if (conn_is_stuck(&d->conn))
        downstream_watch(d);
    return result;
}

static void cut(struct exchange *x)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    d->x = NULL;
    exchange_end(x);
    /* A close tells of the cut where the body is framed; where the close is the frame, only a reset does. */
    if (d->until_close && !d->conn.transport)
        conn_reset(&d->conn);
    downstream_hang_up(d);
}

static void want_body(struct exchange *x, bool want)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    if (d->conn.closed || d->taking || x->request_done)
        return; /* take_input() looks at x->want_body itself */
    conn_want_read(&d->conn, want);
    downstream_watch(d);
}

static size_t backlog(const struct exchange *x)
{
    return conn_backlog(&downstream_of_exchange(x)->conn);
}

static void upgrade(struct exchange *x)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    d->body_kind = REQUEST_BODY_TUNNEL;
    d->close_after = true;
    downstream_watch(d);
    if (!d->taking)
        conn_want_read(&d->conn, true);
}

static const struct conn *connection(const struct exchange *x)
{
    return &downstream_of_exchange(x)->conn;
}

static void done(struct exchange *x)
{
    struct h1_downstream *d = downstream_of_exchange(x);
    bool request_read = x->request_done;
    /* An end that the answer did not announce - a drain began meanwhile - waits for the next answer: its
     * request may be on its way. But at a stop nobody would answer it. */
    if (!x->keep_alive_ok || d->stopping)
        d->close_after = true;
    d->x = NULL;
    exchange_end(x);
    if (d->conn.closed) {
        downstream_hang_up(d);
        return;
    }
    downstream_count_bytes(d);
    d->body_kind = REQUEST_BODY_NONE;
    if (d->close_after) {
        if (!d->taking || !request_read)
            downstream_finish(d, request_read ? LINGER_MS : LINGER_BODY_MS);
        return;
    }
    downstream_watch(d);
    if (!d->taking)
        conn_want_read(&d->conn, !downstream_is_full(d));
}

const struct downstream_ops h1_downstream_ops = {
    .inform = inform,
    .respond = respond,
    .takes_lines = true,
    .respond_body = respond_body,
    .respond_some = respond_some,
    .takes_files = takes_files,
    .respond_file = respond_file,
    .respond_splice = respond_splice,
    .cut = cut,
    .want_body = want_body,
    .backlog = backlog,
    .upgrade = upgrade,
    .done = done,
    .connection = connection,
};
