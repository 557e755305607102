#define PCRE2_CODE_UNIT_WIDTH 8
#include "proxy/http/regex.h"

#include <pcre2.h>
#include <stdlib.h>

/* Some 100 us of work at most. */
#define MATCH_LIMIT 100000
#define HEAP_KIB    1024

struct regex {
    pcre2_code *code;
    unsigned groups;
};

struct regex *regex_compile(struct config *c, const struct config_node *at, struct slice pattern)
{
    int error = 0;
    size_t offset = 0;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)(pattern.len ? pattern.at : ""), pattern.len,
                                     PCRE2_DOLLAR_ENDONLY, &error, &offset, NULL);
    if (!code) {
        PCRE2_UCHAR text[160];
        if (pcre2_get_error_message(error, text, sizeof text) < 0)
            text[0] = 0;
        config_fault(c, at, "%s is no regex: %s at character %zu", config_quote(c, pattern),
                     (const char *)text, offset + 1);
        return NULL;
    }
    /* Where memory may not be both written and executed this fails, and matches are interpreted. */
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);

    struct regex *r = malloc(sizeof *r);
    if (!r) {
        pcre2_code_free(code);
        c->out_of_memory = true;
        return NULL;
    }
    uint32_t groups = 0;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
    *r = (struct regex){code, groups};
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

unsigned regex_groups(const struct regex *r)
{
    return r->groups;
}

static int prepare(struct regex_scratch *s)
{
    if (LIKELY(s->data && s->context))
        return 0;
    if (!s->data)
        s->data = pcre2_match_data_create(REGEX_CAPTURES, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    if (!s->data || !context) {
        pcre2_match_context_free(context);
        return -1;
    }
    pcre2_set_match_limit(context, MATCH_LIMIT);
    pcre2_set_heap_limit(context, HEAP_KIB);
    s->context = context;
    return 0;
}

int regex_match(const struct regex *r, struct regex_scratch *scratch, struct slice subject)
{
    if (prepare(scratch))
        return -1;
    if (!subject.at)
        subject = S("");
    scratch->subject = subject;
    int rc = pcre2_match(r->code, (PCRE2_SPTR)subject.at, subject.len, 0, 0, scratch->data, scratch->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(r->code, (PCRE2_SPTR)subject.at, subject.len, 0, PCRE2_NO_JIT, scratch->data,
                         scratch->context);
    if (rc >= 0)
        return 1;
    return rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

bool regex_excludes(const struct regex *r, struct regex_scratch *scratch, struct slice begin)
{
    uint32_t options = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_ALLOPTIONS, &options);
    if (!(options & PCRE2_ANCHORED) || prepare(scratch))
        return false;
    /* A partial match is one that more text could make whole. */
    return pcre2_match(r->code, (PCRE2_SPTR)begin.at, begin.len, 0, PCRE2_PARTIAL_HARD | PCRE2_NO_JIT,
                       scratch->data, scratch->context) == PCRE2_ERROR_NOMATCH;
}

struct slice regex_capture(const struct regex_scratch *scratch, unsigned group)
{
    if (!scratch->data || group >= pcre2_get_ovector_count(scratch->data))
        return S("");
    const size_t *at = pcre2_get_ovector_pointer(scratch->data) + 2 * (size_t)group;
    if (at[0] == PCRE2_UNSET || at[0] > at[1] || at[1] > scratch->subject.len)
        return S("");
    return slice_of(scratch->subject.at + at[0], at[1] - at[0]);
}

void regex_scratch_free(struct regex_scratch *scratch)
{
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    *scratch = (struct regex_scratch){0};
}
