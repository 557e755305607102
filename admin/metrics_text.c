#include "admin/metrics_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_MAX 40

static void add(struct metrics_writer *w, struct metrics_buffer *b, const char *at, size_t len)
{
    if (!len)
        return;
    if (len > b->size - b->len) {
        size_t size = (b->len + len) * 2 + 256;
        char *grown = w->failed ? NULL : realloc(b->at, size);
        if (!grown) {
            w->failed = true;
            return;
        }
        b->at = grown;
        b->size = size;
    }
    memcpy(b->at + b->len, at, len);
    b->len += len;
}

static void put(struct metrics_writer *w, const char *text)
{
    add(w, &w->out, text, strlen(text));
}

void metrics_writer_free(struct metrics_writer *w)
{
    free(w->out.at);
    free(w->labels.at);
    w->out = w->labels = (struct metrics_buffer){0};
}

/* Families. */

static bool ends(const char *name, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);
    return len >= n && memcmp(name + len - n, suffix, n) == 0;
}

static void headline(struct metrics_writer *w, const char *kind, const char *name, size_t len,
                     const char *text)
{
    put(w, kind);
    put(w, "weir_");
    add(w, &w->out, name, len);
    put(w, " ");
    put(w, text);
    put(w, "\n");
}

void metrics_family(struct metrics_writer *w, enum metrics_type type, const char *name, const char *help)
{
    static const char *const types[] = {
        [METRICS_GAUGE] = "gauge", [METRICS_COUNTER] = "counter", [METRICS_HISTOGRAM] = "histogram"};
    size_t len = strlen(name);
    const char *told = types[type == METRICS_LONE_COUNTER ? METRICS_COUNTER : type];
    if (w->format == METRICS_OPENMETRICS) {
        if (type == METRICS_LONE_COUNTER)
            told = "unknown";
        else if (type == METRICS_COUNTER)
            len -= strlen("_total");
    }
    headline(w, "# HELP ", name, len, help);
    headline(w, "# TYPE ", name, len, told);
    if (w->format == METRICS_OPENMETRICS && ends(name, len, "_seconds"))
        headline(w, "# UNIT ", name, len, "seconds");
    else if (w->format == METRICS_OPENMETRICS &&
             (ends(name, len, "_bytes") || (len == 5 && ends(name, len, "bytes"))))
        headline(w, "# UNIT ", name, len, "bytes");
}

void metrics_end(struct metrics_writer *w)
{
    if (w->format == METRICS_OPENMETRICS)
        put(w, "# EOF\n");
}

/* Labels. */

