/* What a proxy has to know of WebSocket (RFC 6455): the proof in its handshake, and where a frame ends - a
 * Close of its own can only stand between two. Payloads are skipped by their length, never looked at. */
#pragma once

#include "core/arena.h"
#include "proxy/http/message.h"

/* A new Sec-WebSocket-Key: 16 random bytes in base64 (§4.1); empty when there are none to be had. */
struct slice websocket_key(struct arena *a);

/* The Sec-WebSocket-Accept that proves that `key` was understood (§4.2.2); empty when out of memory. */
struct slice websocket_accept(struct arena *a, struct slice key);

/* Whether the 101 proves that it understood the request's key (§4.1): for a client that knows no key, as it
 * asked by an extended CONNECT (RFC 8441). */
bool websocket_agrees(struct arena *a, const struct fields *request, const struct fields *response);

/* Makes of a yes - a 101, or a 2xx to an extended CONNECT - the one for a client of HTTP/2 (RFC 8441 §5): a
 * 200 without what belongs to the connection. The Upgrade goes with the other hop-by-hop fields. */
void websocket_answer_connect(struct http_response *r);
/* And of that one the 101 for a client of HTTP/1.1, which waits for the proof that its key was seen. 0, or -1
 * when out of memory. */
int websocket_answer_upgrade(struct arena *a, const struct fields *request, struct http_response *r);

/* One direction's frames (§5.2), followed. Zero but for `masked` at the beginning. */
struct websocket_frames {
    bool masked; /* what a client sends is, what a server sends is not (§5.1) */
    bool lost;   /* these are no frames: nothing is known any more */
    bool closed; /* a Close has passed whole */
    uint8_t opcode;
    uint8_t head_len, head_size; /* bytes of the head that have come, and all of them as far as is known */
    uint64_t left;               /* of the payload; while the head comes, what has come of its length */
};

/* The bytes at the front of `in` that belong to the frame under way, or to the next: at most up to its end.
 * All of them once it is lost. */
size_t websocket_next(struct websocket_frames *f, struct slice in);

/* Nothing of a frame is under way: another's may follow. */
static inline bool websocket_is_between(const struct websocket_frames *f)
{
    return !f->lost && f->head_len == 0;
}

#define WEBSOCKET_GOING_AWAY 1001 /* §7.4.1 */
#define WEBSOCKET_CLOSE_MAX  8

/* Writes a Close frame with that code (§5.5.1), masked with `mask` or not; its length. */
size_t websocket_close(uint16_t code, bool masked, uint32_t mask, char out[WEBSOCKET_CLOSE_MAX]);
