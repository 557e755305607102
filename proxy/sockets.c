#include "proxy/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proxy/sockets_internal.h"
#include "proxy/stream/udp.h"

void sockets_init(struct sockets *s, unsigned workers)
{
    list_init(&s->all);
    list_init(&s->closing);
    s->workers = workers;
}

static void remove_file(const struct address *a)
{
    if (a->any.sa_family == AF_UNIX && a->un.sun_path[0])
        unlink(a->un.sun_path);
}

static void keep_files(struct sockets *s, bool keep)
{
    LIST_EACH (node, &s->all) {
        CONTAINER_OF(node, struct listening, link)->keep_file = keep;
    }
}

void sockets_own_files(struct sockets *s)
{
    keep_files(s, false);
}

void sockets_forget_files(struct sockets *s)
{
    keep_files(s, true);
}

/* Forgets the descriptors. */
static void let_go(struct listening *l)
{
    if (!l->keep_file && !l->activated && l->count)
        remove_file(&l->address);
    l->count = 0;
    free(l->fds);
    l->fds = NULL;
    list_remove(&l->link);
}

void sockets_drop(struct listening *l)
{
    for (size_t i = 0; i < l->count; i++)
        close(l->fds[i]);
    let_go(l);
    free(l);
}

static void close_all(struct list *all)
{
    while (!list_empty(all))
        sockets_drop(CONTAINER_OF(all->next, struct listening, link));
}

void sockets_free(struct sockets *s)
{
    close_all(&s->closing);
    close_all(&s->all);
}

struct listening *sockets_find(const struct sockets *s, const struct address *a, bool datagrams)
{
    LIST_EACH (node, &s->all) {
        struct listening *l = CONTAINER_OF(node, struct listening, link);
        if (l->datagrams == datagrams && address_equal(&l->address, a))
            return l;
    }
    return NULL;
}

bool sockets_has(const struct sockets *s, const struct address *a, bool datagrams)
{
    return sockets_find(s, a, datagrams) != NULL;
}

struct listening *sockets_create(struct sockets *s, const struct address *a, bool datagrams)
{
    struct listening *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->address = *a;
    l->datagrams = datagrams;
    list_append(&s->all, &l->link);
    return l;
}

int sockets_add_fd(struct listening *l, int fd)
{
    int *fds = realloc(l->fds, (l->count + 1) * sizeof *fds);
    if (!fds)
        return -1;
    l->fds = fds;
    fds[l->count++] = fd;
    return 0;
}

struct listening *sockets_open(struct sockets *s, const struct address *a, bool datagrams, const char **what)
{
    *what = "memory";
    struct listening *l = sockets_find(s, a, datagrams);
    bool fresh = !l;
    if (fresh)
        l = sockets_create(s, a, datagrams);
    if (!l) {
        errno = ENOMEM;
        return NULL;
    }
    if (sockets_fill(s, l, what) != 0) {
        int error = errno;
        if (fresh)
            sockets_drop(l);
        errno = error;
        return NULL;
    }
    l->wanted = true;
    return l;
}

void sockets_want(struct sockets *s, const struct address *a, bool datagrams)
{
    struct listening *l = sockets_find(s, a, datagrams);
    if (l)
        l->wanted = true;
}

void sockets_begin(struct sockets *s)
{
    LIST_EACH (node, &s->all) {
        CONTAINER_OF(node, struct listening, link)->wanted = false;
    }
}

static void take_unwanted(struct sockets *s, struct list *out)
{
    LIST_EACH_SAFE (node, &s->all) {
        struct listening *l = CONTAINER_OF(node, struct listening, link);
        if (l->wanted)
            continue;
        list_remove(&l->link);
        list_append(out, &l->link);
    }
}

void sockets_close_unwanted(struct sockets *s)
{
    struct list unwanted;
    list_init(&unwanted);
    take_unwanted(s, &unwanted);
    close_all(&unwanted);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sockets_give_up(struct sockets *s)
{
    struct list unwanted;
    list_init(&unwanted);
    take_unwanted(s, &unwanted);
    while (!list_empty(&unwanted)) {
        struct listening *l = CONTAINER_OF(unwanted.next, struct listening, link);
        let_go(l);
        l->given_up_ms = now_ms();
        list_append(&s->closing, &l->link);
    }
}

void sockets_given_up(struct sockets *s)
{
    LIST_EACH_SAFE (node, &s->closing) {
        struct listening *l = CONTAINER_OF(node, struct listening, link);
        if (!l->datagrams || now_ms() - l->given_up_ms > 2 * UDP_LINGER_MS)
            sockets_drop(l);
    }
}

void sockets_give_to(struct sockets *s, uid_t user, gid_t group)
{
    LIST_EACH (node, &s->all) {
        const struct listening *l = CONTAINER_OF(node, struct listening, link);
        for (size_t i = 0; i < l->count; i++)
            (void)!fchown(l->fds[i], user, group);
    }
}

void sockets_abandon(struct sockets *s)
{
    sockets_begin(s);
    sockets_give_up(s);
    sockets_given_up(s);
}
