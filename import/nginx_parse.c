#include "import/nginx_parse.h"

#include <glob.h>

#include "import/source.h"

#define WORDS_MAX 4096

struct reader {
    struct arena *arena;
    const char *file;
    const char *at, *end;
    unsigned line;
    const char **why;
};

enum token { TOKEN_WORD, TOKEN_END, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_EOF, TOKEN_BAD };

static int read_block(struct reader *r, struct ng *block, unsigned depth);

/* Tokens. */

static enum token bad(struct reader *r, const char *what)
{
    *r->why = import_printf(r->arena, "%s:%u: %s", r->file, r->line, what);
    return TOKEN_BAD;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct reader *r)
{
    for (; r->at < r->end; r->at++) {
        if (*r->at == '#')
            while (r->at < r->end && *r->at != '\n')
                r->at++;
        if (r->at == r->end)
            return;
        if (!is_space(*r->at))
            return;
        r->line += *r->at == '\n';
    }
}

/* `\` before a quote or another `\` goes; \t, \r and \n are these bytes; otherwise it stays. */
static void add_escaped(struct reader *r, struct text *out)
{
    char next = r->at + 1 < r->end ? r->at[1] : '\0';
    const char *from = "\"'\\trn", *to = "\"'\\\t\r\n", *found = next ? strchr(from, next) : NULL;
    if (found) {
        text_add_bytes(out, &to[found - from], 1);
    } else {
        text_add_bytes(out, "\\", 1);
        if (next)
            text_add_bytes(out, &next, 1);
    }
    r->line += next == '\n';
    r->at += next ? 2 : 1;
}

static enum token read_quoted(struct reader *r, struct text *out)
{
    char quote = *r->at++;
    while (r->at < r->end && *r->at != quote) {
        if (*r->at == '\\') {
            add_escaped(r, out);
            continue;
        }
        r->line += *r->at == '\n';
        text_add_bytes(out, r->at++, 1);
    }
    if (r->at == r->end)
        return bad(r, "a quote is not closed");
    r->at++;
    return TOKEN_WORD;
}

static enum token read_word(struct reader *r, struct text *out)
{
    while (r->at < r->end && !is_space(*r->at) && *r->at != ';' && *r->at != '{') {
        if (*r->at == '\\') {
            add_escaped(r, out);
        } else if (*r->at == '$' && r->at + 1 < r->end && r->at[1] == '{') {
            text_add_bytes(out, r->at, 2);
            r->at += 2;
        } else {
            text_add_bytes(out, r->at++, 1);
        }
    }
    return TOKEN_WORD;
}

static enum token next_token(struct reader *r, struct text *out)
{
    skip_space(r);
    out->len = 0;
    text_add(out, "");
    if (r->at == r->end)
        return TOKEN_EOF;
    switch (*r->at) {
    case ';':
        r->at++;
        return TOKEN_END;
    case '{':
        r->at++;
        return TOKEN_OPEN;
    case '}':
        r->at++;
        return TOKEN_CLOSE;
    default:
        break;
    }
    enum token t = *r->at == '"' || *r->at == '\'' ? read_quoted(r, out) : read_word(r, out);
    text_clean(out, 0);
    return t;
}

/* Directives. */

/* The code in the block of …_by_lua_block is none of nginx's. */
static int skip_code(struct reader *r)
{
    unsigned open = 1;
    for (; r->at < r->end && open; r->at++) {
        r->line += *r->at == '\n';
        open += *r->at == '{';
        open -= *r->at == '}';
    }
    return open ? (bad(r, "a block is not closed"), -1) : 0;
}

static int read_directive(struct reader *r, struct ng *d, struct text *word, unsigned depth)
{
    const char *args[WORDS_MAX];
    d->name = import_copy(r->arena, word->at, word->len);
    d->file = r->file;
    d->line = r->line;
    for (;;) {
        enum token t = next_token(r, word);
        if (t == TOKEN_WORD && d->arg_count < WORDS_MAX) {
            args[d->arg_count++] = import_copy(r->arena, word->at, word->len);
            continue;
        }
        d->args = import_alloc(r->arena, (d->arg_count + 1) * sizeof *d->args);
        memcpy(d->args, args, d->arg_count * sizeof *args);
        d->is_block = t == TOKEN_OPEN;
        if (t == TOKEN_OPEN)
            return text_ends(d->name, "_by_lua_block") ? skip_code(r) : read_block(r, d, depth + 1);
        if (t != TOKEN_END && t != TOKEN_BAD)
            bad(r, import_printf(r->arena, "\"%s\" is not ended by \";\"", d->name));
        return t == TOKEN_END ? 0 : -1;
    }
}

