#include "proxy/http/h1/scan.h"

static const char *scan_text(const char *begin, const char *at, const char *end)
{
    (void)begin;
    while (at < end && byte_is(*at, BYTE_TEXT))
        at++;
    return at;
}

static const char *scan_target(const char *begin, const char *at, const char *end, const char **question)
{
    (void)begin;
    const char *found = NULL;
    for (; at < end && byte_is(*at, BYTE_TARGET); at++)
        if (*at == '?' && !found)
            found = at;
    *question = found ? found : at;
    return at;
}

static const char *scan_fields(const char *begin, const char *at, const char *end, struct fields *out,
                               uint32_t max)
{
    (void)begin;
    while (out->count < max) {
        const char *colon = at;
        while (colon < end && byte_is(*colon, BYTE_TOKEN))
            colon++;
        if (colon == at || colon == end || *colon != ':')
            break;

        const char *eol = colon + 1;
        while (eol < end && byte_is(*eol, BYTE_TEXT))
            eol++;
        if (end - eol < 2 || eol[0] != '\r' || eol[1] != '\n')
            break;

        h1_field_set(&out->at[out->count++], at, colon, eol);
        at = eol + 2;
    }
    return at;
}

const struct h1_scanner h1_scan_scalar = {scan_text, scan_target, scan_fields};
