#include "proxy/http/cache/settings.h"

#include "proxy/http/message.h"

static const char *const cookie_choices[] = {"refuse", "store", "strip", NULL};

static const struct option route_cache_options[] = {
    OPTION_AT(struct route_cache_settings, ttl, "ttl", OPTION_DURATION,
              .set_offset = offsetof(struct route_cache_settings, has_ttl),
              .help = "How long an answer is fresh that does not say it itself. Absent: a tenth of the time "
                      "since it was last modified."),
    OPTION_AT(struct route_cache_settings, statuses, "statuses", OPTION_TEXTS, .shape = "[200, 301, 404]",
              .flags = OPTION_FLAG_NONEMPTY,
              .help = "The statuses that are stored, and no others. Absent: those that RFC 9110 calls "
                      "heuristically cacheable, and others whose answer says how long it is fresh."),
    OPTION_AT(struct route_cache_settings, key, "key", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "\"${host}${path}?${query}\"",
              .help = "A template: two requests for which it gives the same text get the same answer. "
                      "Absent: weir's own, of scheme, host, port, path and query."),
    OPTION_AT(struct route_cache_settings, ignore_query, "ignore_query", OPTION_TEXTS,
              .shape = "[utm_*, fbclid]",
              .help = "Parameters of the query that do not count in the key; the server does not get them. "
                      "`utm_*`: names that begin so, `*_id`: that end so, `*`: the whole query. What "
                      "`${query}` is in `key`, too."),
    OPTION_AT(struct route_cache_settings, sort_query, "sort_query", OPTION_BOOL, .fallback = "false",
              .help = "true: the order of the parameters does not count in the key; those of one name keep "
                      "theirs. What `${query}` is in `key`, too."),
    OPTION_AT(struct route_cache_settings, key_headers, "key_headers", OPTION_TEXTS, .shape = "[x-country]",
              .help = "Header fields whose values count in the key too. (What an answer names in Vary counts "
                      "anyhow.)"),
    OPTION_AT(struct route_cache_settings, key_cookies, "key_cookies", OPTION_TEXTS, .shape = "[lang]",
              .help = "Cookies whose values count in the key too."),
    OPTION_AT(struct route_cache_settings, bypass_cookie, "bypass_cookie", OPTION_TEXTS, .shape = "[session]",
              .help = "A request that has one of these cookies is neither answered from the cache nor is its "
                      "answer stored."),
    OPTION_AT(struct route_cache_settings, stale_while_revalidate, "stale_while_revalidate", OPTION_DURATION,
              .set_offset = offsetof(struct route_cache_settings, has_stale_while_revalidate),
              .help =
                  "How long past its freshness an answer is still sent at once while it is asked for anew "
                  "in the background, where the answer does not say it itself."),
    OPTION_AT(struct route_cache_settings, stale_if_error, "stale_if_error", OPTION_DURATION,
              .set_offset = offsetof(struct route_cache_settings, has_stale_if_error),
              .help = "How long past its freshness an answer is sent instead of an error (no answer, 500, "
                      "502, 503, 504), where the answer does not say it itself."),
    OPTION_AT(struct route_cache_settings, collapse, "collapse", OPTION_BOOL, .fallback = "true",
              .help = "Requests for what is being fetched wait for that and share the answer as it arrives. "
                      "false: each is sent to the server."),
    OPTION_AT(struct route_cache_settings, tags_header, "tags_header", OPTION_TEXT,
              .flags = OPTION_FLAG_NONEMPTY, .shape = "surrogate-key",
              .help = "The field of an answer that names its tags, for purges by tag. Absent: Surrogate-Key "
                      "and Cache-Tag are looked at."),
    OPTION_AT(struct route_cache_settings, set_cookie, "set_cookie", OPTION_ENUM, .choices = cookie_choices,
              .fallback = "refuse",
              .help = "An answer with Set-Cookie: is not stored; is stored with it, so that everybody gets "
                      "that cookie; or is stored and sent without it."),
};

const struct option_table route_cache_table = {
    .name = "cache of a route",
    .help = "What of its upstream's answers is stored and for whom. `true` is a map with nothing in it.",
    .options = route_cache_options,
    .count = COUNT_OF(route_cache_options),
    .size = sizeof(struct route_cache_settings),
    .has_node = true,
    .node_offset = offsetof(struct route_cache_settings, node),
};

