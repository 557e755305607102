/* Workers share a server, a client and the ticket keys: for the thread sanitizer above all. */
#include "tests/unit/tls_peer.h"

#include <pthread.h>

#define WORKERS 3
#define ROUNDS  25

static struct tls_tickets *tickets;
static struct tls_server *server;
static struct tls_client *client;

struct worker {
    pthread_t thread;
    unsigned index;
    unsigned resumed;
};

static void *work(void *argument)
{
    struct worker *w = argument;
    for (int round = 0; round < ROUNDS; round++) {
        struct pair p = {0};
        if (loop_init(&p.loop, w->index) != 0)
            return NULL;
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
            return NULL;
        conn_open(&p.server.conn, &p.loop, fds[0], &side_handler);
        conn_open(&p.client.conn, &p.loop, fds[1], &side_handler);
        tls_server_accept(server, w->index, &p.server.conn);
        tls_client_connect(client, w->index, &p.client.conn, S("localhost"), S(""));
        struct iovec iov = {"x", 1};
        for (int i = 0; i < 1000 && !p.server.connected; i++)
            pass(&p.loop);
        if (p.server.connected)
            conn_write(&p.server.conn, &iov, 1);
        for (int i = 0; i < 1000 && p.client.got_len < 1; i++)
            pass(&p.loop);
        if (p.client.got_len && tls_info(&p.server.conn)->resumed)
            w->resumed++;
        pair_close(&p);
    }
    return NULL;
}

static void test_workers_share_a_server_while_keys_rotate(void **state)
{
    (void)state;
    tickets = tls_tickets_create();
    struct slice name = S("localhost");
    struct tls_server_settings s = settings_of(NULL, 0);
    s.self_signed = (struct option_texts){&name, NULL, 1};
    struct config c;
    config_init(&c);
    server = tls_server_create(&c, NULL, &s, WORKERS, tickets);
    client = tls_client_create(&c, NULL, &(struct tls_client_settings){.node = &root_node}, WORKERS);
    config_free(&c);
    assert_non_null(server);
    assert_non_null(client);

    struct worker workers[WORKERS] = {0};
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].index = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        usleep(2000);
        assert_int_equal(tls_tickets_rotate(tickets), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_true(workers[i].resumed > 0);
    }
    tls_server_free(server);
    tls_client_free(client);
    tls_tickets_free(tickets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_workers_share_a_server_while_keys_rotate)};
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
