/* Letters to a loop from other threads: a queue of many producers and one consumer, with an eventfd that is
 * written only when the queue was empty. The loop delivers them in the order of sending, on its own thread.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

struct letter {
    struct letter *next;
    void (*deliver)(struct letter *); /* on the receiver's thread; owns the letter from then on */
};

struct mailbox {
    _Atomic(struct letter *) top; /* newest first; the consumer turns it round */
    int fd;                       /* eventfd, non-blocking */
};

/* 0, or -1 with errno. */
int mailbox_init(struct mailbox *m);
/* When no thread can post any more. Does not deliver. */
void mailbox_free(struct mailbox *m);

/* From any thread. */
void mailbox_post(struct mailbox *m, struct letter *l);

/* On the owner's thread, when fd is readable. */
void mailbox_deliver(struct mailbox *m);
