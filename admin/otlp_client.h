/* As much of an HTTP/1.1 client as a collector needs: one POST at a time over one connection, which is kept.
 * All on the exporter's loop; nothing blocks. Of an answer the first OTLP_ANSWER_MAX bytes are read, the rest
 * costs the connection. */
#pragma once

#include "balancer/discovery_host.h"
#include "core/conn.h"
#include "proxy/http/h1/parse.h"
#include "proxy/http/trace_settings.h"

#define OTLP_ANSWER_MAX (64u << 10)
#define OTLP_TEXT_MAX   2048u /* of an answer's body that is looked at */

struct tls_client;

/* Where, and how. */
struct otlp_target {
    char *url; /* what `endpoint` points into, NUL-terminated */
    struct tracing_endpoint endpoint;
    char *head;             /* from the request line to before Content-Length */
    struct tls_client *tls; /* NULL = plain */
    msec_t timeout;
};

/* NULL after config_fault(), which says why. */
struct otlp_target *otlp_target_create(struct config *c, const struct tracing_settings *s);
/* At any time; NULL is allowed. */
void otlp_target_free(struct otlp_target *t);

enum otlp_verdict {
    OTLP_TAKEN,
    OTLP_LATER,   /* may be sent again: no answer, 429, 502, 503, 504 */
    OTLP_REFUSED, /* it would be again */
};

struct otlp_answer {
    enum otlp_verdict verdict;
    unsigned status;    /* 0 = none came */
    const char *reason; /* good during the callback */
    msec_t retry_after; /* 0 = not said */
    uint64_t rejected;  /* of what was taken, spans that were not */
};

struct otlp_client;
typedef void otlp_done(void *argument, const struct otlp_answer *answer);

enum otlp_state {
    OTLP_CLOSED,
    OTLP_RESOLVING,
    OTLP_CONNECTING,
    OTLP_ASKED, /* the answer is waited for */
    OTLP_IDLE,  /* the connection waits for the next message */
};

enum otlp_step { OTLP_HEAD, OTLP_LENGTH, OTLP_CHUNKS, OTLP_TRAILERS, OTLP_TO_END };

struct otlp_client {
    struct loop *loop;
    otlp_done *done;
    void *argument;
    const struct otlp_target *target; /* of the connection, or of what is under way */
    struct slice body;
    enum otlp_state state;
    struct conn conn;
    struct timer deadline, start;
    struct resolver *resolver; /* made when a name is to be resolved */
    struct host *host;
    unsigned turn;  /* which of several addresses is next */
    bool is_reused; /* the connection has carried a message before */
    bool has_begun; /* some of the answer has come */
    bool keeps;     /* the connection may be kept after the answer */
    char failure[96];
    /* The answer. */
    enum otlp_step step;
    size_t scanned, read;
    uint64_t left;
    struct h1_chunked chunked;
    unsigned status;
    msec_t retry_after;
    size_t text_len;
    char text[OTLP_TEXT_MAX];
};

void otlp_client_init(struct otlp_client *c, struct loop *l, otlp_done *done, void *argument);
/* Sends `body`, which stays where it is until done() is called: once, never from inside. None is under way.
 * `t` lives until another one is given, or the client is closed. */
void otlp_client_post(struct otlp_client *c, const struct otlp_target *t, struct slice body);
/* At once; done() is not called. */
void otlp_client_close(struct otlp_client *c);
/* After the loop has ended, too. */
void otlp_client_free(struct otlp_client *c);
