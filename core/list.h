/* A doubly linked list whose nodes are embedded in what is listed. A node that is in no list points to
 * itself, so that removing it twice is harmless. */
#pragma once

#include "core/base.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Whether a node is in some list. */
static inline bool list_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_before(struct list *place, struct list *node)
{
    node->prev = place->prev;
    node->next = place;
    place->prev->next = node;
    place->prev = node;
}

static inline void list_append(struct list *l, struct list *node)
{
    list_insert_before(l, node);
}

static inline void list_prepend(struct list *l, struct list *node)
{
    list_insert_before(l->next, node);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves all of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* for LIST_EACH(node, &list) { struct thing *t = CONTAINER_OF(node, struct thing, link); … } */
#define LIST_EACH(node, l) for (struct list *node = (l)->next; node != (l); node = node->next)
/* The same where the body may remove the node. */
#define LIST_EACH_SAFE(node, l)                                                                              \
    for (struct list *node = (l)->next, *node##_next = node->next; node != (l);                              \
         node = node##_next, node##_next = node->next)
