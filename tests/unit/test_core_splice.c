/* Bytes from one connection to another through a pipe, and the pool of pipes. */
#include "core_peer.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#define BIG (6u << 20)

static char *pattern(size_t len)
{
    char *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    return bytes;
}

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static struct world *world_of(struct side *s)
{
    return CONTAINER_OF(s->conn.loop, struct world, loop);
}

/* What the tests' relay does: from a to b, as a proxy would. */
static void relay(struct side *a)
{
    struct side *b = &world_of(a)->b;
    size_t moved;
    switch (conn_splice(&a->conn, &b->conn, UINT64_MAX, &moved)) {
    case SPLICE_MOVED:
        conn_yield(&a->conn);
        break;
    case SPLICE_EMPTY:
        break;
    case SPLICE_FULL:
        conn_want_read(&a->conn, false);
        break;
    case SPLICE_NOT:
        side_read(a);
        break;
    }
}

static void go_on(struct conn *c)
{
    struct world *w = world_of(side_of(c));
    w->b.drained++;
    if (!w->a.conn.closed)
        conn_want_read(&w->a.conn, true);
}

static const struct conn_handler taker = {
    .connected = side_connected,
    .readable = side_readable,
    .drained = go_on,
    .timeout = side_timeout,
    .failed = side_failed,
};

static int make_pair(void **state, enum pair_kind kind)
{
    signal(SIGPIPE, SIG_IGN);
    if (world_make(state) != 0)
        return -1;
    struct world *w = *state;
    side_open(w, &w->a, kind);
    side_open(w, &w->b, PAIR_TCP);
    w->a.on_readable = relay;
    w->b.conn.handler = &taker;
    return 0;
}

static int make(void **state)
{
    return make_pair(state, PAIR_TCP);
}

static int make_unix(void **state)
{
    return make_pair(state, PAIR_UNIX);
}

struct sending {
    int fd;
    const char *bytes;
    size_t len, sent;
};

static void *send_all(void *argument)
{
    struct sending *s = argument;
    while (s->sent < s->len) {
        ssize_t n = send(s->fd, s->bytes + s->sent, s->len - s->sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        s->sent += (size_t)n;
    }
    return NULL;
}

static pthread_t begin_sending(struct sending *s)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_all, s), 0);
    return thread;
}

static void test_all_bytes_arrive_in_order_and_are_counted(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG);
    struct sending s = {w->a.peer, out, BIG, 0};
    pthread_t thread = begin_sending(&s);
    assert_int_equal(peer_receive_all(w, &w->b, in, BIG), BIG);
    pthread_join(thread, NULL);
    assert_memory_equal(in, out, BIG);
    assert_int_equal(w->a.conn.bytes_in, BIG);
    assert_int_equal(w->b.conn.bytes_out, BIG);
    assert_int_equal(w->a.got_len, 0);
    assert_null(w->b.conn.pipe);
    assert_int_equal(w->loop.pipes.count, 1);
    free(out), free(in);
}

static void test_no_more_is_taken_than_asked_for(void **state)
{
    struct world *w = *state;
    char in[16];
    size_t moved;
    w->a.conn.want_read = false;
    peer_send(&w->a, "headbodybehind");
    UNTIL(w, w->a.conn.can_read);
    assert_int_equal(conn_splice(&w->a.conn, &w->b.conn, 8, &moved), SPLICE_MOVED);
    assert_int_equal(moved, 8);
    assert_int_equal(peer_receive_all(w, &w->b, in, 8), 8);
    assert_memory_equal(in, "headbody", 8);
    side_read(&w->a);
    assert_got(&w->a, "behind");
}

static void test_an_empty_socket_is_told_and_asked_again_after_its_next_edge(void **state)
{
    struct world *w = *state;
    char in[16];
    size_t moved;
    peer_send(&w->a, "one");
    assert_int_equal(peer_receive_all(w, &w->b, in, 3), 3);
    assert_false(w->a.conn.can_read);
    assert_int_equal(conn_splice(&w->a.conn, &w->b.conn, 8, &moved), SPLICE_EMPTY);
    assert_int_equal(moved, 0);
    peer_send(&w->a, "two");
    assert_int_equal(peer_receive_all(w, &w->b, in, 3), 3);
    assert_memory_equal(in, "two", 3);
}

