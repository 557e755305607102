/* The admin interface's HTTP server, by a client on a socket pair of its own making: requests in any pieces,
 * limits, endpoints, streams. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/http_server.h"

#define PASSES 400

struct site {
    struct loop loop;
    struct list servers, streams;
    struct http_server *server;
    struct address address;
    unsigned calls;
    int client;
    char got[1 << 20];
    size_t got_len;
};

static void echo(struct http_call *c)
{
    struct site *s = c->context;
    char text[4096];
    int n =
        snprintf(text, sizeof text, "%.*s|%.*s|%.*s", SLICE_FMT(c->argument_count ? c->arguments[0] : S("")),
                 SLICE_FMT(c->argument_count > 1 ? c->arguments[1] : S("")), SLICE_FMT(c->body));
    s->calls++;
    http_call_reply(c, 200, "text/plain", slice_of(text, (size_t)n), "X-Extra: yes\r\n");
}

static void stream(struct http_call *c)
{
    struct site *s = c->context;
    http_call_stream(c, "text/event-stream", NULL, &s->streams);
}

static void silent(struct http_call *c)
{
    (void)c;
}

static void problem(struct http_call *c, unsigned status, const char *detail, const char *extra)
{
    http_call_reply(c, status, "text/plain", slice_text(detail), extra);
}

static bool guard(struct http_call *c, const struct http_endpoint *e)
{
    (void)e;
    if (!slice_equal(c->request.query, S("closed")))
        return true;
    http_call_reply(c, 401, NULL, S(""), NULL);
    return false;
}

static const struct http_endpoint endpoints[] = {
    {"GET", "/", echo, 0},         {"POST", "/echo", echo, 0},    {"PATCH", "/u/{}/servers/{*}", echo, 0},
    {"GET", "/stream", stream, 0}, {"GET", "/silent", silent, 0},
};

static void connect_client(struct site *s)
{
    s->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(s->client, &s->address.any, s->address.len), 0);
    assert_int_equal(fcntl(s->client, F_SETFL, O_NONBLOCK), 0);
    s->got_len = 0;
}

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    h1_parse_init(H1_PATH_AUTO);
    assert_int_equal(loop_init(&s->loop, 0), 0);
    list_init(&s->servers);
    list_init(&s->streams);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->address.len = sizeof s->address.v4;
    assert_int_equal(bind(fd, &s->address.any, s->address.len), 0);
    assert_int_equal(getsockname(fd, &s->address.any, &s->address.len), 0);
    assert_int_equal(listen(fd, 16), 0);
    struct http_server_options o = {.loop = &s->loop,
                                    .endpoints = endpoints,
                                    .endpoint_count = COUNT_OF(endpoints),
                                    .context = s,
                                    .servers = &s->servers,
                                    .guard = guard,
                                    .problem = problem};
    s->server = http_server_create(&o, fd);
    assert_non_null(s->server);
    connect_client(s);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    close(s->client);
    http_servers_close(&s->servers);
    loop_free(&s->loop);
    free(s);
    return 0;
}

/* One pass that does not wait for ever: a task is there. */
static void nothing(struct task *t)
{
    (void)t;
}

static void pass(struct site *s)
{
    struct task t;
    task_init(&t);
    loop_defer(&s->loop, &t, nothing);
    loop_pass(&s->loop);
    usleep(200);
}

