/* What libyaml says when it cannot go on, in the words of somebody who has to mend the file. */
#include "config/internal.h"

/* How the opening place is brought in. */
enum opening {
    OPENING_NONE,
    OPENING_TOLD, /* in words, behind the message */
    OPENING_IS,   /* the fault itself stands there */
};

struct wording {
    const char *context, *problem; /* beginnings of libyaml's; NULL = any */
    const char *words;
    enum opening opening;
};

static const struct wording wordings[] = {
    {"while scanning a quoted scalar", "found unexpected end of stream", "this quote is never closed",
     OPENING_IS},
    {"while scanning a quoted scalar", "found unexpected document indicator", "this quote is never closed",
     OPENING_IS},
    {NULL, "found unknown escape character",
     "unknown escape behind \"\\\" in double quotes (write \\\\ for one backslash, or use single quotes)",
     OPENING_NONE},
    {NULL, "did not find expected hexdecimal number", "expected hexadecimal digits in this escape",
     OPENING_NONE},
    {NULL, "found invalid Unicode character escape code", "this escape is no Unicode character",
     OPENING_NONE},
    {NULL, "mapping values are not allowed",
     "a \":\" is not expected here (put the text in quotes, mind the indentation, or the key above lacks its "
     "own)",
     OPENING_NONE},
    {NULL, "could not find expected ':'", "expected a \":\" behind this key", OPENING_IS},
    {NULL, "block sequence entries are not allowed",
     "a list's \"- \" is not expected here (begin it on a line of its own, and mind the indentation)",
     OPENING_NONE},
    {NULL, "mapping keys are not allowed", "a \"? \" key is not expected here", OPENING_NONE},
    {"while parsing a block mapping", "did not find expected key",
     "expected another key of the map (mind the indentation)", OPENING_TOLD},
    {"while parsing a block collection", NULL,
     "expected another \"- \" entry of the list (mind the indentation)", OPENING_TOLD},
    {"while parsing a flow sequence", NULL,
     "expected \",\" or \"]\" in the list (put text with one of , : [ ] { } in quotes)", OPENING_TOLD},
    {"while parsing a flow mapping", NULL,
     "expected \",\" or \"}\" in the map (put text with one of , : [ ] { } in quotes)", OPENING_TOLD},
    {NULL, "did not find expected node content", "expected a value here", OPENING_NONE},
    {NULL, "found a tab character", "a tab cannot indent; use spaces", OPENING_NONE},
    {"while scanning an anchor", NULL, "an anchor \"&name\" needs a name of letters and digits",
     OPENING_NONE},
    {"while scanning an alias", NULL,
     "an alias \"*name\" needs a name of letters and digits (put text that begins with \"*\" in quotes)",
     OPENING_IS},
    {"while scanning a plain scalar", "found unexpected ':'",
     "a \":\" is not expected here (put the text in quotes)", OPENING_NONE},
    {"while scanning a block scalar", NULL, "expected the end of the line behind \"|\" or \">\"",
     OPENING_NONE},
    {NULL, "did not find expected <document start>", "expected the end of the file (mind the indentation)",
     OPENING_NONE},
    {NULL, "found undefined tag handle", "this tag is unknown", OPENING_NONE},
    {NULL, "exceeded maximum depth", "is nested too deep", OPENING_NONE},
};

static bool begins(const char *text, const char *prefix)
{
    return !prefix || (text && strncmp(text, prefix, strlen(prefix)) == 0);
}

static const struct wording *find_wording(const yaml_parser_t *parser)
{
    for (size_t i = 0; i < COUNT_OF(wordings); i++)
        if (begins(parser->context, wordings[i].context) && begins(parser->problem, wordings[i].problem))
            return &wordings[i];
    return NULL;
}

/* Where a byte stands, counted as libyaml does: characters, not bytes. */
static yaml_mark_t mark_of(struct slice text, size_t offset)
{
    yaml_mark_t mark = {.index = offset};
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.at[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)text.at[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    if (slice_begins(text, S("\xef\xbb\xbf")) && mark.line == 0 && mark.column)
        mark.column--;
    return mark;
}

static void fault_at(struct config *c, const struct yaml_source *source, yaml_mark_t mark, const char *words)
{
    config_fault_place(c, source->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1, "%s", words);
}

static void reader_fault(struct config *c, const struct yaml_source *source, const yaml_parser_t *parser)
{
    const char *words = begins(parser->problem, "control characters")
                            ? "a control character is not allowed in the file"
                            : "this is not UTF-8 text";
    fault_at(c, source, mark_of(source->text, parser->problem_offset), words);
}

/* The line `number` (from 0) of the text. */
static struct slice line_of(struct slice text, size_t number)
{
    for (; number && text.len; number--)
        text = slice_skip(text, slice_find(text, '\n') + 1);
    return slice_of(text.at, slice_find(text, '\n'));
}

/* The character at the mark; columns are characters. */
static char char_at(struct slice text, yaml_mark_t mark)
{
    struct slice line = line_of(text, mark.line);
    size_t offset = mark.line == 0 && slice_begins(line, S("\xef\xbb\xbf")) ? 3 : 0;
    for (size_t column = 0; column < mark.column && offset < line.len; column++) {
        offset++;
        while (offset < line.len && ((unsigned char)line.at[offset] & 0xc0) == 0x80)
            offset++;
    }
    return offset < line.len ? line.at[offset] : 0;
}

static const char *odd_character(struct config *c, struct slice text, yaml_mark_t mark)
{
    char odd = char_at(text, mark);
    if (odd == '\t')
        return "a tab cannot indent; use spaces";
    const char *words = arena_printf(&c->arena, "text cannot begin with \"%c\"; put it in quotes", odd);
    return words ? words : "text cannot begin so; put it in quotes";
}

void syntax_fault(struct config *c, const struct yaml_source *source, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        c->out_of_memory = true;
        return;
    }
    if (parser->error == YAML_READER_ERROR) {
        reader_fault(c, source, parser);
        return;
    }
    if (begins(parser->problem, "found character that cannot start")) {
        fault_at(c, source, parser->problem_mark, odd_character(c, source->text, parser->problem_mark));
        return;
    }

    const struct wording *w = find_wording(parser);
    const char *words = w ? w->words : parser->problem ? parser->problem : "this is not YAML";
    yaml_mark_t mark = w && w->opening == OPENING_IS ? parser->context_mark : parser->problem_mark;
    const char *told = NULL;
    if (w && w->opening == OPENING_TOLD)
        told = arena_printf(&c->arena, "%s; it begins at %zu:%zu", words, parser->context_mark.line + 1,
                            parser->context_mark.column + 1);
    fault_at(c, source, mark, told ? told : words);
}
