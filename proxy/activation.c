#include "proxy/activation.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

static bool learn_address(int fd, struct address *a)
{
    *a = (struct address){.len = sizeof *a - offsetof(struct address, any)};
    if (getsockname(fd, &a->any, &a->len) != 0)
        return false;
    return a->any.sa_family == AF_INET || a->any.sa_family == AF_INET6 || a->any.sa_family == AF_UNIX;
}

static void take(struct sockets *s, int fd, struct slice name)
{
    struct address a;
    int type = 0;
    socklen_t len = sizeof type;
    bool good = learn_address(fd, &a) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    if (!good || sockets_adopt(s, fd, &a, type == SOCK_DGRAM, name) != 0) {
        log_warn("a descriptor of the service manager's is no listening socket", LOG_U64("fd", (uint64_t)fd),
                 LOG_SLICE("name", name));
        close(fd);
    }
}

void activation_take(struct sockets *s)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *all = getenv("LISTEN_FDNAMES");
    uint64_t who, fds;
    if (pid && count && slice_to_u64(slice_text(pid), &who) == 0 && who == (uint64_t)getpid() &&
        slice_to_u64(slice_text(count), &fds) == 0 && fds <= 1024) {
        struct slice names = slice_text(all ? all : ""), name;
        for (uint64_t i = 0; i < fds; i++) {
            size_t colon = slice_find(names, ':');
            name = slice_of(names.at, colon);
            names = colon < names.len ? slice_skip(names, colon + 1) : slice_of(NULL, 0);
            take(s, FIRST_FD + (int)i, name);
        }
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

static bool same_kind(const struct listening *l, const struct listener_config *c)
{
    return l->datagrams == (c->protocol == LISTENER_UDP);
}

static bool is_bound_by(const struct snapshot *s, const struct listening *l)
{
    for (size_t i = 0; i < s->listener_count; i++)
        for (size_t k = 0; k < s->listeners[i].address_count; k++)
            if (same_kind(l, &s->listeners[i]) && address_equal(&s->listeners[i].addresses[k], &l->address))
                return true;
    return false;
}

/* The next address of the listener of its name that no socket is there for. */
static const struct address *find_by_name(const struct sockets *all, const struct snapshot *s,
                                          const struct listening *l)
{
    const struct listener_config *c = snapshot_listener(s, slice_text(l->name));
    for (size_t k = 0; c && same_kind(l, c) && k < c->address_count; k++)
        if (!sockets_has(all, &c->addresses[k], l->datagrams))
            return &c->addresses[k];
    return NULL;
}

void activation_match(struct sockets *s, const struct snapshot *snapshot)
{
    LIST_EACH_SAFE (node, &s->all) {
        struct listening *l = CONTAINER_OF(node, struct listening, link);
        if (!l->activated || is_bound_by(snapshot, l))
            continue;
        const struct address *a = find_by_name(s, snapshot, l);
        if (a) {
            l->address = *a;
            continue;
        }
        char text[ADDRESS_TEXT_MAX];
        size_t len = address_print(&l->address, text, sizeof text);
        log_warn("no listener has the address or the name of a socket of the service manager's",
                 LOG_SLICE("address", slice_of(text, len)), LOG_TEXT("name", l->name));
        sockets_drop(l);
    }
}
