#include "proxy/http/conditions.h"

static int read_matcher(struct config *c, const struct config_node *node, struct condition *out)
{
    if (node->kind == NODE_SCALAR) {
        out->kind = CONDITION_EXACT;
        return option_text(c, node, &out->value);
    }
    const struct config_node *item = node->kind == NODE_MAP && node->count == 1 ? node->items[0] : NULL;
    if (item && slice_equal(item->key, S("present"))) {
        bool present = true;
        int rc = option_bool(c, item, &present);
        out->kind = present ? CONDITION_PRESENT : CONDITION_ABSENT;
        return rc;
    }
    if (item && slice_equal(item->key, S("regex"))) {
        out->kind = CONDITION_REGEX;
        if (option_text(c, item, &out->value))
            return -1;
        out->regex = regex_compile(c, item, out->value);
        return out->regex ? 0 : -1;
    }
    config_fault(c, node, "expected a value, {regex: \"…\"} or {present: true}");
    return -1;
}

static int read_map(struct config *c, const struct config_node *map, enum condition_source source,
                    struct conditions *out)
{
    int rc = 0;
    if (!map || map->kind == NODE_NULL)
        return 0;
    if (map->kind != NODE_MAP) {
        config_fault(c, map, "expected a map, written {name: value}");
        return -1;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct config_node *node = map->items[i];
        struct condition s = {.source = source, .name = node->key, .node = node};
        if (source != CONDITION_QUERY && !is_token(node->key)) {
            config_fault_key(c, node, "%s is no name of a %s", config_quote(c, node->key),
                             source == CONDITION_HEADER ? "header field" : "cookie");
            rc = -1;
            continue;
        }
        if (source == CONDITION_HEADER)
            s.field_id = (uint16_t)field_id(node->key);
        if (node->kind == NODE_NULL)
            continue;
        if (read_matcher(c, node, &s)) {
            rc = -1;
            continue;
        }
        out->at[out->count++] = s;
    }
    return rc;
}

static size_t entries(const struct config_node *map)
{
    return map && map->kind == NODE_MAP ? map->count : 0;
}

int conditions_compile(struct config *c, const struct config_node *headers, const struct config_node *query,
                       const struct config_node *cookies, struct conditions *out)
{
    size_t count = entries(headers) + entries(query) + entries(cookies);
    *out = (struct conditions){0};
    if (count && !(out->at = arena_zalloc(&c->arena, count * sizeof *out->at))) {
        c->out_of_memory = true;
        return -1;
    }
    int rc = read_map(c, headers, CONDITION_HEADER, out);
    rc |= read_map(c, query, CONDITION_QUERY, out);
    rc |= read_map(c, cookies, CONDITION_COOKIE, out);
    return rc;
}

void conditions_free(struct conditions *s)
{
    for (size_t i = 0; i < s->count; i++)
        regex_free(s->at[i].regex);
    *s = (struct conditions){0};
}

bool query_value(struct slice query, struct slice name, struct slice *value)
{
    while (query.len) {
        struct slice pair = slice_of(query.at, slice_find(query, '&'));
        query = slice_skip(query, pair.len + 1);
        size_t equals = slice_find(pair, '=');
        if (slice_equal(slice_of(pair.at, equals), name) && pair.len) {
            *value = slice_skip(pair, equals + 1);
            return true;
        }
    }
    return false;
}

bool cookie_value(const struct fields *fields, struct slice name, struct slice *value)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        if (fields->at[i].id != FIELD_COOKIE)
            continue;
        struct slice rest = fields->at[i].value, pair;
        while (slice_next(&rest, ';', &pair)) {
            size_t equals = slice_find(pair, '=');
            if (equals < pair.len && slice_equal(slice_trim(slice_of(pair.at, equals)), name)) {
                *value = slice_trim(slice_skip(pair, equals + 1));
                return true;
            }
        }
    }
    return false;
}

static bool header_value(const struct fields *fields, const struct condition *s, struct slice *value)
{
    const struct field *f =
        s->field_id != FIELD_OTHER ? fields_find(fields, s->field_id) : fields_find_name(fields, s->name);
    if (f)
        *value = f->value;
    return f != NULL;
}

static bool find_value(const struct condition *s, const struct http_request *r, struct slice *value)
{
    switch (s->source) {
    case CONDITION_HEADER:
        return header_value(&r->fields, s, value);
    case CONDITION_QUERY:
        return query_value(r->query, s->name, value);
    case CONDITION_COOKIE:
        return cookie_value(&r->fields, s->name, value);
    }
    return false;
}

static bool holds(const struct condition *s, bool found, struct slice value, struct regex_scratch *scratch)
{
    switch (s->kind) {
    case CONDITION_EXACT:
        return found && slice_equal(value, s->value);
    case CONDITION_REGEX:
        return found && regex_match(s->regex, scratch, value) == 1;
    case CONDITION_PRESENT:
        return found;
    case CONDITION_ABSENT:
        return !found;
    }
    return false;
}

const struct condition *conditions_fail(const struct conditions *s, const struct http_request *request,
                                        struct regex_scratch *scratch)
{
    for (size_t i = 0; i < s->count; i++) {
        struct slice value = S("");
        bool found = find_value(&s->at[i], request, &value);
        if (!holds(&s->at[i], found, value, scratch))
            return &s->at[i];
    }
    return NULL;
}

static bool same_name(const struct condition *a, const struct condition *b)
{
    if (a->source != b->source)
        return false;
    return a->source == CONDITION_HEADER ? slice_equal_nocase(a->name, b->name)
                                         : slice_equal(a->name, b->name);
}

static bool exclude_each_other(const struct condition *a, const struct condition *b,
                               struct regex_scratch *scratch)
{
    if (a->kind == CONDITION_ABSENT || b->kind == CONDITION_ABSENT)
        return a->kind != b->kind;
    if (a->kind == CONDITION_PRESENT || b->kind == CONDITION_PRESENT)
        return false;
    if (a->kind == b->kind)
        return !slice_equal(a->value, b->value);
    return a->kind == CONDITION_EXACT ? !holds(b, true, a->value, scratch)
                                      : !holds(a, true, b->value, scratch);
}

bool conditions_exclude(const struct conditions *a, const struct conditions *b, struct regex_scratch *scratch)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (same_name(&a->at[i], &b->at[k]) && exclude_each_other(&a->at[i], &b->at[k], scratch))
                return true;
    return false;
}

const char *condition_name(struct arena *arena, const struct condition *s)
{
    static const char *const kinds[] = {"header", "query argument", "cookie"};
    const char *text = arena_printf(arena, "%s %.*s", kinds[s->source], SLICE_FMT(s->name));
    return text ? text : kinds[s->source];
}
