#include "proxy/http/retries.h"

#include <stdio.h>

#define BACKOFF_GROWTH_MAX 10u

static int parse_on(struct config *c, const struct config_node *node, void *field);

static const char *const methods[] = {"idempotent", "all", NULL};
static const char *const causes[] = {
    [RETRY_CONNECT] = "connect", [RETRY_RESET] = "reset", [RETRY_TIMEOUT] = "timeout"};

#define DEFAULT_CAUSES (1u << RETRY_CONNECT | 1u << RETRY_RESET)

static const struct option retries_options[] = {
    OPTION_AT(struct retries_settings, attempts, "attempts", OPTION_COUNT, .fallback = "1", .max = 10,
              .help =
                  "Further attempts of a request that was sent, each on another server. One that cannot be "
                  "connected to is passed over besides, each once and at most 11. 0: neither."),
    OPTION_AT(
        struct retries_settings, on, "on", OPTION_CUSTOM, .fallback = "[connect, reset]", .parse = parse_on,
        .shape = "connect, reset, timeout or a status, or a list",
        .schema = "{\"type\": [\"string\", \"integer\", \"array\"]}",
        .help = "connect: no connection; reset: it ended before the response's head was there; timeout: the "
                "server did not take the request or answer in time; a status from 400 to 599: that answer, "
                "which reaches the client when there is no further attempt."),
    OPTION_AT(struct retries_settings, methods, "methods", OPTION_ENUM, .fallback = "idempotent",
              .choices = methods,
              .help =
                  "idempotent: what the server may have seen is sent again only when doing it twice is as "
                  "doing it once (RFC 9110 §9.2.2). all: every method; your application must bear it."),
    OPTION_AT(struct retries_settings, budget, "budget", OPTION_NUMBER, .fallback = "20%", .max = 1,
              .flags = OPTION_FLAG_PERCENT,
              .help =
                  "The share of the upstream's requests that may be sent again, so that retries do not bury "
                  "servers that are in trouble. A quiet time saves up 100 for each worker."),
    OPTION_AT(
        struct retries_settings, timeout, "timeout", OPTION_DURATION, .fallback = "0s", .max = 86400000,
        .help =
            "Of one attempt, from its begin to the response's head, without what the client takes for its "
            "body; 0: only timeouts.connect and timeouts.response count."),
    OPTION_AT(struct retries_settings, backoff, "backoff", OPTION_DURATION, .fallback = "25ms", .max = 60000,
              .help =
                  "The longest wait before the second retry; twice as long before the next, up to ten times. "
                  "The wait is random; the first retry goes at once."),
};

const struct option_table retries_table = {
    .name = "retries",
    .help = "When a request is sent to another server.",
    .options = retries_options,
    .count = COUNT_OF(retries_options),
    .size = sizeof(struct retries_settings),
};

static int add_status(struct slice text, struct retry_on *on)
{
    uint64_t status;
    if (slice_to_u64(text, &status) != 0 || status < RETRY_STATUS_MIN || status > RETRY_STATUS_MAX)
        return -1;
    on->causes |= 1u << RETRY_STATUS;
    on->statuses[(status - RETRY_STATUS_MIN) / 64] |= UINT64_C(1) << (status - RETRY_STATUS_MIN) % 64;
    return 0;
}

static int add_cause(struct slice text, struct retry_on *on)
{
    for (size_t i = 0; i < COUNT_OF(causes); i++) {
        if (slice_equal(text, slice_text(causes[i]))) {
            on->causes |= 1u << i;
            return 0;
        }
    }
    return add_status(text, on);
}

static int parse_on(struct config *c, const struct config_node *node, void *field)
{
    struct option_texts texts = {0};
    struct retry_on on = {0};
    int rc = option_texts(c, node, &texts);
    for (size_t i = 0; rc == 0 && i < texts.count; i++) {
        if (add_cause(texts.at[i], &on) == 0)
            continue;
        config_fault(c, texts.nodes[i],
                     "unknown cause %s (one of: connect, reset, timeout, or a status from 400 to "
                     "599)%s",
                     config_quote(c, texts.at[i]),
                     config_mend(c, texts.at[i], causes, COUNT_OF(causes), false));
        rc = -1;
    }
    if (rc == 0 && on.causes == 0) {
        config_fault(c, node, "may not be empty; for no retries say attempts: 0");
        rc = -1;
    }
    if (rc == 0)
        memcpy(field, &on, sizeof on);
    return rc;
}

bool retries_want(const struct retries_settings *s, enum retry_cause cause, unsigned status,
                  enum http_method method, bool sent)
{
    unsigned wanted = s->on.causes ? s->on.causes : DEFAULT_CAUSES;
    if (s->attempts == 0 || !(wanted >> cause & 1))
        return false;
    if (sent && s->methods == RETRY_IDEMPOTENT && !method_is_idempotent(method))
        return false;
    if (cause != RETRY_STATUS)
        return true;
    unsigned bit = status - RETRY_STATUS_MIN;
    return status >= RETRY_STATUS_MIN && status <= RETRY_STATUS_MAX &&
           s->on.statuses[bit / 64] >> bit % 64 & 1;
}

msec_t retries_wait(const struct retries_settings *s, unsigned retry, uint64_t random)
{
    if (retry < 2 || s->backoff == 0)
        return 0;
    unsigned growth = retry - 2 < 4 ? 1u << (retry - 2) : BACKOFF_GROWTH_MAX;
    msec_t longest = s->backoff * (growth < BACKOFF_GROWTH_MAX ? growth : BACKOFF_GROWTH_MAX);
    return random % (longest + 1);
}

void retry_on_print(const struct retry_on *on, char *out, size_t size)
{
    unsigned wanted = on->causes ? on->causes : DEFAULT_CAUSES;
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(causes) && n < size; i++)
        if (wanted >> i & 1)
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", causes[i]);
    for (unsigned bit = 0; bit <= RETRY_STATUS_MAX - RETRY_STATUS_MIN && n < size; bit++)
        if (on->statuses[bit / 64] >> bit % 64 & 1)
            n += (size_t)snprintf(out + n, size - n, "%s%u", n ? ", " : "", bit + RETRY_STATUS_MIN);
}
