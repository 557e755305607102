#include "proxy/http/websocket.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define OPCODE_CLOSE   0x8
#define KEY_BYTES      16
#define KEY_CHARACTERS 24
#define SHA1_BYTES     20
#define ACCEPT_ROOM    32 /* 28 characters and what OpenSSL puts behind them */

struct slice websocket_key(struct arena *a)
{
    unsigned char random[KEY_BYTES];
    char *key = arena_alloc(a, KEY_CHARACTERS + 1);
    if (!key || RAND_bytes(random, sizeof random) != 1)
        return slice_of(NULL, 0);
    EVP_EncodeBlock((unsigned char *)key, random, sizeof random);
    return slice_of(key, KEY_CHARACTERS);
}

struct slice websocket_accept(struct arena *a, struct slice key)
{
    static const struct slice guid = SLICE("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    unsigned char digest[SHA1_BYTES];
    unsigned len = 0;
    char *text = arena_alloc(a, key.len + guid.len);
    char *out = arena_alloc(a, ACCEPT_ROOM);
    if (!text || !out)
        return slice_of(NULL, 0);
    if (key.len)
        memcpy(text, key.at, key.len);
    memcpy(text + key.len, guid.at, guid.len);
    if (EVP_Digest(text, key.len + guid.len, digest, &len, EVP_sha1(), NULL) != 1)
        return slice_of(NULL, 0);
    return slice_of(out, (size_t)EVP_EncodeBlock((unsigned char *)out, digest, (int)len));
}

/* Frames. */

/* The second byte tells how long the head is. False when no frame begins so. */
static bool begin_head(struct websocket_frames *f, uint8_t byte)
{
    uint8_t length = byte & 0x7f;
    bool is_control = f->opcode & 0x8;
    f->left = length < 126 ? length : 0;
    f->head_size = (uint8_t)(2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (f->masked ? 4 : 0));
    return (bool)(byte & 0x80) == f->masked && !(is_control && length > 125);
}

/* Takes one byte of a head. False when no frame has such a one. */
static bool take_head_byte(struct websocket_frames *f, uint8_t byte)
{
    unsigned at = f->head_len++;
    unsigned length_end = f->head_size - (f->masked ? 4u : 0u);
    if (at == 0) {
        f->opcode = byte & 0x0f;
        bool is_known = f->opcode <= 2 || (f->opcode >= 8 && f->opcode <= 10);
        bool is_fragment_of_control = f->opcode & 0x8 && !(byte & 0x80);
        return is_known && !is_fragment_of_control;
    }
    if (at == 1)
        return begin_head(f, byte);
    if (at >= length_end)
        return true; /* of the mask */
    f->left = f->left << 8 | byte;
    if (at + 1 < length_end)
        return true;
    return length_end == 4 ? f->left > 125 : f->left > UINT16_MAX && !(f->left >> 63); /* the shortest form */
}

static void end_frame(struct websocket_frames *f)
{
    f->closed = f->closed || f->opcode == OPCODE_CLOSE;
    f->head_len = 0;
}

size_t websocket_next(struct websocket_frames *f, struct slice in)
{
    size_t n = 0;
    if (f->lost)
        return in.len;
    while (n < in.len && (f->head_len < 2 || f->head_len < f->head_size)) {
        if (!take_head_byte(f, (uint8_t)in.at[n++])) {
            f->lost = true;
            return in.len;
        }
    }
    if (f->head_len < 2 || f->head_len < f->head_size)
        return n;
    size_t payload = f->left < in.len - n ? (size_t)f->left : in.len - n;
    f->left -= payload;
    if (f->left == 0)
        end_frame(f);
    return n + payload;
}

size_t websocket_close(uint16_t code, bool masked, uint32_t mask, char out[WEBSOCKET_CLOSE_MAX])
{
    size_t n = 2;
    unsigned char key[4] = {0};
    out[0] = (char)(0x80 | OPCODE_CLOSE);
    out[1] = (char)(masked ? 0x82 : 0x02);
    if (masked) {
        memcpy(key, &mask, sizeof key);
        memcpy(out + n, key, sizeof key);
        n += sizeof key;
    }
    out[n++] = (char)(code >> 8 ^ key[0]);
    out[n++] = (char)((code & 0xff) ^ key[1]);
    return n;
}
