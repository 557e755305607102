/* File descriptors (RLIMIT_NOFILE): a connection needs one, and one to its server. */
#include <stdio.h>
#include <sys/resource.h>

#include "core/log.h"
#include "proxy/runtime_internal.h"

#define SPARE   1024  /* for all that is not a client's */
#define NO_WORD 65536 /* connections of a listener that is given no limit */

/* What the listeners may need: all of them together, and the one that needs most. */
static uint64_t wanted_by(const struct snapshot *s, uint64_t *largest)
{
    uint64_t sum = 0;
    *largest = 0;
    for (size_t i = 0; i < s->listener_count; i++) {
        uint64_t connections = s->listeners[i].settings->limits.connections;
        uint64_t most = connections ? connections : NO_WORD;
        most = most > 1u << 24 ? 1u << 24 : most;
        most *= s->listeners[i].protocol == LISTENER_UDP ? 1 : 2;
        sum += most;
        *largest = most > *largest ? most : *largest;
    }
    *largest += SPARE;
    return sum + SPARE;
}

/* Past it nobody gets more (proc(5)). */
static uint64_t most_of_all(void)
{
    unsigned long long most = 0;
    FILE *f = fopen("/proc/sys/fs/nr_open", "re");
    if (f && fscanf(f, "%llu", &most) != 1)
        most = 0;
    if (f)
        fclose(f);
    return most;
}

void raise_descriptor_limit(const struct snapshot *s)
{
    struct rlimit limit;
    uint64_t largest = 0, wanted = s ? wanted_by(s, &largest) : 0, most = s ? most_of_all() : 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    wanted = wanted > most ? most : wanted;
    if (wanted > limit.rlim_max) {
        struct rlimit more = {.rlim_cur = wanted, .rlim_max = wanted};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < largest)
        log_warn("too few file descriptors for as many connections as limits.connections allows; the system "
                 "gives no more (LimitNOFILE= in a unit, ulimit -Hn)",
                 LOG_U64("descriptors", limit.rlim_max), LOG_U64("wanted", largest));
}
