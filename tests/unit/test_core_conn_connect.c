/* Connections: connecting, and a transport that transforms what goes over the wire. */
#include "core_peer.h"

#include <sys/resource.h>

static struct address address_of(const char *text)
{
    struct address a = {0};
    struct slice host;
    uint16_t port;
    const char *why;
    assert_int_equal(address_parse(slice_text(text), &a, &host, &port, &why), ADDRESS_SOCKET);
    return a;
}

static int listen_on(const char *text, struct address *bound)
{
    struct address a = address_of(text);
    int fd = socket(a.any.sa_family, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &a.any, a.len), 0);
    assert_int_equal(listen(fd, 8), 0);
    a.len = sizeof a - offsetof(struct address, any);
    assert_int_equal(getsockname(fd, &a.any, &a.len), 0);
    *bound = a;
    return fd;
}

static int side_connect(struct world *w, struct side *s, const struct address *to, const struct address *from)
{
    s->inside = true;
    int result = conn_connect(&s->conn, &w->loop, to, from, &side_handler);
    s->inside = false;
    return result;
}

static void connects_to(struct world *w, const char *text)
{
    struct address to, peer;
    char in[8] = {0};
    int listener = listen_on(text, &to);
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    assert_int_equal(w->a.connected, 0);
    assert_int_equal(side_write(&w->a, "early", 5), 0); /* waits for the connection */
    UNTIL(w, w->a.connected);
    w->a.peer = accept(listener, NULL, NULL);
    assert_int_equal(peer_receive_all(w, &w->a, in, 5), 5);
    assert_string_equal(in, "early");
    peer_send(&w->a, "answer");
    UNTIL(w, w->a.got_len);
    assert_got(&w->a, "answer");
    assert_int_equal(conn_peer(&w->a.conn, &peer), 0);
    assert_true(address_equal(&peer, &to));
    assert_int_equal(w->a.connected, 1);
    close(listener);
}

static void test_a_tcp_connection_is_told_after_the_call(void **state)
{
    connects_to(*state, "127.0.0.1:0");
}

static void test_a_unix_connection_that_is_there_at_once_is_told_after_the_call(void **state)
{
    connects_to(*state, "unix:@weir-test-core-conn");
}

static void fails_with(struct world *w, const struct address *to, int error)
{
    assert_int_equal(side_connect(w, &w->a, to, NULL), 0);
    assert_int_equal(w->a.failed, 0);
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, error);
    pass_for(w, 30);
    assert_int_equal(w->a.failed, 1);
    assert_int_equal(w->a.connected + w->a.readable, 0);
}

static void test_a_refused_connection_fails_once(void **state)
{
    struct address to;
    close(listen_on("127.0.0.1:0", &to));
    fails_with(*state, &to, ECONNREFUSED);
}

static void test_a_unix_socket_that_is_not_there_fails_after_the_call(void **state)
{
    struct address to = address_of("unix:/nonexistent/socket");
    fails_with(*state, &to, ENOENT);
}

static void test_an_address_that_cannot_be_reached_fails_after_the_call(void **state)
{
    struct address to = address_of("255.255.255.255:9");
    struct world *w = *state;
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    UNTIL(w, w->a.failed);
    assert_true(w->a.error == EACCES || w->a.error == ENETUNREACH);
}

static void test_no_descriptor_is_told_by_the_call(void **state)
{
    struct world *w = *state;
    struct address to = address_of("127.0.0.1:9");
    struct rlimit old, none;
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 0;
    memset(&w->a.conn, 0xa5, sizeof w->a.conn); /* as memory may be */
    setrlimit(RLIMIT_NOFILE, &none);
    int result = side_connect(w, &w->a, &to, NULL);
    int error = errno;
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(result, -1);
    assert_int_equal(error, EMFILE);
    assert_true(w->a.conn.closed);
    assert_int_equal(w->a.conn.fd, -1);
    assert_int_equal(conn_backlog(&w->a.conn), 0);
}

static void test_the_source_address_is_the_peers_peer(void **state)
{
    struct world *w = *state;
    struct address to, from = address_of("127.0.0.2:0"), seen;
    int listener = listen_on("127.0.0.1:0", &to);
    assert_int_equal(side_connect(w, &w->a, &to, &from), 0);
    UNTIL(w, w->a.connected);
    assert_int_equal(conn_local(&w->a.conn, &seen), 0);
    assert_int_equal(seen.v4.sin_addr.s_addr, from.v4.sin_addr.s_addr);
    close(listener);
}

