#include "admin/access_log.h"

#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/access_format.h"
#include "core/log_output.h"
#include "proxy/http/fields.h"
#include "tls/info.h"

#define ACCESS_LOG_MAGIC 0x41434c47u

enum access_form { ACCESS_JSON, ACCESS_COMBINED, ACCESS_TEMPLATE };

/* One log's lines on one worker. Only that worker writes `at` and `len`; or the control thread, once no
 * worker holds the log. */
struct access_buffer {
    char *at; /* NULL, or ACCESS_BUFFER bytes */
    size_t len;
    struct list link; /* in access_worker.waiting */
    struct access_log *log;
} __attribute__((aligned(64)));

struct access_worker {
    pthread_mutex_t lock;
    struct list waiting;
} __attribute__((aligned(64)));

struct access_logs {
    struct access_worker workers[WORKERS_MAX];
    struct list open; /* control thread */
};

struct access_log {
    uint32_t magic;
    enum access_form form;
    bool all; /* nothing is left out by sampling */
    double sample;
    struct template template; /* in the arena of the configuration */
    bool wants_response;      /* the template names response fields */
    struct sink *sink;
    struct access_logs *logs;
    struct list link;
    unsigned workers;
    struct access_buffer *buffers;
};

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

/* A buffer that is mostly empty is copied, so that what waits in the writer's queue is not mostly air. */
static void hand_over(struct access_buffer *b)
{
    if (b->len == 0)
        return;
    if (b->len < ACCESS_BUFFER / 2) {
        sink_line(b->log->sink, b->at, b->len);
    } else {
        sink_push(b->log->sink, b->at, b->len);
        b->at = NULL;
    }
    b->len = 0;
}

void access_logs_tick(struct access_logs *a, unsigned worker)
{
    struct access_worker *w = &a->workers[worker];
    pthread_mutex_lock(&w->lock);
    LIST_EACH_SAFE (node, &w->waiting) {
        hand_over(CONTAINER_OF(node, struct access_buffer, link));
        list_remove(node);
    }
    pthread_mutex_unlock(&w->lock);
}

