/* What a check says, and whether what comes back is good. */
#include "balancer/health_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/check_grpc.h"
#include "balancer/check_http.h"
#include "balancer/escape.h"
#include "tls/info.h"

/* What a check speaks, as far as that is known before its handshake. */
static enum upstream_protocol protocol_of(const struct server_use *use)
{
    if (use->check->type == CHECK_GRPC)
        return UPSTREAM_HTTP2;
    return use->check->type == CHECK_HTTP ? (enum upstream_protocol)use->protocol : UPSTREAM_HTTP1;
}

/* What the handshake offers. */
struct slice check_run_alpn(const struct server_use *use)
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

void check_run_send_h2(struct check_run *run)
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
        check_run_send_h2(run);
    else
        check_run_end(run, false, "out of memory");
}

static void ask_h1(struct check_run *run)
{
    struct slice request = check_http_request(run->checker->use->check, authority_of(run));
    if (request.at)
        send_bytes(run, request);
    else
        check_run_end(run, false, "out of memory");
    free((void *)(uintptr_t)request.at);
}

/* Under TLS what ALPN says; else HTTP/2 only where it must be. */
static void ask_http(struct check_run *run)
{
    const struct server_use *use = run->checker->use;
    const struct tls_info *info = tls_info(&run->conn);
    enum upstream_protocol protocol = protocol_of(use);
    bool chosen = info && slice_equal(info->alpn, S("h2"));
    if (use->tls && protocol == UPSTREAM_HTTP2 && !chosen)
        check_run_end(run, false, "TLS: the server does not take HTTP/2 (ALPN)");
    else if (use->tls ? chosen : protocol == UPSTREAM_HTTP2)
        ask_h2(run);
    else
        ask_h1(run);
}

void check_run_ask(struct check_run *run)
{
    const struct check_settings *check = run->checker->use->check;
    switch ((enum check_type)check->type) {
    case CHECK_TLS:
        check_run_end(run, true, "handshake done");
        return;
    case CHECK_TCP:
        send_bytes(run, check->send);
        if (check->receive.len == 0)
            check_run_end(run, true, "connected");
        return;
    case CHECK_HTTP:
    case CHECK_GRPC:
        ask_http(run);
        return;
    case CHECK_UDP:
        return; /* it has no connection */
    }
}

/* The answer. */

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
        check_run_end(run, false, "its answer is not HTTP");
        return true;
    }
    bool ok = judge_status(run, status, text, sizeof text) > 0;
    check_run_end(run, ok, text);
    return true;
}

static bool judge_tcp(struct check_run *run, struct slice in)
{
    struct slice want = run->checker->use->check->receive;
    size_t len = in.len < want.len ? in.len : want.len;
    if (len == 0 || memcmp(in.at, want.at, len) == 0) {
        if (in.len < want.len)
            return false;
        check_run_end(run, true, "the expected answer");
        return true;
    }
    char got[64], text[SERVER_REASON_MAX];
    escape_print(in, got, sizeof got);
    snprintf(text, sizeof text, "its answer begins with \"%s\", which is not expected", got);
    check_run_end(run, false, text);
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
    check_run_send_h2(run);
    const char *fault = check_h2_fault(run->h2);
    if (fault) {
        check_run_end(run, false, fault);
        return true;
    }
    const struct check_h2_answer *answer = check_h2_answer(run->h2);
    int judged = run->checker->use->check->type == CHECK_GRPC ? check_grpc_judge(answer, text, sizeof text)
                                                              : judge_http_h2(run, answer, text, sizeof text);
    if (judged)
        check_run_end(run, judged > 0, text);
    return judged != 0;
}

bool check_run_judge(struct check_run *run, struct slice in)
{
    if (run->h2)
        return judge_h2(run, in);
    return run->checker->use->check->type == CHECK_HTTP ? judge_http(run, in) : judge_tcp(run, in);
}
