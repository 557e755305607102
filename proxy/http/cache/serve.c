#include "proxy/http/cache/internal.h"

#define TURN       (512u << 10) /* bytes sent; then it is another exchange's turn */
#define PIECE      (128u << 10) /* bytes in one write */
#define FIRST      (16u << 10)  /* with the head of a larger body: what is not taken of it is copied */
#define FILE_LEAST (32u << 10)  /* below, a copy costs less than a call of its own */
#define FILE_JOINS (96u << 10)  /* below, the head goes in one segment with the file's bytes (MSG_MORE) */
#define VECTORS    16

/* Bytes that go out together. */
struct piece {
    struct iovec iov[VECTORS];
    int count;
    struct stretch *of;
    struct cache_extent file; /* instead of vectors, where in_file */
    bool has_text, in_file;
    uint64_t bytes; /* of the body, that the reader is to skip */
    bool end;       /* nothing follows */
    bool failed;    /* the rest will never come */
};

static void on_more(struct cache_reader *r);
static void go_on(struct task *t);

/* The body. */

/* Where the reader stands is where the stretch begins, as far as that is there yet. */
static bool reaches(struct exchange_cache *c, uint64_t at)
{
    if (c->reader.at == at)
        return true;
    if (cache_body_can_seek(c->object->body)) {
        cache_reader_seek(&c->reader, at);
        return true;
    }
    while (c->reader.at < at) { /* a range of what is still coming: what stands before it is passed over */
        struct iovec iov[VECTORS];
        uint64_t bytes;
        if (cache_reader_peek(&c->reader, iov, VECTORS, at - c->reader.at, &bytes) == 0)
            return false;
        cache_reader_skip(&c->reader, bytes);
    }
    return c->reader.at == at;
}

/* Whether the bytes at the reader's place go out of the file that they are in; *most is made less where those
 * behind them will. Not for those
 * whom it was fetched for: if nobody asks for it again, its pages can be used again as they are. */
static bool find_in_file(struct exchange_cache *c, struct piece *p, uint64_t limit, uint64_t *most)
{
    if (limit < FILE_LEAST || p->has_text || c->result == CACHE_RESULT_MISS ||
        c->plan.length == CACHE_BODY_UNKNOWN || !exchange_takes_files(c->x))
        return false;
    uint64_t bytes = cache_reader_file(&c->reader, limit, &p->file);
    if (bytes >= FILE_LEAST) {
        p->bytes = bytes;
        p->in_file = true;
    } else if (p->file.before && p->file.before < *most) {
        *most = p->file.before;
    }
    return p->in_file;
}

static void next_piece(struct exchange_cache *c, struct piece *p, uint64_t most)
{
    *p = (struct piece){0};
    struct stretch *s = &c->plan.stretches[c->plan.next];
    p->of = s;
    p->has_text = s->text.len > 0;
    if (s->text.len) {
        p->iov[p->count++] = (struct iovec){(void *)(uintptr_t)s->text.at, s->text.len};
        s->text.len = 0;
    }
    /* The state is read first: what it says of the bytes is true of those that are seen after it. */
    enum cache_body_state state = s->left ? cache_body_state(c->object->body) : CACHE_BODY_WHOLE;
    if (s->left && reaches(c, s->at)) {
        if (!find_in_file(c, p, s->left < TURN ? s->left : TURN, &most))
            p->count += cache_reader_peek(&c->reader, p->iov + p->count, VECTORS - p->count,
                                          s->left < most ? s->left : most, &p->bytes);
        s->at += p->bytes;
        s->left -= p->bytes;
        if (c->plan.length == CACHE_BODY_UNKNOWN && state == CACHE_BODY_WHOLE &&
            s->at == cache_body_bytes(c->object->body))
            s->left = 0;
    }
    if (s->left == 0)
        c->plan.next++;
    p->failed = p->count == 0 && !p->in_file && s->left && state != CACHE_BODY_GROWING;
    p->end = file_body_done(&c->plan);
}

/* The bytes of the piece that the client did not take come again. */
static void give_back(struct exchange_cache *c, struct piece *p, uint64_t bytes)
{
    if (p->of->left == 0)
        c->plan.next--;
    p->of->at -= bytes;
    p->of->left += bytes;
    p->bytes -= bytes;
}

/* Sends without a copy where that can be: what the client does not take now is taken from the object again.
 * False when it took less. */
static bool send_piece(struct exchange_cache *c, struct piece *p)
{
    struct exchange *x = c->x;
    bool may_be_given_back = p->bytes && !p->has_text && c->plan.length != CACHE_BODY_UNKNOWN;
    ssize_t taken = -1;
    if (p->in_file)
        taken = (ssize_t)exchange_respond_file(x, p->file.fd, p->file.offset, p->bytes);
    else if (may_be_given_back)
        taken = exchange_respond_some(x, p->iov, p->count);
    if (taken < 0) {
        exchange_respond_body(x, p->iov, p->count, p->end, NULL);
        return true;
    }
    if ((uint64_t)taken < p->bytes) {
        give_back(c, p, p->bytes - (uint64_t)taken);
        cache_reader_skip(&c->reader, p->bytes);
        return false;
    }
    if (p->end)
        exchange_respond_body(x, NULL, 0, true, NULL);
    return true;
}