static int read_block(struct reader *r, struct ng *block, unsigned depth)
{
    struct text word = {0};
    struct ng **last = &block->children;
    int status = -1;
    if (depth > NG_DEPTH_MAX) {
        bad(r, "blocks are too deep");
        return -1;
    }
    for (;;) {
        enum token t = next_token(r, &word);
        if (t == TOKEN_WORD) {
            struct ng *d = import_alloc(r->arena, sizeof *d);
            d->parent = block;
            if (read_directive(r, d, &word, depth))
                break;
            *last = d;
            last = &d->next;
            continue;
        }
        bool ends = depth ? t == TOKEN_CLOSE : t == TOKEN_EOF;
        if (!ends && t != TOKEN_BAD)
            bad(r, t == TOKEN_EOF     ? "the file ends in a block"
                   : t == TOKEN_CLOSE ? "unexpected \"}\""
                   : t == TOKEN_OPEN  ? "unexpected \"{\""
                                      : "unexpected \";\"");
        status = ends ? 0 : -1;
        break;
    }
    text_free(&word);
    return status;
}

struct ng *nginx_parse(struct arena *a, const char *file, struct slice text, const char **why)
{
    struct reader r = {
        .arena = a, .file = file, .at = text.at, .end = text.at + text.len, .line = 1, .why = why};
    struct ng *root = import_alloc(a, sizeof *root);
    root->name = "";
    root->file = file;
    root->is_block = true;
    if (text.len && memchr(text.at, '\0', text.len)) {
        *why = import_printf(a, "%s: a NUL byte in it: no text", file);
        return NULL;
    }
    return read_block(&r, root, 0) ? NULL : root;
}

/* Includes. */

struct loader {
    struct arena *arena;
    const char *main_file;
    unsigned files;
    const char **why;
};

static int expand(struct loader *l, struct ng *block, unsigned depth);

/* The included file's directives in the place of *at. */
static int splice(struct loader *l, struct ng **at, struct ng *block, const char *file, unsigned depth)
{
    struct slice text;
    if (++l->files > NG_FILES_MAX || depth > NG_DEPTH_MAX) {
        *l->why = import_printf(l->arena, "%s: too many files are included", file);
        return -1;
    }
    if (source_read(l->arena, file, &text, l->why))
        return -1;
    struct ng *root = nginx_parse(l->arena, file, text, l->why);
    if (!root || expand(l, root, depth + 1))
        return -1;
    struct ng **end = &root->children;
    for (; *end; end = &(*end)->next)
        (*end)->parent = block;
    *end = *at;
    *at = root->children;
    return 0;
}

static int include(struct loader *l, struct ng **at, struct ng *block, unsigned depth)
{
    struct ng *d = *at;
    glob_t found = {0};
    const char *pattern = d->arg_count ? d->args[0] : "";
    const char *path = source_path(l->arena, l->main_file, pattern);
    int status = glob(path, 0, NULL, &found);
    if (status && pattern[0] != '/') {
        globfree(&found);
        found = (glob_t){0};
        path = source_path(l->arena, l->main_file, import_printf(l->arena, "../%s", pattern));
        status = glob(path, 0, NULL, &found);
    }
    if (status && !strpbrk(pattern, "*?[")) {
        *l->why =
            import_printf(l->arena, "%s:%u: include %s: there is no such file", d->file, d->line, pattern);
        globfree(&found);
        return -1;
    }
    *at = d->next;
    int rc = 0;
    for (size_t i = status ? 0 : found.gl_pathc; i > 0 && rc == 0; i--)
        rc = splice(l, at, block, import_copy(l->arena, found.gl_pathv[i - 1], strlen(found.gl_pathv[i - 1])),
                    depth);
    globfree(&found);
    return rc;
}

static int expand(struct loader *l, struct ng *block, unsigned depth)
{
    for (struct ng **at = &block->children; *at;) {
        struct ng *d = *at;
        if (text_is(d->name, "include") && !d->is_block) {
            struct ng *after = d->next;
            if (include(l, at, block, depth))
                return -1;
            while (*at != after)
                at = &(*at)->next;
            continue;
        }
        if (d->is_block && expand(l, d, depth))
            return -1;
        at = &d->next;
    }
    return 0;
}

struct ng *nginx_load(struct arena *a, const char *file, const char **why)
{
    struct loader l = {.arena = a, .main_file = file, .why = why};
    struct slice text;
    if (source_read(a, file, &text, why))
        return NULL;
    struct ng *root = nginx_parse(a, file, text, why);
    return root && expand(&l, root, 0) == 0 ? root : NULL;
}

struct ng *ng_child(const struct ng *block, const char *name)
{
    struct ng *d = block ? block->children : NULL;
    while (d && !text_is(d->name, name))
        d = d->next;
    return d;
}

struct ng *ng_next(const struct ng *d)
{
    struct ng *n = d->next;
    while (n && !text_is(n->name, d->name))
        n = n->next;
    return n;
}
