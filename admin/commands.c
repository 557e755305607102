/* What `weir stop`, upgrade, status and explain ask and print. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "admin/client.h"
#include "admin/client_json.h"
#include "admin/explain_json.h"
#include "admin/requests_text.h"
#include "admin/status_text.h"

#define DEFAULT_SOCKET  "/run/weir.sock"
#define POLL_MS         50
#define UPGRADE_WAIT_MS 60000

/* The control socket's path. */

static char *copy_path(struct slice path)
{
    return path.at ? strndup(path.at, path.len) : NULL;
}

static char *socket_of_file(const char *file)
{
    struct config c;
    char *path = NULL;
    config_init(&c);
    config_load(&c, file);
    const struct config_node *admin = c.root && c.root->kind == NODE_MAP ? config_get(c.root, "admin") : NULL;
    const struct config_node *node = admin && admin->kind == NODE_MAP ? config_get(admin, "socket") : NULL;
    if (!c.root)
        fputs(config_errors_text(&c), stderr);
    else if (node && node->kind == NODE_SCALAR)
        path = copy_path(config_relative_path(&c, node, node->text, CONFIG_READS));
    else
        path = strdup(DEFAULT_SOCKET);
    config_free(&c);
    return path;
}

char *client_socket(const char *config, const char *socket)
{
    if (socket)
        return strdup(socket);
    return config ? socket_of_file(config) : strdup(DEFAULT_SOCKET);
}

/* Asking. */

void client_complain(const char *socket)
{
    if (errno == ENOENT || errno == ECONNREFUSED)
        fprintf(stderr, "weir: no weir runs at %s: %s; say which by -c FILE or -s SOCKET\n", socket,
                strerror(errno));
    else
        fprintf(stderr, "weir: %s: %s\n", socket, strerror(errno));
}

/* The process that answers at the socket; 0 when none does. */
static long long pid_at(const char *socket)
{
    int status;
    char *text = NULL;
    if (client_call(socket, "GET", "/api/v1/status", NULL, &status, &text) != 0)
        return 0;
    json_t *answer = json_loads(text, 0, NULL);
    long long pid = client_number(answer, "pid");
    json_decref(answer);
    free(text);
    return pid;
}

/* The commands. */

int command_stop(char *socket)
{
    json_t *answer = socket ? client_ask(socket, "POST", "/api/v1/stop", NULL) : NULL;
    long long pid = client_number(answer, "pid"), connections = client_number(answer, "connections");
    if (answer && connections)
        printf("draining: %lld connections\n", connections);
    fflush(stdout);
    while (answer && pid_at(socket) == pid)
        client_sleep_a_little();
    if (answer)
        printf("stopped\n");
    int status = answer ? 0 : 1;
    json_decref(answer);
    free(socket);
    return status;
}

/* The next process's pid once it answers; false when it ended before. */
static bool wait_for_next(const char *socket, long long next)
{
    for (int waited = 0; waited < UPGRADE_WAIT_MS; waited += POLL_MS) {
        if (pid_at(socket) == next)
            return true;
        if (kill((pid_t)next, 0) != 0 && errno == ESRCH)
            return false;
        client_sleep_a_little();
    }
    return false;
}

int command_upgrade(char *socket)
{
    json_t *answer = socket ? client_ask(socket, "POST", "/api/v1/upgrade", NULL) : NULL;
    long long old = client_number(answer, "pid"), next = client_number(answer, "next");
    int status = 1;
    if (answer && wait_for_next(socket, next)) {
        printf("process %lld serves; process %lld drains\n", next, old);
        status = 0;
    } else if (answer) {
        fprintf(stderr, "weir: process %lld did not come to serve, the old one goes on; its log says why\n",
                next);
    }
    json_decref(answer);
    free(socket);
    return status;
}

int command_status(char *socket, bool json)
{
    json_t *status = socket ? client_ask(socket, "GET", "/api/v1/status", NULL) : NULL;
    json_t *listeners = status ? client_ask(socket, "GET", "/api/v1/listeners", NULL) : NULL;
    json_t *upstreams = listeners ? client_ask(socket, "GET", "/api/v1/upstreams", NULL) : NULL;
    int result = upstreams ? 0 : 1;
    if (upstreams && json) {
        json_object_update_missing(status, listeners);
        json_object_update_missing(status, upstreams);
        client_print_json(status);
    } else if (upstreams) {
        status_print(status, listeners, upstreams, stdout);
    }
    json_decref(status);
    json_decref(listeners);
    json_decref(upstreams);
    free(socket);
    return result;
}

int command_upstreams(char *socket, bool json)
{
    json_t *answer = socket ? client_ask(socket, "GET", "/api/v1/upstreams", NULL) : NULL;
    int result = answer ? 0 : 1;
    if (answer && json)
        client_print_json(answer);
    else if (answer)
        upstreams_print(answer, stdout);
    json_decref(answer);
    free(socket);
    return result;
}

/* weir purge */

int command_purge(char *socket, const struct purge_question *q)
{
    json_t *question = q->text ? json_pack("{s:s, s:b}", q->what, q->text, "soft", q->soft)
                               : json_pack("{s:b, s:b}", q->what, 1, "soft", q->soft);
    char *body = question ? json_dumps(question, 0) : NULL;
    if (!body)
        fprintf(stderr, "weir purge: that is no text in UTF-8\n");
    json_t *answer = socket && body ? client_ask(socket, "POST", "/api/v1/cache/purge", body) : NULL;
    const char *text = json_string_value(json_object_get(json_object_get(answer, "purged"), q->what));
    if (answer)
        printf("%s: %s%s%s\n", q->soft ? "made stale" : "purged", q->text ? q->what : "everything",
               q->text ? " " : "", text ? text : "");
    int result = answer ? 0 : 1;
    json_decref(answer);
    json_decref(question);
    free(body);
    free(socket);
    return result;
}

