#include "balancer/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "balancer/check_grpc.h"
#include "balancer/check_http.h"
#include "balancer/check_udp.h"
#include "balancer/escape.h"
#include "balancer/flapping.h"
#include "balancer/suspicion.h"
#include "core/conn.h"
#include "core/log.h"
#include "core/proxy_protocol.h"
#include "tls/client.h"
#include "tls/info.h"

#define RUN_MAGIC     0x43484b52u
#define LINGER_MAX_MS 1000

struct checker {
    struct checks *checks;
    struct server *server; /* held */
    const struct server_use *use;
    struct timer timer;
    unsigned good, bad; /* results in a row */
    struct flapping flapping;
    struct check_run *run;
};

/* One check. Its end is told to the checker at once; the connection may linger after that, on its own. */
struct check_run {
    uint32_t magic;
    struct checker *checker; /* NULL once it is told */
    struct checks *checks;
    struct list link;
    usec_t began_us;
    uint32_t address_version;
    bool connected;
    struct conn conn;
    struct check_h2 *h2;  /* of a check over HTTP/2, once it is connected */
    struct check_udp udp; /* instead of conn */
    struct task bury;
};

static const struct conn_handler run_handler;

static void on_due(struct timer *t);
static void begin(struct checker *k);
static void end(struct check_run *run, bool ok, const char *text);
static void record(struct checker *k, bool ok, const char *text, usec_t took_us);
static void drop(struct check_run *run);

void checks_init(struct checks *c, struct loop *l, unsigned tls_worker,
                 void (*changed)(struct server *, void *), void *argument)
{
    *c = (struct checks){.loop = l, .tls_worker = tls_worker, .changed = changed, .argument = argument};
    list_init(&c->runs);
    if (getrandom(&c->random, sizeof c->random, GRND_NONBLOCK) != sizeof c->random)
        c->random = loop_now_us(l);
    c->random |= 1;
}

void checks_close(struct checks *c)
{
    LIST_EACH_SAFE (node, &c->runs) {
        drop(CONTAINER_OF(node, struct check_run, link));
    }
}

/* xorshift64*: it need only not beat together. */
static uint64_t random_below(struct checks *c, uint64_t limit)
{
    c->random ^= c->random >> 12;
    c->random ^= c->random << 25;
    c->random ^= c->random >> 27;
    return limit ? (c->random * UINT64_C(0x2545f4914f6cdd1d) >> 33) % limit : 0;
}

struct checker *checker_create(struct checks *c, struct server *s, const struct server_use *use)
{
    struct checker *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->checks = c;
    k->server = server_hold(s);
    k->use = use;
    timer_init(&k->timer, on_due);
    loop_timer(c->loop, &k->timer, random_below(c, use->check->interval));
    return k;
}

void checker_update(struct checker *k, const struct server_use *use)
{
    msec_t before = k->use->check->interval;
    k->use = use;
    if (k->run)
        drop(k->run);
    if (use->check->interval != before)
        loop_timer(k->checks->loop, &k->timer, random_below(k->checks, use->check->interval));
}

void checker_free(struct checker *k)
{
    if (k->run)
        drop(k->run);
    loop_timer_clear(k->checks->loop, &k->timer);
    server_release(k->server);
    free(k);
}

static void on_due(struct timer *t)
{
    struct checker *k = CONTAINER_OF(t, struct checker, timer);
    msec_t interval = k->use->check->interval;
    loop_timer(k->checks->loop, t, interval - interval / 10 + random_below(k->checks, interval / 5 + 1));
    if (!k->run)
        begin(k);
}

/* One check. */

/* Ahead of everything, TLS too: this connection is nobody's but ours. */
static void send_proxy_header(struct check_run *run, int version)
{
    struct proxy_header own = {.local = true};
    char bytes[PROXY_HEADER_SENT_MAX];
    struct iovec iov = {bytes, proxy_header_write(&own, version, NULL, bytes)};
    conn_raw_write(&run->conn, &iov, 1); /* failed() tells when it breaks */
}

