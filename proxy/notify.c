#include "proxy/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/runtime.h"

static void on_watchdog(struct timer *t);

/* unixsock(7): a path, or @ for an abstract name. */
static int connect_to(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    if ((*name != '/' && *name != '@') || len < 2 || len >= sizeof to.sun_path)
        return -1;
    memcpy(to.sun_path, name, len);
    if (*name == '@')
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 &&
        connect(fd, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The manager asks one process. The one that an upgrade starts takes its place: it finds no WATCHDOG_PID. */
static usec_t wanted_watchdog(void)
{
    const char *pid = getenv("WATCHDOG_PID"), *interval = getenv("WATCHDOG_USEC");
    uint64_t who = 0, us = 0;
    bool is_ours = !pid || (slice_to_u64(slice_text(pid), &who) == 0 && who == (uint64_t)getpid());
    unsetenv("WATCHDOG_PID");
    return is_ours && interval && slice_to_u64(slice_text(interval), &us) == 0 ? us : 0;
}

void notify_init(struct notify *n)
{
    const char *name = getenv("NOTIFY_SOCKET");
    *n = (struct notify){.fd = -1};
    timer_init(&n->timer, on_watchdog);
    if (!name || !*name)
        return;
    n->fd = connect_to(name);
    if (n->fd < 0)
        log_warn("the service manager cannot be told of anything", LOG_TEXT("socket", name),
                 LOG_TEXT("reason", strerrordesc_np(errno)));
    else
        n->watchdog_us = wanted_watchdog();
}

void notify_free(struct notify *n, struct loop *control)
{
    loop_timer_clear(control, &n->timer);
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
    free(n->beats);
    n->beats = NULL;
}

void notify_tell(const struct notify *n, const char *format, ...)
{
    char text[1024];
    va_list args;
    if (n->fd < 0)
        return;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len > 0 &&
        send(n->fd, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1, MSG_NOSIGNAL) < 0)
        log_debug("the service manager was not told", LOG_TEXT("reason", strerrordesc_np(errno)));
}

/* The watchdog. */

/* Three times in the time that it allows. */
static msec_t interval(const struct notify *n)
{
    return n->watchdog_us / 3000 ? n->watchdog_us / 3000 : 1;
}

/* Which worker's loop has not gone round since the last look; the count of workers when all have. */
static unsigned find_stuck(struct runtime *rt)
{
    unsigned stuck = rt->worker_count;
    for (unsigned i = 0; i < rt->worker_count; i++) {
        uint64_t now = counter_get(&rt->workers[i]->beats);
        if (now == rt->notify.beats[i] && stuck == rt->worker_count)
            stuck = i;
        rt->notify.beats[i] = now;
    }
    return stuck;
}

static void on_watchdog(struct timer *t)
{
    struct runtime *rt = CONTAINER_OF(t, struct runtime, notify.timer);
    unsigned stuck = find_stuck(rt);
    if (stuck == rt->worker_count)
        notify_tell(&rt->notify, "WATCHDOG=1");
    else
        log_error("a worker does not answer; the service manager's watchdog is not told that all is well",
                  LOG_U64("worker", stuck));
    loop_timer(&rt->control, t, interval(&rt->notify));
}

static void start_watchdog(struct runtime *rt)
{
    struct notify *n = &rt->notify;
    if (n->fd < 0 || !n->watchdog_us || n->beats)
        return;
    n->beats = calloc(rt->worker_count, sizeof *n->beats);
    if (n->beats)
        loop_timer(&rt->control, &n->timer, interval(n));
}

/* What happens. */

void notify_serving(struct runtime *rt)
{
    start_watchdog(rt);
    notify_tell(&rt->notify, "READY=1\nSTATUS=serving %s, generation %llu", rt->file,
                (unsigned long long)rt->generation);
}

void notify_reloading(struct runtime *rt)
{
    loop_read_clock(&rt->control);
    notify_tell(&rt->notify, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reading the configuration anew",
                (unsigned long long)loop_now_us(&rt->control));
}

void notify_stopping(struct runtime *rt)
{
    notify_tell(&rt->notify, "STOPPING=1\nSTATUS=draining %llu connections",
                (unsigned long long)runtime_connections(rt));
}

void notify_handed_over(struct runtime *rt, pid_t next)
{
    loop_timer_clear(&rt->control, &rt->notify.timer);
    notify_tell(&rt->notify, "MAINPID=%d\nREADY=1\nSTATUS=upgraded; process %d serves", (int)next, (int)next);
}
