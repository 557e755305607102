#include "proxy/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/stream/udp.h"

#define BACKLOG         4096
#define DATAGRAM_BUFFER (4 << 20) /* bytes, as far as net.core.rmem_max and wmem_max allow */

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

static void listening_close(struct listening *l)
{
    for (size_t i = 0; i < l->count; i++)
        close(l->fds[i]);
    let_go(l);
    free(l);
}

static void close_all(struct list *all)
{
    while (!list_empty(all))
        listening_close(CONTAINER_OF(all->next, struct listening, link));
}

void sockets_free(struct sockets *s)
{
    close_all(&s->closing);
    close_all(&s->all);
}

static struct listening *find(const struct sockets *s, const struct address *a, bool datagrams)
{
    LIST_EACH (node, &s->all) {
        struct listening *l = CONTAINER_OF(node, struct listening, link);
        if (l->datagrams == datagrams && address_equal(&l->address, a))
            return l;
    }
    return NULL;
}

static struct listening *create(struct sockets *s, const struct address *a, bool datagrams)
{
    struct listening *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->address = *a;
    l->datagrams = datagrams;
    list_append(&s->all, &l->link);
    return l;
}

static int add_fd(struct listening *l, int fd)
{
    int *fds = realloc(l->fds, (l->count + 1) * sizeof *fds);
    if (!fds)
        return -1;
    l->fds = fds;
    fds[l->count++] = fd;
    return 0;
}

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
static void prepare_for_datagrams(int fd, const struct address *a)
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
        prepare_for_datagrams(fd, a);
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

static int open_all(struct sockets *s, struct listening *l, const char **what)
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
        if (add_fd(l, fd) != 0) {
            close(fd);
            return -1;
        }
        learn_port(fd, &a);
    }
    return 0;
}

struct listening *sockets_open(struct sockets *s, const struct address *a, bool datagrams, const char **what)
{
    *what = "memory";
    struct listening *l = find(s, a, datagrams);
    bool fresh = !l;
    if (fresh)
        l = create(s, a, datagrams);
    if (!l) {
        errno = ENOMEM;
        return NULL;
    }
    if (open_all(s, l, what) != 0) {
        int error = errno;
        if (fresh)
            listening_close(l);
        errno = error;
        return NULL;
    }
    l->wanted = true;
    return l;
}

void sockets_want(struct sockets *s, const struct address *a, bool datagrams)
{
    struct listening *l = find(s, a, datagrams);
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
            listening_close(l);
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

/* Handing over: "7,8@127.0.0.1:80" on one line, "9@unix:/run/x" on the next, "10@udp/127.0.0.1:53" for
 * datagrams; "11@kept/unix:/run/y" is the service manager's. */

#define DATAGRAMS "udp/"
#define ACTIVATED "kept/"

char *sockets_export(const struct sockets *s)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    LIST_EACH (node, &s->all) {
        const struct listening *l = CONTAINER_OF(node, struct listening, link);
        char address[ADDRESS_TEXT_MAX];
        address_print(&l->address, address, sizeof address);
        for (size_t i = 0; i < l->count; i++)
            fprintf(f, "%s%d", i ? "," : "", l->fds[i]);
        fprintf(f, "@%s%s%s\n", l->activated ? ACTIVATED : "", l->datagrams ? DATAGRAMS : "", address);
    }
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static bool is_listening(int fd, bool datagrams)
{
    int value = 0;
    socklen_t len = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, datagrams ? SO_TYPE : SO_ACCEPTCONN, &value, &len) != 0)
        return false;
    return datagrams ? value == SOCK_DGRAM : value != 0;
}

int sockets_adopt(struct sockets *s, int fd, const struct address *a, bool datagrams, struct slice name)
{
    int on = 1;
    if (!is_listening(fd, datagrams) || (datagrams && a->any.sa_family == AF_UNIX))
        return -1;
    struct listening *l = find(s, a, datagrams);
    bool fresh = !l;
    if (fresh)
        l = create(s, a, datagrams);
    if (!l)
        return -1;
    if (add_fd(l, fd) != 0) {
        if (fresh)
            listening_close(l);
        return -1;
    }
    l->activated = true;
    snprintf(l->name, sizeof l->name, "%.*s", SLICE_FMT(name));
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (datagrams)
        prepare_for_datagrams(fd, a);
    else if (a->any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return 0;
}

bool sockets_has(const struct sockets *s, const struct address *a, bool datagrams)
{
    return find(s, a, datagrams) != NULL;
}

void sockets_drop(struct listening *l)
{
    listening_close(l);
}

static void inherit_one(struct sockets *s, struct slice entry)
{
    size_t at = slice_find(entry, '@');
    struct address a;
    struct slice host, number, fds = slice_of(entry.at, at);
    uint16_t port;
    const char *why;
    struct slice where = slice_skip(entry, at + 1);
    bool activated = slice_begins(where, S(ACTIVATED));
    if (activated)
        where = slice_skip(where, sizeof ACTIVATED - 1);
    bool datagrams = slice_begins(where, S(DATAGRAMS));
    if (datagrams)
        where = slice_skip(where, sizeof DATAGRAMS - 1);
    if (address_parse(where, &a, &host, &port, &why) != ADDRESS_SOCKET)
        return;
    struct listening *l = create(s, &a, datagrams);
    if (l) {
        l->keep_file = true;
        l->activated = activated;
    }
    while (l && slice_next(&fds, ',', &number)) {
        uint64_t fd;
        if (slice_to_u64(number, &fd) != 0 || fd > 1 << 20 || !is_listening((int)fd, datagrams))
            continue;
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
        if (add_fd(l, (int)fd) != 0)
            close((int)fd);
    }
    if (l && l->count == 0)
        listening_close(l);
}

void sockets_inherit(struct sockets *s)
{
    const char *text = getenv(SOCKETS_ENVIRONMENT);
    struct slice rest = slice_text(text), entry;
    while (slice_next(&rest, '\n', &entry))
        inherit_one(s, entry);
    unsetenv(SOCKETS_ENVIRONMENT);
}
