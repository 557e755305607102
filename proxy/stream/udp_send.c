#include <errno.h>
#include <stdlib.h>

#include "core/proxy_protocol.h"
#include "proxy/stream/udp_internal.h"

/* What may have to be sent again. */

void udp_forget_kept(struct udp_session *s)
{
    free(s->kept);
    s->kept = NULL;
}

static void keep(struct udp_session *s, const struct udp_message *m)
{
    struct udp_kept *k = s->kept;
    if (s->answered || (k && k->too_much))
        return;
    unsigned used = k ? k->used : 0, count = k ? k->count : 0;
    bool fits = !m->segment && count < UDP_KEPT_MAX && used + m->bytes.len <= UDP_KEPT_SIZE;
    struct udp_kept *more = realloc(k, sizeof *k + (fits ? used + m->bytes.len : 0));
    if (!more)
        return;
    if (!k)
        *more = (struct udp_kept){0};
    s->kept = more;
    if (!fits) {
        /* A part of them would be worse than none. */
        *more = (struct udp_kept){.too_much = true};
        return;
    }
    if (m->bytes.len)
        memcpy(more->bytes + used, m->bytes.at, m->bytes.len);
    more->len[more->count++] = (uint16_t)m->bytes.len;
    more->used += (unsigned)m->bytes.len;
}

/* Sending. */

static void count_sent(struct udp_session *s, const struct udp_message *m)
{
    counter_add(&s->counters->bytes_out, m->bytes.len);
    keep(s, m);
}

static size_t proxy_header(struct udp_session *s, char out[PROXY_HEADER_SENT_MAX])
{
    struct proxy_header h = {.source = s->client.ip};
    if (s->port->wildcard)
        h.destination = udp_ip(&s->key.local, address_port(&s->port->address));
    else
        h.destination = ip_of_address(&s->port->address);
    size_t len = proxy_header_write(&h, 2, NULL, out);
    if (len > 13 && out[13])
        out[13] = (char)((out[13] & 0xf0) | 2); /* DGRAM; it is written for STREAM */
    return len;
}

/* One datagram, with the PROXY header ahead of the first one to this server. 0 or -1 with errno. */
static int send_one(struct udp_session *s, struct slice bytes)
{
    char header[PROXY_HEADER_SENT_MAX];
    struct iovec iov[2] = {{header, 0}, {(void *)(uintptr_t)bytes.at, bytes.len}};
    if (!s->introduced && s->upstream->settings->proxy_protocol == PROXY_V2)
        iov[0].iov_len = proxy_header(s, header);
    struct msghdr h = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;
    do
        n = sendmsg(s->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    s->introduced = true;
    return 0;
}

bool udp_is_refusal(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENONET:
    case ENOPROTOOPT:
        return true;
    default:
        return false;
    }
}

int udp_send_kept(struct udp_session *s)
{
    const char *at = s->kept ? s->kept->bytes : NULL;
    for (unsigned i = 0; s->kept && i < s->kept->count; at += s->kept->len[i++]) {
        if (send_one(s, slice_of(at, s->kept->len[i])) == 0)
            counter_add(&s->counters->bytes_out, s->kept->len[i]);
        else if (udp_is_refusal(errno))
            return -1;
        else
            udp_count_drop(s->client.listener, UDP_DROP_SEND, 1);
    }
    return 0;
}

/* A message that could not be sent whole: its pieces, one by one. The session may have ended after that. */
static void send_pieces(struct udp_session *s, const struct udp_message *m)
{
    struct slice rest = m->bytes;
    for (bool more = true; more;) {
        size_t len = m->segment && m->segment < rest.len ? m->segment : rest.len;
        struct udp_message piece = {.bytes = slice_of(rest.at, len)};
        if (send_one(s, piece.bytes) == 0) {
            count_sent(s, &piece);
        } else if (udp_is_refusal(errno)) {
            if (!udp_session_refused(s, errno, true))
                return;
            continue; /* to the next server */
        } else {
            udp_count_drop(s->client.listener, UDP_DROP_SEND, 1);
        }
        rest = slice_skip(rest, len);
        more = rest.len != 0;
    }
}

static bool needs_pieces(const struct udp_session *s, const struct udp_message *m)
{
    return (m->segment && s->whole) || (!s->introduced && s->upstream->settings->proxy_protocol == PROXY_V2);
}

/* As many as go in one call, from message `at` on. The one to go on with, or -1. */
static int send_run(struct udp_session *s, struct udp_batches *b, int at)
{
    unsigned count = 0;
    struct iovec iov[UDP_TURN];
    for (int i = at; i >= 0 && !needs_pieces(s, &b->in[i]); i = b->in[i].next, count++)
        udp_prepare(&b->up_headers[count].msg_hdr, &iov[count], &b->in[i], &b->up_control[count]);
    int n;
    do
        n = sendmmsg(s->fd, b->up_headers, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        for (; n > 0; n--, at = b->in[at].next)
            count_sent(s, &b->in[at]);
        return at;
    }
    int error = errno;
    const struct udp_message *m = &b->in[at];
    if (udp_is_refusal(error))
        return udp_session_refused(s, error, true) ? at : -1;
    if (m->segment && (error == EINVAL || error == EMSGSIZE || error == EIO)) {
        s->whole = true;
        return at;
    }
    udp_count_drop(s->client.listener, UDP_DROP_SEND, udp_datagrams(m->bytes.len, m->segment));
    return m->next;
}

void udp_session_forward(struct udp_session *s)
{
    struct udp_batches *b = s->client.listener->worker->udp;
    if (!udp_session_is_placed(s))
        return;
    udp_touch(s->client.listener->udp, s);
    s->waits = true;
    for (int at = s->first; at >= 0 && !s->closed;) {
        if (needs_pieces(s, &b->in[at])) {
            send_pieces(s, &b->in[at]);
            at = b->in[at].next;
        } else {
            at = send_run(s, b, at);
        }
    }
}
