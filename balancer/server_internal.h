/* What the files of a server share: server.c (its life, requests in flight, address), server_ids.c (its
 * number), server_state.c (whether it is used, and with which weight), server_report.c (what people read). */
#pragma once

#include <stdio.h>

#include "balancer/server.h"

static inline uint32_t server_wanted_weight(const struct server *s)
{
    return s->hand_weight >= 0 ? (uint32_t)s->hand_weight : s->file_weight;
}

static inline void server_copy_reason(char *to, const char *from)
{
    snprintf(to, SERVER_REASON_MAX, "%s", from ? from : "");
}

/* server_ids.c: the lowest number that is free, which holds the numbers until it is given back; none to give
 * back is well. */
void server_ids_give(struct server_ids *ids, struct server *s);
void server_ids_take_back(struct server *s);

/* server_state.c: the one number that a pick looks at; under the lock. */
void server_update(struct server *s);
