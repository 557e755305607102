#include "proxy/failure_log.h"

#include "core/hash.h"
#include "core/log.h"
#include "proxy/worker.h"

static void tell(struct worker *w, const char *event, uint64_t about, struct log_field fields[4])
{
    uint64_t repeated;
    if (!log_enabled(LOG_LEVEL_WARN) ||
        !log_limit_allows(&w->log_limit, event, about, loop_now_us(&w->loop), &repeated))
        return;
    fields[3] = (struct log_field)LOG_U64("repeated", repeated);
    log_write(LOG_LEVEL_WARN, event, fields, repeated ? 4 : 3);
}

void failure_log(struct worker *w, const char *event, const struct server *s, const char *reason)
{
    struct log_field fields[4] = {LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name),
                                  LOG_TEXT("reason", reason)};
    tell(w, event, s->serial, fields);
}

void failure_log_no_server(struct worker *w, const char *event, struct slice listener, struct slice upstream,
                           const char *reason)
{
    struct log_field fields[4] = {LOG_SLICE("listener", listener), LOG_SLICE("upstream", upstream),
                                  LOG_TEXT("reason", reason)};
    tell(w, event, hash_keyed(listener) ^ hash_keyed(upstream) << 1, fields);
}
