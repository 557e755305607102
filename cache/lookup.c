/* What a request gets: the variant that it asks for, the fetch that it may follow, or one to lead. */
#include <string.h>

#include "cache/piece.h"
#include "cache/shard.h"

/* A request's side of Vary: texts are made as they are asked for, the last one is remembered. */
struct asker {
    cache_vary_lookup *lookup;
    void *context;
    struct arena *arena;
    int64_t now;
    struct slice names, text; /* begins with none, which every request answers with nothing */
    bool failed;              /* too long, or no memory: it matches nothing */
};

static bool answer(struct asker *q, struct slice names)
{
    if (!slice_equal(q->names, names)) {
        q->names = names;
        q->text = (struct slice){0};
        q->failed = names.len && cache_vary_text(names, q->lookup, q->context, q->arena, &q->text) != 0;
    }
    return !q->failed;
}

static bool asks_for(struct asker *q, const struct cache_object *o)
{
    return answer(q, o->vary_names) && slice_equal(q->text, o->vary_text);
}

/* An object that may be followed while it comes. */
static struct cache_object *growing(struct cache_store *s, struct cache_fill *f)
{
    if (cache_fill_state(f) != CACHE_FILL_OBJECT)
        return NULL;
    struct cache_object *o = f->object;
    bool is_old =
        cache_is_purged(&s->purges, o) || atomic_load_explicit(&o->soft_purged, memory_order_relaxed);
    return is_old ? NULL : o;
}

/* As far as is known: the newest variant's. */
static struct slice names_of(struct cache_store *s, struct cache_entry *e)
{
    if (e->variants)
        return e->variants->vary_names;
    for (struct cache_fill *f = e->fills; f; f = f->next) {
        struct cache_object *o = growing(s, f);
        if (o)
            return o->vary_names;
    }
    return (struct slice){0};
}

/* One that has no object yet, and that no purge since it began may concern. */
static struct cache_fill *asked_for(struct cache_store *s, struct cache_entry *e, struct asker *q)
{
    if (!answer(q, names_of(s, e)))
        return NULL;
    for (struct cache_fill *f = e->fills; f; f = f->next)
        if (cache_fill_state(f) == CACHE_FILL_ASKED && slice_equal(q->text, f->vary_text) &&
            !cache_purge_parts(&s->purges, f->url_hash, f->sequence))
            return f;
    return NULL;
}

/* A body may take longer to come than its head is fresh. */
static bool needs_validation(const struct cache_object *o, int64_t now)
{
    const char *why;
    return cache_may_use(&o->freshness, &cache_says_nothing, false, now, &why) == CACHE_USE_VALIDATED;
}

/* One whose object is coming, else one that has none yet. Leaders publish without the lock, so those without
 * an object are looked at first: none slips from the one to the other unseen. */
static struct cache_fill *fill_for(struct cache_store *s, struct cache_entry *e, struct asker *q)
{
    if (!e->fills)
        return NULL;
    struct cache_fill *asked = asked_for(s, e, q);
    for (struct cache_fill *f = e->fills; f; f = f->next) {
        struct cache_object *o = growing(s, f);
        if (o && asks_for(q, o) && !needs_validation(o, q->now))
            return f;
    }
    return asked;
}

static struct cache_fill *follow(struct cache_fill *f)
{
    if (!f)
        return NULL;
    atomic_fetch_add_explicit(&f->followers, 1, memory_order_relaxed);
    return cache_fill_hold(f);
}

/* The newest that matches (RFC 9111 §4.1). *others: there are some, whether they match or not. */
static struct cache_object *variant_for(struct cache_store *s, struct cache_entry *e, struct asker *q,
                                        bool *others)
{
    *others = false;
    for (struct cache_object *o = e->variants; o; o = o->next) {
        if (cache_is_purged(&s->purges, o))
            continue;
        *others = true;
        if (asks_for(q, o))
            return o;
    }
    return NULL;
}

void cache_find(struct cache_store *s, const struct cache_key *key, cache_vary_lookup *lookup, void *context,
                struct arena *a, int64_t now, struct cache_found *out)
{
    *out = (struct cache_found){0};
    if (key->text.len > CACHE_KEY_MAX)
        return;
    struct asker q = {.lookup = lookup, .context = context, .arena = a, .now = now};
    struct cache_shard *shard = cache_shard_of(s, key->hash);
    pthread_rwlock_rdlock(&shard->lock);
    struct cache_entry *e = cache_shard_find(shard, key);
    if (e) {
        bool others;
        out->object = variant_for(s, e, &q, &others);
        if (out->object)
            cache_object_hold(out->object);
        out->has_variants = others && !out->object;
        out->fill = follow(fill_for(s, e, &q));
        out->pass = cache_shard_passes(e, now);
    }
    pthread_rwlock_unlock(&shard->lock);
}

