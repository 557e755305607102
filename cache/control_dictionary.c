/* CDN-Cache-Control: a dictionary of structured fields (RFC 9651 §3.2, read as in §4.2.2), each member a
 * directive (RFC 9213 §2.1). */
#include "cache/control.h"

#define MEMBERS_MAX 32 /* more: not well-formed, as good as */

enum item { ITEM_NONE, ITEM_NUMBER, ITEM_TEXT, ITEM_TRUE, ITEM_FALSE, ITEM_OTHER };

/* Each of these takes its piece from the front of *s; false, or ITEM_NONE, when it is not well-formed. */

static char front(struct slice s)
{
    return s.len ? s.at[0] : '\0';
}

static bool take(struct slice *s, char c)
{
    if (front(*s) != c || s->len == 0)
        return false;
    *s = slice_skip(*s, 1);
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool take_key(struct slice *s, struct slice *key)
{
    size_t len = 0;
    while (len < s->len) {
        char c = s->at[len];
        bool may_begin = (c >= 'a' && c <= 'z') || c == '*';
        if (!may_begin && (len == 0 || !(is_digit(c) || c == '_' || c == '-' || c == '.')))
            break;
        len++;
    }
    *key = slice_of(s->at, len);
    *s = slice_skip(*s, len);
    return len > 0;
}

static size_t take_digits(struct slice *s)
{
    size_t len = 0;
    while (len < s->len && is_digit(s->at[len]))
        len++;
    *s = slice_skip(*s, len);
    return len;
}

/* §4.2.4: at most 15 digits, or 12 and 1 to 3 behind the point. Without a sign and a point it is a text of
 * digits. */
static enum item take_number(struct slice *s, struct slice *text)
{
    const char *begin = s->at;
    bool is_negative = take(s, '-');
    size_t whole = take_digits(s);
    if (whole == 0 || whole > 15)
        return ITEM_NONE;
    *text = slice_of(begin, (size_t)(s->at - begin));
    if (!take(s, '.'))
        return is_negative ? ITEM_OTHER : ITEM_NUMBER;
    size_t part = take_digits(s);
    return whole <= 12 && part >= 1 && part <= 3 ? ITEM_OTHER : ITEM_NONE;
}

/* §4.2.5: printable ASCII; only the quote and the backslash may be escaped. */
static enum item take_string(struct slice *s, struct slice *text)
{
    for (size_t i = 1; i < s->len; i++) {
        char c = s->at[i];
        if (c == '"') {
            *text = slice_of(s->at + 1, i - 1);
            *s = slice_skip(*s, i + 1);
            return ITEM_TEXT;
        }
        if (c == '\\' && (++i == s->len || (s->at[i] != '"' && s->at[i] != '\\')))
            return ITEM_NONE;
        if (c < ' ' || c > '~')
            return ITEM_NONE;
    }
    return ITEM_NONE;
}

static enum item take_token(struct slice *s, struct slice *text)
{
    size_t len = 1;
    while (len < s->len && (cache_is_token_char(s->at[len]) || s->at[len] == ':' || s->at[len] == '/'))
        len++;
    *text = slice_of(s->at, len);
    *s = slice_skip(*s, len);
    return ITEM_TEXT;
}

/* §4.2.7. */
static enum item take_bytes(struct slice *s)
{
    struct slice inner = slice_skip(*s, 1);
    size_t end = slice_find(inner, ':');
    if (end == inner.len)
        return ITEM_NONE;
    for (size_t i = 0; i < end; i++) {
        char c = ascii_lower(inner.at[i]);
        if (!((c >= 'a' && c <= 'z') || is_digit(c) || c == '+' || c == '/' || c == '='))
            return ITEM_NONE;
    }
    *s = slice_skip(inner, end + 1);
    return ITEM_OTHER;
}

/* A date (§4.2.9), a display string (§4.2.10: by its frame alone), or none. */
static enum item take_rare(struct slice *s)
{
    struct slice text;
    if (take(s, '@')) {
        take(s, '-');
        size_t digits = take_digits(s);
        return digits >= 1 && digits <= 15 ? ITEM_OTHER : ITEM_NONE;
    }
    if (take(s, '%') && front(*s) == '"')
        return take_string(s, &text) == ITEM_TEXT ? ITEM_OTHER : ITEM_NONE;
    return ITEM_NONE;
}

static enum item take_bare(struct slice *s, struct slice *text)
{
    char c = front(*s), lower = ascii_lower(c);
    if (is_digit(c) || c == '-')
        return take_number(s, text);
    if (c == '"')
        return take_string(s, text);
    if (c == '*' || (lower >= 'a' && lower <= 'z'))
        return take_token(s, text);
    if (c == ':')
        return take_bytes(s);
    if (c != '?')
        return take_rare(s);
    take(s, '?');
    if (take(s, '1'))
        return ITEM_TRUE;
    return take(s, '0') ? ITEM_FALSE : ITEM_NONE;
}

static bool take_parameters(struct slice *s)
{
    struct slice key, text;
    while (take(s, ';')) {
        while (take(s, ' '))
            ;
        if (!take_key(s, &key) || (take(s, '=') && take_bare(s, &text) == ITEM_NONE))
            return false;
    }
    return true;
}

/* §4.2.1.2. */
static enum item take_inner_list(struct slice *s)
{
    struct slice text;
    take(s, '(');
    for (;;) {
        bool is_apart = front(*s) == ' ' || (s->len && s->at[-1] == '(');
        while (take(s, ' '))
            ;
        if (take(s, ')'))
            return ITEM_OTHER;
        if (!is_apart || take_bare(s, &text) == ITEM_NONE || !take_parameters(s))
            return ITEM_NONE;
    }
}

/* A key and its value; `is_set` false: it says that it is not there. */
static bool take_member(struct slice *s, struct cache_directive *d, bool *is_set)
{
    enum item item = ITEM_TRUE;
    *d = (struct cache_directive){0};
    if (!take_key(s, &d->name))
        return false;
    if (take(s, '='))
        item = front(*s) == '(' ? take_inner_list(s) : take_bare(s, &d->argument);
    d->has_argument = item != ITEM_TRUE;
    d->is_sound = item == ITEM_TRUE || item == ITEM_NUMBER || item == ITEM_TEXT;
    *is_set = item != ITEM_FALSE;
    /* Digits in a string are no number (RFC 9213 §2.1): such a time says nothing that could be used. */
    if (item == ITEM_TEXT && cache_seconds(d->argument) != CACHE_UNSET)
        d->is_sound = false;
    return item != ITEM_NONE && take_parameters(s);
}

/* Of equal keys the last one counts. */
struct members {
    struct cache_directive at[MEMBERS_MAX];
    bool is_set[MEMBERS_MAX];
    uint32_t count;
};

static bool take_line(struct slice s, struct members *m)
{
    struct cache_directive d;
    bool is_set;
    for (;;) {
        if (!take_member(&s, &d, &is_set))
            return false;
        uint32_t i = 0;
        while (i < m->count && !slice_equal(m->at[i].name, d.name))
            i++;
        if (i == MEMBERS_MAX)
            return false;
        m->at[i] = d;
        m->is_set[i] = is_set;
        if (i == m->count)
            m->count++;
        s = slice_trim(s);
        if (s.len == 0)
            return true;
        if (!take(&s, ','))
            return false;
        s = slice_trim(s); /* a comma at the end is a fault, which take_member sees */
    }
}

int cache_control_parse_dictionary(const struct cache_lines *lines, struct cache_control *out)
{
    struct members m;
    m.count = 0;
    for (uint32_t i = 0; i < lines->count; i++) {
        struct slice line = slice_trim(lines->at[i]);
        if (line.len && !take_line(line, &m))
            return -1;
    }
    if (m.count == 0)
        return -1;
    cache_control_init(out);
    for (uint32_t i = 0; i < m.count; i++)
        if (m.is_set[i])
            cache_control_apply(&m.at[i], out);
    return 0;
}
