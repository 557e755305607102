/* The process as a whole: status, stop, upgrade. */
#include <stdlib.h>
#include <unistd.h>

#include "admin/api_cache.h"
#include "admin/api_config.h"
#include "admin/internal.h"

json_t *status_json(struct admin *a)
{
    struct runtime *rt = a->runtime;
    struct loop *l = &rt->control;
    uint64_t lost = writer_lost(rt->writer);
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:o, s:f, s:I, s:I, s:I, s:s, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", //
        "version", WEIR_VERSION, "build", WEIR_BUILD, "pid", (json_int_t)getpid(), "state",
        rt->state == RUNTIME_SERVING ? "serving" : "draining", "started", json_time(rt->started_wall_us),
        "uptime_seconds", (double)(loop_now_us(l) - rt->started_us) / 1e6, "workers",
        (json_int_t)rt->worker_count, "connections", (json_int_t)runtime_connections(rt), "generation",
        (json_int_t)rt->generation, "file", rt->file, "loaded", json_time(rt->snapshot->loaded_at_us),
        "reloads", (json_int_t)rt->stats.reloads, "reload_failures", (json_int_t)rt->stats.reload_failures,
        "rollbacks", (json_int_t)rt->rollbacks, "log_lines_lost", (json_int_t)lost, "trial", trial_json(a),
        "cache", cache_json(a));
}

void api_status(struct http_call *c)
{
    struct admin *a = admin_of(c);
    json_t *status = status_json(a);
    live_add_status(a, status);
    api_reply(c, 200, status);
}

static void stop(struct task *t)
{
    struct admin *a = CONTAINER_OF(t, struct admin, stop);
    runtime_stop(a->runtime);
}

/* After this call, so that its answer is out before the process may be gone. */
void api_stop(struct http_call *c)
{
    struct admin *a = admin_of(c);
    json_t *answer = json_pack("{s:s, s:I, s:I}", "state", "draining", "pid", (json_int_t)getpid(),
                               "connections", (json_int_t)runtime_connections(a->runtime));
    api_reply(c, 202, answer);
    loop_defer(&a->runtime->control, &a->stop, stop);
}

void api_upgrade(struct http_call *c)
{
    struct runtime *rt = admin_of(c)->runtime;
    const char *why = "";
    if (runtime_upgrade(rt, &why) != 0) {
        api_problem(c, 409, why, NULL);
        return;
    }
    api_reply(c, 202,
              json_pack("{s:I, s:I}", "pid", (json_int_t)getpid(), "next", (json_int_t)rt->upgrade_pid));
}
