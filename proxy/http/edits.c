#include "proxy/http/edits.h"

static const struct option edits_options[] = {
    OPTION_AT(struct edits_settings, set, "set", OPTION_PAIRS, .shape = "{name: value}",
              .help = "Makes each the only field of its name. Values are templates."),
    OPTION_AT(struct edits_settings, add, "add", OPTION_PAIRS, .shape = "{name: value}",
              .help = "Adds a field behind those that are there. Values are templates."),
    OPTION_AT(
        struct edits_settings, remove, "remove", OPTION_TEXTS, .shape = "[name, x-*]",
        .help =
            "Takes these fields away, before `set` and `add` are done; `x-*` is every name that begins so."),
};

const struct option_table edits_table = {
    .name = "header edits",
    .help = "Changes of header fields. Names are compared without case. Fields that frame the message or "
            "belong to one connection "
            "(Connection, Content-Length, Transfer-Encoding, Upgrade, …) are weir's own.",
    .options = edits_options,
    .count = COUNT_OF(edits_options),
    .size = sizeof(struct edits_settings),
};

/* RFC 9110 §7.6.1, RFC 9112 §6. */
static const enum field_id framing[] = {
    FIELD_CONNECTION, FIELD_CONTENT_LENGTH, FIELD_TRANSFER_ENCODING, FIELD_TE,
    FIELD_TRAILER,    FIELD_UPGRADE,        FIELD_KEEP_ALIVE,        FIELD_PROXY_CONNECTION,
};

static bool id_is_framing(enum field_id id)
{
    for (size_t i = 0; i < COUNT_OF(framing); i++)
        if (framing[i] == id)
            return true;
    return false;
}

bool edits_name_is_framing(struct slice name)
{
    return id_is_framing(field_id(name)) || slice_equal_nocase(name, S("http2-settings"));
}

static int refuse_name(struct config *c, const struct config_node *at, struct slice name, enum edit_kind kind,
                       enum edits_side side)
{
    if (!is_token(name))
        config_fault_key(c, at, "%s is no name of a header field", config_quote(c, name));
    else if (edits_name_is_framing(name))
        config_fault_key(c, at, "%.*s frames the message or belongs to one connection; weir sees to it",
                         SLICE_FMT(name));
    else if (side == EDITS_REQUEST && kind != EDIT_SET && field_id(name) == FIELD_HOST)
        config_fault_key(c, at, "a request has one Host: it can be set, not added or removed");
    else
        return 0;
    return -1;
}

static struct edit *find_set(struct edits *e, struct slice name)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->at[i].kind == EDIT_SET && slice_equal_nocase(e->at[i].name, name))
            return &e->at[i];
    return NULL;
}

static int compile_pairs(struct config *c, const struct option_pairs *pairs, enum edit_kind kind,
                         enum edits_side side, struct edits *e)
{
    enum template_stage stage = side == EDITS_REQUEST ? TEMPLATE_AT_REQUEST : TEMPLATE_AT_RESPONSE;
    int rc = 0;
    for (size_t i = 0; i < pairs->count; i++) {
        const struct option_pair *p = &pairs->at[i];
        struct edit edit = {.kind = kind, .id = (uint16_t)field_id(p->name), .name = p->name};
        if (refuse_name(c, p->node, p->name, kind, side)) {
            rc = -1;
            continue;
        }
        if (!is_field_value(p->value)) {
            config_fault(c, p->node, "holds a control character, which no header field may");
            rc = -1;
            continue;
        }
        if (template_compile(c, p->node, slice_trim(p->value), stage, &edit.value)) {
            rc = -1;
            continue;
        }
        struct edit *same = kind == EDIT_SET ? find_set(e, p->name) : NULL;
        if (same) {
            *same = edit;
            continue;
        }
        e->at[e->count++] = edit;
        e->set_count += kind == EDIT_SET;
        e->add_count += kind == EDIT_ADD;
    }
    return rc;
}

static int compile_removes(struct config *c, const struct option_texts *names, enum edits_side side,
                           struct edits *e)
{
    int rc = 0;
    for (size_t i = 0; i < names->count; i++) {
        struct slice name = names->at[i];
        bool is_prefix = slice_ends(name, S("*"));
        if (is_prefix)
            name.len--;
        bool is_valid = is_prefix ? is_token(name) || name.len == 0 : true;
        if (!is_valid || memchr(name.at ? name.at : "", '*', name.len)) {
            config_fault(c, names->nodes[i], "write a name, or the beginning of names and \"*\": x-*");
            rc = -1;
        } else if (!is_prefix && refuse_name(c, names->nodes[i], name, EDIT_REMOVE, side)) {
            rc = -1;
        } else {
            ASSERT(e->at);
            enum edit_kind kind = is_prefix ? EDIT_REMOVE_PREFIX : EDIT_REMOVE;
            e->at[e->count++] =
                (struct edit){.kind = kind, .name = name, .id = is_prefix ? 0 : (uint16_t)field_id(name)};
        }
    }
    return rc;
}

