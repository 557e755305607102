#include "tls/server.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "tls/server_internal.h"
#include "tls/transport.h"

#define HOST_MAX 255 /* RFC 1035 §2.3.4 */

static void destroy(struct tls_hold *hold);

struct tls_server *tls_server_create(struct config *c, const struct config_node *at,
                                     const struct tls_server_settings *s, unsigned workers,
                                     struct tls_tickets *tickets)
{
    if (!at)
        at = s->node;
    struct tls_server *server = calloc(1, sizeof *server);
    struct tls_server_slot *slots = NULL;
    if (posix_memalign((void **)&slots, 64, workers * sizeof *slots) != 0)
        slots = NULL;
    if (!server || !slots) {
        free(server);
        free(slots);
        config_fault(c, at, "out of memory");
        return NULL;
    }
    memset(slots, 0, workers * sizeof *slots);
    arena_init(&server->arena, NULL, 0);
    server->tickets = tickets;
    server->workers = workers;
    server->slots = slots;
    server->hold.destroy = destroy;
    atomic_init(&server->hold.slots, workers);
    for (unsigned i = 0; i < workers; i++) {
        slots[i].slot.whole = &server->hold;
        slots[i].server = server;
        atomic_init(&slots[i].slot.refs, 1);
    }

    server->hold.bio = tls_transport_bio();
    server->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    int result = 0;
    if (!server->hold.bio || !server->ticket_cipher) {
        config_fault(c, at, "out of memory");
        result = -1;
    } else {
        result = tls_server_load(c, at, s, server);
    }
    for (unsigned i = 0; i < workers && result == 0; i++)
        result = tls_server_contexts(c, at, s, server, &slots[i]);
    ERR_clear_error();
    if (result == 0)
        return server;
    tls_server_free(server);
    return NULL;
}

void tls_server_free(struct tls_server *s)
{
    if (!s)
        return;
    /* The last drop ends it: nothing of it is read after that. */
    unsigned workers = s->workers;
    struct tls_server_slot *slots = s->slots;
    for (unsigned i = 0; i < workers; i++)
        tls_slot_drop(&slots[i].slot);
}

static void destroy(struct tls_hold *hold)
{
    struct tls_server *s = CONTAINER_OF(hold, struct tls_server, hold);
    for (unsigned w = 0; w < s->workers; w++) {
        for (unsigned i = 0; s->slots[w].contexts && i < s->choice_count; i++)
            SSL_CTX_free(s->slots[w].contexts[i]);
        free(s->slots[w].contexts);
    }
    for (unsigned i = 0; i < s->identity_count; i++)
        tls_identity_free(&s->identities[i]);
    for (unsigned i = 0; i < s->policy_count; i++) {
        X509_STORE_free(s->policies[i].store);
        sk_X509_NAME_pop_free(s->policies[i].names, X509_NAME_free);
    }
    tls_files_free(&s->files);
    tls_ticket_keys_free(s->file_keys);
    EVP_CIPHER_free(s->ticket_cipher);
    BIO_meth_free(s->hold.bio);
    arena_reset(&s->arena);
    free(s->slots);
    free(s);
}

int tls_server_accept(struct tls_server *s, unsigned worker, struct conn *c)
{
    ASSERT(worker < s->workers);
    struct tls_server_slot *slot = &s->slots[worker];
    struct tls_state *state = tls_state_create(c, slot->contexts[0], &slot->slot, true);
    if (!state)
        return -1;
    state->owner = slot;
    state->info.policy = tls_policy_number(&s->policies[s->choices[0].policy]);
    state->info.certificate = s->choices[0].identities[0];
    conn_set_transport(c, &tls_transport, state);
    return 0;
}

bool tls_server_changed(const struct tls_server *s)
{
    return tls_files_changed(&s->files);
}

const struct tls_files *tls_server_files(const struct tls_server *s)
{
    return &s->files;
}

size_t tls_server_certificates(const struct tls_server *s, const struct tls_certificate **out)
{
    *out = s->certificates;
    return s->identity_count;
}

/* Names. */

static int compare_name(const void *key, const void *element)
{
    const struct slice *a = key;
    const struct slice *b = &((const struct tls_name *)element)->name;
    int order = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static const struct tls_name *find(const struct tls_server *s, struct slice name)
{
    if (s->name_count == 0)
        return NULL;
    return bsearch(&name, s->names, s->name_count, sizeof s->names[0], compare_name);
}

/* A wildcard stands for exactly one whole label (RFC 6125 §6.4.3). */
unsigned tls_server_choose(const struct tls_server *s, struct slice name, bool *found)
{
    const struct tls_name *hit = name.len ? find(s, name) : NULL;
    size_t dot = slice_find(name, '.');
    if (!hit && dot > 0 && dot < name.len && name.len <= HOST_MAX) {
        char wildcard[HOST_MAX + 1];
        wildcard[0] = '*';
        memcpy(wildcard + 1, name.at + dot, name.len - dot);
        hit = find(s, slice_of(wildcard, 1 + name.len - dot));
    }
    if (found)
        *found = hit != NULL;
    return hit ? hit->choice : 0;
}

/* Lower case, no dot behind; false when it is too long to be a name. */
static bool normal_host(struct slice host, char buf[HOST_MAX], struct slice *out)
{
    if (host.len && host.at[host.len - 1] == '.')
        host.len--;
    if (host.len > HOST_MAX)
        return false;
    for (size_t i = 0; i < host.len; i++)
        buf[i] = ascii_lower(host.at[i]);
    *out = slice_of(buf, host.len);
    return true;
}

bool tls_server_covers(const struct tls_server *s, struct slice host)
{
    char buf[HOST_MAX];
    struct slice name;
    bool found = false;
    if (normal_host(host, buf, &name))
        tls_server_choose(s, name, &found);
    return found;
}

uint64_t tls_policy_number(const struct tls_policy *p)
{
    uint64_t number;
    memcpy(&number, p->id, sizeof number);
    return number;
}

uint64_t tls_server_policy(const struct tls_server *s, struct slice host)
{
    char buf[HOST_MAX];
    struct slice name;
    unsigned choice = normal_host(host, buf, &name) ? tls_server_choose(s, name, NULL) : 0;
    return tls_policy_number(&s->policies[s->choices[choice].policy]);
}
