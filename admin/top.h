/* `weir top`: the running process's figures, live. */
#pragma once

#include <stdbool.h>

struct top_options {
    unsigned interval_ms; /* between two readings */
    bool once;            /* one table, then the end; also when standard output is no terminal */
    bool json;            /* with once: what top_rates.h tells */
};

/* Takes the path over (NULL: 1 at once). The process's exit status. */
int command_top(char *socket, const struct top_options *o);
