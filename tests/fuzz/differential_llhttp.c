/* What weir takes for a whole message, llhttp (Node's parser) must take, too, and read in the same way: as
 * many fields, the same body, the same end. What it refuses and weir takes is a finding, but for these, which
 * were looked at:
 *
 * - methods that it does not know: any token is a method (RFC 9110 §9.1)
 * - chunk extensions: it refuses a second one, and blanks around ";" and "=" (RFC 9112 §7.1.1 has both)
 * - an HTAB behind "chunked" or a Content-Length, which is OWS like a SP (RFC 9110 §5.6.3)
 *
 * Not compared: where its user, not it, decides that there is no body (304), and what lies behind a head that
 * ends HTTP (Upgrade, CONNECT, 101) or has no end of its own.
 *
 * It needs the sources that Debian's node-llhttp has, built strict. As a fuzzer:
 *     clang -I. -I/usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1 -fsanitize=fuzzer,address
 *         tests/fuzz/differential_llhttp.c proxy/http/message.c proxy/http/field_id.c proxy/http/bytes.c
 * proxy/http/h1/?*.c core/slice.c core/base.c /usr/share/llhttp/?*.c -o differential_llhttp and with
 * -DPLAIN_PROGRAM and without -fsanitize=fuzzer as a program that takes the names of corpus files. Inputs are
 * those of fuzz_h1_request and fuzz_h1_response; one that begins with "HTTP/" is a response. */
#include "tests/fuzz/h1_cuts.h"
#include <llhttp.h>

/* A message as one of the two sees it. */
struct reading {
    bool is_whole;
    size_t head_fields;
    size_t length; /* bytes of the input that belong to it */
    size_t body_len;
    char body[INPUT_MAX];
};

struct their_reading {
    struct reading reading;
    bool has_head;
    const char *reason;
};

static bool read_as_weir(struct slice in, bool is_response, bool *is_tunnel, struct reading *out);
static llhttp_errno_t read_as_llhttp(struct slice in, bool is_response, struct their_reading *out);
static bool is_known_difference(struct slice in, llhttp_errno_t error, const struct their_reading *theirs);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct cut_input input;
    static struct reading ours;
    static struct their_reading theirs;
    bool is_tunnel = false;

    if (!cut_input(bytes, len, &input))
        return 0;
    bool is_response = slice_begins(input.in, S("HTTP/"));
    if (!read_as_weir(input.in, is_response, &is_tunnel, &ours))
        return 0;

    struct slice message = slice_of(input.in.at, ours.length);
    llhttp_errno_t error = read_as_llhttp(message, is_response, &theirs);
    bool is_same = theirs.has_head && theirs.reading.head_fields == ours.head_fields;
    if (!is_tunnel)
        is_same = is_same && theirs.reading.is_whole && theirs.reading.length == ours.length &&
                  slice_equal(slice_of(theirs.reading.body, theirs.reading.body_len),
                              slice_of(ours.body, ours.body_len));
    if (is_same || is_known_difference(message, error, &theirs))
        return 0;

    fprintf(stderr,
            "llhttp: error %s (%s), head %d, whole %d, %zu fields, %zu of %zu bytes, body %zu/%zu:\n%.*s\n",
            llhttp_errno_name(error), theirs.reason, theirs.has_head, theirs.reading.is_whole,
            theirs.reading.head_fields, theirs.reading.length, ours.length, theirs.reading.body_len,
            ours.body_len, SLICE_FMT(message));
    abort();
}

/* Eats the chunks and trailers at the start of `rest`. Their length, or 0 when they are not whole and valid.
 */
static size_t read_chunks(struct slice rest, const struct h1_limits *limits, struct reading *out)
{
    static struct field storage[128];
    struct h1_chunked chunked = {0};
    struct fields trailers = {storage, 0, 128, 0};
    struct h1_fault fault;
    size_t whole = rest.len;
    size_t scanned = 0;

    while (!chunked.done && rest.len) {
        struct slice data;
        if (h1_chunked_next(&chunked, &rest, &data, &fault) != 0)
            return 0;
        if (data.len)
            memcpy(out->body + out->body_len, data.at, data.len);
        out->body_len += data.len;
    }
    ssize_t length = chunked.done ? h1_parse_trailers(rest, &scanned, limits, &trailers, &fault) : 0;
    if (length <= 0)
        return 0;
    out->head_fields += trailers.count;
    return whole - rest.len + (size_t)length;
}

