/* A client of HTTP/2 that the fuzzer's bytes steer: frames that are whole, heads that are encoded, and much
 * in them that may not be. Bodies are made of one letter a stream, which the head tells (x-fill), so that the
 * other side can see bytes that came to the wrong request. */
#pragma once

#include <string.h>

#include "core/slice.h"

#define FRAMES_MAX (256u << 10)

struct frames {
    const uint8_t *at; /* what steers */
    size_t left;
    uint8_t *out;
    size_t len;
    uint32_t next_id;
    unsigned heads;
    uint8_t block[8192];
    size_t block_len;
};

static unsigned frames_take(struct frames *f, unsigned below)
{
    if (f->left == 0)
        return 0;
    f->left--;
    return *f->at++ % below;
}

static void frames_frame(struct frames *f, unsigned type, unsigned flags, uint32_t stream,
                         const void *payload, size_t len)
{
    if (f->len + 9 + len > FRAMES_MAX)
        return;
    uint8_t head[9] = {(uint8_t)(len >> 16),    (uint8_t)(len >> 8),    (uint8_t)len,
                       (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
                       (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    memcpy(f->out + f->len, head, 9);
    if (len)
        memcpy(f->out + f->len + 9, payload, len);
    f->len += 9 + len;
}

/* HPACK (RFC 7541 §6.2): literals without Huffman. */
static void frames_text(struct frames *f, struct slice s)
{
    size_t rest = s.len;
    if (f->block_len + s.len + 8 > sizeof f->block)
        return;
    if (rest < 127) {
        f->block[f->block_len++] = (uint8_t)rest;
    } else {
        f->block[f->block_len++] = 127;
        for (rest -= 127; rest >= 128; rest >>= 7)
            f->block[f->block_len++] = (uint8_t)(rest | 128);
        f->block[f->block_len++] = (uint8_t)rest;
    }
    memcpy(f->block + f->block_len, s.at, s.len);
    f->block_len += s.len;
}

static void frames_field(struct frames *f, struct slice name, struct slice value)
{
    if (f->block_len + name.len + value.len + 24 > sizeof f->block)
        return;
    f->block[f->block_len++] = 0;
    frames_text(f, name);
    frames_text(f, value);
}

/* `s` with something in it that should not be there. */
static struct slice frames_spoil(struct frames *f, struct slice s, char *room)
{
    static const struct slice nasty[] = {SLICE("\r"),
                                         SLICE("\n"),
                                         SLICE("\r\n\r\n"),
                                         SLICE("\0"),
                                         SLICE(":"),
                                         SLICE(" "),
                                         SLICE("\t"),
                                         SLICE("A"),
                                         SLICE("\x80"),
                                         SLICE("%00"),
                                         SLICE("#"),
                                         SLICE(","),
                                         SLICE("@"),
                                         SLICE("/"),
                                         SLICE("\x7f"),
                                         SLICE("\r\nhost: evil\r\n"),
                                         SLICE(" HTTP/1.1\r\n"),
                                         SLICE("_"),
                                         SLICE("[")};
    struct slice what = nasty[frames_take(f, COUNT_OF(nasty))];
    size_t at = frames_take(f, (unsigned)s.len + 1);
    memcpy(room, s.at, at);
    memcpy(room + at, what.at, what.len);
    memcpy(room + at + what.len, s.at + at, s.len - at);
    return slice_of(room, s.len + what.len);
}

static const struct slice frames_names[] = {SLICE("content-length"),
                                            SLICE("transfer-encoding"),
                                            SLICE("host"),
                                            SLICE("connection"),
                                            SLICE("te"),
                                            SLICE("cookie"),
                                            SLICE("expect"),
                                            SLICE("upgrade"),
                                            SLICE("keep-alive"),
                                            SLICE("proxy-connection"),
                                            SLICE("trailer"),
                                            SLICE("x-a"),
                                            SLICE("priority"),
                                            SLICE(":path"),
                                            SLICE(":method"),
                                            SLICE(":authority"),
                                            SLICE(":scheme"),
                                            SLICE(":protocol"),
                                            SLICE(":status"),
                                            SLICE("http2-settings"),
                                            SLICE("x-forwarded-for"),
                                            SLICE("forwarded"),
                                            SLICE("via"),
                                            SLICE("content_length"),
                                            SLICE("sec-websocket-key"),
                                            SLICE("sec-websocket-version"),
                                            SLICE("x-request-id"),
                                            SLICE("")};
static const struct slice frames_values[] = {SLICE("0"),
                                             SLICE("1"),
                                             SLICE("5"),
                                             SLICE("chunked"),
                                             SLICE("close"),
                                             SLICE("trailers"),
                                             SLICE("100-continue"),
                                             SLICE("websocket"),
                                             SLICE("h2c"),
                                             SLICE("a=1"),
                                             SLICE("t.example"),
                                             SLICE("/"),
                                             SLICE("*"),
                                             SLICE("identity"),
                                             SLICE("+5"),
                                             SLICE("5, 5"),
                                             SLICE("x-a"),
                                             SLICE("content-length"),
                                             SLICE("99999999999999999999"),
                                             SLICE("0x5"),
                                             SLICE("13"),
                                             SLICE("for=1.2.3.4"),
                                             SLICE("")};

static void frames_some_fields(struct frames *f, unsigned count)
{
    char room[2][64];
    for (unsigned i = 0; i < count; i++) {
        struct slice name = frames_names[frames_take(f, COUNT_OF(frames_names))];
        struct slice value = frames_values[frames_take(f, COUNT_OF(frames_values))];
        unsigned how = frames_take(f, 16);
        if (how == 15 && f->block_len < sizeof f->block) { /* an index, of whichever table */
            f->block[f->block_len++] = (uint8_t)(0x80 | frames_take(f, 80));
            continue;
        }
        if (how == 14)
            name = frames_spoil(f, name, room[0]);
        if (how >= 12 && how <= 13)
            value = frames_spoil(f, value, room[1]);
        frames_field(f, name, value);
    }
}

/* The block as HEADERS, and CONTINUATION when it is cut. */
static void frames_block(struct frames *f, unsigned flags, uint32_t stream)
{
    size_t cut = frames_take(f, 4) == 0 ? frames_take(f, 256) : f->block_len;
    if (cut > f->block_len)
        cut = f->block_len;
    bool whole = cut == f->block_len;
    frames_frame(f, 1, flags | (whole ? 4 : 0), stream, f->block, cut);
    if (!whole)
        frames_frame(f, 9, 4, stream, f->block + cut, f->block_len - cut);
    f->block_len = 0;
}

static char frames_letter(uint32_t stream)
{
    return (char)('a' + stream / 2 % 26);
}

static void frames_head(struct frames *f)
{
    static const struct slice methods[] = {SLICE("GET"),     SLICE("POST"),    SLICE("HEAD"),
                                           SLICE("OPTIONS"), SLICE("CONNECT"), SLICE("PUT")};
    static const struct slice paths[] = {SLICE("/"),         SLICE("/a?b=c"), SLICE("*"),
                                         SLICE("/%2e%2e/x"), SLICE(""),       SLICE("http://t.example/"),
                                         SLICE("/quick")};
    static const struct slice schemes[] = {SLICE("http"), SLICE("https"), SLICE("ftp"), SLICE("")};
    static const struct slice hosts[] = {SLICE("t.example"), SLICE("t.example:80"), SLICE("[::1]"),
                                         SLICE(""),          SLICE("a@b"),          SLICE("a b")};
    struct slice value[4] = {methods[frames_take(f, COUNT_OF(methods))],
                             schemes[frames_take(f, 16) == 0 ? frames_take(f, COUNT_OF(schemes)) : 0],
                             hosts[frames_take(f, 8) == 0 ? frames_take(f, COUNT_OF(hosts)) : 0],
                             paths[frames_take(f, COUNT_OF(paths))]};
    static const struct slice names[4] = {SLICE(":method"), SLICE(":scheme"), SLICE(":authority"),
                                          SLICE(":path")};
    char room[64], letter = frames_letter(f->next_id);
    unsigned left_out = frames_take(f, 32), spoiled = frames_take(f, 32);
    for (unsigned i = 0; i < 4; i++)
        if (left_out != i)
            frames_field(f, names[i], spoiled == i ? frames_spoil(f, value[i], room) : value[i]);
    frames_some_fields(f, frames_take(f, 5));
    frames_field(f, S("x-fill"), slice_of(&letter, 1));
    frames_block(f, frames_take(f, 3) == 0 ? 1 : 0, f->next_id);
    f->next_id += frames_take(f, 32) == 31 ? 1 : 2;
    f->heads++;
}

/* One of the streams that were opened, most often the last. */
static uint32_t frames_stream(struct frames *f)
{
    unsigned back = frames_take(f, 8);
    uint32_t last = f->next_id - 2;
    return back >= 4 || 2 * back >= last ? last : last - 2 * back;
}

static void frames_data(struct frames *f)
{
    static const unsigned sizes[] = {0, 1, 4, 5, 100, 1000, 16000, 17000};
    static uint8_t body[20000];
    uint32_t stream = frames_stream(f);
    size_t len = sizes[frames_take(f, COUNT_OF(sizes))], pad = frames_take(f, 4) == 3 ? frames_take(f, 8) : 0;
    unsigned end = frames_take(f, 2);
    memset(body, 0, sizeof body);
    memset(body + (pad ? 1 : 0), frames_letter(stream), len);
    body[0] = pad ? (uint8_t)pad : body[0];
    frames_frame(f, 0, end | (pad ? 8 : 0), stream, body, len + (pad ? 1 + pad : 0));
}

static void frames_number(struct frames *f, unsigned type, uint32_t stream)
{
    static const uint32_t numbers[] = {0, 1, 8, 1000, 65535, 1u << 20, INT32_MAX, UINT32_MAX};
    uint32_t n = numbers[frames_take(f, COUNT_OF(numbers))];
    uint8_t payload[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    frames_frame(f, type, 0, stream, payload, 4);
}

static void frames_setting(struct frames *f)
{
    static const uint32_t numbers[] = {0, 1, 100, 4096, 16384, 65535, 1u << 24, INT32_MAX, UINT32_MAX};
    unsigned id = frames_take(f, 10);
    uint32_t n = numbers[frames_take(f, COUNT_OF(numbers))];
    uint8_t payload[6] = {0,         (uint8_t)id, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
                          (uint8_t)n};
    frames_frame(f, 4, frames_take(f, 16) == 15, 0, payload, 6);
}

/* Of any type; what may count as a body is of its stream's letter. */
static void frames_any(struct frames *f)
{
    uint8_t payload[8];
    unsigned type = frames_take(f, 32), flags = frames_take(f, 64);
    uint32_t stream = frames_take(f, 2) ? 0 : frames_stream(f);
    memset(payload, type == 0 ? frames_letter(stream) : 0, sizeof payload);
    frames_frame(f, type, flags, stream, payload, frames_take(f, 9));
}

static void frames_one(struct frames *f)
{
    static const uint8_t zeros[8];
    switch (frames_take(f, 14)) {
    case 0:
    case 1:
    case 2:
    case 3:
        frames_head(f);
        break;
    case 4:
    case 5:
    case 6:
        frames_data(f);
        break;
    case 7:
        frames_some_fields(f, frames_take(f, 3));
        frames_block(f, frames_take(f, 8) != 7, frames_stream(f));
        break;
    case 8:
        frames_number(f, 3, frames_stream(f));
        break;
    case 9:
        frames_number(f, 8, frames_take(f, 2) ? 0 : frames_stream(f));
        break;
    case 10:
        frames_setting(f);
        break;
    case 11:
        frames_frame(f, 2, 0, frames_stream(f), zeros, 5);
        break;
    case 12:
        frames_frame(f, 6, frames_take(f, 2), 0, zeros, 8);
        break;
    default:
        frames_any(f);
        break;
    }
}

/* Makes frames of all that steers: by frames_one, or a step that knows more. */
static void frames_make(struct frames *f, void (*step)(struct frames *))
{
    f->next_id = 1;
    while (f->left)
        step(f);
}
