#include "import/regex_sample.h"

#include <ctype.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define SAMPLE_MAX  200
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

/* The first byte of a class; `at` is behind its `[`, and after it behind the `]`. */
static char of_class(const char **at)
{
    const char *s = *at;
    char c = *s == '^' ? 'x' : *s == '\\' && s[1] ? s[1] : *s;
    if (*s == '\\' && (s[1] == 'd' || s[1] == 'w'))
        c = s[1] == 'd' ? '1' : 'w';
    if (*s == '\\' && s[1])
        s++;
    s += *s != '\0';
    while (*s && *s != ']')
        s += *s == '\\' && s[1] ? 2 : 1;
    *at = s + (*s == ']');
    return c;
}

/* Behind the rest of an alternation: at the `)` that closes it. */
static const char *skip_alternatives(const char *s)
{
    int open = 0;
    for (; *s; s++) {
        if (*s == '\\' && s[1])
            s++;
        else if (*s == '(')
            open++;
        else if (*s == ')' && open-- == 0)
            break;
    }
    return s;
}

static void make(const char *s, struct text *out)
{
    while (*s && out->len < SAMPLE_MAX) {
        char c = *s++;
        if (c == '(' && *s == '?') {
            while (*s && *s != ':' && *s != ')' && *s != '>')
                s++;
            s += *s != '\0';
        } else if (c == '|') {
            s = skip_alternatives(s);
        } else if (c == '[') {
            c = of_class(&s);
            text_add_bytes(out, &c, 1);
        } else if (c == '{') {
            while (*s && *s != '}')
                s++;
            s += *s != '\0';
        } else if (c == '\\' && *s) {
            c = *s++;
            c = c == 'd' ? '1' : c == 'w' ? 'w' : c;
            text_add_bytes(out, &c, 1);
        } else if (c == '.') {
            text_add(out, "x");
        } else if (!strchr("^$()*+?", c)) {
            text_add_bytes(out, &c, 1);
        }
    }
}

static bool is_plain_path(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/._-~", *p))
            return false;
    return *s == '/' && !strstr(s, "//") && !strstr(s, "/.") && strlen(s) < SAMPLE_MAX;
}

const char *regex_sample(struct arena *a, const char *regex, bool nocase)
{
    static const char *const before[] = {"", "/", "/sample", "/sample/"};
    struct text out = {0};
    text_add(&out, "");
    make(regex, &out);
    const char *result = NULL;
    for (size_t i = 0; i < COUNT_OF(before) && !result; i++) {
        const char *path = import_printf(a, "%s%s", before[i], out.at);
        if (is_plain_path(path) && regex_holds(regex, nocase, path))
            result = path;
    }
    text_free(&out);
    return result;
}
