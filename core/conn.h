/* A byte connection: a non-blocking socket on one loop, plain or with a transport (TLS) over it, under one
 * interface.
 *
 * Ownership: embedded in the object that uses it (its owner), which alone closes it. conn_close() is
 * idempotent and takes effect at once - no callback comes after it - but the owner's memory must live until
 * the pass ends (loop_bury). Every callback may close the connection; whoever calls something that can run
 * one looks at `closed` before going on.
 *
 * Reading: events are edge-triggered and registered once. `can_read` remembers an edge that has not been used
 * up. The handler's readable() calls conn_read() once or more; if it stops before CONN_AGAIN (its turn is up,
 * or back-pressure), it calls conn_yield() to be called again after this pass, or sets want_read = false and
 * later conn_want_read(). Bytes are read into the loop's buffer and are gone after the callback: what is not
 * consumed goes to conn_keep(). An idle connection owns no buffer. CONN_EOF calls readable() once. A reset is
 * noticed whether or not somebody reads, but behind unread bytes only when they are read; one that came in
 * the same edge as the last bytes is found 100 ms after them.
 *
 * Writing: conn_write() sends at once what the socket takes and keeps the rest. The writer looks at
 * conn_backlog() and stops its source above CONN_HIGH_WATER; drained() comes when the backlog is back under
 * CONN_LOW_WATER. conn_write_some() keeps nothing: the writer has the bytes, and drained() says when to come
 * again; so does conn_send_file(). A write error is never reported inside conn_write(): failed() comes after
 * the pass, once. What the peer said before (an early answer) is still read: readable() is called first, and
 * the handler may close there on CONN_EOF or CONN_ERROR. */
#pragma once

#include "core/address.h"
#include "core/buffer.h"
#include "core/loop.h"

#define CONN_HIGH_WATER (256u << 10)
#define CONN_LOW_WATER  (64u << 10)
#define CONN_SPLICE_MIN (16u << 10) /* fewer bytes are cheaper to copy than to splice */
#define CONN_MAGIC      0x434f4e4eu

struct conn;

enum conn_status {
    CONN_DATA,  /* there is something new */
    CONN_AGAIN, /* nothing now; readable() will come */
    CONN_EOF,   /* the peer will send no more */
    CONN_ERROR, /* reset, or the transport broke: errno */
};

struct conn_handler {
    void (*connected)(struct conn *); /* the connect is done, and the transport's handshake, if it has one */
    void (*readable)(struct conn *);  /* bytes or the end are there */
    void (*drained)(struct conn *);   /* the backlog fell under the low-water mark; may be NULL */
    void (*timeout)(struct conn *);   /* conn_timer() ran out */
    void (*failed)(struct conn *,
                   int error); /* connect, handshake or socket failed; an errno. The handler closes. */
};

/* What TLS puts between the bytes on the wire and the handler. */
struct conn_transport {
    const char *name;
    /* Goes on with the handshake; CONN_DATA = done. */
    enum conn_status (*handshake)(struct conn *);
    /* Plain bytes; > 0, 0 = end, -EAGAIN, or another -errno. Sets c->transport_pending when more can be had
     * without an edge; so does the last step of the handshake. */
    ssize_t (*read)(struct conn *, char *buf, size_t size);
    /* Takes all of it (ciphertext goes to conn_raw_write). 0 or -errno. */
    int (*write)(struct conn *, const struct iovec *iov, int count);
    /* Says to the peer that no more will come (close_notify). */
    void (*shutdown)(struct conn *);
    void (*destroy)(struct conn *);
};

