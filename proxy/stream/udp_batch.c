#include "proxy/stream/udp_batch.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>

#include "proxy/stream/udp_internal.h"

static void on_flush(struct task *t);

struct udp_batches *udp_batches_create(struct worker *w)
{
    struct udp_batches *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->worker = w;
    b->in_bytes = malloc((size_t)UDP_TURN * UDP_ROOM);
    b->out_bytes = malloc((size_t)UDP_OUT * UDP_ROOM);
    task_init(&b->flush);
    if (!b->in_bytes || !b->out_bytes) {
        udp_batches_free(b);
        return NULL;
    }
    return b;
}

void udp_batches_free(struct udp_batches *b)
{
    if (!b)
        return;
    free(b->in_bytes);
    free(b->out_bytes);
    free(b);
}

/* From clients. */

static void prepare_in(struct udp_batches *b)
{
    for (int i = 0; i < UDP_TURN; i++) {
        b->in_iov[i] = (struct iovec){b->in_bytes + (size_t)i * UDP_ROOM, UDP_ROOM};
        b->in_headers[i].msg_hdr = (struct msghdr){.msg_name = &b->in_from[i],
                                                   .msg_namelen = sizeof b->in_from[i],
                                                   .msg_iov = &b->in_iov[i],
                                                   .msg_iovlen = 1,
                                                   .msg_control = &b->in_control[i],
                                                   .msg_controllen = sizeof b->in_control[i]};
    }
}

static struct udp_place place_of_v4(struct in_addr a)
{
    struct udp_place p = {.ip.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(p.ip.s6_addr + 12, &a, 4);
    return p;
}

static struct udp_place place_of_v6(const struct in6_addr *a, uint32_t interface)
{
    return (struct udp_place){.ip = *a, .interface = IN6_IS_ADDR_LINKLOCAL(a) ? interface : 0};
}

static void read_control(struct msghdr *h, struct udp_message *m, bool wildcard)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            m->segment = (uint16_t)segment;
        } else if (wildcard && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            m->local = place_of_v4(info.ipi_spec_dst);
        } else if (wildcard && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            m->local = place_of_v6(&info.ipi6_addr, info.ipi6_ifindex);
        }
    }
    /* One that is no longer than a segment is one datagram. */
    if (m->segment >= m->bytes.len)
        m->segment = 0;
}

int udp_receive(struct udp_batches *b, const struct udp_port *p)
{
    prepare_in(b);
    int n = recvmmsg(p->fd, b->in_headers, UDP_TURN, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
        struct udp_message *m = &b->in[i];
        struct msghdr *h = &b->in_headers[i].msg_hdr;
        const union udp_sockaddr *from = &b->in_from[i];
        *m = (struct udp_message){.next = -1,
                                  .bytes = slice_of(b->in_iov[i].iov_base, b->in_headers[i].msg_len)};
        if (from->any.sa_family == AF_INET) {
            m->client = place_of_v4(from->v4.sin_addr);
            m->client_port = ntohs(from->v4.sin_port);
        } else {
            m->client = place_of_v6(&from->v6.sin6_addr, from->v6.sin6_scope_id);
            m->client_port = ntohs(from->v6.sin6_port);
        }
        read_control(h, m, p->wildcard);
    }
    return n > 0 ? n : 0;
}

/* To servers. */

static void *add_control(struct msghdr *h, int level, int type, size_t len)
{
    struct cmsghdr *c = (void *)((char *)h->msg_control + h->msg_controllen);
    *c = (struct cmsghdr){.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(len)};
    h->msg_controllen += CMSG_SPACE(len);
    return CMSG_DATA(c);
}

static void add_segment(struct msghdr *h, uint16_t segment)
{
    if (segment)
        memcpy(add_control(h, IPPROTO_UDP, UDP_SEGMENT, sizeof segment), &segment, sizeof segment);
}

void udp_prepare(struct msghdr *h, struct iovec *iov, const struct udp_message *m, union udp_control *control)
{
    *iov = (struct iovec){(void *)(uintptr_t)m->bytes.at, m->bytes.len};
    *h = (struct msghdr){.msg_iov = iov, .msg_iovlen = 1, .msg_control = control};
    add_segment(h, m->segment);
}

/* To clients. */

static void *room_of(const struct udp_batches *b, unsigned i)
{
    return b->out_bytes + (size_t)i * UDP_ROOM;
}

static void prepare_answers(struct udp_batches *b, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        b->out_iov[i] = (struct iovec){room_of(b, i), UDP_ROOM};
        b->out_headers[i].msg_hdr = (struct msghdr){.msg_iov = &b->out_iov[i],
                                                    .msg_iovlen = 1,
                                                    .msg_control = &b->out_control[i],
                                                    .msg_controllen = sizeof b->out_control[i]};
    }
}

static void address_to_client(struct msghdr *h, union udp_sockaddr *to, const struct udp_session *s)
{
    const struct udp_place *client = &s->key.client;
    *to = (union udp_sockaddr){0};
    h->msg_name = to;
    if (s->port->address.any.sa_family == AF_INET) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons((uint16_t)s->key.client_port);
        memcpy(&to->v4.sin_addr, client->ip.s6_addr + 12, 4);
        h->msg_namelen = sizeof to->v4;
    } else {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons((uint16_t)s->key.client_port);
        to->v6.sin6_addr = client->ip;
        to->v6.sin6_scope_id = client->interface;
        h->msg_namelen = sizeof to->v6;
    }
}

