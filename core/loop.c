#include "core/loop.h"

#include <stdlib.h>
#include <time.h>

static void on_wheel(evutil_socket_t fd, short what, void *argument);
static void on_mailbox(evutil_socket_t fd, short what, void *argument);
static void run_ready(struct loop *l);
static void empty_graveyard(struct loop *l);

int loop_init(struct loop *l, unsigned index)
{
    *l = (struct loop){.index = index, .mailbox.fd = -1};
    list_init(&l->ready);
    list_init(&l->graveyard);
    struct event_config *config = event_config_new();
    if (!config)
        return -1;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    l->base = event_base_new_with_config(config);
    event_config_free(config);
    l->read_buffer = malloc(LOOP_READ_BUFFER);
    l->scratch = malloc(LOOP_READ_BUFFER);
    l->wire = malloc(LOOP_WIRE_BUFFER);
    if (!l->base || !l->read_buffer || !l->scratch || !l->wire || mailbox_init(&l->mailbox) != 0)
        goto fail;
    loop_read_clock(l);
    wheel_init(&l->wheel, l->now_us / 1000);
    l->now_fresh = false;
    event_assign(&l->wheel_event, l->base, -1, 0, on_wheel, l);
    event_assign(&l->mailbox_event, l->base, l->mailbox.fd, EV_READ | EV_PERSIST, on_mailbox, l);
    if (event_add(&l->mailbox_event, NULL) != 0)
        goto fail;
    block_pool_init(&l->blocks);
    pipe_pool_init(&l->pipes);
    return 0;
fail:
    mailbox_free(&l->mailbox);
    free(l->read_buffer);
    free(l->scratch);
    free(l->wire);
    if (l->base)
        event_base_free(l->base);
    return -1;
}

void loop_free(struct loop *l)
{
    mailbox_deliver(&l->mailbox);
    run_ready(l);
    empty_graveyard(l);
    event_del(&l->wheel_event);
    event_del(&l->mailbox_event);
    mailbox_free(&l->mailbox);
    event_base_free(l->base);
    block_pool_free(&l->blocks);
    pipe_pool_free(&l->pipes);
    free(l->read_buffer);
    free(l->scratch);
    free(l->wire);
}

void loop_run(struct loop *l)
{
    while (!l->stopped)
        loop_pass(l);
}

void loop_pass(struct loop *l)
{
    l->now_fresh = false;
    int flags = EVLOOP_ONCE;
    if (!list_empty(&l->ready))
        flags |= EVLOOP_NONBLOCK;
    event_base_loop(l->base, flags);
    run_ready(l);
    if (l->after_pass)
        l->after_pass(l);
    empty_graveyard(l);
    l->now_fresh = false; /* for who asks between passes */
}

void loop_deliver(struct loop *l)
{
    mailbox_deliver(&l->mailbox);
}

void loop_read_clock(struct loop *l)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    l->now_us = (usec_t)t.tv_sec * 1000000u + (usec_t)t.tv_nsec / 1000u;
    l->now_fresh = true;
    if (l->now_us - l->wall_checked_us >= 1000000u || l->wall_checked_us == 0) {
        clock_gettime(CLOCK_REALTIME, &t);
        l->wall_offset_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 - (int64_t)l->now_us;
        l->wall_checked_us = l->now_us;
    }
}

void loop_defer(struct loop *l, struct task *t, void (*run)(struct task *))
{
    t->run = run;
    if (!list_linked(&t->link))
        list_append(&l->ready, &t->link);
}

void loop_bury(struct loop *l, struct task *t, void (*bury)(struct task *))
{
    list_remove(&t->link);
    t->run = bury;
    list_append(&l->graveyard, &t->link);
}

static void arm_wheel(struct loop *l)
{
    msec_t next = wheel_next(&l->wheel);
    if (!next) {
        l->wheel_armed = 0;
        return;
    }
    msec_t now = loop_now(l);
    msec_t wait = next > now ? next - now : 0;
    struct timeval delay = {.tv_sec = (time_t)(wait / 1000), .tv_usec = (suseconds_t)(wait % 1000 * 1000)};
    event_add(&l->wheel_event, &delay);
    l->wheel_armed = next;
}

void loop_timer_set(struct loop *l, struct timer *t, msec_t deadline)
{
    if (wheel_set(&l->wheel, t, deadline) || l->wheel_armed == 0) {
        if (l->wheel_armed == 0 || wheel_next(&l->wheel) < l->wheel_armed)
            arm_wheel(l);
    }
}

static void on_wheel(evutil_socket_t fd, short what, void *argument)
{
    struct loop *l = argument;
    (void)fd, (void)what;
    /* Set while timers fire, so that what they arm does not arm the event too. */
    l->wheel_armed = 1;
    wheel_run(&l->wheel, loop_now(l));
    arm_wheel(l);
}

static void on_mailbox(evutil_socket_t fd, short what, void *argument)
{
    struct loop *l = argument;
    (void)fd, (void)what;
    mailbox_deliver(&l->mailbox);
}

static void run_ready(struct loop *l)
{
    /* Those that are deferred while these run wait for the next pass: events get their turn. */
    struct list now;
    list_init(&now);
    list_splice(&now, &l->ready);
    while (!list_empty(&now)) {
        struct task *t = CONTAINER_OF(now.next, struct task, link);
        list_remove(&t->link);
        t->run(t);
    }
}

static void empty_graveyard(struct loop *l)
{
    while (!list_empty(&l->graveyard)) {
        struct task *t = CONTAINER_OF(l->graveyard.next, struct task, link);
        list_remove(&t->link);
        t->run(t);
    }
}
