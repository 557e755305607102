/* What the files of admin/ share among themselves; nobody else includes it. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "admin/access_log.h"
#include "admin/admin.h"
#include "admin/doors.h"
#include "admin/guard_tries.h"
#include "admin/http_server.h"
#include "admin/live.h"
#include "admin/metrics_text.h"
#include "admin/otlp.h"
#include "admin/recorder.h"
#include "core/log.h"
#include "core/log_limit.h"
#include "proxy/runtime.h"

#define ADMIN_MAGIC     0x41444d4eu
#define NOTICES_KEPT    64u
#define ADMIN_TOKEN_MAX 4096u

/* Something that happened, for the dashboard. */
struct notice {
    int64_t wall_us;
    char kind[24];
    char text[1000];
};

/* Why guard.c refused a request. */
enum guard_refusal {
    GUARD_NO_TOKEN,
    GUARD_WRONG_TOKEN,
    GUARD_TOO_MANY, /* wrong tokens before */
    GUARD_HOST,
    GUARD_OTHER_SITE,
    GUARD_LOCAL_ONLY,
    GUARD_REFUSALS
};

struct admin {
    uint32_t magic;
    struct runtime *runtime; /* NULL for `weir check` */
    struct runtime_hooks hooks;
    struct observers observers;
    struct access_logs *logs;
    struct doors doors;
    char *token;         /* "" = none is asked for */
    char *control;       /* path of the control socket, as it was at the start; "" = none */
    struct list streams; /* of struct http_stream: who listens to /api/v1/events */
    struct list scrapes; /* answers to /metrics that are under way */
    struct timer tick;   /* while somebody does */
    struct live live;    /* the readings that they are told */
    struct notice notices[NOTICES_KEPT];
    uint64_t notice_count;
    struct recorder *recorder;
    struct otlp *otlp;
    struct guard_tries tries;
    uint64_t refused[GUARD_REFUSALS];
    struct log_limit log_limit;
    struct task stop; /* after the answer to /api/v1/stop is out */
};

static inline struct admin *admin_of(struct http_call *c)
{
    struct admin *a = c->context;
    ASSERT(a->magic == ADMIN_MAGIC);
    return a;
}

/* Endpoints' flags. */
#define ENDPOINT_OPEN    1u /* no token is asked for */
#define ENDPOINT_LOCAL   2u /* by the control socket alone */
#define ENDPOINT_CHANGES 4u /* the state is another afterwards; never a GET */

/* guard.c */
bool guard_allows(struct http_call *c, const struct http_endpoint *e);
/* "wrong_token". */
const char *guard_refusal_word(enum guard_refusal why);
/* Says of each door that is open to others without a token. */
void guard_warn(const struct admin *a);
/* The call shows the token, or none is asked for. */
bool guard_has_token(const struct http_call *c);
/* Whether two texts are equal, in a time that does not tell where they differ. */
bool guard_same_secret(struct slice a, struct slice b);

/* api.c */
extern const struct http_endpoint admin_endpoints[];
extern const size_t admin_endpoint_count;
/* application/problem+json (RFC 9457). */
void api_problem(struct http_call *c, unsigned status, const char *detail, const char *extra);
void api_problem_with(struct http_call *c, unsigned status, const char *detail, json_t *errors);
/* Takes the value over. */
void api_reply(struct http_call *c, unsigned status, json_t *value);
/* The body as a JSON object; NULL after a 400. An empty body is {}. */
json_t *api_body(struct http_call *c);
/* False after a 400 that names what is not among the NULL-terminated `known`. */
bool api_only_keys(struct http_call *c, const json_t *object, const char *const *known);
json_t *json_slice(struct slice s);
/* Lines of a text as an array of strings. */
json_t *json_lines(const char *text);
json_t *json_address(const struct address *a);
/* RFC 3339, or null for 0. */
json_t *json_time(int64_t wall_us);

/* api_cache.c, api_upstreams.c, api_servers.c, api_routes.c, api_events.c, metrics.c, dashboard.c,
 * api_listeners.c */
void api_upstreams(struct http_call *c);
void api_patch_server(struct http_call *c);
void api_add_server(struct http_call *c);
void api_delete_server(struct http_call *c);
void api_routes(struct http_call *c);
void api_patch_route(struct http_call *c);
void api_listeners(struct http_call *c);
void api_certificates(struct http_call *c);
void api_status(struct http_call *c);
void api_config(struct http_call *c);
void api_reload(struct http_call *c);
void api_confirm(struct http_call *c);
void api_rollback(struct http_call *c);
void api_diff(struct http_call *c);
void api_explain(struct http_call *c);
void api_stop(struct http_call *c);
void api_upgrade(struct http_call *c);
void api_events(struct http_call *c);
void api_requests(struct http_call *c);
void api_request(struct http_call *c);
void api_cache(struct http_call *c);
void api_purge(struct http_call *c);
void metrics_answer(struct http_call *c);
/* Answers that are under way break off. */
void metrics_close(struct admin *a);
void health_answer(struct http_call *c);
void dashboard_answer(struct http_call *c);

/* The state of a server and its numbers, as every answer shows it. */
json_t *upstreams_json(struct admin *a);
json_t *status_json(struct admin *a);

/* Splits whose weights were changed by hand keep them when the file's weights of that route are the same. */
void routes_carry_weights(const struct snapshot *old, const struct snapshot *fresh);

/* api_events.c: tells all who listen. */
void events_init(struct admin *a);
void events_notice(struct admin *a, const char *kind, const char *text);
void events_close(struct admin *a);

/* metrics.c, malloc'ed; NULL when out of memory. */
char *metrics_text(struct admin *a, enum metrics_format format, size_t *len);
/* The tables of all workers, for counters_sum(); at most WORKERS_MAX. */
size_t metrics_tables(const struct runtime *rt, struct counters **tables);
