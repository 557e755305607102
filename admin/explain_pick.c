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

/* Of the key, as far as it is known before anything is sent; 0 = there is none. */
static uint64_t hash_of(const struct explained *e, const struct upstream *u)
{
    const struct affinity_rule *rule = u->affinity;
    struct arena arena;
    struct slice text;
    uint64_t hash = 0;
    if (!u->policy->hashes)
        return 0;
    if (!rule || rule->by_ip)
        return hash_of_ip(&e->request.client);
    arena_init(&arena, NULL, 0);
    struct plain_context context = {.request = &e->request, .route = e->why.route, .arena = &arena};
    if (rule->has_key && template_expand(&rule->key, &arena, plain_variable, &context, &text) == 0 &&
        text.len)
        hash = hash_of_key(text);
    arena_reset(&arena);
    return hash;
}

static struct server *pick_from(const struct policy *policy, const struct tier *t, struct pick *p)
{
    size_t size = (policy->size(t) + 64) / 64 * 64;
    void *state = aligned_alloc(64, size);
    if (!state)
        return NULL;
    memset(state, 0, size);
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
static struct server *preview(const struct upstream *u, struct pick *p)
{
    const struct server_set *set = u->set;
    if (p->prefer)
        return p->prefer;
    for (size_t t = 0; t < set->tier_count; t++) {
        const struct tier *tier = &set->tiers[t];
        struct server *s = tier->count ? pick_from(set->policy, tier, p) : NULL;
        bool busy = false;
        for (size_t i = 0; !s && i < tier->count; i++)
            busy = busy || server_usable(tier->servers[i]);
        if (s || (busy && !tier->spills))
            return s;
    }
    return NULL;
}

static void print_reason(const struct upstream *u, struct server *s, const struct pick *p, FILE *out)
{
    struct server_report r;
    server_report(s, &r);
    fprintf(out, "%.*s (%s: ", SLICE_FMT(s->name), u->policy->name);
    if (u->policy->hashes)
        fprintf(out, "%s, ",
                p->hash == 0                         ? "the request has no key, any will do"
                : !u->affinity || u->affinity->by_ip ? "by the client's address"
                                                     : "by the request's key");
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

bool explain_pick(const struct explained *e, const struct upstream *u, struct slice *server, FILE *out)
{
    bool has_cookie;
    struct pick p = {.now_us = now_us(), .hash = hash_of(e, u)};
    if (!u->active)
        return false;
    p.prefer = session_of(e, u, &has_cookie);
    struct server *s = preview(u, &p);
    bool is_open = u->breaker && breaker_state(u->breaker) == BREAKER_OPEN;
    bool is_known = u->policy != &policy_round_robin || p.prefer || u->set->count == 1;
    *server = s && !is_open && is_known ? s->name : (struct slice){NULL, 0};
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
        return true;
    } else if (u->policy == &policy_round_robin) {
        fprintf(out, "would pick the next in turn (round_robin: by weight, each worker for itself)");
    } else {
        fprintf(out, "would pick ");
        print_reason(u, s, &p, out);
        fprintf(out, "%s",
                u->policy == &policy_random_two || u->policy == &policy_ewma ? ", of two that are drawn"
                                                                             : "");
    }
    if (has_cookie)
        fprintf(out, "; its cookie %.*s names no server that can be had",
                SLICE_FMT(u->affinity->sticky->cookie));
    else if (u->affinity && u->affinity->sticky)
        fprintf(out, "; it has no cookie %.*s", SLICE_FMT(u->affinity->sticky->cookie));
    return true;
}