static void close_buffer(struct access_buffer *b, struct access_worker *w)
{
    pthread_mutex_lock(&w->lock);
    list_remove(&b->link);
    pthread_mutex_unlock(&w->lock);
    hand_over(b);
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

/* On the worker. */

static struct access_log *log_of(const struct exchange *x)
{
    struct access_log *log = x->listener->config->access;
    ASSERT(!log || log->magic == ACCESS_LOG_MAGIC);
    return log;
}

bool access_log_wants_response(const struct exchange *x)
{
    const struct access_log *log = log_of(x);
    return log && log->wants_response;
}

void access_log_response_begins(struct exchange *x)
{
    const struct access_log *log = log_of(x);
    if (!log || !log->wants_response)
        return;
    for (size_t i = 0; i < log->template.count; i++) {
        const struct template_variable *v = &log->template.pieces[i].variable;
        if (!log->template.pieces[i].has_variable || v->id != TEMPLATE_RESPONSE_HEADER)
            continue;
        const struct fields *from = &x->response->fields;
        const struct field *f =
            v->field_id != FIELD_OTHER ? fields_find(from, v->field_id) : fields_find_name(from, v->name);
        if (!f)
            continue;
        struct slice value = arena_copy(&x->arena, f->value);
        if (!value.at || fields_add(&x->arena, &x->logged, v->field_id, v->name, value) != 0)
            return; /* out of memory: the line goes without it */
    }
}

static const char *end_text(const struct exchange *x)
{
    switch (x->end) {
    case END_COMPLETE:
        return "complete";
    case END_CLIENT_GONE:
        return "client gone";
    case END_SERVER_FAILED:
        return "server failed";
    case END_TIMEOUT:
        return "timeout";
    case END_CUT:
        return "cut";
    }
    return "";
}

static struct slice field_of(const struct exchange *x, enum field_id id, struct slice name)
{
    const struct fields *f = &x->request.fields;
    const struct field *found = id != FIELD_OTHER ? fields_find(f, id) : fields_find_name(f, name);
    return found ? found->value : S("");
}

static struct slice variable(struct exchange *x, enum template_id id)
{
    return exchange_variable(x, &(struct template_variable){.id = id});
}

static void describe(struct exchange *x, struct access_entry *e)
{
    struct loop *l = &x->worker->loop;
    *e = (struct access_entry){
        .wall_us = loop_wall_us(l),
        .client = x->client_text,
        .method = x->request.method,
        .host = x->host.len ? x->host : x->request.host,
        .target = x->request.target,
        .protocol = variable(x, TEMPLATE_PROTOCOL),
        .listener = x->listener->name,
        .route = x->route ? x->route->name : S(""),
        .upstream = x->upstream ? x->upstream->name : S(""),
        .server = x->server ? x->server->name : S(""),
        .request_id = x->request_id,
        .referer = field_of(x, FIELD_OTHER, S("referer")),
        .user_agent = field_of(x, FIELD_USER_AGENT, S("")),
        .tls_version = variable(x, TEMPLATE_TLS_VERSION),
        .termination = termination_word(termination_of(x)),
        .reason = slice_text(x->reason),
        .end = end_text(x),
        .status = x->status ? x->status : 499,
        .grpc_status = variable(x, TEMPLATE_GRPC_STATUS),
        .cache = variable(x, TEMPLATE_CACHE),
        .trace_id = x->snapshot->tracing ? variable(x, TEMPLATE_TRACE_ID) : S(""),
        .attempts = x->attempts,
        .bytes_in = x->request_bytes,
        .bytes_out = x->response_bytes,
        .duration_us = loop_now_us(l) - x->started_us,
        .upstream_us = x->upstream_head_us ? (int64_t)(x->upstream_head_us - x->upstream_started_us) : -1,
    };
    timings_of(x, &e->timings);
}

/* The length of the line at `at`; 0 when there is no room. */
static size_t format(const struct access_log *log, struct exchange *x, const struct access_entry *e, char *at,
                     size_t room, size_t value_max)
{
    struct access_text t = {.at = at, .end = at + room, .value_max = value_max};
    switch (log->form) {
    case ACCESS_JSON:
        access_format_json(&t, e);
        break;
    case ACCESS_COMBINED:
        access_format_combined(&t, e);
        break;
    case ACCESS_TEMPLATE:
        access_format_template(&t, &log->template, exchange_variable, x);
        break;
    }
    return t.overflow ? 0 : (size_t)(t.at - at);
}

/* False when there is no room. */
static bool append(struct access_buffer *b, struct exchange *x, const struct access_entry *e,
                   size_t value_max)
{
    if (!b->at && !(b->at = malloc(ACCESS_BUFFER)))
        return false;
    size_t len = format(b->log, x, e, b->at + b->len, ACCESS_BUFFER - b->len, value_max);
    b->len += len;
    return len != 0;
}

/* A line that does not fit into what is left goes into an empty buffer; one that does not fit there has its
 * values cut. */
static void write_line(struct access_buffer *b, struct exchange *x, const struct access_entry *e)
{
    static const size_t values_max[] = {8192, 1024, 128};
    if (append(b, x, e, values_max[0]))
        return;
    hand_over(b);
    for (size_t i = 0; i < COUNT_OF(values_max); i++)
        if (append(b, x, e, values_max[i]))
            return;
    sink_lose(b->log->sink, 1);
}

static bool is_wanted(const struct access_log *log, struct exchange *x)
{
    if (log->all || exchange_meant_status(x) >= 500)
        return true;
    /* 53 bits make a number in [0, 1). */
    return (double)(worker_random(x->worker) >> 11) * 0x1p-53 < log->sample;
}

void access_log_exchange_ended(struct exchange *x)
{
    struct access_log *log = log_of(x);
    if (!log || !is_wanted(log, x))
        return;
    unsigned worker = x->worker->index;
    struct access_buffer *b = &log->buffers[worker];
    struct access_entry e = {0};
    if (log->form != ACCESS_TEMPLATE)
        describe(x, &e);
    write_line(b, x, &e);
    if (b->len == 0 || list_linked(&b->link))
        return;
    struct access_worker *w = &log->logs->workers[worker];
    pthread_mutex_lock(&w->lock);
    list_append(&w->waiting, &b->link);
    pthread_mutex_unlock(&w->lock);
}
