#include "admin/recorder.h"

#include <pthread.h>
#include <stdlib.h>

#include "proxy/stats.h"

/* The slowest of one period, in no order. */
struct slowest {
    usec_t since_us;
    usec_t least_us; /* of those kept, once it is full */
    unsigned count;
    struct record at[RECORDER_SLOWEST];
};

/* What one worker has recorded. */
struct recorded {
    unsigned present; /* which of `slowest` */
    unsigned failed_count, failed_next;
    struct slowest slowest[2];
    struct record failed[RECORDER_FAILED];
};

struct recorder_worker {
    pthread_mutex_t lock;
    struct recorded *kept; /* NULL until the first; set under the lock */
} __attribute__((aligned(64)));

struct recorder {
    struct recorder_worker workers[WORKERS_MAX];
};

struct recorder *recorder_create(void)
{
    struct recorder *r = aligned_alloc(64, sizeof *r);
    if (!r)
        return NULL;
    memset(r, 0, sizeof *r);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        pthread_mutex_init(&r->workers[i].lock, NULL);
    return r;
}

void recorder_free(struct recorder *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        pthread_mutex_destroy(&r->workers[i].lock);
        free(r->workers[i].kept);
    }
    free(r);
}

/* Writing one down. */

static struct record_text put(struct record *r, struct slice s, size_t max)
{
    size_t room = RECORDER_TEXT - r->text_len;
    size_t len = s.len < max ? s.len : max;
    len = len < room ? len : room;
    struct record_text t = {r->text_len, (uint16_t)len};
    if (len)
        memcpy(r->text + r->text_len, s.at, len);
    r->text_len = (uint16_t)(r->text_len + len);
    return t;
}

static void write_attempts(struct record *r, const struct exchange *x)
{
    r->attempts_made = x->attempts;
    for (const struct attempt *a = x->tries; a && r->attempt_count < RECORDER_ATTEMPTS; a = a->next) {
        r->attempts[r->attempt_count++] = (struct record_attempt){.server = put(r, a->server->name, 64),
                                                                  .reason = put(r, slice_text(a->reason), 96),
                                                                  .started_us = a->started_us,
                                                                  .connected_us = a->connected_us,
                                                                  .sent_us = a->sent_us,
                                                                  .head_us = a->head_us,
                                                                  .ended_us = a->ended_us,
                                                                  .status = a->status,
                                                                  .outcome = a->outcome,
                                                                  .reused = a->reused};
    }
}

/* The texts that tell requests apart go first: a long target is cut before they are. */
static void write_down(struct record *r, const struct exchange *x, enum termination termination)
{
    struct loop *l = &x->worker->loop;
    *r = (struct record){.wall_us = loop_wall_us(l),
                         .took_us = loop_now_us(l) - x->started_us,
                         .request_bytes = x->request_bytes,
                         .response_bytes = x->response_bytes,
                         .status = (uint16_t)exchange_meant_status(x),
                         .termination = (uint8_t)termination,
                         .protocol = x->protocol,
                         .worker = (uint8_t)x->worker->index};
    r->id = put(r, x->request_id, 128);
    r->client = put(r, x->client_text, 48);
    r->method = put(r, x->request.method, 24);
    r->listener = put(r, x->listener->name, 64);
    r->route = put(r, x->route ? x->route->name : S(""), 64);
    r->upstream = put(r, x->upstream ? x->upstream->name : S(""), 64);
    r->reason = put(r, slice_text(x->reason), 96);
    write_attempts(r, x);
    r->host = put(r, x->host.len ? x->host : x->request.host, 128);
    r->target = put(r, x->request.target, RECORDER_TEXT);
}

static struct recorded *kept_by(struct recorder_worker *w)
{
    if (!w->kept)
        w->kept = calloc(1, sizeof *w->kept);
    return w->kept;
}

static void keep_failed(struct recorder_worker *w, const struct exchange *x, enum termination termination)
{
    pthread_mutex_lock(&w->lock);
    struct recorded *k = kept_by(w);
    if (k) {
        write_down(&k->failed[k->failed_next], x, termination);
        k->failed_next = (k->failed_next + 1) % RECORDER_FAILED;
        k->failed_count += k->failed_count < RECORDER_FAILED;
    }
    pthread_mutex_unlock(&w->lock);
}

