/* `file:`, a list of servers in a file of its own, watched by inotify.
 *
 * Directories are watched, not files: that of the path as it is written and that of what it leads to. So a
 * file that is written in place, one that is renamed over it, and a link that is swapped anywhere near
 * (Kubernetes turns `..data` round) are all seen. A look every `refresh` catches what inotify cannot: network
 * file systems, directories that come later. What counts is the text: a file that is touched is no change. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "balancer/discovery_internal.h"
#include "core/log.h"

#define SETTLE_MS 20 /* after the last event: a writer may not be through */
#define WATCHED                                                                                              \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR)

struct list_file {
    struct source source;
    struct timer timer;
    int watches[2]; /* of the directories; -1 = none */
    char *text;     /* as it was when it was last looked at; NULL = it could not be read */
    size_t len;
};

static void look(struct list_file *l);
static void on_due(struct timer *t);
static void on_inotify(evutil_socket_t fd, short what, void *argument);
static void watch(struct list_file *l);
static void unwatch(struct list_file *l);

static struct list_file *file_of(struct source *s)
{
    return CONTAINER_OF(s, struct list_file, source);
}

static int start(struct source *s)
{
    struct list_file *l = file_of(s);
    timer_init(&l->timer, on_due);
    l->watches[0] = l->watches[1] = -1;
    look(l);
    return 0;
}

static void stop(struct source *s)
{
    struct list_file *l = file_of(s);
    loop_timer_clear(s->discovery->loop, &l->timer);
    unwatch(l);
    free(l->text);
}

static void refreshed(struct source *s)
{
    struct list_file *l = file_of(s);
    if (l->timer.deadline > loop_now(s->discovery->loop) + s->refresh)
        loop_timer(s->discovery->loop, &l->timer, s->refresh);
}

const struct source_kind_ops source_file = {
    .name = "file", .size = sizeof(struct list_file), .start = start, .stop = stop, .refreshed = refreshed};

/* Reading. */

/* 0, or -1 with errno. */
static int read_text(const char *path, char **text, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -1;
    size_t room = 1u << 16, used = 0;
    char *bytes = malloc(room);
    ssize_t n = 1;
    while (bytes && n > 0 && used <= CONFIG_FILE_BYTES_MAX) {
        if (used == room) {
            char *larger = realloc(bytes, room *= 2);
            if (!larger)
                break;
            bytes = larger;
        }
        n = read(fd, bytes + used, room - used);
        used += n > 0 ? (size_t)n : 0;
    }
    int error = !bytes || (n > 0 && used <= CONFIG_FILE_BYTES_MAX) ? ENOMEM
                : n > 0                                            ? EFBIG
                : n < 0                                            ? errno
                                                                   : 0;
    close(fd);
    if (error) {
        free(bytes);
        errno = error;
        return -1;
    }
    *text = bytes;
    *len = used;
    return 0;
}

static int publish(struct list_file *l, struct backing *b, const struct server_file_settings *settings)
{
    const struct server_settings *all = settings->servers.at;
    struct found **found = calloc(settings->servers.count + 1, sizeof(struct found *));
    size_t count = 0;
    while (found && count < settings->servers.count) {
        found[count] = found_of(b, &all[count]);
        if (!found[count])
            break;
        count++;
    }
    if (found && count == settings->servers.count) {
        source_publish(&l->source, found, count, "");
        return 0;
    }
    for (size_t i = 0; found && i < count; i++)
        found_release(found[i]);
    free(found);
    return -1;
}

/* The first fault, without its line's end: `servers.yaml:3:12: …`. */
static void tell_faults(struct list_file *l, struct config *c)
{
    struct slice text = slice_text(config_errors_text(c));
    char reason[SOURCE_REASON_MAX];
    size_t line = slice_find(text, '\n');
    int n = snprintf(reason, sizeof reason, "%.*s", SLICE_FMT(slice_of(text.at, line)));
    if (c->error_count > 1 && n > 0 && (size_t)n < sizeof reason)
        snprintf(reason + n, sizeof reason - (size_t)n, " (and %zu more)", c->error_count - 1);
    source_fail(&l->source, reason);
}

static void fail(struct list_file *l, const char *reason)
{
    char text[SOURCE_REASON_MAX];
    snprintf(text, sizeof text, "%s: %s", l->source.what.at, reason);
    source_fail(&l->source, text);
}

static void take(struct list_file *l)
{
    struct server_file_settings settings = {0};
    struct backing *b = backing_create();
    if (!b)
        return;
    config_parse_value(&b->config, l->source.what.at, slice_of(l->text, l->len));
    const struct config_node *root = b->config.root;
    bool is_empty = !root || root->kind == NODE_NULL;
    if (!is_empty)
        option_apply(&b->config, &server_file_table, root, &settings);
    /* An empty file is one that is being written. Who wants no servers writes []. */
    if (b->config.error_count)
        tell_faults(l, &b->config);
    else if (is_empty)
        fail(l, "is empty; a list without servers is []");
    else if (publish(l, b, &settings) != 0)
        source_fail(&l->source, "out of memory");
    backing_release(b);
}

