/* Stopping: no new connections, the open ones end by themselves, what is left is cut. */
#include <stdlib.h>

#include "core/log.h"
#include "proxy/runtime_internal.h"

struct worker_letter {
    struct letter letter;
    struct worker *worker;
    bool handed_over;
};

static void post_to(struct worker *w, void (*deliver)(struct letter *), bool handed_over)
{
    struct worker_letter *l = malloc(sizeof *l);
    if (!l) {
        log_error("out of memory while stopping");
        abort();
    }
    *l = (struct worker_letter){.letter.deliver = deliver, .worker = w, .handed_over = handed_over};
    loop_post(&w->loop, &l->letter);
}

static void deliver_stop(struct letter *letter)
{
    struct worker_letter *l = CONTAINER_OF(letter, struct worker_letter, letter);
    l->worker->stopping = true;
    loop_stop(&l->worker->loop);
    free(l);
}

static void stop_now(struct runtime *rt)
{
    if (rt->state == RUNTIME_STOPPED)
        return;
    rt->state = RUNTIME_STOPPED;
    for (unsigned i = 0; i < rt->worker_count; i++)
        post_to(rt->workers[i], deliver_stop, false);
    loop_stop(&rt->control);
}

static void deliver_drained(struct letter *letter)
{
    struct worker_letter *l = CONTAINER_OF(letter, struct worker_letter, letter);
    struct runtime *rt = l->worker->control->owner;
    free(l);
    if (++rt->drained == rt->worker_count && rt->state == RUNTIME_DRAINING) {
        log_info("every connection has ended");
        stop_now(rt);
    }
}

static void worker_drained(struct worker *w)
{
    struct worker_letter *l = malloc(sizeof *l);
    if (!l)
        return; /* the deadline ends it */
    *l = (struct worker_letter){.letter.deliver = deliver_drained, .worker = w};
    loop_post(w->control, &l->letter);
}

/* No worker accepts on the sockets that were handed over: they are the next process's alone, which may close
 * them. */
static void deliver_let_go(struct letter *letter)
{
    struct worker_letter *l = CONTAINER_OF(letter, struct worker_letter, letter);
    struct runtime *rt = l->worker->control->owner;
    if (++rt->let_go == rt->worker_count && l->handed_over) {
        sockets_forget_files(&rt->sockets);
        sockets_free(&rt->sockets);
    }
    free(l);
}

static void deliver_drain(struct letter *letter)
{
    struct worker_letter *l = CONTAINER_OF(letter, struct worker_letter, letter);
    worker_drain(l->worker, l->handed_over, worker_drained);
    l->letter.deliver = deliver_let_go;
    loop_post(l->worker->control, &l->letter);
}

void drain_begin(struct runtime *rt, bool handed_over)
{
    rt->state = RUNTIME_DRAINING;
    rt->handed_over = handed_over;
    msec_t most = rt->snapshot->settings.timeouts.drain;
    log_info("draining", LOG_U64("connections", runtime_connections(rt)), LOG_U64("at_most_ms", most));
    if (handed_over && rt->hooks->close)
        rt->hooks->close(rt->hooks->argument, true);
    for (unsigned i = 0; i < rt->worker_count; i++)
        post_to(rt->workers[i], deliver_drain, handed_over);
    if (!handed_over)
        sockets_abandon(&rt->sockets);
    loop_timer(&rt->control, &rt->drain, most);
}

void drain_is_over(struct timer *t)
{
    struct runtime *rt = CONTAINER_OF(t, struct runtime, drain);
    log_warn("the time to drain is over; what is left is cut",
             LOG_U64("connections", runtime_connections(rt)));
    stop_now(rt);
}

void runtime_stop(struct runtime *rt)
{
    if (rt->state != RUNTIME_SERVING) {
        stop_now(rt);
        return;
    }
    upgrade_call_off(rt);
    notify_stopping(rt);
    drain_begin(rt, false);
}
