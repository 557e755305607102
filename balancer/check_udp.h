/* A health check by datagrams: `send` goes to the server, and its answer must begin with `receive`. Without
 * `receive` any answer is good, and so is silence, as of servers that only take: a check then fails when the
 * server's machine refuses the datagram (ICMP). */
#pragma once

#include "balancer/settings.h"
#include "core/address.h"
#include "core/loop.h"

struct check_udp {
    struct loop *loop;
    const struct check_settings *settings;
    struct event event;
    struct timer timer;
    int fd; /* connected to the server */
    bool open;
    void (*done)(struct check_udp *, bool ok, const char *text);
};

/* Begins; done() follows once, never from inside, unless it is closed before. `header` goes ahead of what is
 * sent (the PROXY header). 0, or -1 with errno. */
int check_udp_begin(struct check_udp *c, struct loop *l, const struct address *to,
                    const struct check_settings *settings, struct slice header,
                    void (*done)(struct check_udp *, bool ok, const char *text));
/* Idempotent; one that was never begun is all zero. */
void check_udp_close(struct check_udp *c);
