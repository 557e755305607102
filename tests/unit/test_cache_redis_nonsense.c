/* What answers is no Redis, or a broken one: a server that says what the test tells it to. */
#include "tests/unit/redis_fixture.h"

struct script {
    const char *ping, *subscribe, *eval, *get; /* NULL = as Redis does; "" = nothing */
};

#define PING_ANSWER      "+PONG\r\n"
#define PONG_ANSWER      "*2\r\n$4\r\npong\r\n$0\r\n\r\n" /* to who has subscribed */
#define SUBSCRIBE_ANSWER "*3\r\n$9\r\nsubscribe\r\n$12\r\nweir:1:purge\r\n:1\r\n"
#define EVAL_ANSWER      "*5\r\n:77\r\n:3\r\n:0\r\n:0\r\n:0\r\n"

static void say(int fd, const char *text, const char *else_text)
{
    const char *said = text ? text : else_text;
    if (said[0])
        (void)!write(fd, said, strlen(said));
}

static void answer(int fd, const char *command, const struct script *s, bool *subscribed)
{
    if (strstr(command, "PING"))
        say(fd, *subscribed ? PONG_ANSWER : s->ping, PING_ANSWER);
    if (strstr(command, "SUBSCRIBE")) {
        say(fd, s->subscribe, SUBSCRIBE_ANSWER);
        *subscribed = true;
    }
    if (strstr(command, "EVAL"))
        say(fd, s->eval, EVAL_ANSWER);
    if (strstr(command, "GETRANGE"))
        say(fd, s->get, "$0\r\n\r\n");
}

/* One process for each connection: they end when it does. */
static void serve(int listener, const struct script *s)
{
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        static char command[1 << 16];
        int fd = accept(listener, NULL, NULL);
        if (fork() != 0) {
            close(fd);
            continue;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bool subscribed = false;
        for (ssize_t n; (n = read(fd, command, sizeof command - 1)) > 0;) {
            command[n] = '\0';
            answer(fd, command, s, &subscribed);
        }
        _exit(0);
    }
}

static void play(struct world *w, const struct script *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", w->server.socket);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(w->server.socket);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 64), 0);
    w->server.pid = fork();
    if (w->server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, s);
    }
    close(listener);
}

static void end_play(struct world *w)
{
    node_close(&w->a);
    pass_for(w, 10);
    config_free(&w->a.config);
    server_kill(&w->server);
}

static void test_who_is_no_redis_is_never_used_and_asked_again_later(void **state)
{
    struct world *w = *state;
    static const struct {
        struct script script;
        const char *reason;
    } table[] = {
        {{.ping = "HTTP/1.1 400 Bad Request\r\n\r\n"}, "no Redis"},
        {{.ping = "+OK\r\n"}, "no Redis"},
        {{.ping = "+PONG\r\n+PONG\r\n+PONG\r\n"}, ""},
        {{.ping = "*1\r\n*1\r\n*1\r\n"}, "no Redis"},
        {{.ping = "*1000000000\r\n"}, "no Redis"},
        {{.ping = ":1\r\n"}, "no Redis"},
        {{.ping = "-DENIED Redis is running in protected mode\r\n"}, "protected mode"},
        {{.ping = "-LOADING Redis is loading the dataset in memory\r\n"}, "loading"},
        {{.ping = ""}, "no answer to the greeting"},
        {{.subscribe = "-NOPERM\r\n"}, "NOPERM"},
        {{.subscribe = "*0\r\n"}, "not understood"},
        {{.subscribe = "*1\r\n$7\r\nmessage\r\n"}, "not understood"},
        {{.subscribe = "*3\r\n:1\r\n:2\r\n:3\r\n"}, "not understood"},
        {{.subscribe = "+OK\r\n"}, "not understood"},
        {{.eval = "-NOSCRIPT x\r\n"}, "NOSCRIPT"},
        {{.eval = "*0\r\n"}, "not understood"},
        {{.eval = "*5\r\n:0\r\n:0\r\n:0\r\n:0\r\n:0\r\n"}, "not understood"},
        {{.eval = "*5\r\n:1\r\n:-2\r\n:0\r\n:0\r\n:0\r\n"}, "not understood"},
        {{.eval = "*6\r\n:1\r\n:2\r\n:0\r\n:0\r\n:0\r\n:0\r\n"}, "not understood"},
        {{.eval = "*7\r\n:1\r\n:2\r\n:0\r\n:0\r\n:0\r\n:0\r\n:0\r\n"}, "not understood"},
    };
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        play(w, &table[i].script);
        node_open(w, &w->a, ", connect: 200ms");
        struct cache_redis_fleet *f = w->a.fleet;
        UNTIL(w, f->ears.failures + f->mouth.failures >= 2 &&
                     (f->reason[0] == '\0' || strstr(f->reason, table[i].reason)));
        assert_false(stats_of(&w->a).synced && table[i].reason[0]);
        struct call k = {.content = NULL};
        assert_false(call_begin(&w->a, &k, "key"));
        end_play(w);
    }
}

static void test_nonsense_that_is_published_changes_nothing(void **state)
{
    struct world *w = *state;
    static const char *const messages[] = {
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nfoo\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$-1\r\n",
        "*2\r\n$7\r\nmessage\r\n$1\r\nc\r\n",
        "*4\r\n$8\r\npmessage\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$12\r\n77 4 99 xh u\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$8\r\n77 4 99 \r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$25\r\n77 99999999999999999999 1\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$9\r\n77 2 9 ah\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    };
    for (unsigned i = 0; i < COUNT_OF(messages); i++) {
        char said[256];
        snprintf(said, sizeof said, "%s%s", SUBSCRIBE_ANSWER, messages[i]);
        play(w, &(struct script){.subscribe = said});
        node_open(w, &w->a, "");
        UNTIL(w, is_used(&w->a));
        UNTIL(w, redis_link_pending(&w->a.tier->reads) == 0);
        struct call k = {.content = NULL};
        assert_int_equal(look(w, &w->a, "key", &k), CACHE_REDIS_ABSENT);
        assert_int_equal(w->a.told_count, 0);
        assert_int_equal(stats_of(&w->a).purges, 3);
        end_play(w);
    }
}

static void test_nonsense_for_a_value_ends_the_connection_and_the_calls(void **state)
{
    struct world *w = *state;
    static const char *const answers[] = {"*3\r\n",          ":5\r\n",       "-ERR no\r\n",
                                          "$-1\r\n",         "nonsense\r\n", "*1\r\n$3\r\nabc\r\n",
                                          "$99999999999\r\n"};
    for (unsigned i = 0; i < COUNT_OF(answers); i++) {
        play(w, &(struct script){.get = answers[i]});
        node_open(w, &w->a, ", deadline: 300ms");
        UNTIL(w, stats_of(&w->a).trips == 0 && (is_used(&w->a) || stats_of(&w->a).errors));
        struct call k = {.content = NULL};
        for (int n = 0; n < 5; n++)
            if (call_begin(&w->a, &k, "key")) {
                UNTIL(w, k.done);
                assert_int_equal(k.result, CACHE_REDIS_UNAVAILABLE);
            }
        UNTIL(w, stats_of(&w->a).trips > 0);
        assert_int_equal(stats_of(&w->a).hits + stats_of(&w->a).misses, 0);
        end_play(w);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(test_who_is_no_redis_is_never_used_and_asked_again_later),
        TEST(test_nonsense_that_is_published_changes_nothing),
        TEST(test_nonsense_for_a_value_ends_the_connection_and_the_calls),
    };
    return redis_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
