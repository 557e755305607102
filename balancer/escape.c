#include "balancer/escape.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char letters[] = "rnt0\\";
static const char meanings[] = "\r\n\t\0\\";

/* Reads the escape at `rest`; its length, or 0 when it is none. */
static size_t decode_one(struct slice rest, char *out)
{
    if (rest.len >= 4 && rest.at[1] == 'x' && hex(rest.at[2]) >= 0 && hex(rest.at[3]) >= 0) {
        *out = (char)(hex(rest.at[2]) * 16 + hex(rest.at[3]));
        return 4;
    }
    const char *letter = rest.len >= 2 && rest.at[1] ? strchr(letters, rest.at[1]) : NULL;
    if (!letter)
        return 0;
    *out = meanings[letter - letters];
    return 2;
}

int escape_decode(struct slice text, char *room, struct slice *out, size_t *bad)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len;) {
        size_t used = 1;
        room[len] = text.at[i];
        if (text.at[i] == '\\')
            used = decode_one(slice_skip(text, i), &room[len]);
        if (used == 0) {
            *bad = i;
            return -1;
        }
        len++;
        i += used;
    }
    room[len] = '\0';
    *out = slice_of(room, len);
    return 0;
}

size_t escape_print(struct slice bytes, char *out, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.at[i];
        char piece[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
        size_t n = 4;
        const char *meaning = memchr(meanings, c, sizeof meanings - 1);
        if (meaning) {
            piece[1] = letters[meaning - meanings];
            n = 2;
        } else if (c >= 0x20 && c < 0x7f) {
            piece[0] = (char)c;
            n = 1;
        }
        if (len + n + 1 > size)
            break;
        memcpy(out + len, piece, n);
        len += n;
    }
    if (size)
        out[len] = '\0';
    return len;
}
