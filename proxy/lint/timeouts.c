/* Limits in time that contradict each other: one that always ends later than another which ends the same
 * thing, so that it never counts. A shorter one in a narrower place is what narrower places are for. */
#include "balancer/hedge.h"
#include "balancer/queue.h"
#include "proxy/lint/internal.h"

/* Whether `later` was written by someone who could see `sooner`: in the same place, or nearer to the route.
 */
static bool contradicts(const struct config_node *later, const struct config_node *sooner)
{
    return later && sooner && (!lint_is_default(later) || lint_is_default(sooner));
}

static void check_waits(struct lint *l, const struct route *r, const struct config_node *whole)
{
    static const char *const keys[] = {"response", "body"};
    const struct config_node *map = lint_given(r->settings->node, "timeouts");
    const msec_t waits[] = {r->timeouts.response, r->timeouts.body};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct config_node *at = lint_given(map, keys[i]);
        if (contradicts(at, whole) && waits[i] >= r->timeout)
            lint_warn(l, LINT_TIMEOUT_WITHOUT_EFFECT, at,
                      "make it shorter than that, or leave it out; or raise \"timeout\"", NULL,
                      "never ends a request: the route's timeout of %s does so before",
                      lint_duration(l, r->timeout));
    }
}

static bool waits_outlast(const struct lint *l, const struct route *r)
{
    for (size_t i = 0; i < l->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[l->listeners[i].slot];
        msec_t body = r->timeouts.has_body ? r->timeouts.body : on->settings->timeouts.body;
        if (route_on_listener(r, on->slot) && (lint_response(r, on) < r->timeout || body < r->timeout))
            return false;
    }
    return true;
}

static void check_retries(struct lint *l, const struct route *r, const struct config_node *whole)
{
    const struct retries_settings *k = &r->retries;
    const struct config_node *map = lint_given(r->settings->node, "retries"),
                             *attempt = lint_given(map, "timeout"), *on = lint_given(map, "on"),
                             *attempts = lint_given(map, "attempts");
    if (contradicts(attempt, whole) && k->timeout && k->timeout >= r->timeout) {
        lint_warn(l, LINT_TIMEOUT_WITHOUT_EFFECT, attempt, "make it shorter than that, or raise \"timeout\"",
                  NULL, "no attempt ends by it: the route's timeout of %s ends the whole before",
                  lint_duration(l, r->timeout));
        return;
    }
    if (!(k->on.causes >> RETRY_TIMEOUT & 1) || k->attempts == 0)
        return;
    if (k->timeout && k->timeout * k->attempts >= r->timeout &&
        (contradicts(attempts, whole) || contradicts(attempt, whole)))
        lint_warn(l, LINT_RETRIES_DO_NOT_FIT, attempts ? attempts : attempt,
                  "lower \"attempts\" or \"retries.timeout\", or raise \"timeout\"", NULL,
                  "the last retry never begins: %llu attempts of %s take the route's whole timeout of %s",
                  (unsigned long long)k->attempts, lint_duration(l, k->timeout),
                  lint_duration(l, r->timeout));
    else if (k->timeout == 0 && contradicts(on, whole) && waits_outlast(l, r))
        lint_warn(l, LINT_RETRIES_DO_NOT_FIT, on,
                  "give an attempt a \"retries.timeout\", or the route a longer \"timeout\"", NULL,
                  "\"timeout\" never leads to a retry: a server may take as long as the whole route, %s",
                  lint_duration(l, r->timeout));
}

/* `drain` where it is written, against the longest of the routes that it cuts. */
static void check_drain(struct lint *l, size_t first)
{
    const struct listener_config *on = &l->s->listeners[l->listeners[first].slot];
    const struct config_node *at = lint_given(lint_given(on->settings->node, "timeouts"), "drain");
    const struct route *longest = NULL;
    if (!at)
        return;
    for (size_t i = 0; i < l->s->route_count; i++) {
        const struct route *r = &l->s->routes[i];
        if (route_on_listener(r, on->slot) && r->timeout > on->settings->timeouts.drain &&
            (!longest || r->timeout > longest->timeout))
            longest = r;
    }
    if (longest)
        lint_warn(l, LINT_DRAIN_TOO_SHORT, at, "raise it, or lower that timeout", NULL,
                  "a stop cuts requests after %s that route %s lets take %s",
                  lint_duration(l, on->settings->timeouts.drain), lint_route(l, longest),
                  lint_duration(l, longest->timeout));
}

