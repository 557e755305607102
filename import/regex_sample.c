#include "import/regex_sample.h"

#include <ctype.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "proxy/http/regex_sample.h"

#define MATCH_LIMIT 100000

bool regex_holds(const char *regex, bool nocase, const char *text)
{
    int error;
    size_t at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, nocase ? PCRE2_CASELESS : 0,
                                     &error, &at, NULL);
    if (!code)
        return false;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    int found = -1;
    if (data && context) {
        pcre2_set_match_limit(context, MATCH_LIMIT);
        found = pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, data, context);
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return found >= 0;
}

static bool is_plain_path(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/._-~", *p))
            return false;
    return *s == '/' && !strstr(s, "//") && !strstr(s, "/.") && strlen(s) < REGEX_SAMPLE_BYTES;
}

struct wanted {
    const char *regex;
    bool nocase;
};

static bool holds(void *argument, struct slice path)
{
    const struct wanted *w = argument;
    return is_plain_path(path.at) && regex_holds(w->regex, w->nocase, path.at);
}

const char *regex_sample(struct arena *a, const char *regex, bool nocase)
{
    struct wanted wanted = {regex, nocase};
    const struct regex_sampling s = {
        .arena = a, .pattern = slice_text(regex), .paths = true, .holds = holds, .argument = &wanted};
    struct slice path;
    return regex_samples(&s, &path, 1, NULL) ? path.at : NULL;
}
