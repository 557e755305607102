/* Four threads and one that purges, sweeps and reloads, over a small memory and objects of 1 byte to 8 MiB:
 * the budget is never passed, nothing is torn, and in the end everything is given back. */
#include "store_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "cache/shard.h"

enum {
    THREADS = 4,
    ROUNDS = 1500,
    KEYS = 80,
    MEMORY = 32 << 20,
    MEMORY_LOW = 16 << 20,
    OBJECT_MAX = 8 << 20,
};

struct stress {
    struct cache_store *store;
    _Atomic bool stop;
    _Atomic uint64_t samples, most, hits, stored, followed, no_memory;
};

struct one {
    struct stress *all;
    struct scene scene;
    uint64_t random;
};

static uint64_t next_random(struct one *t)
{
    t->random ^= t->random << 13, t->random ^= t->random >> 7, t->random ^= t->random << 17;
    return t->random;
}

static void sample(struct stress *s)
{
    uint64_t used = atomic_load(&cache_store_budget(s->store)->used);
    if (used > atomic_load(&s->most))
        atomic_store(&s->most, used);
    atomic_fetch_add(&s->samples, 1);
}

/* As many bits as chance will have: most are small, some are as large as may be. */
static size_t size_of(struct one *t)
{
    uint64_t bits = next_random(t) % 24;
    uint64_t size = (UINT64_C(1) << bits) + next_random(t) % (UINT64_C(1) << bits);
    return size < OBJECT_MAX ? (size_t)size : OBJECT_MAX;
}

/* Every byte of an object is the same one. */
static void check(struct cache_object *o)
{
    struct cache_reader r = {0};
    if (cache_body_state(o->body) != CACHE_BODY_WHOLE || cache_reader_open(&r, o->body, NULL, NULL) != 0)
        return;
    uint64_t seen = 0, bytes;
    struct iovec iov[16];
    int count;
    while ((count = cache_reader_peek(&r, iov, 16, UINT64_MAX, &bytes)) > 0) {
        for (int i = 0; i < count; i++) {
            const char *at = iov[i].iov_base;
            ASSERT(at[0] == *(char *)o->head && at[iov[i].iov_len - 1] == *(char *)o->head);
        }
        seen += bytes;
        cache_reader_skip(&r, bytes);
    }
    ASSERT(seen == cache_body_bytes(o->body));
    cache_reader_close(&r);
}

static bool append(struct one *t, struct cache_body *body, size_t size, char byte)
{
    char piece[8192];
    memset(piece, byte, sizeof piece);
    while (size > 0) {
        size_t part = size < sizeof piece ? size : sizeof piece;
        struct iovec iov = {piece, part};
        if (cache_body_append(body, &iov, 1) != 0)
            return false;
        size -= part;
        if (next_random(t) % 64 == 0)
            sample(t->all);
    }
    return true;
}

static void fetch(struct one *t, struct cache_fill *f, const char *url, bool vary)
{
    size_t size = size_of(t);
    char byte = (char)('a' + size % 26);
    bool is_announced = next_random(t) % 2;
    struct cache_body *body = cache_body_create(f->store ? cache_store_budget(f->store) : NULL,
                                                is_announced ? size : CACHE_BODY_UNKNOWN);
    struct cache_object *o =
        body ? scene_object(&t->scene, f, url, body, vary, next_random(t) % 2 ? "red" : "blue") : NULL;
    if (o) {
        memset(o->head, byte, o->head_size);
        cache_fill_publish(f, o);
        if (!append(t, body, size, byte)) {
            atomic_fetch_add(&t->all->no_memory, 1);
            cache_body_cut(body);
        } else if (next_random(t) % 16 == 0) {
            f->discard = true;
            cache_body_finish(body);
        } else {
            cache_body_finish(body);
            atomic_fetch_add(&t->all->stored, 1);
        }
    } else {
        atomic_fetch_add(&t->all->no_memory, 1);
    }
    cache_object_release(o);
    cache_body_release(body);
    cache_fill_end(f);
}

static void lead(struct one *t, const char *url, struct cache_object *base, bool vary)
{
    struct cache_fill *f;
    switch (scene_lead_as(&t->scene, url, base, next_random(t) % 8 == 0, 0, &f)) {
    case CACHE_LEAD:
        if (next_random(t) % 16 == 0) {
            cache_fill_release(f, (uint32_t)(next_random(t) % 2));
            cache_fill_end(f);
        } else {
            fetch(t, f, url, vary);
        }
        break;
    case CACHE_FOLLOW:
        for (int i = 0; i < 1000 && cache_fill_state(f) == CACHE_FILL_ASKED; i++)
            sched_yield();
        if (cache_fill_state(f) == CACHE_FILL_OBJECT)
            check(f->object);
        atomic_fetch_add(&t->all->followed, 1);
        cache_fill_let_go(f);
        break;
    case CACHE_PASS:
    case CACHE_FULL:
        break;
    }
}

/* A third of the keys have variants. */
static void request(struct one *t)
{
    uint64_t number = next_random(t) % KEYS;
    char url[64];
    snprintf(url, sizeof url, "host/%d/%d", (int)(number % 7), (int)number);
    t->scene.language = next_random(t) % 2 ? S("de") : S("en");
    struct cache_found found = scene_find(&t->scene, url);
    if (found.object) {
        atomic_fetch_add(&t->all->hits, 1);
        cache_touch(t->all->store, found.object, 0, (msec_t)next_random(t) % 100000);
        check(found.object);
        if (next_random(t) % 64 == 0)
            cache_drop(t->all->store, found.object);
    }
    cache_fill_let_go(found.fill);
    struct cache_key key = key_of(url);
    if ((!found.object || next_random(t) % 8 == 0) && cache_admits(t->all->store, &key, size_of(t)))
        lead(t, url, found.object, number % 3 == 0);
    cache_object_release(found.object);
    sample(t->all);
}

