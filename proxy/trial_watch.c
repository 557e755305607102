#include "proxy/trial_watch.h"

#include <stdlib.h>

#include "proxy/runtime_internal.h"

#define HISTORY_MS 5000
#define LOOK_MS    1000
#define AGAIN_MS   10000 /* after it could not fall back */
#define ILL_LOOKS  3u    /* servers come and go for a moment: so many looks in a row */

static void on_timer(struct timer *t);

const char *trial_end_text(enum trial_end e)
{
    static const char *const texts[] = {"confirmed", "worse", "expired", "rolled_back"};
    return texts[e];
}

static struct trial_period count_now(struct runtime *rt)
{
    struct trial_period p;
    trial_count(&rt->stats, &p);
    p.us = loop_now_us(&rt->control);
    return p;
}

/* Between trials. */

static void remember_look(struct trial_watch *w, const struct trial_period *now)
{
    if (w->history_count == TRIAL_HISTORY)
        memmove(w->history, w->history + 1, --w->history_count * sizeof w->history[0]);
    w->history[w->history_count++] = *now;
}

void trial_watch_start(struct runtime *rt)
{
    timer_init(&rt->trial.timer, on_timer);
    struct trial_period now = count_now(rt);
    remember_look(&rt->trial, &now);
    loop_timer(&rt->control, &rt->trial.timer, HISTORY_MS);
}

static void free_memory(struct trial_watch *w)
{
    for (size_t i = 0; i < w->server_count; i++)
        server_release(w->servers[i].server);
    for (size_t i = 0; i < w->upstream_count; i++)
        free(w->upstreams[i]);
    free(w->servers);
    free(w->upstreams);
    w->servers = NULL;
    w->upstreams = NULL;
    w->server_count = w->upstream_count = 0;
}

void trial_watch_stop(struct runtime *rt)
{
    if (rt->trial.history_count)
        loop_timer_clear(&rt->control, &rt->trial.timer);
    free_memory(&rt->trial);
}

/* Servers. */

static bool by_hand(const struct server *s)
{
    return atomic_load_explicit(&s->admin, memory_order_relaxed) != ADMIN_UP;
}

static bool is_well(const struct server *s)
{
    return atomic_load_explicit(&s->health, memory_order_relaxed) != HEALTH_DOWN &&
           !atomic_load_explicit(&s->ejected, memory_order_relaxed) &&
           atomic_load_explicit(&s->address_version, memory_order_relaxed) != 0;
}

static int remember_upstream(struct trial_watch *w, const struct upstream *u)
{
    bool any_well = false;
    for (size_t i = 0; i < u->set->count; i++) {
        struct server *s = u->set->servers[i];
        bool well = is_well(s) && !by_hand(s);
        any_well = any_well || well;
        w->servers[w->server_count++] = (struct trial_server){server_hold(s), well};
    }
    if (!any_well)
        return 0;
    w->upstreams[w->upstream_count] = strndup(u->name.at, u->name.len);
    return w->upstreams[w->upstream_count] ? (w->upstream_count++, 0) : -1;
}

int trial_remember(struct runtime *rt)
{
    struct trial_watch *w = &rt->trial;
    const struct snapshot *s = rt->snapshot;
    size_t servers = 0;
    int failed = 0;
    for (size_t i = 0; i < s->upstream_count; i++)
        servers += s->upstreams[i]->set->count;
    w->servers = calloc(servers + 1, sizeof *w->servers);
    w->upstreams = calloc(s->upstream_count + 1, sizeof *w->upstreams);
    for (size_t i = 0; w->servers && w->upstreams && i < s->upstream_count && !failed; i++)
        failed = remember_upstream(w, s->upstreams[i]);
    w->start = count_now(rt);
    w->was = trial_between(&w->history[0], &w->start);
    if (w->servers && w->upstreams && !failed)
        return 0;
    free_memory(w);
    return -1;
}

void trial_forget(struct runtime *rt)
{
    free_memory(&rt->trial);
}

/* An upstream that has servers, none of them well, and not because of a human. */
static bool is_bare(const struct upstream *u)
{
    for (size_t i = 0; i < u->set->count; i++)
        if (is_well(u->set->servers[i]) || by_hand(u->set->servers[i]))
            return false;
    return true;
}

static void describe_ill(struct trial_servers *out, struct server *s)
{
    struct server_report r;
    server_report(s, &r);
    snprintf(out->ill, sizeof out->ill, "%.*s %.*s is %s: %s", SLICE_FMT(s->upstream), SLICE_FMT(s->name),
             r.state, r.reason);
}

