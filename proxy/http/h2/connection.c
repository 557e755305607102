#include "proxy/http/h2/connection.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/http/h2/head.h"
#include "proxy/http/h2/memory.h"

#define OUTBOUND_MAX 1000 /* frames that wait: past it no more is read */

static const struct conn_handler handler;

static void take_input(struct h2_connection *c, struct slice in);
static void flush(struct task *t);

/* A connection's beginning. */

static void set_options(nghttp2_option *o)
{
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_settings(o, 32);
    nghttp2_option_set_max_send_header_block_length(o, HEAD_BUFFER + (32u << 10));
    nghttp2_option_set_builtin_recv_extension_type(o, NGHTTP2_PRIORITY_UPDATE); /* RFC 9218 */
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type < 256; type++)          /* told, to be counted */
        if (type != NGHTTP2_PRIORITY_UPDATE)
            nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
    nghttp2_option_set_stream_reset_rate_limit(o, 100000, 100000); /* abuse.c is stricter */
}

static int create_session(struct h2_connection *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *options = NULL;
    int failed = nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&options);
    if (!failed) {
        h2_request_callbacks(callbacks);
        h2_response_callbacks(callbacks);
        set_options(options);
        nghttp2_mem memory = h2_memory(c->worker);
        failed = nghttp2_session_server_new3(&c->session, callbacks, c, options, &memory);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    return failed ? -1 : 0;
}

static int greet(struct h2_connection *c)
{
    const struct h1_limits *limits = &c->client.listener->config->head_limits;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->header_size + 32 * limits->header_count},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},   /* RFC 9218 §2.1 */
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}, /* RFC 8441 §3 */
    };
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) != 0)
        return -1;
    return nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW);
}

static void move_client(struct client *to, struct client *from)
{
    *to = *from;
    from->proxied = NULL;
    list_init(&to->link);
    list_insert_before(&from->link, &to->link);
    list_remove(&from->link);
    to->drain = h2_drain_client;
    to->cut = h2_cut_client;
}

int h2_take_over(struct conn *conn, struct client *client, struct slice kept, void (*gone)(struct conn *))
{
    struct h2_connection *c = calloc(1, sizeof *c);
    if (!c)
        return -1;
    c->magic = H2_CONNECTION_MAGIC;
    c->conn = conn;
    c->worker = client->listener->worker;
    c->gone = gone;
    c->client.listener = client->listener;
    h2_strict_init(&c->strict);
    c->abuse.leaked_at = loop_now(&c->worker->loop);
    list_init(&c->streams);
    list_init(&c->resumable);
    list_init(&c->closed);
    task_init(&c->flush);
    timer_init(&c->goaway_timer, h2_on_goaway_timer);
    if (create_session(c) != 0 || greet(c) != 0 || conn_keep(conn, kept) != 0) {
        nghttp2_session_del(c->session);
        free(c);
        return -1;
    }
    move_client(&c->client, client);
    conn->owner = c;
    conn->handler = &handler;
    h2_set_clock(c);
    h2_flush_later(c);
    conn_want_read(conn, true);
    if (c->worker->draining || c->client.listener->removed)
        h2_drain_client(&c->client, false);
    return 0;
}

/* Reading. */

/* Requests that are not whole cannot become so; the others are answered yet. A reset leaves with the flush:
 * no stream goes while they are walked. */
static void half_close(struct h2_connection *c)
{
    c->half_closed = true;
    c->conn->want_read = false;
    LIST_EACH (node, &c->streams) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, link);
        if (!s->request_done)
            h2_reset(s, NGHTTP2_CANCEL);
    }
    if (c->stream_count)
        h2_flush_later(c);
    else
        h2_hang_up(c, END_CLIENT_GONE);
}

static void readable(struct conn *conn)
{
    struct h2_connection *c = h2_connection_of(conn);
    struct slice in;
    enum conn_status status = conn_read(conn, &in);
    if (in.len)
        take_input(c, in);
    if (conn->closed || c->lingering)
        return;
    if (conn_keep(conn, slice_of(NULL, 0)) != 0 || status == CONN_ERROR) {
        h2_hang_up(c, END_CLIENT_GONE);
        return;
    }
    if (status == CONN_EOF) {
        half_close(c);
        return;
    }
    if (conn->want_read && (conn->can_read || conn->transport_pending))
        conn_yield(conn);
}