static void test_a_source_address_of_another_host_is_told_by_the_call(void **state)
{
    struct world *w = *state;
    struct address to = address_of("127.0.0.1:9"), from = address_of("192.0.2.1:0");
    assert_int_equal(side_connect(w, &w->a, &to, &from), -1);
    assert_int_equal(errno, EADDRNOTAVAIL);
    assert_true(w->a.conn.closed);
}

static struct address second_try;

static void try_again(struct side *s)
{
    if (s->failed > 1)
        return;
    struct loop *l = s->conn.loop;
    conn_close(&s->conn);
    assert_int_equal(conn_connect(&s->conn, l, &second_try, NULL, &side_handler), 0);
}

static void test_the_next_server_can_be_tried_in_failed(void **state)
{
    struct world *w = *state;
    struct address dead;
    close(listen_on("127.0.0.1:0", &dead));
    int listener = listen_on("127.0.0.1:0", &second_try);
    w->a.on_failed = try_again;
    assert_int_equal(side_connect(w, &w->a, &dead, NULL), 0);
    UNTIL(w, w->a.connected);
    assert_int_equal(w->a.failed, 1);
    close(listener);
}

static void test_closing_in_connected(void **state)
{
    struct world *w = *state;
    struct address to;
    int listener = listen_on("127.0.0.1:0", &to);
    w->a.close_when_told = true;
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    assert_int_equal(side_write(&w->a, "lost", 4), 0);
    conn_timer(&w->a.conn, 20);
    UNTIL(w, w->a.connected);
    pass_for(w, 50);
    assert_int_equal(w->a.readable + w->a.failed + w->a.timeouts, 0);
    close(listener);
}

static void test_a_timer_bounds_the_connect(void **state)
{
    struct world *w = *state;
    struct address to;
    int listener = listen_on("unix:@weir-test-core-full", &to);
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    conn_timer(&w->a.conn, 1);
    w->a.close_when_told = true;
    conn_yield(&w->a.conn);
    UNTIL(w, w->a.connected + w->a.timeouts);
    pass_for(w, 30);
    assert_int_equal(w->a.connected + w->a.timeouts, 1);
    close(listener);
}

static void test_shutdown_before_the_connection_is_there_waits_for_it(void **state)
{
    struct world *w = *state;
    struct address to;
    char in[4];
    int listener = listen_on("127.0.0.1:0", &to);
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    assert_int_equal(side_write(&w->a, "bye", 3), 0);
    conn_shutdown(&w->a.conn);
    UNTIL(w, w->a.connected);
    w->a.peer = accept(listener, NULL, NULL);
    assert_int_equal(peer_receive_all(w, &w->a, in, 3), 3);
    UNTIL(w, peer_at_end(&w->a));
    assert_int_equal(w->a.failed, 0);
    close(listener);
}

/* A transport: three bytes each way, then every byte is turned over (xor 0x55); STOP ends it. It takes more
 * from the wire than is asked of it, and gives it out in small pieces, as TLS does. */

#define STEPS 3
#define STOP  0x1f
#define PIECE 5

struct mask {
    int sent, received;
    bool ended, wire_ended;
    int destroyed;
    char ahead[4096];
    size_t from, to;
};

static ssize_t mask_fill(struct conn *c, struct mask *m)
{
    if (m->from < m->to)
        return 1;
    ssize_t n = conn_raw_read(c, m->ahead, sizeof m->ahead);
    if (n == 0)
        m->wire_ended = true;
    m->from = 0;
    m->to = n > 0 ? (size_t)n : 0;
    return n;
}

static enum conn_status mask_handshake(struct conn *c)
{
    struct mask *m = c->transport_state;
    for (;;) {
        if (m->sent == m->received && m->sent < STEPS) {
            char step = (char)('A' + m->sent++);
            struct iovec iov = {.iov_base = &step, .iov_len = 1};
            conn_raw_write(c, &iov, 1);
        }
        if (m->received == STEPS) {
            c->transport_pending = m->from < m->to;
            return CONN_DATA;
        }
        ssize_t n = mask_fill(c, m);
        if (n == -EAGAIN)
            return CONN_AGAIN;
        if (n == 0)
            return CONN_EOF;
        if (n < 0 || m->ahead[m->from++] != 'A' + m->received) {
            errno = n < 0 ? (int)-n : EPROTO;
            return CONN_ERROR;
        }
        m->received++;
    }
}

