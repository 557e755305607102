#include "balancer/sticky.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

static void check(struct config *c, const struct config_node *node, void *object);

static const struct option options[] = {
    OPTION_AT(struct sticky_settings, cookie, "cookie", OPTION_TEXT,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY, .help = "The cookie's name."),
    OPTION_AT(struct sticky_settings, ttl, "ttl", OPTION_DURATION, .fallback = "1h",
              .help = "How long a client stays, from its first answer on. 0: until its browser is closed."),
    OPTION_AT(struct sticky_settings, secret, "secret", OPTION_TEXT, .flags = OPTION_FLAG_SECRET,
              .help =
                  "Keys the cookie's value, so that nobody else can make one; the same on every weir of a "
                  "fleet. Without it the value only keeps addresses out of sight."),
};

const struct option_table sticky_table = {
    .name = "sticky",
    .help =
        "A cookie keeps a client on the server that it got first, also while that one is drained. When the "
        "server is down or gone, the client gets another, and that one's cookie.",
    .options = options,
    .count = COUNT_OF(options),
    .size = sizeof(struct sticky_settings),
    .has_node = true,
    .node_offset = offsetof(struct sticky_settings, node),
    .check = check,
};

/* RFC 6265 §4.1.1: a token. */
static bool is_cookie_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] <= 0x20 || (unsigned char)s.at[i] >= 0x7f ||
            strchr("()<>@,;:\\\"/[]?={}", s.at[i]))
            return false;
    return true;
}

static void check(struct config *c, const struct config_node *node, void *object)
{
    const struct sticky_settings *s = object;
    const struct config_node *at = node && node->kind == NODE_MAP ? config_get(node, "cookie") : NULL;
    if (s->cookie.len && !is_cookie_name(s->cookie))
        config_fault(c, at ? at : node, "is no name that a cookie can have");
}

/* Tokens. */

struct token {
    char text[STICKY_TOKEN + 2]; /* sorted by it */
    struct server *server;
};

struct sticky_tokens {
    size_t count;
    uint32_t *by_server; /* positions, sorted by the server's address in memory */
    struct token tokens[];
};

static int by_text(const void *a, const void *b)
{
    return memcmp(((const struct token *)a)->text, ((const struct token *)b)->text, STICKY_TOKEN);
}

static int by_server(const void *a, const void *b, void *tokens)
{
    uintptr_t x = (uintptr_t)((const struct token *)tokens)[*(const uint32_t *)a].server;
    uintptr_t y = (uintptr_t)((const struct token *)tokens)[*(const uint32_t *)b].server;
    return x < y ? -1 : x > y;
}

#define KEY 32

/* HMAC-SHA-256 (RFC 2104); `key` and `out` may be the same. */
static int keyed(const unsigned char *key, size_t key_len, struct slice text, unsigned char out[KEY])
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text.at, text.len, out, &len) ? 0
                                                                                                      : -1;
}

/* One key for each upstream and cookie: HMAC(HMAC(secret, upstream), cookie). */
static int make_key(const struct sticky_settings *settings, struct slice upstream, unsigned char key[KEY])
{
    struct slice secret = settings->secret.len ? settings->secret : S("weir sticky sessions");
    if (keyed((const unsigned char *)secret.at, secret.len, upstream, key) != 0)
        return -1;
    return keyed(key, KEY, settings->cookie, key);
}

/* 128 bits in base64url (RFC 4648 §5), without padding. */
static void print_token(const unsigned char *bits, char *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned held = 0, have = 0;
    for (size_t i = 0; i < 16; i++) {
        held = held << 8 | bits[i];
        for (have += 8; have >= 6; have -= 6)
            *to++ = digits[held >> (have - 6) & 63];
    }
    *to++ = digits[held << (6 - have) & 63];
    *to = '\0';
}

static int fill(struct sticky_tokens *t, const unsigned char *key, struct server *const *servers,
                size_t count)
{
    unsigned char mac[KEY];
    for (; t->count < count; t->count++) {
        struct token *token = &t->tokens[t->count];
        token->server = servers[t->count];
        if (keyed(key, KEY, token->server->name, mac) != 0)
            return -1;
        print_token(mac, token->text);
    }
    qsort(t->tokens, count, sizeof *t->tokens, by_text);
    for (uint32_t i = 0; i < count; i++)
        t->by_server[i] = i;
    qsort_r(t->by_server, count, sizeof *t->by_server, by_server, t->tokens);
    return 0;
}

struct sticky_tokens *sticky_make(const struct sticky_settings *settings, struct slice upstream,
                                  struct server *const *servers, size_t count)
{
    unsigned char key[KEY];
    struct sticky_tokens *t = calloc(1, sizeof *t + count * sizeof t->tokens[0]);
    if (!t)
        return NULL;
    t->by_server = calloc(count + 1, sizeof *t->by_server);
    if (!t->by_server || make_key(settings, upstream, key) != 0 || fill(t, key, servers, count) != 0) {
        sticky_free(t);
        return NULL;
    }
    return t;
}

void sticky_free(struct sticky_tokens *t)
{
    if (!t)
        return;
    free(t->by_server);
    free(t);
}

struct server *sticky_find(const struct sticky_tokens *t, struct slice token)
{
    struct token wanted = {.server = NULL};
    if (token.len != STICKY_TOKEN)
        return NULL;
    memcpy(wanted.text, token.at, STICKY_TOKEN);
    const struct token *found = bsearch(&wanted, t->tokens, t->count, sizeof wanted, by_text);
    return found ? found->server : NULL;
}

struct slice sticky_token(const struct sticky_tokens *t, const struct server *s)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct token *token = &t->tokens[t->by_server[middle]];
        if (token->server == s)
            return slice_of(token->text, STICKY_TOKEN);
        if ((uintptr_t)token->server < (uintptr_t)s)
            low = middle + 1;
        else
            high = middle;
    }
    return slice_of("", 0);
}
