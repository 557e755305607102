#include "proxy/http/timings.h"

/* The attempt whose response went to the client; else the last one. */
static const struct attempt *attempt_that_counts(const struct exchange *x)
{
    for (const struct attempt *a = x->tries; a; a = a->next)
        if (a->server == x->server && a->status && a->status == x->status)
            return a;
    return x->last_try;
}

void timings_of(const struct exchange *x, struct timings *out)
{
    const struct attempt *a = x->tries ? attempt_that_counts(x) : NULL;
    for (int i = 0; i < TIMINGS; i++)
        out->us[i] = -1;
    if (!a)
        return;

    int64_t end = (int64_t)(loop_now_us(&x->worker->loop) - x->started_us), at = a->started_us;
    out->us[TIMING_QUEUE] = at;
    if (!a->connected_us && !a->sent_us && !a->head_us)
        return; /* no connection */
    int64_t connected = a->connected_us ? a->connected_us : at;
    int64_t tls = a->tls_us < connected - at ? a->tls_us : connected - at;
    out->us[TIMING_CONNECT] = connected - at - tls;
    out->us[TIMING_TLS] = tls;
    if (!a->sent_us && !a->head_us)
        return;
    bool answered_amid = !a->sent_us || (a->head_us && a->head_us < a->sent_us);
    int64_t sent = answered_amid ? a->head_us : a->sent_us;
    out->us[TIMING_SEND] = sent - connected;
    if (!a->head_us)
        return;
    out->us[TIMING_FIRST_BYTE] = a->head_us - sent;
    out->us[TIMING_BODY] = end - a->head_us;
}
