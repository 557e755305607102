/* Frames of HTTP/2 through a whole worker - codec, exchange, forwarding, pool - to a backend in this file,
 * which reads what comes with h2_backend_check.h: no frame may make a request that the backend could read in
 * another way, or bytes that are another request's. When the client is gone nothing of it may be left.
 *
 * The first byte of the input says how the rest is meant (raw bytes behind the preface, or steps for
 * h2_frames.h) and in what pieces it comes, the second how the backend answers. */
#include <errno.h>

#include "proxy/http/websocket.h"
#include "tests/fuzz/h2_backend_check.h"
#include "tests/fuzz/h2_frames.h"
#include "tests/fuzz/one_worker.h"

#define BACKENDS  256
#define ROUNDS    400
#define PIECES    64 /* at most */
#define BODY_LONG 100000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct backend {
    int fd;
    char *bytes;
    size_t len;
    bool answered, deaf;
};

static struct {
    struct one_worker weir;
    int listening, client;
    unsigned script;
    struct backend backends[BACKENDS];
    unsigned backend_count;
    bool moved;   /* bytes, in this round */
    bool closing; /* backends close what they accept */
    char room[65536];
} fuzz;

static void start(void)
{
    char text[512];
    unsigned port;
    fuzz.listening = one_worker_listen(&port);
    snprintf(text, sizeof text,
             "listeners: {web: {bind: '127.0.0.1:1'}}\n"
             "routes: [{upstream: app}, {path: /quick, respond: {status: 200, body: quick}}]\n"
             "upstreams: {app: {servers: ['127.0.0.1:%u']}}\n",
             port);
    one_worker_start(&fuzz.weir, text);
}

/* The backend. */

static void forget(struct backend *b)
{
    one_worker_drop(b->fd);
    free(b->bytes);
    *b = fuzz.backends[--fuzz.backend_count];
}

static void say(struct backend *b, const char *bytes, size_t len)
{
    ssize_t n = send(b->fd, bytes, len, 0);
    (void)n; /* weir may be gone, or not take it all: a cut answer then */
    b->answered = true;
}

static void say_text(struct backend *b, const char *text)
{
    say(b, text, strlen(text));
}

static void say_long(struct backend *b, bool is_head)
{
    static char body[BODY_LONG];
    memset(body, 'b', sizeof body);
    say_text(b, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    if (!is_head)
        say(b, body, sizeof body);
}

/* To a WebSocket: with the proof, or with another. */
static void agree(struct backend *b, const struct seen_request *r)
{
    char text[256];
    struct arena a;
    arena_init(&a, NULL, 0);
    struct slice key = fuzz.script & 16 ? S("another") : r->key;
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 101 On\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Accept: %.*s\r\n\r\n\x81\x06tunnel",
                     SLICE_FMT(websocket_accept(&a, key)));
    say(b, text, (size_t)n);
    arena_reset(&a);
}

