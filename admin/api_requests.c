/* The flight recorder in JSON: each exchange with its whole story, in words. */
#include <stdlib.h>

#include "admin/asked.h"
#include "admin/internal.h"
#include "balancer/outcome.h"

static const char *outcome_word(uint8_t outcome)
{
    static const char *const words[] = {
        [OUTCOME_ABANDONED] = "abandoned",     [OUTCOME_ANSWERED] = "answered",
        [OUTCOME_UNREACHABLE] = "unreachable", [OUTCOME_RESET] = "reset",
        [OUTCOME_BAD] = "bad answer",          [OUTCOME_TIMEOUT] = "timeout",
    };
    return outcome < COUNT_OF(words) ? words[outcome] : "";
}

static json_t *text_or_null(struct slice s)
{
    return s.len ? json_slice(s) : json_null();
}

/* Milliseconds from the exchange's start, or null when it did not come to that. */
static json_t *at_ms(uint32_t us)
{
    return us ? json_real((double)us / 1000) : json_null();
}

static json_t *attempt_json(const struct record *r, const struct record_attempt *a)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:b, s:f, s:o, s:o, s:o, s:o}", //
                     "server", text_or_null(record_slice(r, a->server)), "outcome", outcome_word(a->outcome),
                     "reason", text_or_null(record_slice(r, a->reason)), "status",
                     a->status ? json_integer(a->status) : json_null(), "reused", a->reused, "started_ms",
                     (double)a->started_us / 1000, "connected_ms", at_ms(a->connected_us), "sent_ms",
                     at_ms(a->sent_us), "head_ms", at_ms(a->head_us), "ended_ms", at_ms(a->ended_us));
}

static const char *protocol_text(uint8_t protocol)
{
    return protocol == 20 ? "HTTP/2.0" : protocol == 10 ? "HTTP/1.0" : "HTTP/1.1";
}

static json_t *record_json(const struct record *r)
{
    json_t *attempts = json_array();
    for (unsigned i = 0; attempts && i < r->attempt_count; i++)
        json_array_append_new(attempts, attempt_json(r, &r->attempts[i]));
    json_t *out =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s}", //
                  "request_id", text_or_null(record_slice(r, r->id)), "time", json_time(r->wall_us), "client",
                  text_or_null(record_slice(r, r->client)), "method",
                  text_or_null(record_slice(r, r->method)), "host", text_or_null(record_slice(r, r->host)),
                  "target", text_or_null(record_slice(r, r->target)), "protocol", protocol_text(r->protocol));
    json_t *more =
        json_pack("{s:o, s:o, s:o, s:i, s:s, s:o, s:f, s:I, s:I, s:i, s:i, s:o}", //
                  "listener", text_or_null(record_slice(r, r->listener)), "route",
                  text_or_null(record_slice(r, r->route)), "upstream",
                  text_or_null(record_slice(r, r->upstream)), "status", r->status ? (int)r->status : 499,
                  "termination", termination_word((enum termination)r->termination), "reason",
                  text_or_null(record_slice(r, r->reason)), "duration_ms", (double)r->took_us / 1000,
                  "bytes_in", (json_int_t)r->request_bytes, "bytes_out", (json_int_t)r->response_bytes,
                  "worker", (int)r->worker, "attempts_made", (int)r->attempts_made, "attempts", attempts);
    if (out && more)
        json_object_update_new(out, more);
    else
        json_decref(more);
    return out;
}

/* Of one list, `limit` at the most; `id` empty = all. */
static json_t *list_json(struct admin *a, enum recorder_list which, struct slice id, size_t limit)
{
    size_t count;
    struct record *all = recorder_copy(a->recorder, which, loop_now_us(&a->runtime->control), &count);
    json_t *list = json_array();
    for (size_t i = 0; list && i < count && json_array_size(list) < limit; i++)
        if (id.len == 0 || slice_equal(record_slice(&all[i], all[i].id), id))
            json_array_append_new(list, record_json(&all[i]));
    free(all);
    return list;
}

static void answer_unknown(struct http_call *c)
{
    api_problem(c, 404,
                "no request of that id is kept: it neither failed nor was among the slowest, or it "
                "was too long ago",
                NULL);
}

/* `?id=…` as it stands in an access log, an error page or X-Request-Id; `?limit=` is of each list. */
void api_requests(struct http_call *c)
{
    struct admin *a = admin_of(c);
    struct slice id = asked_value(c, "id");
    size_t limit = asked_number(c, "limit", SIZE_MAX);
    json_t *failed = list_json(a, RECORDER_LIST_FAILED, id, limit);
    json_t *slowest = list_json(a, RECORDER_LIST_SLOWEST, id, limit);
    if (id.len && json_array_size(failed) + json_array_size(slowest) == 0) {
        json_decref(failed);
        json_decref(slowest);
        answer_unknown(c);
        return;
    }
    api_reply(c, 200, json_pack("{s:o, s:o}", "failed", failed, "slowest", slowest));
}

/* /api/v1/requests/ID: the newest of that id, for clients may send one twice. */
void api_request(struct http_call *c)
{
    struct admin *a = admin_of(c);
    struct record *newest = NULL;
    for (int which = RECORDER_LIST_FAILED; which <= RECORDER_LIST_SLOWEST; which++) {
        size_t count;
        struct record *all =
            recorder_copy(a->recorder, (enum recorder_list)which, loop_now_us(&a->runtime->control), &count);
        for (size_t i = 0; i < count; i++) {
            if (!slice_equal(record_slice(&all[i], all[i].id), c->arguments[0]) ||
                (newest && newest->wall_us >= all[i].wall_us))
                continue;
            if (!newest && !(newest = arena_alloc(&c->arena, sizeof *newest)))
                break;
            *newest = all[i];
        }
        free(all);
    }
    if (newest)
        api_reply(c, 200, record_json(newest));
    else
        answer_unknown(c);
}
