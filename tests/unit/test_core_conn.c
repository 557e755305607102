/* Connections: what is read, and how ends and resets come through an edge-triggered loop. */
#include "core_peer.h"

#include <poll.h>

static void test_bytes_in_pieces_arrive_in_order(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    peer_send(&w->a, "one ");
    UNTIL(w, w->a.got_len == 4);
    peer_send(&w->a, "two ");
    UNTIL(w, w->a.got_len == 8);
    peer_send(&w->a, "three");
    UNTIL(w, w->a.got_len == 13);
    assert_got(&w->a, "one two three");
    assert_int_equal(w->a.conn.bytes_in, 13);
}

/* Takes whole lines and keeps the rest. */
static void take_lines(struct side *s)
{
    struct slice in;
    while (conn_read(&s->conn, &in) == CONN_DATA) {
        for (size_t end; (end = slice_find(in, '\n')) < in.len; in = slice_skip(in, end + 1))
            side_take(s, slice_of(in.at, end + 1));
        assert_int_equal(conn_keep(&s->conn, in), 0);
    }
}

static void test_kept_bytes_stand_before_the_new_ones(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    w->a.on_readable = take_lines;
    peer_send(&w->a, "ab");
    UNTIL(w, conn_kept(&w->a.conn).len == 2);
    peer_send(&w->a, "cd");
    UNTIL(w, conn_kept(&w->a.conn).len == 4);
    assert_int_equal(w->a.got_len, 0);
    peer_send(&w->a, "e\nfg");
    UNTIL(w, w->a.got_len == 6);
    assert_got(&w->a, "abcde\n");
    assert_true(slice_equal(conn_kept(&w->a.conn), S("fg")));
    peer_send(&w->a, "\n");
    UNTIL(w, w->a.got_len == 9);
    assert_null(w->a.conn.kept); /* an idle connection owns no buffer */
}

static void test_a_long_line_survives_growing_in_what_is_kept(void **state)
{
    struct world *w = *state;
    enum { PIECES = 60, PIECE = 1000 };
    char piece[PIECE + 1];
    side_open(w, &w->a, PAIR_UNIX);
    w->a.on_readable = take_lines;
    for (int i = 0; i < PIECES; i++) {
        memset(piece, 'a' + i % 26, PIECE);
        piece[PIECE] = 0;
        peer_send(&w->a, piece);
        UNTIL(w, conn_kept(&w->a.conn).len == (size_t)(i + 1) * PIECE);
    }
    peer_send(&w->a, "\n");
    UNTIL(w, w->a.got_len == PIECES * PIECE + 1);
    for (int i = 0; i < PIECES * PIECE; i++)
        assert_int_equal(w->a.got[i], 'a' + i / PIECE % 26);
}

static void test_the_tail_of_what_is_kept_can_be_kept(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    assert_int_equal(conn_keep(&w->a.conn, S("0123456789")), 0);
    assert_int_equal(conn_keep(&w->a.conn, slice_skip(conn_kept(&w->a.conn), 3)), 0);
    assert_true(slice_equal(conn_kept(&w->a.conn), S("3456789")));
    assert_int_equal(conn_keep(&w->a.conn, slice_skip(conn_kept(&w->a.conn), 7)), 0);
    assert_null(w->a.conn.kept);
}

static void read_and_forget(struct side *s)
{
    struct slice in;
    while (conn_read(&s->conn, &in) == CONN_DATA)
        side_take(s, in);
}

static void test_bytes_that_were_given_out_do_not_come_twice(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    assert_int_equal(conn_keep(&w->a.conn, S("kept ")), 0);
    w->a.on_readable = read_and_forget;
    peer_send(&w->a, "first ");
    UNTIL(w, w->a.got_len == 11);
    peer_send(&w->a, "second");
    UNTIL(w, w->a.got_len >= 17);
    assert_got(&w->a, "kept first second");
}

/* Waits for the kernel, so that what was sent comes to the loop as one edge. */
static void until_arrived(struct side *s, short events)
{
    struct pollfd p = {.fd = s->conn.fd, .events = events};
    while (poll(&p, 1, (int)TEST_WAIT_MS) == 1 && !(p.revents & (events | POLLERR)))
        ;
    assert_true(p.revents & (events | POLLERR));
}

