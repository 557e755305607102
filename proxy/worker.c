#include "proxy/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "cache/redis.h"
#include "proxy/http/exchange.h"
#include "proxy/listener.h"
#include "proxy/stream/udp.h"

#define TICK_MS 100
#define LAG_MS  15000

static void *run(void *argument);
static void on_tick(struct timer *t);

static int init(struct worker *w, unsigned index, const struct observers *o, struct cache_store *cache,
                struct loop *control)
{
    *w = (struct worker){.index = index, .observers = o, .cache = cache, .control = control};
    list_init(&w->listeners);
    list_init(&w->free_exchanges);
    list_init(&w->fetches);
    task_init(&w->drained_task);
    timer_init(&w->tick, on_tick);
    counters_init(&w->counters);
    w->exemplars_left = EXEMPLARS_A_WORKER;
    w->head_buffer = malloc(HEAD_BUFFER);
    if (!w->head_buffer || getrandom(w->random, sizeof w->random, 0) != (ssize_t)sizeof w->random)
        return -1;
    if (loop_init(&w->loop, index) != 0)
        return -1;
    w->loop.owner = w;
    pool_init(&w->pool, &w->loop, index, &w->counters);
    return 0;
}

static void set_tick(struct worker *w)
{
    w->tick_at = loop_now(&w->loop) + TICK_MS;
    loop_timer(&w->loop, &w->tick, TICK_MS);
}

int worker_start(struct worker *w, unsigned index, const struct observers *o, struct cache_store *cache,
                 struct loop *control)
{
    if (init(w, index, o, cache, control) != 0)
        return -1;
    set_tick(w);
    int error = pthread_create(&w->thread, NULL, run, w);
    if (error) {
        errno = error;
        return -1;
    }
    return 0;
}

static void *run(void *argument)
{
    struct worker *w = argument;
    char name[16];
    snprintf(name, sizeof name, "weir-%u", w->index);
    pthread_setname_np(pthread_self(), name);
    loop_run(&w->loop);
    listeners_cut_clients(w);
    cache_abort_fetches(w);
    w->ended = true;
    cache_redis_close(w->redis);
    w->redis = NULL;
    listeners_free(w);
    pool_close(&w->pool);
    if (w->snapshot)
        snapshot_release(w->snapshot, w->index);
    w->snapshot = NULL;
    return NULL;
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
    loop_timer_clear(&w->loop, &w->tick);
    loop_free(&w->loop);
    pool_free(&w->pool);
    udp_batches_free(w->udp);
    exchange_free_spares(w);
    recycler_empty(&w->recycler);
    counters_free(&w->counters);
    router_scratch_free(&w->router_scratch);
    free(w->parse_fields);
    free(w->head_buffer);
}

static void measure_cpu(struct worker *w)
{
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
        atomic_store_explicit(&w->cpu_us, (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u,
                              memory_order_relaxed);
}

/* How long the loop was at other things when the tick was due: what any event may have waited. */
static void measure_lag(struct worker *w)
{
    msec_t now = loop_now(&w->loop);
    usec_t late = now > w->tick_at ? (usec_t)(now - w->tick_at) * 1000 : 0;
    if (now - w->lag_since >= LAG_MS) {
        w->lag_since = now;
        w->lag_most[0] = w->lag_most[1];
        w->lag_most[1] = 0;
    }
    if (late > w->lag_most[1])
        w->lag_most[1] = late;
    usec_t most = w->lag_most[0] > w->lag_most[1] ? w->lag_most[0] : w->lag_most[1];
    atomic_store_explicit(&w->lag_us, most, memory_order_relaxed);
}

static void on_tick(struct timer *t)
{
    struct worker *w = CONTAINER_OF(t, struct worker, tick);
    if (w->observers && w->observers->worker_tick)
        w->observers->worker_tick(w->observers->argument, w->index);
    counter_add(&w->beats, 1);
    measure_cpu(w);
    measure_lag(w);
    set_tick(w);
}

uint32_t worker_fields(const struct snapshot *s)
{
    uint64_t most = s->settings.limits.header_count;
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].settings->limits.header_count > most)
            most = s->listeners[i].settings->limits.header_count;
    return (uint32_t)most + PARSE_FIELDS_SPARE;
}

void worker_apply(struct worker *w, struct snapshot *s, const struct listener_sockets *sockets,
                  struct field **fields, uint32_t capacity)
{
    if (capacity > w->parse_capacity) {
        struct field *before = w->parse_fields;
        w->parse_fields = *fields;
        w->parse_capacity = capacity;
        *fields = before;
    }
    struct snapshot *old = w->snapshot;
    snapshot_hold(s, w->index);
    w->snapshot = s;
    listeners_apply(w, s, sockets);
    if (old)
        snapshot_release(old, w->index);
    pool_sweep(&w->pool);
}

static void tell_drained(struct task *t)
{
    struct worker *w = CONTAINER_OF(t, struct worker, drained_task);
    void (*drained)(struct worker *) = w->drained;
    w->drained = NULL;
    if (drained)
        drained(w);
}

static bool has_clients(const struct worker *w)
{
    LIST_EACH (node, &w->listeners) {
        if (CONTAINER_OF(node, struct listener, link)->client_count)
            return true;
    }
    return false;
}

void worker_client_left(struct worker *w)
{
    if (w->draining && w->drained && !has_clients(w))
        loop_defer(&w->loop, &w->drained_task, tell_drained);
}

void worker_drain(struct worker *w, bool handed_over, void (*drained)(struct worker *))
{
    /* First the rest of the queues, so that these connections are among those that are asked to end. */
    listeners_stop_accepting(w, !handed_over);
    w->draining = true;
    w->drain_until = loop_now(&w->loop) + w->snapshot->settings.timeouts.drain;
    w->drained = drained;
    listeners_drain_clients(w, !handed_over);
    worker_client_left(w);
}

void worker_cut(struct worker *w)
{
    listeners_cut_clients(w);
}

static uint64_t rotate(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

/* xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018). */
uint64_t worker_random(struct worker *w)
{
    uint64_t *s = w->random;
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

size_t http_date(int64_t seconds, char out[32])
{
    /* Not strftime's names: they depend on the locale. */
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t at = (time_t)seconds;
    struct tm tm;
    gmtime_r(&at, &tm);
    return (size_t)snprintf(out, 32, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
                            months[tm.tm_mon], (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

struct slice worker_date(struct worker *w)
{
    int64_t now = loop_wall_us(&w->loop) / 1000000;
    if (now != w->date_at) {
        http_date(now, w->date);
        w->date_at = now;
    }
    return slice_of(w->date, 29);
}
