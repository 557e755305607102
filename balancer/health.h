/* Active health checks: one checker for each server that has a check, on the control thread's loop. Every
 * `interval`, give or take a tenth and starting at a random point, so that many do not beat together:
 *
 *  - http: GET path over the server's transport, in the protocol that the upstream speaks; good when the
 *    status is one of `expect`. Only the status is read, bounded.
 *  - tcp: connect; then `send` if given; good when the answer begins with `receive`, or without one when
 *    connected and sent.
 *  - tls: a TLS handshake, verified as the upstream's `tls` says (without it: the handshake alone).
 *  - grpc: grpc.health.v1 over HTTP/2 (check_grpc.h), under TLS with ALPN.
 *  - udp: a datagram and its answer (check_udp.h).
 *
 * A check that is not over after `timeout` has failed. `fall` failures in a row take the server down, `rise`
 * successes take it back - more of them when it flaps (flapping.h) -; both are logged with the reason. A
 * server that has no address yet is not checked.
 */
#pragma once

#include "balancer/registry.h"

struct checker;

struct checks {
    struct loop *loop;
    unsigned tls_worker;
    uint64_t random;
    struct list runs; /* checks under way, those that only linger included */
    /* Health changed; may be NULL. */
    void (*changed)(struct server *s, void *argument);
    void *argument;
};

void checks_init(struct checks *c, struct loop *l, unsigned tls_worker,
                 void (*changed)(struct server *, void *), void *argument);
/* After every checker is freed: closes what lingers. */
void checks_close(struct checks *c);

/* The server is held; `use` must stay until checker_update or checker_free. NULL when out of memory. */
struct checker *checker_create(struct checks *c, struct server *s, const struct server_use *use);
/* Other settings: the health stays, a check under way is dropped and counts for nothing. */
void checker_update(struct checker *k, const struct server_use *use);
void checker_free(struct checker *k);
