#include "admin/totals.h"

void totals_add(struct totals *t, const struct route_stats *row)
{
    if (!row)
        return;
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++) {
        uint64_t n = counter_get(&row->statuses[i]);
        t->statuses[i] += n;
        t->requests += n;
        t->client_errors += counters_status_text(i)[0] == '4' ? n : 0;
        t->server_errors += counters_status_text(i)[0] == '5' ? n : 0;
    }
    for (unsigned i = 0; i < COUNTERS_FINE; i++)
        t->fine[i] += counter_get(&row->fine[i]);
    t->duration_us += counter_get(&row->duration_us);
}

void totals_add_listener(struct totals *t, const struct stats *s, const struct listener_stats *l)
{
    for (unsigned w = 0; w < s->workers; w++)
        for (uint32_t id = 0; id < s->route_count; id++)
            totals_add(t, stats_peek(l, w, id));
}

void totals_of_route(struct totals *t, const struct stats *s, uint32_t id)
{
    *t = (struct totals){0};
    for (const struct listener_stats *l = s->listeners; l; l = l->next)
        for (unsigned w = 0; w < s->workers; w++)
            totals_add(t, stats_peek(l, w, id));
}

uint64_t totals_route_requests(const struct stats *s, uint32_t id)
{
    uint64_t sum = 0;
    for (const struct listener_stats *l = s->listeners; l; l = l->next) {
        for (unsigned w = 0; w < s->workers; w++) {
            const struct route_stats *row = stats_peek(l, w, id);
            for (unsigned i = 0; row && i < COUNTERS_STATUSES; i++)
                sum += counter_get(&row->statuses[i]);
        }
    }
    return sum;
}

uint64_t totals_server_errors(const uint64_t statuses[COUNTERS_STATUSES])
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++)
        if (counters_status_text(i)[0] == '5')
            sum += statuses[i];
    return sum;
}

json_t *totals_durations_json(const uint64_t fine[COUNTERS_FINE])
{
    json_t *all = json_array();
    for (unsigned i = 0; all && i < COUNTERS_FINE; i++)
        json_array_append_new(
            all, json_pack("[f, I]", (double)counters_fine_bound(i) / 1000, (json_int_t)fine[i]));
    return all;
}
