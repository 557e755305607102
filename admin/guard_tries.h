/* How often clients may try tokens: of each address (IPv6: of each /64) GUARD_TRIES at once and one a second
 * after that. Who has used them up is not listened to, whatever he shows, so that a token cannot be guessed
 * faster; the control socket asks for none and stays a way in. Bounded: of more than GUARD_TRIES_SLOTS
 * addresses the one is forgotten whose tries have come back furthest.
 *
 * One of the last few wrong tokens shown again is no guess and takes no try: a script or a page that goes on
 * with an old token locks nobody out who comes from the same address. */
#pragma once

#include "core/address.h"
#include "core/base.h"

#define GUARD_TRIES       20
#define GUARD_TRY_US      1000000
#define GUARD_TRIES_SLOTS 256u
#define GUARD_TRIES_KNOWN 4u

/* Cleared at the start. */
struct guard_tries {
    struct guard_tries_slot {
        struct ip ip;                         /* without its port, and of IPv6 the first half */
        usec_t restored_us;                   /* when all its tries have come back; 0 = free */
        uint8_t shown[GUARD_TRIES_KNOWN][32]; /* SHA-256 of the last wrong tokens, in turn */
        unsigned next;
    } at[GUARD_TRIES_SLOTS];
};

/* Whether the address has a try left. */
bool guard_tries_left(const struct guard_tries *t, const struct ip *ip, usec_t now_us);
/* `token`, which was shown, is wrong. */
void guard_tries_count(struct guard_tries *t, const struct ip *ip, struct slice token, usec_t now_us);
