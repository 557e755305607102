#include "tls/sessions.h"

#include "core/hash.h"

uint64_t tls_session_key(const struct address *server, const char *name)
{
    uint64_t words[2] = {
        hash_keyed(slice_of((const char *)&server->any, server->len)),
        hash_keyed(slice_text(name)),
    };
    return hash_keyed(slice_of((const char *)words, sizeof words)) | 1;
}

static struct tls_session *place(struct tls_sessions *t, uint64_t key)
{
    return &t->at[(key >> 8) % TLS_SESSIONS_KEPT];
}

SSL_SESSION *tls_sessions_find(struct tls_sessions *t, uint64_t key)
{
    struct tls_session *s = place(t, key);
    if (s->key != key)
        return NULL;
    if (SSL_SESSION_is_resumable(s->session))
        return s->session;
    SSL_SESSION_free(s->session);
    *s = (struct tls_session){0};
    return NULL;
}

void tls_sessions_put(struct tls_sessions *t, uint64_t key, SSL_SESSION *session)
{
    struct tls_session *s = place(t, key);
    SSL_SESSION_free(s->session);
    *s = (struct tls_session){key, session};
}

void tls_sessions_clear(struct tls_sessions *t)
{
    for (size_t i = 0; i < TLS_SESSIONS_KEPT; i++)
        SSL_SESSION_free(t->at[i].session);
    *t = (struct tls_sessions){0};
}