/* What a check speaks, as far as that is known before its handshake. */
static enum upstream_protocol protocol_of(const struct server_use *use)
{
    if (use->check->type == CHECK_GRPC)
        return UPSTREAM_HTTP2;
    return use->check->type == CHECK_HTTP ? (enum upstream_protocol)use->protocol : UPSTREAM_HTTP1;
}

/* What the handshake offers. */
static struct slice alpn_of(const struct server_use *use)
{
    switch (protocol_of(use)) {
    case UPSTREAM_HTTP2:
        return S("\x02h2");
    case UPSTREAM_AUTO:
        return S("\x02h2\x08http/1.1");
    case UPSTREAM_HTTP1:
        break;
    }
    return S("");
}

static void on_udp_done(struct check_udp *udp, bool ok, const char *text)
{
    end(CONTAINER_OF(udp, struct check_run, udp), ok, text);
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
        end(run, false, strerrordesc_np(errno));
}

static void begin(struct checker *k)
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
        end(run, false, strerrordesc_np(errno));
        return;
    }
    if (k->use->proxy_protocol != PROXY_NONE)
        send_proxy_header(run, k->use->proxy_protocol);
    if (k->use->tls &&
        tls_client_connect(k->use->tls, c->tls_worker, &run->conn, k->server->host, alpn_of(k->use)) != 0) {
        end(run, false, "TLS could not be begun");
        return;
    }
    conn_timer(&run->conn, k->use->check->timeout);
}

static struct check_run *run_of(struct conn *c)
{
    struct check_run *run = CONTAINER_OF(c, struct check_run, conn);
    ASSERT(run->magic == RUN_MAGIC && run->checker);
    return run;
}

static void send_bytes(struct check_run *run, struct slice bytes)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.at, .iov_len = bytes.len};
    if (bytes.len)
        conn_write(&run->conn, &iov, 1); /* failed() tells when it breaks */
}

static struct slice authority_of(const struct check_run *run)
{
    struct slice name = run->checker->server->name;
    return slice_begins(name, S("unix:")) ? (struct slice)SLICE("localhost") : name;
}

static void send_h2(struct check_run *run)
{
    struct slice bytes;
    while ((bytes = check_h2_output(run->h2)).len)
        send_bytes(run, bytes);
}

static void ask_h2(struct check_run *run)
{
    const struct server_use *use = run->checker->use;
    bool is_tls = use->tls != NULL;
    run->h2 = use->check->type == CHECK_GRPC ? check_grpc_create(use->check, authority_of(run), is_tls)
                                             : check_http_h2(use->check, authority_of(run), is_tls);
    if (run->h2)
        send_h2(run);
    else
        end(run, false, "out of memory");
}

static void ask_h1(struct check_run *run)
{
    struct slice request = check_http_request(run->checker->use->check, authority_of(run));
    if (request.at)
        send_bytes(run, request);
    else
        end(run, false, "out of memory");
    free((void *)(uintptr_t)request.at);
}

/* Under TLS what ALPN says; else HTTP/2 only where it must be. */
static void ask(struct check_run *run)
{
    const struct server_use *use = run->checker->use;
    const struct tls_info *info = tls_info(&run->conn);
    enum upstream_protocol protocol = protocol_of(use);
    bool chosen = info && slice_equal(info->alpn, S("h2"));
    if (use->tls && protocol == UPSTREAM_HTTP2 && !chosen)
        end(run, false, "TLS: the server does not take HTTP/2 (ALPN)");
    else if (use->tls ? chosen : protocol == UPSTREAM_HTTP2)
        ask_h2(run);
    else
        ask_h1(run);
}

