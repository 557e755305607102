/* A request head, whole and in pieces, on both paths; bit 0 of the mode makes the limits tight. */
#include "tests/fuzz/h1_cuts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct cut_input input;
    struct parse_job job = {JOB_REQUEST, {8192, 12000, 128}, METHOD_OTHER, true};

    if (!cut_input(bytes, len, &input))
        return 0;
    if (input.mode & 1)
        job.limits = (struct h1_limits){60, 200, 5};
    fuzz_head(&job, &input);
    return 0;
}