int edits_compile(struct config *c, const struct edits_settings *s, enum edits_side side, struct edits *out)
{
    size_t count = s->set.count + s->add.count + s->remove.count;
    struct edits e = {0};
    if (count) {
        e.at = arena_zalloc(&c->arena, count * sizeof *e.at);
        if (!e.at) {
            c->out_of_memory = true;
            return -1;
        }
    }
    int rc = compile_removes(c, &s->remove, side, &e);
    rc |= compile_pairs(c, &s->set, EDIT_SET, side, &e);
    rc |= compile_pairs(c, &s->add, EDIT_ADD, side, &e);
    *out = e;
    return rc ? -1 : 0;
}

int edits_compile_fields(struct config *c, const struct option_pairs *pairs, struct edits *out)
{
    struct edits e = {0};
    if (pairs->count) {
        e.at = arena_zalloc(&c->arena, pairs->count * sizeof *e.at);
        if (!e.at) {
            c->out_of_memory = true;
            return -1;
        }
    }
    /* Its stage is the request's: nothing of a response is known when weir makes one up. */
    int rc = compile_pairs(c, pairs, EDIT_ADD, EDITS_REQUEST, &e);
    *out = e;
    return rc;
}

struct slice edits_safe_value(struct arena *arena, struct slice value)
{
    value = slice_trim(value);
    if (LIKELY(is_field_value(value)))
        return value;
    char *at = arena_alloc(arena, value.len);
    size_t len = 0;
    if (!at)
        return (struct slice){0};
    for (size_t i = 0; i < value.len; i++)
        if (byte_is(value.at[i], BYTE_TEXT))
            at[len++] = value.at[i];
    return slice_trim(slice_of(at, len));
}

/* A value that is ready, and whether a field has it already. */
struct ready {
    struct slice value;
    bool placed;
};

static int expand_values(const struct edits *e, struct arena *arena, template_lookup *lookup, void *context,
                         struct ready *ready)
{
    for (size_t i = 0; i < e->count; i++) {
        const struct edit *edit = &e->at[i];
        ready[i] = (struct ready){.value = S("")};
        if (edit->kind != EDIT_SET && edit->kind != EDIT_ADD)
            continue;
        if (template_expand(&edit->value, arena, lookup, context, &ready[i].value))
            return -1;
        if (!template_is_literal(&edit->value))
            ready[i].value = edits_safe_value(arena, ready[i].value);
        if (!ready[i].value.at)
            return -1;
    }
    return 0;
}

static int make_room(const struct edits *e, struct fields *f, struct arena *arena)
{
    size_t need = f->count + e->set_count + e->add_count;
    if (need <= f->capacity)
        return 0;
    struct field *at = arena_alloc(arena, need * sizeof *at);
    if (!at || need > UINT32_MAX)
        return -1;
    if (f->count)
        memcpy(at, f->at, f->count * sizeof *at);
    f->at = at;
    f->capacity = (uint32_t)need;
    return 0;
}

/* The first edit that is about the field; adds are about none. */
static size_t edit_for(const struct edits *e, const struct field *field)
{
    size_t count = e->count - e->add_count;
    for (size_t i = 0; i < count; i++) {
        const struct edit *edit = &e->at[i];
        if (edit->kind == EDIT_REMOVE_PREFIX) {
            struct slice begin = slice_of(field->name.at, edit->name.len);
            if (field->name.len >= edit->name.len && slice_equal_nocase(begin, edit->name) &&
                field->id != FIELD_HOST && !edits_name_is_framing(field->name))
                return i;
        } else if (edit->id == field->id &&
                   (edit->id != FIELD_OTHER || slice_equal_nocase(edit->name, field->name))) {
            return i;
        }
    }
    return SIZE_MAX;
}

static void edit_fields(const struct edits *e, struct fields *f, struct ready *ready)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        size_t at = edit_for(e, &f->at[i]);
        bool is_set = at != SIZE_MAX && e->at[at].kind == EDIT_SET;
        if (at != SIZE_MAX && (!is_set || ready[at].placed))
            continue;
        if (kept != i)
            f->at[kept] = f->at[i];
        if (is_set) {
            f->at[kept].value = ready[at].value;
            f->at[kept].line_len = 0;
            ready[at].placed = true;
        }
        kept++;
    }
    f->absent = 0;
    for (size_t i = e->count - e->add_count - e->set_count; i < e->count; i++)
        if (!ready[i].placed)
            f->at[kept++] = (struct field){.name = e->at[i].name, .value = ready[i].value, .id = e->at[i].id};
    f->count = kept;
}

int edits_apply(const struct edits *e, struct fields *f, struct arena *arena, template_lookup *lookup,
                void *context)
{
    if (e->count == 0)
        return 0;
    struct ready small[16], *ready = small;
    if (e->count > COUNT_OF(small) && !(ready = arena_alloc(arena, e->count * sizeof *ready)))
        return -1;
    if (expand_values(e, arena, lookup, context, ready) || make_room(e, f, arena))
        return -1;
    edit_fields(e, f, ready);
    return 0;
}
