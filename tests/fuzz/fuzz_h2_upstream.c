/* What a server says over HTTP/2, through a whole worker - pool, calls, forwarding with retries, exchange,
 * codec - to clients in this file that read the answers again: none may have bytes that are another's, and no
 * request may reach a server but whole. When clients and servers are gone nothing of it may be left.
 *
 * The first byte of the input says how the rest is meant (raw bytes, or steps for h2_frames.h) and in what
 * pieces it comes, the second and third what the clients ask and how the server behaves. The first half of
 * the rest goes over each connection that weir makes first, third, ..., the other half over the others. */
#include <errno.h>

#include "proxy/http/h1/parse.h"
#include "tests/fuzz/h2_frames.h"
#include "tests/fuzz/one_worker.h"

#define CLIENTS   4
#define BACKENDS  256
#define ROUNDS    600
#define PIECES    48 /* at most */
#define BODY_LONG 150000
#define FIELDS    256

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum kind { GET, HEAD_, POST, POST_LONG, PUT_TRAILERS, WEBSOCKET, GET_TWICE, PUT_LONG, KINDS };

struct asker {
    int fd; /* -1 = gone */
    enum kind kind;
    char *out, *in; /* to be sent, and what came */
    size_t out_len, out_sent, in_len;
};

/* A stream as the server sees it. */
struct stream {
    uint64_t bytes;
    char letter;
};

struct backend {
    int fd;
    const uint8_t *script;
    size_t left, piece;
    bool finished; /* its script is through */
    size_t preface;
    uint8_t head[9];
    size_t head_len, payload_left;
    struct stream streams[64];
};

static struct {
    struct one_worker weir;
    int listening;
    struct asker clients[CLIENTS];
    struct backend backends[BACKENDS];
    unsigned backend_count, accepted;
    bool moved, closing;
    bool settings, ends,
        leaves; /* the server begins in order; ends when all is said; a client leaves first */
    size_t piece;
    uint8_t *scripts[2];
    size_t lengths[2];
    char room[65536];
} fuzz;

static void start(void)
{
    char text[512];
    unsigned port;
    fuzz.listening = one_worker_listen(&port);
    snprintf(
        text, sizeof text,
        "listeners: {web: {bind: '127.0.0.1:1'}}\n"
        "routes: [{upstream: app, retries: {attempts: 3, on: [connect, reset, timeout, 503], backoff: 0s}}]\n"
        "upstreams: {app: {protocol: http2, servers: ['127.0.0.1:%u', '127.0.0.2:%u']}}\n",
        port, port);
    one_worker_start(&fuzz.weir, text);
    fuzz.scripts[0] = malloc(FRAMES_MAX);
    fuzz.scripts[1] = malloc(FRAMES_MAX);
    ASSERT(fuzz.scripts[0] && fuzz.scripts[1]);
}

/* Each input finds servers that nobody knows anything of. */
static void forget_the_past(void)
{
    struct upstream *u = fuzz.weir.snapshot->upstreams[0];
    budget_init(&u->budgets[0]);
    for (size_t i = 0; i < u->set->count; i++) {
        struct server *s = u->set->servers[i];
        *pool_notes(&fuzz.weir.worker.pool, s) = (struct pool_notes){0};
        s->suspect_until_us = 0;
        s->suspect_failures = 0;
        ASSERT(server_in_flight(s) == 0);
    }
}

/* The server: what weir sends. */

static uint64_t body_of(char letter)
{
    switch (fuzz.clients[letter - 'A'].kind) {
    case POST:
        return 5;
    case PUT_TRAILERS:
        return 6;
    case POST_LONG:
    case PUT_LONG:
        return BODY_LONG;
    default:
        return 0;
    }
}

static void see_data(struct stream *s, const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->bytes++ == 0)
            s->letter = (char)at[i];
        ASSERT(at[i] >= 'A' && at[i] < 'A' + CLIENTS && (char)at[i] == s->letter);
    }
}

static void see_end(const struct stream *s)
{
    ASSERT(s->bytes == 0 || s->bytes == body_of(s->letter));
}

static uint32_t stream_of(const struct backend *b)
{
    return ((uint32_t)b->head[5] << 24 | (uint32_t)b->head[6] << 16 | (uint32_t)b->head[7] << 8 |
            b->head[8]) &
           INT32_MAX;
}