/* A promotion waits for nobody: if the shard is busy the next hit tries again. */
void cache_touch(struct cache_store *s, struct cache_object *o, unsigned worker, msec_t now)
{
    cache_shadow_count(s, o, worker, now);
    const struct cache_policy_ops *ops = atomic_load_explicit(&s->ops, memory_order_relaxed);
    if (!ops->touch(&o->policy, now))
        return;
    struct cache_shard *shard = cache_shard_of(s, o->policy.hash);
    if (pthread_rwlock_trywrlock(&shard->lock) != 0) {
        atomic_store_explicit(&o->policy.promoted_ms, (uint32_t)now - CACHE_POLICY_PROMOTE_MS,
                              memory_order_relaxed);
        return;
    }
    cache_policy_promote(&shard->policy, &o->policy);
    pthread_rwlock_unlock(&shard->lock);
}

/* Leading. What is needed is allocated without the lock, so it may take two looks. */

struct lead {
    struct cache_store *store;
    struct cache_shard *shard;
    const struct cache_key *key;
    struct cache_object *base;
    bool is_alone;
    uint32_t generation;
    int64_t now;
    struct asker asker;
    struct cache_fill *followed;
    struct cache_fill *fill;    /* a piece for a new one, and that one */
    size_t text_room;           /* behind it */
    struct cache_entry *entry;  /* a piece for a new one */
    struct cache_entry **table; /* a piece for a larger one */
    uint32_t table_count, table_wanted;
    bool entry_wanted, table_failed;
    struct cache_garbage garbage;
};

enum { LEAD_WANTS_PIECES = -1 };

static void add_entry(struct lead *l)
{
    if (l->table && l->table_count > l->shard->bucket_room) {
        cache_shard_widen(l->shard, l->table, l->table_count, &l->garbage);
        l->table = NULL;
    }
    cache_shard_add(l->shard, l->entry);
}

/* What was purged since the caller found it is not validated: that would bring its body back. */
static struct cache_object *base_of(struct lead *l)
{
    return l->base && !cache_is_purged(&l->store->purges, l->base) ? l->base : NULL;
}

static void init_fill(struct lead *l, struct cache_object *o)
{
    uint64_t sequence = cache_purge_now(&l->store->purges); /* before the base is looked at */
    *l->fill = (struct cache_fill){
        .refs = 1,
        .state = o ? CACHE_FILL_OBJECT : CACHE_FILL_ASKED,
        .store = l->store,
        .object = o,
        .status = o ? o->status : 0,
        .base = base_of(l),
        .generation = l->generation,
        .sequence = sequence,
        .url_hash = l->key->url.len ? cache_url_hash(l->key->url) : 0,
    };
    cache_signal_init(&l->fill->signal);
    if (o)
        cache_object_hold(o);
    if (l->fill->base)
        cache_object_hold(l->fill->base);
}

static void begin(struct lead *l, struct cache_entry *e)
{
    struct cache_fill *f = l->fill;
    init_fill(l, NULL);
    char *text = (char *)(f + 1);
    if (l->asker.text.len)
        memcpy(text, l->asker.text.at, l->asker.text.len);
    f->vary_text = slice_of(text, l->asker.text.len);
    f->entry = e;
    f->next = e->fills;
    e->fills = f;
    cache_count(&l->store->counts.fills, 1);
}

/* The fetch that would have been followed may have ended since the caller looked: what it has stored then is
 * as good as a fetch that is through. */
static struct cache_object *stored_since(struct lead *l, struct cache_entry *e)
{
    bool others;
    struct cache_object *o = variant_for(l->store, e, &l->asker, &others);
    bool is_good = o && o != l->base && !atomic_load_explicit(&o->soft_purged, memory_order_relaxed) &&
                   !needs_validation(o, l->now);
    return is_good ? o : NULL;
}

/* What there is for the request already: enum cache_lead, LEAD_WANTS_PIECES, or CACHE_LEAD when there is
 * nothing. */
