/* Health checks and passive health that change nothing. */
#include "balancer/outlier.h"
#include "proxy/lint/internal.h"

/* Servers that requests go to first; how many there are is known. 0 otherwise. */
static size_t fixed_primaries(const struct upstream_settings *u, size_t *backups)
{
    const struct server_settings *servers = u->servers.at;
    size_t count = lint_fixed_servers(u), primaries = 0;
    *backups = 0;
    for (size_t i = 0; i < count; i++) {
        primaries += !servers[i].backup && servers[i].weight;
        *backups += servers[i].backup && servers[i].weight;
    }
    return primaries;
}

/* Whether already one server that is down puts the upstream in panic, so that it gets requests all the same
 * (balancer/group.h). */
static bool always_panics(const struct upstream_settings *u)
{
    size_t backups, primaries = fixed_primaries(u, &backups);
    if (u->panic_threshold <= 0 || (primaries == 0 || (primaries == 1 && backups)))
        return false;
    return (double)(primaries - 1) < u->panic_threshold * (double)primaries;
}

static void check_panic(struct lint *l, const struct upstream_settings *u)
{
    const struct config_node *at = lint_given(u->node, "panic_threshold");
    size_t backups, primaries = fixed_primaries(u, &backups);
    if (!always_panics(u) || !at)
        return;
    const char *mend = primaries == 1 ? "take it out, or add a server"
                                      : arena_printf(&l->c->arena, "lower it to %llu%% or less",
                                                     (unsigned long long)((primaries - 1) * 100 / primaries));
    if (u->health_check)
        lint_warn(l, LINT_CHECK_WITHOUT_EFFECT, at, mend, NULL,
                  "the health check changes nothing: with one server of %zu down, too few are healthy and "
                  "all are used",
                  primaries);
    if (u->outlier)
        lint_warn(
            l, LINT_OUTLIER_WITHOUT_EFFECT, at, mend, NULL,
            "\"outlier\" changes nothing: with one server of %zu out, too few are healthy and all are used",
            primaries);
}

static void check_check(struct lint *l, const struct upstream_settings *u)
{
    const struct check_settings *k = u->health_check;
    const struct config_node *map = lint_given(u->node, "health_check");
    bool all = k->type == CHECK_HTTP;
    for (unsigned status = 200; status <= 599 && all; status++)
        all = status_ranges_contain(&k->expect, status);
    if (all)
        lint_warn(l, LINT_CHECK_WITHOUT_EFFECT, lint_place(map, "expect"),
                  "leave the errors out: [200-399], or say \"type: tcp\" if any answer is good", NULL,
                  "every status is good, also that of a server which fails all requests");
    /* As long is as bad, but who merely halves the interval has not asked for it. */
    if (k->timeout > k->interval || (k->timeout == k->interval && lint_given(map, "timeout")))
        lint_warn(l, LINT_CHECK_INTERVAL,
                  lint_given(map, "timeout") ? lint_given(map, "timeout") : lint_place(map, "interval"),
                  "make the timeout shorter than the interval", NULL,
                  "a check may take %s, and the next is due after %s: a slow server is checked less often "
                  "than that",
                  lint_duration(l, k->timeout), lint_duration(l, k->interval));
}

static void check_outlier(struct lint *l, const struct upstream_settings *u)
{
    const struct outlier_settings *o = u->outlier;
    const struct config_node *map = lint_given(u->node, "outlier");
    if (o->max_ejected <= 0)
        lint_warn(l, LINT_OUTLIER_WITHOUT_EFFECT, lint_place(map, "max_ejected"), "raise it: 50% is usual",
                  NULL, "no server is ever taken out");
    else if (o->errors == 0 && o->latency <= 0)
        lint_warn(l, LINT_OUTLIER_WITHOUT_EFFECT, lint_place(map, "errors"), "say \"errors\" or \"latency\"",
                  NULL, "no server is ever taken out: neither errors nor latency count");
    else if (lint_fixed_servers(u) == 1 && o->max_ejected < 1)
        lint_warn(l, LINT_OUTLIER_WITHOUT_EFFECT, map, "take it out, or add a server", NULL,
                  "the only server is never taken out");
    else if (lint_fixed_servers(u) == 1 && o->errors == 0)
        lint_warn(l, LINT_OUTLIER_WITHOUT_EFFECT, lint_place(map, "latency"),
                  "say \"errors\", or add a server", NULL, "the only server has no others to be slower than");
}

void lint_health(struct lint *l)
{
    for (size_t i = 0; i < l->s->settings.upstreams.count; i++) {
        const struct upstream_settings *u = l->uses[i].settings;
        check_panic(l, u);
        if (u->health_check)
            check_check(l, u);
        if (u->outlier)
            check_outlier(l, u);
    }
}
