/* A request and a response made of the input's lines, which each begin with the letter of their field: what
 * the rules say is within bounds, a word that restricts never helps, time never makes anything fresher, and
 * what is made alike stays so. */
#include <stdlib.h>

#include "cache/rules.h"
#include "cache/vary.h"

#define NOW       INT64_C(1700000000)
#define LINES_MAX 16
#define FIELDS                                                                                               \
    "cCdsexayplvL" /* request's Cache-Control, response's, CDN-, Surrogate-, Expires and so on: below */
#define FIELD_COUNT (sizeof FIELDS - 1)

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

struct message {
    struct slice at[FIELD_COUNT][LINES_MAX + 1]; /* one more line may be added */
    uint32_t count[FIELD_COUNT];
};

static size_t index_of(char letter)
{
    return (size_t)(strchr(FIELDS, letter) - FIELDS);
}

static struct cache_lines lines(const struct message *m, char letter)
{
    size_t i = index_of(letter);
    return (struct cache_lines){m->at[i], m->count[i]};
}

static void read_message(struct slice in, struct message *m)
{
    while (in.len) {
        size_t end = slice_find(in, '\n');
        struct slice line = slice_of(in.at, end);
        in = slice_skip(in, end + 1);
        if (line.len == 0 || !line.at[0] || !strchr(FIELDS, line.at[0]))
            continue;
        size_t i = index_of(line.at[0]);
        if (m->count[i] < LINES_MAX)
            m->at[i][m->count[i]++] = slice_trim(slice_skip(line, 1));
    }
}

static struct cache_verdict judge(const struct message *m, const uint8_t head[4])
{
    static const uint16_t statuses[] = {200, 404, 599};
    struct cache_request request = {.cache_control = lines(m, 'c'),
                                    .pragma = lines(m, 'p'),
                                    .has_authorization = head[0] & 1,
                                    .is_head = head[0] & 2};
    struct cache_response response = {.status = (uint16_t)(100 + head[1] * 2),
                                      .cache_control = lines(m, 'C'),
                                      .cdn_cache_control = lines(m, 'd'),
                                      .surrogate_control = lines(m, 's'),
                                      .expires = lines(m, 'e'),
                                      .date = lines(m, 'x'),
                                      .age = lines(m, 'a'),
                                      .pragma = lines(m, 'y'),
                                      .last_modified = lines(m, 'l'),
                                      .vary = lines(m, 'v'),
                                      .has_set_cookie = head[0] & 4};
    struct cache_defaults defaults = {.ttl = head[2] & 1 ? 60 : CACHE_UNSET,
                                      .stale_while_revalidate = head[2] & 2 ? 30 : CACHE_UNSET,
                                      .stale_if_error = head[2] & 4 ? 40 : CACHE_UNSET,
                                      .statuses = head[2] & 8 ? statuses : NULL,
                                      .status_count = head[2] & 8 ? 3 : 0,
                                      .store_set_cookie = head[2] & 16};
    struct cache_verdict v;
    cache_may_store(&request, &response, head[0] & 8, &defaults, NOW - head[3] % 5, NOW, &v);
    MUST(v.store == !v.reason);
    MUST(v.omitted_count <= CACHE_OMITTED_MAX);
    (void)cache_is_omitted(&v, S("set-cookie"));
    return v;
}

