#include "proxy/http/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/http/fields.h"
#include "proxy/http/file_body.h"
#include "proxy/http/files_find.h"
#include "proxy/http/files_path.h"
#include "proxy/http/listing.h"
#include "proxy/http/mime.h"
#include "proxy/http/preconditions.h"
#include "proxy/http/ranges.h"

#define FILES_MAGIC 0x46494c45u
#define TURN        (512u << 10) /* bytes sent; then it is another exchange's turn */
#define FIELDS_MAX  16

/* Lives in the exchange's arena. The descriptor of the body is open until cancel(), -1 = none. */
struct files {
    uint32_t magic;
    struct exchange *x;
    uint64_t size; /* of the file, when it was found */
    struct slice type;
    struct validators validators;
    struct file_body body;
    struct task task;
    char modified[32];
};

static void answer_file(struct files *f, struct files_found *found);
static void answer_listing(struct exchange *x, struct files_found *found);
static void answer_redirect(struct exchange *x);
static void send_turn(struct files *f);

/* Choosing what to answer with. */

static void fail_by_errno(struct exchange *x, int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        exchange_fail(x, 403, "the file may not be read");
        break;
    case EXDEV:
    case ELOOP:
        exchange_fail(x, 404, "a symbolic link leads out of the root");
        break;
    case ENXIO: /* a socket */
    case ENODEV:
        exchange_fail(x, 404, "this is no regular file");
        break;
    case EMFILE:
    case ENFILE:
        exchange_fail(x, 503, "out of file descriptors");
        break;
    case ENOMEM:
        exchange_fail(x, 503, "out of memory");
        break;
    case EAGAIN:
        exchange_fail(x, 503, "the directories are being changed");
        break;
    default:
        exchange_fail(x, 500, "the file cannot be read");
    }
}

static void answer(struct exchange *x, struct files_found *found)
{
    switch (found->kind) {
    case FILES_FILE:
        answer_file(x->responder_state, found);
        break;
    case FILES_LISTING:
        answer_listing(x, found);
        break;
    case FILES_WITHOUT_SLASH:
        answer_redirect(x);
        break;
    case FILES_FORBIDDEN:
        exchange_fail(x, 403, "the directory has no index");
        break;
    case FILES_NOTHING:
        exchange_fail(x, 404, "there is no such file");
        break;
    case FILES_ERROR:
        fail_by_errno(x, found->error);
    }
}

static void start(struct exchange *x)
{
    if (x->request.method_id != METHOD_GET && x->request.method_id != METHOD_HEAD) {
        x->match.allow = 1u << METHOD_GET | 1u << METHOD_HEAD;
        exchange_fail(x, 405, "files can only be read");
        return;
    }
    struct files *f = arena_zalloc(&x->arena, sizeof *f);
    char *path = arena_alloc(&x->arena, x->path.len + 1);
    if (!f || !path) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    f->magic = FILES_MAGIC;
    f->body.fd = -1;
    f->x = x;
    task_init(&f->task);
    x->responder_state = f;

    bool is_directory;
    struct files_found found;
    ssize_t len = files_path_decode(x->path, path, &is_directory);
    if (len < 0) {
        exchange_fail(x, len == FILES_PATH_BAD_ESCAPE ? 400 : 404, "the path can name no file");
        return;
    }
    files_find(x->route->files, &x->arena, slice_of(path, (size_t)len), is_directory, &found);
    answer(x, &found);
    files_found_close(&found);
}