static int look_for_others(struct lead *l, struct cache_entry *e)
{
    if (e->pass_until && !cache_shard_passes(e, l->now))
        cache_shard_unmark(l->shard, e);
    if (l->is_alone)
        return CACHE_LEAD;
    if (e->pass_until)
        return CACHE_PASS;
    l->followed = follow(fill_for(l->store, e, &l->asker));
    if (l->followed)
        return CACHE_FOLLOW;

    struct cache_object *o = stored_since(l, e);
    if (!o)
        return CACHE_LEAD;
    if (!l->fill)
        return LEAD_WANTS_PIECES;
    init_fill(l, o);
    l->followed = l->fill;
    l->fill = NULL;
    return CACHE_FOLLOW;
}

/* Under the write lock: enum cache_lead, or LEAD_WANTS_PIECES. */
static int look(struct lead *l)
{
    struct cache_entry *e = cache_shard_find(l->shard, l->key);
    l->entry_wanted = !e;
    l->table_wanted = e ? 0 : cache_shard_wants(l->shard);
    if (e) {
        int result = look_for_others(l, e);
        if (result != CACHE_LEAD)
            return result;
    }

    if (!answer(&l->asker, e ? names_of(l->store, e) : (struct slice){0}))
        return CACHE_FULL;
    bool wants_table = l->table_wanted && !l->table && !l->table_failed;
    if (!l->fill || l->text_room < l->asker.text.len || (!e && !l->entry) || wants_table)
        return LEAD_WANTS_PIECES;
    if (!e) {
        e = l->entry;
        add_entry(l);
        l->entry = NULL;
    }
    begin(l, e);
    return CACHE_LEAD;
}

static bool provide_entry(struct lead *l)
{
    struct slice text = l->key->text;
    l->entry = cache_piece_take(&l->store->budget, sizeof *l->entry + text.len);
    if (!l->entry)
        return false;
    *l->entry = (struct cache_entry){.hash = l->key->hash, .key_len = (uint32_t)text.len};
    list_init(&l->entry->pass);
    memcpy(l->entry->key, text.at, text.len);
    return true;
}

/* Without a larger table the chains get longer, and that is all. */
static void provide_table(struct lead *l)
{
    l->table_count = l->table_wanted;
    size_t size = l->table_count * sizeof *l->table;
    l->table = cache_piece_take(&l->store->budget, size);
    l->table_failed = !l->table;
    if (l->table)
        memset(l->table, 0, size); /* its pages are there before the lock is taken */
}

static bool provide(struct lead *l)
{
    if (!l->fill || l->text_room < l->asker.text.len) {
        cache_piece_give(&l->store->budget, l->fill);
        l->text_room = l->asker.text.len;
        l->fill = cache_piece_take(&l->store->budget, sizeof *l->fill + l->text_room);
        if (!l->fill)
            return false;
    }
    if (l->entry_wanted && !l->entry && !provide_entry(l))
        return false;
    if (l->table_wanted && !l->table && !l->table_failed)
        provide_table(l);
    return true;
}

enum cache_lead cache_lead(struct cache_store *s, const struct cache_key *key, struct cache_object *base,
                           bool alone, uint32_t generation, cache_vary_lookup *lookup, void *context,
                           struct arena *a, int64_t now, struct cache_fill **fill)
{
    *fill = NULL;
    if (key->text.len > CACHE_KEY_MAX)
        return CACHE_FULL;
    struct lead l = {
        .store = s,
        .shard = cache_shard_of(s, key->hash),
        .key = key,
        .base = base,
        .is_alone = alone,
        .generation = generation,
        .now = now,
        .asker = {.lookup = lookup, .context = context, .arena = a, .now = now},
    };
    int result;
    do {
        l.asker.names = l.asker.text = (struct slice){0}; /* they pointed into the index */
        pthread_rwlock_wrlock(&l.shard->lock);
        result = look(&l);
        pthread_rwlock_unlock(&l.shard->lock);
        if (result == LEAD_WANTS_PIECES && !provide(&l))
            result = CACHE_FULL;
    } while (result == LEAD_WANTS_PIECES);

    *fill = result == CACHE_LEAD ? l.fill : l.followed;
    if (result != CACHE_LEAD)
        cache_piece_give(&s->budget, l.fill);
    cache_piece_give(&s->budget, l.entry);
    cache_piece_give(&s->budget, l.table);
    cache_garbage_free(s, &l.garbage);
    if (result == CACHE_FULL)
        cache_count(&s->counts.rejected_memory, 1);
    return (enum cache_lead)result;
}
