#include "proxy/check_user.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/privileges.h"
#include "tls/client.h"
#include "tls/files.h"

#define NO_USER (-1)

struct paths {
    const char **at;
    size_t count, capacity;
};

static void add(struct paths *p, const char *path)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->at[i], path) == 0)
            return;
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 64;
        const char **at = realloc(p->at, capacity * sizeof *at);
        if (!at)
            return;
        p->at = at;
        p->capacity = capacity;
    }
    p->at[p->count++] = path;
}

static void add_files(struct paths *p, const struct tls_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        if (files->at[i].exists)
            add(p, files->at[i].path);
}

static void gather(const struct snapshot *s, struct paths *p)
{
    struct stat st;
    for (size_t i = 0; i < s->config.named_count; i++) {
        const struct config_named *n = &s->config.named[i];
        if (n->use == CONFIG_READS && stat(n->path, &st) == 0 && S_ISREG(st.st_mode))
            add(p, n->path);
    }
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].tls)
            add_files(p, tls_server_files(s->listeners[i].tls));
    for (size_t i = 0; i < s->upstream_count; i++)
        if (s->upstreams[i]->tls)
            add_files(p, tls_client_files(s->upstreams[i]->tls));
}

/* In a process of its own, which is the user from then on: an errno for each path, 0 where it can be read;
 * NO_USER when it cannot become that. */
static void try_all(struct slice user, const struct paths *p, int out)
{
    const char *why;
    bool is_user = privileges_drop(user, &why) == 0;
    for (size_t i = 0; i < p->count; i++) {
        int fd = is_user ? open(p->at[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
        int error = !is_user ? NO_USER : fd < 0 ? errno : 0;
        if (fd >= 0)
            close(fd);
        if (write(out, &error, sizeof error) != (ssize_t)sizeof error)
            break;
    }
    _exit(0);
}

static void tell(struct snapshot *s, const struct config_node *at, const char *path, int error)
{
    struct slice user = s->settings.user;
    char name[256];
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(user));
    if (error == NO_USER && !getpwnam(name))
        config_warn(&s->config, at, "there is no user %s: weir would not start as root",
                    config_quote(&s->config, user));
    else if (error == NO_USER)
        config_warn(&s->config, at, "weir cannot become %.*s here: it would not start as root",
                    SLICE_FMT(user));
    else if (error)
        config_warn(&s->config, at, "%.*s cannot read %s: %s; a reload would fail", SLICE_FMT(user), path,
                    strerror(error));
}

void check_user(struct snapshot *s)
{
    struct paths paths = {0};
    int ends[2], error;
    const struct config_node *at = s->config.root ? config_get(s->config.root, "user") : NULL;
    if (!at || s->settings.user.len == 0 || geteuid() != 0 || pipe2(ends, O_CLOEXEC) != 0)
        return;
    gather(s, &paths);
    pid_t child = fork();
    if (child == 0)
        try_all(s->settings.user, &paths, ends[1]);
    close(ends[1]);
    for (size_t i = 0; i < paths.count && child > 0; i++) {
        if (read(ends[0], &error, sizeof error) != (ssize_t)sizeof error)
            break;
        tell(s, at, paths.at[i], error);
        if (error == NO_USER)
            break;
    }
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    free(paths.at);
}
