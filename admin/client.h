/* The command line's side of the control socket: one blocking HTTP request, and the subcommands that are made
 * of such. Each command prints for people - what went wrong to standard error - and gives the process's exit
 * status: 0, 1, or 2 for a wrong call. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CLIENT_DEADLINE_MS 60000

/* Connects, asks, reads the whole answer. 0 with *status and *answer (the body, malloc'ed, NUL-terminated),
 * or -1 with errno; ETIMEDOUT after CLIENT_DEADLINE_MS, EPROTO for nonsense. `body` may be NULL. */
int client_call(const char *socket_path, const char *method, const char *path, const char *body, int *status,
                char **answer);

/* The control socket: `socket` when given, else what the configuration says, else the default. malloc'ed;
 * NULL after a message. */
char *client_socket(const char *config, const char *socket);

/* Says on standard error, by errno, why a call came to nothing. */
void client_complain(const char *socket);

/* These take the path over (NULL: 1 at once). */
#define RELOAD_LIMITS 6
struct reload_question {
    const char *confirm; /* how long the trial is: "60s"; NULL = none */
    bool wait;           /* until it has ended: 0 when it was confirmed, else 1 */
    /* As written, or NULL: errors, unhealthy, latency, latency_ms, requests, latency_requests. */
    const char *limits[RELOAD_LIMITS];
};
int command_reload(char *socket, const struct reload_question *q);
int command_confirm(char *socket);
/* 0: the one before. */
int command_rollback(char *socket, unsigned long long generation);
/* Of all that are kept (0), or the text of one. `json`: as the API answers. */
int command_history(char *socket, unsigned long long generation, bool json);
/* Until the process has ended. */
int command_stop(char *socket);
/* Until the next process serves. */
int command_upgrade(char *socket);
/* `json`: as the API answers, listeners and upstreams in one. */
int command_status(char *socket, bool json);
/* `json`: as the API answers. */
int command_upstreams(char *socket, bool json);
/* What the flight recorder keeps; of one request only when `id` is not NULL. */
int command_requests(char *socket, const char *id, bool json);
/* With a file; NULL: the one that is in use. */
int command_diff(char *socket, const char *file);
/* Between two that are kept; to = 0: the one in force. */
int command_diff_generations(char *socket, unsigned long long from, unsigned long long to);

struct purge_question {
    const char *what; /* "url", "prefix", "tag" or "all" */
    const char *text; /* NULL for all */
    bool soft;        /* makes it stale, and leaves it there */
};
int command_purge(char *socket, const struct purge_question *q);

struct explain_question {
    const char *method, *url;
    const char *const *headers; /* "name: value" */
    size_t header_count;
    const char *client, *listener; /* NULL = 127.0.0.1; the one that the URL leads to */
    const char *sni;               /* NULL = the URL's host */
    bool json;                     /* as the API answers */
};
/* Of a file; or, without one, of the running process. */
int command_explain(const char *config, const char *socket, const struct explain_question *q);
