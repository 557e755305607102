#include "admin/explain_pick.h"

#include <stdlib.h>
#include <time.h>

#include "balancer/ewma.h"
#include "balancer/hashing.h"
#include "balancer/sticky.h"
#include "proxy/http/affinity.h"
#include "proxy/http/conditions.h"

static usec_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (usec_t)t.tv_sec * 1000000 + (usec_t)t.tv_nsec / 1000;
}

/* Of the key, as far as it is known before anything is sent; 0 = there is none. *text is the key, in the
 * arena. */
static uint64_t hash_of(const struct explained *e, const struct upstream *u, struct arena *arena,
                        struct slice *text)
{
    const struct affinity_rule *rule = u->affinity;
    *text = e->request.client_text;
    if (!u->policy->hashes)
        return 0;
    if (!rule || rule->by_ip)
        return hash_of_ip(&e->request.client);
    *text = S("");
    struct plain_context context = {
        .request = &e->request, .route = e->why.route, .arena = arena, .path = e->why.path};
    if (!rule->has_key || template_expand(&rule->key, arena, plain_variable, &context, text) != 0)
        return 0;
    return text->len ? hash_of_key(*text) : 0;
}

/* Of a tier for a worker, as the worker has it: words that may be a moment old, and hold no pointers. NULL
 * for a state that is made of more, and for any worker (`worker` < 0). */
static const uint64_t *state_of(const struct server_set *set, size_t tier, int worker)
{
    const struct tier *t = &set->tiers[tier];
    bool is_words = set->policy == &policy_round_robin && set->policy->size(t) == t->count * sizeof(int64_t);
    return worker >= 0 && is_words ? set->states[(size_t)worker * set->tier_count + tier] : NULL;
}

