/* Which requests are sent to another server, and when: what the file says (`retries`), and the rules as pure
 * functions. Whether one still can be - its body is at hand, nothing of an answer has reached the client - is
 * the forwarder's to know, and whether there is a token left is the upstream's budget's. */
#pragma once

#include "config/option.h"
#include "proxy/http/message.h"

enum retry_cause {
    RETRY_CONNECT, /* no connection: nothing was sent */
    RETRY_RESET,   /* the connection ended before the response was there */
    RETRY_TIMEOUT, /* the server did not take the request, or answer, in time */
    RETRY_STATUS,  /* an answer that says so */
};

enum retry_methods { RETRY_IDEMPOTENT, RETRY_ALL };

#define RETRY_STATUS_MIN 400u
#define RETRY_STATUS_MAX 599u

struct retry_on {
    unsigned causes;      /* bits by enum retry_cause */
    uint64_t statuses[4]; /* bits from RETRY_STATUS_MIN on */
};

struct retries_settings {
    uint64_t attempts; /* further ones after the first */
    double budget;     /* share of requests that may be retries */
    struct retry_on on;
    int methods;    /* enum retry_methods */
    msec_t timeout; /* of an attempt, to its response's head; 0 = none of its own */
    msec_t backoff; /* before the second retry and later ones */
};

extern const struct option_table retries_table;

/* Whether the file wants it: an answer's `status` for RETRY_STATUS; `sent`: the server may have seen the
 * request. */
bool retries_want(const struct retries_settings *s, enum retry_cause cause, unsigned status,
                  enum http_method method, bool sent);

/* How long to wait before the retry number `retry` (1 is the first): nothing before the first, which goes to
 * another server; then from 0 to backoff, doubled each time up to ten times as long ("full jitter"). */
msec_t retries_wait(const struct retries_settings *s, unsigned retry, uint64_t random);

/* `connect, reset, 503`, for people. At most `size`, NUL-terminated. */
void retry_on_print(const struct retry_on *on, char *out, size_t size);
