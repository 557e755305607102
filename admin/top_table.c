#include "admin/top_table.h"

#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define LINE_MAX_BYTES 1024
#define TABLES         3u
#define HEAD_LINES     2u
#define TABLE_LINES    2u /* how much is shown, or an empty line, and the columns' names */

enum kind { TEXT, COUNT, RATE, MS, SIZE };

struct column {
    const char *title, *key;
    enum kind kind;
    int width; /* < 0: to the left */
    enum top_sort sort;
};

struct table {
    const char *name, *key; /* in the answer */
    const struct column *columns;
    size_t column_count;
};

static const struct column listener_columns[] = {
    {"listener", "name", TEXT, -24, TOP_BY_NAME},
    {"proto", "protocol", TEXT, -6, TOP_SORTS},
    {"req/s", "requests_per_second", RATE, 9, TOP_BY_REQUESTS},
    {"err/s", "errors_per_second", RATE, 8, TOP_BY_ERRORS},
    {"p50 ms", "p50_ms", MS, 9, TOP_SORTS},
    {"p95 ms", "p95_ms", MS, 9, TOP_BY_TIME},
    {"open", "connections", COUNT, 7, TOP_BY_OPEN},
    {"new/s", "connections_per_second", RATE, 8, TOP_SORTS},
    {"in/s", "bytes_in_per_second", SIZE, 8, TOP_SORTS},
    {"out/s", "bytes_out_per_second", SIZE, 8, TOP_SORTS},
};
static const struct column route_columns[] = {
    {"route", "name", TEXT, -24, TOP_BY_NAME},
    {"does", "action", TEXT, -8, TOP_SORTS},
    {"req/s", "requests_per_second", RATE, 9, TOP_BY_REQUESTS},
    {"err/s", "errors_per_second", RATE, 8, TOP_BY_ERRORS},
    {"p50 ms", "p50_ms", MS, 9, TOP_SORTS},
    {"p95 ms", "p95_ms", MS, 9, TOP_BY_TIME},
};
static const struct column server_columns[] = {
    {"upstream", "upstream", TEXT, -16, TOP_BY_NAME},
    {"server", "address", TEXT, -22, TOP_SORTS},
    {"state", "state", TEXT, -8, TOP_SORTS},
    {"weight", "weight", COUNT, 6, TOP_SORTS},
    {"req/s", "requests_per_second", RATE, 9, TOP_BY_REQUESTS},
    {"err/s", "errors_per_second", RATE, 8, TOP_BY_ERRORS},
    {"mean ms", "mean_ms", MS, 9, TOP_BY_TIME},
    {"in flight", "in_flight", COUNT, 9, TOP_BY_OPEN},
    {"queue", "queue", COUNT, 6, TOP_SORTS},
    {"why", "reason", TEXT, -1, TOP_SORTS},
};
static const struct table tables[TABLES] = {
    {"listeners", "listeners", listener_columns, COUNT_OF(listener_columns)},
    {"routes", "routes", route_columns, COUNT_OF(route_columns)},
    {"servers", "servers", server_columns, COUNT_OF(server_columns)},
};

/* Order. */

