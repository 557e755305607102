/* Tables of heads: what goes in, what must come out, and every way to cut the input must give the same. */
#pragma once

#include "tests/unit/h1_pieces.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct head_case {
    struct slice in;
    unsigned status;      /* 0: a whole head; MORE: not all there; else the fault's */
    const char *expected; /* the outcome in words, or the fault's reason */
};
enum { MORE = 1 };

static inline void fail_case(const struct slice in, const char *mode, const struct outcome *o)
{
    fail_msg("%s, of:\n%.*s\n-> %zd, %u \"%s\"\n%.*s", mode, SLICE_FMT(in), o->result, o->status, o->reason,
             (int)o->len, o->text);
}

/* Whole, at several alignments; cut in two at every place; byte by byte; on this path all must be like
 * `first`. */
static inline void check_all_cuts(const struct parse_job *job, struct slice in, const struct outcome *first)
{
    static struct outcome other;
    static size_t cuts[PIECES_ROOM];
    struct guarded g = guarded_new();

    for (size_t gap = 0; gap < 40; gap++) {
        run_head(job, g, gap, in, &in.len, 1, &other);
        if (!outcome_equal(first, &other))
            fail_case(in, "whole, elsewhere", &other);
    }
    for (size_t i = 0; i <= in.len; i++) {
        run_head(job, g, 0, in, (size_t[]){i, in.len}, 2, &other);
        if (!outcome_equal(first, &other))
            fail_case(in, "in two pieces", &other);
        cuts[i] = i + 1;
    }
    run_head(job, g, 0, in, cuts, in.len, &other);
    if (!outcome_equal(first, &other))
        fail_case(in, "byte by byte", &other);
    munmap(g.end - PIECES_ROOM, PIECES_ROOM + 4096);
}

static inline void check_head(const struct parse_job *job, const struct head_case *c)
{
    static struct outcome first, other;
    struct parse_job full = *job;
    struct guarded g = guarded_new();

    full.in_full = true;
    h1_parse_init(H1_PATH_SCALAR);
    run_head(job, g, 0, c->in, &c->in.len, 1, &first);
    if (c->status == 0) {
        if (first.result <= 0 || !slice_equal(slice_of(first.text, first.len), slice_text(c->expected)))
            fail_case(c->in, "not as it must be", &first);
    } else if (c->status == MORE) {
        if (first.result != 0)
            fail_case(c->in, "not waited for", &first);
    } else if (first.result >= 0 || first.status != c->status || strcmp(first.reason, c->expected) != 0) {
        fail_case(c->in, "not refused as it must be", &first);
    }

    run_head(&full, g, 0, c->in, &c->in.len, 1, &first);
    check_all_cuts(&full, c->in, &first);
    h1_parse_init(H1_PATH_AVX2);
    run_head(&full, g, 0, c->in, &c->in.len, 1, &other);
    if (!outcome_equal(&first, &other))
        fail_case(c->in, "otherwise with AVX2", &other);
    check_all_cuts(&full, c->in, &first);
    munmap(g.end - PIECES_ROOM, PIECES_ROOM + 4096);
}

#define CHECK_HEADS(job, table)                                                                              \
    for (size_t i = 0; i < COUNT_OF(table); i++)                                                             \
    check_head(job, &(table)[i])
