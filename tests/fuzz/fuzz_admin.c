/* The admin interface of a whole weir in this process - parser, guard, routing, every handler - as a client
 * of its socket drives it: raw bytes, or requests that this file makes of a few bytes and a body. After each
 * input every answer is read again: its status must be one that the interface knows (never 500), JSON must
 * parse, a problem must tell its status and a detail; and when nothing but refusals was answered the servers,
 * the splits and the generation must be what they were.
 *
 * The first byte of the input: bit 0 raw bytes or requests, bit 1 a token is asked for, bit 2 sent in pieces.
 * Requests: a byte for the endpoint, one for arguments and fields, one for the body's length, the body. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/internal.h"
#include "core/log.h"

#define INPUT_MAX 8192
#define ANSWER_MAX                                                                                           \
    (64u << 20) /* touched as far as it is used: the largest input asks for the dashboard again and again */
#define PASSES_MAX 200
#define HAND_MAX   16 /* servers that were added by hand and are kept */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct {
    struct admin *admin;
    struct runtime runtime;
    struct address address;
    char *out, *in;
    size_t out_len, in_len;
    bool changed, has_head;
} fuzz;

static const char configuration[] = "workers: 1\n"
                                    "log: {level: error, access: false}\n"
                                    "admin: {bind: 'unix:@weir-fuzz-admin-%d', socket: ''}\n"
                                    "listeners: {web: {bind: 'unix:@weir-fuzz-web-%d'}}\n"
                                    "routes:\n"
                                    "- {name: app, split: {blue: 50, green: 50}}\n"
                                    "- {name: 'a/b \"c\" %%', path: /x, upstream: blue, cache: true}\n"
                                    "- {name: own, path: /own, respond: {status: 200, body: own}}\n"
                                    "- {name: odd, path: /odd, upstream: 'odd/name'}\n"
                                    "upstreams:\n"
                                    "  blue: {servers: ['10.1.1.1:80', '10.1.1.2:80']}\n"
                                    "  green: {balance: maglev, servers: ['unix:/run/green.sock']}\n"
                                    "  'odd/name': {servers: ['[2001:db8::1]:80']}\n";

/* The start. */

static int write_file(char *path, size_t size)
{
    int fd = memfd_create("weir.yaml", 0);
    ASSERT(fd >= 0 && dprintf(fd, configuration, getpid(), getpid()) > 0);
    snprintf(path, size, "/proc/self/fd/%d", fd);
    return fd;
}

static void start(void)
{
    static char path[64], name[64];
    static char *argv[] = {(char *)(uintptr_t) "weir", NULL};
    const char *why;
    struct slice host;
    uint16_t port;
    write_file(path, sizeof path);
    signal(SIGPIPE, SIG_IGN);
    fuzz.admin = admin_create();
    fuzz.out = malloc(INPUT_MAX * 2);
    fuzz.in = malloc(ANSWER_MAX);
    ASSERT(fuzz.admin && fuzz.out && fuzz.in);
    admin_attach(fuzz.admin, &fuzz.runtime);
    ASSERT(runtime_start(&fuzz.runtime, path, argv, admin_observers(fuzz.admin), admin_hooks(fuzz.admin)) ==
           0);
    int n = snprintf(name, sizeof name, "unix:@weir-fuzz-admin-%d", getpid());
    ASSERT(address_parse(slice_of(name, (size_t)n), &fuzz.address, &host, &port, &why) == ADDRESS_SOCKET);
}

/* Requests. */

static void say(const char *text, size_t len)
{
    if (len > INPUT_MAX * 2 - fuzz.out_len)
        len = INPUT_MAX * 2 - fuzz.out_len;
    memcpy(fuzz.out + fuzz.out_len, text, len);
    fuzz.out_len += len;
}

static void say_text(const char *text)
{
    say(text, strlen(text));
}

/* The pattern with something in place of its {}s. */
static void say_path(const char *pattern, unsigned which)
{
    static const char *const names[] = {"blue",
                                        "app",
                                        "10.1.1.1:80",
                                        "green",
                                        "unix:/run/green.sock",
                                        "odd%2fname",
                                        "%ff",
                                        "a%2fb%20%22c%22%20%25",
                                        "10.9.9.9:1",
                                        "own",
                                        "[2001:db8::1]:80",
                                        "10.1.1.2:80"};
    for (const char *at = pattern; *at; at++) {
        if (*at != '{') {
            say(at, 1);
            continue;
        }
        say_text(names[which % COUNT_OF(names)]);
        which = which / COUNT_OF(names) + which + 2;
        at = strchr(at, '}');
    }
}

