#include "cache/redis/link.h"

#include <stdio.h>
#include <stdlib.h>

#define READS_A_TURN 8
#define HEADER_MAX   32 /* "$18446744073709551615\r\n" */

/* What the greeting's commands are about; the owner's are about something else. */
static const char greeting_mark;
#define GREETING ((void *)(uintptr_t)&greeting_mark)

static void on_pause_over(struct timer *t);
static void on_connected(struct conn *c);
static void on_readable(struct conn *c);
static void on_timeout(struct conn *c);
static void on_failed(struct conn *c, int error);

static const struct conn_handler handler = {
    .connected = on_connected,
    .readable = on_readable,
    .timeout = on_timeout,
    .failed = on_failed,
};

void redis_link_init(struct redis_link *l, struct loop *loop, const struct cache_redis_settings *settings,
                     const struct redis_link_handler *h, size_t reply_max)
{
    memset(l, 0, sizeof *l);
    l->loop = loop;
    l->settings = settings;
    l->handler = h;
    l->reply_max = reply_max;
    l->conn.closed = true;
    timer_init(&l->pause, on_pause_over);
}

static struct redis_link *link_of(struct conn *c)
{
    return CONTAINER_OF(c, struct redis_link, conn);
}

/* Connecting and greeting. */

static void connect_now(struct redis_link *l)
{
    struct address to;
    l->state = REDIS_LINK_GREETING;
    if (!l->handler->target(l, &to)) {
        redis_link_fail(l, "its name is not resolved");
        return;
    }
    l->reader = redis_reader_create(l->reply_max);
    if (!l->reader) {
        redis_link_fail(l, "out of memory");
        return;
    }
    l->sent = l->answered = 0;
    l->subscribed = false;
    if (conn_connect(&l->conn, l->loop, &to, NULL, &handler) != 0) {
        redis_link_fail(l, "no socket could be had");
        return;
    }
    conn_timer(&l->conn, l->settings->connect);
}

void redis_link_start(struct redis_link *l)
{
    if (l->state == REDIS_LINK_IDLE)
        connect_now(l);
}

void redis_link_hurry(struct redis_link *l)
{
    if (l->state != REDIS_LINK_WAITING)
        return;
    loop_timer_clear(l->loop, &l->pause);
    connect_now(l);
}

static void on_pause_over(struct timer *t)
{
    connect_now(CONTAINER_OF(t, struct redis_link, pause));
}

static int send_command(struct redis_link *l, const struct slice *arguments, int count,
                        const struct iovec *body, int body_count, void *about);

static void on_connected(struct conn *c)
{
    struct redis_link *l = link_of(c);
    const struct cache_redis_settings *s = l->settings;
    char number[24];
    if (s->username.len)
        send_command(l, (struct slice[]){S("AUTH"), s->username, s->password}, 3, NULL, 0, GREETING);
    else if (s->password.len)
        send_command(l, (struct slice[]){S("AUTH"), s->password}, 2, NULL, 0, GREETING);
    if (s->database) {
        int len = snprintf(number, sizeof number, "%llu", (unsigned long long)s->database);
        send_command(l, (struct slice[]){S("SELECT"), slice_of(number, (size_t)len)}, 2, NULL, 0, GREETING);
    }
    send_command(l, (struct slice[]){S("PING")}, 1, NULL, 0, GREETING);
    l->greeted_us = loop_now_us(l->loop);
}

static void greeting_answered(struct redis_link *l, const struct redis_reply *reply)
{
    if (reply->kind == REDIS_FAULT) {
        char reason[REDIS_LINK_REASON_MAX];
        snprintf(reason, sizeof reason, "%.*s", (int)(reply->text.len < 120 ? reply->text.len : 120),
                 reply->text.at);
        redis_link_fail(l, reason);
        return;
    }
    if (redis_link_pending(l))
        return;
    if (reply->kind != REDIS_TEXT || !slice_equal(reply->text, S("PONG"))) {
        redis_link_fail(l, "what answers is no Redis");
        return;
    }
    if (l->greet_max && loop_now_us(l->loop) - l->greeted_us > l->greet_max * 1000) {
        redis_link_fail(l, "it answers too slowly");
        return;
    }
    conn_timer_pause(&l->conn);
    l->state = REDIS_LINK_UP;
    l->handler->up(l);
}

/* The end, and the next try. */

static void shut(struct redis_link *l)
{
    conn_close(&l->conn);
    redis_reader_free(l->reader);
    l->reader = NULL;
    loop_timer_clear(l->loop, &l->pause);
}

/* A pause of 1, 2, 4 … first ones, and up to a quarter more, so that a fleet does not come back all at once.
 */
static msec_t next_pause(struct redis_link *l)
{
    unsigned times = l->failures < 5 ? 1u << l->failures : REDIS_LINK_PAUSES;
    msec_t pause = l->settings->retry * (times < REDIS_LINK_PAUSES ? times : REDIS_LINK_PAUSES);
    if (l->failures < 5)
        l->failures++;
    uint64_t mixed = (loop_now_us(l->loop) ^ (uintptr_t)l) * UINT64_C(0x9e3779b97f4a7c15);
    return pause + (mixed >> 32) % (pause / 4 + 1);
}

void redis_link_fail(struct redis_link *l, const char *reason)
{
    if (l->state != REDIS_LINK_GREETING && l->state != REDIS_LINK_UP)
        return;
    shut(l);
    l->state = REDIS_LINK_WAITING;
    loop_timer(l->loop, &l->pause, next_pause(l));
    while (l->answered != l->sent && l->state == REDIS_LINK_WAITING) {
        void *about = l->pending[l->answered++ % REDIS_LINK_PENDING];
        if (about && about != GREETING)
            l->handler->lost(l, about);
    }
    if (l->state == REDIS_LINK_WAITING)
        l->handler->down(l, reason);
}

