#include "proxy/http/h2/abuse.h"

#define UPDATES_A_FRAME 4u
#define BYTES_AN_UPDATE 4u         /* a message of gRPC has five at least */
#define UPDATES_MAX     (1u << 18) /* paid ahead */

static const struct {
    const char *name;
    uint32_t brim, a_second;
} kinds[H2_ABUSE_KINDS] = {
    [H2_ABUSE_RESET] = {"rapid_reset", 200, 50},
    [H2_ABUSE_CONTINUATION] = {"continuation", 200, 50},
    [H2_ABUSE_PING] = {"ping", 500, 100},
    [H2_ABUSE_SETTINGS] = {"settings", 50, 10},
    [H2_ABUSE_EMPTY_DATA] = {"empty_data", 100, 20},
    [H2_ABUSE_WINDOW] = {"window_update", 2000, 500},
    [H2_ABUSE_TINY_WINDOW] = {"tiny_window", 1000, 100},
    [H2_ABUSE_PRIORITY] = {"priority", 500, 100},
    [H2_ABUSE_HEADERS] = {"headers", 20, 2},
};

static void leak(struct h2_abuse *a, msec_t now)
{
    msec_t seconds = (now - a->leaked_at) / 1000;
    if (seconds == 0)
        return;
    a->leaked_at += seconds * 1000;
    for (unsigned i = 0; i < H2_ABUSE_KINDS; i++) {
        uint64_t gone = seconds * kinds[i].a_second;
        a->level[i] = gone < a->level[i] ? a->level[i] - (uint32_t)gone : 0;
    }
}

bool h2_abuse_count(struct h2_abuse *a, enum h2_abuse_kind kind, msec_t now)
{
    leak(a, now);
    if (kind == H2_ABUSE_WINDOW && a->updates) {
        a->updates--;
        return false;
    }
    return ++a->level[kind] > kinds[kind].brim;
}

/* What is left of n once it has been taken off the level. */
static uint32_t take_off(struct h2_abuse *a, enum h2_abuse_kind kind, uint32_t n)
{
    uint32_t taken = n < a->level[kind] ? n : a->level[kind];
    a->level[kind] -= taken;
    return n - taken;
}

void h2_abuse_sent(struct h2_abuse *a, size_t length)
{
    uint32_t pays = UPDATES_A_FRAME + (uint32_t)length / BYTES_AN_UPDATE;
    a->updates += take_off(a, H2_ABUSE_WINDOW, pays);
    if (a->updates > UPDATES_MAX)
        a->updates = UPDATES_MAX;
    take_off(a, H2_ABUSE_PING, 1);
}

const char *h2_abuse_name(enum h2_abuse_kind kind)
{
    return (unsigned)kind < H2_ABUSE_KINDS ? kinds[kind].name : "";
}
