#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/access_internal.h"
#include "core/log_output.h"

struct access_logs *access_logs_create(void)
{
    struct access_logs *a = aligned_alloc(64, sizeof *a);
    if (!a)
        return NULL;
    memset(a, 0, sizeof *a);
    list_init(&a->open);
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        pthread_mutex_init(&a->workers[i].lock, NULL);
        list_init(&a->workers[i].waiting);
    }
    return a;
}

void access_logs_free(struct access_logs *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        pthread_mutex_destroy(&a->workers[i].lock);
    free(a);
}

/* Opening. */

static bool is_stream(struct slice output)
{
    return slice_equal(output, S("stdout")) || slice_equal(output, S("stderr")) ||
           log_output_is_syslog(output);
}

/* Whether the file could be opened, without opening it: a check leaves none behind. 0, or -1 with errno. */
static int could_open(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        errno = EISDIR;
        return S_ISDIR(st.st_mode) ? -1 : access(path, W_OK);
    }
    char *copy = errno == ENOENT ? strdup(path) : NULL;
    if (!copy)
        return -1;
    int result = access(dirname(copy), W_OK | X_OK), error = errno;
    free(copy);
    errno = error;
    return result;
}

static int read_format(struct access_log *log, struct config *c, const struct access_settings *s)
{
    const struct config_node *at = s->node ? config_get(s->node, "format") : NULL;
    log->form = slice_equal(s->format, S("json"))       ? ACCESS_JSON
                : slice_equal(s->format, S("combined")) ? ACCESS_COMBINED
                                                        : ACCESS_TEMPLATE;
    if (log->form != ACCESS_TEMPLATE)
        return 0;
    if (slice_find(s->format, '$') == s->format.len) {
        static const char *const words[] = {"json", "combined"};
        config_fault(c, at ? at : s->node, "a format without a variable: %s%s", config_quote(c, s->format),
                     config_mend(c, s->format, words, COUNT_OF(words), true));
        return -1;
    }
    if (template_compile(c, at, s->format, TEMPLATE_AT_RESPONSE, &log->template) != 0)
        return -1;
    for (size_t i = 0; i < log->template.count; i++)
        if (log->template.pieces[i].has_variable &&
            log->template.pieces[i].variable.id == TEMPLATE_RESPONSE_HEADER)
            log->wants_response = true;
    return 0;
}

static int make_buffers(struct access_log *log, unsigned workers)
{
    log->buffers = aligned_alloc(64, workers * sizeof *log->buffers);
    if (!log->buffers)
        return -1;
    log->workers = workers;
    for (unsigned i = 0; i < workers; i++) {
        log->buffers[i] = (struct access_buffer){.log = log};
        list_init(&log->buffers[i].link);
    }
    return 0;
}

/* Stopped here: the fault is recorded. */
static int no_log(struct access_log *log, struct config *c, const struct config_node *at, const char *what)
{
    config_fault(c, at, "%s: %s", what, strerror(errno));
    sink_release(log->sink);
    free(log);
    return -1;
}

int access_log_open(struct access_logs *a, struct writer *w, unsigned workers, struct config *c,
                    const struct access_settings *s, bool dry, struct access_log **out)
{
    const struct config_node *node = s->node ? config_get(s->node, "output") : NULL,
                             *at = node ? node : s->node;
    struct slice output =
        is_stream(s->output) ? s->output : config_relative_path(c, node, s->output, CONFIG_WRITES);
    struct access_log *log = calloc(1, sizeof *log);
    *out = NULL;
    if (!log || !output.at) {
        config_fault(c, at, "out of memory");
        free(log);
        return -1;
    }
    *log =
        (struct access_log){.magic = ACCESS_LOG_MAGIC, .logs = a, .sample = s->sample, .all = s->sample >= 1};
    list_init(&log->link);
    bool good = read_format(log, c, s) == 0;
    if (dry || !good) {
        if (!is_stream(output) && could_open(output.at) != 0)
            return no_log(log, c, at, "cannot be written");
        free(log);
        return good ? 0 : -1;
    }
    log->sink = writer_open(w, output);
    if (!log->sink || make_buffers(log, workers) != 0)
        return no_log(log, c, at,
                      errno == ELOOP ? "cannot be opened, as root follows no link of another user's"
                                     : "cannot be opened");
    list_append(&a->open, &log->link);
    *out = log;
    return 0;
}

/* Handing over. */

void access_logs_tick(struct access_logs *a, unsigned worker)
{
    struct access_worker *w = &a->workers[worker];
    pthread_mutex_lock(&w->lock);
    LIST_EACH_SAFE (node, &w->waiting) {
        access_hand_over(CONTAINER_OF(node, struct access_buffer, link));
        list_remove(node);
    }
    pthread_mutex_unlock(&w->lock);
}

static void close_buffer(struct access_buffer *b, struct access_worker *w)
{
    pthread_mutex_lock(&w->lock);
    list_remove(&b->link);
    pthread_mutex_unlock(&w->lock);
    access_hand_over(b);
    free(b->at);
}

void access_log_close(struct access_log *log)
{
    if (!log)
        return;
    ASSERT(log->magic == ACCESS_LOG_MAGIC);
    for (unsigned i = 0; i < log->workers; i++)
        close_buffer(&log->buffers[i], &log->logs->workers[i]);
    list_remove(&log->link);
    sink_release(log->sink);
    free(log->buffers);
    log->magic = 0;
    free(log);
}
