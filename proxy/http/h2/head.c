#include "proxy/http/h2/head.h"

#include <stdlib.h>

#define SPARE_FIELDS 8

void h2_head_begin(struct h2_head *h)
{
    h->len = h->count = h->decoded = 0;
    h->fault = NULL;
    h->status = 0;
}

void h2_head_free(struct h2_head *h)
{
    free(h->bytes);
    free(h->lines);
    *h = (struct h2_head){0};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

const char *h2_field_fault(struct slice name, struct slice value)
{
    struct slice token = name.len && name.at[0] == ':' ? slice_skip(name, 1) : name;
    unsigned classes = token.len ? BYTE_TOKEN : 0, capitals = 0; /* of all its bytes, and of any */
    for (size_t i = 0; i < token.len; i++) {
        unsigned c = (unsigned char)token.at[i];
        classes &= byte_class[c];
        capitals |= c - 'A' < 26;
    }
    if (!(classes & BYTE_TOKEN))
        return "a field name is not a token";
    if (capitals)
        return "a field name has capitals";
    if (!is_field_value(value))
        return "a control character in a field";
    if (value.len && (is_blank(value.at[0]) || is_blank(value.at[value.len - 1])))
        return "a field value begins or ends with white space";
    switch (field_id(name)) {
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return "a field that is the connection's"; /* RFC 9113 §8.2.2 */
    case FIELD_TE:
        return slice_equal_nocase(value, S("trailers")) ? NULL : "TE is not \"trailers\"";
    default:
        return NULL;
    }
}

static int make_room(struct h2_head *h, size_t bytes)
{
    if (h->capacity - h->len < bytes) {
        uint32_t capacity = h->capacity * 2 + 1024;
        while (capacity - h->len < bytes)
            capacity *= 2;
        char *at = realloc(h->bytes, capacity);
        if (!at)
            return -1;
        h->bytes = at;
        h->capacity = capacity;
    }
    if (h->count == h->room) {
        uint32_t room = h->room * 2 + 16;
        struct h2_line *lines = realloc(h->lines, room * sizeof *lines);
        if (!lines)
            return -1;
        h->lines = lines;
        h->room = room;
    }
    return 0;
}

int h2_head_add(struct h2_head *h, struct slice name, struct slice value)
{
    size_t bytes = name.len + value.len + 4;
    if (make_room(h, bytes) != 0)
        return -1;
    h->lines[h->count++] = (struct h2_line){h->len, (uint32_t)name.len, (uint32_t)value.len};
    char *to = h->bytes + h->len;
    memcpy(to, name.at, name.len);
    memcpy(to + name.len, ": ", 2);
    if (value.len)
        memcpy(to + name.len + 2, value.at, value.len);
    memcpy(to + bytes - 2, "\r\n", 2);
    h->len += (uint32_t)bytes;
    return 0;
}

static void take_pseudo(struct h2_pseudo *to, struct slice name, struct slice value)
{
    if (slice_equal(name, S(":method")))
        to->method = value;
    else if (slice_equal(name, S(":path")))
        to->path = value;
    else if (slice_equal(name, S(":scheme")))
        to->scheme = value;
    else if (slice_equal(name, S(":authority")))
        to->authority = value;
    else if (slice_equal(name, S(":protocol")))
        to->protocol = value;
}

int h2_head_fields(const struct h2_head *h, struct arena *a, struct fields *out, struct h2_pseudo *pseudo)
{
    char *copy = arena_alloc(a, h->len + 1);
    *out = (struct fields){arena_alloc(a, (h->count + SPARE_FIELDS) * sizeof *out->at), 0,
                           h->count + SPARE_FIELDS, 0};
    if (!copy || !out->at)
        return -1;
    if (h->len)
        memcpy(copy, h->bytes, h->len);
    for (uint32_t i = 0; i < h->count; i++) {
        const struct h2_line *l = &h->lines[i];
        struct slice name = slice_of(copy + l->at, l->name_len);
        struct slice value = slice_of(copy + l->at + l->name_len + 2, l->value_len);
        if (name.at[0] == ':') {
            if (pseudo)
                take_pseudo(pseudo, name, value);
            continue;
        }
        out->at[out->count++] = (struct field){.name = name,
                                               .value = value,
                                               .line_len = l->name_len + l->value_len + 4,
                                               .id = (uint16_t)field_id(name)};
    }
    return 0;
}

struct slice h2_head_pseudo(const struct h2_head *h, struct slice name)
{
    for (uint32_t i = 0; i < h->count; i++) {
        const struct h2_line *l = &h->lines[i];
        if (slice_equal(slice_of(h->bytes + l->at, l->name_len), name))
            return slice_of(h->bytes + l->at + l->name_len + 2, l->value_len);
    }
    return slice_of(NULL, 0);
}
