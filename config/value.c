/* The readers of single values. Each says what it expected, and how that is written. */
#include "config/option_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define DURATION_MAX 3155760000000.0    /* a hundred years, so that sums of times cannot overflow */
#define SIZE_LIMIT   9007199254740992.0 /* 2^53: as a double it is still exact */

static const char DURATION_EXAMPLE[] = "500ms, 10s, 5m, 1h or 1d";
static const char SIZE_EXAMPLE[] = "64k, 16KiB, 8MiB or 1GiB";

int value_fault(struct config *c, const struct config_node *node, const char *expected, const char *example)
{
    config_fault(c, node, "expected %s, written %s; found %s", expected, example, node_describe(c, node));
    return -1;
}

static bool is_word(struct slice text, const char *lower, const char *title, const char *upper)
{
    return slice_equal(text, slice_text(lower)) || slice_equal(text, slice_text(title)) ||
           slice_equal(text, slice_text(upper));
}

int value_as_bool(const struct config_node *node)
{
    if (node->kind != NODE_SCALAR || node->quoted)
        return -1;
    if (is_word(node->text, "true", "True", "TRUE"))
        return 1;
    return is_word(node->text, "false", "False", "FALSE") ? 0 : -1;
}

/* What somebody who writes YAML 1.1, or quotes, will have meant. */
static const char *meant_bool(struct slice text)
{
    static const char *const yes[] = {"true", "yes", "on", "y", "1", "enable", "enabled"};
    static const char *const no[] = {"false", "no", "off", "n", "0", "disable", "disabled"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        if (slice_equal_nocase(text, slice_text(yes[i])))
            return "true";
        if (slice_equal_nocase(text, slice_text(no[i])))
            return "false";
    }
    static const char *const words[] = {"true", "false"};
    return config_suggest(text, words, COUNT_OF(words));
}

int option_bool(struct config *c, const struct config_node *node, bool *out)
{
    int value = value_as_bool(node);
    if (value >= 0) {
        *out = value;
        return 0;
    }
    if (node->kind != NODE_SCALAR)
        return value_fault(c, node, "true or false", "true or false");
    const char *meant = meant_bool(node->text);
    config_fault(c, node, "%s is %s; write true or false, without quotes%s%s%s", config_quote(c, node->text),
                 node->quoted ? "a text" : "no boolean", meant ? "; did you mean " : "", meant ? meant : "",
                 meant ? "?" : "");
    return -1;
}

/* Digits with at most one point between them; no sign, no exponent. What was used, or 0. */
static size_t decimal(struct slice text, bool fraction, double *out)
{
    char digits[32];
    size_t n = 0, points = 0;
    while (n < text.len && n < sizeof digits - 1 &&
           ((text.at[n] >= '0' && text.at[n] <= '9') || (fraction && text.at[n] == '.' && n && !points))) {
        points += text.at[n] == '.';
        digits[n] = text.at[n];
        n++;
    }
    if (!n || digits[n - 1] == '.' || n == sizeof digits - 1)
        return 0;
    digits[n] = 0;
    *out = strtod(digits, NULL);
    return n;
}

static bool is_negative(const struct config_node *node, bool fraction)
{
    double ignored;
    return node->kind == NODE_SCALAR && node->text.len > 1 && node->text.at[0] == '-' &&
           decimal(slice_skip(node->text, 1), fraction, &ignored) > 0;
}