static void *allocate(struct config *c, size_t size)
{
    void *at = arena_zalloc(&c->arena, size ? size : 1);
    if (!at)
        c->out_of_memory = true;
    return at;
}

/* The rules count in seconds, as the fields of HTTP do. */
static int compile_seconds(struct config *c, const struct route_cache_settings *s, const char *key,
                           bool is_given, msec_t ms, int64_t *out)
{
    *out = is_given ? (int64_t)(ms / 1000) : CACHE_UNSET;
    if (is_given && ms % 1000) {
        config_fault(c, config_get(s->node, key), "is counted in whole seconds, as HTTP does");
        return -1;
    }
    if (is_given && *out >= CACHE_SECONDS_MAX)
        *out = CACHE_SECONDS_MAX - 1;
    return 0;
}

static int compile_statuses(struct config *c, const struct option_texts *texts, struct cache_defaults *rules)
{
    int rc = 0;
    uint16_t *statuses = texts->count ? allocate(c, texts->count * sizeof *statuses) : NULL;
    if (texts->count && !statuses)
        return -1;
    for (size_t i = 0; i < texts->count; i++) {
        uint64_t status = 0;
        if (slice_to_u64(texts->at[i], &status) || status < 200 || status > 599) {
            config_fault(c, texts->nodes[i], "is no status; write 200 to 599");
            rc = -1;
        } else if (status == 206 || status == 304) {
            config_fault(c, texts->nodes[i], "a %llu is a part of another answer, and not stored for itself",
                         (unsigned long long)status);
            rc = -1;
        } else {
            statuses[rules->status_count++] = (uint16_t)status;
        }
    }
    rules->statuses = statuses;
    return rc;
}

static int compile_key(struct config *c, const struct route_cache_settings *s, bool has_one_host,
                       struct route_cache *r)
{
    const struct config_node *at = config_get(s->node, "key");
    if (s->key.len == 0)
        return 0;
    if (template_compile(c, at, s->key, TEMPLATE_AT_REQUEST, &r->key))
        return -1;
    r->has_key = true;

    bool has_path = false, has_host = false;
    for (size_t i = 0; i < r->key.count; i++) {
        const struct template_piece *p = &r->key.pieces[i];
        has_path |= p->has_variable && (p->variable.id == TEMPLATE_PATH || p->variable.id == TEMPLATE_TARGET);
        has_host |= p->has_variable && p->variable.id == TEMPLATE_HOST;
        if (p->has_variable && p->variable.id == TEMPLATE_REQUEST_ID) {
            config_fault(c, at, "no two requests have the same ${request_id}: nothing would ever be found");
            return -1;
        }
    }
    if (!has_path)
        config_warn(c, at, "has neither ${path} nor ${target}: every path of the route gets the same answer");
    if (!has_host && !has_one_host)
        config_warn(c, at, "has no ${host}: every host of the route gets the same answer");
    return 0;
}

static int compile_ignored(struct config *c, const struct option_texts *texts, struct route_cache *r)
{
    int rc = 0;
    struct cache_name_pattern *out = allocate(c, texts->count * sizeof *out);
    if (!out)
        return -1;
    r->ignore_query = out;
    for (size_t i = 0; i < texts->count; i++) {
        struct cache_name_pattern p = {.text = texts->at[i]};
        if (slice_equal(p.text, S("*"))) {
            r->ignore_whole_query = true;
            continue;
        }
        if (slice_ends(p.text, S("*"))) {
            p.kind = CACHE_NAME_BEGINS;
            p.text.len--;
        } else if (slice_begins(p.text, S("*"))) {
            p.kind = CACHE_NAME_ENDS;
            p.text = slice_skip(p.text, 1);
        }
        bool is_name = p.text.len > 0;
        for (size_t k = 0; k < p.text.len; k++)
            is_name = is_name && !memchr("*&=#", p.text.at[k], 4) && (unsigned char)p.text.at[k] > ' ';
        if (!is_name) {
            config_fault(c, texts->nodes[i],
                         "write a parameter's name, or the beginning or the end of names and \"*\": utm_*");
            rc = -1;
            continue;
        }
        out[r->ignore_query_count++] = p;
    }
    return rc;
}

static bool lower(struct config *c, struct slice name, struct slice *out)
{
    char *at = allocate(c, name.len);
    for (size_t i = 0; at && i < name.len; i++)
        at[i] = (char)(name.at[i] >= 'A' && name.at[i] <= 'Z' ? name.at[i] + 32 : name.at[i]);
    *out = slice_of(at, at ? name.len : 0);
    return at != NULL;
}

