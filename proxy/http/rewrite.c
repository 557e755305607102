#include "proxy/http/rewrite.h"

#include "proxy/http/message.h"

static void check_settings(struct config *c, const struct config_node *node, void *object);

static const struct option rewrite_options[] = {
    OPTION_AT(struct rewrite_settings, prefix, "prefix", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "/other",
              .help = "Replaces the route's own path, a prefix or an exact one, by this path."),
    OPTION_AT(struct rewrite_settings, regex, "regex", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "\"^/old/(.*)\"",
              .help =
                  "The first match in the path is replaced by `to`; a path without a match stays as it is."),
    OPTION_AT(
        struct rewrite_settings, to, "to", OPTION_TEXT, .shape = "\"/new/$1\"",
        .help =
            "What replaces the match of `regex`: `$0` to `$9` are what its groups matched, `$$` is a `$`."),
};

const struct option_table rewrite_table = {
    .name = "rewrite",
    .help = "The path that is sent instead of the one that was matched: `{prefix: /}` or `{regex: …, to: "
            "…}`. The query stays.",
    .options = rewrite_options,
    .count = COUNT_OF(rewrite_options),
    .size = sizeof(struct rewrite_settings),
    .has_node = true,
    .node_offset = offsetof(struct rewrite_settings, node),
    .check = check_settings,
};

static bool given(const struct config_node *node, const char *key)
{
    const struct config_node *value = config_get(node, key);
    return value && value->kind != NODE_NULL;
}

static void check_settings(struct config *c, const struct config_node *node, void *object)
{
    (void)object;
    bool prefix = given(node, "prefix"), regex = given(node, "regex"), to = given(node, "to");
    if (node->kind != NODE_MAP)
        return;
    if (prefix == regex)
        config_fault(c, node,
                     prefix ? "has both a prefix and a regex; write one of them"
                            : "needs a prefix, or a regex and what it becomes (to)");
    else if (regex != to)
        config_fault(c, node,
                     regex ? "needs \"to\": what the regex's match becomes"
                           : "\"to\" goes with a regex alone");
}

static int compile_prefix(struct config *c, const struct rewrite_settings *s, struct rewrite *out)
{
    const struct config_node *at = config_get(s->node, "prefix");
    int fault = target_from_text(&c->arena, s->prefix, &out->prefix);
    if (fault || out->prefix.at[0] != '/') {
        config_fault(c, at, "%s is no path: %s", config_quote(c, s->prefix),
                     fault ? target_fault_text(fault) : target_fault_text(TARGET_NO_SLASH));
        return -1;
    }
    if (memchr(s->prefix.at, '?', s->prefix.len) || memchr(s->prefix.at, '#', s->prefix.len)) {
        config_fault(c, at, "is a path: no \"?\" and no \"#\"; the query stays as it came");
        return -1;
    }
    if (out->prefix.at[out->prefix.len - 1] == '/')
        out->prefix.len--;
    return 0;
}

static int compile_to(struct config *c, const struct rewrite_settings *s, struct rewrite *out)
{
    const struct config_node *at = config_get(s->node, "to");
    struct slice text = s->to;
    out->to = arena_zalloc(&c->arena, (text.len + 1) * sizeof *out->to);
    char *literal = arena_alloc(&c->arena, text.len + 1);
    if (!out->to || !literal) {
        c->out_of_memory = true;
        return -1;
    }
    for (size_t i = 0; i < text.len; i++)
        if (!byte_is(text.at[i], BYTE_TARGET) || text.at[i] == '?') {
            config_fault(
                c, at,
                "is a path: no \"?\" (the query stays as it came), no \"#\", and other characters than "
                "printable ASCII as %%HH");
            return -1;
        }

    size_t start = 0, len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool is_group =
            text.at[i] == '$' && i + 1 < text.len && text.at[i + 1] >= '0' && text.at[i + 1] <= '9';
        if (is_group) {
            int group = text.at[++i] - '0';
            if ((unsigned)group > regex_groups(out->regex)) {
                config_fault(c, at, "$%d: the regex has %u groups", group, regex_groups(out->regex));
                return -1;
            }
            out->to[out->to_count++] = (struct rewrite_piece){slice_of(literal + start, len - start), group};
            start = len;
            continue;
        }
        literal[len++] = text.at[i];
        if (text.at[i] == '$' && i + 1 < text.len && text.at[i + 1] == '$')
            i++;
    }
    if (len > start || out->to_count == 0)
        out->to[out->to_count++] = (struct rewrite_piece){slice_of(literal + start, len - start), -1};
    return 0;
}

int rewrite_compile(struct config *c, const struct rewrite_settings *s, struct rewrite *out)
{
    struct rewrite r = {0};
    if (s->prefix.len) {
        if (compile_prefix(c, s, &r))
            return -1;
    } else {
        if (!s->regex.len)
            return -1;
        r.regex = regex_compile(c, config_get(s->node, "regex"), s->regex);
        if (!r.regex || compile_to(c, s, &r)) {
            regex_free(r.regex);
            return -1;
        }
    }
    *out = r;
    return 0;
}

void rewrite_free(struct rewrite *r)
{
    regex_free(r->regex);
    r->regex = NULL;
}

static int by_prefix(const struct rewrite *r, struct arena *arena, struct slice path, size_t matched,
                     struct slice *out)
{
    struct slice rest = slice_skip(path, matched);
    if (r->prefix.len + rest.len == 0)
        rest = S("/");
    char *text = arena_alloc(arena, r->prefix.len + rest.len);
    if (!text)
        return TARGET_NO_MEMORY;
    memcpy(text, r->prefix.at, r->prefix.len);
    if (rest.len)
        memcpy(text + r->prefix.len, rest.at, rest.len);
    *out = slice_of(text, r->prefix.len + rest.len);
    return 0;
}

static char *put(char *to, struct slice s)
{
    return s.len ? mempcpy(to, s.at, s.len) : to;
}

static int by_regex(const struct rewrite *r, struct arena *arena, struct regex_scratch *scratch,
                    struct slice path, struct slice *out)
{
    if (regex_match(r->regex, scratch, path) != 1) {
        *out = path;
        return 0;
    }
    struct slice whole = regex_capture(scratch, 0);
    size_t before = (size_t)(whole.at - path.at), after = before + whole.len, len = path.len - whole.len;
    for (size_t i = 0; i < r->to_count; i++)
        len += r->to[i].text.len +
               (r->to[i].group < 0 ? 0 : regex_capture(scratch, (unsigned)r->to[i].group).len);

    char *text = arena_alloc(arena, len + 1), *to = text;
    if (!text)
        return TARGET_NO_MEMORY;
    to = put(to, slice_of(path.at, before));
    for (size_t i = 0; i < r->to_count; i++) {
        to = put(to, r->to[i].text);
        if (r->to[i].group >= 0)
            to = put(to, regex_capture(scratch, (unsigned)r->to[i].group));
    }
    put(to, slice_skip(path, after));
    *out = slice_of(text, len);
    return 0;
}

int rewrite_apply(const struct rewrite *r, struct arena *arena, struct regex_scratch *scratch,
                  struct slice path, size_t matched, struct slice *out)
{
    if (path.len == 0 || path.at[0] != '/') {
        *out = path;
        return 0;
    }
    struct slice text;
    int fault =
        r->regex ? by_regex(r, arena, scratch, path, &text) : by_prefix(r, arena, path, matched, &text);
    if (fault)
        return fault;
    return text.len ? target_normalise(arena, text, out) : TARGET_NO_SLASH;
}
