/* What the files of the access log share among themselves; nobody else includes it. */
#pragma once

#include <pthread.h>

#include "admin/access_log.h"

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

/* access_line.c: what the buffer has goes to the writer. */
void access_hand_over(struct access_buffer *b);
