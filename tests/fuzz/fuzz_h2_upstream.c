/* What a server says over HTTP/2, through a whole worker - pool, calls, forwarding with retries, exchange,
 * codec - to clients in this file that read the answers again: none may have bytes that are another's, and no
 * request may reach a server but whole. When clients and servers are gone nothing of it may be left.
 *
 * The first byte of the input says how the rest is meant (raw bytes, or steps for h2_frames.h) and in what
 * pieces it comes, the second and third what the clients ask and how the server behaves. The first half of
 * the rest goes over each connection that weir makes first, third, ..., the other half over the others. */
#include <errno.h>

#include "tests/fuzz/h1_askers.h"
#include "tests/fuzz/h2_frames.h"
#include "tests/fuzz/one_worker.h"

#define ASKERS   4
#define BACKENDS 256
#define ROUNDS   600
#define PIECES   48 /* at most */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

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
    struct asker askers[ASKERS];
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

static void see_data(struct stream *s, const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->bytes++ == 0)
            s->letter = (char)at[i];
        ASSERT(at[i] >= 'A' && at[i] < 'A' + ASKERS && (char)at[i] == s->letter);
    }
}

static void see_end(const struct stream *s)
{
    ASSERT(s->bytes == 0 || s->bytes == asker_body(fuzz.askers[s->letter - 'A'].kind));
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

static void begin(struct asker *c, enum kind kind)
{
    asker_make(c, kind, 'A' + (char)(c - fuzz.askers));
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
        asker_take(c, fuzz.room, (size_t)n);
        fuzz.moved = true;
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
        for (unsigned i = 0; i < ASKERS; i++)
            if (fuzz.askers[i].fd >= 0)
                move(&fuzz.askers[i]);
        bool waits = !fuzz.moved && list_empty(&fuzz.weir.worker.loop.ready);
        quiet = waits ? quiet + 1 : 0;
        if (speak && quiet == 2) {
            fuzz.moved = false;
            say_all();
            quiet = fuzz.moved ? 0 : 2;
            if (fuzz.moved && fuzz.leaves && round > 8)
                end(&fuzz.askers[0]);
        }
    }
}

static void finish(void)
{
    struct listener *l = one_worker_listener(&fuzz.weir);
    for (unsigned i = 0; i < ASKERS; i++) {
        asker_check(&fuzz.askers[i]);
        end(&fuzz.askers[i]);
        asker_free(&fuzz.askers[i]);
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
    for (unsigned i = 0; i < ASKERS; i++)
        begin(&fuzz.askers[i], (enum kind)((bytes[1] >> 2 * i & 3) | (bytes[2] >> i & 1) << 2));
    settle(true);
    finish();
    return 0;
}
