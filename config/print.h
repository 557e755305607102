/* A tree, or one value of it, as text for people. Secrets (config_mark_secrets) are written •••, or as the
 * `${NAME}` that the file has in their place; other values that come from the environment are shown as the
 * file has them, too. */
#pragma once

#include <stdio.h>

#include "config/tree.h"

#define CONFIG_SECRET "•••"

/* The tree as YAML: without comments, with its includes, aliases and merge keys in place. What would be more
 * than `most` bytes is cut, and the text says so. malloc'ed; NULL when out of memory. */
char *config_print(const struct config_node *root, size_t most);

/* A value on one line, cut to about `most` bytes: `30s`, `[a, b]`, `{from: 1}`. */
void config_print_value(FILE *out, const struct config_node *node, size_t most);
