/* The contents of a route's `errors:` pages, read when the file is. */
#pragma once

#include "proxy/http/route.h"

#define PAGE_BYTES_MAX (1u << 20)

/* Fills body and type of each; paths are relative to the directory of the file that names them. Faults are
 * recorded. */
void pages_load(struct config *c, struct route *r);