static void *run(void *argument)
{
    struct one *t = argument;
    for (int i = 0; i < ROUNDS; i++) {
        request(t);
        arena_reset(&t->scene.arena);
    }
    return NULL;
}

static void *disturb(void *argument)
{
    struct stress *s = argument;
    struct one t = {.all = s, .random = 99};
    while (!atomic_load(&s->stop)) {
        uint64_t kind = next_random(&t) % 8;
        char text[32];
        snprintf(text, sizeof text, "host/%d/", (int)(next_random(&t) % 7));
        bool soft = next_random(&t) % 2;
        if (kind == 0)
            cache_store_purge(s->store, CACHE_PURGE_PREFIX, slice_text(text), soft);
        else if (kind == 1)
            cache_store_purge(s->store, CACHE_PURGE_TAG, next_random(&t) % 16 ? S("green") : S("red"), soft);
        else if (kind == 2)
            cache_store_configure(
                s->store, &(struct cache_settings){.memory = next_random(&t) % 2 ? MEMORY : MEMORY_LOW,
                                                   .max_object = OBJECT_MAX,
                                                   .policy = (int)(next_random(&t) % 2)});
        else
            cache_sweep(s->store);
        struct cache_stats stats;
        cache_store_stats(s->store, &stats);
        sample(s);
        for (int i = 0; i < 200 && !atomic_load(&s->stop); i++)
            sched_yield();
    }
    return NULL;
}

static void test_the_budget_is_never_passed(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = MEMORY, .max_object = OBJECT_MAX});
    struct stress all = {.store = c.store};
    struct one threads[THREADS];
    pthread_t ids[THREADS], disturber;
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct one){.all = &all, .scene = c, .random = 1000 + (uint64_t)i};
        arena_init(&threads[i].scene.arena, NULL, 0);
        assert_int_equal(pthread_create(&ids[i], NULL, run, &threads[i]), 0);
    }
    assert_int_equal(pthread_create(&disturber, NULL, disturb, &all), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    atomic_store(&all.stop, true);
    pthread_join(disturber, NULL);

    struct cache_stats stats = scene_stats(&c);
    print_message(
        "%llu samples, at most %llu of %d bytes; %llu hits, %llu stored, %llu followed, %llu without "
        "memory, %llu evicted, %llu purged\n",
        (unsigned long long)all.samples, (unsigned long long)all.most, MEMORY, (unsigned long long)all.hits,
        (unsigned long long)all.stored, (unsigned long long)all.followed, (unsigned long long)all.no_memory,
        (unsigned long long)stats.evictions, (unsigned long long)stats.purged);
    assert_true(all.most <= MEMORY);
    assert_true(all.hits > 0 && all.stored > 0 && stats.evictions > 0);
    assert_int_equal(stats.fills, 0);

    cache_store_configure(c.store, &(struct cache_settings){.memory = MEMORY_LOW, .max_object = OBJECT_MAX});
    assert_true(scene_stats(&c).bytes <= MEMORY_LOW);
    uint64_t objects = 0;
    for (uint32_t i = 0; i < c.store->shard_count; i++) {
        struct cache_shard *shard = &c.store->shards[i];
        objects += cache_policy_count(&shard->policy);
        assert_true(cache_policy_overhead(&shard->policy) <= shard->policy_nodes * CACHE_POLICY_NODE_BYTES);
        assert_true(doorkeeper_bytes(&shard->doorkeeper) <= CACHE_DOORKEEPER_BYTES);
    }
    assert_int_equal(objects, scene_stats(&c).objects);
    cache_store_purge(c.store, CACHE_PURGE_ALL, S(""), false);
    while (cache_sweep(c.store))
        ;
    assert_int_equal(scene_stats(&c).objects, 0);
    scene_end(&c);
}

enum { ONCE_KEYS = 3000 };

static void *ask_for_all(void *argument)
{
    struct one *t = argument;
    for (int i = 0; i < ONCE_KEYS; i++) {
        char url[32];
        snprintf(url, sizeof url, "host/%d", i);
        struct cache_fill *f = NULL;
        if (scene_peek(&t->scene, url))
            atomic_fetch_add(&t->all->hits, 1);
        else if (scene_lead_as(&t->scene, url, NULL, false, 0, &f) == CACHE_LEAD)
            atomic_fetch_add(&t->all->stored, scene_answer(&t->scene, f, url, 10, false, NULL));
        else if (f) {
            atomic_fetch_add(&t->all->followed, 1);
            cache_fill_let_go(f);
        }
    }
    return NULL;
}

/* Also when a fetch begins and ends between another thread's look and its wish to lead. */
static void test_what_many_ask_for_at_once_is_fetched_once(void **state)
{
    (void)state;
    struct scene c;
    scene_open(&c, &(struct cache_settings){.memory = MEMORY, .max_object = OBJECT_MAX});
    struct stress all = {.store = c.store};
    struct one threads[THREADS];
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct one){.all = &all, .scene = c};
        arena_init(&threads[i].scene.arena, NULL, 0);
        assert_int_equal(pthread_create(&ids[i], NULL, ask_for_all, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        arena_reset(&threads[i].scene.arena);
    }
    assert_int_equal(all.stored, ONCE_KEYS);
    assert_int_equal(scene_stats(&c).insertions, ONCE_KEYS);
    assert_int_equal(all.hits + all.followed + all.stored, THREADS * ONCE_KEYS);
    scene_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_budget_is_never_passed),
        cmocka_unit_test(test_what_many_ask_for_at_once_is_fetched_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