/* True when that was the connection's end. */
static bool answer(struct backend *b, const struct seen_request *r)
{
    switch (fuzz.script % 8) {
    case 0:
        say_text(b, r->is_head ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
                               : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        return false;
    case 1:
        say_text(b, r->is_head ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                               : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Big: 1\r\n\r\n"
                                 "3\r\nabc\r\n0\r\nX-End: yes\r\nConnection: x\r\n\r\n");
        return false;
    case 2:
        return true;
    case 3:
        say_text(b, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 "
                    "No\r\n\r\n");
        return false;
    case 4:
        say_long(b, r->is_head);
        return false;
    case 5:
        say_text(b, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        return true;
    case 6:
        if (r->upgrade)
            agree(b, r);
        else
            say_text(b, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil close");
        b->deaf = true; /* what comes now is no HTTP */
        return !r->upgrade;
    default:
        say_text(b, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok");
        return false;
    }
}

static void look(struct backend *b)
{
    bool early = fuzz.script & 8;
    while (b->len && !b->deaf) {
        struct seen_request r = seen_read(slice_of(b->bytes, b->len));
        if (!b->answered && (r.complete || (early && r.head)) && answer(b, &r)) {
            shutdown(b->fd, SHUT_WR); /* a reset in the same edge as bytes would be found later */
            b->deaf = true;
        }
        if (!r.complete)
            return;
        memmove(b->bytes, b->bytes + r.len, b->len - r.len);
        b->len -= r.len;
        b->answered = false;
    }
}

static void serve(struct backend *b)
{
    ssize_t n = recv(b->fd, fuzz.room, sizeof fuzz.room, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    fuzz.moved = true;
    if (n <= 0) {
        forget(b);
        return;
    }
    if (b->deaf)
        return;
    b->bytes = realloc(b->bytes, b->len + (size_t)n);
    ASSERT(b->bytes);
    memcpy(b->bytes + b->len, fuzz.room, (size_t)n);
    b->len += (size_t)n;
    look(b);
}

static void serve_all(void)
{
    int fd;
    while (fuzz.backend_count < BACKENDS && (fd = accept4(fuzz.listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        fuzz.backends[fuzz.backend_count++] = (struct backend){.fd = fd};
        fuzz.moved = true;
    }
    for (unsigned i = fuzz.backend_count; i-- > 0;)
        if (fuzz.closing)
            forget(&fuzz.backends[i]);
        else
            serve(&fuzz.backends[i]);
}

/* The client. */

static void take_answers(void)
{
    ssize_t n;
    while (fuzz.client >= 0 && (n = recv(fuzz.client, fuzz.room, sizeof fuzz.room, MSG_DONTWAIT)) > 0)
        fuzz.moved = true;
}

/* Until nothing moves any more. */
static void settle(void)
{
    unsigned quiet = 0;
    for (unsigned round = 0; quiet < 2 && round < ROUNDS; round++) {
        fuzz.moved = false;
        one_worker_pass(&fuzz.weir);
        serve_all();
        take_answers();
        quiet = fuzz.moved || !list_empty(&fuzz.weir.worker.loop.ready) ? 0 : quiet + 1;
    }
}

static void send_in_pieces(const uint8_t *bytes, size_t len, size_t piece)
{
    while (len) {
        size_t n = len < piece ? len : piece;
        ssize_t sent = send(fuzz.client, bytes, n, MSG_DONTWAIT);
        settle();
        if (sent < 0)
            return; /* weir closed it, or reads no more */
        bytes += sent;
        len -= (size_t)sent;
    }
}

static void disconnect(void)
{
    struct listener *l = one_worker_listener(&fuzz.weir);
    close(fuzz.client);
    fuzz.client = -1;
    settle();
    /* It may have gone or only said its last: what still waits for a backend gets none. */
    fuzz.closing = true;
    while (fuzz.backend_count)
        forget(&fuzz.backends[0]);
    settle();
    fuzz.closing = false;
    for (int waits = 0; waits < 500 && l->client_count; waits++) { /* what is looked at after a while */
        usleep(1000);
        settle();
    }
    ASSERT(l->client_count == 0 && fuzz.weir.worker.exchange_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const size_t pieces[] = {65536, 1, 9, 4096};
    static uint8_t *out;
    static struct frames frames;
    if (len < 2)
        return 0;
    if (!fuzz.weir.snapshot)
        start();
    if (!out)
        out = malloc(FRAMES_MAX);
    ASSERT(out);
    fuzz.script = bytes[1];
    size_t piece = pieces[bytes[0] >> 1 & 3];
    frames = (struct frames){.at = bytes + 2, .left = len - 2, .out = out};
    memcpy(out, preface, sizeof preface - 1);
    frames.len = sizeof preface - 1;
    if (bytes[0] & 1) {
        frames_make(&frames, frames_one);
    } else {
        memcpy(out + frames.len, bytes + 2, len - 2);
        frames.len += len - 2;
    }
    if (piece < frames.len / PIECES)
        piece = frames.len / PIECES;
    fuzz.client = one_worker_connect(&fuzz.weir);
    send_in_pieces(out, frames.len, piece);
    disconnect();
    return 0;
}