static void address_from(struct msghdr *h, const struct udp_session *s)
{
    const struct udp_place *local = &s->key.local;
    if (!s->port->wildcard || IN6_IS_ADDR_UNSPECIFIED(&local->ip))
        return;
    if (s->port->address.any.sa_family == AF_INET) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->ip.s6_addr + 12, 4);
        memcpy(add_control(h, IPPROTO_IP, IP_PKTINFO, sizeof info), &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_addr = local->ip, .ipi6_ifindex = local->interface};
        memcpy(add_control(h, IPPROTO_IPV6, IPV6_PKTINFO, sizeof info), &info, sizeof info);
    }
}

/* What was received into place i becomes what is sent from it. */
static uint64_t turn_round(struct udp_batches *b, unsigned i, const struct udp_session *s)
{
    struct msghdr *h = &b->out_headers[i].msg_hdr;
    struct udp_message m = {.bytes = slice_of(b->out_iov[i].iov_base, b->out_headers[i].msg_len)};
    read_control(h, &m, false);
    b->out_iov[i].iov_len = m.bytes.len;
    *h = (struct msghdr){.msg_iov = &b->out_iov[i], .msg_iovlen = 1, .msg_control = &b->out_control[i]};
    address_to_client(h, &b->out_to[i], s);
    address_from(h, s);
    add_segment(h, m.segment);
    return udp_datagrams(m.bytes.len, m.segment);
}

int udp_relay_answers(struct udp_batches *b, struct udp_session *s, uint64_t *bytes)
{
    if (b->out_port != s->port || b->out_count + UDP_REPLIES_TURN > UDP_OUT)
        udp_flush(b);
    b->out_port = s->port;
    prepare_answers(b, b->out_count, UDP_REPLIES_TURN);
    int n = recvmmsg(s->fd, b->out_headers + b->out_count, UDP_REPLIES_TURN, MSG_DONTWAIT, NULL);
    if (n <= 0)
        return -1;
    uint64_t datagrams = 0;
    *bytes = 0;
    for (int i = 0; i < n; i++, b->out_count++) {
        *bytes += b->out_headers[b->out_count].msg_len;
        datagrams += turn_round(b, b->out_count, s);
    }
    loop_defer(&b->worker->loop, &b->flush, on_flush);
    return (int)datagrams;
}

static void on_flush(struct task *t)
{
    udp_flush(CONTAINER_OF(t, struct udp_batches, flush));
}

/* The segment's length in a message that was made here; 0 = it is one datagram. */
static uint16_t segment_of(struct msghdr *h)
{
    uint16_t segment = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
    return segment;
}

static void count_sent(const struct udp_batches *b, uint64_t bytes, uint64_t datagrams)
{
    struct listener_worker_stats *stats = b->out_port->listener->stats;
    counter_add(&stats->bytes_out, bytes);
    counter_add(&stats->udp_out, datagrams);
}

/* One by one: where the path takes no segments (its MTU is smaller, or its device cannot). The segment's
 * control message is the last one, and is left away. */
static void send_pieces(struct udp_batches *b, unsigned i, uint16_t segment)
{
    struct msghdr *h = &b->out_headers[i].msg_hdr;
    struct slice rest = slice_of(b->out_iov[i].iov_base, b->out_iov[i].iov_len);
    h->msg_controllen -= CMSG_SPACE(sizeof segment);
    if (!h->msg_controllen)
        h->msg_control = NULL;
    for (; rest.len; rest = slice_skip(rest, segment)) {
        b->out_iov[i] = (struct iovec){(void *)(uintptr_t)rest.at, rest.len < segment ? rest.len : segment};
        if (sendmsg(b->out_port->fd, h, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            count_sent(b, b->out_iov[i].iov_len, 1);
        else
            udp_count_drop(b->out_port->listener, UDP_DROP_SEND, 1);
    }
}

/* The first of them could not be sent; how many are done with. */
static unsigned give_up_on(struct udp_batches *b, unsigned at, int error)
{
    struct msghdr *h = &b->out_headers[at].msg_hdr;
    uint16_t segment = segment_of(h);
    if (segment && (error == EINVAL || error == EMSGSIZE || error == EIO)) {
        send_pieces(b, at, segment);
        return 1;
    }
    /* The socket's buffer is full: the rest would fare no better. */
    unsigned count = error == EAGAIN || error == ENOBUFS ? b->out_count - at : 1;
    uint64_t lost = 0;
    for (unsigned i = at; i < at + count; i++)
        lost += udp_datagrams(b->out_iov[i].iov_len, segment_of(&b->out_headers[i].msg_hdr));
    udp_count_drop(b->out_port->listener, UDP_DROP_SEND, lost);
    return count;
}

void udp_flush(struct udp_batches *b)
{
    unsigned at = 0;
    while (at < b->out_count) {
        int n =
            sendmmsg(b->out_port->fd, b->out_headers + at, b->out_count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            at += give_up_on(b, at, errno);
            continue;
        }
        uint64_t bytes = 0, datagrams = 0;
        for (unsigned end = at + (unsigned)n; at < end; at++) {
            bytes += b->out_iov[at].iov_len;
            datagrams += udp_datagrams(b->out_iov[at].iov_len, segment_of(&b->out_headers[at].msg_hdr));
        }
        count_sent(b, bytes, datagrams);
    }
    b->out_count = 0;
    b->out_port = NULL;
}
