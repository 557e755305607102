#include "proxy/http/h1/write.h"

void head_put_number(struct head_writer *w, uint64_t number)
{
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    head_put(w, slice_of(digits + n, sizeof digits - n));
}

void head_put_field(struct head_writer *w, struct slice name, struct slice value)
{
    size_t need = name.len + value.len + 4;
    if (need > (size_t)(w->end - w->at)) {
        w->overflow = true;
        return;
    }
    char *at = w->at;
    memcpy(at, name.at, name.len);
    at += name.len;
    *at++ = ':';
    *at++ = ' ';
    if (value.len)
        memcpy(at, value.at, value.len);
    at += value.len;
    *at++ = '\r';
    *at++ = '\n';
    w->at = at;
}

void head_put_fields(struct head_writer *w, const struct fields *f, uint64_t skip)
{
    const char *run = NULL, *end = NULL; /* lines that stand one behind the other, not written yet */
    for (uint32_t i = 0; i < f->count; i++) {
        const struct field *at = &f->at[i];
        if (skip >> at->id & 1)
            continue;
        if (at->name.at == end && at->line_len) {
            end += at->line_len;
            continue;
        }
        head_put(w, slice_of(run, (size_t)(end - run)));
        run = end = at->name.at;
        if (LIKELY(at->line_len))
            end += at->line_len;
        else
            head_put_field(w, at->name, at->value);
    }
    head_put(w, slice_of(run, (size_t)(end - run)));
}

void head_put_request_line(struct head_writer *w, const struct http_request *r, struct slice path)
{
    head_put(w, r->method);
    head_put(w, S(" "));
    head_put(w, path);
    if (r->has_query) {
        head_put(w, S("?"));
        head_put(w, r->query);
    }
    head_put(w, S(" HTTP/1.1\r\n"));
}

void head_put_status_line(struct head_writer *w, const struct http_response *r)
{
    if (r->status == 200 && (r->reason.len == 0 || slice_equal(r->reason, S("OK")))) {
        head_put(w, S("HTTP/1.1 200 OK\r\n"));
        return;
    }
    head_put(w, S("HTTP/1.1 "));
    head_put_number(w, r->status);
    head_put(w, S(" "));
    head_put(w, r->reason.len ? r->reason : status_reason(r->status));
    head_put(w, S("\r\n"));
}

int head_join(struct head_writer *w, struct iovec *iov, int count)
{
    size_t bytes = 0;
    for (int i = 1; i < count; i++)
        bytes += iov[i].iov_len;
    if (bytes > HEAD_JOINED_MAX || bytes > (size_t)(w->end - w->at))
        return count;
    for (int i = 1; i < count; i++)
        head_put(w, slice_of(iov[i].iov_base, iov[i].iov_len));
    iov[0] = head_iovec(w);
    return 1;
}

size_t h1_chunk_line(uint64_t size, char out[H1_CHUNK_LINE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned digits = 1;
    for (uint64_t rest = size >> 4; rest; rest >>= 4)
        digits++;
    for (unsigned i = 0; i < digits; i++)
        out[digits - 1 - i] = hex[size >> (4 * i) & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}
