/* `${NAME}` and `${NAME:-default}` in scalars. Only names in capitals, digits and underscores are meant for
 * the environment; `${client}`, `${header.x}` and the like are template variables and stay as they are. What
 * a variable holds is not looked at again; a default is. */
#include "config/internal.h"

#include <stdlib.h>

#define NESTING_MAX   8
#define EXPANSION_MAX (1u << 20) /* bytes of one scalar */

struct expansion {
    struct config *c;
    const struct config_node *at;
    char *text;
    size_t len, capacity;
};

static int put(struct expansion *e, struct slice piece)
{
    if (e->len + piece.len > EXPANSION_MAX && piece.len) {
        config_fault(e->c, e->at, "is longer than %u bytes with its variables", EXPANSION_MAX);
        return -1;
    }
    if (e->len + piece.len + 1 > e->capacity) {
        size_t capacity = (e->len + piece.len + 1) * 2;
        char *larger = realloc(e->text, capacity);
        if (!larger) {
            e->c->out_of_memory = true;
            return -1;
        }
        e->text = larger;
        e->capacity = capacity;
    }
    if (piece.len)
        memcpy(e->text + e->len, piece.at, piece.len);
    e->len += piece.len;
    return 0;
}

static size_t name_length(struct slice s)
{
    size_t n = 0;
    while (n < s.len &&
           ((s.at[n] >= 'A' && s.at[n] <= 'Z') || s.at[n] == '_' || (n && s.at[n] >= '0' && s.at[n] <= '9')))
        n++;
    return n;
}

/* The brace that closes what s is inside of, or s.len. */
static size_t closing_brace(struct slice s)
{
    size_t open = 1;
    for (size_t i = 0; i < s.len; i++) {
        open += s.at[i] == '{';
        open -= s.at[i] == '}';
        if (!open)
            return i;
    }
    return s.len;
}

static int expand(struct expansion *e, struct slice s, unsigned nesting);

static int put_variable(struct expansion *e, struct slice name, const struct slice *fallback,
                        unsigned nesting)
{
    char *key = arena_printf(&e->c->arena, "%.*s", SLICE_FMT(name));
    if (!key) {
        e->c->out_of_memory = true;
        return -1;
    }
    const char *value = e->c->environment ? e->c->environment(key) : getenv(key);
    /* As in a shell, ":-" is also for a variable that is empty. */
    if (value && (*value || !fallback))
        return put(e, slice_text(value));
    if (fallback)
        return expand(e, *fallback, nesting + 1);
    config_fault(e->c, e->at, "the environment has no variable %s; set it, or write ${%s:-default}", key,
                 key);
    return -1;
}

/* s begins behind "${". What was used, or 0 when it is no variable of the environment; -1 after a fault. */
static int variable(struct expansion *e, struct slice s, unsigned nesting, size_t *used)
{
    *used = 0;
    struct slice name = slice_of(s.at, name_length(s)), rest = slice_skip(s, name.len);
    if (!name.len)
        return 0;
    if (rest.len && rest.at[0] == '}') {
        *used = name.len + 1;
        return put_variable(e, name, NULL, nesting);
    }
    /* ${Name} and ${A.b} cannot come from the environment; templates may know them. */
    if (rest.len && !strchr(":-=?+ ", rest.at[0]))
        return 0;

    size_t end = slice_begins(rest, S(":-")) ? closing_brace(slice_skip(rest, 2)) : rest.len;
    if (!slice_begins(rest, S(":-")) || end == slice_skip(rest, 2).len) {
        config_fault(e->c, e->at, "write ${%.*s} or ${%.*s:-default}, with the closing brace",
                     SLICE_FMT(name), SLICE_FMT(name));
        return -1;
    }
    if (nesting >= NESTING_MAX) {
        config_fault(e->c, e->at, "defaults of variables are nested more than %d deep", NESTING_MAX);
        return -1;
    }
    struct slice fallback = slice_of(rest.at + 2, end);
    *used = name.len + 2 + end + 1;
    return put_variable(e, name, &fallback, nesting);
}

static int expand(struct expansion *e, struct slice s, unsigned nesting)
{
    while (s.len) {
        size_t dollar = slice_find(s, '$'), used = 0;
        if (put(e, slice_of(s.at, dollar)))
            return -1;
        s = slice_skip(s, dollar);
        if (slice_begins(s, S("${")) && variable(e, slice_skip(s, 2), nesting, &used))
            return -1;
        if (!used && s.len && put(e, slice_of(s.at, 1)))
            return -1;
        s = slice_skip(s, used ? used + 2 : 1);
    }
    return 0;
}

int environment_expand(struct config *c, const struct config_node *at, struct slice text, struct slice *out)
{
    struct expansion e = {.c = c, .at = at};
    int failed = expand(&e, text, 0);
    struct slice copy = failed ? S("") : arena_copy(&c->arena, slice_of(e.text ? e.text : "", e.len));
    free(e.text);
    if (!failed && !copy.at) {
        c->out_of_memory = true;
        failed = -1;
    }
    if (!failed)
        *out = copy;
    return failed;
}
