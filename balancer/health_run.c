/* One check: it connects, is asked and judged (health_exchange.c), and ends with a result or is dropped. */
#include "balancer/health_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/check_http.h"
#include "core/proxy_protocol.h"
#include "tls/client.h"
#include "tls/info.h"

#define RUN_MAGIC     0x43484b52u
#define LINGER_MAX_MS 1000

static const struct conn_handler run_handler;

/* Ahead of everything, TLS too: this connection is nobody's but ours. */
static void send_proxy_header(struct check_run *run, int version)
{
    struct proxy_header own = {.local = true};
    char bytes[PROXY_HEADER_SENT_MAX];
    struct iovec iov = {bytes, proxy_header_write(&own, version, NULL, bytes)};
    conn_raw_write(&run->conn, &iov, 1); /* failed() tells when it breaks */
}

static void on_udp_done(struct check_udp *udp, bool ok, const char *text)
{
    check_run_end(CONTAINER_OF(udp, struct check_run, udp), ok, text);
}

static void begin_udp(struct check_run *run, const struct address *to)
{
    const struct server_use *use = run->checker->use;
    struct proxy_header own = {.local = true};
    char bytes[PROXY_HEADER_SENT_MAX];
    struct slice header = {bytes, 0};
    if (use->proxy_protocol == PROXY_V2)
        header.len = proxy_header_write(&own, PROXY_V2, NULL, bytes);
    if (check_udp_begin(&run->udp, run->checks->loop, to, use->check, header, on_udp_done) != 0)
        check_run_end(run, false, strerrordesc_np(errno));
}

void check_run_begin(struct checker *k)
{
    struct checks *c = k->checks;
    struct address to;
    uint32_t version;
    if (!server_address(k->server, &to, &version))
        return;
    struct check_run *run = calloc(1, sizeof *run);
    if (!run)
        return;
    run->magic = RUN_MAGIC;
    run->checker = k;
    run->checks = c;
    run->began_us = loop_now_us(c->loop);
    run->address_version = version;
    run->conn.closed = true;
    task_init(&run->bury);
    list_append(&c->runs, &run->link);
    k->run = run;
    if (k->use->check->type == CHECK_UDP) {
        begin_udp(run, &to);
        return;
    }
    if (conn_connect(&run->conn, c->loop, &to, NULL, &run_handler) != 0) {
        check_run_end(run, false, strerrordesc_np(errno));
        return;
    }
    if (k->use->proxy_protocol != PROXY_NONE)
        send_proxy_header(run, k->use->proxy_protocol);
    if (k->use->tls && tls_client_connect(k->use->tls, c->tls_worker, &run->conn, k->server->host,
                                          check_run_alpn(k->use)) != 0) {
        check_run_end(run, false, "TLS could not be begun");
        return;
    }
    conn_timer(&run->conn, k->use->check->timeout);
}

/* Its connection. */

static struct check_run *run_of(struct conn *c)
{
    struct check_run *run = CONTAINER_OF(c, struct check_run, conn);
    ASSERT(run->magic == RUN_MAGIC && run->checker);
    return run;
}

static void on_connected(struct conn *c)
{
    struct check_run *run = run_of(c);
    run->connected = true;
    check_run_ask(run);
}

static void on_readable(struct conn *c)
{
    struct check_run *run = run_of(c);
    for (;;) {
        struct slice in;
        enum conn_status status = conn_read(c, &in);
        if (status == CONN_AGAIN)
            return;
        if (status == CONN_ERROR) {
            check_run_end(run, false, strerrordesc_np(errno));
            return;
        }
        if (status == CONN_EOF) {
            check_run_end(run, false,
                          in.len ? "closed the connection amid its answer"
                                 : "closed the connection without an answer");
            return;
        }
        bool decided = check_run_judge(run, in);
        if (decided)
            return;
        if (run->h2)
            in = slice_of(NULL, 0);
        if (in.len > CHECK_ANSWER_MAX || conn_keep(c, in) != 0) {
            check_run_end(run, false, "its answer is too long");
            return;
        }
    }
}

static void on_timeout(struct conn *c)
{
    struct check_run *run = run_of(c);
    char text[SERVER_REASON_MAX];
    const char *what = c->connecting ? "no connection" : c->handshaking ? "no TLS handshake" : "no answer";
    snprintf(text, sizeof text, "%s within %llu ms", what,
             (unsigned long long)run->checker->use->check->timeout);
    check_run_end(run, false, text);
}

static void on_failed(struct conn *c, int error)
{
    struct check_run *run = run_of(c);
    char text[SERVER_REASON_MAX];
    const char *tls = tls_failure(c);
    const char *words = strerrordesc_np(error);
    if (tls)
        snprintf(text, sizeof text, "TLS: %s", tls);
    else
        snprintf(text, sizeof text, "%s%s", run->connected ? "" : "connect: ", words ? words : "failed");
    check_run_end(run, false, text);
}

static const struct conn_handler run_handler = {
    .connected = on_connected,
    .readable = on_readable,
    .timeout = on_timeout,
    .failed = on_failed,
};

/* Its end. */

static void bury(struct task *t)
{
    struct check_run *run = CONTAINER_OF(t, struct check_run, bury);
    ASSERT(run->magic == RUN_MAGIC);
    run->magic = 0;
    check_h2_free(run->h2);
    free(run);
}

/* Closes at once, told or not. */
void check_run_drop(struct check_run *run)
{
    if (run->checker)
        run->checker->run = NULL;
    run->checker = NULL;
    list_remove(&run->link);
    conn_close(&run->conn);
    check_udp_close(&run->udp);
    loop_bury(run->checks->loop, &run->bury, bury);
}

static void on_gone(struct conn *c)
{
    struct check_run *run = CONTAINER_OF(c, struct check_run, conn);
    ASSERT(run->magic == RUN_MAGIC && !run->checker);
    check_run_drop(run);
}

/* A server that has answered is let finish, for a short time: a reset would show in its log as a broken
 * client. */
void check_run_end(struct check_run *run, bool ok, const char *text)
{
    struct checker *k = run->checker;
    usec_t took_us = loop_now_us(run->checks->loop) - run->began_us;
    if (!run->connected && !ok)
        server_address_failed(k->server, run->address_version);
    k->run = NULL;
    run->checker = NULL;
    if (run->h2 && run->connected && ok) {
        check_h2_finish(run->h2);
        check_run_send_h2(run);
    }
    if (run->connected && ok && k->use->check->type != CHECK_TLS)
        conn_linger(&run->conn, LINGER_MAX_MS, on_gone);
    else
        check_run_drop(run);
    checker_record(k, ok, text ? text : "failed", took_us);
}
