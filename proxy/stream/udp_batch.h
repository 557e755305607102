/* Many datagrams a system call: recvmmsg and sendmmsg, and several of one length as one message (UDP_GRO,
 * UDP_SEGMENT). One set of buffers a worker; their pages cost memory once they are used. */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "core/base.h"
#include "core/slice.h"
#include "core/task.h"

struct worker;
struct udp_port;
struct udp_session;

#define UDP_TURN         32          /* messages from clients in one turn of a socket */
#define UDP_REPLIES_TURN 16          /* from one server's socket */
#define UDP_OUT          64          /* to clients in one call */
#define UDP_ROOM         (64u << 10) /* for one message */

/* An address of either family (IPv4 as ::ffff:a.b.c.d), and the interface where only that makes it one:
 * link-local addresses. All zero = none. */
struct udp_place {
    struct in6_addr ip;
    uint32_t interface;
};

/* Datagrams of one client, as they came. */
struct udp_message {
    struct udp_place client, local; /* local: all zero where the socket has an address of its own */
    uint16_t client_port;
    uint16_t segment; /* of this many bytes each, the last may be shorter; 0 = it is one datagram */
    int next;         /* of the same session; -1 = none */
    struct slice bytes;
};

union udp_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) + 32];
};

union udp_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct udp_batches {
    struct worker *worker;
    struct udp_message in[UDP_TURN];
    struct mmsghdr in_headers[UDP_TURN];
    struct iovec in_iov[UDP_TURN];
    union udp_control in_control[UDP_TURN];
    union udp_sockaddr in_from[UDP_TURN];
    char *in_bytes;
    /* To one server. */
    struct mmsghdr up_headers[UDP_TURN];
    union udp_control up_control[UDP_TURN];
    /* To clients, by one port. */
    struct udp_port *out_port;
    unsigned out_count;
    struct mmsghdr out_headers[UDP_OUT];
    struct iovec out_iov[UDP_OUT];
    union udp_control out_control[UDP_OUT];
    union udp_sockaddr out_to[UDP_OUT];
    char *out_bytes;
    struct task flush;
};

struct udp_batches *udp_batches_create(struct worker *w);

/* Reads up to UDP_TURN messages from clients into b->in; how many. */
int udp_receive(struct udp_batches *b, const struct udp_port *p);

/* Reads answers of the session's server and puts them up to be sent after this pass, or as soon as there is
 * no more room. How many datagrams, their bytes in *bytes; -1 with errno. */
int udp_relay_answers(struct udp_batches *b, struct udp_session *s, uint64_t *bytes);
/* Sends what is put up. */
void udp_flush(struct udp_batches *b);

/* The header of a message on a connected socket; `control` has to live as long. */
void udp_prepare(struct msghdr *h, struct iovec *iov, const struct udp_message *m,
                 union udp_control *control);
/* How many datagrams are in it. */
static inline uint64_t udp_datagrams(size_t len, uint16_t segment)
{
    return segment && len ? (len + segment - 1) / segment : 1;
}
