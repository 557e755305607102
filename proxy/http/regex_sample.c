#include "proxy/http/regex_sample.h"

#include "proxy/http/target.h"

#define DEPTH_MAX 32
#define VARIANTS  8u

/* One text in the making. Each variant takes other alternatives, other bytes of a class, and optional parts
 * or not. */
struct maker {
    struct slice rest; /* of the pattern */
    unsigned variant, depth;
    char text[REGEX_SAMPLE_BYTES];
    size_t len;
};

static void make_choice(struct maker *m);

static char peek(const struct maker *m)
{
    return m->rest.len ? m->rest.at[0] : 0;
}

static char take(struct maker *m)
{
    char c = peek(m);
    m->rest = slice_skip(m->rest, 1);
    return c;
}

static void put(struct maker *m, char c)
{
    if (m->len < sizeof m->text)
        m->text[m->len++] = c;
}

/* Classes. */

struct set {
    bool has[256];
};

static void add_range(struct set *set, unsigned char from, unsigned char to)
{
    for (unsigned i = from; i <= to; i++)
        set->has[i] = true;
}

static void add_word(struct set *set)
{
    add_range(set, '0', '9');
    add_range(set, 'a', 'z');
    add_range(set, 'A', 'Z');
    set->has['_'] = true;
}

/* What `\c` stands for; false when it is not a class. */
static bool add_escape(struct set *set, char c)
{
    struct set named = {0};
    char lower = ascii_lower(c);
    if (lower == 'd')
        add_range(&named, '0', '9');
    else if (lower == 'w')
        add_word(&named);
    else if (lower == 's')
        named.has[' '] = named.has['\t'] = true;
    else
        return false;
    for (size_t i = 0; i < 256; i++)
        set->has[i] |= named.has[i] ^ (c != lower);
    return true;
}

