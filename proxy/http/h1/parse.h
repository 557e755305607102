/* The HTTP/1.1 parser: strict by RFC 9112 and RFC 9110. What has more than one reading is refused, from
 * either side. It works in place: the message's slices point into the caller's bytes, and nothing is
 * allocated.
 *
 * Two layers: a scanner of bytes (token table; AVX2 where the CPU has it, chosen once by h1_parse_init) and
 * the meaning of the fields that frame a message. Both paths give the same result, by test. */
#pragma once

#include "proxy/http/message.h"
#include <sys/types.h>

struct h1_limits {
    uint32_t request_line; /* bytes with its CRLF; 414 past it */
    uint32_t header_size;  /* whole head, bytes; 431 past it */
    uint32_t header_count; /* 431 past it; message.fields.capacity must be as large */
};

struct h1_fault {
    uint16_t status;    /* what a client is told: 400, 414, 431, 501, 505 */
    const char *reason; /* for the log and the error page: "obs-fold in a header", static text */
};

enum h1_path { H1_PATH_AUTO, H1_PATH_SCALAR, H1_PATH_AVX2 };

/* Chooses the scanner; AUTO looks at the CPU and at the environment variable WEIR_H1_SCALAR. Before any
 * parse, once. */
void h1_parse_init(enum h1_path path);

/* Parses a request head at the start of `in`. out->fields.at and capacity are the caller's storage;
 * everything else is filled in (scheme excepted). *scanned is for a head that comes in pieces: 0 at first,
 * then what the last call left there, so that no byte is looked at again and again; it is 0 again after a
 * whole head.
 *
 * The answer is a function of the bytes alone, however they are cut. A line is judged when its LF is there;
 * before that only a control character, a bare CR or a limit is a fault. The first faulty line decides; what
 * the fields mean together (framing, Host) is judged when the head is whole.
 *
 * The head's length in bytes (> 0), 0 when more bytes are needed, -1 with *fault. At most two leading CRLF
 * before the request line are taken as part of the head (RFC 9112 §2.2); anything past a limit is a fault as
 * soon as it is known. */
ssize_t h1_parse_request(struct slice in, size_t *scanned, const struct h1_limits *limits,
                         struct http_request *out, struct h1_fault *fault);

/* Likewise a response head, for a request of the given method. A fault's status is 502. Framing by RFC 9112
 * §6.3; a 1xx has no body; 101 sets upgrade. No leading CRLF; the status line has no limit but header_size's.
 * Lenient in two things that have one reading: "HTTP/1.1 200" without the SP behind it, and Content-Length: 0
 * in a 1xx or 204 (RFC 9110 §8.6 forbids it; has_content_length stays false, and who forwards it drops the
 * field). */
ssize_t h1_parse_response(struct slice in, size_t *scanned, const struct h1_limits *limits,
                          enum http_method request_method, struct http_response *out, struct h1_fault *fault);

/* Decodes a chunked body (RFC 9112 §7.1), in any pieces. Zeroed = at the start. */
struct h1_chunked {
    uint64_t left;     /* data bytes left of the current chunk */
    uint32_t overhead; /* bytes of extensions so far, bounded */
    uint32_t line_len; /* bytes of the current size line or trailer section so far */
    uint8_t state;     /* enum in chunked.c */
    uint8_t digits;
    bool done;
};

#define H1_CHUNK_LINE_MAX     4096        /* a size line with its extensions */
#define H1_CHUNK_OVERHEAD_MAX (64u << 10) /* all extensions of one body, unless its data pays for them */

/* Takes the next step: eats bytes from the start of *in (advancing it) and gives either a run of data in
 * *data (never more than one chunk's), or data->len == 0 when *in is used up or the last chunk's size line
 * has been eaten (c->done). After `done` the trailer section follows, for h1_parse_trailers. 0, or -1 with
 * *fault (status 400; to be told as 502 when the body is a response's). */
int h1_chunked_next(struct h1_chunked *c, struct slice *in, struct slice *data, struct h1_fault *fault);

/* Parses the trailer section, up to and with its closing CRLF, at the start of `in`; fields that may not be
 * trailers (RFC 9110 §6.5.1: framing, routing, authentication, ...) are a fault. Length (> 0), 0 for more, -1
 * with *fault (400 or 431, as above). */
ssize_t h1_parse_trailers(struct slice in, size_t *scanned, const struct h1_limits *limits,
                          struct fields *out, struct h1_fault *fault);
