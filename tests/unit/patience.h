/* How long a test waits: times WEIR_TEST_SCALE, which is more than 1 for a build that is slowed down by its
 * instruments. */
#pragma once

#include <stdlib.h>

static inline unsigned test_scale(void)
{
    const char *text = getenv("WEIR_TEST_SCALE");
    double scale = text ? strtod(text, NULL) : 1;
    return scale > 1 && scale < 1000 ? (unsigned)(scale + 0.5) : 1;
}