static double number_of(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static const struct column *sorted_column(const struct table *t, enum top_sort sort)
{
    for (size_t i = 0; i < t->column_count; i++)
        if (t->columns[i].sort == sort)
            return &t->columns[i];
    return &t->columns[0];
}

struct order {
    const struct table *table;
    const struct column *column;
};

static int compare(const void *a, const void *b, void *argument)
{
    const struct order *o = argument;
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    if (o->column->kind != TEXT) {
        double m = number_of(x, o->column->key), n = number_of(y, o->column->key);
        if (m < n || m > n)
            return m > n ? -1 : 1;
    }
    for (size_t i = 0; i < o->table->column_count && o->table->columns[i].kind == TEXT; i++) {
        int less = strcmp(text_of(x, o->table->columns[i].key), text_of(y, o->table->columns[i].key));
        if (less)
            return less;
    }
    return 0;
}

void top_order(json_t *rates, enum top_sort sort)
{
    for (size_t i = 0; i < TABLES; i++) {
        json_t *rows = json_object_get(rates, tables[i].key);
        size_t count = json_array_size(rows);
        struct order o = {&tables[i], sorted_column(&tables[i], sort)};
        json_t **at = calloc(count + 1, sizeof *at);
        for (size_t k = 0; at && k < count; k++)
            at[k] = json_incref(json_array_get(rows, k));
        if (at)
            qsort_r(at, count, sizeof *at, compare, &o);
        for (size_t k = 0; at && k < count; k++)
            json_array_set_new(rows, k, at[k]);
        free(at);
    }
}

/* Lines. */

struct line {
    char bytes[LINE_MAX_BYTES];
    size_t len;
    unsigned columns;
};

static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Without what would move the cursor; JSON is UTF-8, and whole characters go in. */
static void put(struct line *l, const char *text, size_t most)
{
    for (size_t n = 0; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool begins = (c & 0xc0) != 0x80;
        if (begins && (n++ == most || l->len + 8 > sizeof l->bytes))
            return;
        l->columns += begins;
        l->bytes[l->len++] =
            c < ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0) ? '?' : (char)c;
    }
}

static void pad(struct line *l, size_t n)
{
    while (n-- > 0)
        put(l, " ", 1);
}

/* The last column takes what is left. */
static void put_cell(struct line *l, const char *text, int width)
{
    size_t room = width == -1 ? LINE_MAX_BYTES : (size_t)abs(width), len = columns_of(text);
    if (len > room && width < 0) {
        put(l, text, room - 1);
        put(l, "~", 1);
        len = room;
    } else if (width < 0) {
        put(l, text, room);
    } else {
        pad(l, len < room ? room - len : 0);
        put(l, text, len);
    }
    if (width < -1)
        pad(l, room - len);
    pad(l, 1);
}

static void format_size(double bytes, char *out, size_t size)
{
    static const char units[] = " KMGT";
    size_t unit = 0;
    while (bytes >= 1000 && unit + 2 < sizeof units) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, size, unit ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
}

static void format_cell(const json_t *value, enum kind kind, char *out, size_t size)
{
    double n = json_number_value(value);
    if (kind == TEXT)
        snprintf(out, size, "%s", json_is_string(value) ? json_string_value(value) : "");
    else if (!json_is_number(value))
        snprintf(out, size, "-");
    else if (kind == SIZE)
        format_size(n, out, size);
    else
        snprintf(out, size,
                 kind == COUNT || n >= 10000 ? "%.0f"
                 : n >= 100 || kind == RATE  ? "%.1f"
                                             : "%.2f",
                 n);
}

/* Of what a terminal has room for, `left` counts down. */
static void end_line(struct line *l, const struct top_view *v, bool marked, unsigned *left, FILE *out)
{
    if (v->height && *left == 0)
        return;
    if (v->width && l->columns > v->width) {
        unsigned columns = 0;
        size_t keep = 0;
        while (columns < v->width || ((unsigned char)l->bytes[keep] & 0xc0) == 0x80)
            columns += ((unsigned char)l->bytes[keep++] & 0xc0) != 0x80;
        l->len = keep;
    }
    while (!v->height && l->len && l->bytes[l->len - 1] == ' ')
        l->len--;
    fprintf(out, "%s%.*s%s%s", v->height && marked ? "\033[7m" : "", (int)l->len, l->bytes,
            v->height && marked ? "\033[0m" : "", v->height ? "\033[K" : "");
    *left = v->height ? *left - 1 : 0;
    if (!v->height || *left)
        fputs(v->height ? "\r\n" : "\n", out);
    *l = (struct line){0};
}

/* Tables. */

static void put_head(struct line *l, const json_t *rates)
{
    char text[512], p50[32], p95[32];
    format_cell(json_object_get(rates, "p50_ms"), MS, p50, sizeof p50);
    format_cell(json_object_get(rates, "p95_ms"), MS, p95, sizeof p95);
    long long up = (long long)json_number_value(json_object_get(rates, "uptime_seconds"));
    snprintf(
        text, sizeof text,
        "weir %s, %s, up %lldd %02lld:%02lld:%02lld; %.1f requests/s, %.1f errors/s, p50 %s ms, p95 %s ms, "
        "%.0f connections",
        text_of(rates, "version"), text_of(rates, "state"), up / 86400, up / 3600 % 24, up / 60 % 60, up % 60,
        number_of(rates, "requests_per_second"), number_of(rates, "errors_per_second"), p50, p95,
        number_of(rates, "connections"));
    put(l, text, sizeof text);
}

