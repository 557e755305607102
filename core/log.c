#include "core/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define LINE_RESERVE   8  /* for what closes a line that is full */
#define FIELD_OVERHEAD 32 /* punctuation and a number */

static _Atomic int log_level_now = LOG_LEVEL_INFO;
static _Atomic int log_format_now = LOG_FORMAT_TEXT;
/* Held for reading while a line is handed over, so that log_to() may let go of the old sink. */
static pthread_rwlock_t log_sink_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct sink *log_sink;

void log_set(enum log_level level, enum log_format format)
{
    atomic_store(&log_level_now, (int)level);
    atomic_store(&log_format_now, (int)format);
}

void log_to(struct sink *s)
{
    pthread_rwlock_wrlock(&log_sink_lock);
    log_sink = s;
    pthread_rwlock_unlock(&log_sink_lock);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* A line under construction: what does not fit is cut, the end always has its place. */
struct line {
    char bytes[LINE_MAX_BYTES];
    size_t len;
};

static size_t room_in(const struct line *l)
{
    size_t end = sizeof l->bytes - LINE_RESERVE;
    return l->len < end ? end - l->len : 0;
}

static void put(struct line *l, struct slice s)
{
    size_t room = room_in(l);
    size_t n = s.len < room ? s.len : room;
    if (n == 0)
        return;
    memcpy(l->bytes + l->len, s.at, n);
    l->len += n;
}

/* The closing quote is always there: it may come from the reserve. */
static void put_quoted(struct line *l, struct slice s)
{
    put(l, S("\""));
    l->len += json_escape(s, l->bytes + l->len, room_in(l));
    l->bytes[l->len++] = '"';
}

static void put_number(struct line *l, int64_t number)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)number);
    put(l, slice_of(text, (size_t)n));
}

static void put_time(struct line *l)
{
    struct timespec now;
    struct tm tm;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof text - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
    put(l, slice_of(text, n));
}

/* Text that a reader could mistake for another field is quoted. */
static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] <= ' ' || s.at[i] == '"' || s.at[i] == '=' ||
            (unsigned char)s.at[i] >= 0x7f)
            return false;
    return s.len > 0;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct line l = {.len = 0};
    bool json = atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON;
    put(&l, json ? S("{\"time\":\"") : S(""));
    put_time(&l);
    put(&l, json ? S("\",\"level\":\"") : S(" "));
    put(&l, slice_text(names[level]));
    bool is_short = level == LOG_LEVEL_INFO || level == LOG_LEVEL_WARN;
    put(&l, json ? S("\",\"event\":") : is_short ? S("  ") : S(" "));
    if (json)
        put_quoted(&l, slice_text(event));
    else
        put(&l, slice_text(event));
    for (size_t i = 0; i < count; i++) {
        const struct log_field *f = &fields[i];
        if (strlen(f->name) + FIELD_OVERHEAD > room_in(&l))
            break; /* a line that is cut stays well formed */
        put(&l, json ? S(",\"") : S(" "));
        put(&l, slice_text(f->name));
        put(&l, json ? S("\":") : S("="));
        if (f->is_number)
            put_number(&l, f->number);
        else if (json || !is_plain(f->text))
            put_quoted(&l, f->text);
        else
            put(&l, f->text);
    }
    if (json)
        l.bytes[l.len++] = '}';
    l.bytes[l.len++] = '\n';

    pthread_rwlock_rdlock(&log_sink_lock);
    if (log_sink)
        sink_line(log_sink, l.bytes, l.len);
    else
        (void)!write(STDERR_FILENO, l.bytes, l.len);
    pthread_rwlock_unlock(&log_sink_lock);
}

/* Length of the UTF-8 sequence at the start of s (RFC 3629), 0 when it is none. */
static size_t utf8_length(struct slice s)
{
    const unsigned char *b = (const unsigned char *)s.at;
    size_t n = b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    if (n == 0 || s.len < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f) || (b[0] == 0xf0 && b[1] < 0x90) ||
        (b[0] == 0xf4 && b[1] > 0x8f))
        return 0;
    return n;
}

size_t json_escape(struct slice s, char *out, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = 0;
    while (s.len) {
        unsigned char c = (unsigned char)s.at[0];
        char piece[8];
        size_t n = 1, used = 1;
        if (c == '"' || c == '\\') {
            piece[0] = '\\', piece[1] = (char)c;
            n = 2;
        } else if (c == '\n' || c == '\t' || c == '\r') {
            piece[0] = '\\', piece[1] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
            n = 2;
        } else if (c < 0x20 || c == 0x7f) {
            memcpy(piece, "\\u00", 4);
            piece[4] = hex[c >> 4], piece[5] = hex[c & 15];
            n = 6;
        } else if (c < 0x80) {
            piece[0] = (char)c;
        } else if ((used = utf8_length(s)) != 0) {
            memcpy(piece, s.at, n = used);
        } else {
            used = 1;
            memcpy(piece, "\xef\xbf\xbd", n = 3);
        }
        if (len + n > size)
            break;
        memcpy(out + len, piece, n);
        len += n;
        s = slice_skip(s, used);
    }
    return len;
}