static void data_and_end_in_one_edge(struct world *w, enum pair_kind kind)
{
    side_open(w, &w->a, kind);
    pass(w); /* the first, spurious edge is over */
    peer_send(&w->a, "last words");
    peer_close(&w->a);
    until_arrived(&w->a, POLLRDHUP);
    UNTIL(w, w->a.eof);
    assert_got(&w->a, "last words");
    assert_int_equal(w->a.readable, 1); /* no later look was needed */
    assert_int_equal(w->a.failed, 0);
}

static void test_data_and_fin_in_one_edge_give_both(void **state)
{
    data_and_end_in_one_edge(*state, PAIR_TCP);
}

static void test_data_and_the_end_of_a_unix_socket_give_both(void **state)
{
    data_and_end_in_one_edge(*state, PAIR_UNIX);
}

static void test_data_and_reset_in_one_edge_give_both(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    pass(w);
    peer_send(&w->a, "half of it");
    peer_reset(&w->a);
    until_arrived(&w->a, POLLRDHUP);
    UNTIL(w, w->a.failed || w->a.broken_reads);
    assert_got(&w->a, "half of it");
    assert_int_equal(w->a.error, ECONNRESET);
    assert_int_equal(w->a.eof, 0);
}

static void test_a_reset_is_noticed_while_nobody_reads(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    conn_want_read(&w->a.conn, false);
    pass(w);
    peer_reset(&w->a);
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, ECONNRESET);
    assert_int_equal(w->a.readable, 0);
    pass_for(w, 30);
    assert_int_equal(w->a.failed, 1);
}

static void test_a_reset_is_noticed_after_the_peer_half_closed(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    shutdown(w->a.peer, SHUT_WR);
    UNTIL(w, w->a.eof);
    peer_reset(&w->a);
    UNTIL(w, w->a.failed);
    pass_for(w, 30);
    assert_int_equal(w->a.failed, 1);
    assert_int_equal(w->a.eof, 1);
}

static void test_a_reset_behind_unread_bytes_leaves_them_readable(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    conn_want_read(&w->a.conn, false);
    pass(w);
    peer_send(&w->a, "an answer");
    peer_reset(&w->a);
    pass_for(w, 30);
    conn_want_read(&w->a.conn, true);
    UNTIL(w, w->a.failed || w->a.broken_reads);
    assert_got(&w->a, "an answer");
    assert_int_equal(w->a.eof, 0);
}

static void test_half_closed_by_the_peer_it_can_still_write(void **state)
{
    struct world *w = *state;
    char in[8] = {0};
    side_open(w, &w->a, PAIR_TCP);
    peer_send(&w->a, "request");
    shutdown(w->a.peer, SHUT_WR);
    UNTIL(w, w->a.eof);
    assert_int_equal(side_write(&w->a, "answer", 6), 0);
    assert_int_equal(peer_receive_all(w, &w->a, in, 6), 6);
    assert_string_equal(in, "answer");
    assert_int_equal(w->a.failed, 0);
}

static void test_half_closed_by_itself_it_can_still_read(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    assert_int_equal(side_write(&w->a, "bye", 3), 0);
    conn_shutdown(&w->a.conn);
    conn_shutdown(&w->a.conn);
    char in[4] = {0};
    assert_int_equal(peer_receive_all(w, &w->a, in, 3), 3);
    UNTIL(w, peer_at_end(&w->a));
    peer_send(&w->a, "answer");
    peer_close(&w->a);
    UNTIL(w, w->a.eof);
    assert_got(&w->a, "answer");
}

static void test_the_end_is_told_once_while_writing_goes_on(void **state)
{
    struct world *w = *state;
    static char big[12 << 20], sink[12 << 20];
    side_open(w, &w->a, PAIR_TCP);
    shutdown(w->a.peer, SHUT_WR);
    UNTIL(w, w->a.eof);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(side_write(&w->a, big, sizeof big), 0);
        assert_int_equal(peer_receive_all(w, &w->a, sink, sizeof sink), sizeof sink);
    }
    assert_int_equal(w->a.eof, 1);
    assert_int_equal(w->a.readable, 1);
}

