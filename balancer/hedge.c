#include "balancer/hedge.h"

#include <string.h>

static int parse_after(struct config *c, const struct config_node *node, void *field);

static const struct option hedge_options[] = {
    OPTION_AT(
        struct hedge_settings, after, "after", OPTION_CUSTOM, .fallback = "p95", .parse = parse_after,
        .shape = "a time, or p50 to p99.9", .schema = "{\"type\": [\"string\", \"integer\"]}",
        .help =
            "How long a response's head may take before the request is sent to a second server: a time; or "
            "p95, "
            "as long as 95 % of the upstream's responses took of late (from 100 on, each worker by itself)."),
    OPTION_AT(struct hedge_settings, max, "max", OPTION_NUMBER, .fallback = "5%", .max = 1,
              .flags = OPTION_FLAG_PERCENT,
              .help = "The share of requests that get a second attempt, at most."),
};

const struct option_table hedge_table = {
    .name = "hedge",
    .help = "A second attempt on another server when a response is late; the first answer wins. For requests "
            "with an "
            "idempotent method, once they are wholly sent.",
    .options = hedge_options,
    .count = COUNT_OF(hedge_options),
    .size = sizeof(struct hedge_settings),
};

/* 95 of `p95`, 99.9 of `p99.9`; 0 for what is none. */
static double percentile(struct slice text)
{
    double value = 0, place = 1;
    bool fraction = false;
    for (size_t i = 1; i < text.len; i++) {
        if (text.at[i] == '.' && !fraction && i > 1 && i + 1 < text.len) {
            fraction = true;
            continue;
        }
        if (text.at[i] < '0' || text.at[i] > '9')
            return 0;
        value = value * 10 + (text.at[i] - '0');
        place *= fraction ? 10 : 1;
    }
    return value / place;
}

static int parse_after(struct config *c, const struct config_node *node, void *field)
{
    struct slice text;
    struct hedge_after after = {0};
    if (option_text(c, node, &text) != 0)
        return -1;
    if (text.len && text.at[0] == 'p') {
        double percent = percentile(text);
        if (percent < 50 || percent > 99.9) {
            config_fault(c, node, "expected a percentile from p50 to p99.9, or a duration like 200ms");
            return -1;
        }
        after.share = percent / 100;
    } else if (option_duration(c, node, &after.time) != 0) {
        return -1;
    } else if (after.time == 0) {
        config_fault(c, node, "must be at least 1ms");
        return -1;
    }
    memcpy(field, &after, sizeof after);
    return 0;
}