static void say_request(const struct http_endpoint *e, unsigned how, const char *body, size_t len)
{
    static const char *const fields[] = {"",
                                         "Content-Type: application/json\r\n",
                                         "Content-Type: text/plain\r\n",
                                         "Origin: http://127.0.0.1\r\n",
                                         "Origin: http://evil\r\n",
                                         "Authorization: Bearer t0ken\r\n",
                                         "Authorization: Bearer t0ken\r\n",
                                         "Authorization: Bearer wrong\r\n"};
    char line[64];
    say_text(e->method);
    say_text(" ");
    say_path(e->path, how);
    say_text(how & 128 ? "?id=x&x=1" : "");
    say_text(" HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    say_text(fields[how >> 4 & 7]);
    bool has_body = strcmp(e->method, "GET") != 0 && strcmp(e->method, "DELETE") != 0;
    snprintf(line, sizeof line, "Content-Length: %zu\r\n\r\n", has_body ? len : (size_t)0);
    say_text(line);
    if (has_body)
        say(body, len);
}

static void make_requests(const uint8_t *at, size_t left)
{
    while (left >= 3) {
        const struct http_endpoint *e = &admin_endpoints[at[0] % admin_endpoint_count];
        unsigned how = at[1];
        size_t len = at[2] == 255 ? left - 3 : at[2] < left - 3 ? at[2] : left - 3;
        say_request(e, how, (const char *)at + 3, len);
        at += 3 + len;
        left -= 3 + len;
    }
}

/* What must stay as it is. Takes the value over. */
static char *dump(json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    ASSERT(text);
    json_decref(value);
    return text;
}

static json_t *servers_state(const struct upstream *u)
{
    json_t *all = json_array();
    for (size_t i = 0; i < u->set->count; i++) {
        struct server_report r;
        server_report(u->set->servers[i], &r);
        json_array_append_new(
            all, json_pack("[o, s, i]", json_slice(u->set->servers[i]->name), r.state, (int)r.weight));
    }
    return all;
}

static char *state(void)
{
    const struct snapshot *s = fuzz.runtime.snapshot;
    json_t *all = json_array();
    json_array_append_new(all, json_integer((json_int_t)fuzz.runtime.generation));
    json_array_append_new(all, json_integer(fuzz.runtime.state));
    for (size_t i = 0; i < s->upstream_count; i++)
        json_array_append_new(all, servers_state(s->upstreams[i]));
    for (size_t i = 0; i < s->route_count; i++)
        for (size_t k = 0; k < s->routes[i].target_count; k++)
            json_array_append_new(all, json_integer(atomic_load(&s->routes[i].targets[k].weight)));
    return dump(all);
}

/* Servers that were added are not for ever. */
static void forget_added(void)
{
    const struct snapshot *s = fuzz.runtime.snapshot;
    for (size_t i = 0; i < s->upstream_count; i++) {
        struct upstream *u = s->upstreams[i];
        for (size_t k = u->set->count; u->set->count > HAND_MAX && k-- > 0;)
            if (strcmp(upstream_source(u, u->set->servers[k]->name), "hand") == 0)
                ASSERT(upstream_remove_server(u, u->set->servers[k]->name) == 0);
    }
}

/* Answers. */

static void check_json(struct slice body, unsigned status, bool is_problem)
{
    json_error_t error;
    json_t *value = json_loadb(body.at, body.len, JSON_REJECT_DUPLICATES, &error);
    ASSERT(value && json_is_object(value));
    if (is_problem) {
        ASSERT(json_integer_value(json_object_get(value, "status")) == status);
        ASSERT(json_string_length(json_object_get(value, "detail")) > 0);
    }
    json_decref(value);
}

static void check_status(unsigned status)
{
    static const unsigned known[] = {100, 200, 201, 202, 400, 401, 403, 404, 405, 408, 409,
                                     411, 413, 414, 415, 417, 422, 429, 431, 501, 503, 505};
    size_t i = 0;
    while (i < COUNT_OF(known) && known[i] != status)
        i++;
    ASSERT(i < COUNT_OF(known));
    fuzz.changed = fuzz.changed || (status >= 200 && status < 300);
}

static struct slice field_of(struct slice head, const char *name)
{
    const char *at = memmem(head.at, head.len, name, strlen(name));
    if (!at)
        return slice_of(NULL, 0);
    struct slice value = slice_skip(head, (size_t)(at - head.at) + strlen(name));
    value.len = slice_find(value, '\r');
    return value;
}

/* One answer; what is behind it. */
static struct slice check_answer(struct slice in)
{
    const char *end = memmem(in.at, in.len, "\r\n\r\n", 4);
    uint64_t status, length;
    ASSERT(end && in.len > 12 && memcmp(in.at, "HTTP/1.1 ", 9) == 0);
    struct slice head = slice_of(in.at, (size_t)(end - in.at) + 2), rest = slice_skip(in, head.len + 2);
    ASSERT(slice_to_u64(slice_of(in.at + 9, 3), &status) == 0);
    check_status((unsigned)status);
    if (status == 100)
        return rest;
    ASSERT(memmem(head.at, head.len, "nosniff", 7));
    struct slice value = field_of(head, "\r\nContent-Length: "), type = field_of(head, "\r\nContent-Type: ");
    if (!value.at) /* a stream */
        return slice_of(NULL, 0);
    ASSERT(slice_to_u64(value, &length) == 0);
    if (fuzz.has_head) /* which of them has a body is not known */
        return slice_of(NULL, 0);
    ASSERT(length <= rest.len);
    struct slice body = slice_of(rest.at, (size_t)length);
    bool is_problem = slice_equal(type, S("application/problem+json"));
    ASSERT(is_problem || status < 400 || status == 401 || status == 503);
    if (is_problem || slice_equal(type, S("application/json")))
        check_json(body, (unsigned)status, is_problem);
    return slice_skip(rest, body.len);
}

/* A client. */

static void nothing(struct task *t)
{
    (void)t;
}

static void pass(void)
{
    static struct task idle;
    task_init(&idle);
    loop_defer(&fuzz.runtime.control, &idle, nothing);
    loop_pass(&fuzz.runtime.control);
}

static bool receive(int fd)
{
    for (;;) {
        ASSERT(fuzz.in_len < ANSWER_MAX);
        ssize_t n = recv(fd, fuzz.in + fuzz.in_len, ANSWER_MAX - fuzz.in_len, MSG_DONTWAIT);
        if (n <= 0)
            return n < 0;
        fuzz.in_len += (size_t)n;
    }
}

static void converse(size_t piece)
{
    size_t sent = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(fd >= 0 && connect(fd, &fuzz.address.any, fuzz.address.len) == 0);
    bool open = true;
    for (int quiet = 0; open && quiet < PASSES_MAX; quiet++) {
        size_t had = fuzz.in_len, n = fuzz.out_len - sent < piece ? fuzz.out_len - sent : piece;
        ssize_t went = n ? send(fd, fuzz.out + sent, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        sent = went < 0 ? fuzz.out_len : sent + (size_t)went;
        if (sent == fuzz.out_len)
            shutdown(fd, SHUT_WR);
        pass();
        open = receive(fd);
        if (went > 0 || fuzz.in_len > had)
            quiet = 0;
    }
    close(fd);
    pass();
    pass();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > INPUT_MAX)
        return 0;
    if (!fuzz.admin)
        start();
    fuzz.out_len = fuzz.in_len = 0;
    fuzz.changed = fuzz.has_head = false;
    if (bytes[0] & 1) {
        make_requests(bytes + 1, len - 1);
    } else {
        say((const char *)bytes + 1, len - 1);
        fuzz.has_head = memmem(bytes, len, "HEAD", 4);
    }
    free(fuzz.admin->token);
    fuzz.admin->token = strdup(bytes[0] & 2 ? "t0ken" : "");
    ASSERT(fuzz.admin->token);
    memset(&fuzz.admin->tries, 0, sizeof fuzz.admin->tries);
    char *before = state();
    converse(bytes[0] & 4 ? fuzz.out_len / 32 + 1 : fuzz.out_len + 1);
    for (struct slice in = slice_of(fuzz.in, fuzz.in_len); in.len;)
        in = check_answer(in);
    char *after = state();
    ASSERT(fuzz.changed || fuzz.has_head || strcmp(before, after) == 0);
    free(before);
    free(after);
    forget_added();
    return 0;
}
