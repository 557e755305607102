/* Pipes through which bytes go from one socket to another without being copied: a pool for each loop. A pipe
 * is somebody's while there are bytes in it, and no longer, so few are enough for many connections; the bound
 * is for many that stand still at once. */
#pragma once

#include "core/base.h"

#define PIPES_MAX      128u /* of one loop */
#define PIPES_IDLE_MAX 16u  /* of those, kept open for who comes next */

struct pipe {
    struct pipe *next; /* of the idle ones */
    int from, to;      /* the ends: to read from, to write to; neither blocks */
};

struct pipe_pool {
    struct pipe *idle;
    unsigned idle_count, count;
};

void pipe_pool_init(struct pipe_pool *p);
/* All pipes are back. */
void pipe_pool_free(struct pipe_pool *p);

/* An empty pipe; NULL when there are as many as there may be, or no descriptors or memory are
 * left. */
struct pipe *pipe_take(struct pipe_pool *p);
/* Gives back one that is empty again. */
void pipe_give(struct pipe_pool *p, struct pipe *pipe);
/* Gives back one with bytes in it, which are lost. */
void pipe_drop(struct pipe_pool *p, struct pipe *pipe);
