/* What a request is matched by, in one spelling: the path normalised once (RFC 3986 §6.2.2) and the host
 * without case, port and trailing dot. What was matched is what is sent.
 *
 * A path:
 *   - `%` and two hex digits: the digits become capitals; an unreserved character (RFC 3986 §2.3) is decoded;
 *     every other octet stays encoded, `%2F` too, which is never a slash. A `%` without two digits and `%00`
 * are refused.
 *   - `.` and `..` segments are removed (§5.2.4), encoded ones too; one that climbs above the root is
 * refused.
 *   - Slashes are not merged: an empty segment is a segment. `/a//..` is `/a/`. */
#pragma once

#include "core/arena.h"
#include "core/slice.h"

/* Why a path is refused; each is a 400 but TARGET_NO_MEMORY. */
enum target_fault {
    TARGET_BAD_ESCAPE = -1, /* `%` without two hex digits, or %00 */
    TARGET_ABOVE_ROOT = -2,
    TARGET_NO_MEMORY = -3, /* 500 */
    TARGET_NO_SLASH = -4,
};

/* `path` begins with "/", or is "*" or empty (OPTIONS *, CONNECT), which stay as they are. 0 with *out: the
 * same slice, not copied, when it is normal already; otherwise from the arena. A negative enum target_fault
 * otherwise. */
int target_normalise(struct arena *arena, struct slice path, struct slice *out);

/* A path as a person writes it in a file: what no target may hold (CTL, space, `"`, "<", ">", octets past
 * 0x7E) is encoded first. A "?" and a
 * "#" too: they are part of the path here. */
int target_from_text(struct arena *arena, struct slice text, struct slice *out);

/* Static text for logs. */
const char *target_fault_text(int fault);

/* `Example.COM.:8080` gives `example.com`; `[::1]:80` gives `[::1]`. The bytes themselves where no letter is
 * a capital, else a copy from the arena ({NULL, 0} when out of memory). */
struct slice host_normalise(struct arena *arena, struct slice host);

/* The digits behind the host's colon; empty when there are none. */
struct slice host_port(struct slice host);