struct conn {
    uint32_t magic;
    int fd; /* -1 when closed */
    struct loop *loop;
    const struct conn_handler *handler;
    bool closed : 1;
    bool connecting : 1;
    bool handshaking : 1;
    bool want_read : 1;
    bool can_read : 1; /* an edge that is not used up */
    bool can_write : 1;
    bool hangup : 1;     /* the peer has shut its side: read until CONN_EOF even after a short read */
    bool eof : 1;        /* CONN_EOF was returned */
    bool broken : 1;     /* failed() is on its way, or was told */
    bool last_words : 1; /* a write failed: what came before may still be read */
    bool failure_told : 1;
    bool transport_pending : 1;
    bool draining_told : 1; /* drained() is owed: the backlog is over the low-water mark, or somebody has more
                               to send */
    bool more_follows : 1;  /* conn_write_more() */
    bool shutdown_wanted : 1;
    bool shutdown_done : 1;
    bool watched : 1; /* the loop tells its events; see conn_accept */
    int error;
    const struct conn_transport *transport; /* NULL = plain */
    void *transport_state;
    struct buffer out;
    struct pipe *pipe; /* conn_splice: bytes that were read for this connection and go out before `out`; NULL
                          = none. The socket is full then: can_write is false. */
    uint32_t piped;    /* of them, those in the pipe */
    char *kept;        /* bytes that the handler did not consume */
    uint32_t kept_len, kept_capacity;
    uint64_t bytes_in, bytes_out; /* on the wire */
    struct event event;
    struct timer timer; /* conn_timer */
    struct timer look;  /* runs while the last read was short: was that all? */
    struct task task;
    void (*gone)(struct conn *);      /* conn_linger */
    void *owner;                      /* for a handler whose memory this is not in; conn.c leaves it alone */
    uint32_t linger_ms, handshake_ms; /* conn_linger; conn_timer_connect */
    uint64_t linger_sent;             /* bytes_out when the timer was set */
};

/* Takes over a connected socket (non-blocking). 0, or -1 (the descriptor is closed). */
int conn_open(struct conn *c, struct loop *l, int fd, const struct conn_handler *h);

/* As conn_open(), for a socket that was just accepted: what its client says first has mostly come already, so
 * that is looked for after this pass, by a read, and the loop is asked for events only when the connection
 * has to wait for bytes, or for room to write. Many connections end before. While nobody wants to read,
 * nothing is noticed of the client for up to 100 ms. */
void conn_accept(struct conn *c, struct loop *l, int fd, const struct conn_handler *h);

/* Starts a connect; connected() or failed() follows, never from inside. `source` may be NULL. 0, or -1 with
 * errno when not even a socket could be had (c is closed). */
int conn_connect(struct conn *c, struct loop *l, const struct address *to, const struct address *source,
                 const struct conn_handler *h);

/* Puts a transport over the connection; its handshake starts now (or when the connect is done), and
 * connected() tells its end. */
void conn_set_transport(struct conn *c, const struct conn_transport *t, void *state);

/* Closes at once. What is unsent is lost. */
void conn_close(struct conn *c);

/* Closes with a reset, so that the peer cannot take what it got for the whole. */
void conn_reset(struct conn *c);

/* Reads once. After CONN_DATA call conn_keep() with what is left, even when that is nothing. *in is
 * everything not consumed, kept bytes first; valid until the callback returns, and until the next read of any
 * connection on the loop. On CONN_EOF and CONN_AGAIN it holds what was kept. */
enum conn_status conn_read(struct conn *c, struct slice *in);

/* Likewise, at most `max` new bytes of a plain connection: what is behind them may be spliced. */
enum conn_status conn_read_some(struct conn *c, struct slice *in, size_t max);

/* What was kept by conn_keep(); parse it before reading more when a new message may begin there. */
static inline struct slice conn_kept(const struct conn *c)
{
    return slice_of(c->kept, c->kept_len);
}

/* Keeps what is left of the slice that conn_read() or conn_kept() gave (empty = nothing, and frees). -1 when
 * out of memory. */
int conn_keep(struct conn *c, struct slice rest);

/* Call readable() again after this pass if there may be more. */
void conn_yield(struct conn *c);

/* Stops or goes on with reading. Going on calls readable() after this pass when kept bytes or an unused edge
 * are there. */
void conn_want_read(struct conn *c, bool want);

