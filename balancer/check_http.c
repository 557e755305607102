#include "balancer/check_http.h"

#include <stdio.h>
#include <stdlib.h>

static bool has_header(const struct check_settings *c, const char *name)
{
    for (size_t i = 0; i < c->headers.count; i++)
        if (slice_equal_nocase(c->headers.at[i].name, slice_text(name)))
            return true;
    return false;
}

static void put_default(FILE *f, const struct check_settings *c, const char *name, struct slice value)
{
    if (!has_header(c, name))
        fprintf(f, "%s: %.*s\r\n", name, SLICE_FMT(value));
}

struct slice check_http_request(const struct check_settings *c, struct slice host)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return slice_of(NULL, 0);
    fprintf(f, "GET %.*s HTTP/1.1\r\n", SLICE_FMT(c->path));
    put_default(f, c, "Host", host);
    put_default(f, c, "User-Agent", S("weir-health-check"));
    put_default(f, c, "Accept", S("*/*"));
    put_default(f, c, "Connection", S("close"));
    for (size_t i = 0; i < c->headers.count; i++)
        fprintf(f, "%.*s: %.*s\r\n", SLICE_FMT(c->headers.at[i].name), SLICE_FMT(c->headers.at[i].value));
    fputs("\r\n", f);
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed) {
        free(text);
        return slice_of(NULL, 0);
    }
    return slice_of(text, len);
}

struct slice check_http_authority(const struct check_settings *c, struct slice authority)
{
    for (size_t i = 0; i < c->headers.count; i++)
        if (slice_equal_nocase(c->headers.at[i].name, S("host")))
            return c->headers.at[i].value;
    return authority;
}

struct check_h2 *check_http_h2(const struct check_settings *c, struct slice authority, bool is_tls)
{
    struct check_h2_field *fields = calloc(c->headers.count + 6, sizeof *fields);
    size_t n = 0;
    if (!fields)
        return NULL;
    fields[n++] = (struct check_h2_field){S(":method"), S("GET")};
    fields[n++] = (struct check_h2_field){S(":scheme"), is_tls ? S("https") : S("http")};
    fields[n++] = (struct check_h2_field){S(":authority"), check_http_authority(c, authority)};
    fields[n++] = (struct check_h2_field){S(":path"), c->path};
    if (!has_header(c, "User-Agent"))
        fields[n++] = (struct check_h2_field){S("user-agent"), S("weir-health-check")};
    if (!has_header(c, "Accept"))
        fields[n++] = (struct check_h2_field){S("accept"), S("*/*")};
    for (size_t i = 0; i < c->headers.count; i++)
        fields[n++] = (struct check_h2_field){c->headers.at[i].name, c->headers.at[i].value};
    struct check_h2 *h = check_h2_create(fields, n, slice_of(NULL, 0));
    free(fields);
    return h;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP/1.x SP 3DIGIT, then SP or the line's end; as status_ranges_contain wants it. */
static int status_of_line(struct slice line)
{
    static const struct slice version = SLICE("HTTP/1.");
    size_t given = line.len < version.len ? line.len : version.len;
    if (given && memcmp(line.at, version.at, given) != 0)
        return -1;
    if (line.len < 13)
        return 0;
    const char *at = line.at + version.len;
    if (!is_digit(at[0]) || at[1] != ' ' || !is_digit(at[2]) || !is_digit(at[3]) || !is_digit(at[4]))
        return -1;
    if (at[5] != ' ' && at[5] != '\r' && at[5] != '\n')
        return -1;
    int status = (at[2] - '0') * 100 + (at[3] - '0') * 10 + (at[4] - '0');
    return status >= 100 && status <= 599 ? status : -1;
}

int check_http_status(struct slice in)
{
    for (;;) {
        int status = status_of_line(in);
        if (status <= 0 || status >= 200 || status == 101) {
            bool whole_line = slice_find(in, '\n') < in.len;
            return status > 0 && !whole_line ? 0 : status;
        }
        const char *end = memmem(in.at, in.len, "\r\n\r\n", 4);
        if (!end)
            return 0;
        in = slice_skip(in, (size_t)(end - in.at) + 4);
    }
}
