#include "core/log.h"
#include "proxy/http/affinity.h"
#include "proxy/http/error_page.h"
#include "proxy/http/exchange_internal.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward.h"

void exchange_inform(struct exchange *x, struct http_response *r)
{
    if (x->head_sent)
        return;
    fields_strip_hop_by_hop(&r->fields);
    fields_remove(&r->fields, FIELD_CONTENT_LENGTH); /* RFC 9110 §8.6 */
    if (r->status == 100)
        x->request.expect_continue = false;
    x->down_ops->inform(x, r);
}

/* What the route does to every response, whoever made it. */
static int edit_response(struct exchange *x, struct http_response *r)
{
    struct slice upgrade = {0};
    if (r->status == 101) {
        const struct field *f = fields_find(&r->fields, FIELD_UPGRADE);
        upgrade = f ? f->value : upgrade;
    }
    fields_strip_hop_by_hop(&r->fields);
    if (upgrade.len && fields_add(&x->arena, &r->fields, FIELD_UPGRADE, S("Upgrade"), upgrade) != 0)
        return -1;
    if (r->status == 204 || r->status == 101)
        fields_remove(&r->fields, FIELD_CONTENT_LENGTH);            /* RFC 9110 §8.6 */
    if (r->status >= 200 && !fields_find(&r->fields, FIELD_DATE) && /* RFC 9110 §6.6.1 */
        fields_add(&x->arena, &r->fields, FIELD_DATE, S("Date"), worker_date(x->worker)) != 0)
        return -1;
    if (UNLIKELY(x->is_fetch))
        return 0;
    if (UNLIKELY(x->cache != NULL) && cache_respond(x, r) != 0)
        return -1;
    if (fields_add(&x->arena, &r->fields, FIELD_VIA, S("Via"), exchange_via(r->minor, r->is_http2)) != 0)
        return -1;
    if (x->upstream && UNLIKELY(x->upstream->affinity != NULL) &&
        (x->responder == &forward_responder || cache_relays(x)) && affinity_set_cookie(x, &r->fields) != 0)
        return -1;
    if (x->route && x->route->response_headers.count &&
        edits_apply(&x->route->response_headers, &r->fields, &x->arena, exchange_variable, x) != 0)
        return -1;
    return 0;
}

/* Nothing whole can be said (any more). */
static void cut(struct exchange *x, enum exchange_end why)
{
    x->end = why;
    x->down_ops->cut(x);
}

static void note_grpc_status(struct exchange *x, const struct fields *f)
{
    const struct field *status = fields_find_name(f, S("grpc-status"));
    if (status)
        x->grpc_status = grpc_read_status(status->value);
}

static void add_up(struct exchange *x, const struct iovec *body, int count_)
{
    for (int i = 0; i < count_; i++)
        x->response_bytes += body[i].iov_len;
}

void exchange_respond(struct exchange *x, struct http_response *r, const struct iovec *body, int count_,
                      bool end)
{
    ASSERT(!x->head_sent && x->phase == EXCHANGE_WAITING);
    /* To an extended CONNECT every 2xx would be a yes (RFC 8441 §5). */
    if (x->request.protocol.len && r->status / 100 == 2 && !r->upgrade)
        r->status = 502;
    x->status = r->status;
    x->response = r;
    if (x->is_grpc)
        note_grpc_status(x, &r->fields);
    bool has_fields = r->lines[0].len == 0;
    if (has_fields && edit_response(x, r) != 0) {
        x->reason = "out of memory";
        cut(x, END_CUT);
        return;
    }
    if (has_fields && x->worker->observers && x->worker->observers->response_begins && !x->is_fetch)
        x->worker->observers->response_begins(x->worker->observers->argument, x);
    /* An answer before the request is read: its body will be read and dropped, unless it is long or may never
     * come. */
    if (!x->request_done &&
        (x->request.expect_continue || x->request.content_length > x->request_bytes + EXCHANGE_DROP_MAX))
        x->keep_alive_ok = false;
    if (x->down_ops->respond(x, r, body, count_, end) != 0) {
        log_error("a response's head is too large", LOG_SLICE("route", x->route ? x->route->name : S("")));
        x->status = 500;
        x->reason = "the response's head is too large";
        cut(x, END_CUT);
        return;
    }
    x->head_sent = true;
    x->phase = EXCHANGE_ANSWERING;
    add_up(x, body, count_);
    if (r->upgrade) {
        x->phase = EXCHANGE_TUNNEL;
        x->was_tunnel = true;
        x->request_done = false;
        x->down_ops->upgrade(x);
    }
    x->response_done = end;
    exchange_check_done(x);
    x->response = NULL;
}