static void on_connected(struct conn *c)
{
    struct check_run *run = run_of(c);
    const struct check_settings *check = run->checker->use->check;
    run->connected = true;
    switch ((enum check_type)check->type) {
    case CHECK_TLS:
        end(run, true, "handshake done");
        return;
    case CHECK_TCP:
        send_bytes(run, check->send);
        if (check->receive.len == 0)
            end(run, true, "connected");
        return;
    case CHECK_HTTP:
    case CHECK_GRPC:
        ask(run);
        return;
    case CHECK_UDP:
        return; /* it has no connection */
    }
}

static int judge_status(const struct check_run *run, int status, char *text, size_t size)
{
    bool ok = status_ranges_contain(&run->checker->use->check->expect, (unsigned)status);
    snprintf(text, size, ok ? "status %d" : "status %d is not expected", status);
    return ok ? 1 : -1;
}

/* Whether the bytes decide it: then it is over. */
static bool judge_http(struct check_run *run, struct slice in)
{
    char text[SERVER_REASON_MAX];
    int status = check_http_status(in);
    if (status == 0)
        return false;
    if (status < 0) {
        end(run, false, "its answer is not HTTP");
        return true;
    }
    bool ok = judge_status(run, status, text, sizeof text) > 0;
    end(run, ok, text);
    return true;
}

static bool judge_tcp(struct check_run *run, struct slice in)
{
    struct slice want = run->checker->use->check->receive;
    size_t len = in.len < want.len ? in.len : want.len;
    if (len == 0 || memcmp(in.at, want.at, len) == 0) {
        if (in.len < want.len)
            return false;
        end(run, true, "the expected answer");
        return true;
    }
    char got[64], text[SERVER_REASON_MAX];
    escape_print(in, got, sizeof got);
    snprintf(text, sizeof text, "its answer begins with \"%s\", which is not expected", got);
    end(run, false, text);
    return true;
}

/* As check_grpc_judge. */
static int judge_http_h2(const struct check_run *run, const struct check_h2_answer *a, char *text,
                         size_t size)
{
    if (a->status)
        return judge_status(run, a->status, text, size);
    if (a->reset)
        snprintf(text, size, "the request was reset with error %u", a->error);
    return a->reset ? -1 : 0;
}

/* Takes all of `in`, whether or not it decides. */
static bool judge_h2(struct check_run *run, struct slice in)
{
    char text[SERVER_REASON_MAX];
    check_h2_input(run->h2, in);
    send_h2(run);
    const char *fault = check_h2_fault(run->h2);
    if (fault) {
        end(run, false, fault);
        return true;
    }
    const struct check_h2_answer *answer = check_h2_answer(run->h2);
    int judged = run->checker->use->check->type == CHECK_GRPC ? check_grpc_judge(answer, text, sizeof text)
                                                              : judge_http_h2(run, answer, text, sizeof text);
    if (judged)
        end(run, judged > 0, text);
    return judged != 0;
}

static bool judge(struct check_run *run, struct slice in)
{
    return run->checker->use->check->type == CHECK_HTTP ? judge_http(run, in) : judge_tcp(run, in);
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
            end(run, false, strerrordesc_np(errno));
            return;
        }
        if (status == CONN_EOF) {
            end(run, false,
                in.len ? "closed the connection amid its answer" : "closed the connection without an answer");
            return;
        }
        bool decided = run->h2 ? judge_h2(run, in) : judge(run, in);
        if (decided)
            return;
        if (run->h2)
            in = slice_of(NULL, 0);
        if (in.len > CHECK_ANSWER_MAX || conn_keep(c, in) != 0) {
            end(run, false, "its answer is too long");
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
    end(run, false, text);
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
    end(run, false, text);
}

static const struct conn_handler run_handler = {
    .connected = on_connected,
    .readable = on_readable,
    .timeout = on_timeout,
    .failed = on_failed,
};

/* The end of one. */

static void bury(struct task *t)
{
    struct check_run *run = CONTAINER_OF(t, struct check_run, bury);
    ASSERT(run->magic == RUN_MAGIC);
    run->magic = 0;
    check_h2_free(run->h2);
    free(run);
}

/* Closes at once, told or not. */
static void drop(struct check_run *run)
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
    drop(run);
}

