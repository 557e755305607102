/* What the files of the sandbox share among themselves; nobody else includes it. */
#pragma once

#include "proxy/sandbox.h"

/* sandbox_files.c: 0 and the ABI of the kernel's Landlock in *version, 0 where there is none; or -1 with
 * errno and *why. */
int sandbox_restrict_files(const struct sandbox *sb, int *version, const char **why);

/* sandbox_calls.c: 0 and whether there is a filter now in *filtered; or -1 with errno and *why. */
int sandbox_filter_calls(bool *filtered, const char **why);
