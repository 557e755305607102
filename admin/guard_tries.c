#include "admin/guard_tries.h"

#include <openssl/evp.h>
#include <string.h>

static struct ip key_of(const struct ip *ip)
{
    struct ip key = {.is_unix = ip->is_unix};
    memcpy(key.bytes, ip->bytes, ip_is_v4(ip) ? sizeof key.bytes : sizeof key.bytes / 2);
    return key;
}

static bool is_of(const struct guard_tries_slot *s, const struct ip *key)
{
    return s->restored_us && s->ip.is_unix == key->is_unix &&
           memcmp(s->ip.bytes, key->bytes, sizeof key->bytes) == 0;
}

bool guard_tries_left(const struct guard_tries *t, const struct ip *ip, usec_t now_us)
{
    struct ip key = key_of(ip);
    for (size_t i = 0; i < GUARD_TRIES_SLOTS; i++)
        if (is_of(&t->at[i], &key))
            return t->at[i].restored_us <= now_us + (GUARD_TRIES - 1) * GUARD_TRY_US;
    return true;
}

/* Whether it is one of those that the address showed last; it is from now on. */
static bool was_shown(struct guard_tries_slot *s, struct slice token)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(token.at ? token.at : "", token.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return false;
    for (size_t i = 0; i < GUARD_TRIES_KNOWN; i++)
        if (memcmp(s->shown[i], digest, sizeof s->shown[i]) == 0)
            return true;
    memcpy(s->shown[s->next++ % GUARD_TRIES_KNOWN], digest, sizeof s->shown[0]);
    return false;
}

void guard_tries_count(struct guard_tries *t, const struct ip *ip, struct slice token, usec_t now_us)
{
    struct ip key = key_of(ip);
    struct guard_tries_slot *s = &t->at[0];
    for (size_t i = 0; i < GUARD_TRIES_SLOTS && !is_of(s, &key); i++)
        if (is_of(&t->at[i], &key) || t->at[i].restored_us < s->restored_us)
            s = &t->at[i];
    if (!is_of(s, &key))
        *s = (struct guard_tries_slot){.ip = key};
    if (!was_shown(s, token))
        s->restored_us = (s->restored_us > now_us ? s->restored_us : now_us) + GUARD_TRY_US;
}
