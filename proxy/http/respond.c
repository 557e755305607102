#include "proxy/http/respond.h"

#include "proxy/http/fields.h"

static void respond(struct exchange *x)
{
    const struct route_respond *r = &x->route->respond;
    struct fields extra = {0};
    struct slice body, type = {0};
    if (template_expand(&r->body, &x->arena, exchange_variable, x, &body) != 0 ||
        edits_apply(&r->headers, &extra, &x->arena, exchange_variable, x) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    if (body.len && !fields_find(&extra, FIELD_CONTENT_TYPE))
        type = (struct slice)SLICE("text/plain; charset=utf-8");
    exchange_answer(x, r->status, type, body, &extra);
}

static void redirect(struct exchange *x)
{
    struct fields extra = {0};
    struct slice to;
    if (template_expand(&x->route->redirect.to, &x->arena, exchange_variable, x, &to) != 0 ||
        (to = edits_safe_value(&x->arena, to)).at == NULL ||
        fields_add(&x->arena, &extra, FIELD_LOCATION, S("Location"), to) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    exchange_answer(x, x->route->redirect.status, S(""), S(""), &extra);
}

const struct responder respond_responder = {.name = "respond", .start = respond};
const struct responder redirect_responder = {.name = "redirect", .start = redirect};
