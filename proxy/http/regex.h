/* Regular expressions (PCRE2; Perl's syntax), with a bound on the work of one match: a pattern that explodes
 * does not match. JIT where the system lets memory be executable, the interpreter otherwise. A pattern
 * matches anywhere in the text unless it says ^ and $. Bytes, not UTF-8. */
#pragma once

#include "config/tree.h"

struct regex;

/* What a match needs besides the pattern: one per thread. Zeroed is ready; freed with regex_scratch_free. */
struct regex_scratch {
    void *data;    /* pcre2_match_data */
    void *context; /* pcre2_match_context */
    struct slice subject;
};

#define REGEX_CAPTURES 10 /* $0 to $9 */

/* NULL with a fault at `at`, which tells the place in the pattern. Owned by the caller. */
struct regex *regex_compile(struct config *c, const struct config_node *at, struct slice pattern);
/* NULL is allowed. */
void regex_free(struct regex *r);

/* 1, 0, or -1 when the limit was reached or memory is out (also no match, but worth a word). The scratch
 * remembers where, until its next use; the subject must live as long. */
int regex_match(const struct regex *r, struct regex_scratch *scratch, struct slice subject);

/* True when it is certain that no text which begins with `begin` can match. (False says nothing: it is known
 * of patterns alone that are anchored at the begin.) */
bool regex_excludes(const struct regex *r, struct regex_scratch *scratch, struct slice begin);

/* A group of the last match; $0 is the whole. Empty for one that took no part. */
struct slice regex_capture(const struct regex_scratch *scratch, unsigned group);

/* Highest group number in the pattern. */
unsigned regex_groups(const struct regex *r);

void regex_scratch_free(struct regex_scratch *scratch);
