#include "admin/access_format.h"

#include <time.h>

#include "core/log.h"

/* Text. */

static void put(struct access_text *t, struct slice s)
{
    if (t->overflow || (size_t)(t->end - t->at) < s.len) {
        t->overflow = true;
        return;
    }
    if (s.len)
        memcpy(t->at, s.at, s.len);
    t->at += s.len;
}

static void put_number(struct access_text *t, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    put(t, slice_of(digits + at, sizeof digits - at));
}

/* `width` digits, with leading zeros. */
static void put_padded(struct access_text *t, unsigned n, unsigned width)
{
    char digits[10];
    for (unsigned i = width; i-- > 0; n /= 10)
        digits[i] = (char)('0' + n % 10);
    put(t, slice_of(digits, width));
}

static void put_ms(struct access_text *t, uint64_t us)
{
    put_number(t, us / 1000);
    put(t, S("."));
    put_padded(t, (unsigned)(us % 1000), 3);
}

static struct slice cut(const struct access_text *t, struct slice s)
{
    return s.len > t->value_max ? slice_of(s.at, t->value_max) : s;
}

static void put_escaped(struct access_text *t, struct slice s)
{
    static const char hex[] = "0123456789ABCDEF";
    s = cut(t, s);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
            put(t, slice_of(&s.at[i], 1));
        else
            put(t, slice_of((char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4));
    }
}

/* JSON. */

static void key(struct access_text *t, const char *name)
{
    put(t, t->at[-1] == '{' ? S("\"") : S(",\""));
    put(t, slice_text(name));
    put(t, S("\":"));
}

static void text(struct access_text *t, const char *name, struct slice value)
{
    key(t, name);
    if (!value.len) {
        put(t, S("null"));
        return;
    }
    put(t, S("\""));
    value = cut(t, value);
    /* json_escape cuts what does not fit without a word: six bytes for one is the most that it writes. */
    if ((size_t)(t->end - t->at) < value.len * 6)
        t->overflow = true;
    if (!t->overflow)
        t->at += json_escape(value, t->at, (size_t)(t->end - t->at));
    put(t, S("\""));
}

static void number(struct access_text *t, const char *name, uint64_t value)
{
    key(t, name);
    put_number(t, value);
}

/* A number that is text already. */
static void unquoted(struct access_text *t, const char *name, struct slice digits)
{
    key(t, name);
    put(t, digits);
}

static void put_date_time(struct access_text *t, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    put_padded(t, (unsigned)(tm.tm_year + 1900), 4);
    put(t, S("-"));
    put_padded(t, (unsigned)tm.tm_mon + 1, 2);
    put(t, S("-"));
    put_padded(t, (unsigned)tm.tm_mday, 2);
    put(t, S("T"));
    put_padded(t, (unsigned)tm.tm_hour, 2);
    put(t, S(":"));
    put_padded(t, (unsigned)tm.tm_min, 2);
    put(t, S(":"));
    put_padded(t, (unsigned)tm.tm_sec, 2);
    put(t, S("."));
    put_padded(t, (unsigned)(wall_us % 1000000 / 1000), 3);
    put(t, S("Z"));
}

static void milliseconds(struct access_text *t, const char *name, int64_t us)
{
    key(t, name);
    if (us >= 0)
        put_ms(t, (uint64_t)us);
    else
        put(t, S("null"));
}

void access_format_json(struct access_text *t, const struct access_entry *e)
{
    static const char *const phases[TIMINGS] = {
        [TIMING_QUEUE] = "queue_ms", [TIMING_CONNECT] = "connect_ms",       [TIMING_TLS] = "tls_ms",
        [TIMING_SEND] = "send_ms",   [TIMING_FIRST_BYTE] = "first_byte_ms", [TIMING_BODY] = "body_ms"};
    put(t, S("{"));
    key(t, "time");
    put(t, S("\""));
    put_date_time(t, e->wall_us);
    put(t, S("\""));
    text(t, "client", e->client);
    text(t, "method", e->method);
    text(t, "host", e->host);
    text(t, "target", e->target);
    text(t, "protocol", e->protocol);
    number(t, "status", e->status);
    if (e->grpc_status.len)
        unquoted(t, "grpc_status", e->grpc_status);
    number(t, "bytes_in", e->bytes_in);
    number(t, "bytes_out", e->bytes_out);
    key(t, "duration_ms");
    put_ms(t, e->duration_us);
    milliseconds(t, "upstream_ms", e->upstream_us);
    for (int i = 0; i < TIMINGS; i++)
        milliseconds(t, phases[i], e->timings.us[i]);
    text(t, "listener", e->listener);
    text(t, "route", e->route);
    text(t, "upstream", e->upstream);
    text(t, "server", e->server);
    number(t, "attempts", e->attempts);
    if (e->cache.len)
        text(t, "cache", e->cache);
    text(t, "request_id", e->request_id);
    if (e->trace_id.len)
        text(t, "trace_id", e->trace_id);
    text(t, "referer", e->referer);
    text(t, "user_agent", e->user_agent);
    text(t, "tls_version", e->tls_version);
    text(t, "termination", slice_text(e->termination));
    text(t, "end", slice_text(e->end));
    text(t, "reason", e->reason);
    put(t, S("}\n"));
}

/* Combined. */

static void put_or_dash(struct access_text *t, struct slice s)
{
    if (s.len)
        put_escaped(t, s);
    else
        put(t, S("-"));
}

/* `[10/Oct/2000:13:55:36 +0000]`, of UTC. The names are English whatever the locale. */
static void put_bracketed_time(struct access_text *t, int64_t wall_us)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    put(t, S("["));
    put_padded(t, (unsigned)tm.tm_mday, 2);
    put(t, S("/"));
    put(t, slice_of(months + 3 * tm.tm_mon, 3));
    put(t, S("/"));
    put_padded(t, (unsigned)(tm.tm_year + 1900), 4);
    put(t, S(":"));
    put_padded(t, (unsigned)tm.tm_hour, 2);
    put(t, S(":"));
    put_padded(t, (unsigned)tm.tm_min, 2);
    put(t, S(":"));
    put_padded(t, (unsigned)tm.tm_sec, 2);
    put(t, S(" +0000]"));
}

void access_format_combined(struct access_text *t, const struct access_entry *e)
{
    put_or_dash(t, e->client);
    put(t, S(" - - "));
    put_bracketed_time(t, e->wall_us);
    put(t, S(" \""));
    if (e->method.len) {
        put_escaped(t, e->method);
        put(t, S(" "));
        put_escaped(t, e->target);
        put(t, S(" "));
        put_escaped(t, e->protocol);
    } else {
        put(t, S("-"));
    }
    put(t, S("\" "));
    put_padded(t, e->status, 3);
    put(t, S(" "));
    put_number(t, e->bytes_out);
    put(t, S(" \""));
    put_or_dash(t, e->referer);
    put(t, S("\" \""));
    put_or_dash(t, e->user_agent);
    put(t, S("\"\n"));
}

void access_format_template(struct access_text *t, const struct template *template, template_lookup *lookup,
                            void *context)
{
    if (template_is_literal(template))
        put(t, template->literal);
    for (size_t i = 0; i < template->count; i++) {
        const struct template_piece *p = &template->pieces[i];
        put(t, p->text);
        if (p->has_variable)
            put_escaped(t, lookup(context, &p->variable));
    }
    put(t, S("\n"));
}
