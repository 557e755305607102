#include "core/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *m)
{
    atomic_init(&m->top, NULL);
    m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return m->fd < 0 ? -1 : 0;
}

void mailbox_free(struct mailbox *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

void mailbox_post(struct mailbox *m, struct letter *l)
{
    struct letter *top = atomic_load_explicit(&m->top, memory_order_relaxed);
    do {
        l->next = top;
    } while (
        !atomic_compare_exchange_weak_explicit(&m->top, &top, l, memory_order_release, memory_order_relaxed));
    if (top)
        return;
    uint64_t one = 1;
    /* A full counter (EAGAIN) is readable all the same, which is all that is wanted. */
    while (write(m->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void mailbox_deliver(struct mailbox *m)
{
    uint64_t count;
    while (read(m->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    struct letter *newest = atomic_exchange_explicit(&m->top, NULL, memory_order_acquire);
    struct letter *oldest = NULL;
    while (newest) {
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct letter *next = oldest->next;
        oldest->deliver(oldest);
        oldest = next;
    }
}
