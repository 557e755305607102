/* What was changed by hand (the API) and would be lost with the process: `weir diff` tells it, so that it can
 * be written into the file. */
#include <stdio.h>
#include <stdlib.h>

#include "balancer/discovery.h"
#include "proxy/runtime.h"

/* The file's entry of that address, or NULL. */
static const struct server_settings *entry_of(const struct upstream *u, struct slice address)
{
    const struct server_settings *all = u ? u->settings->servers.at : NULL;
    for (size_t i = 0; u && i < u->settings->servers.count; i++)
        if (slice_equal(all[i].address, address))
            return &all[i];
    return NULL;
}

static void diff_added(FILE *out, const struct upstream *live, const struct upstream *fresh)
{
    const struct source *hand = upstream_hand(live);
    for (size_t i = 0; hand && i < hand->found_count; i++) {
        const struct server_settings *s = &hand->found[i]->settings;
        if (entry_of(fresh, s->address))
            continue;
        fprintf(out, "upstream %.*s: server %.*s was added by hand and is not in the file (weight %llu",
                SLICE_FMT(live->name), SLICE_FMT(s->address), (unsigned long long)s->weight);
        if (s->max_connections)
            fprintf(out, ", max_connections %llu", (unsigned long long)s->max_connections);
        fprintf(out, "%s)\n", s->backup ? ", backup" : "");
    }
}

static void diff_hidden(FILE *out, const struct upstream *live, const struct upstream *fresh)
{
    const struct source *hand = upstream_hand(live);
    size_t count = 0;
    const struct slice *hidden = hand ? hand_hidden(hand, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (entry_of(fresh, hidden[i]))
            fprintf(out, "upstream %.*s: server %.*s was removed by hand and is in the file\n",
                    SLICE_FMT(live->name), SLICE_FMT(hidden[i]));
}

static void diff_set(FILE *out, const struct upstream *live, const struct upstream *fresh)
{
    for (size_t i = 0; i < live->set->count; i++) {
        struct server *s = live->set->servers[i];
        struct server_report r;
        server_report(s, &r);
        if (r.admin != ADMIN_UP)
            fprintf(out, "upstream %.*s: server %.*s is set to %s by hand\n", SLICE_FMT(live->name),
                    SLICE_FMT(s->name), r.admin == ADMIN_DRAIN ? "drain" : "down");
        if (r.weight == r.file_weight)
            continue;
        const struct server_settings *entry = entry_of(fresh, s->name);
        uint64_t weight = entry ? entry->weight : r.file_weight;
        if (r.weight != weight)
            fprintf(out, "upstream %.*s: server %.*s has weight %u by hand, and %llu in the file\n",
                    SLICE_FMT(live->name), SLICE_FMT(s->name), r.weight, (unsigned long long)weight);
    }
}

char *snapshot_diff_all(const struct snapshot *old, struct snapshot *fresh)
{
    char *text = NULL, *file = snapshot_diff(old, fresh);
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out || !file) {
        free(file);
        return strdup("");
    }
    fputs(file, out);
    free(file);
    for (size_t i = 0; i < old->upstream_count; i++) {
        const struct upstream *live = old->upstreams[i], *now = snapshot_upstream(fresh, live->name);
        diff_added(out, live, now);
        diff_hidden(out, live, now);
        diff_set(out, live, now);
    }
    if (fclose(out) != 0) {
        free(text);
        return strdup("");
    }
    return text;
}