static void look(struct list_file *l)
{
    char *text = NULL;
    size_t len = 0;
    /* First the watch, so that no change falls between. */
    watch(l);
    loop_timer(l->source.discovery->loop, &l->timer, l->source.refresh);
    if (read_text(l->source.what.at, &text, &len) != 0) {
        char reason[128];
        snprintf(reason, sizeof reason, "cannot be read: %s", strerror(errno));
        fail(l, reason);
        free(l->text);
        l->text = NULL;
        return;
    }
    bool same = l->text && l->len == len && memcmp(l->text, text, len) == 0;
    free(l->text);
    l->text = text;
    l->len = len;
    if (!same)
        take(l);
}

static void on_due(struct timer *t)
{
    look(CONTAINER_OF(t, struct list_file, timer));
}

/* Watching. */

static bool open_inotify(struct discovery *d)
{
    if (d->inotify >= 0)
        return true;
    d->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (d->inotify < 0) {
        log_warn("files cannot be watched; they are looked at every `refresh`",
                 LOG_TEXT("reason", strerror(errno)));
        return false;
    }
    event_assign(&d->inotify_event, d->loop->base, d->inotify, EV_READ | EV_PERSIST, on_inotify, d);
    event_add(&d->inotify_event, NULL);
    return true;
}

void discovery_close_files(struct discovery *d)
{
    if (d->inotify < 0)
        return;
    event_del(&d->inotify_event);
    close(d->inotify);
    d->inotify = -1;
}

static int watch_directory_of(struct discovery *d, const char *path)
{
    char directory[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (len >= sizeof directory)
        return -1;
    snprintf(directory, sizeof directory, "%.*s", (int)len, path);
    return inotify_add_watch(d->inotify, !slash ? "." : len ? directory : "/", WATCHED);
}

static bool is_watched(const struct discovery *d, int watch, const struct list_file *but)
{
    LIST_EACH (node, &d->sources) {
        struct source *s = CONTAINER_OF(node, struct source, link);
        const struct list_file *l = s->kind == SOURCE_FILE ? file_of(s) : NULL;
        if (l && l != but && (l->watches[0] == watch || l->watches[1] == watch))
            return true;
    }
    return false;
}

static void give_up(struct list_file *l, int watch)
{
    struct discovery *d = l->source.discovery;
    if (watch >= 0 && watch != l->watches[0] && watch != l->watches[1] && !is_watched(d, watch, l))
        inotify_rm_watch(d->inotify, watch);
}

/* The same directory has the same number, so that adding it again changes nothing. */
static void watch(struct list_file *l)
{
    struct discovery *d = l->source.discovery;
    const int before[] = {l->watches[0], l->watches[1]};
    if (!open_inotify(d))
        return;
    char *real = realpath(l->source.what.at, NULL);
    l->watches[0] = watch_directory_of(d, l->source.what.at);
    l->watches[1] = real ? watch_directory_of(d, real) : -1;
    free(real);
    give_up(l, before[0]);
    give_up(l, before[1]);
}

static void unwatch(struct list_file *l)
{
    const int before[] = {l->watches[0], l->watches[1]};
    l->watches[0] = l->watches[1] = -1;
    give_up(l, before[0]);
    if (before[1] != before[0])
        give_up(l, before[1]);
}

/* Whose directory it is looks again; after an overflow all do. */
static void wake(struct discovery *d, const struct inotify_event *e)
{
    LIST_EACH (node, &d->sources) {
        struct source *s = CONTAINER_OF(node, struct source, link);
        struct list_file *l = s->kind == SOURCE_FILE ? file_of(s) : NULL;
        bool concerned = l && (l->watches[0] == e->wd || l->watches[1] == e->wd || (e->mask & IN_Q_OVERFLOW));
        /* Never put off: other files of the directory may change all the time. */
        if (concerned && l->timer.deadline > loop_now(d->loop) + SETTLE_MS)
            loop_timer(d->loop, &l->timer, SETTLE_MS);
    }
}

static void on_inotify(evutil_socket_t fd, short what, void *argument)
{
    struct discovery *d = argument;
    _Alignas(struct inotify_event) char events[4096];
    (void)what;
    for (;;) {
        ssize_t n = read(fd, events, sizeof events);
        if (n <= 0)
            return;
        for (const char *at = events; at < events + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)at;
            if (!(e->mask & IN_IGNORED))
                wake(d, e);
            at += sizeof *e + e->len;
        }
    }
}
