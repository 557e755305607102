/* Connections that were just accepted: read before the loop is asked for events, and told everything all the
 * same. */
#include "core_peer.h"

static void accept_side(struct world *w, struct side *s)
{
    int fds[2];
    tcp_pair(fds);
    s->peer = fds[1];
    conn_accept(&s->conn, &w->loop, fds[0], &side_handler);
}

/* A request whose answer is not there yet. */
static void read_one(struct side *s)
{
    side_read(s);
    s->conn.want_read = false;
}

static void test_what_came_before_is_read_after_the_pass(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    w->a.on_readable = read_one;
    peer_send(&w->a, "hello");
    assert_int_equal(w->a.readable, 0); /* never from inside */
    pass(w);
    assert_got(&w->a, "hello");
    assert_int_equal(w->a.readable, 1);
}

static void test_who_is_answered_and_closed_at_once_was_never_watched(void **state)
{
    struct world *w = *state;
    char answer[8];
    accept_side(w, &w->a);
    w->a.on_readable = read_one;
    peer_send(&w->a, "hello");
    pass(w);
    assert_int_equal(side_write(&w->a, "bye", 3), 0);
    assert_false(w->a.conn.watched);
    conn_close(&w->a.conn);
    assert_int_equal(peer_receive_all(w, &w->a, answer, sizeof answer), 3);
    assert_true(peer_at_end(&w->a));
}

static void test_who_says_nothing_yet_is_heard_when_he_does(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    pass(w);
    assert_true(w->a.conn.watched);
    peer_send(&w->a, "one ");
    UNTIL(w, w->a.got_len == 4);
    peer_send(&w->a, "two");
    UNTIL(w, w->a.got_len == 7);
    assert_got(&w->a, "one two");
}

static void read_and_wait_for_more(struct side *s)
{
    side_read(s); /* a short read: what is missing comes by an event */
}

static void test_the_rest_of_what_came_in_part_is_heard_at_once(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    w->a.on_readable = read_and_wait_for_more;
    peer_send(&w->a, "half ");
    pass(w);
    assert_got(&w->a, "half ");
    assert_true(w->a.conn.watched);
    peer_send(&w->a, "whole");
    UNTIL(w, w->a.got_len == 10);
}

static void test_who_wants_to_read_on_hears_what_came_meanwhile_and_what_comes(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    w->a.on_readable = read_one;
    peer_send(&w->a, "one ");
    pass(w);
    peer_send(&w->a, "two ");
    w->a.on_readable = NULL;
    conn_want_read(&w->a.conn, true);
    UNTIL(w, w->a.got_len == 8);
    peer_send(&w->a, "three");
    UNTIL(w, w->a.got_len == 13);
    assert_got(&w->a, "one two three");
}

static void test_an_end_is_told(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    peer_send(&w->a, "bye");
    peer_close(&w->a);
    UNTIL(w, w->a.eof);
    assert_got(&w->a, "bye");
}

static void test_an_end_while_nobody_reads_is_noticed(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    w->a.conn.want_read = false;
    peer_close(&w->a);
    UNTIL(w, w->a.conn.hangup);
    assert_int_equal(w->a.readable, 0);
}

static void test_a_reset_while_nobody_reads_is_told(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    w->a.on_readable = read_one;
    peer_send(&w->a, "hello");
    pass(w);
    peer_reset(&w->a);
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, ECONNRESET);
}

static void test_a_reset_before_the_first_read_is_told(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    peer_reset(&w->a);
    UNTIL(w, w->a.failed || w->a.broken_reads);
    assert_int_equal(w->a.error, ECONNRESET);
}

static void test_what_the_socket_does_not_take_is_sent_when_it_does(void **state)
{
    struct world *w = *state;
    enum { SIZE = 8 << 20 };
    char *sent = calloc(1, SIZE), *got = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (char)(i * 7 + i / 251);
    accept_side(w, &w->a);
    w->a.on_readable = read_one;
    peer_send(&w->a, "send me much");
    pass(w);
    assert_int_equal(side_write(&w->a, sent, SIZE), 0);
    assert_true(conn_backlog(&w->a.conn) > 0);
    assert_int_equal(peer_receive_all(w, &w->a, got, SIZE), SIZE);
    assert_memory_equal(got, sent, SIZE);
    UNTIL(w, w->a.drained == 1);
    free(sent);
    free(got);
}

static void test_lingering_hears_the_end(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    w->a.on_readable = read_one;
    peer_send(&w->a, "hello");
    pass(w);
    conn_linger(&w->a.conn, 60000, side_gone);
    pass(w);
    assert_int_equal(w->a.gone, 0);
    peer_send(&w->a, "more that nobody reads");
    peer_close(&w->a);
    UNTIL(w, w->a.gone == 1);
}

static void test_closing_before_anything_was_read_is_quiet(void **state)
{
    struct world *w = *state;
    accept_side(w, &w->a);
    peer_send(&w->a, "hello");
    conn_close(&w->a.conn);
    pass_for(w, 20);
    assert_int_equal(w->a.readable + w->a.failed, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_came_before_is_read_after_the_pass),
        TEST(test_who_is_answered_and_closed_at_once_was_never_watched),
        TEST(test_who_says_nothing_yet_is_heard_when_he_does),
        TEST(test_the_rest_of_what_came_in_part_is_heard_at_once),
        TEST(test_who_wants_to_read_on_hears_what_came_meanwhile_and_what_comes),
        TEST(test_an_end_is_told),
        TEST(test_an_end_while_nobody_reads_is_noticed),
        TEST(test_a_reset_while_nobody_reads_is_told),
        TEST(test_a_reset_before_the_first_read_is_told),
        TEST(test_what_the_socket_does_not_take_is_sent_when_it_does),
        TEST(test_lingering_hears_the_end),
        TEST(test_closing_before_anything_was_read_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
