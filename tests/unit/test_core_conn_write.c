/* Connections: back-pressure, write errors, and lingering closes. */
#include "core_peer.h"

#include <poll.h>
#include <sys/ioctl.h>

#define BIG (12u << 20)

static char *pattern(size_t len)
{
    char *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    return bytes;
}

static void test_what_the_socket_does_not_take_is_sent_later(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG);
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(side_write(&w->a, out, BIG), 0);
    assert_true(conn_backlog(&w->a.conn) > 0);
    assert_int_equal(peer_receive_all(w, &w->a, in, BIG), BIG);
    assert_memory_equal(in, out, BIG);
    assert_int_equal(conn_backlog(&w->a.conn), 0);
    assert_null(w->a.conn.out.first);
    assert_int_equal(w->a.conn.bytes_out, BIG);
    free(out), free(in);
}

static void test_nothing_is_kept_of_what_the_socket_does_not_take_and_drained_says_when(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG);
    size_t sent = 0, got = 0;
    side_open(w, &w->a, PAIR_TCP);
    for (int turns = 0; sent < BIG; turns++) {
        int drained = w->a.drained;
        struct iovec iov = {out + sent, BIG - sent};
        sent += conn_write_some(&w->a.conn, &iov, 1);
        assert_int_equal(conn_backlog(&w->a.conn), 0);
        assert_null(w->a.conn.out.first);
        if (sent == BIG)
            break;
        assert_true(conn_is_stuck(&w->a.conn));
        assert_int_equal(conn_write_some(&w->a.conn, &iov, 1), 0); /* asking again is no harm */
        assert_int_equal(w->a.drained, drained);
        got += peer_receive_all(w, &w->a, in + got, sent - got);
        while (w->a.drained == drained)
            pass(w);
    }
    assert_true(w->a.drained > 0);
    got += peer_receive_all(w, &w->a, in + got, sent - got);
    assert_int_equal(got, BIG);
    assert_memory_equal(in, out, BIG);
    assert_false(conn_is_stuck(&w->a.conn));
    free(out), free(in);
}

static void test_what_waits_is_sent_before_more_is_taken(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG);
    struct iovec rest = {out + BIG - 1000, 1000};
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(side_write(&w->a, out, BIG - 1000), 0);
    assert_int_equal(conn_write_some(&w->a.conn, &rest, 1), 0);
    assert_int_equal(peer_receive_all(w, &w->a, in, BIG - 1000), BIG - 1000);
    while (w->a.drained == 0)
        pass(w);
    assert_int_equal(conn_write_some(&w->a.conn, &rest, 1), 1000);
    assert_int_equal(peer_receive_all(w, &w->a, in + BIG - 1000, 1000), 1000);
    assert_memory_equal(in, out, BIG);
    free(out), free(in);
}

static void test_more_vectors_than_one_call_takes_arrive_in_order(void **state)
{
    struct world *w = *state;
    enum { COUNT = 5000 };
    char *out = pattern(COUNT * 300), *in = malloc(COUNT * 300);
    struct iovec *iov = calloc(COUNT, sizeof *iov);
    size_t total = 0;
    for (int i = 0; i < COUNT; i++) { /* empty ones too */
        iov[i] = (struct iovec){.iov_base = out + total, .iov_len = (size_t)(i % 300)};
        total += iov[i].iov_len;
    }
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(conn_write(&w->a.conn, iov, COUNT), 0);
    assert_int_equal(peer_receive_all(w, &w->a, in, total), total);
    assert_memory_equal(in, out, total);
    free(out), free(in), free(iov);
}

static void test_writing_nothing_is_nothing(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(conn_write(&w->a.conn, NULL, 0), 0);
    assert_int_equal(side_write(&w->a, "", 0), 0);
    assert_int_equal(conn_backlog(&w->a.conn), 0);
}

/* Writes until the backlog is over the high-water mark. */
static size_t overfill(struct side *s, const char *bytes)
{
    size_t total = 0;
    while (conn_backlog(&s->conn) <= CONN_HIGH_WATER) {
        assert_int_equal(side_write(s, bytes, 65536), 0);
        total += 65536;
    }
    return total;
}