static void say(struct site *s, const char *text)
{
    size_t len = strlen(text);
    while (len) {
        ssize_t n = send(s->client, text, len, MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        pass(s);
    }
}

/* Reads until `text` has come; false when the connection ended or it never does. */
static bool hear(struct site *s, const char *text)
{
    for (int i = 0; i < PASSES; i++) {
        pass(s);
        ssize_t n = recv(s->client, s->got + s->got_len, sizeof s->got - s->got_len - 1, 0);
        s->got_len += n > 0 ? (size_t)n : 0;
        s->got[s->got_len] = 0;
        if (strstr(s->got, text))
            return true;
        if (n == 0)
            return false;
    }
    return false;
}

static bool is_ended(struct site *s)
{
    char byte;
    for (int i = 0; i < PASSES; i++) {
        pass(s);
        ssize_t n = recv(s->client, &byte, 1, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return true;
    }
    return false;
}

static void test_a_request_in_single_bytes_is_answered(void **state)
{
    struct site *s = *state;
    const char *text = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    for (; *text; text++)
        say(s, (char[]){*text, 0});
    assert_true(hear(s, "||hello"));
    assert_non_null(strstr(s->got, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(s->got, "\r\nContent-Length: 7\r\n"));
    assert_non_null(strstr(s->got, "\r\nX-Extra: yes\r\n"));
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
    struct site *s = *state;
    say(s, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\noneGET / HTTP/1.1\r\nHost: a\r\n\r\n"
           "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
           "chunked\r\n\r\n2\r\nth\r\n3\r\nree\r\n0\r\n\r\n");
    assert_true(hear(s, "||three"));
    assert_true(strstr(s->got, "||one") < strstr(s->got, "||three"));
    assert_int_equal(s->calls, 3);
}

static void test_arguments_of_the_path_are_decoded(void **state)
{
    struct site *s = *state;
    static const struct {
        const char *path, *answer;
    } table[] = {
        {"/u/a%2Fb/servers/10.0.0.1:80", "a/b|10.0.0.1:80|"},
        {"/u/a/servers/%5B::1%5D:80", "a|[::1]:80|"},
        {"/u/x/servers/unix:/run/app.sock", "x|unix:/run/app.sock|"},
        {"/u//servers/x", "404 Not Found"},
        {"/u/a/servers", "404 Not Found"},
        {"/u/%zz/servers/x", "404 Not Found"},
        {"/u/%00/servers/x", "404 Not Found"},
        {"/u/a/servers/", "404 Not Found"},
        {"/u/a/../b/servers/x", "404 Not Found"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char request[256];
        snprintf(request, sizeof request, "PATCH %s HTTP/1.1\r\nHost: a\r\n\r\n", table[i].path);
        s->got_len = 0;
        say(s, request);
        if (!hear(s, table[i].answer))
            fail_msg("%s: %s", table[i].path, s->got);
    }
}

static void test_what_is_not_there_is_refused(void **state)
{
    struct site *s = *state;
    static const struct {
        const char *request, *answer;
    } table[] = {
        {"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found"},
        {"GET /echo/ HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found"},
        {"DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n", "Allow: POST\r\n"},
        {"GET /?closed HTTP/1.1\r\nHost: a\r\n\r\n", "401 Unauthorized"},
        {"GET /nothing?closed HTTP/1.1\r\nHost: a\r\n\r\n", "401 Unauthorized"},
        {"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n", "500 Internal Server Error"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        s->got_len = 0;
        say(s, table[i].request);
        if (!hear(s, table[i].answer))
            fail_msg("%s: %s", table[i].request, s->got);
    }
    assert_int_equal(s->calls, 0);
}

static void test_a_bad_message_is_a_400_and_the_end(void **state)
{
    struct site *s = *state;
    static const struct {
        const char *request, *answer;
    } table[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 "},
        {"nonsense\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", "HTTP/1.1 413 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 "},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        say(s, table[i].request);
        if (!hear(s, table[i].answer))
            fail_msg("%s: %s", table[i].request, s->got);
        assert_non_null(strstr(s->got, "Connection: close\r\n"));
        assert_true(is_ended(s));
        close(s->client);
        connect_client(s);
    }
    assert_int_equal(s->calls, 0);
}

static void test_a_chunked_body_past_the_limit_is_a_413(void **state)
{
    struct site *s = *state;
    char *chunk = malloc((64u << 10) + 16);
    size_t n = (size_t)snprintf(chunk, 16, "10000\r\n");
    memset(chunk + n, 'x', 64u << 10);
    memcpy(chunk + n + (64u << 10), "\r\n", 3);
    say(s, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 17; i++)
        say(s, chunk);
    free(chunk);
    assert_true(hear(s, "HTTP/1.1 413 "));
    assert_int_equal(s->calls, 0);
}

static void test_head_has_the_length_and_no_body(void **state)
{
    struct site *s = *state;
    say(s, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_false(hear(s, "||"));
    assert_non_null(strstr(s->got, "Content-Length: 2\r\n"));
    assert_string_equal(s->got + s->got_len - 4, "\r\n\r\n");
}

static void test_a_half_closed_client_gets_its_answer(void **state)
{
    struct site *s = *state;
    say(s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    shutdown(s->client, SHUT_WR);
    assert_true(hear(s, "||"));
    assert_true(is_ended(s));
}

static void test_a_stream_goes_on_until_its_client_leaves(void **state)
{
    struct site *s = *state;
    say(s, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(hear(s, "text/event-stream\r\n"));
    assert_false(list_empty(&s->streams));
    http_stream_send(CONTAINER_OF(s->streams.next, struct http_stream, link), S("data: 1\n\n"));
    assert_true(hear(s, "data: 1\n\n"));
    close(s->client);
    for (int i = 0; i < PASSES && !list_empty(&s->streams); i++)
        pass(s);
    assert_true(list_empty(&s->streams));
    connect_client(s);
}

static void test_a_stream_that_nobody_reads_is_closed(void **state)
{
    struct site *s = *state;
    char *text = calloc(1, 64u << 10);
    say(s, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(hear(s, "text/event-stream\r\n"));
    int sent = 0;
    for (; sent < 1000 && !list_empty(&s->streams); sent++) {
        http_stream_send(CONTAINER_OF(s->streams.next, struct http_stream, link), slice_of(text, 64u << 10));
        pass(s);
    }
    free(text);
    assert_in_range(sent, 4, 999);
}

static void test_a_closed_server_ends_idle_clients_and_refuses_new_ones(void **state)
{
    struct site *s = *state;
    say(s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(hear(s, "||"));
    http_server_close(s->server, false);
    assert_true(is_ended(s));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &s->address.any, s->address.len), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    close(s->client);
    s->client = -1;
    for (int i = 0; i < PASSES && !list_empty(&s->servers); i++)
        pass(s);
    assert_true(list_empty(&s->servers));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_in_single_bytes_is_answered),
        TEST(test_pipelined_requests_are_answered_in_order),
        TEST(test_arguments_of_the_path_are_decoded),
        TEST(test_what_is_not_there_is_refused),
        TEST(test_a_bad_message_is_a_400_and_the_end),
        TEST(test_a_chunked_body_past_the_limit_is_a_413),
        TEST(test_head_has_the_length_and_no_body),
        TEST(test_a_half_closed_client_gets_its_answer),
        TEST(test_a_stream_goes_on_until_its_client_leaves),
        TEST(test_a_stream_that_nobody_reads_is_closed),
        TEST(test_a_closed_server_ends_idle_clients_and_refuses_new_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
