#include "proxy/http/files_path.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The octet at the front of *s, decoded; an enum files_path_fault otherwise. */
static int take_octet(struct slice *s)
{
    int octet = (unsigned char)s->at[0];
    size_t len = 1;
    if (octet == '%') {
        int high = s->len > 2 ? hex_value(s->at[1]) : -1, low = s->len > 2 ? hex_value(s->at[2]) : -1;
        octet = high < 0 || low < 0 ? 0 : high * 16 + low;
        len = 3;
        if (octet == 0)
            return FILES_PATH_BAD_ESCAPE;
        if (octet == '/')
            return FILES_PATH_REFUSED;
    }
    if (octet < ' ' || octet == 0x7f)
        return FILES_PATH_REFUSED;
    *s = slice_skip(*s, len);
    return octet;
}

static bool may_be_served(struct slice segment)
{
    return segment.len && (segment.at[0] != '.' || slice_equal(segment, S(".well-known")));
}

ssize_t files_path_decode(struct slice path, char *out, bool *is_directory)
{
    size_t len = 0;
    if (path.len == 0 || path.at[0] != '/')
        return FILES_PATH_REFUSED;
    path = slice_skip(path, 1);
    *is_directory = path.len == 0;

    while (path.len) {
        size_t segment = len;
        while (path.len && path.at[0] != '/') {
            int octet = take_octet(&path);
            if (octet < 0)
                return octet;
            out[len++] = (char)octet;
        }
        if (!may_be_served(slice_of(out + segment, len - segment)))
            return FILES_PATH_REFUSED;
        if (path.len == 0)
            break;
        path = slice_skip(path, 1);
        *is_directory = path.len == 0;
        if (!*is_directory)
            out[len++] = '/';
    }
    out[len] = '\0';
    return (ssize_t)len;
}