static void see(struct backend *b, const uint8_t *at, size_t n)
{
    while (n) {
        struct stream *s = &b->streams[stream_of(b) / 2 % COUNT_OF(b->streams)];
        size_t take = 1;
        if (b->preface < 24) {
            b->preface++;
        } else if (b->head_len < 9) {
            b->head[b->head_len++] = *at;
            b->payload_left = (size_t)b->head[0] << 16 | (size_t)b->head[1] << 8 | b->head[2];
        } else {
            take = n < b->payload_left ? n : b->payload_left;
            if (b->head[3] == 0)
                see_data(s, at, take);
            b->payload_left -= take;
        }
        at += take;
        n -= take;
        if (b->head_len < 9 || b->payload_left)
            continue;
        s = &b->streams[stream_of(b) / 2 % COUNT_OF(b->streams)];
        if (b->head[3] <= 1 && b->head[4] & 1)
            see_end(s);
        b->head_len = 0;
    }
}

/* The server: what it says. */

static void forget(struct backend *b)
{
    one_worker_drop(b->fd);
    *b = fuzz.backends[--fuzz.backend_count];
}

static void say(struct backend *b)
{
    size_t n = b->left < b->piece ? b->left : b->piece;
    ssize_t sent = send(b->fd, b->script, n, MSG_DONTWAIT);
    if (sent > 0) {
        b->script += sent;
        b->left -= (size_t)sent;
    }
    if (sent < 0 || b->left == 0) {
        b->finished = true;
        if (fuzz.ends)
            shutdown(b->fd, SHUT_WR);
    }
}

