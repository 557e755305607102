/* What the shadow found, in words. */
#include <stdio.h>

#include "cache/shadow.h"

const char *cache_shadow_standing_name(enum cache_shadow_standing standing)
{
    switch (standing) {
    case CACHE_SHADOW_LEARNING:
        return "learning";
    case CACHE_SHADOW_SMALL:
        return "small";
    case CACHE_SHADOW_FITS:
        return "fits";
    case CACHE_SHADOW_READY:
        return "ready";
    }
    return "";
}

/* "512 MiB", "1.5 GiB". */
static void print_size(char *text, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < COUNT_OF(units); unit++)
        value /= 1024;
    snprintf(text, size, value == (double)(uint64_t)value ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

/* To a tenth, and never "-0.0". */
static double rounded(double points)
{
    int tenths = (int)(points * 10 + (points < 0 ? -0.5 : 0.5));
    return tenths / 10.0;
}

size_t cache_shadow_advice(const struct cache_shadow_report *r, char *text)
{
    text[0] = 0;
    if (r->standing != CACHE_SHADOW_READY)
        return 0;
    char memory[32];
    print_size(memory, sizeof memory, r->memory * 2);
    int len =
        snprintf(text, CACHE_SHADOW_ADVICE_MAX, "with %s: %+.1f points; with %s: %+.1f points",
                 r->other_policy, rounded(r->hour.other_points), memory, rounded(r->hour.double_points));
    return len < CACHE_SHADOW_ADVICE_MAX ? (size_t)len : CACHE_SHADOW_ADVICE_MAX - 1;
}
