#include "proxy/http/websocket.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "proxy/http/fields.h"

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

static bool has_token(struct slice list, struct slice token)
{
    struct slice each;
    while (slice_next(&list, ',', &each))
        if (slice_equal_nocase(slice_trim(each), token))
            return true;
    return false;
}

bool websocket_agrees(struct arena *a, const struct fields *request, const struct fields *response)
{
    const struct field *key = fields_find_name(request, S("sec-websocket-key"));
    const struct field *accept = fields_find_name(response, S("sec-websocket-accept"));
    const struct field *upgrade = fields_find(response, FIELD_UPGRADE);
    const struct field *connection = fields_find(response, FIELD_CONNECTION);
    return key && accept && upgrade && connection && slice_equal_nocase(upgrade->value, S("websocket")) &&
           has_token(connection->value, S("upgrade")) &&
           slice_equal(accept->value, websocket_accept(a, key->value));
}

void websocket_answer_connect(struct http_response *r)
{
    fields_remove_name(&r->fields, S("sec-websocket-accept"));
    fields_remove(&r->fields, FIELD_CONTENT_LENGTH);
    r->has_content_length = false;
    r->status = 200;
    r->reason = S("");
}

int websocket_answer_upgrade(struct arena *a, const struct fields *request, struct http_response *r)
{
    const struct field *key = fields_find_name(request, S("sec-websocket-key"));
    struct slice accept = websocket_accept(a, key->value);
    r->status = 101;
    r->body = BODY_NONE;
    if (!accept.len || fields_add(a, &r->fields, FIELD_UPGRADE, S("Upgrade"), S("websocket")) != 0)
        return -1;
    return fields_add(a, &r->fields, FIELD_OTHER, S("Sec-WebSocket-Accept"), accept);
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