/* Behind the head, where a route has a cache. */
static void put_cache(struct line *l, const json_t *cache)
{
    char text[128], hits[32], bytes[32], memory[32];
    if (!cache)
        return;
    double ratio = number_of(cache, "hit_ratio");
    if (ratio < 0)
        snprintf(hits, sizeof hits, "no requests");
    else
        snprintf(hits, sizeof hits, "%.1f%% hits", ratio * 100);
    format_size(number_of(cache, "bytes"), bytes, sizeof bytes);
    format_size(number_of(cache, "memory"), memory, sizeof memory);
    snprintf(text, sizeof text, "; cache %s, %s of %s", hits, bytes, memory);
    put(l, text, sizeof text);
}

static void put_titles(struct line *l, const struct table *t, enum top_sort sort)
{
    const struct column *sorted = sorted_column(t, sort);
    for (size_t i = 0; i < t->column_count; i++) {
        const struct column *c = &t->columns[i];
        char title[40];
        snprintf(title, sizeof title, "%s%s", c == sorted ? "*" : "", c->title);
        put_cell(l, title, c->width);
    }
}

static void print_table(const struct table *t, const json_t *rates, size_t shown, const struct top_view *v,
                        unsigned *left, FILE *out)
{
    const json_t *rows = json_object_get(rates, t->key);
    struct line l = {0};
    char cell[LINE_MAX_BYTES];
    if (shown < json_array_size(rows)) {
        snprintf(cell, sizeof cell, "%zu of %zu %s", shown, json_array_size(rows), t->name);
        put(&l, cell, sizeof cell);
    }
    end_line(&l, v, false, left, out);
    put_titles(&l, t, v->sort);
    end_line(&l, v, true, left, out);
    for (size_t i = 0; i < shown; i++) {
        for (size_t k = 0; k < t->column_count; k++) {
            format_cell(json_object_get(json_array_get(rows, i), t->columns[k].key), t->columns[k].kind, cell,
                        sizeof cell);
            put_cell(&l, cell, t->columns[k].width);
        }
        end_line(&l, v, false, left, out);
    }
}

/* Tables that want more lines than there are get equally many. */
static void share_lines(const json_t *rates, unsigned height, size_t shown[TABLES])
{
    size_t fixed = HEAD_LINES + TABLES * TABLE_LINES, left = height > fixed ? height - fixed : 0;
    bool given = true;
    memset(shown, 0, TABLES * sizeof *shown);
    while (given && (left || !height)) {
        given = false;
        for (size_t i = 0; i < TABLES; i++) {
            size_t wanted = json_array_size(json_object_get(rates, tables[i].key));
            if (shown[i] == wanted || (height && left == 0))
                continue;
            shown[i] = height ? shown[i] + 1 : wanted;
            left -= height ? 1 : 0;
            given = true;
        }
    }
}

void top_print(const json_t *rates, const struct top_view *v, FILE *out)
{
    static const char *const sorts[TOP_SORTS] = {"requests", "errors", "time", "open", "name"};
    size_t shown[TABLES];
    unsigned left = v->height;
    struct line l = {0};
    char text[512];
    put_head(&l, rates);
    put_cache(&l, json_object_get(rates, "cache"));
    end_line(&l, v, false, &left, out);
    if (v->height) {
        snprintf(text, sizeof text, "q quit, s next order (by %s), p %s", sorts[v->sort],
                 v->paused ? "go on - paused" : "pause");
        put(&l, v->message ? v->message : text, sizeof text);
        end_line(&l, v, false, &left, out);
    }
    share_lines(rates, v->height, shown);
    for (size_t i = 0; i < TABLES; i++)
        if (json_array_size(json_object_get(rates, tables[i].key)))
            print_table(&tables[i], rates, shown[i], v, &left, out);
}