/* A server that has answered is let finish, for a short time: a reset would show in its log as a broken
 * client. */
static void end(struct check_run *run, bool ok, const char *text)
{
    struct checker *k = run->checker;
    usec_t took_us = loop_now_us(run->checks->loop) - run->began_us;
    if (!run->connected && !ok)
        server_address_failed(k->server, run->address_version);
    k->run = NULL;
    run->checker = NULL;
    if (run->h2 && run->connected && ok) {
        check_h2_finish(run->h2);
        send_h2(run);
    }
    if (run->connected && ok && k->use->check->type != CHECK_TLS)
        conn_linger(&run->conn, LINGER_MAX_MS, on_gone);
    else
        drop(run);
    record(k, ok, text ? text : "failed", took_us);
}

/* What it means. */

static void log_change(const struct checker *k, bool up, const char *reason)
{
    const struct server *s = k->server;
    if (up)
        log_info("server is up", LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name),
                 LOG_TEXT("reason", reason), LOG_U64("checks", k->good));
    else
        log_warn("server is down", LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name),
                 LOG_TEXT("reason", reason), LOG_U64("checks", k->bad));
}

/* A good check that does not do yet. */
static void say_flapping(const struct checker *k, unsigned changes, int64_t wall_us)
{
    const struct check_settings *check = k->use->check;
    char reason[SERVER_REASON_MAX], window[32];
    usec_t seconds = check->interval * FLAPPING_INTERVALS / 1000;
    snprintf(window, sizeof window, seconds % 60 ? "%llu s" : "%llu m",
             (unsigned long long)(seconds % 60 ? seconds : seconds / 60));
    snprintf(reason, sizeof reason, "flapping: %u%s changes in %s; %llu good checks needed, %u so far",
             changes, changes == FLAPPING_KEPT ? " or more" : "", window,
             (unsigned long long)check->rise * flapping_times(changes), k->good);
    server_set_health(k->server, HEALTH_DOWN, reason, wall_us);
}

static void record(struct checker *k, bool ok, const char *text, usec_t took_us)
{
    static const char *const types[] = {[CHECK_HTTP] = "http",
                                        [CHECK_TCP] = "tcp",
                                        [CHECK_TLS] = "tls",
                                        [CHECK_GRPC] = "grpc",
                                        [CHECK_UDP] = "udp"};
    const struct check_settings *check = k->use->check;
    struct server *s = k->server;
    int64_t wall_us = loop_wall_us(k->checks->loop);
    int health = atomic_load_explicit(&s->health, memory_order_relaxed);
    if (ok && k->bad)
        suspicion_end(s); /* it has recovered: what requests met before says nothing any more */
    k->good = ok ? k->good + 1 : 0;
    k->bad = ok ? 0 : k->bad + 1;
    server_set_check(s, ok, text, took_us, wall_us);

    unsigned changes = flapping_changes(&k->flapping, loop_now_us(k->checks->loop), check->interval);
    unsigned times = flapping_times(changes);
    char reason[SERVER_REASON_MAX + 32];
    snprintf(reason, sizeof reason, "%s check: %s", types[check->type], text);
    if (ok && health == HEALTH_UNKNOWN) {
        server_set_health(s, HEALTH_UP, "", wall_us);
        return;
    }
    if (!ok && (health == HEALTH_DOWN || k->bad >= check->fall)) {
        if (!server_set_health(s, HEALTH_DOWN, reason, wall_us))
            return;
    } else if (ok && health == HEALTH_DOWN && k->good >= check->rise * times) {
        server_set_health(s, HEALTH_UP, "", wall_us);
    } else {
        if (ok && health == HEALTH_DOWN && times > 1)
            say_flapping(k, changes, wall_us);
        return;
    }
    log_change(k, ok, reason);
    flapping_note(&k->flapping, loop_now_us(k->checks->loop));
    if (k->checks->changed)
        k->checks->changed(s, k->checks->argument);
}
