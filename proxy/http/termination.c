#include "proxy/http/termination.h"

#include "proxy/http/exchange.h"

static const char *const words[TERMINATIONS] = {
    [TERMINATION_COMPLETE] = "complete",
    [TERMINATION_REQUEST_REFUSED] = "request_refused",
    [TERMINATION_NO_ROUTE] = "no_route",
    [TERMINATION_DENIED] = "denied",
    [TERMINATION_REQUEST_TIMEOUT] = "request_timeout",
    [TERMINATION_CLIENT_LEFT_SENDING] = "client_left_sending",
    [TERMINATION_CLIENT_LEFT_WAITING] = "client_left_waiting",
    [TERMINATION_CLIENT_LEFT_RECEIVING] = "client_left_receiving",
    [TERMINATION_CLIENT_STALLED] = "client_stalled",
    [TERMINATION_NO_SERVER] = "no_server",
    [TERMINATION_QUEUE_FULL] = "queue_full",
    [TERMINATION_QUEUE_TIMEOUT] = "queue_timeout",
    [TERMINATION_CONCURRENCY] = "concurrency",
    [TERMINATION_LOOP] = "loop",
    [TERMINATION_BREAKER_OPEN] = "breaker_open",
    [TERMINATION_EXCHANGE_TIMEOUT] = "exchange_timeout",
    [TERMINATION_STOPPED] = "stopped",
    [TERMINATION_WEIR_FAILED] = "weir_failed",
    [TERMINATION_CONNECT_FAILED] = "connect_failed",
    [TERMINATION_CONNECT_TIMEOUT] = "connect_timeout",
    [TERMINATION_TLS_FAILED] = "tls_failed",
    [TERMINATION_TLS_TIMEOUT] = "tls_timeout",
    [TERMINATION_SEND_TIMEOUT] = "send_timeout",
    [TERMINATION_RESPONSE_TIMEOUT] = "response_timeout",
    [TERMINATION_ATTEMPT_TIMEOUT] = "attempt_timeout",
    [TERMINATION_BODY_TIMEOUT] = "body_timeout",
    [TERMINATION_SERVER_CLOSED_WAITING] = "server_closed_waiting",
    [TERMINATION_SERVER_CLOSED_RESPONDING] = "server_closed_responding",
    [TERMINATION_BAD_RESPONSE] = "bad_response",
    [TERMINATION_SERVER_DOWN] = "server_down",
    [TERMINATION_IDLE_TIMEOUT] = "idle_timeout",
};

const char *termination_word(enum termination t)
{
    ASSERT(t < TERMINATIONS);
    return words[t];
}

static enum termination of_own_answer(const struct exchange *x)
{
    unsigned status = exchange_meant_status(x);
    switch (status) {
    case 400:
    case 411:
    case 413:
    case 414:
    case 417:
    case 421:
    case 431:
    case 501:
    case 505:
        return TERMINATION_REQUEST_REFUSED;
    case 408:
        return TERMINATION_REQUEST_TIMEOUT;
    case 404:
    case 405:
        return x->route ? TERMINATION_COMPLETE : TERMINATION_NO_ROUTE;
    case 503:
        return x->upstream ? TERMINATION_NO_SERVER : TERMINATION_WEIR_FAILED;
    case 502:
        return TERMINATION_CONNECT_FAILED;
    case 504:
        return TERMINATION_EXCHANGE_TIMEOUT;
    default:
        return status >= 500 ? TERMINATION_WEIR_FAILED : TERMINATION_COMPLETE;
    }
}

static enum termination of_client_gone(const struct exchange *x)
{
    if (x->head_sent)
        return TERMINATION_CLIENT_LEFT_RECEIVING;
    return x->request_done ? TERMINATION_CLIENT_LEFT_WAITING : TERMINATION_CLIENT_LEFT_SENDING;
}

enum termination termination_of(const struct exchange *x)
{
    if (x->end == END_CLIENT_GONE && !x->reason)
        return of_client_gone(x);
    if (x->termination != TERMINATION_COMPLETE)
        return (enum termination)x->termination;
    switch (x->end) {
    case END_COMPLETE:
    case END_CLIENT_GONE:
        return x->reason ? of_own_answer(x) : TERMINATION_COMPLETE;
    case END_SERVER_FAILED:
        return TERMINATION_SERVER_CLOSED_RESPONDING;
    case END_TIMEOUT:
        return x->head_sent ? TERMINATION_CLIENT_STALLED : TERMINATION_REQUEST_TIMEOUT;
    case END_CUT:
        return x->worker->stopping ? TERMINATION_STOPPED : TERMINATION_WEIR_FAILED;
    }
    return TERMINATION_COMPLETE;
}

bool termination_is_failure(enum termination t)
{
    return t > TERMINATION_CLIENT_STALLED;
}