static int compile_headers(struct config *c, const struct option_texts *texts, struct route_cache *r)
{
    int rc = 0;
    struct cache_key_header *out = allocate(c, texts->count * sizeof *out);
    if (!out)
        return -1;
    r->key_headers = out;
    for (size_t i = 0; i < texts->count; i++) {
        struct cache_key_header *h = &out[r->key_header_count];
        if (!is_token(texts->at[i])) {
            config_fault(c, texts->nodes[i], "%s is no name of a header field",
                         config_quote(c, texts->at[i]));
            rc = -1;
        } else if (field_id(texts->at[i]) == FIELD_COOKIE) {
            config_fault(c, texts->nodes[i], "name the cookies that count, under \"key_cookies\"");
            rc = -1;
        } else if (lower(c, texts->at[i], &h->name)) {
            h->field_id = (uint16_t)field_id(h->name);
            r->key_header_count++;
        } else {
            rc = -1;
        }
    }
    return rc;
}

static int compile_cookies(struct config *c, const struct option_texts *texts, const struct slice **out,
                           size_t *count)
{
    int rc = 0;
    struct slice *names = allocate(c, texts->count * sizeof *names);
    if (!names)
        return -1;
    *out = names;
    for (size_t i = 0; i < texts->count; i++) {
        if (is_token(texts->at[i])) {
            names[(*count)++] = texts->at[i];
        } else {
            config_fault(c, texts->nodes[i], "%s is no name of a cookie", config_quote(c, texts->at[i]));
            rc = -1;
        }
    }
    return rc;
}

static int compile_tags(struct config *c, const struct route_cache_settings *s, struct route_cache *r)
{
    if (s->tags_header.len == 0)
        return 0;
    if (!is_token(s->tags_header)) {
        config_fault(c, config_get(s->node, "tags_header"), "%s is no name of a header field",
                     config_quote(c, s->tags_header));
        return -1;
    }
    return lower(c, s->tags_header, &r->tags_header) ? 0 : -1;
}

static int compile_rules(struct config *c, const struct route_cache_settings *s, struct cache_defaults *rules)
{
    int rc = compile_seconds(c, s, "ttl", s->has_ttl, s->ttl, &rules->ttl);
    rc |= compile_seconds(c, s, "stale_while_revalidate", s->has_stale_while_revalidate,
                          s->stale_while_revalidate, &rules->stale_while_revalidate);
    rc |= compile_seconds(c, s, "stale_if_error", s->has_stale_if_error, s->stale_if_error,
                          &rules->stale_if_error);
    rc |= compile_statuses(c, &s->statuses, rules);
    rules->store_set_cookie = s->set_cookie != ROUTE_CACHE_COOKIE_REFUSE;
    return rc;
}

int route_cache_compile(struct config *c, const struct route_cache_settings *s, bool has_one_host,
                        const struct route_cache **out)
{
    struct route_cache *r = allocate(c, sizeof *r);
    if (!r)
        return -1;
    r->sort_query = s->sort_query;
    r->collapse = s->collapse;
    r->set_cookie = (enum route_cache_cookies)s->set_cookie;
    r->tags_header = S("");
    int rc = compile_rules(c, s, &r->rules);
    rc |= compile_key(c, s, has_one_host, r);
    rc |= compile_ignored(c, &s->ignore_query, r);
    rc |= compile_headers(c, &s->key_headers, r);
    rc |= compile_cookies(c, &s->key_cookies, &r->key_cookies, &r->key_cookie_count);
    rc |= compile_cookies(c, &s->bypass_cookie, &r->bypass_cookies, &r->bypass_cookie_count);
    rc |= compile_tags(c, s, r);
    if (rc)
        return -1;
    *out = r;
    return 0;
}

bool route_cache_ignores(const struct route_cache *r, struct slice parameter)
{
    if (r->ignore_whole_query)
        return true;
    for (size_t i = 0; i < r->ignore_query_count; i++) {
        const struct cache_name_pattern *p = &r->ignore_query[i];
        if (p->kind == CACHE_NAME_IS       ? slice_equal(parameter, p->text)
            : p->kind == CACHE_NAME_BEGINS ? slice_begins(parameter, p->text)
                                           : slice_ends(parameter, p->text))
            return true;
    }
    return false;
}
