/* A path that a regex matches: made up for simple ones, and looked after with PCRE2. */
#pragma once

#include "import/text.h"

/* NULL when none was found. It begins with a slash. */
const char *regex_sample(struct arena *a, const char *regex, bool nocase);

/* Whether the regex matches somewhere in the text; false too when it is none. */
bool regex_holds(const char *regex, bool nocase, const char *text);
