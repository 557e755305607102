#include "core/writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/list.h"
#include "core/log.h"
#include "core/log_output.h"

#define TELL_US       UINT64_C(5000000) /* losses are said at most so often */
#define STALLED_MAX   64
#define STALLED_MS    10
#define STALLED_SPINS 100

struct piece {
    struct piece *next;
    char *bytes;
    size_t len;
};

struct sink {
    struct list link;
    struct writer *writer;
    char *name;
    unsigned references;
    struct piece *first, **tail;
    _Atomic size_t queued; /* of pieces that are not yet written whole */
    bool reopen;
    bool stalled; /* the output took nothing a moment ago; taken is not empty then */
    _Atomic uint64_t lost;
    /* The thread's. */
    struct log_output output;
    struct piece *taken; /* the first is written up to `done` */
    size_t done;
    uint64_t told;  /* of `lost`: said in the log … */
    usec_t told_us; /* … when */
};

struct writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list sinks;
    bool started, stopping, ended;
    pthread_cond_t end;
    unsigned spins;        /* the thread's: how often stalled ones were said to be ready, for nothing */
    _Atomic uint64_t lost; /* by all sinks that there ever were */
};

static void *write_all(void *argument);
static void free_writer(struct writer *w);

struct writer *writer_create(void)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    list_init(&w->sinks);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_cond_init(&w->end, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return w;
}

int writer_start(struct writer *w)
{
    /* No signal is the thread's business, SIGPIPE of an output that is gone least of all. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&w->thread, NULL, write_all, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return -1;
    }
    w->started = true;
    return 0;
}

struct sink *writer_open(struct writer *w, struct slice output)
{
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks) {
        struct sink *s = CONTAINER_OF(node, struct sink, link);
        if (slice_equal(slice_text(s->name), output)) {
            s->references++;
            pthread_mutex_unlock(&w->lock);
            return s;
        }
    }
    pthread_mutex_unlock(&w->lock);
    struct sink *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->name = strndup(output.at, output.len);
    s->writer = w;
    s->references = 1;
    s->tail = &s->first;
    if (!s->name || log_output_open(&s->output, s->name) != 0) {
        int error = errno;
        free(s->name);
        free(s);
        errno = error;
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    list_append(&w->sinks, &s->link);
    pthread_mutex_unlock(&w->lock);
    return s;
}

void sink_release(struct sink *s)
{
    if (!s)
        return;
    struct writer *w = s->writer;
    pthread_mutex_lock(&w->lock);
    s->references--; /* the thread frees it when its queue is empty */
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void sink_lose(struct sink *s, uint64_t lines)
{
    atomic_fetch_add(&s->lost, lines);
    atomic_fetch_add(&s->writer->lost, lines);
}

void sink_push(struct sink *s, char *lines, size_t len)
{
    struct piece *p = malloc(sizeof *p);
    pthread_mutex_lock(&s->writer->lock);
    if (!p || atomic_load(&s->queued) + sizeof *p + len > WRITER_QUEUE_BYTES) {
        sink_lose(s, log_output_count_lines(lines, len));
        pthread_mutex_unlock(&s->writer->lock);
        free(p);
        free(lines);
        return;
    }
    *p = (struct piece){.bytes = lines, .len = len};
    *s->tail = p;
    s->tail = &p->next;
    atomic_fetch_add(&s->queued, sizeof *p + len);
    pthread_cond_signal(&s->writer->wake);
    pthread_mutex_unlock(&s->writer->lock);
}

void sink_line(struct sink *s, const char *line, size_t len)
{
    char *copy = malloc(len);
    if (!copy) {
        sink_lose(s, log_output_count_lines(line, len));
        return;
    }
    memcpy(copy, line, len);
    sink_push(s, copy, len);
}

uint64_t sink_lost(const struct sink *s)
{
    return atomic_load(&s->lost);
}

uint64_t writer_lost(const struct writer *w)
{
    return atomic_load(&w->lost);
}

void writer_give_to(struct writer *w, uid_t user, gid_t group)
{
    struct stat st;
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks) {
        int fd = CONTAINER_OF(node, struct sink, link)->output.fd;
        if (fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
            st.st_uid != user)
            (void)!fchown(fd, user, group);
    }
    pthread_mutex_unlock(&w->lock);
}

void writer_reopen(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks)
        CONTAINER_OF(node, struct sink, link)->reopen = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* The thread. */

static usec_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (usec_t)t.tv_sec * 1000000 + (usec_t)t.tv_nsec / 1000;
}

static void reopen_sink(struct sink *s)
{
    if (log_output_reopen(&s->output) != 0) /* better the old file than none */
        log_error("a log file cannot be opened anew; lines go to the one that was open",
                  LOG_TEXT("file", s->name), LOG_TEXT("reason", strerrordesc_np(errno)));
}

