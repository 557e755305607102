/* The configuration: what is in force, how it came about, and how it is changed. */
#include <stdlib.h>

#include "admin/api_config.h"
#include "admin/warnings_json.h"

#define YAML_MAX (1u << 20)

/* What is there. */

static json_t *generation_json(const struct generation *g)
{
    json_t *number = g->number ? json_integer((json_int_t)g->number) : json_null();
    json_t *text_of = g->text_of ? json_integer((json_int_t)g->text_of) : json_null();
    return json_pack("{s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:b}", "generation", number, "at",
                     json_time(g->at_us), "by", g->by, "result", generation_result_text(g->result), "reason",
                     json_slice(slice_trim(slice_text(g->reason))), "diff", json_lines(g->words), "text_of",
                     text_of, "kept", g->source != NULL);
}

/* The newest last. */
static json_t *history_json(const struct runtime *rt)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < rt->generations.count; i++)
        json_array_append_new(all, generation_json(&rt->generations.at[i]));
    return all;
}

/* `?generation=3`; 0 = what is in force. False after a 400. */
static bool wanted_generation(struct http_call *c, uint64_t *out)
{
    struct slice query = c->request.query, pair, key = S("generation=");
    *out = 0;
    while (slice_next(&query, '&', &pair)) {
        if (!slice_begins(pair, key))
            continue;
        if (slice_to_u64(slice_skip(pair, key.len), out) == 0 && *out)
            continue;
        api_problem(c, 400, "\"generation\" must be a number, from 1", NULL);
        return false;
    }
    return true;
}

static void answer_not_kept(struct http_call *c)
{
    api_problem(c, 404, "that generation is not kept", NULL);
}

void api_config(struct http_call *c)
{
    struct admin *a = admin_of(c);
    struct runtime *rt = a->runtime;
    uint64_t wanted;
    if (!wanted_generation(c, &wanted))
        return;
    const struct generation *g =
        wanted ? generations_find(&rt->generations, wanted) : generations_newest(&rt->generations);
    if (!g) {
        answer_not_kept(c);
        return;
    }
    char *yaml = runtime_config_text(rt, g->number, YAML_MAX);
    api_reply(c, 200,
              json_pack("{s:I, s:I, s:s, s:b, s:o, s:o, s:o, s:o}", "generation", (json_int_t)g->number,
                        "current", (json_int_t)rt->generation, "file", rt->file, "file_differs",
                        runtime_file_differs(rt), "loaded", json_time(g->at_us), "yaml",
                        yaml ? json_slice(slice_text(yaml)) : json_null(), "trial", trial_json(a), "history",
                        history_json(rt)));
    free(yaml);
}

/* Changing it. */

static void answer(struct http_call *c, const struct reload_result *r)
{
    struct admin *a = admin_of(c);
    api_reply(c, 200,
              json_pack("{s:o, s:o, s:o, s:I, s:o}", "changes", json_lines(r->text), "notes",
                        json_lines(r->notes ? r->notes : ""), "warnings",
                        warnings_json(&a->runtime->snapshot->config), "generation", (json_int_t)r->generation,
                        "trial", trial_json(a)));
}

void api_reload_result(struct http_call *c, struct reload_result r, const char *refused)
{
    if (r.ok)
        answer(c, &r);
    else if (r.conflict)
        api_problem(c, 409, r.text, NULL);
    else
        api_problem_with(c, 422, refused, json_lines(r.text));
    reload_result_free(&r);
}

void api_reload(struct http_call *c)
{
    static const char *const keys[] = {"confirm", "limits", NULL};
    json_t *body = api_body(c);
    struct trial_limits limits;
    bool trial;
    if (body && api_only_keys(c, body, keys) && trial_read(c, body, &limits, &trial))
        api_reload_result(c, runtime_reload(admin_of(c)->runtime, api_asker(c), trial ? &limits : NULL),
                          "the file was not taken up; the configuration before goes on");
    json_decref(body);
}

void api_confirm(struct http_call *c)
{
    static const char *const none[] = {NULL};
    json_t *body = api_body(c);
    if (body && api_only_keys(c, body, none))
        api_reload_result(c, runtime_confirm(admin_of(c)->runtime, api_asker(c)), "");
    json_decref(body);
}

/* 0 = not given. False after a 400. */
static bool read_generation(struct http_call *c, const json_t *body, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(body, key);
    *out = 0;
    if (!value)
        return true;
    if (json_is_integer(value) && json_integer_value(value) > 0) {
        *out = (uint64_t)json_integer_value(value);
        return true;
    }
    char detail[64];
    snprintf(detail, sizeof detail, "\"%s\" must be a generation's number", key);
    api_problem(c, 400, detail, NULL);
    return false;
}

void api_rollback(struct http_call *c)
{
    static const char *const keys[] = {"generation", NULL};
    json_t *body = api_body(c);
    uint64_t number;
    if (body && api_only_keys(c, body, keys) && read_generation(c, body, "generation", &number))
        api_reload_result(c, runtime_rollback(admin_of(c)->runtime, number, api_asker(c)),
                          "that configuration cannot be taken up any more; the one in force goes on");
    json_decref(body);
}

/* Comparing. */

static void diff_generations(struct http_call *c, uint64_t from, uint64_t to)
{
    struct runtime *rt = admin_of(c)->runtime;
    api_reload_result(c, runtime_diff_generations(rt, from, to ? to : rt->generation),
                      "one of them cannot be built any more, and so not be compared");
}

void api_diff(struct http_call *c)
{
    static const char *const keys[] = {"file", "from", "to", NULL};
    json_t *body = api_body(c);
    uint64_t from, to;
    if (body && api_only_keys(c, body, keys) && read_generation(c, body, "from", &from) &&
        read_generation(c, body, "to", &to)) {
        const char *file = json_string_value(json_object_get(body, "file"));
        if (json_object_get(body, "file") && !file)
            api_problem(c, 400, "\"file\" must be a path", NULL);
        else if (file && (from || to))
            api_problem(c, 400, "either \"file\", or \"from\" and \"to\"", NULL);
        else if (to && !from)
            api_problem(c, 400, "\"to\" needs a \"from\"", NULL);
        else if (from)
            diff_generations(c, from, to);
        else
            api_reload_result(c, runtime_diff(admin_of(c)->runtime, file), "a reload would refuse this file");
    }
    json_decref(body);
}
