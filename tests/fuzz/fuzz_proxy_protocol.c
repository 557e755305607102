/* PROXY headers, whole and cut at every length: what is told must not depend on how the bytes come, and what
 * is written of a header must read back the same. */
#include <stdlib.h>

#include "core/base.h"
#include "core/proxy_protocol.h"

static bool same(const struct proxy_header *a, const struct proxy_header *b)
{
    return a->local == b->local && memcmp(a->source.bytes, b->source.bytes, 16) == 0 &&
           memcmp(a->destination.bytes, b->destination.bytes, 16) == 0 && a->source.port == b->source.port &&
           a->destination.port == b->destination.port;
}

static void write_and_read_back(const struct proxy_header *h, int version)
{
    char bytes[PROXY_HEADER_SENT_MAX];
    struct proxy_header again;
    const char *why;
    size_t len = proxy_header_write(h, version, NULL, bytes);
    ASSERT(proxy_header_parse(slice_of(bytes, len), &again, &why) == (ssize_t)len);
    if (!h->source.is_unix)
        ASSERT(same(h, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct proxy_header whole = {0}, part;
    const char *why = NULL;
    struct slice in = slice_of((const char *)bytes, len);
    ssize_t n = proxy_header_parse(in, &whole, &why);
    ASSERT(n <= (ssize_t)len && n >= -1 && (n >= 0 || why));
    for (size_t cut = 0; cut < len && cut < 512; cut++) {
        char *copy = malloc(cut ? cut : 1);
        ASSERT(copy);
        memcpy(copy, bytes, cut);
        ssize_t m = proxy_header_parse(slice_of(copy, cut), &part, &why);
        free(copy);
        if (n > 0)
            ASSERT(m == (cut < (size_t)n ? 0 : n));
        else if (n == 0)
            ASSERT(m == 0);
    }
    if (n > 0) {
        write_and_read_back(&whole, 1);
        write_and_read_back(&whole, 2);
    }
    return 0;
}
