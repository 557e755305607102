/* What the files of active checks share: health.c (when a server is checked, and what the results mean),
 * health_run.c (one check's connection, from its making to its end), health_exchange.c (what a check says on
 * it, and whether the answer is good). */
#pragma once

#include "balancer/check_h2.h"
#include "balancer/check_udp.h"
#include "balancer/flapping.h"
#include "balancer/health.h"
#include "core/conn.h"

struct checker {
    struct checks *checks;
    struct server *server; /* held */
    const struct server_use *use;
    struct timer timer;
    unsigned good, bad; /* results in a row */
    struct flapping flapping;
    struct check_run *run;
};

/* One check. Its end is told to the checker at once; the connection may linger after that, on its own. */
struct check_run {
    uint32_t magic;
    struct checker *checker; /* NULL once it is told */
    struct checks *checks;
    struct list link;
    usec_t began_us;
    uint32_t address_version;
    bool connected;
    struct conn conn;
    struct check_h2 *h2;  /* of a check over HTTP/2, once it is connected */
    struct check_udp udp; /* instead of conn */
    struct task bury;
};

/* health.c */

/* A check of the server has ended so. */
void checker_record(struct checker *k, bool ok, const char *text, usec_t took_us);

/* health_run.c */

void check_run_begin(struct checker *k);
/* Tells the checker. A good one may linger; it is nobody's after that. */
void check_run_end(struct check_run *run, bool ok, const char *text);
/* Closes at once, told or not. */
void check_run_drop(struct check_run *run);

/* health_exchange.c */

/* The protocols that a handshake offers, as tls_client_connect has them. */
struct slice check_run_alpn(const struct server_use *use);
/* The connection is there, its handshake done: what is sent on it. It may have ended after that. */
void check_run_ask(struct check_run *run);
/* Sends what HTTP/2 has to say. */
void check_run_send_h2(struct check_run *run);
/* Whether the bytes decide it: then it has ended. Of HTTP/2, `in` is taken all; else it is the answer from
 * its begin. */
bool check_run_judge(struct check_run *run, struct slice in);
