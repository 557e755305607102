#include "core/log_limit.h"

#define WAYS 8u

static struct log_limit_slot *find(struct log_limit *l, const char *event, uint64_t about)
{
    uint64_t hash = ((uint64_t)(uintptr_t)event ^ about * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
    struct log_limit_slot *set = &l->at[(hash >> 32) % (LOG_LIMIT_SLOTS / WAYS) * WAYS], *oldest = set;
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].event == event && set[i].about == about)
            return &set[i];
        if (oldest->event && (!set[i].event || set[i].told_us < oldest->told_us))
            oldest = &set[i];
    }
    *oldest = (struct log_limit_slot){.about = about};
    return oldest;
}

bool log_limit_allows(struct log_limit *l, const char *event, uint64_t about, usec_t now_us,
                      uint64_t *repeated)
{
    struct log_limit_slot *s = find(l, event, about);
    if (s->event && now_us - s->told_us < LOG_LIMIT_US) {
        s->left_out++;
        return false;
    }
    *repeated = s->left_out;
    s->event = event;
    s->told_us = now_us;
    s->left_out = 0;
    return true;
}
