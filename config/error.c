/* Faults: recorded with their place, worded with their path, printed as compilers do. */
#include "config/internal.h"
#include "config/option.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define QUOTE_MAX    60
#define REPEATED_MAX 10000 /* the same faults again and again, by aliases, are not worded without end */

bool config_wants_faults(const struct config *c)
{
    return c->error_count < CONFIG_ERRORS_MAX && c->errors_repeated < REPEATED_MAX;
}

bool config_wants_warnings(const struct config *c)
{
    return c->warning_count < CONFIG_ERRORS_MAX;
}

/* Control characters would break the line or the terminal. */
static const char *printable(struct config *c, const char *text)
{
    size_t odd = 0;
    for (const char *p = text; *p; p++)
        odd += (unsigned char)*p < 0x20 || *p == 0x7f;
    if (!odd)
        return text;

    size_t size = strlen(text) + odd * 3 + 1;
    char *copy = arena_alloc(&c->arena, size), *to = copy;
    if (!copy)
        return NULL;
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            to += snprintf(to, size - (size_t)(to - copy), "\\x%02x", (unsigned char)*p);
        else
            *to++ = *p;
    }
    *to = 0;
    return copy;
}

static char *format_text(struct config *c, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = len < 0 ? NULL : arena_alloc(&c->arena, (size_t)len + 1);
    if (text)
        vsnprintf(text, (size_t)len + 1, format, args);
    return text;
}

static bool is_same(const struct config_error *a, const struct config_error *b)
{
    return a->line == b->line && a->column == b->column && strcmp(a->file, b->file) == 0 &&
           strcmp(a->message, b->message) == 0;
}

static int append(struct config *c, struct config_error **list, size_t *count, size_t *capacity,
                  struct config_error error)
{
    for (size_t i = 0; i < *count; i++)
        if (is_same(&(*list)[i], &error))
            return 0;
    if (*count == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 16;
        struct config_error *larger = arena_alloc(&c->arena, more * sizeof *larger);
        if (!larger)
            return -1;
        if (*count)
            memcpy(larger, *list, *count * sizeof *larger);
        *list = larger;
        *capacity = more;
    }
    (*list)[(*count)++] = error;
    return 0;
}

struct place {
    const char *file;
    uint32_t line, column;
};

static struct place place_of_value(const struct config_node *at)
{
    return at ? (struct place){at->file, at->line, at->column} : (struct place){"", 0, 0};
}

static struct place place_of_key(const struct config_node *at)
{
    return at && at->key_line ? (struct place){at->file, at->key_line, at->key_column} : place_of_value(at);
}

/* `PATH: WORDS; MEND [RULE]`, as much as there is of it. */
static const char *whole_message(struct config *c, const struct config_error *e)
{
    const char *text = e->words;
    if (text && e->path[0])
        text = arena_printf(&c->arena, "%s: %s", e->path, text);
    if (text && e->mend)
        text = arena_printf(&c->arena, "%s; %s", text, e->mend);
    if (text && e->rule)
        text = arena_printf(&c->arena, "%s [%s]", text, e->rule);
    return text ? printable(c, text) : NULL;
}

/* Faults quote what they are about: of a secret nothing is quoted. */
static const char *without_quotes(struct config *c, const char *words)
{
    const char *first = words ? strchr(words, '"') : NULL, *last = first ? strrchr(first, '"') : NULL;
    if (!first || first == last)
        return words;
    return arena_printf(&c->arena, "%.*s\"•••\"%s", (int)(first - words), words, last + 1);
}

static void record(struct config *c, const struct config_node *at, struct place place, const char *path,
                   bool warning, const struct config_advice *advice, const char *format, va_list args)
{
    if (warning ? !config_wants_warnings(c) : !config_wants_faults(c)) {
        *(warning ? &c->warnings_dropped : &c->errors_dropped) += 1;
        return;
    }
    struct config_error error = {.file = place.file,
                                 .line = place.line,
                                 .column = place.column,
                                 .path = path ? path : "",
                                 .words = format_text(c, format, args),
                                 .rule = advice ? advice->rule : NULL,
                                 .mend = advice ? advice->mend : NULL,
                                 .example = advice ? advice->example : NULL};
    if (at && at->is_secret)
        error.words = without_quotes(c, error.words);
    error.message = whole_message(c, &error);

    size_t before = c->error_count;
    int failed = !error.message;
    if (error.message && warning)
        failed = append(c, &c->warnings, &c->warning_count, &c->warning_capacity, error);
    else if (error.message)
        failed = append(c, &c->errors, &c->error_count, &c->error_capacity, error);
    if (failed)
        c->out_of_memory = true;
    else if (!warning)
        c->errors_repeated += c->error_count == before;
}

/* Not worked out for a fault that is only counted. */
static const char *path_of(struct config *c, const struct config_node *at)
{
    return config_wants_faults(c) ? config_path(c, at) : "";
}

void config_fault(struct config *c, const struct config_node *at, const char *format, ...)
{
    if (at && at->faulty)
        return;
    va_list args;
    va_start(args, format);
    record(c, at, place_of_value(at), path_of(c, at), false, NULL, format, args);
    va_end(args);
}

void config_fault_key(struct config *c, const struct config_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(c, NULL, place_of_key(at), path_of(c, at), false, NULL, format, args);
    va_end(args);
}