static void test_an_edge_is_not_lost_while_nobody_wants_to_read(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    conn_want_read(&w->a.conn, false);
    peer_send(&w->a, "wait");
    pass_for(w, 30);
    assert_int_equal(w->a.readable, 0);
    conn_want_read(&w->a.conn, true);
    assert_int_equal(w->a.readable, 0); /* after the pass, never from inside */
    UNTIL(w, w->a.got_len);
    assert_got(&w->a, "wait");
}

static void test_an_end_is_not_lost_while_nobody_wants_to_read(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    peer_send(&w->a, "x");
    UNTIL(w, w->a.got_len);
    conn_want_read(&w->a.conn, false);
    peer_close(&w->a);
    pass_for(w, 30);
    assert_int_equal(w->a.eof, 0);
    conn_want_read(&w->a.conn, true);
    UNTIL(w, w->a.eof);
}

static void look_at_kept(struct side *s)
{
    side_take(s, conn_kept(&s->conn));
    conn_keep(&s->conn, slice_of(NULL, 0));
}

static void test_reading_again_gives_the_kept_bytes_without_an_edge(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    pass(w);
    conn_want_read(&w->a.conn, false);
    assert_int_equal(conn_keep(&w->a.conn, S("pipelined")), 0);
    w->a.on_readable = look_at_kept;
    pass_for(w, 20);
    assert_int_equal(w->a.readable, 0);
    conn_want_read(&w->a.conn, true);
    UNTIL(w, w->a.got_len);
    assert_got(&w->a, "pipelined");
}

static void read_once(struct side *s)
{
    if (side_read(s) == CONN_DATA)
        conn_yield(&s->conn);
}

static void *send_much(void *argument)
{
    static char zeros[1 << 16];
    int fd = *(int *)argument;
    for (int i = 0; i < 64; i++)
        for (size_t done = 0; done < sizeof zeros;) {
            ssize_t n = send(fd, zeros, sizeof zeros - done, MSG_NOSIGNAL);
            if (n <= 0)
                return NULL;
            done += (size_t)n;
        }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static void test_who_yields_is_called_until_all_is_read(void **state)
{
    struct world *w = *state;
    pthread_t sender;
    side_open(w, &w->a, PAIR_TCP);
    w->a.on_readable = read_once;
    assert_int_equal(pthread_create(&sender, NULL, send_much, &w->a.peer), 0);
    UNTIL(w, w->a.eof);
    pthread_join(sender, NULL);
    assert_int_equal(w->a.got_len, 64 << 16);
}

static char turns[64];
static size_t turn_count;

static void read_little(struct side *s)
{
    struct slice in;
    /* Fills the buffer so far that a read gives little: many turns. */
    static char ballast[LOOP_READ_BUFFER - 1024];
    conn_keep(&s->conn, slice_of(ballast, sizeof ballast));
    if (conn_read(&s->conn, &in) == CONN_DATA) {
        s->got_len += in.len - sizeof ballast;
        if (turn_count < sizeof turns)
            turns[turn_count++] = (char)s->peer;
        conn_keep(&s->conn, slice_of(NULL, 0));
        conn_yield(&s->conn);
    }
    conn_keep(&s->conn, slice_of(NULL, 0));
}

static void test_two_greedy_peers_take_turns(void **state)
{
    struct world *w = *state;
    static char text[20001];
    memset(text, 'x', sizeof text - 1);
    turn_count = 0;
    struct side *sides[] = {&w->a, &w->b};
    for (int i = 0; i < 2; i++) {
        side_open(w, sides[i], PAIR_TCP);
        sides[i]->on_readable = read_little;
        peer_send(sides[i], text);
    }
    UNTIL(w, w->a.got_len == 20000 && w->b.got_len == 20000);
    assert_true(turn_count >= 38);
    for (size_t i = 2; i < 36; i++)
        assert_false(turns[i] == turns[i - 1] && turns[i] == turns[i - 2]);
    free(w->a.got), w->a.got = NULL;
    free(w->b.got), w->b.got = NULL;
}

static void test_nothing_is_told_after_a_close_in_readable(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_TCP);
    w->a.close_when_told = true;
    conn_timer(&w->a.conn, 10);
    conn_yield(&w->a.conn);
    peer_send(&w->a, "data");
    peer_close(&w->a);
    UNTIL(w, w->a.readable);
    conn_close(&w->a.conn);
    pass_for(w, 150);
    assert_int_equal(w->a.readable, 1);
    assert_int_equal(w->a.timeouts + w->a.failed + w->a.eof, 0);
    assert_int_equal(conn_write(&w->a.conn, NULL, 0), -1);
}

