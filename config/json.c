#include "config/json.h"

#include <stdio.h>

static void next(struct json *j)
{
    if (j->after_key) {
        j->after_key = false;
        return;
    }
    if (j->has_member)
        output_text(&j->out, ",");
    j->has_member = true;
    if (j->depth)
        output_text(&j->out, "\n");
    for (unsigned i = 0; i < j->depth; i++)
        output_text(&j->out, "  ");
}

void json_open(struct json *j, char bracket)
{
    next(j);
    output_text(&j->out, (char[]){bracket, 0});
    j->depth++;
    j->has_member = false;
}

void json_close(struct json *j, char bracket)
{
    j->depth--;
    if (j->has_member) {
        output_text(&j->out, "\n");
        for (unsigned i = 0; i < j->depth; i++)
            output_text(&j->out, "  ");
    }
    output_text(&j->out, (char[]){bracket, 0});
    j->has_member = true;
}

static void quoted(struct json *j, struct slice text)
{
    output_text(&j->out, "\"");
    for (size_t i = 0; i < text.len; i++) {
        unsigned char ch = (unsigned char)text.at[i];
        char escaped[8] = {(char)ch, 0};
        if (ch == '"' || ch == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", ch);
        else if (ch < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", ch);
        output_text(&j->out, escaped);
    }
    output_text(&j->out, "\"");
}

void json_key(struct json *j, const char *key)
{
    next(j);
    quoted(j, slice_text(key));
    output_text(&j->out, ": ");
    j->after_key = true;
}

void json_text(struct json *j, struct slice text)
{
    next(j);
    quoted(j, text);
}

void json_raw(struct json *j, const char *text)
{
    next(j);
    output_text(&j->out, text);
}

void json_pair(struct json *j, const char *key, const char *text)
{
    json_key(j, key);
    json_text(j, slice_text(text));
}

void json_pair_raw(struct json *j, const char *key, const char *text)
{
    json_key(j, key);
    json_raw(j, text);
}
