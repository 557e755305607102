/* Load of TLS handshakes: each request is a connection of its own, with a full handshake (never a ticket) or
 * a resumed one. Prints one line as bench/load/report.lua does.
 *
 *     handshake PORT CONNECTIONS SECONDS full|resumed PATH
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LATENCIES = 4 * 1024 * 1024 };

struct client {
    SSL *ssl;
    uint64_t began_ns;
    size_t got;
    int fd;
    bool asked;
};

struct load {
    SSL_CTX *context;
    SSL_SESSION *session; /* for resumed: the newest that the server gave */
    bool resume;
    uint16_t port;
    char request[512];
    int request_len;
    int epoll;
    uint64_t stop_ns;
    unsigned long done, errors, resumed;
    uint32_t *latency_us;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct load *load = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(load->session);
    load->session = session;
    return 1;
}

static bool begin(struct load *load, struct client *c)
{
    const int on = 1;
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(load->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *c = (struct client){.began_ns = now_ns(),
                         .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (c->fd < 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        return false;

    c->ssl = SSL_new(load->context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, "localhost");
    SSL_set_connect_state(c->ssl);
    if (load->resume && load->session)
        SSL_set_session(c->ssl, load->session);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) == 0;
}

static void end(struct load *load, struct client *c, bool good)
{
    if (!good)
        load->errors++;
    else {
        if (load->done < LATENCIES)
            load->latency_us[load->done] = (uint32_t)((now_ns() - c->began_ns) / 1000);
        load->done++;
        if (c->ssl && SSL_session_reused(c->ssl))
            load->resumed++;
    }
    if (c->ssl) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* its session stays good */
        SSL_free(c->ssl);
    }
    if (c->fd >= 0)
        close(c->fd);
}

/* As far as it goes; false when the exchange is over, `*good` then says how. */
static bool advance(struct load *load, struct client *c, bool *good)
{
    char buffer[16384];
    ERR_clear_error();
    if (!c->asked) {
        int result = SSL_do_handshake(c->ssl);
        if (result == 1)
            result = SSL_write(c->ssl, load->request, load->request_len);
        if (result <= 0) {
            int why = SSL_get_error(c->ssl, result);
            return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
        }
        c->asked = true;
    }
    for (;;) {
        int result = SSL_read(c->ssl, buffer, sizeof buffer);
        if (result > 0) {
            c->got += (size_t)result;
            continue;
        }
        int why = SSL_get_error(c->ssl, result);
        if (why == SSL_ERROR_WANT_READ)
            return true;
        *good = why == SSL_ERROR_ZERO_RETURN && c->got > 0;
        return false;
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int run(struct load *load, unsigned connections)
{
    struct client *clients = calloc(connections, sizeof *clients);
    struct epoll_event events[256];
    if (!clients)
        return 1;
    for (unsigned i = 0; i < connections; i++)
        if (!begin(load, &clients[i])) {
            perror("handshake");
            return 1;
        }

    uint64_t began = now_ns();
    while (now_ns() < load->stop_ns) {
        int count = epoll_wait(load->epoll, events, 256, 100);
        for (int i = 0; i < count; i++) {
            struct client *c = events[i].data.ptr;
            bool good = false;
            if (advance(load, c, &good))
                continue;
            end(load, c, good);
            if (!begin(load, c)) {
                perror("handshake");
                return 1;
            }
        }
    }
    uint64_t took_us = (now_ns() - began) / 1000;

    size_t known = load->done < LATENCIES ? load->done : LATENCIES;
    qsort(load->latency_us, known, sizeof *load->latency_us, by_size);
    printf("RESULT requests=%lu us=%lu p50_us=%u p99_us=%u errors=%lu resumed=%lu\n", load->done,
           (unsigned long)took_us, known ? load->latency_us[known / 2] : 0,
           known ? load->latency_us[known * 99 / 100] : 0, load->errors, load->resumed);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "handshake PORT CONNECTIONS SECONDS full|resumed PATH\n");
        return 2;
    }
    struct load load = {.port = (uint16_t)strtoul(argv[1], NULL, 10),
                        .resume = strcmp(argv[4], "resumed") == 0};
    load.context = SSL_CTX_new(TLS_client_method());
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.latency_us = malloc(LATENCIES * sizeof *load.latency_us);
    load.request_len = snprintf(load.request, sizeof load.request,
                                "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", argv[5]);
    if (!load.context || load.epoll < 0 || !load.latency_us || load.request_len >= (int)sizeof load.request)
        return 1;
    SSL_CTX_set_app_data(load.context, &load);
    SSL_CTX_set_verify(load.context, SSL_VERIFY_NONE, NULL);
    if (load.resume) {
        SSL_CTX_set_session_cache_mode(load.context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(load.context, keep_session);
    }
    load.stop_ns = now_ns() + (uint64_t)(strtod(argv[3], NULL) * 1e9);
    return run(&load, (unsigned)strtoul(argv[2], NULL, 10));
}
