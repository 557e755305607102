#include "proxy/http/trace_context.h"

#include <endian.h>

#define MEMBER_LONG 128 /* §3.3.1.5: such members go first */

/* `digits` of them, in lower case, as a number. False when there is another byte among them. */
static bool read_hex(const char *at, size_t digits, uint64_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = at[i];
        if (c >= '0' && c <= '9')
            number = number << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            number = number << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = number;
    return true;
}

bool trace_parent_read(struct slice value, struct trace_parent *out)
{
    struct trace_parent p = {0};
    uint64_t version, flags;
    const char *at = value.at;
    if (value.len < TRACE_PARENT_TEXT || at[2] != '-' || at[35] != '-' || at[52] != '-' ||
        !read_hex(at, 2, &version) || version == 0xff)
        return false;
    if (value.len > TRACE_PARENT_TEXT && (version == 0 || at[TRACE_PARENT_TEXT] != '-'))
        return false;
    if (!read_hex(at + 3, 16, &p.high) || !read_hex(at + 19, 16, &p.low) || !read_hex(at + 36, 16, &p.span) ||
        !read_hex(at + 53, 2, &flags) || !(p.high | p.low) || !p.span)
        return false;
    p.sampled = flags & 1;
    p.is_random = flags & 2;
    *out = p;
    return true;
}

/* Eight digits, one a byte, the first in the lowest. */
static uint64_t digits_of(uint32_t number)
{
    uint64_t n = number;
    n = (n & 0xffff0000u) << 16 | (n & 0xffffu);
    n = (n & 0x0000ff000000ff00u) << 8 | (n & 0x000000ff000000ffu);
    n = (n & 0x00f000f000f000f0u) << 4 | (n & 0x000f000f000f000fu);
    uint64_t letters = (n + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    return htobe64(n + 0x3030303030303030u + letters * ('a' - '0' - 10));
}

void trace_hex(uint64_t number, char out[16])
{
    uint64_t digits[2] = {digits_of((uint32_t)(number >> 32)), digits_of((uint32_t)number)};
    memcpy(out, digits, 16);
}

void trace_parent_write(const struct trace_parent *p, char out[TRACE_PARENT_TEXT])
{
    memcpy(out, "00-", 3);
    trace_hex(p->high, out + 3);
    trace_hex(p->low, out + 19);
    out[35] = '-';
    trace_hex(p->span, out + 36);
    memcpy(out + 52, "-0", 2);
    out[54] = (char)('0' + p->sampled + 2 * p->is_random);
}

static bool is_named(const struct field *f, struct slice name)
{
    return f->id == FIELD_OTHER && f->name.len == name.len && slice_equal_nocase(f->name, name);
}

bool trace_is_there(const struct fields *f)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (is_named(&f->at[i], S("traceparent")) || is_named(&f->at[i], S("tracestate")))
            return true;
    return false;
}

bool trace_parent_of(const struct fields *f, struct trace_parent *out)
{
    const struct field *found = NULL;
    for (uint32_t i = 0; i < f->count; i++) {
        if (!is_named(&f->at[i], S("traceparent")))
            continue;
        if (found)
            return false;
        found = &f->at[i];
    }
    return found && trace_parent_read(found->value, out);
}

/* tracestate, §3.3.1. */

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/';
}

static bool is_key_part(struct slice s, size_t max, bool may_begin_with_digit)
{
    if (s.len == 0 || s.len > max)
        return false;
    char first = s.at[0];
    if (!((first >= 'a' && first <= 'z') || (may_begin_with_digit && first >= '0' && first <= '9')))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_key_char(s.at[i]))
            return false;
    return true;
}

static bool is_key(struct slice s)
{
    size_t at = slice_find(s, '@');
    if (at == s.len)
        return is_key_part(s, 256, false);
    return is_key_part(slice_of(s.at, at), 241, true) && is_key_part(slice_skip(s, at + 1), 14, false);
}

static bool is_state_value(struct slice s)
{
    if (s.len == 0 || s.len > 256 || s.at[s.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < ' ' || s.at[i] > '~' || s.at[i] == ',' || s.at[i] == '=')
            return false;
    return true;
}

static bool is_member(struct slice s)
{
    size_t equals = slice_find(s, '=');
    return equals < s.len && is_key(slice_of(s.at, equals)) && is_state_value(slice_skip(s, equals + 1));
}

/* Appends the line's members to those that there are; -1 when one is malformed, or there are too many. */
static int take_members(struct slice line, struct slice *members, int count)
{
    struct slice member;
    while (slice_next(&line, ',', &member)) {
        if (count == TRACE_STATE_MEMBERS || !is_member(member))
            return -1;
        members[count++] = member;
    }
    return count;
}

/* Which member goes. */
static int worst(const struct slice *members, int count)
{
    for (int i = count; i-- > 0;)
        if (members[i].len > MEMBER_LONG)
            return i;
    return count - 1;
}

static struct slice join(struct slice *members, int count, size_t len, struct arena *a)
{
    while (len > TRACE_STATE_MAX) {
        int out = worst(members, count);
        len -= members[out].len + 1;
        memmove(&members[out], &members[out + 1], (size_t)(count - out - 1) * sizeof *members);
        count--;
    }
    char *text = arena_alloc(a, len + 1), *to = text;
    if (!text)
        return S("");
    for (int i = 0; i < count; i++) {
        if (i)
            *to++ = ',';
        to = mempcpy(to, members[i].at, members[i].len);
    }
    return slice_of(text, (size_t)(to - text));
}

struct slice trace_state_of(const struct fields *f, struct arena *a)
{
    struct slice members[TRACE_STATE_MEMBERS], only = S("");
    int count = 0, lines = 0;
    size_t len = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (!is_named(&f->at[i], S("tracestate")))
            continue;
        only = f->at[i].value;
        lines++;
        if ((count = take_members(only, members, count)) < 0)
            return S("");
    }
    if (count == 0)
        return S("");
    if (lines == 1 && only.len <= TRACE_STATE_MAX)
        return only;
    for (int i = 0; i < count; i++)
        len += members[i].len + (i != 0);
    return join(members, count, len, a);
}

/* Numbers. */

bool trace_is_among(uint64_t low, double share)
{
    const uint64_t all = UINT64_C(1) << 56;
    return (low & (all - 1)) >= all - (uint64_t)(share * (double)all);
}

/* The finaliser of MurmurHash3, which is one to one; so is a multiplication by an odd number. */
uint64_t trace_attempt_id(uint64_t seed, unsigned number)
{
    uint64_t id = seed + (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    id = (id ^ id >> 33) * UINT64_C(0xff51afd7ed558ccd);
    id = (id ^ id >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    id ^= id >> 33;
    return id ? id : 1;
}
