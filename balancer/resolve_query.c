#include <arpa/nameser.h>
#include <stdlib.h>

#include "balancer/resolve_internal.h"

/* Owned by the resolver; ends when its answer was delivered. */
struct resolve_query {
    struct list link; /* the resolver's */
    struct resolver *resolver;
    resolve_done *done; /* NULL = cancelled */
    void *argument;
    bool asked; /* c-ares has it, and will call back */
    int family; /* 0 = SRV */
    int status;
    struct resolve_record *records;
    size_t count;
    char *names; /* that records point into */
    struct task task;
};

static void on_addresses(void *argument, int status, int timeouts, struct ares_addrinfo *answer);
static void on_srv(void *argument, int status, int timeouts, unsigned char *message, int size);
static void deliver(struct task *t);

static struct resolve_query *create(struct resolver *r, int family, resolve_done *done, void *argument)
{
    struct resolve_query *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->resolver = r;
    q->done = done;
    q->argument = argument;
    q->family = family;
    q->asked = true;
    task_init(&q->task);
    list_append(&r->queries, &q->link);
    return q;
}

struct resolve_query *resolver_ask_addresses(struct resolver *r, const char *host, int family,
                                             resolve_done *done, void *argument)
{
    const struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    struct resolve_query *q = create(r, family, done, argument);
    if (!q)
        return NULL;
    ares_getaddrinfo(r->channel, host, NULL, &hints, on_addresses, q);
    resolver_arm(r);
    return q;
}

struct resolve_query *resolver_ask_srv(struct resolver *r, const char *name, resolve_done *done,
                                       void *argument)
{
    struct resolve_query *q = create(r, 0, done, argument);
    if (!q)
        return NULL;
    ares_query(r->channel, name, ns_c_in, ns_t_srv, on_srv, q);
    resolver_arm(r);
    return q;
}

void resolve_cancel(struct resolve_query *q)
{
    if (q)
        q->done = NULL;
}

static void free_query(struct resolve_query *q)
{
    list_remove(&q->link);
    free(q->records);
    free(q->names);
    free(q);
}

void resolver_free_queries(struct resolver *r)
{
    LIST_EACH_SAFE (node, &r->queries) {
        struct resolve_query *q = CONTAINER_OF(node, struct resolve_query, link);
        list_remove(&q->task.link);
        free_query(q);
    }
}

void resolver_deliver(struct resolver *r)
{
    LIST_EACH_SAFE (node, &r->queries) {
        struct resolve_query *q = CONTAINER_OF(node, struct resolve_query, link);
        if (q->asked || !list_linked(&q->task.link))
            continue;
        list_remove(&q->task.link);
        deliver(&q->task);
    }
}

/* The answer waits for the end of the pass: c-ares may call back from within the call that asks. */
static void finish(struct resolve_query *q, int status)
{
    q->asked = false;
    q->status = status;
    if (status == ARES_EDESTRUCTION)
        q->done = NULL;
    else
        loop_defer(q->resolver->loop, &q->task, deliver);
}

/* That a server said so, where others may only have failed to answer (RFC 2308 §5). */
static bool is_told(int status)
{
    return status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND;
}

static void deliver(struct task *t)
{
    struct resolve_query *q = CONTAINER_OF(t, struct resolve_query, task);
    if (q->status == ARES_SUCCESS && q->count == 0)
        q->status = ARES_ENODATA;
    const struct resolve_result r = {.told = is_told(q->status),
                                     .reason = q->count ? "" : ares_strerror(q->status),
                                     .records = q->records,
                                     .count = q->count};
    if (q->done)
        q->done(q->argument, &r);
    free_query(q);
}

static int read_addresses(struct resolve_query *q, const struct ares_addrinfo *answer)
{
    size_t count = 0;
    for (const struct ares_addrinfo_node *a = answer->nodes; a; a = a->ai_next)
        count++;
    q->records = calloc(count + 1, sizeof *q->records);
    if (!q->records)
        return ARES_ENOMEM;
    for (const struct ares_addrinfo_node *a = answer->nodes; a; a = a->ai_next) {
        if (a->ai_family != q->family || a->ai_addrlen > sizeof(struct sockaddr_in6))
            continue;
        struct resolve_record *record = &q->records[q->count++];
        record->address.len = (socklen_t)a->ai_addrlen;
        memcpy(&record->address.any, a->ai_addr, (size_t)a->ai_addrlen);
        record->ttl = a->ai_ttl > 0 ? (uint32_t)a->ai_ttl : 0;
    }
    return ARES_SUCCESS;
}

static void on_addresses(void *argument, int status, int timeouts, struct ares_addrinfo *answer)
{
    struct resolve_query *q = argument;
    (void)timeouts;
    if (status == ARES_SUCCESS && q->done)
        status = read_addresses(q, answer);
    if (answer)
        ares_freeaddrinfo(answer);
    finish(q, status);
}

/* The least TTL of the answer's records of a type (RFC 1035 §4.1.3): the parser of this version of c-ares
 * drops it. 0 when the message makes no sense. */
static uint32_t least_ttl(const unsigned char *message, int size, int type)
{
    uint32_t least = UINT32_MAX;
    const unsigned char *end = message + size, *at = message + 12;
    int questions = message[4] << 8 | message[5], answers = message[6] << 8 | message[7];
    for (int i = 0; i < questions + answers; i++) {
        char *name;
        long len;
        if (at >= end || ares_expand_name(at, message, size, &name, &len) != ARES_SUCCESS)
            return 0;
        ares_free_string(name);
        at += len;
        if (i < questions) {
            at += 4;
            continue;
        }
        if (end - at < 10)
            return 0;
        uint32_t ttl = (uint32_t)at[4] << 24 | (uint32_t)at[5] << 16 | (uint32_t)at[6] << 8 | at[7];
        if ((at[0] << 8 | at[1]) == type && ttl < least)
            least = ttl;
        at += 10 + (at[8] << 8 | at[9]);
    }
    return least == UINT32_MAX ? 0 : least;
}

static int read_srv(struct resolve_query *q, const struct ares_srv_reply *first, uint32_t ttl)
{
    size_t count = 0, bytes = 0;
    for (const struct ares_srv_reply *a = first; a; a = a->next, count++)
        bytes += strlen(a->host) + 1;
    q->records = calloc(count + 1, sizeof *q->records);
    q->names = malloc(bytes + 1);
    if (!q->records || !q->names)
        return ARES_ENOMEM;
    char *name = q->names;
    for (const struct ares_srv_reply *a = first; a; a = a->next) {
        size_t len = strlen(a->host);
        /* A target of "." (here "") says that there is no such service (RFC 2782). */
        if (len == 0)
            continue;
        memcpy(name, a->host, len + 1);
        q->records[q->count++] = (struct resolve_record){.target = slice_of(name, len),
                                                         .port = a->port,
                                                         .priority = a->priority,
                                                         .weight = a->weight,
                                                         .ttl = ttl};
        name += len + 1;
    }
    return ARES_SUCCESS;
}

static void on_srv(void *argument, int status, int timeouts, unsigned char *message, int size)
{
    struct resolve_query *q = argument;
    struct ares_srv_reply *reply = NULL;
    (void)timeouts;
    if (status == ARES_SUCCESS && q->done)
        status = ares_parse_srv_reply(message, size, &reply);
    if (status == ARES_SUCCESS && reply)
        status = read_srv(q, reply, least_ttl(message, size, ns_t_srv));
    if (reply)
        ares_free_data(reply);
    finish(q, status);
}
