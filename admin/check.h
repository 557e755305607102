/* `weir check`: everything that is wrong with a file (errors), and what is hardly meant (warnings), for
 * people and for programs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct check_question {
    const char *file;
    bool strict;              /* warnings count as errors do */
    bool json;                /* for editors and CI */
    const char *const *allow; /* names of rules whose warnings are left out */
    size_t allow_count;
};

/* Prints; the exit status: 0 good, 1 with errors (or, strict, warnings), 2 when `allow` names no rule. */
int command_check(const struct check_question *q);

/* Prints the names of the rules, each with what it means. */
void command_check_rules(void);
