#define XXH_STATIC_LINKING_ONLY /* for a state on the stack */
#include "cache/redis/frame.h"

#include <endian.h>
#include <openssl/evp.h>
#include <xxhash.h>

static const char magic[8] = "weirrd1\n";

int redis_frame_place(struct slice key, char out[REDIS_FRAME_KEY_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(key.at, key.len, digest, &len, EVP_sha256(), NULL) != 1 || len < REDIS_FRAME_KEY_HEX / 2)
        return -1;
    for (unsigned i = 0; i < REDIS_FRAME_KEY_HEX / 2; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    return 0;
}

static void put_64(char *at, uint64_t n)
{
    n = htole64(n);
    memcpy(at, &n, sizeof n);
}

static void put_32(char *at, size_t n)
{
    uint32_t little = htole32((uint32_t)n);
    memcpy(at, &little, sizeof little);
}

static uint64_t get_64(const char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof n);
    return le64toh(n);
}

static uint32_t get_32(const char *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof n);
    return le32toh(n);
}

static char *put_text(char *at, struct slice text)
{
    if (text.len)
        memcpy(at, text.at, text.len);
    return at + text.len;
}

/* Bytes of the tags, or SIZE_MAX when there are too many, or one is too long. */
static size_t tags_size(const struct cache_redis_value *v)
{
    size_t bytes = 0;
    if (v->tag_count > CACHE_REDIS_TAGS_MAX)
        return SIZE_MAX;
    for (size_t i = 0; i < v->tag_count; i++) {
        if (v->tags[i].len > CACHE_REDIS_TEXT_MAX)
            return SIZE_MAX;
        bytes += 2 + v->tags[i].len;
    }
    return bytes;
}

size_t redis_frame_write(const struct cache_redis_value *v, char *out, size_t size)
{
    size_t tags = tags_size(v);
    if (tags == SIZE_MAX || v->key.len > CACHE_REDIS_TEXT_MAX || v->url.len > CACHE_REDIS_TEXT_MAX)
        return 0;
    size_t head = REDIS_FRAME_FIXED + v->key.len + v->url.len + tags, content = 0;
    if (head > size)
        return 0;
    for (int i = 0; i < v->count; i++)
        content += v->content[i].iov_len;

    memcpy(out, magic, sizeof magic);
    put_64(out + 16, v->stamp.epoch);
    put_64(out + 24, v->stamp.number);
    put_64(out + 32, content);
    put_32(out + 40, v->key.len);
    put_32(out + 44, v->url.len);
    put_32(out + 48, tags);
    put_32(out + 52, v->tag_count);
    char *at = put_text(put_text(out + REDIS_FRAME_FIXED, v->key), v->url);
    for (size_t i = 0; i < v->tag_count; i++) {
        uint16_t len = htole16((uint16_t)v->tags[i].len);
        memcpy(at, &len, sizeof len);
        at = put_text(at + sizeof len, v->tags[i]);
    }

    XXH3_state_t sum;
    XXH3_64bits_reset(&sum);
    XXH3_64bits_update(&sum, out + 16, head - 16);
    for (int i = 0; i < v->count; i++)
        XXH3_64bits_update(&sum, v->content[i].iov_base, v->content[i].iov_len);
    put_64(out + 8, XXH3_64bits_digest(&sum));
    return head;
}

bool redis_frame_next_tag(struct slice *tags, struct slice *tag)
{
    uint16_t len;
    if (tags->len < sizeof len)
        return false;
    memcpy(&len, tags->at, sizeof len);
    len = le16toh(len);
    if (len > tags->len - sizeof len)
        return false;
    *tag = slice_of(tags->at + sizeof len, len);
    *tags = slice_skip(*tags, sizeof len + len);
    return true;
}

/* Whether there are so many, and nothing behind them. */
static bool tags_are_whole(struct slice tags, uint32_t count)
{
    struct slice tag;
    if (count > CACHE_REDIS_TAGS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!redis_frame_next_tag(&tags, &tag))
            return false;
    return tags.len == 0;
}

int redis_frame_read(struct slice value, struct slice key, struct redis_frame *out)
{
    const char *at = value.at;
    if (value.len < REDIS_FRAME_FIXED || memcmp(at, magic, sizeof magic) != 0)
        return -1;
    uint64_t content = get_64(at + 32);
    uint64_t key_len = get_32(at + 40), url_len = get_32(at + 44), tags_len = get_32(at + 48);
    uint64_t head = REDIS_FRAME_FIXED + key_len + url_len + tags_len;
    if (head > value.len || content != value.len - head || key_len != key.len)
        return -1;
    if (get_64(at + 8) != XXH3_64bits(at + 16, value.len - 16))
        return -1;
    struct slice rest = slice_skip(value, REDIS_FRAME_FIXED);
    if (!slice_equal(slice_of(rest.at, key_len), key))
        return -1;
    struct redis_frame frame = {
        .stamp = {get_64(at + 16), get_64(at + 24)},
        .url = slice_of(rest.at + key_len, url_len),
        .tags = slice_of(rest.at + key_len + url_len, tags_len),
        .content = slice_skip(value, head),
        .tag_count = get_32(at + 52),
    };
    if (!tags_are_whole(frame.tags, frame.tag_count))
        return -1;
    *out = frame;
    return 0;
}
