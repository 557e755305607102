/* Bytes as they are written in the file: `\r`, `\n`, `\t`, `\0`, `\\`, `\xHH`; everything else stands for
 * itself. */
#pragma once

#include "core/slice.h"

/* `room` has at least text.len bytes and one more; *out lies in it, a NUL behind it. 0, or -1 with the place
 * of the escape that is none in *bad. */
int escape_decode(struct slice text, char *room, struct slice *out, size_t *bad);

/* The other way, for reasons and logs: as much of it as fits, always NUL-terminated; the length. */
size_t escape_print(struct slice bytes, char *out, size_t size);
