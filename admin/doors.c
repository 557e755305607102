#include "admin/doors.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 128

void doors_init(struct doors *d)
{
    *d = (struct doors){0};
    list_init(&d->all);
    list_init(&d->servers);
}

/* From and for other processes. */

/* Takes the next "7=127.0.0.1:9900" out of *list. The descriptor, or -1 at the end. */
static int next_inherited(struct slice *list, struct slice *address)
{
    struct slice entry;
    while (slice_next(list, ',', &entry)) {
        size_t equals = slice_find(entry, '=');
        uint64_t fd;
        *address = slice_skip(entry, equals + 1);
        if (slice_to_u64(slice_of(entry.at, equals), &fd) == 0 && fd > STDERR_FILENO && fd < 1u << 24)
            return (int)fd;
    }
    return -1;
}

static int find_inherited(const struct address *a)
{
    const char *text = getenv(DOORS_ENVIRONMENT);
    struct slice list = slice_text(text), name;
    char wanted[ADDRESS_TEXT_MAX];
    size_t len = address_print(a, wanted, sizeof wanted);
    for (int fd; (fd = next_inherited(&list, &name)) >= 0;) {
        int is_listening = 0;
        socklen_t size = sizeof is_listening;
        if (slice_equal(name, slice_of(wanted, len)) &&
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) == 0 && is_listening)
            return fd;
    }
    return -1;
}

static bool is_open_door(const struct doors *d, int fd)
{
    LIST_EACH (node, &d->all) {
        if (http_server_fd(CONTAINER_OF(node, struct door, link)->server) == fd)
            return true;
    }
    return false;
}

/* Only what runs before the first worker, and reloads that move a door, come here: setenv is not for many
 * threads. */
static void export_wanted(const struct doors *d)
{
    char text[4096];
    size_t len = 0;
    text[0] = 0;
    LIST_EACH (node, &d->all) {
        const struct door *door = CONTAINER_OF(node, struct door, link);
        if (!door->wanted)
            continue;
        char address[ADDRESS_TEXT_MAX];
        size_t n = address_print(&door->address, address, sizeof address);
        int written = snprintf(text + len, sizeof text - len, "%s%d=%.*s", len ? "," : "",
                               http_server_fd(door->server), (int)n, address);
        if (written < 0 || (size_t)written >= sizeof text - len) {
            text[len] = 0;
            break;
        }
        len += (size_t)written;
    }
    const char *now = getenv(DOORS_ENVIRONMENT);
    if (!now || strcmp(now, text) != 0)
        setenv(DOORS_ENVIRONMENT, text, 1);
}

/* Opening. */

/* A Unix socket that refuses connections was left behind by a process that is gone. */
static int make_way(const struct address *a)
{
    struct stat st;
    if (a->un.sun_path[0] == 0 || lstat(a->un.sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    bool is_stale = connect(fd, &a->any, a->len) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!is_stale) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(a->un.sun_path);
}

/* Not close-on-exec: the only program that this process starts is its successor. */
static int open_socket(const struct address *a, bool is_control)
{
    int on = 1, off = 0, family = a->any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (family == AF_UNIX) {
        if (make_way(a) != 0)
            goto fail;
        /* The file that bind() makes takes the mode of the socket, so it is never open to others. */
        if (is_control && fchmod(fd, 0600) != 0)
            goto fail;
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) ? &off : &on,
                   sizeof on);
    if (bind(fd, &a->any, a->len) != 0 || listen(fd, BACKLOG) != 0)
        goto fail;
    return fd;
fail:;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

struct door *doors_open(struct doors *d, const struct address *a, bool is_control)
{
    LIST_EACH (node, &d->all) {
        struct door *door = CONTAINER_OF(node, struct door, link);
        if (door->is_control == is_control && address_equal(&door->address, a)) {
            door->wanted = true;
            return door;
        }
    }
    struct door *door = calloc(1, sizeof *door);
    if (!door)
        return NULL;
    int fd = find_inherited(a);
    if (fd < 0 || is_open_door(d, fd))
        fd = open_socket(a, is_control);
    if (fd < 0) {
        free(door);
        return NULL;
    }
    struct http_server_options options = d->options;
    options.is_local = is_control;
    options.servers = &d->servers;
    *door = (struct door){.address = *a, .is_control = is_control, .wanted = true, .fresh = true};
    door->server = http_server_create(&options, fd);
    if (!door->server) {
        free(door);
        errno = ENOMEM;
        return NULL;
    }
    list_append(&d->all, &door->link);
    return door;
}

/* Closing. */

/* The environment names doors that are open here, or, at the start, what the process before had. */
static void close_leftovers(const struct doors *d)
{
    const char *text = getenv(DOORS_ENVIRONMENT);
    struct slice list = slice_text(text), name;
    for (int fd; (fd = next_inherited(&list, &name)) >= 0;) {
        int is_listening = 0;
        socklen_t size = sizeof is_listening;
        if (!is_open_door(d, fd) && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) == 0 &&
            is_listening)
            close(fd);
    }
}

static void close_door(struct door *door, bool handed_over)
{
    const struct address *a = &door->address;
    if (!handed_over && a->any.sa_family == AF_UNIX && a->un.sun_path[0])
        unlink(a->un.sun_path);
    http_server_close(door->server, false);
    list_remove(&door->link);
    free(door);
}

void doors_unwant(struct doors *d)
{
    LIST_EACH (node, &d->all) {
        struct door *door = CONTAINER_OF(node, struct door, link);
        door->wanted = door->fresh = false;
    }
}

void doors_restore(struct doors *d)
{
    LIST_EACH_SAFE (node, &d->all) {
        struct door *door = CONTAINER_OF(node, struct door, link);
        if (door->fresh)
            close_door(door, false);
    }
}

void doors_close_unwanted(struct doors *d)
{
    close_leftovers(d);
    export_wanted(d);
    LIST_EACH_SAFE (node, &d->all) {
        struct door *door = CONTAINER_OF(node, struct door, link);
        if (!door->wanted)
            close_door(door, false);
    }
}

void doors_close(struct doors *d, bool handed_over)
{
    if (list_empty(&d->all))
        http_servers_close(&d->servers);
    LIST_EACH_SAFE (node, &d->all) {
        close_door(CONTAINER_OF(node, struct door, link), handed_over);
    }
    if (!handed_over)
        http_servers_close(&d->servers);
}
