#include "admin/totals.h"

void totals_add(struct totals *t, const struct route_stats *row)
{
    if (!row)
        return;
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++) {
        uint64_t n = counter_get(&row->statuses[i]);
        t->requests += n;
        t->client_errors += counters_status_text(i)[0] == '4' ? n : 0;
        t->server_errors += counters_status_text(i)[0] == '5' ? n : 0;
    }
    for (unsigned i = 0; i < COUNTERS_DURATIONS; i++)
        t->durations[i] += counter_get(&row->durations[i]);
    t->duration_us += counter_get(&row->duration_us);
}

void totals_add_listener(struct totals *t, const struct stats *s, const struct listener_stats *l)
{
    for (unsigned w = 0; w < s->workers; w++)
        for (uint32_t id = 0; id < s->route_count; id++)
            totals_add(t, stats_peek(l, w, id));
}

json_t *totals_durations_json(const struct totals *t)
{
    json_t *all = json_array();
    for (unsigned i = 0; all && i < COUNTERS_DURATIONS; i++)
        json_array_append_new(
            all, json_pack("[f, I]", (double)counters_duration_bound(i) / 1000, (json_int_t)t->durations[i]));
    return all;
}
