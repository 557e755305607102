#include "admin/otlp.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "admin/otlp_client.h"
#include "admin/otlp_json.h"
#include "admin/otlp_rings.h"
#include "core/log.h"

#define OTLP_MAGIC   0x4f544c50u
#define TICK_MS      100
#define FLUSH_MS     3000
#define TRIES_MAX    5   /* of a message */
#define PAUSE_MS     500 /* before the second; twice as long each time */
#define PAUSE_MAX_MS 60000

/* What one configuration says of it. */
struct otlp_plan {
    struct otlp_target *target;
    char *resource;
    uint64_t batch;
    msec_t interval;
};

struct otlp {
    uint32_t magic;
    /* The control thread's. */
    struct runtime *runtime;
    struct task start;
    pthread_t thread;
    bool has_loop, is_started;
    /* Shared. */
    struct otlp_rings rings;
    _Atomic uint64_t exported, refused;
    struct loop loop;
    /* The thread's. */
    struct otlp_plan *plan;
    struct otlp_plan *next; /* to be used from the next message on; NULL = none */
    struct otlp_client client;
    struct timer tick, pause;
    struct otlp_text text; /* the message */
    uint64_t count;        /* its spans */
    usec_t first_us;       /* when the first of them was put in */
    unsigned tries;
    bool posting, pausing, stopping;
    bool failing; /* that was told */
    struct letter stop;
};

static void run_later(struct task *t);
static void on_tick(struct timer *t);
static void on_pause_over(struct timer *t);
static void on_done(void *argument, const struct otlp_answer *a);
static void pump(struct otlp *o);

/* Life. */

struct otlp *otlp_create(void)
{
    struct otlp *o = aligned_alloc(64, (sizeof *o + 63) & ~(size_t)63);
    if (!o)
        return NULL;
    memset(o, 0, sizeof *o);
    o->magic = OTLP_MAGIC;
    task_init(&o->start);
    otlp_rings_init(&o->rings);
    timer_init(&o->tick, on_tick);
    timer_init(&o->pause, on_pause_over);
    return o;
}

static void free_plan(struct otlp_plan *p)
{
    if (!p)
        return;
    otlp_target_free(p->target);
    free(p->resource);
    free(p);
}

static struct otlp_plan *make_plan(struct config *c, const struct tracing_settings *s)
{
    struct otlp_plan *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct otlp_plan){.target = otlp_target_create(c, s),
                            .resource = otlp_resource(s),
                            .batch = s->batch,
                            .interval = s->interval};
    if (p->target && p->resource)
        return p;
    free_plan(p);
    return NULL;
}

/* The plan, from the control thread to this one. */

struct otlp_letter {
    struct letter letter;
    struct otlp *otlp;
    struct otlp_plan *plan;
};

static void use_plan(struct otlp *o, struct otlp_plan *p)
{
    otlp_client_close(&o->client);
    free_plan(o->plan);
    o->plan = p;
}

static void on_plan(struct letter *l)
{
    struct otlp_letter *letter = CONTAINER_OF(l, struct otlp_letter, letter);
    struct otlp *o = letter->otlp;
    free_plan(o->next);
    o->next = letter->plan;
    free(letter);
    /* What was not taken elsewhere may be taken there. */
    if (o->pausing) {
        loop_timer_clear(&o->loop, &o->pause);
        on_pause_over(&o->pause);
    }
}

static char *words_of(struct config *c)
{
    const char *text = c->error_count ? config_errors_text(c) : NULL;
    return strdup(text && *text ? text : "tracing: out of memory\n");
}

static int give_plan(struct otlp *o, struct otlp_plan *p)
{
    if (!o->is_started) {
        free_plan(o->plan);
        o->plan = p;
        return 0;
    }
    struct otlp_letter *l = malloc(sizeof *l);
    if (!l)
        return -1;
    *l = (struct otlp_letter){.letter.deliver = on_plan, .otlp = o, .plan = p};
    loop_post(&o->loop, &l->letter);
    return 0;
}

int otlp_apply(struct otlp *o, struct runtime *rt, struct snapshot *s, bool first, char **why)
{
    const struct tracing_settings *settings = s->settings.tracing;
    ASSERT(o->magic == OTLP_MAGIC);
    o->runtime = rt;
    if (!settings)
        return 0;
    if (!o->has_loop && loop_init(&o->loop, rt->worker_count + 1) != 0)
        return -1;
    o->has_loop = true;
    struct otlp_plan *p = make_plan(&s->config, settings);
    if (!p || otlp_rings_resize(&o->rings, rt, settings->queue) != 0 || give_plan(o, p) != 0) {
        *why = words_of(&s->config);
        free_plan(p);
        return -1;
    }
    /* At the start, weir has rights to give up before there is another thread. */
    if (first)
        loop_defer(&rt->control, &o->start, run_later);
    else if (!o->is_started)
        run_later(&o->start);
    return 0;
}

/* The thread. */

static void *run(void *argument)
{
    struct otlp *o = argument;
    pthread_setname_np(pthread_self(), "weir-trace");
    otlp_client_init(&o->client, &o->loop, on_done, o);
    loop_timer(&o->loop, &o->tick, TICK_MS);
    loop_run(&o->loop);
    return NULL;
}

static void run_later(struct task *t)
{
    struct otlp *o = CONTAINER_OF(t, struct otlp, start);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&o->thread, NULL, run, o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    o->is_started = error == 0;
    if (error)
        log_error("spans are not exported", LOG_TEXT("reason", strerrordesc_np(error)));
}

static void on_tick(struct timer *t)
{
    struct otlp *o = CONTAINER_OF(t, struct otlp, tick);
    pump(o);
    loop_timer(&o->loop, &o->tick, TICK_MS);
}