void config_warn(struct config *c, const struct config_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(c, at, place_of_value(at), config_path(c, at), true, NULL, format, args);
    va_end(args);
}

void config_advise(struct config *c, const struct config_node *at, const struct config_advice *advice,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(c, at, advice->at_key ? place_of_key(at) : place_of_value(at),
           config_wants_warnings(c) ? config_path(c, at) : "", true, advice, format, args);
    va_end(args);
}

void config_fault_place(struct config *c, const char *file, uint32_t line, uint32_t column,
                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(c, NULL, (struct place){file, line, column}, NULL, false, NULL, format, args);
    va_end(args);
}

const char *config_quote(struct config *c, struct slice text)
{
    size_t len = text.len;
    if (!config_wants_faults(c))
        return "\"…\"";
    if (config_looks_secret(text))
        return "\"•••\"";
    if (len > QUOTE_MAX) {
        len = QUOTE_MAX;
        while (len && ((unsigned char)text.at[len] & 0xc0) == 0x80)
            len--;
    }
    char *quoted =
        arena_printf(&c->arena, "\"%.*s%s\"", (int)len, text.at ? text.at : "", len < text.len ? "…" : "");
    return quoted ? quoted : "\"…\"";
}

const char *node_describe(struct config *c, const struct config_node *node)
{
    switch (node->kind) {
    case NODE_NULL:
        return "nothing";
    case NODE_LIST:
        return "a list";
    case NODE_MAP:
        return "a map";
    case NODE_SCALAR:
        break;
    }
    if (node->is_secret)
        return "a text that is kept secret";
    return config_quote(c, node->text);
}

static int compare(const void *x, const void *y)
{
    const struct config_error *a = *(const struct config_error *const *)x,
                              *b = *(const struct config_error *const *)y;
    int files = strcmp(a->file, b->file);
    if (files)
        return files;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a < b ? -1 : a > b; /* the same place: as they were found */
}

static size_t write_line(char *to, size_t size, const struct config_error *error, const char *level)
{
    int len;
    if (!error->file[0])
        len = snprintf(to, size, "%s%s\n", level, error->message);
    else if (!error->line)
        len = snprintf(to, size, "%s: %s%s\n", error->file, level, error->message);
    else
        len = snprintf(to, size, "%s:%u:%u: %s%s\n", error->file, error->line, error->column, level,
                       error->message);
    return len < 0 ? 0 : (size_t)len;
}

static const struct config_error **sort(struct config *c, const struct config_error *list, size_t count)
{
    const struct config_error **sorted = arena_alloc(&c->arena, (count + 1) * sizeof(void *));
    for (size_t i = 0; sorted && i < count; i++)
        sorted[i] = &list[i];
    if (sorted)
        qsort(sorted, count, sizeof(void *), compare);
    return sorted;
}

const struct config_error **config_errors_sorted(struct config *c)
{
    return sort(c, c->errors, c->error_count);
}

const struct config_error **config_warnings_sorted(struct config *c)
{
    return sort(c, c->warnings, c->warning_count);
}

static const char *lines(struct config *c, const struct config_error *list, size_t count, const char *level)
{
    const struct config_error **sorted = sort(c, list, count);
    size_t size = 1, used = 0;
    if (!sorted)
        return NULL;
    for (size_t i = 0; i < count; i++)
        size += write_line(NULL, 0, &list[i], level);

    char *text = arena_alloc(&c->arena, size);
    if (!text)
        return NULL;
    text[0] = 0;
    for (size_t i = 0; i < count; i++)
        used += write_line(text + used, size - used, sorted[i], level);
    return text;
}

const char *config_errors_text(struct config *c)
{
    const char *text = lines(c, c->errors, c->error_count, "");
    if (text && c->errors_dropped)
        text = arena_printf(&c->arena, "%s%zu more faults are not shown\n", text, c->errors_dropped);
    if (text && c->out_of_memory)
        text = arena_printf(&c->arena, "%sout of memory\n", text);
    return text ? text : "out of memory\n";
}

const char *config_warnings_text(struct config *c)
{
    const char *text = lines(c, c->warnings, c->warning_count, "warning: ");
    if (text && c->warnings_dropped)
        text = arena_printf(&c->arena, "%smore warnings are not shown\n", text);
    return text ? text : "out of memory\n";
}

const char *config_warning_line(struct config *c, const struct config_error *warning)
{
    size_t len = write_line(NULL, 0, warning, "warning: ");
    char *line = arena_alloc(&c->arena, len + 1);
    if (!line || len == 0)
        return NULL;
    write_line(line, len + 1, warning, "warning: ");
    line[len - 1] = 0;
    return line;
}

struct slice config_error_mend(const struct config_error *error, struct slice *what)
{
    size_t at = SIZE_MAX;
    bool quoted = false;
    *what = slice_text(error->words);
    if (error->mend)
        return slice_text(error->mend);
    for (size_t i = 0; i < what->len; i++) {
        quoted ^= what->at[i] == '"';
        if (!quoted && what->at[i] == ';' && i + 1 < what->len && what->at[i + 1] == ' ')
            at = i;
    }
    if (quoted || at == SIZE_MAX)
        return S("");
    struct slice mend = slice_skip(*what, at + 2);
    what->len = at;
    return mend;
}