/* Asks the policy with a state of its own: a new one, or a copy. */
static struct server *pick_from(const struct server_set *set, size_t tier, int worker, struct pick *p)
{
    const struct policy *policy = set->policy;
    const struct tier *t = &set->tiers[tier];
    const uint64_t *from = state_of(set, tier, worker);
    size_t bytes = policy->size(t), size = (bytes + 64) / 64 * 64;
    uint64_t *state = aligned_alloc(64, size);
    if (!state)
        return NULL;
    memset(state, 0, size);
    for (size_t i = 0; from && i < bytes / sizeof *state; i++)
        state[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    if (!from)
        policy->init(state, t, (unsigned)p->now_us);
    struct server *s = policy->pick(state, t, p);
    if (!s) {
        p->suspects_too = true;
        s = policy->pick(state, t, p);
        p->suspects_too = false;
    }
    free(state);
    return s;
}

/* As server_set_pick() goes through the tiers, for a first attempt. */
static struct server *preview(const struct upstream *u, int worker, struct pick *p)
{
    const struct server_set *set = u->set;
    if (p->prefer)
        return p->prefer;
    for (size_t t = 0; t < set->tier_count; t++) {
        const struct tier *tier = &set->tiers[t];
        struct server *s = tier->count ? pick_from(set, t, worker, p) : NULL;
        bool busy = false;
        for (size_t i = 0; !s && i < tier->count; i++)
            busy = busy || server_usable(tier->servers[i]);
        if (s || (busy && !tier->spills))
            return s;
    }
    return NULL;
}

/* Whose turn it is on every worker; NULL when they differ, or when it cannot be told. */
static struct server *turn_of_all(const struct upstream *u, struct pick *p)
{
    struct server *first = NULL;
    for (unsigned w = 0; w < u->workers; w++) {
        bool is_known = true;
        for (size_t t = 0; t < u->set->tier_count; t++)
            is_known = is_known && (!u->set->tiers[t].count || state_of(u->set, t, (int)w));
        struct server *s = is_known ? preview(u, (int)w, p) : NULL;
        if (!s || (first && s != first))
            return NULL;
        first = s;
    }
    return first;
}

#define WORKERS_SHOWN 8u

/* Each worker takes turns by itself. */
static void print_turns(const struct upstream *u, struct pick *p, FILE *out)
{
    bool is_known = state_of(u->set, 0, 0) != NULL;
    fprintf(out, "would pick the next in turn (round_robin: by weight, each worker for itself");
    for (unsigned w = 0; is_known && w < u->workers && w < WORKERS_SHOWN; w++) {
        const struct server *s = preview(u, (int)w, p);
        if (s)
            fprintf(out, "%s %u: %.*s", w ? "," : "; now on worker", w, SLICE_FMT(s->name));
    }
    fprintf(out, "%s)", is_known && u->workers > WORKERS_SHOWN ? ", ..." : "");
}

static void print_reason(const struct upstream *u, struct server *s, const struct pick *p, struct slice key,
                         FILE *out)
{
    struct server_report r;
    server_report(s, &r);
    fprintf(out, "%.*s (%s: %s", SLICE_FMT(s->name), u->policy->name,
            u->policy == &policy_round_robin ? "it is its turn, " : "");
    if (u->policy->hashes && p->hash == 0)
        fprintf(out, "the request has no key, any will do, ");
    else if (u->policy->hashes)
        fprintf(out, "%s, \"%.*s\", ",
                !u->affinity || u->affinity->by_ip ? "by the client's address" : "by the request's key",
                SLICE_FMT(key));
    uint32_t learned_us = u->policy == &policy_ewma ? ewma_value(s, p->now_us) : 0;
    if (learned_us)
        fprintf(out, "answers in %.1f ms, ", (double)learned_us / 1000);
    fprintf(out, "%u in flight of weight %u)", r.in_flight, r.weight);
}

/* The server that its cookie names, if it can be had. */
static struct server *session_of(const struct explained *e, const struct upstream *u, bool *has_cookie)
{
    struct slice token = S("");
    *has_cookie = u->affinity && u->affinity->sticky &&
                  cookie_value(&e->request.request.fields, u->affinity->sticky->cookie, &token);
    struct server *s = *has_cookie ? sticky_find(u->set->sticky, token) : NULL;
    bool drains = s && atomic_load_explicit(&s->admin, memory_order_relaxed) == ADMIN_DRAIN;
    return s && !server_full(s) && (server_usable(s) || (drains && !server_is_down(s))) ? s : NULL;
}

static void pick(const struct explained *e, const struct upstream *u, struct slice *server, struct arena *a,
                 FILE *out)
{
    bool has_cookie;
    struct slice key;
    struct pick p = {.now_us = now_us(), .hash = hash_of(e, u, a, &key)};
    p.prefer = session_of(e, u, &has_cookie);
    bool takes_turns = u->policy == &policy_round_robin && !p.prefer;
    struct server *s = preview(u, -1, &p), *turn = s && takes_turns ? turn_of_all(u, &p) : NULL;
    bool is_open = u->breaker && breaker_state(u->breaker) == BREAKER_OPEN;
    s = turn ? turn : s;
    *server = s && !is_open && (turn || !takes_turns) ? s->name : (struct slice){NULL, 0};
    if (is_open) {
        fprintf(out, "would pick none: the breaker is open");
    } else if (!s) {
        enum pick_failure why = server_set_state(u->set);
        fprintf(out, "would pick none: %s", pick_failure_text(why));
        if (why == PICK_ALL_BUSY && u->queue)
            fprintf(out, "; it would wait in the queue, where %zu are", (size_t)queue_waiting(u->queue));
    } else if (p.prefer) {
        fprintf(out, "would pick %.*s (sticky: the cookie %.*s names it)", SLICE_FMT(s->name),
                SLICE_FMT(u->affinity->sticky->cookie));
        return;
    } else if (takes_turns && !turn) {
        print_turns(u, &p, out);
    } else {
        fprintf(out, "would pick ");
        print_reason(u, s, &p, key, out);
        fprintf(out, "%s",
                u->policy == &policy_random_two || u->policy == &policy_ewma ? ", of two that are drawn"
                                                                             : "");
    }
    if (has_cookie)
        fprintf(out, "; its cookie %.*s names no server that can be had",
                SLICE_FMT(u->affinity->sticky->cookie));
    else if (u->affinity && u->affinity->sticky)
        fprintf(out, "; it has no cookie %.*s", SLICE_FMT(u->affinity->sticky->cookie));
}

bool explain_pick(const struct explained *e, const struct upstream *u, struct slice *server, FILE *out)
{
    struct arena arena;
    if (!u->active)
        return false;
    arena_init(&arena, NULL, 0);
    pick(e, u, server, &arena, out);
    arena_reset(&arena);
    return true;
}
