#include "proxy/http/error_page.h"

#include <strings.h>

#include "core/log.h"
#include "proxy/http/fields.h"

/* RFC 9110 §12.4.2: of a member's parameters. */
static bool has_weight_0(struct slice parameters)
{
    struct slice parameter;
    while (slice_next(&parameters, ';', &parameter)) {
        if (parameter.len < 2 || !slice_equal_nocase(slice_of(parameter.at, 2), S("q=")))
            continue;
        struct slice weight = slice_skip(parameter, 2);
        for (size_t i = 0; i < weight.len; i++)
            if (weight.at[i] != '0' && weight.at[i] != '.')
                return false;
        return true;
    }
    return false;
}

static bool is_json(struct slice type)
{
    struct slice suffix = S("+json");
    return slice_equal_nocase(type, S("application/json")) ||
           (type.len > suffix.len && slice_equal_nocase(slice_skip(type, type.len - suffix.len), suffix));
}

/* Whether the client names JSON (RFC 6839 §3.1 too) before HTML (RFC 9110 §12.5.1). */
static bool accepts_json(const struct exchange *x)
{
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        const struct field *f = &x->request.fields.at[i];
        if (f->id != FIELD_ACCEPT)
            continue;
        struct slice rest = f->value, element;
        while (slice_next(&rest, ',', &element)) {
            struct slice type = slice_trim(slice_of(element.at, slice_find(element, ';')));
            if (has_weight_0(slice_skip(element, type.len)))
                continue;
            if (slice_equal_nocase(type, S("text/html")))
                return false;
            if (is_json(type))
                return true;
        }
    }
    return false;
}

/* Text that a client sent, made harmless for HTML. */
static struct slice escape_html(struct arena *a, struct slice s)
{
    char *out = arena_alloc(a, s.len * 6 + 1);
    size_t n = 0;
    if (!out)
        return (struct slice){"", 0};
    for (size_t i = 0; i < s.len; i++) {
        const char *entity = s.at[i] == '<'   ? "&lt;"
                             : s.at[i] == '>' ? "&gt;"
                             : s.at[i] == '&' ? "&amp;"
                             : s.at[i] == '"' ? "&quot;"
                                              : NULL;
        size_t len = entity ? strlen(entity) : 1;
        memcpy(out + n, entity ? entity : &s.at[i], len);
        n += len;
    }
    return slice_of(out, n);
}

static struct slice json_page(struct exchange *x, unsigned status, struct slice title)
{
    char *id = arena_alloc(&x->arena, x->request_id.len * 6 + 1);
    size_t len = id ? json_escape(x->request_id, id, x->request_id.len * 6) : 0;
    return slice_text(arena_printf(
        &x->arena, "{\"type\":\"about:blank\",\"title\":\"%.*s\",\"status\":%u,\"request_id\":\"%.*s\"}\n",
        SLICE_FMT(title), status, (int)len, id ? id : ""));
}

static struct slice html_page(struct exchange *x, unsigned status, struct slice title)
{
    struct slice id = escape_html(&x->arena, x->request_id);
    return slice_text(arena_printf(
        &x->arena,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%u %.*s</title>\n"
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32em;padding:0 "
        "1em;color:#333}"
        "h1{font-weight:600}small{color:#777}@media(prefers-color-scheme:dark){body{background:#111;color:#"
        "ddd}}</style>\n"
        "</head><body><h1>%u %.*s</h1><p><small>Request %.*s</small></p></body></html>\n",
        status, SLICE_FMT(title), status, SLICE_FMT(title), SLICE_FMT(id)));
}

/* A head alone, which says the status of gRPC ("Trailers-Only"). */
static void answer_grpc(struct exchange *x, unsigned status)
{
    struct fields extra = {0};
    struct slice title = status_reason(status);
    enum grpc_status code = grpc_status_of(status, (enum termination)x->termination);
    const char *text = arena_printf(&x->arena, "%.*s; request %.*s",
                                    SLICE_FMT(title.len ? title : S("Error")), SLICE_FMT(x->request_id));
    const char *number = arena_printf(&x->arena, "%d", (int)code);
    char *room = text ? arena_alloc(&x->arena, 3 * strlen(text) + 1) : NULL;
    x->meant_status = (uint16_t)status;
    if (!number || !room ||
        fields_add(&x->arena, &extra, FIELD_OTHER, S("grpc-status"), slice_text(number)) != 0 ||
        fields_add(&x->arena, &extra, FIELD_OTHER, S("grpc-message"),
                   grpc_encode_message(slice_text(text), room)) != 0) {
        x->end = END_CUT;
        x->down_ops->cut(x);
        return;
    }
    if (x->request_id.len)
        fields_add(&x->arena, &extra, FIELD_X_REQUEST_ID, S("X-Request-Id"), x->request_id);
    exchange_answer(x, 200, S("application/grpc"), S(""), &extra);
}

void answer_error(struct exchange *x, unsigned status)
{
    if (x->is_grpc) {
        answer_grpc(x, status);
        return;
    }
    struct slice title = status_reason(status);
    const struct error_page *page = x->route ? route_error_page(x->route, status) : NULL;
    struct fields extra = {0};
    if (title.len == 0)
        title = (struct slice)SLICE("Error");
    if (status == 405) {
        struct slice allow = router_allow(x->snapshot->router, x->match.allow, &x->arena);
        fields_add(&x->arena, &extra, FIELD_OTHER, S("Allow"), allow);
    } else if (status == 503) {
        fields_add(&x->arena, &extra, FIELD_RETRY_AFTER, S("Retry-After"), S("1"));
    }
    if (x->request_id.len)
        fields_add(&x->arena, &extra, FIELD_X_REQUEST_ID, S("X-Request-Id"), x->request_id);
    if (page && page->body.at) {
        exchange_answer(x, status, page->type, page->body, &extra);
        return;
    }
    fields_add(&x->arena, &extra, FIELD_CACHE_CONTROL, S("Cache-Control"), S("no-store"));
    if (accepts_json(x))
        exchange_answer(x, status, S("application/problem+json"), json_page(x, status, title), &extra);
    else
        exchange_answer(x, status, S("text/html; charset=utf-8"), html_page(x, status, title), &extra);
}
