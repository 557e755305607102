/* The tables of `weir top`, from what top_rates() gives. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum top_sort { TOP_BY_REQUESTS, TOP_BY_ERRORS, TOP_BY_TIME, TOP_BY_OPEN, TOP_BY_NAME, TOP_SORTS };

struct top_view {
    enum top_sort sort;
    unsigned width, height; /* of the terminal; 0 = no bound, and no escapes */
    bool paused;
    const char *message; /* in place of the line about keys; NULL = none */
};

/* Orders the rows of each table: the most first, equals by name. */
void top_order(json_t *rates, enum top_sort sort);

/* Prints at most `height` lines of `width` columns; with a bound, each line but the last ends so that what
 * stood there before is gone. Text of the API cannot move the cursor. */
void top_print(const json_t *rates, const struct top_view *v, FILE *out);
