/* Handing over: "7,8@127.0.0.1:80" on one line, "9@unix:/run/x" on the next, "10@udp/127.0.0.1:53" for
 * datagrams; "11@kept/unix:/run/y" is the service manager's. */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/sockets_internal.h"

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
    struct listening *l = sockets_find(s, a, datagrams);
    bool fresh = !l;
    if (fresh)
        l = sockets_create(s, a, datagrams);
    if (!l)
        return -1;
    if (sockets_add_fd(l, fd) != 0) {
        if (fresh)
            sockets_drop(l);
        return -1;
    }
    l->activated = true;
    snprintf(l->name, sizeof l->name, "%.*s", SLICE_FMT(name));
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (datagrams)
        sockets_prepare_datagrams(fd, a);
    else if (a->any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return 0;
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
    struct listening *l = sockets_create(s, &a, datagrams);
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
        if (sockets_add_fd(l, (int)fd) != 0)
            close((int)fd);
    }
    if (l && l->count == 0)
        sockets_drop(l);
}

void sockets_inherit(struct sockets *s)
{
    const char *text = getenv(SOCKETS_ENVIRONMENT);
    struct slice rest = slice_text(text), entry;
    while (slice_next(&rest, '\n', &entry))
        inherit_one(s, entry);
    unsetenv(SOCKETS_ENVIRONMENT);
}
