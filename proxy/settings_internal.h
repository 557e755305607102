/* What settings.c (the option tables) has for settings_load.c (applying them). */
#pragma once

#include "proxy/settings.h"

extern const struct option_table admin_settings_table;
