#include "import/haproxy_parse.h"

#define WORDS_MAX 512

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* What stands behind a backslash; bytes of it that were taken. One that escapes nothing stays itself. */
static size_t add_escape(const char *next, bool quoted, struct text *word)
{
    static const char from[] = "ntr \\#\"", to[] = "\n\t\r \\#\"";
    const char *found = strchr(from, *next);
    if (found && *found)
        text_add_bytes(word, &to[found - from], 1);
    else if ((*next == '\'' && !quoted) || (*next == '$' && quoted))
        text_add_bytes(word, next, 1);
    else
        text_add(word, "\\");
    return word->at[word->len - 1] != '\\' || *next == '\\';
}

/* One word at *at; false at the line's end. */
static bool next_word(const char **at, const char *end, struct text *word)
{
    const char *p = *at;
    char quote = '\0';
    word->len = 0;
    text_add(word, "");
    while (p < end && is_blank(*p))
        p++;
    if (p == end || *p == '#') {
        *at = end;
        return false;
    }
    for (; p < end && (quote || (!is_blank(*p) && *p != '#')); p++) {
        if (!quote && (*p == '"' || *p == '\'')) {
            quote = *p;
        } else if (quote && *p == quote) {
            quote = '\0';
        } else if (*p == '\\' && quote != '\'' && p + 1 < end) {
            p += add_escape(p + 1, quote == '"', word);
        } else {
            text_add_bytes(word, p, 1);
        }
    }
    *at = p;
    text_clean(word, 0);
    return true;
}

static struct hx_line *read_line(struct arena *a, const char *at, const char *end, unsigned number)
{
    struct hx_line *line = import_alloc(a, sizeof *line);
    const char *args[WORDS_MAX];
    struct text word = {0};
    while (line->count < WORDS_MAX && next_word(&at, end, &word))
        args[line->count++] = import_copy(a, word.at, word.len);
    text_free(&word);
    line->line = number;
    line->args = import_alloc(a, (line->count + 1) * sizeof *line->args);
    if (line->count)
        memcpy(line->args, args, line->count * sizeof *args);
    line->args[line->count] = "";
    return line;
}

static bool is_section(const struct hx_line *l)
{
    static const char *const kinds[] = {"global",      "defaults",    "frontend", "backend",
                                        "listen",      "userlist",    "peers",    "cache",
                                        "resolvers",   "mailers",     "program",  "ring",
                                        "log-forward", "http-errors", "fcgi-app", "crt-store"};
    return text_in(l->args[0], kinds, COUNT_OF(kinds));
}

static struct hx_section *section_of(struct arena *a, const struct hx_line *l)
{
    struct hx_section *s = import_alloc(a, sizeof *s);
    bool named = l->count > 1 && !text_is(l->args[1], "from");
    s->kind = l->args[0];
    s->name = named ? l->args[1] : "";
    s->line = l->line;
    for (size_t i = 1; i + 1 < l->count; i++)
        if (text_is(l->args[i], "from"))
            s->from = l->args[i + 1];
    return s;
}

static const struct hx_section *defaults_of(const struct hx_section *all, const struct hx_section *s)
{
    const struct hx_section *found = NULL;
    for (const struct hx_section *d = all; d && d != s; d = d->next)
        if (text_is(d->kind, "defaults") && (!s->from || text_is(d->name, s->from)))
            found = d;
    return found;
}

struct hx_section *haproxy_parse(struct arena *a, const char *file, struct slice text, const char **why)
{
    struct hx_section *first = NULL, **last = &first, *section = NULL;
    struct hx_line **last_line = NULL;
    const char *at = text.at, *end = text.at + text.len;
    if (text.len && memchr(text.at, '\0', text.len)) {
        *why = import_printf(a, "%s: a NUL byte in it: no text", file);
        return NULL;
    }
    for (unsigned number = 1; at < end; number++) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        struct hx_line *l = read_line(a, at, eol ? eol : end, number);
        at = eol ? eol + 1 : end;
        if (l->count == 0)
            continue;
        if (is_section(l)) {
            section = *last = section_of(a, l);
            last = &section->next;
            last_line = &section->lines;
            section->defaults = defaults_of(first, section);
        } else if (!section) {
            *why = import_printf(a, "%s:%u: \"%s\" stands in no section", file, number, l->args[0]);
            return NULL;
        } else {
            *last_line = l;
            last_line = &l->next;
        }
    }
    if (!first)
        *why = import_printf(a, "%s: no section in it", file);
    return first;
}