static struct trial_servers look_at_servers(struct runtime *rt)
{
    struct trial_watch *w = &rt->trial;
    struct trial_servers out = {0};
    for (size_t i = 0; i < w->server_count; i++) {
        struct server *s = w->servers[i].server;
        if (!w->servers[i].was_well || by_hand(s) || atomic_load_explicit(&s->retired, memory_order_relaxed))
            continue;
        out.before++;
        if (is_well(s))
            out.now++;
        else
            describe_ill(&out, s);
    }
    for (size_t i = 0; i < w->upstream_count && !out.bare[0]; i++) {
        const struct upstream *u = snapshot_upstream(rt->snapshot, slice_text(w->upstreams[i]));
        if (u && is_bare(u))
            snprintf(out.bare, sizeof out.bare, "%s", w->upstreams[i]);
    }
    return out;
}

/* A trial. */

void trial_begin(struct runtime *rt, uint64_t generation, uint64_t before, const struct trial_limits *l)
{
    struct trial_watch *w = &rt->trial;
    w->on = true;
    w->generation = generation;
    w->before = before;
    w->limits = *l;
    w->began_us = loop_now_us(&rt->control);
    w->recent_count = 0;
    w->ill_looks = 0;
    w->verdict[0] = 0;
    loop_timer(&rt->control, &w->timer, l->confirm < LOOK_MS ? l->confirm : LOOK_MS);
}

/* What failed is to be no part of what the next one is compared with: the trial's time is taken out. */
static void forget_time(struct trial_watch *w, const struct trial_period *now)
{
    struct trial_period gone = trial_between(&w->start, now);
    for (size_t i = 0; i < w->history_count; i++) {
        struct trial_period *p = &w->history[i];
        p->us += gone.us;
        p->requests += gone.requests;
        p->errors += gone.errors;
        for (unsigned k = 0; k < COUNTERS_FINE; k++)
            p->durations[k] += gone.durations[k];
    }
}

void trial_finish(struct runtime *rt, enum trial_end how)
{
    struct trial_watch *w = &rt->trial;
    struct trial_period now = count_now(rt);
    if (how == TRIAL_CONFIRMED)
        remember_look(w, &now);
    else
        forget_time(w, &now);
    w->on = false;
    w->ends[how]++;
    free_memory(w);
    loop_timer(&rt->control, &w->timer, HISTORY_MS);
}

msec_t trial_left(struct runtime *rt)
{
    const struct trial_watch *w = &rt->trial;
    usec_t end = w->began_us + w->limits.confirm * 1000, now = loop_now_us(&rt->control);
    return end > now ? (end - now) / 1000 : 0;
}

void trial_compare(struct runtime *rt, struct trial_period *before, struct trial_period *now)
{
    struct trial_period counted = count_now(rt);
    *before = rt->trial.was;
    *now = trial_between(&rt->trial.start, &counted);
}

/* As a whole, so that little traffic is judged too, and by its last seconds, so that a long good time hides
 * nothing. */
static bool is_worse(struct runtime *rt, const struct trial_period *now, char *words, size_t size)
{
    struct trial_watch *w = &rt->trial;
    struct trial_period whole = trial_between(&w->start, now);
    if (trial_requests_worse(&w->limits, &w->was, &whole, words, size))
        return true;
    if (w->recent_count) {
        struct trial_period recent = trial_between(&w->recent[0], now);
        if (trial_requests_worse(&w->limits, &w->was, &recent, words, size))
            return true;
    }
    struct trial_servers servers = look_at_servers(rt);
    w->ill_looks = trial_servers_worse(&w->limits, &servers, words, size) ? w->ill_looks + 1 : 0;
    return w->ill_looks >= ILL_LOOKS;
}

static void look(struct runtime *rt)
{
    struct trial_watch *w = &rt->trial;
    struct trial_period now = count_now(rt);
    char words[sizeof w->verdict] = "";
    bool worse = !w->verdict[0] && is_worse(rt, &now, words, sizeof words);
    if (w->recent_count == TRIAL_RECENT)
        memmove(w->recent, w->recent + 1, --w->recent_count * sizeof w->recent[0]);
    w->recent[w->recent_count++] = now;
    if (w->verdict[0])
        runtime_fall_back(rt, w->falls, w->verdict);
    else if (worse)
        runtime_fall_back(rt, TRIAL_WORSE, words);
    else if (trial_left(rt) == 0)
        runtime_fall_back(rt, TRIAL_EXPIRED, "nobody confirmed it in time");
}

static void on_timer(struct timer *t)
{
    struct trial_watch *w = CONTAINER_OF(t, struct trial_watch, timer);
    struct runtime *rt = CONTAINER_OF(w, struct runtime, trial);
    if (rt->state != RUNTIME_SERVING)
        return;
    if (w->on) {
        look(rt);
    } else {
        struct trial_period now = count_now(rt);
        remember_look(w, &now);
    }
    if (!w->on) {
        loop_timer(&rt->control, &w->timer, HISTORY_MS);
        return;
    }
    msec_t left = trial_left(rt);
    if (w->verdict[0])
        loop_timer(&rt->control, &w->timer, AGAIN_MS);
    else
        loop_timer(&rt->control, &w->timer, left && left < LOOK_MS ? left : LOOK_MS);
}
