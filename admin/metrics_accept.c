#include "admin/metrics_accept.h"

/* A weight in thousandths (RFC 9110 §12.4.2); what is none of them is 0. */
static int weight(struct slice s)
{
    int value = 0, scale = 1000;
    if (!s.len || s.len > 5 || (s.at[0] != '0' && s.at[0] != '1') || (s.len > 1 && s.at[1] != '.'))
        return 0;
    value = (s.at[0] - '0') * 1000;
    for (size_t i = 2; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return 0;
        scale /= 10;
        value += (s.at[i] - '0') * scale;
    }
    return value > 1000 ? 0 : value;
}

/* An element of either field: what is asked for, its weight, and its parameter `version`. */
struct choice {
    struct slice name, version;
    int q;
};

static struct slice unquoted(struct slice s)
{
    return s.len >= 2 && s.at[0] == '"' && s.at[s.len - 1] == '"' ? slice_of(s.at + 1, s.len - 2) : s;
}

static bool next_choice(struct slice *rest, struct choice *out)
{
    struct slice element, parameter;
    if (!slice_next(rest, ',', &element))
        return false;
    *out = (struct choice){.q = 1000};
    if (!slice_next(&element, ';', &out->name))
        return true;
    while (slice_next(&element, ';', &parameter)) {
        size_t at = slice_find(parameter, '=');
        struct slice name = slice_trim(slice_of(parameter.at, at));
        struct slice value = unquoted(slice_trim(slice_skip(parameter, at + 1)));
        if (slice_equal_nocase(name, S("q")))
            out->q = weight(value);
        else if (slice_equal_nocase(name, S("version")))
            out->version = value;
    }
    return true;
}

/* How exactly the text that Prometheus has always had is meant; -1 when it is not. */
static int text_rank(const struct choice *c)
{
    if (slice_equal_nocase(c->name, S("text/plain")))
        return !c->version.len ? 2 : slice_equal(c->version, S("0.0.4")) ? 3 : -1;
    if (slice_equal_nocase(c->name, S("text/*")))
        return 1;
    return slice_equal(c->name, S("*/*")) ? 0 : -1;
}

static int openmetrics_rank(const struct choice *c)
{
    if (!slice_equal_nocase(c->name, S("application/openmetrics-text")))
        return -1;
    return !c->version.len ? 0 : slice_equal(c->version, S("1.0.0")) ? 1 : -1;
}

enum metrics_format metrics_accept(struct slice accept)
{
    struct choice c;
    int text_best = -1, text_q = 0, open_best = -1, open_q = 0;
    bool text_first = false; /* of two that are liked as much */
    while (next_choice(&accept, &c)) {
        int text = text_rank(&c), open = openmetrics_rank(&c);
        if (text > text_best) {
            text_best = text;
            text_q = c.q;
            text_first = open_best < 0 && text >= 2;
        }
        if (open > open_best) {
            open_best = open;
            open_q = c.q;
        }
    }
    if (open_q == 0 || text_q > open_q || (text_q == open_q && text_first))
        return METRICS_TEXT;
    return METRICS_OPENMETRICS;
}

bool metrics_accept_gzip(struct slice accept_encoding)
{
    struct choice c;
    int best = -1, q = 0;
    while (next_choice(&accept_encoding, &c)) {
        int rank = slice_equal_nocase(c.name, S("gzip")) || slice_equal_nocase(c.name, S("x-gzip")) ? 1
                   : slice_equal(c.name, S("*"))                                                    ? 0
                                                                                                    : -1;
        if (rank > best) {
            best = rank;
            q = c.q;
        }
    }
    return q > 0;
}
