#include "proxy/http/preconditions.h"

#include "cache/date.h"

struct etag {
    struct slice opaque; /* with its quotes */
    bool is_weak;
};

/* RFC 9110 §8.8.3. Takes an entity-tag from the front of *s; false when there is none. */
static bool take_etag(struct slice *s, struct etag *out)
{
    struct slice rest = *s;
    out->is_weak = slice_begins(rest, S("W/"));
    if (out->is_weak)
        rest = slice_skip(rest, 2);
    if (rest.len < 2 || rest.at[0] != '"')
        return false;
    size_t end = 1 + slice_find(slice_skip(rest, 1), '"');
    if (end >= rest.len)
        return false;
    for (size_t i = 1; i < end; i++)
        if ((unsigned char)rest.at[i] <= ' ' || rest.at[i] == 0x7f)
            return false;
    out->opaque = slice_of(rest.at, end + 1);
    *s = slice_skip(rest, end + 1);
    return true;
}

/* §8.8.3.2. The strong comparison wants neither to be weak. */
static bool etags_match(const struct etag *a, const struct etag *b, bool strongly)
{
    return slice_equal(a->opaque, b->opaque) && !(strongly && (a->is_weak || b->is_weak));
}

/* A comma may stand inside of a tag: the list cannot be cut at commas. Past a fault nothing matches. */
static bool list_has(struct slice list, const struct etag *own, bool strongly)
{
    for (;;) {
        struct etag given;
        while (list.len && (list.at[0] == ',' || list.at[0] == ' ' || list.at[0] == '\t'))
            list = slice_skip(list, 1);
        if (!take_etag(&list, &given))
            return false;
        struct slice behind = slice_trim(list);
        if (behind.len && behind.at[0] != ',')
            return false;
        if (etags_match(&given, own, strongly))
            return true;
    }
}

/* Whether a field of that id, on one line or several, names the representation. */
static bool names_it(const struct fields *f, enum field_id id, const struct validators *v, bool strongly)
{
    struct etag own;
    struct slice text = v->etag;
    bool has_etag = take_etag(&text, &own);
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].id != id)
            continue;
        if (slice_equal(f->at[i].value, S("*")) || (has_etag && list_has(f->at[i].value, &own, strongly)))
            return true;
    }
    return false;
}

/* The only field of that id; NULL when there are none or several, which says nothing. */
static const struct field *only_field(const struct fields *f, enum field_id id)
{
    const struct field *found = NULL;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].id != id)
            continue;
        if (found)
            return NULL;
        found = &f->at[i];
    }
    return found;
}

/* False too when there is no date to compare. */
static bool date_of(const struct fields *f, enum field_id id, const struct validators *v, int64_t now,
                    int64_t *out)
{
    const struct field *field = v->has_modified ? only_field(f, id) : NULL;
    return field && http_date_parse(field->value, now, out) == 0;
}

/* In the order of §13.2.2. */
unsigned preconditions_check(const struct fields *request, const struct validators *v, int64_t now)
{
    int64_t date;
    if (fields_find(request, FIELD_IF_MATCH)) {
        if (!names_it(request, FIELD_IF_MATCH, v, true))
            return 412;
    } else if (date_of(request, FIELD_IF_UNMODIFIED_SINCE, v, now, &date) && v->modified > date) {
        return 412;
    }
    if (fields_find(request, FIELD_IF_NONE_MATCH))
        return names_it(request, FIELD_IF_NONE_MATCH, v, false) ? 304 : 0;
    if (date_of(request, FIELD_IF_MODIFIED_SINCE, v, now, &date) && v->modified <= date)
        return 304;
    return 0;
}

bool preconditions_allow_range(const struct fields *request, const struct validators *v, int64_t now)
{
    if (!fields_find(request, FIELD_IF_RANGE))
        return true;
    const struct field *f = only_field(request, FIELD_IF_RANGE);
    if (!f)
        return false;
    struct etag own, given;
    struct slice text = f->value, own_text = v->etag;
    if (take_etag(&text, &given))
        return text.len == 0 && take_etag(&own_text, &own) && etags_match(&given, &own, true);
    /* §8.8.2.2: a date that is not over yet may stand for more than one state. */
    int64_t date;
    return date_of(request, FIELD_IF_RANGE, v, now, &date) && date == v->modified && now > date;
}