bool exchange_takes_lines(const struct exchange *x)
{
    const struct observers *o = x->worker->observers;
    return x->down_ops->takes_lines && x->route->response_headers.count == 0 &&
           !(o && o->wants_response && o->wants_response(o->argument, x));
}

void exchange_respond_body(struct exchange *x, const struct iovec *body, int count_, bool end,
                           const struct fields *trailers)
{
    ASSERT(x->head_sent && !x->response_done);
    add_up(x, body, count_);
    if (x->is_grpc && trailers)
        note_grpc_status(x, trailers);
    x->response_done = end;
    x->down_ops->respond_body(x, body, count_, end, trailers);
    exchange_check_done(x);
}

ssize_t exchange_respond_some(struct exchange *x, const struct iovec *body, int count_)
{
    ASSERT(x->head_sent && !x->response_done);
    ssize_t taken = x->down_ops->respond_some ? x->down_ops->respond_some(x, body, count_) : -1;
    if (taken > 0)
        add_up(x, &(struct iovec){NULL, (size_t)taken}, 1);
    return taken;
}

bool exchange_takes_files(const struct exchange *x)
{
    return x->down_ops->takes_files && x->down_ops->takes_files(x);
}

size_t exchange_respond_file(struct exchange *x, int fd, uint64_t offset, size_t bytes)
{
    ASSERT(x->head_sent && !x->response_done);
    size_t taken = x->down_ops->respond_file(x, fd, offset, bytes);
    x->response_bytes += taken;
    return taken;
}

enum conn_spliced exchange_respond_splice(struct exchange *x, struct conn *from, uint64_t max, size_t *moved)
{
    ASSERT(x->head_sent && !x->response_done);
    *moved = 0;
    if (!x->down_ops->respond_splice)
        return SPLICE_NOT;
    enum conn_spliced result = x->down_ops->respond_splice(x, from, max, moved);
    x->response_bytes += *moved;
    return result;
}

void exchange_fail(struct exchange *x, unsigned status, const char *reason)
{
    if (x->phase == EXCHANGE_ENDED)
        return;
    if (x->drop_body) { /* answered already: what failed is the reading of the rest */
        x->keep_alive_ok = false;
        x->down_ops->done(x);
        return;
    }
    x->reason = reason;
    if (x->responder && x->responder->cancel)
        x->responder->cancel(x);
    x->responder = NULL;
    if (x->head_sent) {
        cut(x, status == 504 || status == 408 ? END_TIMEOUT : status == 502 ? END_SERVER_FAILED : END_CUT);
        return;
    }
    if (UNLIKELY(x->is_fetch)) {
        x->down_ops->failed(x, status, reason);
        return;
    }
    if (status == 400 || status == 408)
        x->keep_alive_ok = false;
    answer_error(x, status);
}

void exchange_answer(struct exchange *x, unsigned status, struct slice type, struct slice body,
                     const struct fields *extra)
{
    struct fields f = {0};
    bool no_body = status == 204 || status == 304 || status < 200;
    if ((type.len && !no_body && fields_add(&x->arena, &f, FIELD_CONTENT_TYPE, S("Content-Type"), type) != 0))
        goto fail;
    for (uint32_t i = 0; extra && i < extra->count; i++)
        if (fields_add(&x->arena, &f, extra->at[i].id, extra->at[i].name, extra->at[i].value) != 0)
            goto fail;
    struct http_response r = {
        .status = (uint16_t)status,
        .minor = 1,
        .fields = f,
        .body = no_body || x->request.method_id == METHOD_HEAD || body.len == 0 ? BODY_NONE : BODY_LENGTH,
        .content_length = body.len,
        .has_content_length = !no_body,
    };
    struct iovec iov = {(void *)(uintptr_t)body.at, body.len};
    exchange_respond(x, &r, &iov, r.body == BODY_NONE ? 0 : 1, true);
    return;
fail:
    x->reason = "out of memory";
    cut(x, END_CUT);
}