/* The client's own path with a slash behind it: what a rewrite made of it is none of its business. */
static void answer_redirect(struct exchange *x)
{
    struct slice path = x->request.path, query = x->request.query;
    if (path.len == 0 || path.at[0] != '/' || path.at[path.len - 1] == '/') {
        exchange_fail(x, 404, "a rewrite takes the slash from a directory's path");
        return;
    }
    /* "//host" would lead to another host; "/.//host" is the same path (RFC 3986 §5.2.4). */
    bool is_like_host = path.len > 1 && (path.at[1] == '/' || path.at[1] == '\\');
    struct slice to =
        slice_text(arena_printf(&x->arena, "%s%.*s/%s%.*s", is_like_host ? "/." : "", SLICE_FMT(path),
                                x->request.has_query ? "?" : "", SLICE_FMT(query)));
    struct fields extra = {0};
    if (!to.at || (to = edits_safe_value(&x->arena, to)).at == NULL ||
        fields_add(&x->arena, &extra, FIELD_LOCATION, S("Location"), to) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    exchange_answer(x, 301, S(""), S(""), &extra);
}

static void answer_listing(struct exchange *x, struct files_found *found)
{
    struct listing listing;
    struct slice page = {0};
    const char *heading =
        arena_printf(&x->arena, "/%.*s%s", SLICE_FMT(found->path), found->path.len ? "/" : "");
    int directory = found->fd;
    found->fd = -1;
    if (listing_read(found->root, found->path.at, directory, &listing) == 0 && heading)
        page = listing_html(&listing, slice_text(heading));
    listing_free(&listing);
    if (page.at)
        exchange_answer(x, 200, S("text/html; charset=utf-8"), page, NULL);
    else
        exchange_fail(x, 503, "the directory cannot be listed");
    free((void *)(uintptr_t)page.at);
}

/* The head of a file's answer. */

static int describe(struct files *f, const struct files_found *found)
{
    struct exchange *x = f->x;
    const struct stat *st = &found->st;
    int64_t now = loop_wall_us(&x->worker->loop) / 1000000;
    uint64_t modified_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    f->size = (uint64_t)st->st_size;
    f->type = mime_type(found->path);
    /* Not the inode: the same file on two machines is to have the same tag. */
    f->validators.etag =
        slice_text(arena_printf(&x->arena, "\"%" PRIx64 "-%" PRIx64 "\"", modified_ns, f->size));
    /* RFC 9110 §8.8.2.1: never later than Date. */
    f->validators.modified = st->st_mtim.tv_sec < now ? st->st_mtim.tv_sec : now;
    f->validators.has_modified = true;
    http_date(f->validators.modified, f->modified);
    return f->validators.etag.at ? 0 : -1;
}

static int add_validators(const struct files *f, struct fields *to)
{
    struct arena *a = &f->x->arena;
    return fields_add(a, to, FIELD_LAST_MODIFIED, S("Last-Modified"), slice_text(f->modified)) != 0 ||
                   fields_add(a, to, FIELD_ETAG, S("ETag"), f->validators.etag) != 0
               ? -1
               : 0;
}

static void answer_unmodified(struct files *f)
{
    struct fields extra = {0};
    if (add_validators(f, &extra) != 0)
        exchange_fail(f->x, 503, "out of memory");
    else
        exchange_answer(f->x, 304, S(""), S(""), &extra);
}

static void answer_unsatisfiable(struct files *f)
{
    struct exchange *x = f->x;
    struct fields extra = {0};
    struct slice range = slice_text(arena_printf(&x->arena, "bytes */%" PRIu64, f->size));
    if (!range.at || fields_add(&x->arena, &extra, FIELD_CONTENT_RANGE, S("Content-Range"), range) != 0 ||
        fields_add(&x->arena, &extra, FIELD_OTHER, S("Accept-Ranges"), S("bytes")) != 0)
        exchange_fail(x, 503, "out of memory");
    else
        exchange_answer(x, 416, S(""), S(""), &extra);
}

/* Says in r what the head is to say, and in f->body what follows. `count` ranges; 0 = the whole. */
static int plan(struct files *f, const struct byte_range *ranges, unsigned count, struct http_response *r)
{
    struct exchange *x = f->x;
    struct arena *a = &x->arena;
    struct slice type = f->type, range = {0};
    char boundary[40] = "";
    if (count > 1)
        snprintf(boundary, sizeof boundary, "%016" PRIx64 "%016" PRIx64, worker_random(x->worker),
                 worker_random(x->worker));
    if (file_body_plan(&f->body, a, f->size, ranges, count, boundary, &type) != 0)
        return -1;
    if (count == 1 && !(range = file_body_range(a, &ranges[0], f->size)).at)
        return -1;

    r->status = count ? 206 : 200;
    r->content_length = f->body.length;
    r->has_content_length = true;
    r->body = f->body.length && x->request.method_id != METHOD_HEAD ? BODY_LENGTH : BODY_NONE;
    if (fields_add(a, &r->fields, FIELD_CONTENT_TYPE, S("Content-Type"), type) != 0 ||
        add_validators(f, &r->fields) != 0 ||
        fields_add(a, &r->fields, FIELD_OTHER, S("Accept-Ranges"), S("bytes")) != 0)
        return -1;
    return range.len ? fields_add(a, &r->fields, FIELD_CONTENT_RANGE, S("Content-Range"), range) : 0;
}

/* The head and the first piece leave together, so a small file is one write. */
static void begin(struct files *f, const struct byte_range *ranges, unsigned count)
{
    struct exchange *x = f->x;
    struct field fields[FIELDS_MAX];
    struct http_response r = {.minor = 1, .fields = {fields, 0, FIELDS_MAX, 0}};
    char piece[FILE_BODY_PIECE];
    struct iovec iov[FILE_BODY_VECTORS];
    size_t bytes;
    if (plan(f, ranges, count, &r) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    if (r.body == BODY_NONE) {
        exchange_respond(x, &r, NULL, 0, true);
        return;
    }
    int vectors = file_body_next(&f->body, piece, iov, &bytes);
    if (vectors < 0) {
        exchange_fail(x, 500, "the file cannot be read");
        return;
    }
    bool end = file_body_done(&f->body);
    exchange_respond(x, &r, iov, vectors, end);
    if (!end && x->phase == EXCHANGE_ANSWERING && !exchange_blocked(x))
        send_turn(f);
}

static void answer_file(struct files *f, struct files_found *found)
{
    struct exchange *x = f->x;
    const struct fields *request = &x->request.fields;
    int64_t now = loop_wall_us(&x->worker->loop) / 1000000;
    f->body.fd = found->fd;
    found->fd = -1;
    if (describe(f, found) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    switch (preconditions_check(request, &f->validators, now)) {
    case 304:
        answer_unmodified(f);
        return;
    case 412:
        exchange_fail(x, 412, "a condition of the request does not hold");
        return;
    default:
        break;
    }

    struct byte_range ranges[RANGES_MAX];
    unsigned count = 0;
    struct slice value;
    /* RFC 9110 §14.2: Range means something with GET alone. */
    if (x->request.method_id == METHOD_GET && ranges_asked(request, &value) &&
        preconditions_allow_range(request, &f->validators, now) &&
        ranges_parse(value, f->size, ranges, &count) == RANGES_UNSATISFIABLE) {
        answer_unsatisfiable(f);
        return;
    }
    begin(f, ranges, count);
}

/* The body. */

static void go_on(struct task *t)
{
    struct files *f = CONTAINER_OF(t, struct files, task);
    ASSERT(f->magic == FILES_MAGIC);
    if (!exchange_blocked(f->x))
        send_turn(f);
}

/* Sends until the client takes no more (then resume() comes) or the turn is over. */
static void send_turn(struct files *f)
{
    struct exchange *x = f->x;
    char piece[FILE_BODY_PIECE];
    struct iovec iov[FILE_BODY_VECTORS];
    for (size_t sent = 0, bytes; sent < TURN; sent += bytes) {
        int count = file_body_next(&f->body, piece, iov, &bytes);
        if (count < 0) {
            exchange_fail(x, 500, "the file became shorter while it was sent, or cannot be read");
            return;
        }
        bool end = file_body_done(&f->body);
        exchange_respond_body(x, iov, count, end, NULL);
        if (end || x->phase != EXCHANGE_ANSWERING || exchange_blocked(x))
            return;
    }
    loop_defer(&x->worker->loop, &f->task, go_on);
}

static void resume(struct exchange *x)
{
    struct files *f = x->responder_state;
    ASSERT(f->magic == FILES_MAGIC);
    /* Where the turn was over, the next one is coming. */
    if (x->head_sent && !x->response_done && !list_linked(&f->task.link) && !exchange_blocked(x))
        send_turn(f);
}

static void cancel(struct exchange *x)
{
    struct files *f = x->responder_state;
    if (!f)
        return;
    ASSERT(f->magic == FILES_MAGIC);
    list_remove(&f->task.link);
    if (f->body.fd >= 0)
        close(f->body.fd);
    f->body.fd = -1;
}

const struct responder files_responder = {
    .name = "files", .start = start, .resume = resume, .cancel = cancel};
