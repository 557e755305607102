/* POST /api/v1/explain: {"method", "url", "headers", "client", "listener", "sni"} -> what `weir explain`
 * says, of the running configuration. */
#include "admin/explain_json.h"
#include "admin/internal.h"

static struct slice text_of(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

static bool add_field(struct http_call *c, struct fields *f, struct slice name, const json_t *value)
{
    if (!json_is_string(value))
        return false;
    struct field *at = &f->at[f->count++];
    *at = (struct field){.name = arena_copy(&c->arena, name), .value = arena_copy(&c->arena, text_of(value))};
    at->id = (uint16_t)field_id(at->name);
    return at->name.at && at->value.at && is_token(at->name) && is_field_value(at->value);
}

/* {"x-a": "1", "cookie": ["a=1", "b=2"]}; what is wrong, or NULL. */
static const char *read_headers(struct http_call *c, const json_t *headers, struct fields *f)
{
    static const char wrong[] = "\"headers\" must be an object of texts: {\"x-canary\": \"1\"}";
    size_t count = 0;
    const char *name;
    json_t *value;
    if (!headers)
        return NULL;
    if (!json_is_object(headers))
        return wrong;
    json_object_foreach((json_t *)(uintptr_t)headers, name, value) count +=
        json_is_array(value) ? json_array_size(value) : 1;
    f->at = arena_alloc(&c->arena, (count + 1) * sizeof *f->at);
    if (!f->at)
        return "out of memory";
    json_object_foreach((json_t *)(uintptr_t)headers, name, value)
    {
        bool good = true;
        for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++)
            good = good && add_field(c, f, slice_text(name), json_array_get(value, i));
        if (!json_is_array(value))
            good = add_field(c, f, slice_text(name), value);
        if (!good)
            return wrong;
    }
    return NULL;
}

static void answer(struct http_call *c, const json_t *body)
{
    struct explained e;
    struct fields fields = {0};
    const json_t *method = json_object_get(body, "method"), *url = json_object_get(body, "url");
    const json_t *client = json_object_get(body, "client"), *listener = json_object_get(body, "listener"),
                 *sni = json_object_get(body, "sni");
    const char *why =
        "\"method\" and \"url\" must be texts: {\"method\": \"GET\", \"url\": \"https://example.com/path\"}";
    bool good = (!method || json_is_string(method)) && json_is_string(url) &&
                (!client || json_is_string(client)) && (!listener || json_is_string(listener)) &&
                (!sni || json_is_string(sni));
    if (good && (why = read_headers(c, json_object_get(body, "headers"), &fields)) == NULL) {
        struct explain_input in = {.method = method ? text_of(method) : S("GET"),
                                   .url = text_of(url),
                                   .headers = fields.at,
                                   .header_count = fields.count,
                                   .client = client ? text_of(client) : S(""),
                                   .listener = listener ? text_of(listener) : S(""),
                                   .sni = sni ? text_of(sni) : S(""),
                                   .cache = admin_of(c)->runtime->cache};
        if (explain_request(admin_of(c)->runtime->snapshot, &in, &c->arena, &e, &why) == 0) {
            api_reply(c, 200, explain_json(&e, &c->arena));
            return;
        }
    }
    api_problem(c, 400, why, NULL);
}

void api_explain(struct http_call *c)
{
    static const char *const keys[] = {"method", "url", "headers", "client", "listener", "sni", NULL};
    json_t *body = api_body(c);
    if (body && api_only_keys(c, body, keys))
        answer(c, body);
    json_decref(body);
}
