#include "admin/warnings_json.h"

#include "admin/internal.h"

static void set(json_t *o, const char *key, struct slice text)
{
    if (text.len)
        json_object_set_new(o, key, json_slice(text));
}

static json_t *warning_json(struct config *c, const struct config_error *e)
{
    json_t *o = json_object();
    struct slice what, mend = config_error_mend(e, &what);
    set(o, "text", slice_text(config_warning_line(c, e)));
    set(o, "file", slice_text(e->file));
    if (e->line) {
        json_object_set_new(o, "line", json_integer(e->line));
        json_object_set_new(o, "column", json_integer(e->column));
    }
    set(o, "path", slice_text(e->path));
    set(o, "message", what);
    set(o, "mend", mend);
    set(o, "example", slice_text(e->example));
    set(o, "rule", slice_text(e->rule));
    return o;
}

json_t *warnings_json(struct config *c)
{
    const struct config_error **all = config_warnings_sorted(c);
    json_t *list = json_array();
    for (size_t i = 0; all && list && i < c->warning_count; i++)
        json_array_append_new(list, warning_json(c, all[i]));
    return list;
}