/* Says that lines were lost, now and then. */
static void tell_losses(struct sink *s)
{
    uint64_t lost = atomic_load(&s->lost);
    usec_t now = now_us();
    if (lost == s->told || (s->told_us && now - s->told_us < TELL_US))
        return;
    log_warn("log lines are lost", LOG_TEXT("output", s->name), LOG_U64("lines", lost - s->told),
             LOG_TEXT("reason", s->output.error ? strerrordesc_np(s->output.error)
                                                : "the output takes them too slowly"));
    s->told = lost;
    s->told_us = now;
}

/* True when a piece is done with, which makes room at once: who saw its bytes may push as many. What the
 * output does not take stays. */
static bool write_taken(struct sink *s)
{
    bool is_written = false;
    while (s->taken) {
        struct piece *p = s->taken;
        uint64_t lost;
        int stalled = log_output_write(&s->output, p->bytes, p->len, &s->done, &lost);
        if (lost)
            sink_lose(s, lost);
        if (stalled)
            break;
        s->taken = p->next;
        s->done = 0;
        is_written = true;
        atomic_fetch_sub(&s->queued, sizeof *p + p->len);
        free(p->bytes);
        free(p);
    }
    return is_written;
}

static void free_sink(struct sink *s)
{
    list_remove(&s->link);
    log_output_close(&s->output);
    for (struct piece *p = s->taken, *next; p; p = next) {
        next = p->next;
        free(p->bytes);
        free(p);
    }
    free(s->name);
    free(s);
}

/* The next sink that has something to do, which goes to the end of the line; frees those that nobody holds.
 * Called with the lock held. */
static struct sink *next_busy(struct writer *w)
{
    LIST_EACH_SAFE (node, &w->sinks) {
        struct sink *s = CONTAINER_OF(node, struct sink, link);
        if (!s->stalled && (s->first || s->taken || s->reopen)) {
            list_remove(&s->link);
            list_append(&w->sinks, &s->link);
            return s;
        }
        if (s->references == 0 && !s->taken && !s->first)
            free_sink(s);
    }
    return NULL;
}

/* Those that took nothing are asked again when one of them is ready, or a moment later. False when there are
 * none. Called with the lock held, which it lets go of. */
static bool wait_for_stalled(struct writer *w)
{
    struct pollfd fds[STALLED_MAX];
    nfds_t count = 0;
    LIST_EACH (node, &w->sinks) {
        struct sink *s = CONTAINER_OF(node, struct sink, link);
        if (s->stalled && count < STALLED_MAX)
            fds[count++] = (struct pollfd){.fd = s->output.fd, .events = POLLOUT};
    }
    if (!count)
        return false;
    pthread_mutex_unlock(&w->lock);
    int ready = poll(fds, count, STALLED_MS);
    /* One that is ready by the system's account, and yet takes nothing, is not asked in a loop. */
    if (ready > 0 && w->spins++ > STALLED_SPINS)
        nanosleep(&(struct timespec){.tv_nsec = STALLED_MS * 1000000}, NULL);
    pthread_mutex_lock(&w->lock);
    LIST_EACH (node, &w->sinks)
        CONTAINER_OF(node, struct sink, link)->stalled = false;
    return true;
}

/* What a sink has, taken over and written. Called with the lock held, which it lets go of meanwhile. */
static void serve(struct writer *w, struct sink *s)
{
    struct piece **end = &s->taken;
    while (*end)
        end = &(*end)->next;
    *end = s->first;
    bool reopen = s->reopen;
    s->first = NULL;
    s->tail = &s->first;
    s->reopen = false;
    s->references++;
    pthread_mutex_unlock(&w->lock);
    if (reopen)
        reopen_sink(s);
    if (write_taken(s))
        w->spins = 0;
    tell_losses(s);
    pthread_mutex_lock(&w->lock);
    s->stalled = s->taken != NULL;
    s->references--;
}

static void *write_all(void *argument)
{
    struct writer *w = argument;
    pthread_setname_np(pthread_self(),
                       "weir-log"); /* another thread's name is a file, out of a sandbox's reach */
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct sink *s = next_busy(w);
        if (s)
            serve(w, s);
        else if (!wait_for_stalled(w)) {
            if (w->stopping)
                break;
            pthread_cond_wait(&w->wake, &w->lock);
        }
    }
    w->ended = true;
    pthread_cond_signal(&w->end);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void free_writer(struct writer *w)
{
    LIST_EACH_SAFE (node, &w->sinks)
        free_sink(CONTAINER_OF(node, struct sink, link));
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->end);
    free(w);
}

void writer_free(struct writer *w, msec_t wait_ms)
{
    if (!w)
        return;
    if (!w->started) {
        free_writer(w);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    until.tv_sec += (time_t)(wait_ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    while (!w->ended && pthread_cond_timedwait(&w->end, &w->lock, &until) == 0)
        ;
    bool ended = w->ended;
    pthread_mutex_unlock(&w->lock);
    if (!ended)
        return; /* stuck on an output that takes nothing: the process is about to end */
    pthread_join(w->thread, NULL);
    free_writer(w);
}