/* From fresh over stale to of no use: never back. */
static void check_use(const struct cache_freshness *f, const struct message *m)
{
    static const int64_t steps[] = {0, 1, 59, 60, 61, 3600, CACHE_SECONDS_MAX, CACHE_SECONDS_MAX * 4};
    struct cache_request request = {.cache_control = lines(m, 'c'), .pragma = lines(m, 'p')};
    struct cache_request_directives d;
    bool was_fresh = true, was_usable = true;
    int64_t age_before = 0;
    cache_request_directives(&request, &d);

    MUST(f->lifetime >= 0 && f->lifetime <= CACHE_SECONDS_MAX && f->initial_age >= 0 &&
         f->initial_age <= CACHE_SECONDS_MAX && f->stale_while_revalidate >= 0 && f->stale_if_error >= 0);
    MUST(!f->no_cache || (f->must_revalidate && f->stale_if_error == 0 && f->stale_while_revalidate == 0));
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        const char *reason;
        int64_t age = cache_age(f, NOW + steps[i]);
        enum cache_use use = cache_may_use(f, &d, false, NOW + steps[i], &reason);
        bool is_usable = cache_may_use_on_error(f, &d, m->count[0] % 2, NOW + steps[i]);
        MUST(age >= age_before);
        MUST((use == CACHE_USE_FRESH) == !reason);
        MUST(use != CACHE_USE_FRESH || (was_fresh && age < f->lifetime && !d.no_cache && !f->no_cache));
        MUST(use != CACHE_USE_STALE || (d.max_stale != CACHE_UNSET && !f->must_revalidate));
        MUST(!is_usable || was_usable);
        MUST(cache_may_use(f, &d, true, NOW + steps[i], &reason) != CACHE_USE_FRESH);
        was_fresh = use == CACHE_USE_FRESH;
        was_usable = is_usable;
        age_before = age;
    }
}

/* What restricts is put behind everything else; what is read before cannot hide it. */
static void check_restricted(struct message *m, const uint8_t head[4], const struct cache_verdict *before)
{
    size_t i = index_of('C');
    struct cache_control c;
    struct cache_lines cdn = lines(m, 'd'), surrogate = lines(m, 's');
    if (cache_control_parse_dictionary(&cdn, &c) == 0 || cache_control_parse_surrogate(&surrogate, &c) == 0)
        return;
    m->at[i][m->count[i]++] = S("private");
    MUST(!judge(m, head).store);
    m->at[i][m->count[i] - 1] = S("max-age=7");
    struct cache_verdict v = judge(m, head);
    MUST(!before->store || before->freshness.is_heuristic || !v.store ||
         v.freshness.lifetime <= before->freshness.lifetime || lines(m, 'e').count);
    m->count[i]--;
}

static struct cache_lines one_field(void *context, struct slice name)
{
    (void)name;
    return *(const struct cache_lines *)context;
}

/* Names of names, and a list of a list, are what they were; a line may be cut where its list is. */
static void check_vary(const struct message *m)
{
    static char memory[32768];
    struct arena arena;
    struct slice names, again, text, same;
    struct cache_lines vary = lines(m, 'v'), values = lines(m, 'L');
    arena_init(&arena, memory, sizeof memory);
    int result = cache_vary_names(&vary, &arena, &names);
    MUST((result == 0) == (cache_vary_check(&vary) == CACHE_VARY_FINE));
    if (result == 0 && names.len) {
        struct cache_lines line = {&names, 1};
        MUST(cache_vary_names(&line, &arena, &again) == 0 && slice_equal(names, again));
        (void)cache_vary_text(names, one_field, &values, &arena, &text);
    }
    (void)cache_vary_text(S("accept-encoding,accept-language,cookie"), one_field, &values, &arena, &text);
    if (values.count && cache_vary_text(S("foo"), one_field, &values, &arena, &text) == 0) {
        struct slice value = slice_of(text.at + 4, text.len - 5);
        struct cache_lines line = {&value, 1};
        MUST(cache_vary_text(S("foo"), one_field, &line, &arena, &same) == 0 && slice_equal(text, same));
    }
    arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct message m;
    if (len < 4)
        return 0;
    memset(m.count, 0, sizeof m.count);
    read_message(slice_of((const char *)bytes + 4, len - 4), &m);

    struct cache_verdict v = judge(&m, bytes);
    check_use(&v.freshness, &m);
    check_restricted(&m, bytes, &v);
    check_vary(&m);
    return 0;
}
