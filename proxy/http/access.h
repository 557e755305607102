/* allow and deny of a route: which client addresses may use it. The longest network that holds the address
 * decides, deny where both have it; an address in neither is let in, unless there is an allow list alone. */
#pragma once

#include "config/option.h"
#include "core/address.h"

struct access_rules {
    struct cidr_set allow, deny;
};

/* Into c's arena; 0, or -1 with faults. */
int access_compile(struct config *c, const struct option_texts *allow, const struct option_texts *deny,
                   struct access_rules *out);

static inline bool access_is_open(const struct access_rules *a)
{
    return a->allow.count == 0 && a->deny.count == 0;
}

bool access_allows(const struct access_rules *a, const struct ip *client);