void redis_link_close(struct redis_link *l)
{
    if (l->state == REDIS_LINK_CLOSED)
        return;
    shut(l);
    l->state = REDIS_LINK_CLOSED;
}

static void on_timeout(struct conn *c)
{
    struct redis_link *l = link_of(c);
    redis_link_fail(l, l->state == REDIS_LINK_UP ? "it does not answer" : "no answer to the greeting");
}

static void on_failed(struct conn *c, int error)
{
    redis_link_fail(link_of(c), strerrordesc_np(error));
}

/* Commands. */

static int send_command(struct redis_link *l, const struct slice *arguments, int count,
                        const struct iovec *body, int body_count, void *about)
{
    char headers[REDIS_LINK_ARGUMENTS + 2][HEADER_MAX];
    struct iovec iov[3 * REDIS_LINK_ARGUMENTS + 3 + CACHE_REDIS_IOV_MAX + 4];
    static const char line_end[] = "\r\n";
    int n = 0;
    ASSERT(count <= REDIS_LINK_ARGUMENTS && body_count <= CACHE_REDIS_IOV_MAX + 2);
    if (redis_link_pending(l) >= REDIS_LINK_PENDING)
        return -1;
    int len = snprintf(headers[0], HEADER_MAX, "*%d\r\n", count + (body != NULL));
    iov[n++] = (struct iovec){headers[0], (size_t)len};
    for (int i = 0; i < count; i++) {
        len = snprintf(headers[i + 1], HEADER_MAX, "$%zu\r\n", arguments[i].len);
        iov[n++] = (struct iovec){headers[i + 1], (size_t)len};
        iov[n++] = (struct iovec){(void *)(uintptr_t)arguments[i].at, arguments[i].len};
        iov[n++] = (struct iovec){(void *)(uintptr_t)line_end, 2};
    }
    if (body) {
        size_t bytes = 0;
        for (int i = 0; i < body_count; i++)
            bytes += body[i].iov_len;
        len = snprintf(headers[count + 1], HEADER_MAX, "$%zu\r\n", bytes);
        iov[n++] = (struct iovec){headers[count + 1], (size_t)len};
        memcpy(iov + n, body, (size_t)body_count * sizeof *body);
        n += body_count;
        iov[n++] = (struct iovec){(void *)(uintptr_t)line_end, 2};
    }
    if (conn_write(&l->conn, iov, n) != 0)
        return -1;
    if (!l->subscribed)
        l->pending[l->sent++ % REDIS_LINK_PENDING] = about;
    return 0;
}

int redis_link_send(struct redis_link *l, const struct slice *arguments, int count, const struct iovec *body,
                    int body_count, void *about)
{
    if (l->state != REDIS_LINK_UP)
        return -1;
    bool first = l->sent == l->answered;
    if (send_command(l, arguments, count, body, body_count, about) != 0)
        return -1;
    if (l->watched && first)
        conn_timer(&l->conn, REDIS_LINK_PATIENCE_MS);
    return 0;
}

int redis_link_subscribe(struct redis_link *l, struct slice channel)
{
    if (l->state != REDIS_LINK_UP || redis_link_pending(l))
        return -1;
    l->subscribed = true;
    return send_command(l, (struct slice[]){S("SUBSCRIBE"), channel}, 2, NULL, 0, NULL);
}

void redis_link_forget(struct redis_link *l, uint64_t ticket)
{
    if (ticket >= l->answered && ticket < l->sent)
        l->pending[ticket % REDIS_LINK_PENDING] = NULL;
}

static void answered(struct redis_link *l, const struct redis_reply *reply)
{
    if (l->subscribed) {
        l->handler->reply(l, NULL, reply);
        return;
    }
    if (l->sent == l->answered) {
        redis_link_fail(l, "what answers is no Redis");
        return;
    }
    void *about = l->pending[l->answered++ % REDIS_LINK_PENDING];
    if (l->watched && l->state == REDIS_LINK_UP) {
        if (l->sent == l->answered)
            conn_timer_pause(&l->conn);
        else
            conn_timer(&l->conn, REDIS_LINK_PATIENCE_MS);
    }
    if (about == GREETING)
        greeting_answered(l, reply);
    else
        l->handler->reply(l, about, reply);
}

/* False when the connection is gone. */
static bool answer_all(struct redis_link *l)
{
    struct redis_reply *reply;
    int result = 0;
    while (!l->conn.closed && (result = redis_reader_next(l->reader, &reply)) > 0) {
        answered(l, reply);
        redis_reply_free(reply);
    }
    if (!l->conn.closed && result < 0)
        redis_link_fail(l, "what answers is no Redis, or says too much");
    return !l->conn.closed;
}

static void on_readable(struct conn *c)
{
    struct redis_link *l = link_of(c);
    for (int i = 0; i < READS_A_TURN; i++) {
        struct slice in;
        enum conn_status status = conn_read(c, &in);
        if (status == CONN_AGAIN)
            return;
        if (status != CONN_DATA) {
            redis_link_fail(l, "it closed the connection");
            return;
        }
        int fed = redis_reader_feed(l->reader, in);
        conn_keep(c, slice_of(NULL, 0));
        if (fed != 0) {
            redis_link_fail(l, "out of memory");
            return;
        }
        if (!answer_all(l))
            return;
    }
    conn_yield(c);
}
