/* A response head, whole and in pieces, on both paths; the mode has the limits (bit 0) and the request's
 * method. */
#include "tests/fuzz/h1_cuts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const enum http_method methods[] = {METHOD_GET, METHOD_HEAD, METHOD_CONNECT, METHOD_POST};
    static struct cut_input input;
    struct parse_job job = {JOB_RESPONSE, {8192, 12000, 128}, METHOD_GET, true};

    if (!cut_input(bytes, len, &input))
        return 0;
    job.method = methods[input.mode >> 1 & 3];
    if (input.mode & 1)
        job.limits = (struct h1_limits){60, 200, 5};
    fuzz_head(&job, &input);
    return 0;
}
