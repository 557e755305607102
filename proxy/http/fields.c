#include "proxy/http/fields.h"

int fields_grow(struct arena *a, struct fields *f)
{
    uint32_t capacity = f->capacity * 2 + 8;
    struct field *at = arena_alloc(a, capacity * sizeof *at);
    if (!at)
        return -1;
    if (f->count)
        memcpy(at, f->at, f->count * sizeof *at);
    f->at = at;
    f->capacity = capacity;
    return 0;
}

void fields_remove(struct fields *f, enum field_id id)
{
    uint32_t kept = 0;
    if (f->absent >> id & 1)
        return;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].id == (uint16_t)id)
            continue;
        if (kept != i)
            f->at[kept] = f->at[i];
        kept++;
    }
    f->count = kept;
    f->absent |= FIELD_BIT(id);
}

void fields_remove_name(struct fields *f, struct slice name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (slice_equal_nocase(f->at[i].name, name))
            continue;
        if (kept != i)
            f->at[kept] = f->at[i];
        kept++;
    }
    f->count = kept;
}

/* Connection names a field that is not among the fixed ones: it goes too. What every message needs, or what
 * says who the client is, cannot be named away. */
static void strip_named(struct fields *f, struct slice connection)
{
    struct slice token;
    while (slice_next(&connection, ',', &token)) {
        enum field_id id = field_id(token);
        if (id == FIELD_HOST || id == FIELD_CONTENT_LENGTH || id == FIELD_X_FORWARDED_FOR ||
            id == FIELD_X_FORWARDED_PROTO || id == FIELD_X_FORWARDED_HOST || id == FIELD_FORWARDED ||
            id == FIELD_VIA || id == FIELD_AUTHORIZATION || id == FIELD_COOKIE || id == FIELD_X_REQUEST_ID)
            continue;
        /* Marked as one of those that the last pass takes out. */
        for (uint32_t i = 0; i < f->count; i++)
            if (f->at[i].id != FIELD_CONNECTION && slice_equal_nocase(f->at[i].name, token))
                f->at[i].id = FIELD_KEEP_ALIVE;
    }
}

static bool names_others(struct slice connection)
{
    struct slice token;
    if (field_id(connection) == FIELD_KEEP_ALIVE) /* nearly always */
        return false;
    while (slice_next(&connection, ',', &token)) {
        enum field_id id = field_id(token);
        if (!slice_equal_nocase(token, S("close")) && id != FIELD_KEEP_ALIVE && id != FIELD_UPGRADE &&
            id != FIELD_TE)
            return true;
    }
    return false;
}

void fields_strip_hop_by_hop(struct fields *f)
{
    if ((f->absent & FIELDS_HOP_BY_HOP) == FIELDS_HOP_BY_HOP)
        return;
    if (!(f->absent & FIELD_BIT(FIELD_CONNECTION))) {
        for (uint32_t i = 0; i < f->count; i++)
            if (f->at[i].id == FIELD_CONNECTION && names_others(f->at[i].value))
                strip_named(f, f->at[i].value);
    }
    uint32_t kept = 0;
    while (kept < f->count && !(FIELDS_HOP_BY_HOP >> f->at[kept].id & 1))
        kept++;
    for (uint32_t i = kept; i < f->count; i++)
        if (!(FIELDS_HOP_BY_HOP >> f->at[i].id & 1))
            f->at[kept++] = f->at[i];
    f->count = kept;
    f->absent |= FIELDS_HOP_BY_HOP;
}

bool keep_alive_timeout(struct slice value, uint32_t *seconds)
{
    struct slice parameter;
    uint64_t n;
    while (slice_next(&value, ',', &parameter)) {
        size_t sign = slice_find(parameter, '=');
        if (sign == parameter.len ||
            !slice_equal_nocase(slice_trim(slice_of(parameter.at, sign)), S("timeout")))
            continue;
        if (slice_to_u64(slice_trim(slice_skip(parameter, sign + 1)), &n) != 0)
            return false;
        *seconds = n < KEEP_ALIVE_TIMEOUT_MAX ? (uint32_t)n : KEEP_ALIVE_TIMEOUT_MAX;
        return true;
    }
    return false;
}