static void test_drained_is_told_once_for_each_overflow(void **state)
{
    struct world *w = *state;
    char *out = pattern(65536), *in = malloc(32 << 20);
    side_open(w, &w->a, PAIR_TCP);
    for (int round = 1; round <= 3; round++) {
        size_t total = overfill(&w->a, out);
        pass_for(w, 20);
        assert_int_equal(w->a.drained, round - 1);
        assert_int_equal(peer_receive_all(w, &w->a, in, total), total);
        UNTIL(w, w->a.drained == round);
        pass_for(w, 20);
        assert_int_equal(w->a.drained, round);
    }
    free(out), free(in);
}

static void refill(struct conn *c)
{
    struct side *s = side_of(c);
    static char bytes[65536];
    s->drained++;
    assert_true(conn_backlog(c) <= CONN_LOW_WATER);
    if (s->drained < 20)
        overfill(s, bytes);
}

static void test_who_refills_in_drained_is_told_again(void **state)
{
    struct world *w = *state;
    struct conn_handler h = side_handler;
    static char sink[1 << 20];
    h.drained = refill;
    side_open(w, &w->a, PAIR_TCP);
    w->a.conn.handler = &h;
    refill(&w->a.conn);
    for (uint64_t end = test_ms() + TEST_WAIT_MS; w->a.drained < 20 && test_ms() < end; pass(w))
        peer_receive(&w->a, sink, sizeof sink);
    assert_int_equal(w->a.drained, 20);
}

static void test_a_small_backlog_owes_nothing(void **state)
{
    struct world *w = *state;
    static char bytes[1 << 20], sink[1 << 20];
    side_open(w, &w->a, PAIR_TCP);
    /* Fill the kernel's share alone, then a little more. */
    size_t sent = 0;
    for (ssize_t n; (n = send(w->a.conn.fd, bytes, sizeof bytes, MSG_NOSIGNAL)) > 0;)
        sent += (size_t)n;
    assert_int_equal(side_write(&w->a, bytes, 1000), 0);
    assert_int_equal(conn_backlog(&w->a.conn), 1000);
    for (size_t want = sent + 1000; want;) {
        size_t n = peer_receive_all(w, &w->a, sink, want < sizeof sink ? want : sizeof sink);
        assert_true(n > 0);
        want -= n;
    }
    pass_for(w, 20);
    assert_int_equal(w->a.drained, 0);
}

static void test_shutdown_waits_for_the_backlog(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG + 1);
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(side_write(&w->a, out, BIG), 0);
    conn_shutdown(&w->a.conn);
    assert_int_equal(peer_receive_all(w, &w->a, in, BIG + 1), BIG);
    UNTIL(w, peer_at_end(&w->a));
    assert_memory_equal(in, out, BIG);
    free(out), free(in);
}

static void test_a_write_error_is_told_once_after_the_pass(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    peer_close(&w->a);
    assert_int_equal(side_write(&w->a, "x", 1), -1);
    assert_int_equal(w->a.failed, 0);
    assert_int_equal(side_write(&w->a, "y", 1), -1);
    conn_yield(&w->a.conn);
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, EPIPE);
    assert_int_equal(conn_keep(&w->a.conn, S("kept")), 0);
    conn_yield(&w->a.conn);
    conn_want_read(&w->a.conn, true);
    pass_for(w, 30);
    assert_int_equal(w->a.failed, 1);
    assert_int_equal(w->a.timeouts, 0);
}

static void test_an_error_of_the_backlog_is_told(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG);
    side_open(w, &w->a, PAIR_TCP);
    conn_want_read(&w->a.conn, false);
    assert_int_equal(side_write(&w->a, out, BIG), 0);
    pass_for(w, 20);
    peer_close(&w->a); /* unread bytes: a reset */
    UNTIL(w, w->a.failed);
    assert_int_equal(conn_backlog(&w->a.conn), 0);
    pass_for(w, 20);
    assert_int_equal(w->a.failed, 1);
    free(out);
}

