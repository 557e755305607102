/* What people read of a server. */
#include "balancer/server_internal.h"

/* State and reason in words; the hand's word first, then what makes it impossible. */
static void put_state(struct server_report *r, const struct server *s)
{
    r->state = "up";
    if (r->admin == ADMIN_DOWN) {
        r->state = "down";
        server_copy_reason(r->reason, "taken down by hand");
    } else if (r->admin == ADMIN_DRAIN) {
        r->state = "drain";
        server_copy_reason(r->reason, "drained by hand");
    } else if (r->address.len == 0) {
        r->state = "down";
        server_copy_reason(r->reason, s->address_reason);
    } else if (r->health == HEALTH_DOWN) {
        r->state = "down";
        server_copy_reason(r->reason, s->health_reason);
    } else if (s->ejected_until_us) {
        r->state = "ejected";
        server_copy_reason(r->reason, s->ejection_reason);
    } else if (r->weight == 0) {
        r->state = "drain";
        server_copy_reason(r->reason, "its weight is 0");
    }
}

void server_report(struct server *s, struct server_report *out)
{
    *out = (struct server_report){0};
    pthread_mutex_lock(&s->lock);
    out->health = (enum server_health)atomic_load_explicit(&s->health, memory_order_relaxed);
    out->admin = (enum server_admin)atomic_load_explicit(&s->admin, memory_order_relaxed);
    out->usable = server_usable(s);
    out->backup = atomic_load_explicit(&s->backup, memory_order_relaxed);
    out->retired = atomic_load_explicit(&s->retired, memory_order_relaxed);
    out->checked = s->check_us != 0;
    out->check_ok = s->check_ok;
    out->ejected = s->ejected_until_us != 0;
    out->weight = server_wanted_weight(s);
    out->ramp = server_ramp(s);
    out->file_weight = s->file_weight;
    out->max_connections = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
    out->in_flight = server_in_flight(s);
    out->connect_failures = atomic_load_explicit(&s->connect_failures, memory_order_relaxed);
    for (size_t i = 0; i < EJECTIONS; i++)
        out->ejections[i] = atomic_load_explicit(&s->ejections[i], memory_order_relaxed);
    out->changed_us = s->health_changed_us;
    out->check_us = s->check_us;
    out->check_took_us = s->check_took_us;
    server_copy_reason(out->check_text, s->check_text);
    if (atomic_load_explicit(&s->address_version, memory_order_relaxed))
        out->address = s->addresses[s->address_at];
    put_state(out, s);
    pthread_mutex_unlock(&s->lock);
}
