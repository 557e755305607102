/* A piece of work that waits in a list of the loop: the ready list (run after the pass) or the graveyard
 * (memory that is freed after the pass). Embedded in the object that it is about. */
#pragma once

#include "core/list.h"

struct task {
    struct list link;
    void (*run)(struct task *);
};

static inline void task_init(struct task *t)
{
    list_init(&t->link);
    t->run = NULL;
}
