/* A new program in place of this one: it gets the listening sockets, says when it serves, and this one
 * drains. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/runtime_internal.h"

#define READY_ENVIRONMENT "WEIR_READY_FD"
#define READY_MS          60000 /* the next process has this long until it serves */

extern char **environ;

/* The next process. */

bool upgrade_is_next(void)
{
    return getenv(READY_ENVIRONMENT) != NULL;
}

void upgrade_tell_ready(void)
{
    const char *text = getenv(READY_ENVIRONMENT);
    uint64_t fd;
    if (!text || slice_to_u64(slice_text(text), &fd) != 0)
        return;
    unsetenv(READY_ENVIRONMENT);
    (void)!write((int)fd, "r", 1);
    close((int)fd);
}

/* This one. */

void upgrade_forget(struct runtime *rt)
{
    if (rt->upgrade_fd < 0)
        return;
    event_del(&rt->upgrade_event);
    loop_timer_clear(&rt->control, &rt->upgrade_deadline);
    close(rt->upgrade_fd);
    rt->upgrade_fd = -1;
    rt->upgrade_pid = 0;
}

void upgrade_call_off(struct runtime *rt)
{
    if (rt->upgrade_fd < 0)
        return;
    log_warn("the upgrade is called off", LOG_U64("pid", rt->upgrade_pid));
    kill(rt->upgrade_pid, SIGTERM);
    upgrade_forget(rt);
}

/* Its end is seen by on_ready(). */
void upgrade_is_late(struct timer *t)
{
    struct runtime *rt = CONTAINER_OF(t, struct runtime, upgrade_deadline);
    log_error("the next process does not come to serve; it is ended", LOG_U64("pid", rt->upgrade_pid));
    kill(rt->upgrade_pid, SIGKILL);
}

static void on_ready(evutil_socket_t fd, short what, void *argument)
{
    struct runtime *rt = argument;
    char word;
    (void)what;
    ssize_t n = read((int)fd, &word, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    pid_t next = rt->upgrade_pid;
    upgrade_forget(rt);
    if (n == 1) {
        log_info("the next process serves; this one drains", LOG_U64("pid", next));
        notify_handed_over(rt, next);
        drain_begin(rt, true);
        return;
    }
    int status = 0;
    waitpid(next, &status, 0);
    log_error("the next process ended before it served; this one goes on", LOG_U64("pid", next),
              LOG_U64("status", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
}

/* In the child: only calls that are safe after fork() in a process with threads. */
_Noreturn static void become_next(struct runtime *rt, char **environment, int ready)
{
    LIST_EACH (node, &rt->sockets.all) {
        struct listening *l = CONTAINER_OF(node, struct listening, link);
        for (size_t i = 0; i < l->count; i++)
            fcntl(l->fds[i], F_SETFD, 0);
    }
    fcntl(ready, F_SETFD, 0);
    /* A signal that comes from here on is this child's alone: the handlers write to a pipe that both have. */
    for (unsigned i = 0; i < RUNTIME_SIGNALS; i++)
        signal(event_get_signal(&rt->signals[i]), SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(rt->program, rt->argv, environment);
    _exit(127);
}

static char **make_environment(struct runtime *rt, int ready)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char **all = calloc(count + 3, sizeof *all);
    char *sockets = sockets_export(&rt->sockets);
    if (!all || !sockets)
        goto fail;
    memcpy(all, environ, count * sizeof *all);
    if (asprintf(&all[count], SOCKETS_ENVIRONMENT "=%s", sockets) < 0)
        goto fail;
    if (asprintf(&all[count + 1], READY_ENVIRONMENT "=%d", ready) < 0) {
        free(all[count]);
        goto fail;
    }
    free(sockets);
    return all;
fail:
    free(sockets);
    free(all);
    return NULL;
}

static void free_environment(char **all)
{
    size_t count = 0;
    while (all[count])
        count++;
    free(all[count - 1]);
    free(all[count - 2]);
    free(all);
}

int runtime_upgrade(struct runtime *rt, const char **why)
{
    int fds[2];
    *why = "weir is stopping";
    if (rt->state != RUNTIME_SERVING)
        return -1;
    *why = "an upgrade is under way already";
    if (rt->upgrade_fd >= 0)
        return -1;
    /* The next process reads the file, and would know of no trial. */
    *why = "a configuration is on trial: `weir confirm` it or `weir rollback` first";
    if (rt->trial.on)
        return -1;
    *why = "the path of the program is not known";
    if (!rt->program)
        return -1;
    *why = "no pipe";
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    char **environment = make_environment(rt, fds[1]);
    *why = "out of memory";
    if (!environment)
        goto fail;
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    pid_t pid = fork();
    if (pid == 0)
        become_next(rt, environment, fds[1]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free_environment(environment);
    *why = "cannot fork";
    if (pid < 0)
        goto fail;
    close(fds[1]);
    rt->upgrade_pid = pid;
    rt->upgrade_fd = fds[0];
    event_assign(&rt->upgrade_event, rt->control.base, fds[0], EV_READ | EV_PERSIST, on_ready, rt);
    event_add(&rt->upgrade_event, NULL);
    loop_timer(&rt->control, &rt->upgrade_deadline, READY_MS);
    log_info("upgrading", LOG_TEXT("program", rt->program), LOG_U64("pid", pid));
    return 0;
fail:
    close(fds[0]);
    close(fds[1]);
    return -1;
}