/* After what is there has been sent: true when there may be more at once. */
static bool goes_on(struct exchange_cache *c, const struct piece *p)
{
    struct exchange *x = c->x;
    if (p->end || x->phase != EXCHANGE_ANSWERING)
        return false;
    cache_reader_skip(&c->reader, p->bytes);
    return !exchange_blocked(x);
}

static void wait_for_more(struct exchange_cache *c)
{
    if (cache_reader_wait(&c->reader) != 0)
        exchange_fail(c->x, 503, "out of memory");
}

/* Sends until the client takes no more (then resume() comes), nothing more is there (then the reader wakes)
 * or the turn is over. */
static void send_turn(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    struct piece p;
    for (uint64_t sent = 0; sent < TURN; sent += p.bytes) {
        next_piece(c, &p, PIECE);
        if (p.failed) {
            exchange_fail(x, 502, "the fetch that the answer came from was cut");
            return;
        }
        if (p.count == 0 && !p.in_file && !p.end) {
            wait_for_more(c);
            return;
        }
        if (!send_piece(c, &p) || !goes_on(c, &p))
            return;
    }
    loop_defer(&x->worker->loop, &c->task, go_on);
}

static void go_on(struct task *t)
{
    struct exchange_cache *c = CONTAINER_OF(t, struct exchange_cache, task);
    if (!exchange_blocked(c->x))
        send_turn(c);
}

static void on_more(struct cache_reader *r)
{
    struct exchange_cache *c = CONTAINER_OF(r, struct exchange_cache, reader);
    ASSERT(c->magic == EXCHANGE_CACHE_MAGIC);
    if (!list_linked(&c->task.link) && !exchange_blocked(c->x))
        send_turn(c);
}

void cache_serve_more(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    if (x->head_sent && !x->response_done && !list_linked(&c->task.link) && !exchange_blocked(x))
        send_turn(c);
}

void cache_serve_stop(struct exchange_cache *c)
{
    list_remove(&c->task.link);
    cache_reader_close(&c->reader);
}

/* The beginning. */

/* The head, and what of the body is there; the rest follows. */
static void begin(struct exchange_cache *c, struct http_response *r)
{
    struct exchange *x = c->x;
    struct piece p = {0};
    if (cache_reader_open(&c->reader, c->object->body, &x->worker->loop, on_more) != 0) {
        cache_go_direct(c, "gone"); /* a stream that has let go of its beginning */
        return;
    }
    next_piece(c, &p, r->has_content_length && r->content_length > PIECE ? FIRST : PIECE);
    if (p.failed) {
        exchange_fail(x, 502, "the fetch that the answer came from was cut");
        return;
    }
    r->file_follows = p.in_file && p.bytes < FILE_JOINS;
    exchange_respond(x, r, p.iov, p.count, p.end && !p.in_file);
    if (p.in_file && (x->phase != EXCHANGE_ANSWERING || !send_piece(c, &p)))
        return;
    if (goes_on(c, &p))
        send_turn(c);
}

/* Whether all that is stored is sent as it is, and its head as lines. */
static bool is_plain(const struct exchange_cache *c)
{
    const struct cache_object *o = c->object;
    const struct stored_head *h = o->head;
    return !(cache_has_conditions(c) && o->status == 200) && o->status != 204 && h->has_date &&
           !c->own.count && !c->relays && cache_body_can_seek(o->body) && exchange_takes_lines(c->x);
}

static void serve_plain(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    char lines[CACHE_STATUS_LINES];
    uint64_t length = cache_body_bytes(c->object->body);
    bool has_length;
    struct slice bytes;
    struct http_response r = {.status = c->object->status,
                              .lines = {stored_head_lines(c->object->head, length, &has_length)},
                              .body = BODY_LENGTH,
                              .content_length = length,
                              .has_content_length = true};
    r.lines[1] = cache_status_lines(c, has_length ? CACHE_BODY_UNKNOWN : length, lines);
    if (x->request.method_id == METHOD_HEAD || length == 0) {
        exchange_respond(x, &r, NULL, 0, true);
    } else if (cache_body_piece(c->object->body, FILE_LEAST - 1, &bytes)) {
        exchange_respond(x, &r, &(struct iovec){(void *)(uintptr_t)bytes.at, bytes.len}, 1, true);
    } else if (file_body_plan(&c->plan, &x->arena, length, NULL, 0, NULL, NULL) != 0) {
        exchange_fail(x, 503, "out of memory");
    } else {
        begin(c, &r);
    }
}

void cache_serve(struct exchange_cache *c, enum cache_result result)
{
    struct exchange *x = c->x;
    struct http_response r;
    c->result = result;
    if (LIKELY(is_plain(c))) {
        serve_plain(c);
        return;
    }
    switch (cache_plan(c, &r)) {
    case 0:
        break;
    case 412:
        exchange_fail(x, 412, "a condition of the request does not hold");
        return;
    default:
        exchange_fail(x, 503, "out of memory");
        return;
    }
    if (r.body == BODY_NONE)
        exchange_respond(x, &r, NULL, 0, true);
    else
        begin(c, &r);
}
