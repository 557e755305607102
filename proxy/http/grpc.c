#include "proxy/http/grpc.h"

#include <stdio.h>

static bool is_unreached(enum termination why)
{
    return why == TERMINATION_CONNECT_TIMEOUT || why == TERMINATION_TLS_TIMEOUT ||
           why == TERMINATION_QUEUE_TIMEOUT;
}

enum grpc_status grpc_status_of(unsigned http_status, enum termination why)
{
    switch (http_status) {
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
    case 405:
    case 501:
        return GRPC_UNIMPLEMENTED;
    case 408:
        return GRPC_DEADLINE_EXCEEDED;
    case 413:
    case 414:
    case 431:
        return GRPC_RESOURCE_EXHAUSTED;
    case 400:
    case 500:
        return GRPC_INTERNAL;
    case 429:
    case 502:
    case 503:
        return GRPC_UNAVAILABLE;
    case 504:
        return is_unreached(why) ? GRPC_UNAVAILABLE : GRPC_DEADLINE_EXCEEDED;
    default:
        return GRPC_UNKNOWN;
    }
}

uint8_t grpc_read_status(struct slice value)
{
    uint64_t status;
    if (value.len == 0 || value.len > 2 || slice_to_u64(value, &status) != 0 || status >= GRPC_STATUSES)
        return GRPC_STATUS_NONE;
    return (uint8_t)status;
}

bool grpc_read_timeout(struct slice value, usec_t *out)
{
    uint64_t n = 0;
    if (value.len < 2 || value.len > 9 || slice_to_u64(slice_of(value.at, value.len - 1), &n) != 0)
        return false;
    switch (value.at[value.len - 1]) {
    case 'H':
        *out = n * 3600 * 1000000;
        return true;
    case 'M':
        *out = n * 60 * 1000000;
        return true;
    case 'S':
        *out = n * 1000000;
        return true;
    case 'm':
        *out = n * 1000;
        return true;
    case 'u':
        *out = n;
        return true;
    case 'n':
        *out = (n + 999) / 1000;
        return true;
    default:
        return false;
    }
}

struct slice grpc_write_timeout(usec_t left, char room[GRPC_TIMEOUT_TEXT])
{
    static const struct {
        char unit;
        usec_t us;
    } units[] = {{'u', 1}, {'m', 1000}, {'S', 1000000}, {'M', 60000000}, {'H', UINT64_C(3600000000)}};
    size_t i = 0;
    while (i + 1 < COUNT_OF(units) && (left + units[i].us - 1) / units[i].us > 99999999)
        i++;
    int len =
        snprintf(room, GRPC_TIMEOUT_TEXT, "%llu%c",
                 (unsigned long long)((left + units[i].us - 1) / units[i].us % 100000000), units[i].unit);
    return slice_of(room, (size_t)len);
}

struct slice grpc_encode_message(struct slice text, char *room)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c >= 0x20 && c < 0x7f && c != '%') {
            room[n++] = (char)c;
            continue;
        }
        room[n++] = '%';
        room[n++] = hex[c >> 4];
        room[n++] = hex[c & 15];
    }
    return slice_of(room, n);
}
