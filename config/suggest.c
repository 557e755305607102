#include "config/internal.h"

#include <stdio.h>

#define WORD_MAX     64
#define DISTANCE_MAX 2
#define SHORT_MIN    5 /* letters of a word that is short for another */
#define LONGER_MIN   4 /* letters of a word that somebody writes longer: warning, tls_config */
#define LIST_MAX     16

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: insert, delete, replace, swap neighbours; case does not count. */
static size_t distance(struct slice a, struct slice b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = ascii_lower(a.at[i - 1]), y = ascii_lower(b.at[j - 1]);
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == ascii_lower(b.at[j - 2]) && ascii_lower(a.at[i - 2]) == y)
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len];
}

/* leastconn, max_conns: as other programs write least_connections, max_connections. */
static bool is_short_for(struct slice word, struct slice whole)
{
    size_t letters = 0, at = 0;
    if (word.len && ascii_lower(word.at[word.len - 1]) == 's')
        word.len--;
    for (size_t i = 0; i < word.len; i++) {
        if (word.at[i] == '_' || word.at[i] == '-')
            continue;
        while (at < whole.len && whole.at[at] == '_')
            at++;
        if (at == whole.len || ascii_lower(word.at[i]) != whole.at[at++])
            return false;
        letters++;
    }
    return letters >= SHORT_MIN;
}

void suggestion_consider(struct suggestion *s, const char *candidate)
{
    struct slice word = s->word, other = slice_text(candidate);
    if (word.len > WORD_MAX || other.len > WORD_MAX)
        return;
    size_t gap = word.len > other.len ? word.len - other.len : other.len - word.len;
    size_t d = gap > DISTANCE_MAX ? gap : distance(word, other);
    bool is_near = d <= DISTANCE_MAX && d * 2 < word.len;
    bool is_longer = other.len >= LONGER_MIN && slice_begins(word, other);
    if (!is_near && (is_short_for(word, other) || is_longer))
        d = DISTANCE_MAX + 1; /* a last resort */
    else if (!is_near)
        return;
    if (s->best && d >= s->distance)
        return;
    s->best = candidate;
    s->distance = d;
}

/* What other programs call it. */
static const char *const foreign_keys[][2] = {
    {"listen", "bind"},
    {"listen", "listeners"},
    {"port", "bind"},
    {"address", "bind"},
    {"url", "address"},
    {"frontends", "listeners"},
    {"entrypoints", "listeners"},
    {"server", "listeners"},
    {"backend", "upstream"},
    {"service", "upstream"},
    {"cluster", "upstream"},
    {"proxy_pass", "upstream"},
    {"reverse_proxy", "upstream"},
    {"default_backend", "upstream"},
    {"servers", "upstream"},
    {"backends", "upstreams"},
    {"services", "upstreams"},
    {"clusters", "upstreams"},
    {"endpoints", "servers"},
    {"targets", "servers"},
    {"location", "path"},
    {"location", "routes"},
    {"rules", "routes"},
    {"server_name", "host"},
    {"domain", "host"},
    {"root", "files"},
    {"return", "redirect"},
    {"ssl", "tls"},
    {"ssl_certificate", "cert"},
    {"certificate", "cert"},
    {"ssl_certificate_key", "key"},
    {"private_key", "key"},
    {"policy", "balance"},
    {"lb_policy", "balance"},
    {"algorithm", "balance"},
    {"check", "health_check"},
    {"add_header", "response_headers"},
    {"proxy_set_header", "request_headers"},
    {"client_max_body_size", "body_size"},
};

const char *config_foreign_key(struct slice word, size_t *from)
{
    while (*from < COUNT_OF(foreign_keys)) {
        const char *const *pair = foreign_keys[(*from)++];
        if (slice_equal_nocase(word, slice_text(pair[0])))
            return pair[1];
    }
    return NULL;
}

const char *config_suggest(struct slice word, const char *const *words, size_t count)
{
    struct suggestion s = {.word = word};
    for (size_t i = 0; i < count; i++)
        suggestion_consider(&s, words[i]);
    return s.best;
}

const char *config_mend(struct config *c, struct slice word, const char *const *words, size_t count,
                        bool list)
{
    if (!config_wants_faults(c))
        return "";
    const char *text = "";
    if (list && count && count <= LIST_MAX) {
        for (size_t i = 0; i < count && text; i++)
            text = arena_printf(&c->arena, "%s%s%s", i ? text : " (one of: ", i ? ", " : "", words[i]);
        text = text ? arena_printf(&c->arena, "%s)", text) : NULL;
    }

    const char *best = config_suggest(word, words, count);
    if (text && best)
        text = arena_printf(&c->arena, "%s; did you mean \"%s\"?", text, best);
    return text ? text : "";
}
