#include "balancer/outlier.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/counters.h"
#include "balancer/suspicion.h"
#include "core/log.h"

#define COMPARE_US UINT64_C(1000000)
#define CROWDED_US UINT64_C(1000000)

/* What was counted when the window began. */
struct latency_sample {
    usec_t since_us;
    uint64_t sum_us, count;
};

static int parse_times(struct config *c, const struct config_node *node, void *field);

static const struct option outlier_options[] = {
    OPTION_AT(struct outlier_settings, errors, "errors", OPTION_COUNT, .fallback = "5", .max = 1000000,
              .help = "Failed requests in a row, over all workers: a status of 500 to 599, no connection, a "
                      "connection that breaks amid the answer, an answer that is none, a timeout. Of a tcp "
                      "stream: no connection, or its end before a byte. 0: they do not matter."),
    OPTION_AT(struct outlier_settings, eject, "eject", OPTION_DURATION, .fallback = "30s", .min = 10,
              .max = 86400000,
              .help = "How long it gets nothing. The n-th time in succession n times as long, ten times at "
                      "most; as long without one takes one off."),
    OPTION_AT(struct outlier_settings, max_ejected, "max_ejected", OPTION_NUMBER, .fallback = "50%",
              .flags = OPTION_FLAG_PERCENT, .min = 0, .max = 1,
              .help = "The most servers out at once, rounded down; but one of two or more, unless it is 0%."),
    OPTION_AT(struct outlier_settings, latency, "latency", OPTION_CUSTOM, .parse = parse_times,
              .shape = "a factor: `3x`", .schema = "{\"type\": [\"string\", \"number\"]}",
              .help = "Also a server whose mean response time is more than so many times the median of the "
                      "others' (and 5 ms more), over 10 seconds and 20 responses of each."),
};

const struct option_table outlier_table = {
    .name = "outlier",
    .help = "Servers that fail requests get none for a while.",
    .options = outlier_options,
    .count = COUNT_OF(outlier_options),
    .size = sizeof(struct outlier_settings),
};

/* 3x, 2.5x, or the number alone. */
static int parse_times(struct config *c, const struct config_node *node, void *field)
{
    struct slice text;
    if (option_text(c, node, &text) != 0)
        return -1;
    char number[32], *end = number;
    if (text.len && ascii_lower(text.at[text.len - 1]) == 'x')
        text.len--;
    if (text.len && text.len < sizeof number) {
        memcpy(number, text.at, text.len);
        number[text.len] = '\0';
        double times = number[0] >= '0' && number[0] <= '9' ? strtod(number, &end) : 0;
        if (end == number + text.len && times > 1 && times <= 1000) {
            memcpy(field, &times, sizeof times);
            return 0;
        }
    }
    config_fault(c, node, "expected a factor over 1, like 3x");
    return -1;
}

const char *outlier_word(enum ejection why)
{
    static const char *const words[] = {
        [EJECTED_STATUS] = "5xx",        [EJECTED_UNREACHABLE] = "connect", [EJECTED_RESET] = "reset",
        [EJECTED_PROTOCOL] = "protocol", [EJECTED_TIMEOUT] = "timeout",     [EJECTED_LATENCY] = "latency",
    };
    return words[why];
}

/* Ejecting. */

/* How many times `eject` this one lasts: one more than the last, less what was quiet since. */
static unsigned next_level(struct server *s, const struct outlier_settings *o, usec_t now_us)
{
    pthread_mutex_lock(&s->lock);
    usec_t quiet = now_us > s->ejection_over_us ? (now_us - s->ejection_over_us) / (o->eject * 1000) : 0;
    unsigned level = quiet < s->ejection_level ? s->ejection_level - (unsigned)quiet + 1 : 1;
    s->ejection_level = level < OUTLIER_LEVEL_MAX ? level : OUTLIER_LEVEL_MAX;
    level = s->ejection_level;
    pthread_mutex_unlock(&s->lock);
    return level;
}

static void print_duration(usec_t us, char *out, size_t size)
{
    if (us % 1000000 == 0)
        snprintf(out, size, "%llu s", (unsigned long long)(us / 1000000));
    else
        snprintf(out, size, "%llu ms", (unsigned long long)(us / 1000));
}

static void eject(struct server *s, const struct outlier_settings *o, usec_t now_us, enum ejection why,
                  const char *words)
{
    if (!s->group || server_ejected(s))
        return;
    if (!group_begin_ejection(s->group, o->max_ejected)) {
        suspicion_hold(s, now_us + CROWDED_US); /* it stays, but while another can be asked that one is */
        return;
    }
    unsigned level = next_level(s, o, now_us);
    usec_t us = (usec_t)o->eject * 1000 * level;
    char reason[SERVER_REASON_MAX], lasts[32];
    print_duration(us, lasts, sizeof lasts);
    snprintf(reason, sizeof reason, "ejected for %s: %s", lasts, words);
    if (!server_eject(s, now_us, us, why, reason)) {
        group_ejection_over(s->group);
        return;
    }
    log_warn("server is ejected", LOG_SLICE("upstream", s->upstream), LOG_SLICE("server", s->name),
             LOG_TEXT("reason", reason), LOG_U64("time", level));
}

