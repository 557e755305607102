/* Trace context from strangers: the first line of the input is traceparent, each further one tracestate. What
 * is taken is well formed, goes on unchanged or shorter, and is taken again. */
#include "core/base.h"
#include "proxy/http/trace_context.h"
#include "proxy/http/trace_settings.h"

static void check_parent(struct slice text)
{
    struct trace_parent p, again;
    char written[TRACE_PARENT_TEXT];
    if (!trace_parent_read(text, &p))
        return;
    ASSERT((p.high | p.low) && p.span);
    trace_parent_write(&p, written);
    ASSERT(trace_parent_read(slice_of(written, sizeof written), &again));
    ASSERT(again.high == p.high && again.low == p.low && again.span == p.span && again.sampled == p.sampled);
    ASSERT(memcmp(written + 3, text.at + 3, 49) == 0);
}

static void check_state(const struct fields *f)
{
    struct arena a;
    arena_init(&a, NULL, 0);
    struct slice state = trace_state_of(f, &a);
    ASSERT(state.len <= TRACE_STATE_MAX);
    if (state.len) {
        struct field one = {.name = S("tracestate"), .value = state};
        struct fields again = {.at = &one, .count = 1, .capacity = 1};
        ASSERT(slice_equal(trace_state_of(&again, &a), state));
    }
    arena_reset(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice rest = slice_of((const char *)bytes, len);
    struct field lines[8];
    struct fields f = {.at = lines, .capacity = COUNT_OF(lines)};
    struct tracing_endpoint e;
    const char *why = NULL;
    size_t end = slice_find(rest, '\n');
    check_parent(slice_of(rest.at, end));
    ASSERT(tracing_endpoint_read(slice_of(rest.at, end), &e, &why) == 0 ? e.port && e.host.len : why != NULL);
    rest = slice_skip(rest, end + 1);
    while (rest.len && f.count < COUNT_OF(lines)) {
        end = slice_find(rest, '\n');
        lines[f.count++] =
            (struct field){.name = S("tracestate"), .value = slice_trim(slice_of(rest.at, end))};
        rest = slice_skip(rest, end + 1);
    }
    check_state(&f);
    return 0;
}