/* Sends until weir's side takes nothing more of it. */
static void stall(struct world *w)
{
    char *block = pattern(1 << 16);
    for (uint64_t end = test_ms() + TEST_WAIT_MS; w->b.conn.piped == 0 && test_ms() < end;) {
        if (send(w->a.peer, block, 1 << 16, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            pass(w);
    }
    assert_true(w->b.conn.piped > 0);
    free(block);
}

static void test_what_the_socket_does_not_take_waits_in_the_pipe_and_is_bounded(void **state)
{
    struct world *w = *state;
    stall(w);
    pass_for(w, 20);
    assert_true(conn_is_stuck(&w->b.conn));
    assert_false(w->b.conn.can_write);
    assert_false(w->a.conn.want_read);
    assert_int_equal(conn_backlog(&w->b.conn), w->b.conn.piped);
    assert_true(w->b.conn.piped <= CONN_HIGH_WATER);
    assert_null(w->b.conn.out.first);
    assert_int_equal(w->a.conn.bytes_in, w->b.conn.bytes_out + w->b.conn.piped);
}

static void test_what_is_written_goes_behind_what_is_in_the_pipe(void **state)
{
    struct world *w = *state;
    char *in = malloc(64u << 20);
    stall(w);
    conn_want_read(&w->a.conn, false);
    w->b.conn.handler = &side_handler;
    uint64_t spliced = w->a.conn.bytes_in;
    assert_int_equal(side_write(&w->b, "behind", 6), 0);
    assert_int_equal(peer_receive_all(w, &w->b, in, spliced + 6), spliced + 6);
    assert_memory_equal(in + spliced, "behind", 6);
    UNTIL(w, w->b.drained);
    assert_null(w->b.conn.pipe);
    free(in);
}

static void test_nothing_is_spliced_before_what_was_written_is_out(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG + 4);
    size_t moved;
    assert_int_equal(side_write(&w->b, out, BIG), 0);
    assert_true(conn_backlog(&w->b.conn) > 0);
    peer_send(&w->a, "last");
    UNTIL(w, w->a.readable);
    assert_int_equal(conn_splice(&w->a.conn, &w->b.conn, 4, &moved), SPLICE_FULL);
    assert_int_equal(moved, 0);
    assert_int_equal(peer_receive_all(w, &w->b, in, BIG + 4), BIG + 4);
    assert_memory_equal(in, out, BIG);
    assert_memory_equal(in + BIG, "last", 4);
    free(out), free(in);
}

static void test_the_end_is_told_by_reading(void **state)
{
    struct world *w = *state;
    char in[16];
    peer_send(&w->a, "last");
    peer_close(&w->a);
    assert_int_equal(peer_receive_all(w, &w->b, in, 4), 4);
    UNTIL(w, w->a.eof == 1);
    assert_int_equal(w->a.failed, 0);
}

static void test_a_reset_of_the_source_is_told_after_the_pass(void **state)
{
    struct world *w = *state;
    peer_send(&w->a, "something");
    peer_reset(&w->a);
    UNTIL(w, w->a.failed == 1);
    assert_int_equal(w->a.error, ECONNRESET);
    assert_int_equal(w->b.failed, 0);
}

static void test_a_target_that_is_gone_fails_and_gives_its_pipe_back(void **state)
{
    struct world *w = *state;
    unsigned before = open_files(); /* without a pipe */
    stall(w);
    conn_want_read(&w->b.conn, false);
    peer_reset(&w->b);
    UNTIL(w, w->b.failed == 1);
    assert_null(w->b.conn.pipe);
    assert_int_equal(conn_backlog(&w->b.conn), 0);
    conn_close(&w->b.conn);
    assert_int_equal(open_files(), before - 2); /* both ends */
    assert_int_equal(w->a.failed, 0);
}

static void test_a_pipe_with_bytes_in_it_is_closed_with_its_connection(void **state)
{
    struct world *w = *state;
    stall(w);
    unsigned before = open_files();
    conn_close(&w->b.conn);
    assert_int_equal(open_files(), before - 3);
    assert_int_equal(w->loop.pipes.count, 0);
}

static void test_a_lingering_close_sends_what_is_in_the_pipe(void **state)
{
    struct world *w = *state;
    char *in = malloc(64u << 20);
    stall(w);
    conn_want_read(&w->a.conn, false);
    uint64_t spliced = w->a.conn.bytes_in;
    conn_linger(&w->b.conn, 60000, side_gone);
    assert_int_equal(peer_receive_all(w, &w->b, in, spliced), spliced);
    UNTIL(w, peer_at_end(&w->b));
    peer_close(&w->b);
    UNTIL(w, w->b.gone == 1);
    free(in);
}

static void test_a_half_close_follows_what_is_in_the_pipe(void **state)
{
    struct world *w = *state;
    char *in = malloc(64u << 20);
    stall(w);
    conn_want_read(&w->a.conn, false);
    w->b.conn.handler = &side_handler;
    uint64_t spliced = w->a.conn.bytes_in;
    conn_shutdown(&w->b.conn);
    assert_int_equal(peer_receive_all(w, &w->b, in, spliced), spliced);
    UNTIL(w, peer_at_end(&w->b));
    free(in);
}

static void test_no_half_close_follows_when_what_is_in_the_pipe_is_lost(void **state)
{
    struct world *w = *state;
    char *in = malloc(64u << 20);
    stall(w);
    conn_want_read(&w->a.conn, false);
    conn_shutdown(&w->b.conn);
    dup2(w->a.peer, w->b.conn.pipe->from); /* no pipe: splice() fails */
    peer_receive_all(w, &w->b, in, w->b.conn.bytes_out);
    UNTIL(w, w->b.failed == 1);
    assert_false(w->b.conn.shutdown_done);
    free(in);
}

static void test_what_is_behind_an_urgent_mark_is_seen(void **state)
{
    struct world *w = *state;
    char in[16];
    w->a.conn.want_read = false;
    peer_send(&w->a, "before");
    assert_int_equal(send(w->a.peer, "!", 1, MSG_OOB), 1);
    peer_send(&w->a, "behind");
    UNTIL(w, w->a.conn.can_read);
    conn_want_read(&w->a.conn, true);
    assert_int_equal(peer_receive_all(w, &w->b, in, 6), 6);
    assert_memory_equal(in, "before", 6);
    UNTIL(w, w->a.got_len); /* by reading */
    assert_got(&w->a, "behind");
}

static void test_bytes_that_were_kept_are_not_overtaken(void **state)
{
    struct world *w = *state;
    size_t moved;
    struct slice in;
    w->a.conn.want_read = false;
    peer_send(&w->a, "kept");
    UNTIL(w, w->a.conn.can_read);
    assert_int_equal(conn_read(&w->a.conn, &in), CONN_DATA);
    assert_int_equal(conn_keep(&w->a.conn, in), 0);
    assert_int_equal(conn_splice(&w->a.conn, &w->b.conn, 8, &moved), SPLICE_NOT);
}

static void test_without_descriptors_the_bytes_are_to_be_read(void **state)
{
    struct world *w = *state;
    struct rlimit before, none;
    char in[16];
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    peer_send(&w->a, "something");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    UNTIL(w, w->a.got_len);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_got(&w->a, "something");
    peer_send(&w->a, "more");
    assert_int_equal(peer_receive_all(w, &w->b, in, 4), 4);
}

static void test_a_read_can_be_limited_and_the_rest_is_spliced(void **state)
{
    struct world *w = *state;
    struct slice got;
    char in[16];
    w->a.conn.want_read = false;
    peer_send(&w->a, "headbody");
    UNTIL(w, w->a.conn.can_read);
    assert_int_equal(conn_read_some(&w->a.conn, &got, 4), CONN_DATA);
    assert_true(slice_equal(got, S("head")));
    conn_keep(&w->a.conn, slice_of(NULL, 0));
    assert_true(w->a.conn.can_read);
    conn_want_read(&w->a.conn, true);
    assert_int_equal(peer_receive_all(w, &w->b, in, 4), 4);
    assert_memory_equal(in, "body", 4);
}

static void test_the_pool_is_bounded_and_keeps_few(void **state)
{
    (void)state;
    struct pipe_pool p;
    struct pipe *all[PIPES_MAX];
    unsigned before = open_files();
    pipe_pool_init(&p);
    for (unsigned i = 0; i < PIPES_MAX; i++)
        assert_non_null(all[i] = pipe_take(&p));
    assert_null(pipe_take(&p));
    pipe_drop(&p, all[0]);
    assert_non_null(all[0] = pipe_take(&p));
    for (unsigned i = 0; i < PIPES_MAX; i++)
        pipe_give(&p, all[i]);
    assert_int_equal(open_files(), before + 2 * PIPES_IDLE_MAX);
    assert_int_equal(p.count, PIPES_IDLE_MAX);
    pipe_pool_free(&p);
    assert_int_equal(open_files(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_bytes_arrive_in_order_and_are_counted),
        cmocka_unit_test_setup_teardown(test_all_bytes_arrive_in_order_and_are_counted, make_unix,
                                        world_free),
        TEST(test_no_more_is_taken_than_asked_for),
        TEST(test_an_empty_socket_is_told_and_asked_again_after_its_next_edge),
        TEST(test_what_the_socket_does_not_take_waits_in_the_pipe_and_is_bounded),
        TEST(test_what_is_written_goes_behind_what_is_in_the_pipe),
        TEST(test_nothing_is_spliced_before_what_was_written_is_out),
        TEST(test_the_end_is_told_by_reading),
        TEST(test_a_reset_of_the_source_is_told_after_the_pass),
        TEST(test_a_target_that_is_gone_fails_and_gives_its_pipe_back),
        TEST(test_a_pipe_with_bytes_in_it_is_closed_with_its_connection),
        TEST(test_a_lingering_close_sends_what_is_in_the_pipe),
        TEST(test_a_half_close_follows_what_is_in_the_pipe),
        TEST(test_no_half_close_follows_when_what_is_in_the_pipe_is_lost),
        TEST(test_what_is_behind_an_urgent_mark_is_seen),
        TEST(test_bytes_that_were_kept_are_not_overtaken),
        TEST(test_without_descriptors_the_bytes_are_to_be_read),
        TEST(test_a_read_can_be_limited_and_the_rest_is_spliced),
        cmocka_unit_test(test_the_pool_is_bounded_and_keeps_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
