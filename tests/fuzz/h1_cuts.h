/* The first bytes of a fuzzer's input choose how the rest is cut into pieces. */
#pragma once

#include "tests/unit/h1_pieces.h"

enum { CUTS_MAX = 4096, INPUT_MAX = 16384 };

struct cut_input {
    uint8_t mode; /* the input's first byte, for what the fuzzer likes */
    struct slice in;
    size_t cuts[CUTS_MAX]; /* ascending; the last is in.len */
    size_t count;
};

/* Byte 0: mode. Byte 1: how many lengths follow (0-15); 255: byte by byte. Then the lengths, repeated as
 * needed. */
static inline bool cut_input(const uint8_t *bytes, size_t len, struct cut_input *out)
{
    if (len < 2 || len > INPUT_MAX)
        return false;
    size_t lengths = bytes[1] == 255 ? 0 : bytes[1] % 16;
    if (len < 2 + lengths)
        return false;

    out->mode = bytes[0];
    out->in = slice_of((const char *)bytes + 2 + lengths, len - 2 - lengths);
    out->count = 0;
    size_t at = 0;
    while (at < out->in.len && out->count < CUTS_MAX - 1 && (lengths > 0 || bytes[1] == 255)) {
        at += lengths ? bytes[2 + out->count % lengths] + 1u : 1;
        if (at < out->in.len)
            out->cuts[out->count++] = at;
    }
    out->cuts[out->count++] = out->in.len;
    return true;
}

static inline void must_be_equal(const struct outcome *a, const struct outcome *b, const char *what)
{
    if (outcome_equal(a, b))
        return;
    fprintf(stderr, "%s:\n%zd %u %s\n%.*s\nbut\n%zd %u %s\n%.*s\n", what, a->result, a->status, a->reason,
            (int)a->len, a->text, b->result, b->status, b->reason, (int)b->len, b->text);
    abort();
}

/* Whole and in pieces, on both paths: all the same. */
static inline void fuzz_head(const struct parse_job *job, const struct cut_input *input)
{
    static struct guarded g;
    static struct outcome whole, other;

    if (!g.end)
        g = guarded_new();
    h1_parse_init(H1_PATH_SCALAR);
    run_head(job, g, 0, input->in, &input->in.len, 1, &whole);
    run_head(job, g, 0, input->in, input->cuts, input->count, &other);
    must_be_equal(&whole, &other, "scalar: whole");
    h1_parse_init(H1_PATH_AVX2);
    run_head(job, g, 0, input->in, &input->in.len, 1, &other);
    must_be_equal(&whole, &other, "whole: scalar");
    run_head(job, g, input->in.len % 32, input->in, input->cuts, input->count, &other);
    must_be_equal(&whole, &other, "AVX2: whole");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