static void failed_input(struct h2_connection *c, ssize_t error)
{
    if (error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        h2_calm(c, H2_ABUSE_CONTINUATION);
    else if (error == NGHTTP2_ERR_FLOODED)
        h2_calm(c, H2_ABUSE_PING);
    else
        h2_end_session(c, error == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR
                                                                : NGHTTP2_INTERNAL_ERROR);
}

static ssize_t feed(struct h2_connection *c, struct slice in)
{
    c->in_library = true;
    ssize_t n = nghttp2_session_mem_recv(c->session, (const uint8_t *)in.at, in.len);
    c->in_library = false;
    return n;
}

/* In pieces, so that what nghttp2 does not see is looked at when all before it is known. */
static void take_input(struct h2_connection *c, struct slice in)
{
    ssize_t taken = 0;
    while (in.len && taken >= 0 && !c->ending) {
        enum h2_found found;
        int32_t id;
        size_t n = h2_strict_walk(&c->strict, in, &found, &id);
        size_t head = found == H2_FOUND_DATA ? n < H2_FRAME_HEAD ? n : H2_FRAME_HEAD : 0;
        taken = feed(c, slice_of(in.at, n - head));
        if (found == H2_FOUND_DATA)
            h2_check_late(c, id, c->strict.skip);
        else if (found == H2_FOUND_WRONG)
            h2_end_session(c, NGHTTP2_PROTOCOL_ERROR);
        if (head && taken >= 0 && !c->ending) /* a session that is over takes nothing more */
            taken = feed(c, slice_of(in.at + n - head, head));
        in = slice_skip(in, n);
    }
    if (taken < 0)
        failed_input(c, taken);
    h2_after_call(c);
}

void h2_after_call(struct h2_connection *c)
{
    if (c->conn->closed || c->lingering)
        return;
    h2_set_clock(c);
    h2_flush_later(c);
    bool clogged = c->out_full && nghttp2_session_get_outbound_queue_size(c->session) > OUTBOUND_MAX;
    if (clogged || c->ending)
        c->conn->want_read = false;
}

/* Writing. */

void h2_flush_later(struct h2_connection *c)
{
    if (!c->lingering && !c->conn->closed && !list_linked(&c->flush.link))
        loop_defer(&c->worker->loop, &c->flush, flush);
}

static void resume_streams(struct h2_connection *c)
{
    struct list due;
    list_init(&due);
    list_splice(&due, &c->resumable);
    while (!list_empty(&due)) {
        struct h2_stream *s = CONTAINER_OF(due.next, struct h2_stream, resume);
        list_remove(&s->resume);
        h2_resume(s);
    }
}

/* A client that says no more opens no window either. */
static void reset_blocked(struct h2_connection *c)
{
    LIST_EACH (node, &c->streams) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, link);
        if (s->pending.bytes)
            h2_reset(s, NGHTTP2_CANCEL);
    }
}

static void flush(struct task *t)
{
    struct h2_connection *c = CONTAINER_OF(t, struct h2_connection, flush);
    ASSERT(c->magic == H2_CONNECTION_MAGIC);
    if (c->conn->closed || c->lingering)
        return;
    h2_free_closed(c, END_CLIENT_GONE);
    if (h2_send_all(c) != 0) {
        h2_hang_up(c, END_CUT);
        return;
    }
    h2_write_out(c);
    c->out_full = h2_is_full(c);
    if (c->half_closed && !c->out_full)
        reset_blocked(c);
    resume_streams(c);
    bool over = !c->out.bytes && !nghttp2_session_want_write(c->session) &&
                (!nghttp2_session_want_read(c->session) || (c->half_closed && c->stream_count == 0));
    if (over) {
        h2_finish(c);
        return;
    }
    h2_set_clock(c);
}

static void drained(struct conn *conn)
{
    struct h2_connection *c = h2_connection_of(conn);
    h2_flush_later(c);
    if (!c->ending && !c->half_closed && !conn->want_read)
        conn_want_read(conn, true);
}

static const struct conn_handler handler = {
    .readable = readable,
    .drained = drained,
    .timeout = h2_on_timeout,
    .failed = h2_on_failed,
};
