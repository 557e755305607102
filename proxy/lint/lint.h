/* What is valid in a configuration, but hardly what its author wants: routes that no request reaches, limits
 * that contradict each other, certificates that do not fit, settings without effect. Found by looking at the
 * snapshot that was built; nothing is changed, and of the outside only files and the clock are asked.
 *
 * Every warning belongs to a rule (lint_rules): it has its name, its place in the file, the way to mend it
 * and, where a request can show it, an example: the arguments of `weir explain`. Only what is certain from
 * the file is warned of; what is merely unusual is not.
 *
 *     routes.c, reach.c, probe.c   routes that requests reach, or not
 *     redirects.c                  redirects that lead back to themselves
 *     timeouts.c                   limits in time
 *     upstream_tls.c               TLS to servers
 *     certificates.c, hosts.c      certificates of listeners, and the hosts that they cover
 *     upstreams.c, health.c        settings of upstreams and of their checks
 *     uses.c                       who sends to which upstream
 *     edges.c                      listeners, clients' addresses, the admin interface */
#pragma once

#include "proxy/snapshot.h"

struct lint_rule {
    const char *name;
    const char *help; /* one line */
};

/* In the order of the documentation (docs/check.md). */
extern const struct lint_rule lint_rules[];
extern const size_t lint_rule_count;

/* Adds the warnings to s->config. Only for a snapshot without errors. `now`: seconds since the epoch. */
void lint_snapshot(struct snapshot *s, int64_t now);
