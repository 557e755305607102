/* Faults as JSON, for editors and CI. */
#include "config/json.h"

#include <stdio.h>

static void pair_if(struct json *j, const char *key, const char *text)
{
    if (text && *text)
        json_pair(j, key, text);
}

static void number(struct json *j, const char *key, uint32_t value)
{
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    json_pair_raw(j, key, text);
}

static void write_one(struct json *j, const struct config_error *e)
{
    struct slice what, mend = config_error_mend(e, &what);
    json_open(j, '{');
    pair_if(j, "file", e->file);
    if (e->line) {
        number(j, "line", e->line);
        number(j, "column", e->column);
    }
    pair_if(j, "path", e->path);
    json_key(j, "message");
    json_text(j, what);
    if (mend.len) {
        json_key(j, "mend");
        json_text(j, mend);
    }
    pair_if(j, "example", e->example);
    pair_if(j, "rule", e->rule);
    json_close(j, '}');
}

static void write_all(struct json *j, const char *key, const struct config_error **all, size_t count)
{
    json_key(j, key);
    json_open(j, '[');
    for (size_t i = 0; all && i < count; i++)
        write_one(j, all[i]);
    json_close(j, ']');
}

void config_faults_json(struct config *c, struct json *j)
{
    write_all(j, "errors", config_errors_sorted(c), c->error_count);
    write_all(j, "warnings", config_warnings_sorted(c), c->warning_count);
}
