/* What the files of an upstream's options share: settings.c (the upstream), settings_server.c (its servers),
 * settings_check.c (health checks). */
#pragma once

#include "balancer/settings.h"

extern const struct option_table health_check_table;

/* Where the key's value stands; the node itself where it does not say it. */

static inline const struct config_node *settings_key_or(const struct config_node *node, const char *key)
{
    const struct config_node *value = node && node->kind == NODE_MAP ? config_get(node, key) : NULL;
    return value ? value : node;
}
