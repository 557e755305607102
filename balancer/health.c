#include "balancer/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "balancer/health_internal.h"
#include "balancer/suspicion.h"
#include "core/log.h"

static void on_due(struct timer *t);

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
        check_run_drop(CONTAINER_OF(node, struct check_run, link));
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
        check_run_drop(k->run);
    if (use->check->interval != before)
        loop_timer(k->checks->loop, &k->timer, random_below(k->checks, use->check->interval));
}

void checker_free(struct checker *k)
{
    if (k->run)
        check_run_drop(k->run);
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
        check_run_begin(k);
}

/* What the results mean. */

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

void checker_record(struct checker *k, bool ok, const char *text, usec_t took_us)
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