static void early_answer(struct world *w)
{
    side_open(w, &w->a, PAIR_TCP);
    pass(w);
    assert_int_equal(side_write(&w->a, "the request's beginning", 23), 0);
    struct pollfd unread = {.fd = w->a.peer, .events = POLLIN};
    assert_int_equal(poll(&unread, 1, (int)TEST_WAIT_MS), 1);
    peer_send(&w->a, "413 too large");
    peer_close(&w->a); /* with bytes unread: a reset follows the answer */
}

static void test_an_answer_that_ended_before_a_failed_write_ends(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    pass(w);
    peer_send(&w->a, "until the end");
    peer_close(&w->a);
    for (uint64_t end = test_ms() + TEST_WAIT_MS; side_write(&w->a, "x", 1) == 0 && test_ms() < end;)
        ;
    UNTIL(w, w->a.failed || w->a.broken_reads);
    assert_got(&w->a, "until the end");
    assert_int_equal(w->a.eof, 1);
    assert_int_equal(w->a.failed, 1);
}

static void test_an_answer_before_a_failed_write_is_read_first(void **state)
{
    struct world *w = *state;
    early_answer(w);
    assert_int_equal(side_write(&w->a, "more", 4), -1);
    UNTIL(w, w->a.failed || w->a.broken_reads);
    assert_got(&w->a, "413 too large");
    assert_int_equal(w->a.eof, 0); /* cut, not ended */
    assert_true(w->a.error == ECONNRESET || w->a.error == EPIPE);
}

static void ignore(struct side *s)
{
    (void)s;
}

static void test_who_does_not_read_the_answer_is_told_the_failure(void **state)
{
    struct world *w = *state;
    early_answer(w);
    w->a.on_readable = ignore;
    assert_int_equal(side_write(&w->a, "more", 4), -1);
    UNTIL(w, w->a.failed);
    pass_for(w, 20);
    assert_int_equal(w->a.failed, 1);
}

static void read_one_byte_less(struct side *s)
{
    side_read(s);
    if (!s->conn.closed)
        conn_yield(&s->conn);
}

static void test_who_yields_reads_all_of_the_answer_before_the_failure(void **state)
{
    struct world *w = *state;
    char *answer = pattern(600000);
    side_open(w, &w->a, PAIR_TCP);
    w->a.on_readable = read_one_byte_less;
    conn_want_read(&w->a.conn, false);
    int size = 1 << 20;
    setsockopt(w->a.conn.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    pass(w);
    ssize_t sent = send(w->a.peer, answer, 600000, MSG_DONTWAIT);
    assert_true(sent > (ssize_t)LOOP_READ_BUFFER * 2);
    int queued = 1;
    for (uint64_t end = test_ms() + 1000; queued && test_ms() < end;) /* all of it at this end */
        assert_int_equal(ioctl(w->a.peer, TIOCOUTQ, &queued), 0);
    peer_reset(&w->a);
    conn_want_read(&w->a.conn, true);
    assert_int_equal(side_write(&w->a, "more", 4), -1);
    UNTIL(w, w->a.failed || w->a.broken_reads);
    if (queued == 0) {
        assert_int_equal(w->a.got_len, sent);
        assert_memory_equal(w->a.got, answer, (size_t)sent);
    }
    free(answer);
}

static void close_in(struct world *w, int *told)
{
    UNTIL(w, *told);
    assert_true(w->a.conn.closed);
    pass_for(w, 120);
    assert_int_equal(w->a.connected + w->a.readable + w->a.drained + w->a.timeouts + w->a.failed, 1);
}

static void test_closing_in_drained(void **state)
{
    struct world *w = *state;
    char *out = pattern(65536), *in = malloc(32 << 20);
    side_open(w, &w->a, PAIR_TCP);
    size_t total = overfill(&w->a, out);
    w->a.close_when_told = true;
    peer_receive_all(w, &w->a, in, total); /* the end may be cut off */
    peer_close(&w->a);
    close_in(w, &w->a.drained);
    free(out), free(in);
}

static void test_closing_in_timeout(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    w->a.close_when_told = true;
    conn_timer(&w->a.conn, 5);
    close_in(w, &w->a.timeouts);
}

static void test_closing_in_failed(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    w->a.close_when_told = true;
    conn_want_read(&w->a.conn, false);
    peer_close(&w->a);
    side_write(&w->a, "x", 1);
    conn_timer(&w->a.conn, 1);
    close_in(w, &w->a.failed);
}

static void test_closing_forgets_the_failure(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    peer_close(&w->a);
    assert_int_equal(side_write(&w->a, "x", 1), -1);
    conn_close(&w->a.conn);
    pass_for(w, 20);
    assert_int_equal(w->a.failed + w->a.readable, 0);
}

static void test_a_reset_reaches_the_peer_as_an_error(void **state)
{
    struct world *w = *state;
    char byte;
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(side_write(&w->a, "cut", 3), 0);
    conn_reset(&w->a.conn);
    while (recv(w->a.peer, &byte, 1, 0) > 0)
        ;
    assert_int_equal(errno, ECONNRESET);
}

/* Lingering. */

static void test_lingering_sends_all_then_waits_for_the_peers_end(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG + 1);
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(side_write(&w->a, out, BIG), 0);
    conn_linger(&w->a.conn, 2000, side_gone);
    peer_send(&w->a, "still sending");
    assert_int_equal(peer_receive_all(w, &w->a, in, BIG + 1), BIG);
    UNTIL(w, peer_at_end(&w->a));
    assert_memory_equal(in, out, BIG);
    peer_send(&w->a, "and more");
    pass_for(w, 20);
    assert_int_equal(w->a.gone, 0);
    peer_close(&w->a);
    UNTIL(w, w->a.gone);
    pass_for(w, 20);
    assert_int_equal(w->a.gone, 1);
    assert_int_equal(w->a.readable + w->a.failed + w->a.timeouts + w->a.drained, 0);
    free(out), free(in);
}