/* An id goes into the target: only what may stand there as it is. */
static bool is_plain_id(const char *id)
{
    for (const char *at = id; *at; at++)
        if (!byte_is(*at, BYTE_TARGET) || *at == '&' || *at == '%')
            return false;
    return *id != '\0' && strlen(id) <= 128;
}

int command_requests(char *socket, const char *id, bool json)
{
    char path[256];
    if (id && !is_plain_id(id)) {
        fprintf(stderr, "weir requests: \"%s\" is no request id\n", id);
        free(socket);
        return 2;
    }
    snprintf(path, sizeof path, "/api/v1/requests%s%s", id ? "?id=" : "", id ? id : "");
    json_t *answer = socket ? client_ask(socket, "GET", path, NULL) : NULL;
    int result = answer ? 0 : 1;
    if (answer && json)
        client_print_json(answer);
    else if (answer)
        requests_print(answer, id != NULL, stdout);
    json_decref(answer);
    free(socket);
    return result;
}

/* weir explain */

static int read_header(const char *text, struct field *out)
{
    struct slice s = slice_text(text);
    size_t colon = slice_find(s, ':');
    *out = (struct field){.name = slice_of(s.at, colon), .value = slice_trim(slice_skip(s, colon + 1))};
    out->id = (uint16_t)field_id(out->name);
    if (colon < s.len && is_token(out->name) && is_field_value(out->value))
        return 0;
    fprintf(stderr, "weir explain: not a header: \"%s\"; write -H 'name: value'\n", text);
    return -1;
}

static int explain_with(const struct snapshot *s, const struct explain_input *in, bool json)
{
    struct arena arena;
    struct explained e;
    const char *why = "";
    int status = 0;
    arena_init(&arena, NULL, 0);
    if (explain_request(s, in, &arena, &e, &why) == 0) {
        json_t *all = json ? explain_json(&e, &arena) : NULL;
        if (json)
            client_print_json(all);
        else
            explain_print(&e, stdout);
        status = json && !all;
        json_decref(all);
    } else {
        fprintf(stderr, "weir explain: %s\n", why);
        status = 2;
    }
    arena_reset(&arena);
    return status;
}

static int explain_file(const char *file, const struct explain_input *in, bool json)
{
    struct snapshot_context context = {.workers = 1, .dry = true};
    struct snapshot *s = snapshot_build(file, &context);
    int status = 1;
    if (!s) {
        fprintf(stderr, "weir: out of memory\n");
        return 1;
    }
    if (s->config.error_count)
        fputs(config_errors_text(&s->config), stderr);
    else
        status = explain_with(s, in, json);
    snapshot_free(s);
    return status;
}

/* Fields of one name become a list, as the API wants them. */
static json_t *question_of(const struct explain_input *in)
{
    json_t *headers = json_object();
    for (size_t i = 0; headers && i < in->header_count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", SLICE_FMT(in->headers[i].name));
        json_t *list = json_object_get(headers, name);
        if (!list) {
            list = json_array();
            json_object_set_new(headers, name, list);
        }
        json_array_append_new(list, json_stringn(in->headers[i].value.at, in->headers[i].value.len));
    }
    json_t *question =
        json_pack("{s:s, s:s, s:o}", "method", in->method.at, "url", in->url.at, "headers", headers);
    if (question && in->client.len)
        json_object_set_new(question, "client", json_stringn(in->client.at, in->client.len));
    if (question && in->listener.len)
        json_object_set_new(question, "listener", json_stringn(in->listener.at, in->listener.len));
    if (question && in->sni.len)
        json_object_set_new(question, "sni", json_stringn(in->sni.at, in->sni.len));
    return question;
}

static int explain_running(const char *socket, const struct explain_input *in, bool json)
{
    json_t *question = question_of(in);
    char *body = question ? json_dumps(question, 0) : NULL;
    json_t *answer = body ? client_ask(socket, "POST", "/api/v1/explain", body) : NULL;
    const char *text = json_string_value(json_object_get(answer, "text"));
    int status = text ? 0 : 1;
    if (text && json)
        client_print_json(answer);
    else if (text)
        fputs(text, stdout);
    json_decref(answer);
    free(body);
    json_decref(question);
    return status;
}

int command_explain(const char *config, const char *socket, const struct explain_question *q)
{
    struct field *fields = calloc(q->header_count + 1, sizeof *fields);
    int status = fields ? 0 : 1;
    for (size_t i = 0; fields && i < q->header_count && status == 0; i++)
        status = read_header(q->headers[i], &fields[i]) ? 2 : 0;
    struct explain_input in = {.method = slice_text(q->method),
                               .url = slice_text(q->url),
                               .headers = fields,
                               .header_count = q->header_count,
                               .client = slice_text(q->client ? q->client : ""),
                               .listener = slice_text(q->listener ? q->listener : ""),
                               .sni = slice_text(q->sni ? q->sni : "")};
    if (status == 0) {
        char *path = config ? NULL : client_socket(NULL, socket);
        status = config ? explain_file(config, &in, q->json) : path ? explain_running(path, &in, q->json) : 1;
        free(path);
    }
    free(fields);
    return status;
}