/* Errors. */

static bool is_error(const struct outcome *o, enum ejection *why)
{
    switch (o->kind) {
    case OUTCOME_ABANDONED:
        return false;
    case OUTCOME_ANSWERED:
        *why = EJECTED_STATUS;
        return o->status >= 500 && o->status <= 599;
    case OUTCOME_UNREACHABLE:
        *why = EJECTED_UNREACHABLE;
        return true;
    case OUTCOME_RESET:
        *why = EJECTED_RESET;
        return true;
    case OUTCOME_BAD:
        *why = EJECTED_PROTOCOL;
        return true;
    case OUTCOME_TIMEOUT:
        *why = EJECTED_TIMEOUT;
        return true;
    }
    return false;
}

static void print_error(const struct outcome *o, enum ejection why, char *out, size_t size)
{
    static const char *const words[] = {
        [EJECTED_UNREACHABLE] = "no connection",
        [EJECTED_RESET] = "the connection broke",
        [EJECTED_PROTOCOL] = "a bad answer",
        [EJECTED_TIMEOUT] = "a timeout",
    };
    if (why == EJECTED_STATUS)
        snprintf(out, size, "status %u", o->status);
    else
        snprintf(out, size, "%s", words[why]);
}

void outlier_note(const struct outlier_settings *o, struct server *s, const struct outcome *outcome)
{
    enum ejection why = EJECTED_STATUS;
    if (outcome->kind == OUTCOME_ABANDONED)
        return;
    if (LIKELY(!is_error(outcome, &why))) {
        outlier_good(s);
        return;
    }
    uint32_t row = atomic_fetch_add_explicit(&s->errors_in_row, 1, memory_order_relaxed) + 1;
    if (o->errors == 0 || row < o->errors)
        return;
    char last[32], words[SERVER_REASON_MAX / 2];
    print_error(outcome, why, last, sizeof last);
    snprintf(words, sizeof words, row == 1 ? "%u error: %s" : "%u errors in a row, the last: %s", row, last);
    eject(s, o, outcome->now_us, why, words);
}

/* Latency. */

struct mean {
    struct server *server;
    double us;
};

static int by_mean(const void *a, const void *b)
{
    double x = ((const struct mean *)a)->us, y = ((const struct mean *)b)->us;
    return x < y ? -1 : x > y;
}

/* Its mean since the window began; the window begins anew when it is old, or the server is out. */
static bool take_mean(struct server *s, usec_t now_us, const struct group_watch *w, double *out)
{
    struct server_totals t;
    uint64_t count = 0;
    w->totals(s, &t, w->argument);
    for (size_t i = 0; i < COUNTERS_DURATIONS; i++)
        count += t.durations[i];
    if (!s->latency) {
        s->latency = malloc(sizeof *s->latency);
        if (s->latency)
            *s->latency = (struct latency_sample){now_us, t.duration_us, count};
        return false;
    }
    struct latency_sample *since = s->latency;
    uint64_t responses = count - since->count;
    *out = responses ? (double)(t.duration_us - since->sum_us) / (double)responses : 0;
    if (!server_usable(s) || server_ejected(s) || now_us - since->since_us >= OUTLIER_WINDOW_US)
        *since = (struct latency_sample){now_us, t.duration_us, count};
    return responses >= OUTLIER_SAMPLES && server_usable(s) && !server_ejected(s);
}

/* Of a sorted list, without the one at `but`. */
static double median_without(const struct mean *all, size_t count, size_t but)
{
    size_t rest = count - 1, high = rest / 2, low = (rest - 1) / 2;
    double a = all[low < but ? low : low + 1].us, b = all[high < but ? high : high + 1].us;
    return (a + b) / 2;
}

void outlier_compare(struct server_group *g, const struct outlier_settings *o, usec_t now_us,
                     const struct group_watch *w)
{
    if (now_us - g->compared_us < COMPARE_US)
        return;
    g->compared_us = now_us;
    uint32_t most = atomic_load_explicit(&g->count, memory_order_relaxed);
    struct mean *all = most ? malloc(most * sizeof *all) : NULL;
    size_t count = 0;
    if (!all)
        return;
    LIST_EACH (node, &g->servers) {
        struct server *s = CONTAINER_OF(node, struct server, group_link);
        if (take_mean(s, now_us, w, &all[count].us))
            all[count++].server = s;
    }
    qsort(all, count, sizeof *all, by_mean);
    for (size_t i = count; count > 1 && i-- > 0;) {
        double median = median_without(all, count, i);
        if (all[i].us <= o->latency * median || all[i].us < median + OUTLIER_FLOOR_US)
            break;
        char words[SERVER_REASON_MAX / 2];
        snprintf(words, sizeof words, "%.1f ms a response, its peers take %.1f ms", all[i].us / 1000,
                 median / 1000);
        eject(all[i].server, o, now_us, EJECTED_LATENCY, words);
    }
    free(all);
}
