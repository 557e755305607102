#include "proxy/http/message.h"

#define T BYTE_TOKEN
#define V BYTE_TEXT
#define G BYTE_TARGET
#define H BYTE_HOST
#define P (BYTE_HOST | BYTE_PLAIN)
const uint8_t byte_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | G | P,
    ['"'] = V | G,
    ['#'] = T | V,
    ['$'] = T | V | G | P,
    ['%'] = T | V | G,
    ['&' ... '\''] = T | V | G | P,
    ['(' ... ')'] = V | G | P,
    ['*' ... '+'] = T | V | G | P,
    [','] = V | G | P,
    ['-' ... '.'] = T | V | G | P,
    ['/'] = V | G,
    ['0' ... '9'] = T | V | G | P,
    [':'] = V | G,
    [';'] = V | G | P,
    ['<'] = V | G,
    ['='] = V | G | P,
    ['>' ... '@'] = V | G,
    ['A' ... 'Z'] = T | V | G | H,
    ['[' ... ']'] = V | G,
    ['^'] = T | V | G,
    ['_'] = T | V | G | P,
    ['`'] = T | V | G,
    ['a' ... 'z'] = T | V | G | P,
    ['{'] = V | G,
    ['|'] = T | V | G,
    ['}'] = V | G,
    ['~'] = T | V | G | P,
    [0x80 ... 0xFF] = V,
};
#undef T
#undef V
#undef G
#undef H
#undef P

static bool all_bytes_are(struct slice s, enum byte_class which)
{
    for (size_t i = 0; i < s.len; i++)
        if (!byte_is(s.at[i], which))
            return false;
    return true;
}

bool is_token(struct slice s)
{
    return s.len > 0 && all_bytes_are(s, BYTE_TOKEN);
}

/* No byte below 0x20, and no 0x7f: text that has no HTAB. */
static bool are_plain(const char at[8])
{
    uint64_t eight, del;
    memcpy(&eight, at, 8);
    del = eight ^ 0x7f7f7f7f7f7f7f7fu;
    return !((((eight - 0x2020202020202020u) & ~eight) | ((del - 0x0101010101010101u) & ~del)) &
             0x8080808080808080u);
}

bool is_field_value(struct slice s)
{
    while (s.len >= 8 && are_plain(s.at))
        s = slice_skip(s, 8);
    return all_bytes_are(s, BYTE_TEXT);
}
