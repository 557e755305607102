#include "core/pipe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PIPE_BYTES     (256 << 10)
#define PIPE_BYTES_MIN (64 << 10) /* the kernel's default */

static void destroy(struct pipe_pool *p, struct pipe *pipe)
{
    close(pipe->from);
    close(pipe->to);
    free(pipe);
    p->count--;
}

void pipe_pool_init(struct pipe_pool *p)
{
    *p = (struct pipe_pool){0};
}

void pipe_pool_free(struct pipe_pool *p)
{
    while (p->idle) {
        struct pipe *next = p->idle->next;
        destroy(p, p->idle);
        p->idle = next;
    }
    p->idle_count = 0;
}

static struct pipe *make(struct pipe_pool *p)
{
    int ends[2];
    if (p->count >= PIPES_MAX)
        return NULL;
    struct pipe *pipe = malloc(sizeof *pipe);
    if (!pipe)
        return NULL;
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(pipe);
        return NULL;
    }
    *pipe = (struct pipe){.from = ends[0], .to = ends[1]};
    p->count++;
    /* Above /proc/sys/fs/pipe-user-pages-soft a user's pipes stay as they are, and new ones are tiny: copying
     * is cheaper then. */
    if (fcntl(pipe->from, F_SETPIPE_SZ, PIPE_BYTES) < 0 && fcntl(pipe->from, F_GETPIPE_SZ) < PIPE_BYTES_MIN) {
        destroy(p, pipe);
        return NULL;
    }
    return pipe;
}

struct pipe *pipe_take(struct pipe_pool *p)
{
    struct pipe *pipe = p->idle;
    if (!pipe)
        return make(p);
    p->idle = pipe->next;
    p->idle_count--;
    return pipe;
}

void pipe_give(struct pipe_pool *p, struct pipe *pipe)
{
    if (p->idle_count >= PIPES_IDLE_MAX) {
        destroy(p, pipe);
        return;
    }
    pipe->next = p->idle;
    p->idle = pipe;
    p->idle_count++;
}

void pipe_drop(struct pipe_pool *p, struct pipe *pipe)
{
    destroy(p, pipe);
}