/* The byte that `\` and what follows stand for; 0 for what stands for no byte: \b, \A, \1. */
static char escaped_byte(struct maker *m)
{
    static const char controls[] = "n\nr\rt\tf\fe\033a\a";
    char c = take(m);
    if (c == 'x') {
        unsigned value = 0, digits = 0;
        for (; digits < 2; digits++, take(m)) {
            char h = ascii_lower(peek(m));
            if (!((h >= '0' && h <= '9') || (h >= 'a' && h <= 'f')))
                break;
            value = value * 16 + (unsigned)(h <= '9' ? h - '0' : h - 'a' + 10);
        }
        return (char)value;
    }
    for (const char *p = controls; *p; p += 2)
        if (c == *p)
            return p[1];
    bool is_word = (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
    return is_word ? 0 : c;
}

/* `[:alpha:]` behind its "[:". */
static void add_posix(struct set *set, struct maker *m)
{
    size_t end = 0;
    while (end + 1 < m->rest.len && !(m->rest.at[end] == ':' && m->rest.at[end + 1] == ']'))
        end++;
    struct slice name = slice_of(m->rest.at, end);
    m->rest = slice_skip(m->rest, end + 2);
    if (slice_equal(name, S("digit")) || slice_equal(name, S("xdigit")) || slice_equal(name, S("alnum")))
        add_range(set, '0', '9');
    if (slice_equal(name, S("upper")))
        add_range(set, 'A', 'Z');
    else if (slice_equal(name, S("xdigit")))
        add_range(set, 'a', 'f');
    else if (!slice_equal(name, S("digit")) && !slice_equal(name, S("space")))
        add_range(set, 'a', 'z');
}

/* Behind its "[". */
static void read_class(struct maker *m, struct set *set)
{
    bool negated = peek(m) == '^', first = true;
    if (negated)
        take(m);
    for (; m->rest.len && (first || peek(m) != ']'); first = false) {
        char c = take(m);
        if (c == '[' && peek(m) == ':') {
            take(m);
            add_posix(set, m);
            continue;
        }
        if (c == '\\') {
            if (add_escape(set, peek(m))) {
                take(m);
                continue;
            }
            c = escaped_byte(m);
        }
        char to = c;
        if (peek(m) == '-' && m->rest.len > 1 && m->rest.at[1] != ']') {
            take(m);
            to = take(m);
            to = to == '\\' ? escaped_byte(m) : to;
        }
        add_range(set, (unsigned char)c, (unsigned char)to);
    }
    take(m);
    for (size_t i = 0; negated && i < 256; i++)
        set->has[i] = !set->has[i];
}

/* Another one for another variant; letters and digits first. */
static void put_of(struct maker *m, const struct set *set)
{
    static const char order[] =
        "x1aAwz70-_.~bcdefghijklmnopqrstuvyBCDEFGHIJKLMNOPQRSTUVWXYZ2345689+@!,;=%/ ?#";
    unsigned skip = m->variant / 2;
    char last = 0;
    for (const char *p = order; *p; p++) {
        if (!set->has[(unsigned char)*p])
            continue;
        last = *p;
        if (skip-- == 0)
            break;
    }
    for (unsigned i = 0; !last && i < 256; i++)
        last = set->has[i] ? (char)i : 0;
    if (last)
        put(m, last);
}

/* Atoms and how often they stand. */

/* What a group has behind its "(?", up to where its pattern begins. False for those that match no text of
 * their own: they look ahead or back, or are a comment. */
static bool enter_group(struct maker *m)
{
    char c = take(m);
    if (c == 'P')
        c = take(m);
    if (c == '<' && (peek(m) == '=' || peek(m) == '!'))
        return false;
    if (c == '<' || c == '\'') {
        char end = c == '<' ? '>' : '\'';
        while (m->rest.len && take(m) != end)
            ;
        return true;
    }
    if (c == '=' || c == '!' || c == '#')
        return false;
    while (c && c != ':' && c != ')' && c != '>' && c != '|')
        c = take(m);
    if (c == ')') /* (?i) */
        m->rest = slice_of(m->rest.at - 1, m->rest.len + 1);
    return true;
}

static void make_group(struct maker *m)
{
    bool counts = true;
    if (peek(m) == '?') {
        take(m);
        counts = enter_group(m);
    }
    size_t len = m->len;
    make_choice(m);
    if (!counts)
        m->len = len;
    if (peek(m) == ')')
        take(m);
}

/* How often the atom before it: the fewest times, in odd variants more often. */
static unsigned take_count(struct maker *m)
{
    unsigned count = 1, odd = m->variant & 1;
    char c = peek(m);
    if (c == '*' || c == '?') {
        count = odd;
    } else if (c == '{' && m->rest.len > 1 && m->rest.at[1] >= '0' && m->rest.at[1] <= '9') {
        count = 0;
        for (take(m); peek(m) >= '0' && peek(m) <= '9' && count < REGEX_SAMPLE_BYTES;)
            count = count * 10 + (unsigned)(take(m) - '0');
        unsigned most = peek(m) == ',' && m->rest.len > 1 && m->rest.at[1] == '}' ? count + 1 : count;
        if (peek(m) == ',' && most == count)
            for (most = 0, take(m); peek(m) >= '0' && peek(m) <= '9' && most < REGEX_SAMPLE_BYTES;)
                most = most * 10 + (unsigned)(take(m) - '0');
        count = odd && most <= 20 ? most : count;
        while (m->rest.len && peek(m) != '}')
            take(m);
    } else if (c == '+') {
        count = 1 + odd;
    } else {
        return 1;
    }
    take(m);
    if (peek(m) == '?' || peek(m) == '+')
        take(m);
    return count;
}

static void make_atom(struct maker *m)
{
    struct set set = {0};
    char c = take(m);
    if (c == '(') {
        make_group(m);
    } else if (c == '[') {
        read_class(m, &set);
        put_of(m, &set);
    } else if (c == '\\' && add_escape(&set, peek(m))) {
        take(m);
        put_of(m, &set);
    } else if (c == '\\') {
        c = escaped_byte(m);
        if (c)
            put(m, c);
    } else if (c == '.') {
        add_word(&set);
        put_of(m, &set);
    } else if (c != '^' && c != '$') {
        put(m, c);
    }
}

static void make_sequence(struct maker *m)
{
    while (m->rest.len && peek(m) != '|' && peek(m) != ')') {
        size_t from = m->len;
        make_atom(m);
        size_t len = m->len - from;
        unsigned count = take_count(m);
        if (count == 0)
            m->len = from;
        for (unsigned i = 1; i < count && m->len + len <= sizeof m->text; i++, m->len += len)
            memcpy(m->text + m->len, m->text + from, len);
    }
}

/* One alternative; the others are gone through for their end's sake. */
static void make_choice(struct maker *m)
{
    char kept[REGEX_SAMPLE_BYTES];
    size_t from = m->len, kept_len = 0;
    if (++m->depth > DEPTH_MAX) {
        m->rest.len = 0;
        return;
    }
    for (unsigned n = 0;; n++) {
        m->len = from;
        make_sequence(m);
        if (n <= m->variant) {
            kept_len = m->len - from;
            memcpy(kept, m->text + from, kept_len);
        }
        if (peek(m) != '|')
            break;
        take(m);
    }
    memcpy(m->text + from, kept, kept_len);
    m->len = from + kept_len;
    m->depth--;
}

/* Samples. */

static bool is_path(const struct regex_sampling *s, struct slice text)
{
    struct slice normal;
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f || text.at[i] == '?' || text.at[i] == '#' ||
            text.at[i] == '"' || text.at[i] == '\'' || text.at[i] == '<' || text.at[i] == '>')
            return false;
    return slice_begins(text, S("/")) && target_normalise(s->arena, text, &normal) == 0 &&
           slice_equal(normal, text);
}

static bool is_query(struct slice text)
{
    return slice_find(text, '?') < text.len || slice_find(text, '#') < text.len;
}

static bool is_new(const struct slice *out, size_t count, struct slice text)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(out[i], text))
            return false;
    return true;
}

/* With what may stand around it: most patterns say where a text begins or ends, not both. */
static size_t add_around(const struct regex_sampling *s, struct slice made, struct slice *out, size_t count,
                         size_t most, size_t *with_query)
{
    static const char *const before[] = {"", "/", "/sample", "/sample/"}, *const behind[] = {"", "/x", "x",
                                                                                             "1"};
    for (size_t i = 0; i < COUNT_OF(before) * COUNT_OF(behind) && count < most; i++) {
        const char *copy = arena_printf(s->arena, "%s%.*s%s", s->paths ? before[i % COUNT_OF(before)] : "",
                                        SLICE_FMT(made), behind[i / COUNT_OF(before)]);
        struct slice text = slice_text(copy);
        if (!copy || !is_new(out, count, text) || !s->holds(s->argument, text))
            continue;
        if (!s->paths || is_path(s, text))
            out[count++] = text;
        else
            *with_query += is_query(text);
    }
    return count;
}

size_t regex_samples(const struct regex_sampling *s, struct slice *out, size_t most, bool *asked_query)
{
    size_t count = 0, with_query = 0;
    for (unsigned variant = 0; variant < VARIANTS && count < most; variant++) {
        struct maker m = {.rest = s->pattern, .variant = variant};
        make_choice(&m);
        count = add_around(s, slice_of(m.text, m.len), out, count, most, &with_query);
    }
    if (asked_query)
        *asked_query = count == 0 && with_query;
    return count;
}
