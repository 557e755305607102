#include "proxy/http/fields.h"

#define HOP_BY_HOP                                                                                           \
    (FIELD_BIT(FIELD_CONNECTION) | FIELD_BIT(FIELD_KEEP_ALIVE) | FIELD_BIT(FIELD_PROXY_CONNECTION) |         \
     FIELD_BIT(FIELD_TE) | FIELD_BIT(FIELD_TRANSFER_ENCODING) | FIELD_BIT(FIELD_UPGRADE))

int fields_add(struct arena *a, struct fields *f, enum field_id id, struct slice name, struct slice value)
{
    if (f->count == f->capacity) {
        uint32_t capacity = f->capacity * 2 + 8;
        struct field *at = arena_alloc(a, capacity * sizeof *at);
        if (!at)
            return -1;
        if (f->count)
            memcpy(at, f->at, f->count * sizeof *at);
        f->at = at;
        f->capacity = capacity;
    }
    f->at[f->count++] = (struct field){.name = name, .value = value, .id = (uint16_t)id};
    return 0;
}

void fields_remove(struct fields *f, enum field_id id)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].id == (uint16_t)id)
            continue;
        if (kept != i)
            f->at[kept] = f->at[i];
        kept++;
    }
    f->count = kept;
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
    uint64_t seen = 0;
    for (uint32_t i = 0; i < f->count; i++)
        seen |= FIELD_BIT(f->at[i].id);
    if (!(seen & HOP_BY_HOP))
        return;
    if (seen & FIELD_BIT(FIELD_CONNECTION)) {
        for (uint32_t i = 0; i < f->count; i++)
            if (f->at[i].id == FIELD_CONNECTION && names_others(f->at[i].value))
                strip_named(f, f->at[i].value);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (HOP_BY_HOP >> f->at[i].id & 1)
            continue;
        if (kept != i)
            f->at[kept] = f->at[i];
        kept++;
    }
    f->count = kept;
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
