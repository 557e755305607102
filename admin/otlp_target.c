/* Where messages go: the endpoint of `tracing`, the head that they are sent with, and TLS. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/otlp_client_internal.h"
#include "tls/client.h"

static char *make_head(const struct tracing_settings *s, const struct tracing_endpoint *e)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    fprintf(f,
            "POST %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir/" WEIR_VERSION
            "\r\nAccept: application/json\r\nContent-Type: application/json\r\n",
            SLICE_FMT(e->path), SLICE_FMT(e->authority));
    for (size_t i = 0; i < s->headers.count; i++)
        fprintf(f, "%.*s: %.*s\r\n", SLICE_FMT(s->headers.at[i].name), SLICE_FMT(s->headers.at[i].value));
    bool failed = ferror(f) != 0;
    if (fclose(f) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}

struct otlp_target *otlp_target_create(struct config *c, const struct tracing_settings *s)
{
    const struct tls_client_settings usual = {.node = s->node, .verify = true};
    struct otlp_target *t = calloc(1, sizeof *t);
    const char *why = "out of memory";
    if (!t || !(t->url = strndup(s->endpoint.at, s->endpoint.len)) ||
        tracing_endpoint_read(slice_text(t->url), &t->endpoint, &why) != 0 ||
        !(t->head = make_head(s, &t->endpoint))) {
        config_fault(c, s->node, "%s", why);
        otlp_target_free(t);
        return NULL;
    }
    t->timeout = s->timeout;
    if (t->endpoint.is_tls) {
        t->tls = tls_client_create(c, s->tls ? s->tls->node : s->node, s->tls ? s->tls : &usual, 1);
        if (!t->tls) {
            otlp_target_free(t);
            return NULL;
        }
    }
    return t;
}

void otlp_target_free(struct otlp_target *t)
{
    if (!t)
        return;
    tls_client_free(t->tls);
    free(t->head);
    free(t->url);
    free(t);
}
