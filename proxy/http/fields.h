/* Changing the fields of a message: adding, and taking out what is between two hops only. */
#pragma once

#include "core/arena.h"
#include "proxy/http/message.h"

/* Appends; moves the array into the arena when it is full. 0, or -1 when out of memory. */
int fields_add(struct arena *a, struct fields *f, enum field_id id, struct slice name, struct slice value);

/* Takes out every field of that id. */
void fields_remove(struct fields *f, enum field_id id);
/* Likewise of that name, in any case. */
void fields_remove_name(struct fields *f, struct slice name);

/* Takes out what RFC 9110 §7.6.1 keeps between two hops: Connection and what it names, Keep-Alive,
 * Proxy-Connection, TE, Transfer-Encoding, Upgrade. */
void fields_strip_hop_by_hop(struct fields *f);

/* The parameter `timeout` of a Keep-Alive field (RFC 2068 §19.7.1.1), at most a day. False when there is none
 * that can be read. Its `max` needs no look: the last answer says Connection: close. */
#define KEEP_ALIVE_TIMEOUT_MAX 86400u
bool keep_alive_timeout(struct slice value, uint32_t *seconds);
