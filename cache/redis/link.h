/* One connection to Redis: made when it is wanted, greeted (AUTH, SELECT, PING), and made anew after a
 * failure, each time after a longer pause. Commands go out at once and are answered in their order. Nothing
 * here waits. */
#pragma once

#include <sys/uio.h>

#include "cache/redis.h"
#include "cache/redis/reader.h"
#include "core/conn.h"

#define REDIS_LINK_PENDING     1024u /* commands without an answer; a power of two */
#define REDIS_LINK_ARGUMENTS   12
#define REDIS_LINK_REASON_MAX  160
#define REDIS_LINK_PAUSES      30u /* the longest pause, in first ones */
#define REDIS_LINK_PATIENCE_MS 5000u

enum redis_link_state {
    REDIS_LINK_IDLE,     /* nobody wants it */
    REDIS_LINK_GREETING, /* connecting, or waiting for the answers to the greeting */
    REDIS_LINK_UP,
    REDIS_LINK_WAITING, /* until the pause is over */
    REDIS_LINK_CLOSED,
};

struct redis_link;

/* Each may close the link, or fail it. */
struct redis_link_handler {
    /* Where to; false: not known yet. */
    bool (*target)(struct redis_link *l, struct address *out);
    void (*up)(struct redis_link *l);
    /* The answer to the command `about`; NULL = it was forgotten, or it was published to a subscriber. */
    void (*reply)(struct redis_link *l, void *about, const struct redis_reply *reply);
    /* Every command that was not answered. Called for each, before down(). */
    void (*lost)(struct redis_link *l, void *about);
    /* It is not up any more, or did not become so: `reason`. The next try is arranged. */
    void (*down)(struct redis_link *l, const char *reason);
};

struct redis_link {
    struct conn conn;
    struct loop *loop;
    const struct redis_link_handler *handler;
    const struct cache_redis_settings *settings;
    struct redis_reader *reader;
    enum redis_link_state state;
    bool watched;      /* an answer that does not come for REDIS_LINK_PATIENCE_MS ends the connection */
    bool subscribed;   /* what comes answers no command */
    size_t reply_max;  /* bytes of one answer */
    msec_t greet_max;  /* so quickly must PING be answered; 0 = in the time of the connect */
    usec_t greeted_us; /* when PING was sent */
    unsigned failures; /* in a row */
    struct timer pause;
    uint64_t sent, answered; /* commands; the next ticket, and the next to be answered */
    void *pending[REDIS_LINK_PENDING];
};

void redis_link_init(struct redis_link *l, struct loop *loop, const struct cache_redis_settings *settings,
                     const struct redis_link_handler *h, size_t reply_max);
/* Connects, unless it is at it, or in a pause. */
void redis_link_start(struct redis_link *l);
/* In a pause: now. */
void redis_link_hurry(struct redis_link *l);
/* At once and for good; nothing is called any more. What waits is the owner's. Its memory must outlive the
 * pass. */
void redis_link_close(struct redis_link *l);
/* It is of no use as it is: lost(), down(), a pause. */
void redis_link_fail(struct redis_link *l, const char *reason);
/* It serves: the next pause is a short one. */
static inline void redis_link_good(struct redis_link *l)
{
    l->failures = 0;
}

static inline unsigned redis_link_pending(const struct redis_link *l)
{
    return (unsigned)(l->sent - l->answered);
}

/* Sends a command; with `body`, these bytes are its last argument. The reply comes with `about`, and never
 * from inside. 0, or -1 when the link is not up or has too much to do. */
int redis_link_send(struct redis_link *l, const struct slice *arguments, int count, const struct iovec *body,
                    int body_count, void *about);
/* From now on everything that comes is a reply about nothing, and of commands only PING is left. 0 or -1. */
int redis_link_subscribe(struct redis_link *l, struct slice channel);
/* The ticket that the last command has. */
static inline uint64_t redis_link_ticket(const struct redis_link *l)
{
    return l->sent - 1;
}
/* Its answer is nobody's any more. */
void redis_link_forget(struct redis_link *l, uint64_t ticket);
