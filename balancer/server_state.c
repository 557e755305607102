/* Whether a server is used, and with which weight: what the file, the hand, checks and outcomes say, in one
 * number. */
#include "balancer/group.h"
#include "balancer/server_internal.h"

#define RAMP_NEXT_TICK UINT64_MAX

/* A server that returns begins with a small share, if its group says so; what its answers took before its
 * failure says nothing any more. */
static void start_slowly(struct server *s)
{
    atomic_store_explicit(&s->ewma, 0, memory_order_relaxed);
    bool slowly = s->group && group_starts_slowly(s->group);
    s->ramp_began_us = slowly ? RAMP_NEXT_TICK : 0;
    atomic_store_explicit(&s->ramp, slowly ? SERVER_RAMP_LEAST : SERVER_WEIGHT_SCALE, memory_order_relaxed);
}

/* The one number that a pick looks at; under the lock. */
void server_update(struct server *s)
{
    bool reachable = atomic_load_explicit(&s->address_version, memory_order_relaxed) != 0 &&
                     atomic_load_explicit(&s->admin, memory_order_relaxed) == ADMIN_UP;
    bool well =
        atomic_load_explicit(&s->health, memory_order_relaxed) != HEALTH_DOWN && s->ejected_until_us == 0;
    bool ready = reachable && well && server_wanted_weight(s) != 0;
    if (ready && !s->ready)
        start_slowly(s);
    if (ready != s->ready && s->group)
        group_stir(s->group);
    s->ready = ready;
    bool usable = reachable && (well || (s->group && group_in_panic(s->group)));
    uint32_t weight = usable ? server_wanted_weight(s) * server_ramp(s) : 0;
    atomic_store_explicit(&s->weight, weight, memory_order_relaxed);
    bool good = atomic_load_explicit(&s->health, memory_order_relaxed) != HEALTH_DOWN || s->check_ok;
    atomic_store_explicit(&s->spare, weight == 0 && reachable && good && server_wanted_weight(s) != 0,
                          memory_order_relaxed);
}

uint32_t server_full_weight(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t weight = server_wanted_weight(s) * SERVER_WEIGHT_SCALE;
    pthread_mutex_unlock(&s->lock);
    return weight;
}

void server_configure(struct server *s, uint32_t weight, uint32_t max_connections, bool backup)
{
    pthread_mutex_lock(&s->lock);
    if (s->file_weight != weight)
        s->hand_weight = -1;
    s->file_weight = weight;
    atomic_store_explicit(&s->max_connections, max_connections, memory_order_relaxed);
    atomic_store_explicit(&s->backup, backup, memory_order_relaxed);
    server_update(s);
    pthread_mutex_unlock(&s->lock);
}

void server_set_weight(struct server *s, int64_t weight)
{
    ASSERT(weight >= -1 && weight <= SERVER_WEIGHT_MAX);
    pthread_mutex_lock(&s->lock);
    s->hand_weight = weight;
    server_update(s);
    pthread_mutex_unlock(&s->lock);
}

void server_set_admin(struct server *s, enum server_admin admin)
{
    pthread_mutex_lock(&s->lock);
    atomic_store_explicit(&s->admin, (uint8_t)admin, memory_order_relaxed);
    if (s->group)
        group_stir(s->group);
    server_update(s);
    pthread_mutex_unlock(&s->lock);
}

bool server_set_health(struct server *s, enum server_health health, const char *reason, int64_t wall_us)
{
    pthread_mutex_lock(&s->lock);
    bool changed = atomic_load_explicit(&s->health, memory_order_relaxed) != health;
    server_copy_reason(s->health_reason, reason);
    if (changed) {
        atomic_store_explicit(&s->health, (uint8_t)health, memory_order_relaxed);
        s->health_changed_us = wall_us;
        server_update(s);
    }
    pthread_mutex_unlock(&s->lock);
    return changed;
}

void server_set_check(struct server *s, bool ok, const char *text, usec_t took_us, int64_t wall_us)
{
    pthread_mutex_lock(&s->lock);
    s->check_ok = ok;
    s->check_us = wall_us;
    s->check_took_us = took_us;
    server_copy_reason(s->check_text, text);
    server_update(s);
    pthread_mutex_unlock(&s->lock);
}

/* Ejection and slow start. */

bool server_eject(struct server *s, usec_t now_us, usec_t us, enum ejection why, const char *reason)
{
    pthread_mutex_lock(&s->lock);
    bool done = s->ejected_until_us == 0 && !atomic_load_explicit(&s->retired, memory_order_relaxed);
    if (done) {
        s->ejected_until_us = now_us + us;
        atomic_store_explicit(&s->ejected, true, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->ejections[why], 1, memory_order_relaxed);
        server_copy_reason(s->ejection_reason, reason);
        server_update(s);
    }
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* Under the lock. */
static bool readmit(struct server *s, usec_t now_us)
{
    if (s->ejected_until_us == 0)
        return false;
    s->ejected_until_us = 0;
    s->ejection_over_us = now_us;
    group_ejection_over(s->group);
    atomic_store_explicit(&s->ejected, false, memory_order_relaxed);
    atomic_store_explicit(&s->errors_in_row, 0, memory_order_relaxed);
    server_update(s);
    return true;
}

bool server_readmit(struct server *s, usec_t now_us)
{
    pthread_mutex_lock(&s->lock);
    bool done = readmit(s, now_us);
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* The share grows evenly until the time is over. Under the lock. */
static void go_on_slowly(struct server *s, usec_t now_us)
{
    usec_t whole = (usec_t)group_slow_start(s->group) * 1000;
    if (s->ramp_began_us == RAMP_NEXT_TICK)
        s->ramp_began_us = now_us;
    usec_t passed = now_us - s->ramp_began_us;
    uint32_t ramp = SERVER_WEIGHT_SCALE;
    if (passed < whole)
        ramp = (uint32_t)(passed * SERVER_WEIGHT_SCALE / whole);
    else
        s->ramp_began_us = 0;
    atomic_store_explicit(&s->ramp, ramp < SERVER_RAMP_LEAST ? SERVER_RAMP_LEAST : ramp,
                          memory_order_relaxed);
}

bool server_tick(struct server *s, usec_t now_us, bool *readmitted)
{
    pthread_mutex_lock(&s->lock);
    bool over = s->ejected_until_us != 0 && now_us >= s->ejected_until_us && readmit(s, now_us);
    if (s->ramp_began_us)
        go_on_slowly(s, now_us);
    server_update(s);
    bool waiting = s->ejected_until_us != 0 || s->ramp_began_us != 0;
    pthread_mutex_unlock(&s->lock);
    if (readmitted)
        *readmitted = over;
    return waiting;
}

enum server_standing server_standing(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    bool wanted =
        server_wanted_weight(s) != 0 && atomic_load_explicit(&s->admin, memory_order_relaxed) == ADMIN_UP;
    enum server_standing standing = s->ready ? STANDING_READY : wanted ? STANDING_UNWELL : STANDING_UNWANTED;
    pthread_mutex_unlock(&s->lock);
    return standing;
}

void server_join(struct server *s, struct server_group *g)
{
    pthread_mutex_lock(&s->lock);
    if (!s->group)
        s->group = group_hold(g); /* else it was away for a while: its upstream's group is the same */
    if (s->ready)
        start_slowly(s);
    group_stir(g);
    server_update(s);
    pthread_mutex_unlock(&s->lock);
}