static void test_a_timer_runs_out_once_and_not_early(void **state)
{
    struct world *w = *state;
    side_open(w, &w->a, PAIR_UNIX);
    pass(w);
    uint64_t start = test_ms();
    w->loop.now_fresh = false;
    conn_timer(&w->a.conn, 20);
    conn_timer(&w->a.conn, 60);
    UNTIL(w, w->a.timeouts);
    assert_true(test_ms() - start >= 60);
    pass_for(w, 50);
    assert_int_equal(w->a.timeouts, 1);
    conn_timer(&w->a.conn, 10);
    conn_timer_pause(&w->a.conn);
    pass_for(w, 50);
    assert_int_equal(w->a.timeouts, 1);
    conn_timer(&w->a.conn, 10);
    w->a.close_when_told = true;
    UNTIL(w, w->a.timeouts == 2);
}

static void test_memory_may_go_after_a_close_whatever_was_under_way(void **state)
{
    struct world *w = *state;
    struct side *s = calloc(1, sizeof *s);
    side_open(w, s, PAIR_TCP);
    peer_send(s, "x");
    UNTIL(w, s->got_len); /* a second look is due */
    conn_timer(&s->conn, 20);
    assert_int_equal(conn_keep(&s->conn, S("kept")), 0);
    conn_yield(&s->conn);
    assert_int_equal(side_write(s, "y", 1), 0);
    conn_close(&s->conn);
    close(s->peer);
    free(s->got);
    free(s);
    pass_for(w, 150);
}

static void test_closing_what_was_never_opened_is_harmless(void **state)
{
    struct world *w = *state;
    conn_close(&w->a.conn);
    side_open(w, &w->a, PAIR_UNIX);
    conn_close(&w->a.conn);
    conn_close(&w->a.conn);
    assert_int_equal(w->a.conn.fd, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_in_pieces_arrive_in_order),
        TEST(test_kept_bytes_stand_before_the_new_ones),
        TEST(test_a_long_line_survives_growing_in_what_is_kept),
        TEST(test_the_tail_of_what_is_kept_can_be_kept),
        TEST(test_bytes_that_were_given_out_do_not_come_twice),
        TEST(test_data_and_fin_in_one_edge_give_both),
        TEST(test_data_and_the_end_of_a_unix_socket_give_both),
        TEST(test_data_and_reset_in_one_edge_give_both),
        TEST(test_a_reset_is_noticed_while_nobody_reads),
        TEST(test_a_reset_is_noticed_after_the_peer_half_closed),
        TEST(test_a_reset_behind_unread_bytes_leaves_them_readable),
        TEST(test_half_closed_by_the_peer_it_can_still_write),
        TEST(test_half_closed_by_itself_it_can_still_read),
        TEST(test_the_end_is_told_once_while_writing_goes_on),
        TEST(test_an_edge_is_not_lost_while_nobody_wants_to_read),
        TEST(test_an_end_is_not_lost_while_nobody_wants_to_read),
        TEST(test_reading_again_gives_the_kept_bytes_without_an_edge),
        TEST(test_who_yields_is_called_until_all_is_read),
        TEST(test_two_greedy_peers_take_turns),
        TEST(test_nothing_is_told_after_a_close_in_readable),
        TEST(test_a_timer_runs_out_once_and_not_early),
        TEST(test_memory_may_go_after_a_close_whatever_was_under_way),
        TEST(test_closing_what_was_never_opened_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
