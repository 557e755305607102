#include "admin/otlp_rings.h"

#include <stdlib.h>

void otlp_rings_init(struct otlp_rings *o)
{
    list_init(&o->sources);
    pthread_mutex_init(&o->lock, NULL);
}

void otlp_rings_free(struct otlp_rings *o)
{
    LIST_EACH_SAFE (node, &o->sources) {
        struct otlp_source *s = CONTAINER_OF(node, struct otlp_source, link);
        span_ring_free(s->ring);
        free(s);
    }
    pthread_mutex_destroy(&o->lock);
}

/* Other rings. */

/* A worker is past any use of a ring that it was to give up. */
struct otlp_fence {
    struct letter letter;
    struct span_ring *ring;
};

static void on_fence(struct letter *l)
{
    struct otlp_fence *f = CONTAINER_OF(l, struct otlp_fence, letter);
    atomic_store_explicit(&f->ring->retired, true, memory_order_release);
    free(f);
}

/* What is to take the place of a worker's ring. */
struct otlp_change {
    struct otlp_source *source;
    struct otlp_fence *fence;
};

static void free_changes(struct otlp_change *changes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (changes[i].source)
            span_ring_free(changes[i].source->ring);
        free(changes[i].source);
        free(changes[i].fence);
    }
    free(changes);
}

static struct otlp_change *make_changes(unsigned workers, uint64_t queue)
{
    struct otlp_change *changes = calloc(workers, sizeof *changes);
    for (unsigned i = 0; changes && i < workers; i++) {
        changes[i].source = calloc(1, sizeof *changes[i].source);
        changes[i].fence = calloc(1, sizeof *changes[i].fence);
        if (changes[i].source)
            changes[i].source->ring = span_ring_create((uint32_t)queue);
        if (changes[i].source && changes[i].source->ring && changes[i].fence)
            continue;
        free_changes(changes, workers);
        return NULL;
    }
    return changes;
}

int otlp_rings_resize(struct otlp_rings *o, struct runtime *rt, uint64_t queue)
{
    if (queue == o->queue)
        return 0;
    struct otlp_change *changes = make_changes(rt->worker_count, queue);
    if (!changes)
        return -1;
    o->queue = queue;
    for (unsigned i = 0; i < rt->worker_count; i++) {
        struct otlp_change *c = &changes[i];
        list_init(&c->source->link);
        pthread_mutex_lock(&o->lock);
        list_append(&o->sources, &c->source->link);
        pthread_mutex_unlock(&o->lock);
        struct span_ring *old = atomic_exchange_explicit(&o->at[i], c->source->ring, memory_order_acq_rel);
        c->source = NULL;
        if (!old)
            continue;
        *c->fence = (struct otlp_fence){.letter.deliver = on_fence, .ring = old};
        loop_post(&rt->workers[i]->loop, &c->fence->letter);
        c->fence = NULL;
    }
    free_changes(changes, rt->worker_count);
    return 0;
}

struct otlp_source *otlp_rings_next(struct otlp_rings *o, struct otlp_source *after)
{
    struct otlp_source *found = NULL;
    pthread_mutex_lock(&o->lock);
    struct list *node = after ? after->link.next : o->sources.next;
    while (node != &o->sources && !found) {
        struct otlp_source *s = CONTAINER_OF(node, struct otlp_source, link);
        node = node->next;
        bool retired = atomic_load_explicit(&s->ring->retired, memory_order_acquire);
        if (!retired || span_ring_waiting(s->ring)) {
            found = s;
            continue;
        }
        o->dropped_before += counter_get(&s->ring->dropped);
        list_remove(&s->link);
        span_ring_free(s->ring);
        free(s);
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

void otlp_rings_turn(struct otlp_rings *o)
{
    pthread_mutex_lock(&o->lock);
    if (!list_empty(&o->sources)) {
        struct list *node = o->sources.next;
        list_remove(node);
        list_append(&o->sources, node);
    }
    pthread_mutex_unlock(&o->lock);
}

void otlp_rings_count(struct otlp_rings *o, uint64_t *dropped, uint64_t *waiting)
{
    *waiting = 0;
    pthread_mutex_lock(&o->lock);
    *dropped = o->dropped_before;
    LIST_EACH (node, &o->sources) {
        const struct span_ring *ring = CONTAINER_OF(node, struct otlp_source, link)->ring;
        *dropped += counter_get(&ring->dropped);
        *waiting += span_ring_waiting(ring);
    }
    pthread_mutex_unlock(&o->lock);
}