static void serve(struct backend *b)
{
    ssize_t n = recv(b->fd, fuzz.room, sizeof fuzz.room, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    fuzz.moved = true;
    if (n > 0)
        see(b, (const uint8_t *)fuzz.room, (size_t)n);
    else
        forget(b);
}

static void accept_all(void)
{
    static const uint8_t settings[9] = {0, 0, 0, 4};
    int fd;
    while (fuzz.backend_count < BACKENDS && (fd = accept4(fuzz.listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        unsigned which = fuzz.accepted++ % 2;
        size_t len = fuzz.lengths[which];
        fuzz.backends[fuzz.backend_count++] =
            (struct backend){.fd = fd,
                             .script = fuzz.scripts[which],
                             .left = len,
                             .piece = fuzz.piece < len / PIECES ? len / PIECES : fuzz.piece};
        if (fuzz.settings)
            ASSERT(send(fd, settings, sizeof settings, 0) == sizeof settings);
        fuzz.moved = true;
    }
}

static void serve_all(void)
{
    accept_all();
    for (unsigned i = fuzz.backend_count; i-- > 0;)
        if (fuzz.closing)
            forget(&fuzz.backends[i]);
        else
            serve(&fuzz.backends[i]);
}

/* When weir waits. */
static void say_all(void)
{
    for (unsigned i = 0; i < fuzz.backend_count; i++) {
        if (fuzz.backends[i].finished)
            continue;
        say(&fuzz.backends[i]);
        fuzz.moved = true;
    }
}

/* The clients. */

static void put(struct asker *c, const char *text)
{
    size_t len = strlen(text);
    memcpy(c->out + c->out_len, text, len);
    c->out_len += len;
}

static void put_letters(struct asker *c, size_t count)
{
    memset(c->out + c->out_len, 'A' + (int)(c - fuzz.clients), count);
    c->out_len += count;
}

static void put_long(struct asker *c)
{
    put(c, "Transfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 10; i++) {
        char line[32];
        snprintf(line, sizeof line, "%x\r\n", BODY_LONG / 10);
        put(c, line);
        put_letters(c, BODY_LONG / 10);
        put(c, "\r\n");
    }
    put(c, "0\r\n\r\n");
}

static void write_request(struct asker *c)
{
    static const char *const methods[KINDS] = {"GET", "HEAD", "POST", "POST", "PUT", "GET", "GET", "PUT"};
    put(c, methods[c->kind]);
    put(c, " / HTTP/1.1\r\nHost: t.example\r\n");
    switch (c->kind) {
    case POST:
        put(c, "Content-Length: 5\r\n\r\n");
        put_letters(c, 5);
        break;
    case POST_LONG:
    case PUT_LONG:
        put_long(c);
        break;
    case PUT_TRAILERS:
        put(c, "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n");
        put_letters(c, 3);
        put(c, "\r\n3\r\n");
        put_letters(c, 3);
        put(c, "\r\n0\r\nX-End: yes\r\n\r\n");
        break;
    case WEBSOCKET:
        put(c, "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        break;
    case GET_TWICE:
        put(c, "\r\nGET / HTTP/1.1\r\nHost: t.example\r\n\r\n");
        break;
    default:
        put(c, "\r\n");
    }
}

static void begin(struct asker *c, enum kind kind)
{
    c->kind = kind;
    c->out = malloc(BODY_LONG + 1024);
    c->in = NULL;
    c->out_len = c->out_sent = c->in_len = 0;
    ASSERT(c->out);
    write_request(c);
    c->fd = one_worker_connect(&fuzz.weir);
}

static void move(struct asker *c)
{
    ssize_t n;
    while (c->out_sent < c->out_len &&
           (n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_DONTWAIT)) > 0) {
        c->out_sent += (size_t)n;
        fuzz.moved = true;
    }
    while ((n = recv(c->fd, fuzz.room, sizeof fuzz.room, MSG_DONTWAIT)) > 0) {
        c->in = realloc(c->in, c->in_len + (size_t)n);
        ASSERT(c->in);
        memcpy(c->in + c->in_len, fuzz.room, (size_t)n);
        c->in_len += (size_t)n;
        fuzz.moved = true;
    }
}

static void check_letters(struct slice data, char letter)
{
    for (size_t i = 0; letter && i < data.len; i++)
        ASSERT(data.at[i] == letter);
}

/* What there is of the body, and behind it; false when it is not whole. */
static bool check_body(const struct http_response *r, struct slice *in, char letter)
{
    struct h1_chunked chunked = {0};
    struct h1_fault fault;
    struct slice data;
    if (r->body == BODY_NONE)
        return true;
    if (r->body == BODY_LENGTH) {
        size_t n = r->content_length < in->len ? (size_t)r->content_length : in->len;
        check_letters(slice_of(in->at, n), letter);
        *in = slice_skip(*in, n);
        return n == r->content_length;
    }
    while (in->len && !chunked.done) {
        ASSERT(h1_chunked_next(&chunked, in, &data, &fault) == 0);
        check_letters(data, letter);
    }
    struct h1_limits limits = {8192, 65536, FIELDS};
    struct field room[FIELDS];
    struct fields trailers = {room, 0, FIELDS};
    size_t scanned = 0;
    ssize_t n = chunked.done ? h1_parse_trailers(*in, &scanned, &limits, &trailers, &fault) : 0;
    ASSERT(n >= 0);
    *in = slice_skip(*in, (size_t)n);
    return n > 0;
}

/* The answers of one client, as far as they have come. */
static void check_answers(const struct asker *c)
{
    struct slice in = slice_of(c->in, c->in_len);
    struct h1_limits limits = {8192, 65536, FIELDS};
    unsigned finals = 0, asked = c->kind == GET_TWICE ? 2 : 1;
    while (in.len) {
        struct field room[FIELDS];
        struct http_response r = {.fields = {room, 0, FIELDS}};
        struct h1_fault fault;
        size_t scanned = 0;
        ssize_t n =
            h1_parse_response(in, &scanned, &limits, c->kind == HEAD_ ? METHOD_HEAD : METHOD_GET, &r, &fault);
        if (n < 0)
            fprintf(stderr, "%s in:\n%.*s\n", fault.reason, SLICE_FMT(in));
        ASSERT(n >= 0);
        if (n == 0)
            return;
        in = slice_skip(in, (size_t)n);
        if (r.status == 101)
            return;
        if (r.status < 200)
            continue;
        ASSERT(++finals <= asked);
        const struct field *fill = fields_find_name(&r.fields, S("x-fill"));
        if (!check_body(&r, &in, fill && fill->value.len == 1 ? fill->value.at[0] : 0))
            return;
    }
}

static void end(struct asker *c)
{
    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
}

/* Until nothing moves any more. */
static void settle(bool speak)
{
    unsigned quiet = 0;
    for (unsigned round = 0; quiet < 2 && round < ROUNDS; round++) {
        fuzz.moved = false;
        one_worker_pass(&fuzz.weir);
        serve_all();
        for (unsigned i = 0; i < CLIENTS; i++)
            if (fuzz.clients[i].fd >= 0)
                move(&fuzz.clients[i]);
        bool waits = !fuzz.moved && list_empty(&fuzz.weir.worker.loop.ready);
        quiet = waits ? quiet + 1 : 0;
        if (speak && quiet == 2) {
            fuzz.moved = false;
            say_all();
            quiet = fuzz.moved ? 0 : 2;
            if (fuzz.moved && fuzz.leaves && round > 8)
                end(&fuzz.clients[0]);
        }
    }
}

static void finish(void)
{
    struct listener *l = one_worker_listener(&fuzz.weir);
    for (unsigned i = 0; i < CLIENTS; i++) {
        check_answers(&fuzz.clients[i]);
        end(&fuzz.clients[i]);
        free(fuzz.clients[i].in);
        free(fuzz.clients[i].out);
    }
    settle(false);
    fuzz.closing = true;
    while (fuzz.backend_count)
        forget(&fuzz.backends[0]);
    settle(false);
    fuzz.closing = false;
    for (int waits = 0; waits < 500 && l->client_count; waits++) { /* what is looked at after a while */
        usleep(1000);
        settle(false);
    }
    ASSERT(l->client_count == 0 && fuzz.weir.worker.exchange_count == 0);
    pool_sweep(&fuzz.weir.worker.pool);
    settle(false);
}

/* The steps. */

static void response_head(struct frames *f, uint32_t stream)
{
    static const struct slice statuses[] = {
        SLICE("200"), SLICE("200"), SLICE("200"), SLICE("204"), SLICE("304"), SLICE("404"), SLICE("503"),
        SLICE("100"), SLICE("103"), SLICE("101"), SLICE("500"), SLICE("999"), SLICE("099"), SLICE("2000")};
    static const struct slice lengths[] = {SLICE("0"), SLICE("4"), SLICE("5"), SLICE("1000"), SLICE("104")};
    char room[64], letter = frames_letter(stream);
    struct slice status = statuses[frames_take(f, COUNT_OF(statuses))];
    unsigned how = frames_take(f, 32);
    if (how != 31)
        frames_field(f, S(":status"), how == 30 ? frames_spoil(f, status, room) : status);
    frames_some_fields(f, how < 16 ? 0 : frames_take(f, 4));
    if (how % 4 == 3)
        frames_field(f, S("content-length"), lengths[frames_take(f, COUNT_OF(lengths))]);
    frames_field(f, S("x-fill"), slice_of(&letter, 1));
    frames_block(f, frames_take(f, 3) == 0 ? 1 : 0, stream);
}

static void go_away(struct frames *f)
{
    uint8_t payload[8] = {0};
    payload[3] = (uint8_t)frames_take(f, 10);
    payload[7] = (uint8_t)frames_take(f, 14);
    frames_frame(f, 7, 0, 0, payload, sizeof payload);
}

static void reset(struct frames *f)
{
    uint8_t payload[4] = {0};
    payload[3] = (uint8_t)frames_take(f, 14);
    frames_frame(f, 3, 0, frames_stream(f), payload, sizeof payload);
}

static void one_step(struct frames *f)
{
    unsigned what = frames_take(f, 12);
    if (what < 4) {
        response_head(f, f->next_id);
        f->next_id += 2;
    } else if (what < 6) {
        response_head(f, frames_stream(f));
    } else if (what < 9) {
        frames_data(f);
    } else if (what == 9) {
        reset(f);
    } else if (what == 10 && frames_take(f, 4) == 0) {
        go_away(f);
    } else {
        frames_one(f);
    }
}

static size_t make_script(uint8_t *out, const uint8_t *bytes, size_t len, bool steps)
{
    static struct frames frames;
    if (!steps) {
        memcpy(out, bytes, len);
        return len;
    }
    frames = (struct frames){.at = bytes, .left = len, .out = out};
    frames_make(&frames, one_step);
    return frames.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const size_t pieces[] = {65536, 1, 9, 4096};
    if (len < 3 || len > FRAMES_MAX)
        return 0;
    if (!fuzz.weir.snapshot)
        start();
    forget_the_past();
    fuzz.piece = pieces[bytes[0] >> 1 & 3];
    fuzz.settings = !(bytes[2] >> 4 & 1);
    fuzz.ends = bytes[2] >> 5 & 1;
    fuzz.leaves = bytes[2] >> 6 & 1;
    fuzz.accepted = 0;
    size_t half = (len - 3) / 2;
    fuzz.lengths[0] = make_script(fuzz.scripts[0], bytes + 3, half, bytes[0] & 1);
    fuzz.lengths[1] = make_script(fuzz.scripts[1], bytes + 3 + half, len - 3 - half, bytes[0] & 1);
    for (unsigned i = 0; i < CLIENTS; i++)
        begin(&fuzz.clients[i], (enum kind)((bytes[1] >> 2 * i & 3) | (bytes[2] >> i & 1) << 2));
    settle(true);
    finish();
    return 0;
}
