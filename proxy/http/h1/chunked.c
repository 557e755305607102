#include "proxy/http/h1/framing.h"

/* chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF, byte by byte but for the data; the extensions'
 * grammar (RFC 9112 §7.1.1) is followed though nobody reads them, since a decoder that skips to the line's
 * end can be led astray. */
enum chunk_state {
    SIZE,
    SIZE_BLANK, /* blanks behind the size: an extension must follow */
    NAME_START, /* behind ";", with blanks */
    NAME,
    NAME_BLANK,  /* blanks behind a name: "=" or ";" must follow */
    VALUE_START, /* behind "=", with blanks */
    VALUE_TOKEN,
    VALUE_QUOTED,
    VALUE_ESCAPE,
    VALUE_END,   /* behind the closing quote */
    VALUE_BLANK, /* blanks behind a value: ";" must follow */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    DONE,
};

enum { DIGITS_MAX = 16 };

static const char *step(struct h1_chunked *c, char byte);
static const char *step_size(struct h1_chunked *c, char byte);
static const char *step_extension(struct h1_chunked *c, char byte);
static const char *end_of_word(struct h1_chunked *c, char byte);
static const char *charge(struct h1_chunked *c);
static void take_data(struct h1_chunked *c, struct slice *in, struct slice *data);

int h1_chunked_next(struct h1_chunked *c, struct slice *in, struct slice *data, struct h1_fault *fault)
{
    *data = slice_of(in->at, 0);
    while (in->len && !c->done) {
        if (c->state == DATA) {
            take_data(c, in, data);
            return 0;
        }
        const char *reason = step(c, in->at[0]);
        if (reason) {
            h1_refuse(fault, 400, reason);
            return -1;
        }
        *in = slice_skip(*in, 1);
    }
    return 0;
}

/* Data pays for extensions: a body of honest chunks may have as many of them as it likes. */
static void take_data(struct h1_chunked *c, struct slice *in, struct slice *data)
{
    size_t len = in->len < c->left ? in->len : (size_t)c->left;

    *data = slice_of(in->at, len);
    *in = slice_skip(*in, len);
    c->left -= len;
    c->overhead -= len < c->overhead ? (uint32_t)len : c->overhead;
    if (c->left == 0)
        c->state = DATA_CR;
}

/* Takes one byte that is not data. NULL, or what is wrong with it. */
static const char *step(struct h1_chunked *c, char byte)
{
    switch ((enum chunk_state)c->state) {
    case SIZE:
        return step_size(c, byte);
    case SIZE_BLANK:
    case NAME_START:
    case NAME:
    case NAME_BLANK:
    case VALUE_START:
    case VALUE_TOKEN:
    case VALUE_QUOTED:
    case VALUE_ESCAPE:
    case VALUE_END:
    case VALUE_BLANK:
        return step_extension(c, byte);
    case SIZE_LF:
        if (byte != '\n')
            return "a bare CR in a chunk's size line";
        c->digits = 0;
        c->line_len = 0;
        c->done = c->left == 0;
        c->state = c->done ? DONE : DATA;
        return NULL;
    case DATA_CR:
        if (byte != '\r')
            return "a chunk's data is longer than its size";
        c->state = DATA_LF;
        return NULL;
    case DATA_LF:
        if (byte != '\n')
            return "a bare CR behind a chunk's data";
        c->state = SIZE;
        return NULL;
    case DATA:
    case DONE:
        break;
    }
    ASSERT(c->state < DATA); /* never asked in those */
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *step_size(struct h1_chunked *c, char byte)
{
    int digit = hex_value(byte);

    if (digit >= 0) {
        if (c->digits == DIGITS_MAX || c->left > (uint64_t)INT64_MAX >> 4)
            return "a chunk's size is too large";
        c->digits++;
        c->left = c->left << 4 | (unsigned)digit;
        return NULL;
    }
    if (c->digits == 0)
        return "a chunk's size is not a hexadecimal number";
    if (byte == '\r') {
        c->state = SIZE_LF;
        return NULL;
    }
    if (byte == ';')
        c->state = NAME_START;
    else if (is_blank(byte))
        c->state = SIZE_BLANK;
    else
        return "a chunk's size is not a hexadecimal number";
    c->line_len = c->digits;
    return charge(c);
}

/* An extension's byte: the line and the body have only so many. */
static const char *charge(struct h1_chunked *c)
{
    if (++c->line_len > H1_CHUNK_LINE_MAX)
        return "a chunk's size line is too long";
    if (++c->overhead > H1_CHUNK_OVERHEAD_MAX)
        return "too many chunk extensions";
    return NULL;
}

/* RFC 9112 §7.1.1: *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ) */
static const char *step_extension(struct h1_chunked *c, char byte)
{
    switch ((enum chunk_state)c->state) {
    case NAME_START:
    case VALUE_START:
        if (is_blank(byte))
            break;
        if (byte == '"' && c->state == VALUE_START)
            c->state = VALUE_QUOTED;
        else if (byte_is(byte, BYTE_TOKEN))
            c->state = c->state == NAME_START ? NAME : VALUE_TOKEN;
        else
            return "a chunk extension is malformed";
        break;
    case VALUE_QUOTED:
        if (byte == '"')
            c->state = VALUE_END;
        else if (byte == '\\')
            c->state = VALUE_ESCAPE;
        else if (!byte_is(byte, BYTE_TEXT))
            return "a control character in a chunk extension";
        break;
    case VALUE_ESCAPE:
        if (!byte_is(byte, BYTE_TEXT))
            return "a control character in a chunk extension";
        c->state = VALUE_QUOTED;
        break;
    case NAME:
    case VALUE_TOKEN:
        if (byte_is(byte, BYTE_TOKEN))
            break;
        return end_of_word(c, byte);
    default: /* SIZE_BLANK, NAME_BLANK, VALUE_END, VALUE_BLANK */
        return end_of_word(c, byte);
    }
    return charge(c);
}

/* Behind a size with blanks, a name or a value: what may follow it. Blanks right before the CR belong to
 * nothing. */
static const char *end_of_word(struct h1_chunked *c, char byte)
{
    bool is_name = c->state == NAME || c->state == NAME_BLANK;
    bool has_blanks = c->state == SIZE_BLANK || c->state == NAME_BLANK || c->state == VALUE_BLANK;

    if (byte == '\r' && !has_blanks) {
        c->state = SIZE_LF;
        return NULL;
    }
    if (byte == ';')
        c->state = NAME_START;
    else if (byte == '=' && is_name)
        c->state = VALUE_START;
    else if (!is_blank(byte))
        return "a chunk extension is malformed";
    else if (!has_blanks)
        c->state = is_name ? NAME_BLANK : VALUE_BLANK;
    return charge(c);
}