/* False when it is not a whole message whose end is known; a tunnel's or a 1xx head is whole. */
static bool read_as_weir(struct slice in, bool is_response, bool *is_tunnel, struct reading *out)
{
    static const struct h1_limits limits = {8192, INPUT_MAX, 128};
    static struct field storage[128];
    struct http_request request = {.fields = {storage, 0, 128, 0}};
    struct http_response response = {.fields = {storage, 0, 128, 0}};
    struct h1_fault fault;
    size_t scanned = 0;
    ssize_t head = is_response ? h1_parse_response(in, &scanned, &limits, METHOD_GET, &response, &fault)
                               : h1_parse_request(in, &scanned, &limits, &request, &fault);
    if (head <= 0)
        return false;

    enum body_kind body = is_response ? response.body : request.body;
    uint64_t content_length = is_response ? response.content_length : request.content_length;
    struct slice rest = slice_skip(in, (size_t)head);

    *is_tunnel = is_response ? response.upgrade || response.body == BODY_UNTIL_CLOSE
                             : request.upgrade || request.method_id == METHOD_CONNECT;
    out->head_fields = is_response ? response.fields.count : request.fields.count;
    out->length = (size_t)head;
    out->body_len = 0;
    out->is_whole = true;
    if (*is_tunnel)
        return true;
    if (body == BODY_LENGTH) {
        if (rest.len < content_length)
            return false;
        memcpy(out->body, rest.at, content_length);
        out->body_len = content_length;
        out->length += content_length;
    } else if (body == BODY_CHUNKED) {
        size_t chunks = read_chunks(rest, &limits, out);
        out->length += chunks;
        return chunks > 0;
    }
    return true;
}

static int on_field(llhttp_t *parser)
{
    ((struct their_reading *)parser->data)->reading.head_fields++;
    return 0;
}

static int on_head(llhttp_t *parser)
{
    ((struct their_reading *)parser->data)->has_head = true;
    return parser->type == HTTP_RESPONSE && parser->status_code == 304; /* 1: no body; left to its user */
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct reading *r = &((struct their_reading *)parser->data)->reading;
    memcpy(r->body + r->body_len, at, len);
    r->body_len += len;
    return 0;
}

static int on_end(llhttp_t *parser)
{
    ((struct their_reading *)parser->data)->reading.is_whole = true;
    return HPE_PAUSED;
}

static llhttp_errno_t read_as_llhttp(struct slice in, bool is_response, struct their_reading *out)
{
    llhttp_settings_t settings;
    llhttp_t parser;

    llhttp_settings_init(&settings);
    settings.on_header_value_complete = on_field;
    settings.on_headers_complete = on_head;
    settings.on_body = on_body;
    settings.on_message_complete = on_end;
    llhttp_init(&parser, is_response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
    parser.data = out;
    out->has_head = out->reading.is_whole = false;
    out->reading.head_fields = out->reading.body_len = 0;

    llhttp_errno_t error = llhttp_execute(&parser, in.at, in.len);
    const char *end = error == HPE_OK ? in.at + in.len : llhttp_get_error_pos(&parser);
    out->reading.length = (size_t)(end - in.at);
    out->reason = llhttp_get_error_reason(&parser);
    return error;
}

/* The list above. */
static bool is_known_difference(struct slice in, llhttp_errno_t error, const struct their_reading *theirs)
{
    size_t at = theirs->reading.length;

    if (error == HPE_INVALID_METHOD)
        return true;
    if (error == HPE_INVALID_TRANSFER_ENCODING || error == HPE_INVALID_CONTENT_LENGTH)
        return slice_find(in, '\t') < in.len;
    if (!theirs->has_head || (error != HPE_INVALID_CHUNK_SIZE && error != HPE_STRICT))
        return false;
    while (at > 0 && at < in.len && in.at[at] != '\n') { /* is it in an extension? */
        if (in.at[at] == ';' || in.at[at] == ' ' || in.at[at] == '\t')
            return true;
        at--;
    }
    return false;
}

#ifdef PLAIN_PROGRAM
int main(int count, char **names)
{
    static uint8_t bytes[INPUT_MAX];

    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) {
            perror(names[i]);
            return 1;
        }
        size_t len = fread(bytes, 1, sizeof(bytes), file);
        fclose(file);
        LLVMFuzzerTestOneInput(bytes, len);
    }
    printf("%d inputs, no difference but the known ones\n", count - 1);
    return 0;
}
#endif