static ssize_t mask_read(struct conn *c, char *buf, size_t size)
{
    struct mask *m = c->transport_state;
    c->transport_pending = false;
    if (m->ended)
        return 0;
    ssize_t n = mask_fill(c, m);
    if (n <= 0)
        return n;
    size_t len = 0;
    while (len < size && len < PIECE && m->from < m->to) {
        char byte = m->ahead[m->from++];
        if (byte == STOP) {
            m->ended = true;
            break;
        }
        buf[len++] = (char)(byte ^ 0x55);
    }
    c->transport_pending = m->from < m->to || m->ended;
    return (ssize_t)len;
}

static int mask_write(struct conn *c, const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++) {
        char *copy = malloc(iov[i].iov_len + 1);
        for (size_t k = 0; k < iov[i].iov_len; k++)
            copy[k] = (char)(((char *)iov[i].iov_base)[k] ^ 0x55);
        struct iovec one = {.iov_base = copy, .iov_len = iov[i].iov_len};
        conn_raw_write(c, &one, 1);
        free(copy);
    }
    return 0;
}

static void mask_shutdown(struct conn *c)
{
    char stop = STOP;
    struct iovec iov = {.iov_base = &stop, .iov_len = 1};
    conn_raw_write(c, &iov, 1);
}

static void mask_destroy(struct conn *c)
{
    struct mask *m = c->transport_state;
    m->destroyed++;
}

static const struct conn_transport mask_transport = {
    .name = "mask",
    .handshake = mask_handshake,
    .read = mask_read,
    .write = mask_write,
    .shutdown = mask_shutdown,
    .destroy = mask_destroy,
};

static void test_a_handshake_in_steps_is_told_once_and_bytes_pass_both_ways(void **state)
{
    struct world *w = *state;
    static struct mask ours, theirs;
    struct address to;
    char big[50001];
    memset(big, 'z', sizeof big - 1);
    big[sizeof big - 1] = 0;
    int listener = listen_on("127.0.0.1:0", &to);
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    conn_set_transport(&w->a.conn, &mask_transport, &ours); /* while connecting */
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_int_equal(conn_open(&w->b.conn, &w->loop, fd, &side_handler), 0);
    conn_set_transport(&w->b.conn, &mask_transport, &theirs);
    UNTIL(w, w->a.connected && w->b.connected);
    assert_int_equal(w->a.connected + w->b.connected, 2);

    assert_int_equal(side_write(&w->a, big, sizeof big - 1), 0);
    assert_int_equal(side_write(&w->b, "hello over there", 16), 0);
    UNTIL(w, w->a.got_len == 16 && w->b.got_len == sizeof big - 1);
    assert_got(&w->a, "hello over there");
    assert_got(&w->b, big);

    conn_shutdown(&w->a.conn);
    UNTIL(w, w->b.eof);
    assert_int_equal(side_write(&w->b, "!", 1), 0);
    conn_shutdown(&w->b.conn);
    UNTIL(w, w->a.eof);
    assert_got(&w->a, "hello over there!");
    conn_close(&w->a.conn);
    conn_close(&w->b.conn);
    assert_int_equal(ours.destroyed, 1);
    assert_int_equal(theirs.destroyed, 1);
    close(listener);
}

static void mask_open(struct world *w, struct mask *m)
{
    side_open(w, &w->a, PAIR_TCP);
    conn_set_transport(&w->a.conn, &mask_transport, m);
}

static void peer_send_masked(struct side *s, const char *text)
{
    char out[256];
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(text[i] ^ 0x55);
    assert_int_equal(send(s->peer, out, len, 0), (ssize_t)len);
}

static void test_bytes_behind_the_handshake_are_read_without_an_edge(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    mask_open(w, &m);
    char all[] = {'A', 'B', 'C', 'h' ^ 0x55, 'i' ^ 0x55, STOP};
    assert_int_equal(send(w->a.peer, all, sizeof all, 0), sizeof all);
    UNTIL(w, w->a.eof);
    assert_got(&w->a, "hi");
    assert_int_equal(w->a.connected, 1);
}

static void read_one_piece(struct side *s)
{
    side_read(s);
}

static void test_pending_bytes_come_after_a_yield_and_after_want_read(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    mask_open(w, &m);
    peer_send(&w->a, "ABC");
    UNTIL(w, w->a.connected);
    w->a.on_readable = read_one_piece;
    peer_send_masked(&w->a, "0123456789abcde");
    UNTIL(w, w->a.got_len == PIECE);
    pass_for(w, 20);
    assert_int_equal(w->a.got_len, PIECE); /* no edge, no call */
    conn_yield(&w->a.conn);
    UNTIL(w, w->a.got_len == 2 * PIECE);
    conn_want_read(&w->a.conn, false);
    conn_yield(&w->a.conn);
    pass_for(w, 20);
    assert_int_equal(w->a.got_len, 2 * PIECE);
    conn_want_read(&w->a.conn, true);
    UNTIL(w, w->a.got_len == 3 * PIECE);
    assert_got(&w->a, "0123456789abcde");
}