static void take_spans(struct otlp *o, struct span_ring *ring)
{
    const struct span *s;
    while (o->count < o->plan->batch && (s = span_ring_oldest(ring)) != NULL) {
        if (o->count++ == 0) {
            o->first_us = loop_now_us(&o->loop);
            otlp_begin(&o->text, o->plan->resource);
        }
        otlp_put_span(&o->text, s);
        span_ring_take(ring);
    }
}

static void gather(struct otlp *o)
{
    for (struct otlp_source *source = otlp_rings_next(&o->rings, NULL); source;
         source = otlp_rings_next(&o->rings, source))
        take_spans(o, source->ring);
    otlp_rings_turn(&o->rings);
}

static void forget_message(struct otlp *o, uint64_t taken)
{
    atomic_fetch_add(&o->exported, taken);
    atomic_fetch_add(&o->refused, o->count - taken);
    o->count = 0;
    o->tries = 0;
}

static void use_next_plan(struct otlp *o)
{
    if (!o->next)
        return;
    use_plan(o, o->next);
    o->next = NULL;
}

static void post(struct otlp *o)
{
    use_next_plan(o);
    o->posting = true;
    o->tries++;
    otlp_client_post(&o->client, o->plan->target, slice_of(o->text.at, o->text.len));
}

/* Goes on with whatever is to be done. */
static void pump(struct otlp *o)
{
    if (o->posting || o->pausing)
        return;
    if (o->count == 0)
        use_next_plan(o); /* the next message is of its resource */
    gather(o);
    bool due = o->count >= o->plan->batch || o->stopping ||
               loop_now_us(&o->loop) - o->first_us >= o->plan->interval * 1000;
    if (o->count == 0) {
        if (o->stopping)
            loop_stop(&o->loop);
    } else if (due) {
        otlp_finish(&o->text);
        if (o->text.failed)
            forget_message(o, 0);
        else
            post(o);
    }
}

static void tell_trouble(struct otlp *o, const struct otlp_answer *a)
{
    if (!o->failing)
        log_warn("the collector does not take spans", LOG_TEXT("endpoint", o->plan->target->url),
                 LOG_TEXT("reason", a->reason));
    o->failing = true;
}

static void pause_exports(struct otlp *o, const struct otlp_answer *a)
{
    msec_t pause = (msec_t)PAUSE_MS << (o->tries - 1);
    uint64_t mixed = (loop_now_us(&o->loop) ^ (uintptr_t)o) * UINT64_C(0x9e3779b97f4a7c15);
    pause += (mixed >> 32) % (pause / 4 + 1);
    pause = a->retry_after > pause ? a->retry_after : pause;
    o->pausing = true;
    loop_timer(&o->loop, &o->pause, pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS);
}

static void on_pause_over(struct timer *t)
{
    struct otlp *o = CONTAINER_OF(t, struct otlp, pause);
    o->pausing = false;
    post(o);
}

static void on_done(void *argument, const struct otlp_answer *a)
{
    struct otlp *o = argument;
    o->posting = false;
    if (a->verdict != OTLP_TAKEN)
        tell_trouble(o, a);
    if (a->verdict == OTLP_LATER && o->tries < TRIES_MAX && !o->stopping) {
        pause_exports(o, a);
        return;
    }
    if (a->verdict == OTLP_TAKEN && o->failing) {
        log_info("the collector takes spans again", LOG_TEXT("endpoint", o->plan->target->url));
        o->failing = false;
    }
    uint64_t rejected = a->rejected < o->count ? a->rejected : o->count;
    forget_message(o, a->verdict == OTLP_TAKEN ? o->count - rejected : 0);
    if (o->stopping && a->verdict != OTLP_TAKEN)
        loop_stop(&o->loop);
    else
        pump(o);
}

/* The end. */

static void on_flush_over(struct timer *t)
{
    loop_stop(&CONTAINER_OF(t, struct otlp, pause)->loop);
}

static void on_stop(struct letter *l)
{
    struct otlp *o = CONTAINER_OF(l, struct otlp, stop);
    bool paused = o->pausing;
    o->stopping = true;
    o->pausing = false;
    loop_timer_clear(&o->loop, &o->pause);
    timer_init(&o->pause, on_flush_over);
    loop_timer(&o->loop, &o->pause, FLUSH_MS);
    if (paused)
        post(o);
    else
        pump(o);
}

static void stop_thread(struct otlp *o)
{
    o->stop.deliver = on_stop;
    loop_post(&o->loop, &o->stop);
    pthread_join(o->thread, NULL);
    otlp_client_free(&o->client);
    struct otlp_counts counts;
    otlp_counts(o, &counts);
    if (counts.waiting + o->count)
        log_warn("spans were not exported before the end", LOG_U64("spans", counts.waiting + o->count));
}

void otlp_counts(struct otlp *o, struct otlp_counts *out)
{
    *out = (struct otlp_counts){.is_on = o->rings.queue != 0,
                                .exported = atomic_load(&o->exported),
                                .dropped_collector = atomic_load(&o->refused)};
    otlp_rings_count(&o->rings, &out->dropped_queue, &out->waiting);
}

struct span_ring *otlp_spans(struct otlp *o, unsigned worker)
{
    return atomic_load_explicit(&o->rings.at[worker], memory_order_acquire);
}

void otlp_free(struct otlp *o)
{
    if (!o)
        return;
    if (o->is_started)
        stop_thread(o);
    if (o->has_loop)
        loop_free(&o->loop);
    otlp_rings_free(&o->rings);
    free_plan(o->plan);
    free_plan(o->next);
    free(o->text.at);
    o->magic = 0;
    free(o);
}
