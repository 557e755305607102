#include "proxy/http/h2/abuse.h"

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
    return ++a->level[kind] > kinds[kind].brim;
}

void h2_abuse_allow(struct h2_abuse *a, enum h2_abuse_kind kind, uint32_t n)
{
    a->level[kind] = n < a->level[kind] ? a->level[kind] - n : 0;
}

const char *h2_abuse_name(enum h2_abuse_kind kind)
{
    return (unsigned)kind < H2_ABUSE_KINDS ? kinds[kind].name : "";
}
