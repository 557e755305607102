/* Media types by a file name's ending. */
#pragma once

#include "core/slice.h"

/* The value of Content-Type, with a charset where the type is text; application/octet-stream when it is not
 * known. */
struct slice mime_type(struct slice path);