static void test_lingering_ends_although_the_peer_does_not(void **state)
{
    struct world *w = *state;
    uint64_t start = test_ms();
    side_open(w, &w->a, PAIR_TCP);
    conn_linger(&w->a.conn, 60, side_gone);
    while (!w->a.gone && test_ms() - start < TEST_WAIT_MS) {
        send(w->a.peer, "noise", 5, MSG_NOSIGNAL | MSG_DONTWAIT);
        pass(w);
    }
    assert_int_equal(w->a.gone, 1);
    assert_true(test_ms() - start >= 55 && test_ms() - start < 1000 * test_scale());
}

static void test_lingering_ends_when_the_backlog_stands_still(void **state)
{
    struct world *w = *state;
    char *out = pattern(65536);
    side_open(w, &w->a, PAIR_TCP);
    overfill(&w->a, out);
    conn_linger(&w->a.conn, 40, side_gone);
    UNTIL(w, w->a.gone);
    assert_int_equal(w->loop.blocks.count > 0, 1); /* the backlog went back to the pool */
    free(out);
}

static void test_lingering_has_patience_while_the_backlog_moves(void **state)
{
    struct world *w = *state;
    char *out = pattern(BIG), *in = malloc(BIG + 1);
    int size = 4096;
    side_open(w, &w->a, PAIR_UNIX);
    setsockopt(w->a.conn.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    assert_int_equal(side_write(&w->a, out, BIG), 0);
    uint64_t start = test_ms(), next = start;
    conn_linger(&w->a.conn, 50, side_gone);
    size_t have = 0;
    while (have < BIG && !w->a.gone && test_ms() - start < TEST_WAIT_MS) {
        if (test_ms() >= next) {
            ssize_t n = peer_receive(&w->a, in + have, BIG - have < 131072 ? BIG - have : 131072);
            assert_true(n >= 0);
            have += (size_t)n;
            next = test_ms() + (test_ms() - start < 250 ? 20 : 0);
        }
        pass(w);
    }
    assert_true(test_ms() - start > 150); /* it took far longer than 50 ms */
    assert_int_equal(have, BIG);
    assert_memory_equal(in, out, BIG);
    UNTIL(w, peer_at_end(&w->a));
    free(out), free(in);
}

static void test_lingering_waits_anew_when_the_backlog_is_out(void **state)
{
    struct world *w = *state;
    enum { LITTLE = 1 << 20 };
    char *out = pattern(LITTLE), *in = malloc(LITTLE + 1);
    side_open(w, &w->a, PAIR_UNIX);
    assert_int_equal(side_write(&w->a, out, LITTLE), 0);
    w->loop.now_fresh = false;
    uint64_t start = test_ms();
    conn_linger(&w->a.conn, 400, side_gone);
    while (test_ms() - start < 200)
        pass(w);
    assert_int_equal(peer_receive_all(w, &w->a, in, LITTLE + 1), LITTLE);
    uint64_t out_at = test_ms();
    UNTIL(w, w->a.gone);
    assert_true(test_ms() - out_at >= 380);
    free(out), free(in);
}

static void test_lingering_after_the_peers_end_is_over_at_once(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    shutdown(w->a.peer, SHUT_WR);
    UNTIL(w, w->a.eof);
    uint64_t start = test_ms();
    conn_linger(&w->a.conn, 3000 * test_scale(), side_gone);
    UNTIL(w, w->a.gone);
    assert_true(test_ms() - start < 1000 * test_scale());
}

static void test_lingering_on_after_a_failure_was_told_is_over_at_once(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    peer_close(&w->a);
    side_write(&w->a, "x", 1);
    UNTIL(w, w->a.failed);
    uint64_t start = test_ms();
    conn_linger(&w->a.conn, 3000 * test_scale(), side_gone);
    UNTIL(w, w->a.gone);
    assert_true(test_ms() - start < 1000 * test_scale());
    assert_int_equal(w->a.gone, 1);
}

static void test_lingering_when_closed_is_over_before_it_begins(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    conn_close(&w->a.conn);
    conn_linger(&w->a.conn, 3000, side_gone);
    assert_int_equal(w->a.gone, 1);
}

static void test_a_close_while_lingering_calls_nobody(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    conn_linger(&w->a.conn, 10, side_gone);
    pass(w);
    conn_close(&w->a.conn);
    pass_for(w, 40);
    assert_int_equal(w->a.gone, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_the_socket_does_not_take_is_sent_later),
        TEST(test_nothing_is_kept_of_what_the_socket_does_not_take_and_drained_says_when),
        TEST(test_what_waits_is_sent_before_more_is_taken),
        TEST(test_more_vectors_than_one_call_takes_arrive_in_order),
        TEST(test_writing_nothing_is_nothing),
        TEST(test_drained_is_told_once_for_each_overflow),
        TEST(test_who_refills_in_drained_is_told_again),
        TEST(test_a_small_backlog_owes_nothing),
        TEST(test_shutdown_waits_for_the_backlog),
        TEST(test_a_write_error_is_told_once_after_the_pass),
        TEST(test_an_error_of_the_backlog_is_told),
        TEST(test_an_answer_that_ended_before_a_failed_write_ends),
        TEST(test_an_answer_before_a_failed_write_is_read_first),
        TEST(test_who_does_not_read_the_answer_is_told_the_failure),
        TEST(test_who_yields_reads_all_of_the_answer_before_the_failure),
        TEST(test_closing_in_drained),
        TEST(test_closing_in_timeout),
        TEST(test_closing_in_failed),
        TEST(test_closing_forgets_the_failure),
        TEST(test_a_reset_reaches_the_peer_as_an_error),
        TEST(test_lingering_sends_all_then_waits_for_the_peers_end),
        TEST(test_lingering_ends_although_the_peer_does_not),
        TEST(test_lingering_ends_when_the_backlog_stands_still),
        TEST(test_lingering_has_patience_while_the_backlog_moves),
        TEST(test_lingering_waits_anew_when_the_backlog_is_out),
        TEST(test_lingering_after_the_peers_end_is_over_at_once),
        TEST(test_lingering_on_after_a_failure_was_told_is_over_at_once),
        TEST(test_lingering_when_closed_is_over_before_it_begins),
        TEST(test_a_close_while_lingering_calls_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