void unit_write(enum unit unit, double value, char *to, size_t size)
{
    static const struct {
        double value;
        const char *name;
    } durations[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
      sizes[] = {{1073741824, "GiB"}, {1048576, "MiB"}, {1024, "KiB"}};

    if (unit == UNIT_SHARE) {
        snprintf(to, size, "%.12g%%", value * 100);
        return;
    }
    for (size_t i = 0; unit == UNIT_DURATION && value > 0 && i < COUNT_OF(durations); i++)
        if ((double)(uint64_t)(value / durations[i].value) * durations[i].value == value) {
            snprintf(to, size, "%.0f%s", value / durations[i].value, durations[i].name);
            return;
        }
    for (size_t i = 0; unit == UNIT_SIZE && value > 0 && i < COUNT_OF(sizes); i++)
        if ((double)(uint64_t)(value / sizes[i].value) * sizes[i].value == value) {
            snprintf(to, size, "%.0f%s", value / sizes[i].value, sizes[i].name);
            return;
        }
    snprintf(to, size, "%.15g", value);
}

int unit_check(struct config *c, const struct config_node *node, enum unit unit, double value, double min,
               double max)
{
    char limit[64];
    if (value < min) {
        unit_write(unit, min, limit, sizeof limit);
        config_fault(c, node, "%s is too %s (at least %s)", node_describe(c, node),
                     unit == UNIT_DURATION ? "short" : "small", limit);
        return -1;
    }
    if (max > 0 && value > max) {
        unit_write(unit, max, limit, sizeof limit);
        config_fault(c, node, "%s is too %s (at most %s)", node_describe(c, node),
                     unit == UNIT_DURATION ? "long" : "large", limit);
        return -1;
    }
    return 0;
}

int option_count(struct config *c, const struct config_node *node, double min, double max, uint64_t *out)
{
    uint64_t value;
    if (is_negative(node, false))
        return unit_check(c, node, UNIT_NONE, -1, min > 0 ? min : 0, max);
    if (node->kind != NODE_SCALAR || slice_to_u64(node->text, &value))
        return value_fault(c, node, "a whole number", "with digits alone, like 100");
    if (unit_check(c, node, UNIT_NONE, (double)value, min, max > 0 ? max : SIZE_LIMIT))
        return -1;
    *out = value;
    return 0;
}

int option_number(struct config *c, const struct config_node *node, bool percent, double min, double max,
                  double *out)
{
    enum unit unit = percent ? UNIT_SHARE : UNIT_NONE;
    double value = 0;
    if (is_negative(node, true))
        return unit_check(c, node, unit, -1, min > 0 ? min : 0, max);
    size_t used = node->kind == NODE_SCALAR ? decimal(node->text, true, &value) : 0;
    bool has_sign = percent && used && used + 1 == node->text.len && node->text.at[used] == '%';
    if (!used || used + has_sign != node->text.len)
        return percent ? value_fault(c, node, "a share", "20% or 0.2")
                       : value_fault(c, node, "a number", "like 10 or 0.5");
    if (has_sign)
        value /= 100;
    if (unit_check(c, node, unit, value, min, max))
        return -1;
    *out = value;
    return 0;
}

struct unit_name {
    struct slice name;
    double factor;
};

/* The number before one of the units; -1 when the text has another form. `fold`: case does not count. */
static int quantity(struct slice text, const struct unit_name *units, size_t count, bool fold, double *out)
{
    double number;
    size_t used = decimal(text, false, &number);
    struct slice unit = slice_skip(text, used);
    for (size_t i = 0; used && i < count; i++)
        if (fold ? slice_equal_nocase(unit, units[i].name) : slice_equal(unit, units[i].name)) {
            *out = number * units[i].factor;
            return 0;
        }
    return -1;
}

int option_duration(struct config *c, const struct config_node *node, msec_t *out)
{
    static const struct unit_name units[] = {
        {SLICE("ms"), 1}, {SLICE("s"), 1e3}, {SLICE("m"), 6e4}, {SLICE("h"), 3.6e6}, {SLICE("d"), 8.64e7}};
    double value = 0, bare = 0;
    if (node->kind != NODE_SCALAR)
        return value_fault(c, node, "a duration", DURATION_EXAMPLE);
    if (quantity(node->text, units, COUNT_OF(units), false, &value)) {
        size_t used = decimal(node->text, false, &bare);
        if (!used || used != node->text.len || bare > 0) {
            if (used && used == node->text.len)
                config_fault(c, node, "a duration needs a unit, written %s; did you mean \"%.*ss\"?",
                             DURATION_EXAMPLE, SLICE_FMT(node->text));
            else
                value_fault(c, node, "a duration", DURATION_EXAMPLE);
            return -1;
        }
    }
    if (unit_check(c, node, UNIT_DURATION, value, 0, DURATION_MAX))
        return -1;
    *out = (msec_t)value;
    return 0;
}

int option_size(struct config *c, const struct config_node *node, uint64_t *out)
{
    static const struct unit_name units[] = {
        {SLICE(""), 1},       {SLICE("k"), 1024},      {SLICE("m"), 1048576},     {SLICE("g"), 1073741824},
        {SLICE("KiB"), 1024}, {SLICE("MiB"), 1048576}, {SLICE("GiB"), 1073741824}};
    static const struct unit_name decimal_units[] = {{SLICE("kb"), 'K'}, {SLICE("mb"), 'M'},
                                                     {SLICE("gb"), 'G'}, {SLICE("ki"), 'K'},
                                                     {SLICE("mi"), 'M'}, {SLICE("gi"), 'G'}};
    double value = 0;
    if (node->kind != NODE_SCALAR)
        return value_fault(c, node, "a size", SIZE_EXAMPLE);
    if (quantity(node->text, units, COUNT_OF(units), true, &value)) {
        double number;
        struct slice unit = slice_skip(node->text, decimal(node->text, false, &number));
        for (size_t i = 0; unit.len < node->text.len && i < COUNT_OF(decimal_units); i++)
            if (slice_equal_nocase(unit, decimal_units[i].name)) {
                config_fault(c, node, "expected a size, written %s; did you mean \"%.*s%ciB\"?", SIZE_EXAMPLE,
                             (int)(node->text.len - unit.len), node->text.at, (int)decimal_units[i].factor);
                return -1;
            }
        return value_fault(c, node, "a size", SIZE_EXAMPLE);
    }
    if (unit_check(c, node, UNIT_SIZE, value, 0, SIZE_LIMIT))
        return -1;
    *out = (uint64_t)value;
    return 0;
}

int option_text(struct config *c, const struct config_node *node, struct slice *out)
{
    if (node->kind != NODE_SCALAR)
        return value_fault(c, node, "a text", "on one line, in quotes where it has special characters");
    if (memchr(node->text.at, 0, node->text.len)) {
        config_fault(c, node, "may not contain a NUL character");
        return -1;
    }
    *out = node->text;
    return 0;
}

int option_choice(struct config *c, const struct config_node *node, const char *const *choices, int *out)
{
    size_t count = 0;
    while (choices[count])
        count++;
    struct slice word = node->kind == NODE_SCALAR ? node->text : S("");
    for (size_t i = 0; node->kind == NODE_SCALAR && i < count; i++)
        if (slice_equal(word, slice_text(choices[i]))) {
            *out = (int)i;
            return 0;
        }
    if (node->kind == NODE_SCALAR)
        config_fault(c, node, "unknown value %s%s", config_quote(c, word),
                     config_mend(c, word, choices, count, true));
    else
        config_fault(c, node, "expected a word%s; found %s", config_mend(c, word, choices, count, true),
                     node_describe(c, node));
    return -1;
}

int option_texts(struct config *c, const struct config_node *node, struct option_texts *out)
{
    bool is_list = node->kind == NODE_LIST;
    size_t count = is_list ? node->count : 1;
    if (!is_list && node->kind != NODE_SCALAR)
        return value_fault(c, node, "a text or a list of texts", "one, or [one, two]");

    struct option_texts texts = {.at = arena_alloc(&c->arena, (count + 1) * sizeof(struct slice)),
                                 .nodes = arena_alloc(&c->arena, (count + 1) * sizeof(void *))};
    if (!texts.at || !texts.nodes) {
        c->out_of_memory = true;
        return -1;
    }
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        const struct config_node *item = is_list ? node->items[i] : node;
        if (option_text(c, item, &texts.at[texts.count]))
            rc = -1;
        else
            texts.nodes[texts.count++] = item;
    }
    if (!rc)
        *out = texts;
    return rc;
}

int option_pairs(struct config *c, const struct config_node *node, struct option_pairs *out)
{
    if (node->kind != NODE_MAP)
        return value_fault(c, node, "a map of names and texts",
                           "{name: text} or \"name: text\" line by line");
    struct option_pairs pairs = {.at =
                                     arena_alloc(&c->arena, (node->count + 1) * sizeof(struct option_pair))};
    if (!pairs.at) {
        c->out_of_memory = true;
        return -1;
    }
    int rc = 0;
    for (size_t i = 0; i < node->count; i++) {
        const struct config_node *item = node->items[i];
        struct option_pair *pair = &pairs.at[pairs.count];
        if (item->kind == NODE_NULL)
            continue; /* taken away */
        *pair = (struct option_pair){.name = item->key, .node = item};
        if (option_text(c, item, &pair->value))
            rc = -1;
        else
            pairs.count++;
    }
    if (!rc)
        *out = pairs;
    return rc;
}