/* Begins the next period when this one is over; under the lock. */
static struct slowest *present_slowest(struct recorded *k, usec_t now)
{
    struct slowest *s = &k->slowest[k->present];
    if (s->since_us && now - s->since_us < RECORDER_PERIOD_US)
        return s;
    bool stale = now - s->since_us >= 2 * RECORDER_PERIOD_US; /* so is the one before */
    k->present ^= 1;
    if (stale)
        s->count = 0;
    s = &k->slowest[k->present];
    s->since_us = now;
    s->count = 0;
    s->least_us = 0;
    return s;
}

static void set_least(struct slowest *s)
{
    s->least_us = UINT64_MAX;
    for (unsigned i = 0; i < s->count; i++)
        if (s->at[i].took_us < s->least_us)
            s->least_us = s->at[i].took_us;
}

static void keep_slow(struct recorder_worker *w, const struct exchange *x, enum termination termination,
                      usec_t now, usec_t took)
{
    pthread_mutex_lock(&w->lock);
    struct recorded *k = kept_by(w);
    struct slowest *s = k ? present_slowest(k, now) : NULL;
    if (s && s->count < RECORDER_SLOWEST) {
        write_down(&s->at[s->count++], x, termination);
        if (s->count == RECORDER_SLOWEST)
            set_least(s);
    } else if (s && took > s->least_us) {
        unsigned i = 0;
        while (s->at[i].took_us != s->least_us)
            i++;
        write_down(&s->at[i], x, termination);
        set_least(s);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Whether it may be among the slowest; without the lock, as only this thread writes. */
static bool is_slow(const struct recorder_worker *w, usec_t now, usec_t took)
{
    const struct recorded *k = w->kept;
    if (!k)
        return true;
    const struct slowest *s = &k->slowest[k->present];
    return s->count < RECORDER_SLOWEST || took > s->least_us || now - s->since_us >= RECORDER_PERIOD_US;
}

void recorder_exchange_ended(struct recorder *r, const struct exchange *x)
{
    struct recorder_worker *w = &r->workers[x->worker->index];
    enum termination termination = (enum termination)x->termination;
    usec_t now = loop_now_us(&x->worker->loop), took = now - x->started_us;
    if (UNLIKELY(termination_is_failure(termination) || exchange_meant_status(x) >= 500))
        keep_failed(w, x, termination);
    else if (UNLIKELY(is_slow(w, now, took)) && !x->was_tunnel)
        keep_slow(w, x, termination, now, took);
}

/* Reading. */

static int newest_first(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    return x->wall_us < y->wall_us ? 1 : x->wall_us > y->wall_us ? -1 : 0;
}

static int slowest_first(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    return x->took_us < y->took_us ? 1 : x->took_us > y->took_us ? -1 : 0;
}

/* Appends `count` records; false when out of memory. */
static bool append(struct record **to, size_t *have, const struct record *from, size_t count)
{
    if (count == 0)
        return true;
    struct record *grown = realloc(*to, (*have + count) * sizeof *grown);
    if (!grown)
        return false;
    memcpy(grown + *have, from, count * sizeof *grown);
    *to = grown;
    *have += count;
    return true;
}

static bool copy_worker(struct recorder_worker *w, enum recorder_list which, usec_t now, struct record **to,
                        size_t *have)
{
    bool ok = true;
    pthread_mutex_lock(&w->lock);
    const struct recorded *k = w->kept;
    if (k && which == RECORDER_LIST_FAILED)
        ok = append(to, have, k->failed, k->failed_count);
    for (unsigned i = 0; k && which == RECORDER_LIST_SLOWEST && i < 2; i++)
        if (now - k->slowest[i].since_us < 2 * RECORDER_PERIOD_US)
            ok = ok && append(to, have, k->slowest[i].at, k->slowest[i].count);
    pthread_mutex_unlock(&w->lock);
    return ok;
}

struct record *recorder_copy(struct recorder *r, enum recorder_list which, usec_t now_us, size_t *count)
{
    struct record *all = NULL;
    *count = 0;
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        if (copy_worker(&r->workers[i], which, now_us, &all, count))
            continue;
        free(all);
        *count = 0;
        return NULL;
    }
    if (all)
        qsort(all, *count, sizeof *all, which == RECORDER_LIST_FAILED ? newest_first : slowest_first);
    return all;
}