/* Limits of a listener, or of all: written down, and every route that they are for ends before. */
struct wait {
    const char *key;
    size_t offset; /* in struct timeouts */
};

static msec_t wait_of(const struct listener_config *on, const struct wait *w)
{
    return *(const msec_t *)((const char *)&on->settings->timeouts + w->offset);
}

static const struct config_node *wait_node(const struct listener_config *on, const struct wait *w)
{
    return lint_given(lint_given(on->settings->node, "timeouts"), w->key);
}

/* The longest timeout of the listener's routes; MSEC_MAX where one has none; 0: no route waits for a server.
 */
static msec_t longest_route(const struct lint *l, const struct listener_config *on, const struct wait *w)
{
    msec_t longest = 0;
    for (size_t i = 0; i < l->s->route_count && longest != MSEC_MAX; i++) {
        const struct route *r = &l->s->routes[i];
        bool own = r->timeouts.has_response && w->offset == offsetof(struct timeouts, response);
        if (r->target_count == 0 || own || !route_on_listener(r, on->slot))
            continue;
        msec_t timeout = r->timeout ? r->timeout : MSEC_MAX;
        longest = timeout > longest ? timeout : longest;
    }
    return longest;
}

static void check_wait(struct lint *l, const struct wait *w)
{
    for (size_t i = 0; i < l->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[l->listeners[i].slot];
        const struct config_node *at = wait_node(on, w);
        msec_t longest = at ? longest_route(l, on, w) : MSEC_MAX;
        bool first = true;
        for (size_t k = 0; k < l->s->listener_count && longest != MSEC_MAX; k++) {
            const struct listener_config *other = &l->s->listeners[k];
            if (other == on || wait_node(other, w) != at)
                continue;
            first &= k > on->slot;
            msec_t its = other->protocol == LISTENER_HTTP ? longest_route(l, other, w) : MSEC_MAX;
            longest = its > longest ? its : longest;
        }
        if (first && longest && longest != MSEC_MAX && wait_of(on, w) >= longest)
            lint_warn(l, LINT_TIMEOUT_WITHOUT_EFFECT, at,
                      "make it shorter than that, or leave it out; or raise the routes' \"timeout\"", NULL,
                      "never ends a request: each route that it is for has a timeout of at most %s",
                      lint_duration(l, longest));
    }
}

/* What an upstream's every route ends before. */
static void check_upstream(struct lint *l, const struct lint_use *use)
{
    const struct upstream_settings *u = use->settings;
    const struct config_node *queue = lint_given(lint_given(u->node, "queue"), "timeout"),
                             *after = lint_given(lint_given(u->node, "hedge"), "after");
    if (!use->by_http || use->by_stream)
        return;
    if (queue && u->queue && u->queue->timeout >= use->longest)
        lint_warn(l, LINT_TIMEOUT_WITHOUT_EFFECT, queue, "make it shorter than that, or leave it out", NULL,
                  "no request waits that long: each of the upstream's routes has a timeout of at most %s",
                  lint_duration(l, use->longest));
    msec_t late = u->hedge ? u->hedge->after.time : 0, end = use->longest;
    if (use->longest_attempt < end)
        end = use->longest_attempt;
    if (use->longest_response < end)
        end = use->longest_response;
    if (after && late && late >= end)
        lint_warn(l, LINT_TIMEOUT_WITHOUT_EFFECT, after, "make it shorter than that", NULL,
                  "no second attempt is ever made: the first one is given up after %s at the latest",
                  lint_duration(l, end));
}

void lint_timeouts(struct lint *l)
{
    for (size_t i = 0; i < l->s->route_count; i++) {
        const struct route *r = &l->s->routes[i];
        const struct config_node *whole = r->timeout ? lint_given(r->settings->node, "timeout") : NULL;
        if (!whole || !r->target_count)
            continue;
        check_waits(l, r, whole);
        check_retries(l, r, whole);
    }
    static const struct wait waits[] = {{"connect", offsetof(struct timeouts, connect)},
                                        {"response", offsetof(struct timeouts, response)}};
    for (size_t i = 0; i < COUNT_OF(waits); i++)
        check_wait(l, &waits[i]);
    for (size_t i = 0; i < l->listener_count; i++)
        check_drain(l, i);
    for (size_t i = 0; i < l->s->settings.upstreams.count; i++)
        check_upstream(l, &l->uses[i]);
}