/* How many bytes one character of UTF-8 has at the start of `s` (RFC 3629 §4); 0 where there is none. */
static size_t utf8_character(struct slice s)
{
    const unsigned char *u = (const unsigned char *)s.at;
    if (u[0] < 0x80)
        return 1;
    size_t n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || s.len < n)
        return 0;
    unsigned low = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    if (u[1] < low || u[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (u[i] < 0x80 || u[i] > 0xbf)
            return 0;
    return n;
}

static void add_escaped(struct metrics_writer *w, struct metrics_buffer *b, struct slice value)
{
    while (value.len) {
        size_t n = utf8_character(value);
        if (n == 0)
            add(w, b, "\xef\xbf\xbd", 3);
        else if (*value.at == '\n')
            add(w, b, "\\n", 2);
        else {
            if (*value.at == '"' || *value.at == '\\')
                add(w, b, "\\", 1);
            add(w, b, value.at, n);
        }
        value = slice_skip(value, n ? n : 1);
    }
}

static void add_label(struct metrics_writer *w, struct metrics_buffer *b, const char *name,
                      struct slice value)
{
    add(w, b, name, strlen(name));
    add(w, b, "=\"", 2);
    add_escaped(w, b, value);
    add(w, b, "\"", 1);
}

size_t metrics_label(struct metrics_writer *w, const char *name, struct slice value)
{
    size_t before = w->labels.len;
    if (before)
        add(w, &w->labels, ",", 1);
    add_label(w, &w->labels, name, value);
    return before;
}

void metrics_cut(struct metrics_writer *w, size_t labels)
{
    w->labels.len = labels;
}

/* Samples. */

static size_t digits(uint64_t value, char out[NUMBER_MAX])
{
    char reversed[24];
    size_t n = 0;
    do
        reversed[n++] = (char)('0' + value % 10);
    while (value /= 10);
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

/* The shortest of two forms that says the same. */
static size_t decimal(double value, char out[NUMBER_MAX])
{
    if (value >= 0 && value < 1e15 && value == floor(value))
        return digits((uint64_t)value, out);
    int n = snprintf(out, NUMBER_MAX, "%.15g", value);
    if (strtod(out, NULL) != value)
        n = snprintf(out, NUMBER_MAX, "%.17g", value);
    return (size_t)n;
}

/* `name` and `suffix` are the sample's; `bound` a last label, or NULL. */
static void sample(struct metrics_writer *w, const char *name, const char *suffix, const char *bound,
                   const char *value, size_t len)
{
    put(w, "weir_");
    put(w, name);
    put(w, suffix);
    if (w->labels.len || bound) {
        put(w, "{");
        add(w, &w->out, w->labels.at, w->labels.len);
        if (bound) {
            put(w, w->labels.len ? ",le=\"" : "le=\"");
            put(w, bound);
            put(w, "\"");
        }
        put(w, "}");
    }
    put(w, " ");
    add(w, &w->out, value, len);
}

void metrics_count(struct metrics_writer *w, const char *name, uint64_t value)
{
    char text[NUMBER_MAX];
    sample(w, name, "", NULL, text, digits(value, text));
    put(w, "\n");
}

void metrics_number(struct metrics_writer *w, const char *name, double value)
{
    char text[NUMBER_MAX];
    sample(w, name, "", NULL, text, decimal(value, text));
    put(w, "\n");
}

void metrics_single(struct metrics_writer *w, enum metrics_type type, const char *name, const char *help,
                    double value)
{
    metrics_family(w, type, name, help);
    metrics_number(w, name, value);
}

static void exemplar(struct metrics_writer *w, const struct exemplar_text *e)
{
    char text[96];
    put(w, " # {");
    add_label(w, &w->out, "request_id", slice_of(e->id, e->id_len));
    if (e->trace_len) {
        put(w, ",");
        add_label(w, &w->out, "trace_id", slice_of(e->trace, e->trace_len));
    }
    int n = snprintf(text, sizeof text, "} %.6f %lld.%03d", (double)e->value / 1e6,
                     (long long)(e->wall_us / 1000000), (int)(e->wall_us / 1000 % 1000));
    add(w, &w->out, text, (size_t)n);
}

/* A bucket's bound, written the same in both formats, as OpenMetrics wants it ("1.0"): a server that changes
 * over from one to the other goes on with the same series. */
static void bound_text(unsigned bucket, char out[NUMBER_MAX])
{
    usec_t bound = counters_duration_bound(bucket);
    if (!bound)
        snprintf(out, NUMBER_MAX, "+Inf");
    else if (bound % 1000000)
        snprintf(out, NUMBER_MAX, "%g", (double)bound / 1e6);
    else
        snprintf(out, NUMBER_MAX, "%u.0", (unsigned)(bound / 1000000));
}

void metrics_histogram(struct metrics_writer *w, const char *name,
                       const uint64_t durations[COUNTERS_DURATIONS], uint64_t sum_us,
                       const struct exemplar_text *exemplars)
{
    char text[NUMBER_MAX], bound[NUMBER_MAX];
    uint64_t count = 0;
    for (unsigned i = 0; i < COUNTERS_DURATIONS; i++) {
        count += durations[i];
        bound_text(i, bound);
        sample(w, name, "_bucket", bound, text, digits(count, text));
        if (w->format == METRICS_OPENMETRICS && exemplars && exemplars[i].id_len)
            exemplar(w, &exemplars[i]);
        put(w, "\n");
    }
    int n = snprintf(text, sizeof text, "%.6f", (double)sum_us / 1e6);
    sample(w, name, "_sum", NULL, text, (size_t)n);
    put(w, "\n");
    sample(w, name, "_count", NULL, text, digits(count, text));
    put(w, "\n");
}
