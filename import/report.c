#include "import/report.h"

#include <stdio.h>

struct report_entry {
    enum report_kind kind;
    const char *file, *what, *why;
    unsigned line;
    struct report_entry *next;
};

void report_add(struct report *r, enum report_kind kind, const char *file, unsigned line, const char *what,
                const char *format, ...)
{
    char buffer[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    for (const struct report_entry *e = r->first; e; e = e->next)
        if (e->kind == kind && e->line == line && text_is(e->file, file) && text_is(e->what, what) &&
            text_is(e->why, buffer))
            return;
    struct report_entry *e = import_alloc(r->arena, sizeof *e);
    *e = (struct report_entry){.kind = kind,
                               .file = file,
                               .what = what,
                               .why = import_copy(r->arena, buffer, strlen(buffer)),
                               .line = line};
    if (r->last)
        r->last->next = e;
    else
        r->first = e;
    r->last = e;
    if (kind == REPORT_LEFT)
        r->left++;
    else
        r->notes++;
}

static void print_entry(const struct report_entry *e, const char *prefix, struct text *out)
{
    size_t begin = out->len;
    text_printf(out, "%s%s:%u: %s: %s", prefix, e->file, e->line, e->what, e->why);
    for (size_t i = begin; i < out->len; i++)
        if ((unsigned char)out->at[i] < 0x20 || out->at[i] == 0x7f)
            out->at[i] = ' ';
    text_add(out, "\n");
}

/* By file in the order in which files were first met, then by line; entries of one line as they came. */
void report_print(const struct report *r, enum report_kind kind, const char *prefix, struct text *out)
{
    for (const struct report_entry *f = r->first; f; f = f->next) {
        bool seen = false;
        for (const struct report_entry *e = r->first; e != f && !seen; e = e->next)
            seen = text_is(e->file, f->file);
        unsigned at = 0, next;
        for (bool more = !seen; more; at = next) {
            next = UINT32_MAX;
            for (const struct report_entry *e = f; e; e = e->next)
                if (text_is(e->file, f->file) && e->line >= at && e->line < next)
                    next = e->line;
            more = next != UINT32_MAX;
            for (const struct report_entry *e = f; more && e; e = e->next)
                if (text_is(e->file, f->file) && e->line == next && e->kind == kind)
                    print_entry(e, prefix, out);
            next++;
        }
    }
}
