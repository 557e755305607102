/* What `weir explain` says of an upstream: its servers, which of them are candidates and how they stand, and
 * what the policy would do now (explain_pick.h). */
#pragma once

#include "admin/explain_text.h"

/* One server, as it is now. */
struct explained_server {
    struct server *server;
    const char *source; /* "file", "dns api.internal:8000", "hand" */
    const char *state;  /* "up", …; NULL = of a file, where nothing is known */
    const char *reason; /* why it is not up, or why it is passed over all the same; "" = nothing to say */
    const char *score;  /* by what the policy compares it, "2.50 in flight a weight"; NULL = by nothing */
    const char *zone;   /* NULL = none */
    size_t tier;        /* from 0: asked in this order */
    uint32_t weight, in_flight, max_connections;
    bool backup;
};

struct explained_servers {
    struct explained_server *at;
    size_t count, tiers;
};

/* 0, or -1 when out of memory. */
int explain_servers(const struct upstream *u, struct arena *a, struct explained_servers *out);

/* What is going on with all of them: "panic: …", "breaker open", "2 wait in the queue", each in a text; the
 * number of texts. Nothing of a file. */
size_t explain_upstream_notes(const struct upstream *u, struct arena *a, const char *notes[8]);

/* Everything of it, behind its name. */
void explain_upstream_print(const struct explained *e, const struct upstream *u, FILE *out);
