#include <stdlib.h>

#include "proxy/stream/udp_internal.h"

#define LOOK_MS       5000 /* at the latest: a reload may have shortened `idle` */
#define DRAIN_LOOK_MS 250

static void on_time(struct timer *t);

struct udp_sessions *udp_sessions_create(struct listener *l)
{
    struct udp_sessions *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->listener = l;
    list_init(&t->by_age);
    timer_init(&t->timer, on_time);
    task_init(&t->bury);
    return t;
}

static void bury(struct task *task)
{
    struct udp_sessions *t = CONTAINER_OF(task, struct udp_sessions, bury);
    free(t->buckets);
    free(t);
}

void udp_sessions_free(struct udp_sessions *t)
{
    if (!t)
        return;
    struct loop *loop = &t->listener->worker->loop;
    t->freed = true;
    loop_timer_clear(loop, &t->timer);
    loop_bury(loop, &t->bury, bury);
}

/* Finding. */

static bool key_equal(const struct udp_key *a, const struct udp_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

struct udp_session *udp_find(const struct udp_sessions *t, const struct udp_port *p,
                             const struct udp_key *key, uint64_t hash)
{
    struct udp_session *s = t->size ? t->buckets[hash & (t->size - 1)] : NULL;
    while (s && !(s->hash == hash && s->port == p && key_equal(&s->key, key)))
        s = s->next;
    return s;
}

static int make_room(struct udp_sessions *t)
{
    if (t->count < t->size)
        return 0;
    size_t size = t->size ? t->size * 2 : 64;
    struct udp_session **buckets = calloc(size, sizeof(struct udp_session *));
    if (!buckets)
        return t->size ? 0 : -1; /* longer chains do too */
    for (size_t i = 0; i < t->size; i++) {
        struct udp_session *s = t->buckets[i], *next;
        for (; s; s = next) {
            struct udp_session **place = &buckets[s->hash & (size - 1)];
            next = s->next;
            s->next = *place;
            *place = s;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->size = size;
    return 0;
}

int udp_insert(struct udp_sessions *t, struct udp_session *s)
{
    if (make_room(t) != 0)
        return -1;
    struct udp_session **place = &t->buckets[s->hash & (t->size - 1)];
    s->next = *place;
    *place = s;
    s->active_ms = loop_now(&t->listener->worker->loop);
    list_append(&t->by_age, &s->age);
    if (t->count++ == 0)
        udp_look(t, LOOK_MS);
    return 0;
}

void udp_remove(struct udp_sessions *t, struct udp_session *s)
{
    struct udp_session **at = &t->buckets[s->hash & (t->size - 1)];
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    list_remove(&s->age);
    t->count--;
    t->draining -= s->draining;
}

/* Age. */

void udp_touch(struct udp_sessions *t, struct udp_session *s)
{
    msec_t now = loop_now(&t->listener->worker->loop);
    if (s->active_ms == now)
        return;
    s->active_ms = now;
    list_remove(&s->age);
    list_append(&t->by_age, &s->age);
}

void udp_look(struct udp_sessions *t, msec_t wait)
{
    msec_t idle = t->listener->config->settings->timeouts.idle, most = t->draining ? DRAIN_LOOK_MS : LOOK_MS;
    wait = wait < most ? wait : most;
    loop_timer(&t->listener->worker->loop, &t->timer, wait < idle ? wait : idle);
}

static bool is_drained(const struct udp_session *s, msec_t now)
{
    if (!s->draining)
        return false;
    return now - s->active_ms >= UDP_LINGER_MS ||
           (s->port->given_up && now - s->port->detached_ms >= UDP_LINGER_MS);
}

/* Ending the last session may be the end of the listener, and of the table. */
static void end_drained(struct udp_sessions *t, msec_t now)
{
    for (struct list *node = t->by_age.next; !t->freed && node != &t->by_age;) {
        struct udp_session *s = CONTAINER_OF(node, struct udp_session, age);
        node = node->next;
        if (is_drained(s, now))
            udp_session_end(s);
    }
}

static void on_time(struct timer *timer)
{
    struct udp_sessions *t = CONTAINER_OF(timer, struct udp_sessions, timer);
    msec_t now = loop_now(&t->listener->worker->loop);
    msec_t idle = t->listener->config->settings->timeouts.idle;
    while (!t->freed && !list_empty(&t->by_age)) {
        struct udp_session *s = CONTAINER_OF(t->by_age.next, struct udp_session, age);
        if (now - s->active_ms < idle)
            break;
        udp_session_end(s);
    }
    if (!t->freed && t->draining)
        end_drained(t, now);
    if (!t->freed && !list_empty(&t->by_age))
        udp_look(t, CONTAINER_OF(t->by_age.next, struct udp_session, age)->active_ms + idle - now);
}
