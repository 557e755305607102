/* Listening sockets for an address: whether it is free, what stands in the way of it, and making them. */
#include "proxy/sockets_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG         4096
#define DATAGRAM_BUFFER (4 << 20) /* bytes, as far as net.core.rmem_max and wmem_max allow */

/* A Unix socket's file from a process that is gone refuses connections: it may be removed. */
static void remove_stale(const struct address *a)
{
    struct stat st;
    if (a->un.sun_path[0] == 0 || stat(a->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, &a->any, a->len) != 0 && errno == ECONNREFUSED)
        unlink(a->un.sun_path);
    close(fd);
}

static bool is_any(const struct address *a)
{
    return a->any.sa_family == AF_INET ? a->v4.sin_addr.s_addr == htonl(INADDR_ANY)
                                       : IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

/* Before it is bound, so that the first datagram says already where it came to. Room for a burst: what comes
 * while the worker does something else waits there or is lost. */
void sockets_prepare_datagrams(int fd, const struct address *a)
{
    int on = 1, size = DATAGRAM_BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    if (!is_any(a))
        return;
    if (a->any.sa_family == AF_INET)
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    else
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
}

static int open_one(const struct address *a, bool datagrams, const char **what)
{
    int on = 1, off = 0, family = a->any.sa_family;
    *what = "socket";
    int fd = socket(family, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (datagrams) {
        sockets_prepare_datagrams(fd, a);
    } else if (family == AF_UNIX) {
        remove_stale(a);
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    }
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) ? &off : &on,
                   sizeof on);
    *what = "bind";
    if (bind(fd, &a->any, a->len) != 0)
        goto fail;
    *what = "listen";
    if (!datagrams && listen(fd, BACKLOG) != 0)
        goto fail;
    return fd;
fail:;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Sockets of other processes with SO_REUSEPORT would share the address, and each get some of the connections:
 * refused, as people expect of a taken port. */
static int is_free(const struct address *a, bool datagrams, const char **what)
{
    if (a->any.sa_family == AF_UNIX || address_port(a) == 0)
        return 0;
    int on = 1, off = 0;
    int fd = socket(a->any.sa_family, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (!datagrams) /* two sockets for datagrams would share the address */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) ? &off : &on,
                   sizeof on);
    *what = "bind";
    int result = bind(fd, &a->any, a->len), error = errno;
    close(fd);
    errno = error;
    return result;
}

/* [::] stands for every IPv4 address too. */
static bool overlap(const struct address *a, const struct address *b)
{
    if (a->any.sa_family == AF_UNIX || b->any.sa_family == AF_UNIX || address_port(a) == 0 ||
        address_port(a) != address_port(b))
        return false;
    if (a->any.sa_family == b->any.sa_family)
        return is_any(a) || is_any(b) || address_equal(a, b);
    return is_any(a->any.sa_family == AF_INET6 ? a : b);
}

/* True when what stands in the way of the address is ours, and about to go. */
static bool succeeds_own(const struct sockets *s, const struct address *a, bool datagrams)
{
    bool found = false;
    LIST_EACH (node, &s->all) {
        const struct listening *l = CONTAINER_OF(node, struct listening, link);
        if (!l->count || l->datagrams != datagrams || !overlap(&l->address, a))
            continue;
        if (l->wanted)
            return false;
        found = true;
    }
    LIST_EACH (node, &s->closing) {
        const struct listening *l = CONTAINER_OF(node, struct listening, link);
        found = found || (l->datagrams == datagrams && overlap(&l->address, a));
    }
    return found;
}

/* Where the kernel knows no IPv6, :80 is every address all the same. */
static void without_v6(struct address *a)
{
    if (a->any.sa_family != AF_INET6 || !is_any(a))
        return;
    uint16_t port = address_port(a);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    } else if (errno == EAFNOSUPPORT) {
        *a = (struct address){.len = sizeof a->v4, .v4.sin_family = AF_INET};
        address_set_port(a, port);
    }
}

/* The port that the system chose for port 0. */
static void learn_port(int fd, struct address *a)
{
    socklen_t len = sizeof *a - offsetof(struct address, any);
    if (a->any.sa_family != AF_UNIX && address_port(a) == 0)
        getsockname(fd, &a->any, &len);
}

int sockets_fill(struct sockets *s, struct listening *l, const char **what)
{
    struct address a = l->address;
    without_v6(&a);
    if (l->count)
        learn_port(l->fds[0], &a);
    else if (!succeeds_own(s, &a, l->datagrams) && is_free(&a, l->datagrams, what) != 0)
        return -1;
    while (l->count < s->workers) {
        int fd;
        /* The manager's may be bound elsewhere than `a` says. */
        if (l->activated && l->datagrams)
            return 0;
        if ((l->activated || a.any.sa_family == AF_UNIX) && l->count) {
            *what = "dup";
            fd = fcntl(l->fds[0], F_DUPFD_CLOEXEC, 3);
        } else {
            fd = open_one(&a, l->datagrams, what);
        }
        if (fd < 0)
            return -1;
        if (sockets_add_fd(l, fd) != 0) {
            close(fd);
            return -1;
        }
        learn_port(fd, &a);
    }
    return 0;
}
