/* A chunked body and the trailers behind it, whole and in pieces. What was decoded must also fit into what
 * was eaten. */
#include "tests/fuzz/h1_cuts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct cut_input input;
    static struct outcome whole, pieces;
    static struct guarded g;

    if (!cut_input(bytes, len, &input))
        return 0;
    if (!g.end)
        g = guarded_new();
    run_chunked(g, 0, input.in, &input.in.len, 1, &whole);
    run_chunked(g, input.mode % 32, input.in, input.cuts, input.count, &pieces);
    must_be_equal(&whole, &pieces, "a body: whole");
    if (whole.result > 0 && whole.len + 3 > (size_t)whole.result)
        abort();
    if (whole.result <= 0)
        return 0;

    struct parse_job job = {JOB_TRAILERS, {60, 2000, 16}, METHOD_OTHER, true};
    size_t eaten = (size_t)whole.result;
    size_t first = 0;
    while (input.cuts[first] < eaten)
        first++;
    for (size_t i = first; i < input.count; i++)
        input.cuts[i - first] = input.cuts[i] - eaten;
    input.count -= first;
    input.in = slice_skip(input.in, eaten);
    fuzz_head(&job, &input);
    return 0;
}