/* 0, or -1 when the connection is broken (failed() is on its way, or it is closed). */
int conn_write(struct conn *c, const struct iovec *iov, int count);

/* Sends what the socket takes now and keeps nothing: the bytes taken. When that is not all, drained() comes.
 * For connections without a transport; on a broken one nothing is taken. */
size_t conn_write_some(struct conn *c, const struct iovec *iov, int count);

/* As conn_write(); conn_send_file() is to follow at once, and what this leaves in the socket goes out with
 * it: call it in any case. */
int conn_write_more(struct conn *c, const struct iovec *iov, int count);

/* As conn_write_some(), for bytes of a file that stand still until they are sent: no copy is made of them. */
size_t conn_send_file(struct conn *c, int fd, uint64_t offset, size_t bytes);

enum conn_spliced {
    SPLICE_MOVED, /* all that was asked for, or as much as one turn may: conn_yield(from) */
    SPLICE_EMPTY, /* `from` has nothing more now; readable() will come */
    SPLICE_FULL,  /* `to` takes nothing more now; drained() will come */
    SPLICE_NOT,   /* nothing was moved by the last step: conn_read() tells the end, or copies */
};

/* Moves up to `max` bytes from one plain connection to another without copying them; *moved is how many were
 * taken from `from`. What `to` does not take yet is its backlog; nothing is read for it before that is sent.
 * As with conn_write(), nothing is told inside: a reset of either side comes by its failed(). It pays for
 * some 16 KiB and more: there are two system calls instead of two, but one more to find that there is
 * nothing. Where it cannot be done (a transport, bytes that were kept, no pipe) the bytes are to be read and
 * written. */
enum conn_spliced conn_splice(struct conn *from, struct conn *to, uint64_t max, size_t *moved);

/* Somebody waits until the socket takes more. */
static inline bool conn_is_stuck(const struct conn *c)
{
    return c->out.bytes || c->draining_told;
}

/* Bytes accepted by conn_write and conn_splice and not yet by the socket. */
static inline size_t conn_backlog(const struct conn *c)
{
    return c->out.bytes + c->piped;
}

/* Whether drained() may be told. */
static inline bool conn_is_drained(const struct conn *c)
{
    return c->out.bytes <= CONN_LOW_WATER && c->piped == 0;
}

/* No more will be written: half-closes when the backlog is out. */
void conn_shutdown(struct conn *c);

/* timeout() after `delay`, replacing what was set; one store when it moves later. */
void conn_timer(struct conn *c, msec_t delay);
static inline void conn_timer_pause(struct conn *c)
{
    timer_pause(&c->timer);
}

/* The time for a connect that is under way, and what the transport's handshake then has; 0 = the handshake
 * must be done in the connect's time. */
static inline void conn_timer_connect(struct conn *c, msec_t connect_ms, msec_t handshake_ms)
{
    c->handshake_ms = handshake_ms < UINT32_MAX ? (uint32_t)handshake_ms : UINT32_MAX;
    conn_timer(c, connect_ms);
}

/* The closing of a connection whose peer may still be sending (RFC 9112 §9.6): sends the backlog, as long as
 * it moves at least once in `for_ms`; half-closes; reads and drops what comes until the peer ends, at most
 * `for_ms` more; then closes and calls gone(c) (at once when it is closed already). The handler gets nothing
 * more. */
void conn_linger(struct conn *c, msec_t for_ms, void (*gone)(struct conn *));

/* For transports: the bytes on the wire. conn_raw_read as recv(2): > 0, 0, -EAGAIN, -errno. */
ssize_t conn_raw_read(struct conn *c, char *buf, size_t size);
int conn_raw_write(struct conn *c, const struct iovec *iov, int count);
/* Lets go of the transport without closing (its state is destroyed). */
void conn_drop_transport(struct conn *c);

/* The peer's and the own address of the socket. 0 or -1. */
int conn_peer(const struct conn *c, struct address *out);
int conn_local(const struct conn *c, struct address *out);