static void test_a_handshake_cut_short_fails(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    mask_open(w, &m);
    peer_send(&w->a, "A");
    pass_for(w, 10);
    shutdown(w->a.peer, SHUT_WR);
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, ECONNRESET);
    pass_for(w, 20);
    assert_int_equal(w->a.failed, 1);
    assert_int_equal(w->a.connected, 0);
}

static void test_a_handshake_of_nonsense_fails(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    mask_open(w, &m);
    w->a.close_when_told = true;
    peer_send(&w->a, "AXC");
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, EPROTO);
    assert_int_equal(m.destroyed, 1);
}

static void test_a_connection_that_fails_never_shakes_hands(void **state)
{
    struct world *w = *state;
    struct address to;
    static struct mask m;
    m = (struct mask){0};
    close(listen_on("127.0.0.1:0", &to));
    assert_int_equal(side_connect(w, &w->a, &to, NULL), 0);
    conn_set_transport(&w->a.conn, &mask_transport, &m);
    UNTIL(w, w->a.failed);
    assert_int_equal(w->a.error, ECONNREFUSED);
    assert_int_equal(m.sent, 0);
    conn_close(&w->a.conn);
    assert_int_equal(m.destroyed, 1);
}

static void test_closing_when_the_handshake_is_done(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    mask_open(w, &m);
    w->a.close_when_told = true;
    peer_send(&w->a, "ABCxyz");
    UNTIL(w, w->a.connected);
    pass_for(w, 20);
    assert_int_equal(w->a.readable, 0);
    assert_int_equal(m.destroyed, 1);
}

static void test_a_transport_let_go_in_the_middle_of_the_handshake_leaves_a_plain_one(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    mask_open(w, &m);
    peer_send(&w->a, "A");
    UNTIL(w, m.received == 1);
    conn_drop_transport(&w->a.conn);
    assert_int_equal(m.destroyed, 1);
    peer_send(&w->a, "plain");
    UNTIL(w, w->a.got_len);
    assert_got(&w->a, "plain");
}

static void test_lingering_says_the_transports_end_and_waits_for_the_sockets(void **state)
{
    struct world *w = *state;
    static struct mask m;
    m = (struct mask){0};
    char in[8] = {0}, stop[] = {STOP, 0};
    mask_open(w, &m);
    peer_send(&w->a, "ABC");
    UNTIL(w, w->a.connected);
    peer_send(&w->a, stop);
    UNTIL(w, w->a.eof); /* the transport's end; the socket's comes later */
    conn_linger(&w->a.conn, 2000, side_gone);
    assert_int_equal(m.destroyed, 1);
    assert_int_equal(peer_receive_all(w, &w->a, in, 4), 4);
    assert_memory_equal(in, "ABC\x1f", 4);
    UNTIL(w, peer_at_end(&w->a));
    pass_for(w, 20);
    assert_int_equal(w->a.gone, 0);
    peer_close(&w->a);
    UNTIL(w, w->a.gone);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_tcp_connection_is_told_after_the_call),
        TEST(test_a_unix_connection_that_is_there_at_once_is_told_after_the_call),
        TEST(test_a_refused_connection_fails_once),
        TEST(test_a_unix_socket_that_is_not_there_fails_after_the_call),
        TEST(test_an_address_that_cannot_be_reached_fails_after_the_call),
        TEST(test_no_descriptor_is_told_by_the_call),
        TEST(test_the_source_address_is_the_peers_peer),
        TEST(test_a_source_address_of_another_host_is_told_by_the_call),
        TEST(test_the_next_server_can_be_tried_in_failed),
        TEST(test_closing_in_connected),
        TEST(test_a_timer_bounds_the_connect),
        TEST(test_shutdown_before_the_connection_is_there_waits_for_it),
        TEST(test_a_handshake_in_steps_is_told_once_and_bytes_pass_both_ways),
        TEST(test_bytes_behind_the_handshake_are_read_without_an_edge),
        TEST(test_pending_bytes_come_after_a_yield_and_after_want_read),
        TEST(test_a_handshake_cut_short_fails),
        TEST(test_a_handshake_of_nonsense_fails),
        TEST(test_a_connection_that_fails_never_shakes_hands),
        TEST(test_closing_when_the_handshake_is_done),
        TEST(test_a_transport_let_go_in_the_middle_of_the_handshake_leaves_a_plain_one),
        TEST(test_lingering_says_the_transports_end_and_waits_for_the_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
