/* A request as the exemplar of a histogram's bucket: what a worker's clock gives it the time for, a few times
 * a second, not what every request pays for. */
#include "proxy/http/exchange_internal.h"
#include "proxy/http/trace.h"

/* Of a trace that is kept: others are to be found nowhere. */
static struct slice trace_id(struct exchange *x)
{
    return x->trace && x->trace->sampled ? trace_id_text(x) : S("");
}

void exchange_exemplar(struct exchange *x, struct exemplars *e, unsigned bucket, usec_t value)
{
    struct worker *w = x->worker;
    struct exemplar_text text = {.value = value, .wall_us = loop_wall_us(&w->loop)};
    if (exemplar_text_set(&text, x->request_id, trace_id(x)))
        exemplars_take(e, bucket, loop_now_us(&w->loop), &w->exemplars_left, &text);
}
