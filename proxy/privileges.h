/* Becoming an ordinary user after binding, when started as root: everything is given up but the right to bind
 * ports under 1024, which a reload may need. */
#pragma once

#include "core/slice.h"

/* All threads of the process change. 0 (also when not root: nothing to give up), or -1 with *why (static) and
 * errno. */
int privileges_drop(struct slice user, const char **why);
