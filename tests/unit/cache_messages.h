/* Requests and responses for the cache's rules, written as texts: "\n" between the lines of a field, "@-60"
 * for the date a minute before NOW. */
#pragma once

#include <stdlib.h>
#include <time.h>

#include "cache/rules.h"

#define NOW       1700000000
#define LINES_MAX 8

/* The lines of one field, and where they are kept. */
struct lines_text {
    char text[512];
    struct slice at[LINES_MAX];
};

static inline struct slice date_text(struct slice line, char *at, size_t room)
{
    time_t when = NOW + strtol(line.at + 1, NULL, 10);
    struct tm tm;
    gmtime_r(&when, &tm);
    return slice_of(at, strftime(at, room, "%a, %d %b %Y %H:%M:%S GMT", &tm));
}

/* NULL: the field is not there. */
static inline struct cache_lines lines_of(const char *value, struct lines_text *keep)
{
    struct cache_lines lines = {keep->at, 0};
    struct slice rest = slice_text(value);
    size_t used = 0;
    if (!value)
        return lines;
    for (;;) {
        size_t end = slice_find(rest, '\n');
        struct slice line = slice_of(rest.at, end);
        if (line.len && line.at[0] == '@') {
            line = date_text(line, keep->text + used, sizeof keep->text - used);
            used += line.len;
        }
        ASSERT(lines.count < LINES_MAX);
        keep->at[lines.count++] = line;
        if (end == rest.len)
            return lines;
        rest = slice_skip(rest, end + 1);
    }
}
