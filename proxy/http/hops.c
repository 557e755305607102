#include "proxy/http/hops.h"

#include "proxy/http/fields.h"

/* Takes one member of a list whose members may have comments (RFC 9110 §5.6.5), which may hold commas. */
static struct slice next_member(struct slice *rest)
{
    unsigned depth = 0;
    size_t i = 0;
    for (; i < rest->len && (depth || rest->at[i] != ','); i++) {
        if (depth && rest->at[i] == '\\')
            i++;
        else if (rest->at[i] == '(')
            depth++;
        else if (depth && rest->at[i] == ')')
            depth--;
    }
    i = i < rest->len ? i : rest->len;
    struct slice member = slice_trim(slice_of(rest->at, i));
    *rest = slice_skip(*rest, i + 1);
    return member;
}

/* "1.1 weir", "HTTP/1.1 weir (home)". */
static bool names_weir(struct slice member)
{
    size_t end = 0;
    while (end < member.len && member.at[end] != ' ' && member.at[end] != '\t')
        end++;
    struct slice by = slice_trim(slice_skip(member, end));
    struct slice name = S("weir");
    return by.len >= name.len && slice_equal(slice_of(by.at, name.len), name) &&
           (by.len == name.len || by.at[name.len] == ' ' || by.at[name.len] == '\t' ||
            by.at[name.len] == '(');
}

unsigned hops_passed(const struct fields *f)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        struct slice rest = f->at[i].value;
        while (f->at[i].id == FIELD_VIA && rest.len)
            count += names_weir(next_member(&rest));
    }
    return count;
}

/* Max-Forwards, of the two methods that have it; NULL when there is none that can be read. */
static struct field *max_forwards(const struct http_request *r, const struct fields *f, uint64_t *value)
{
    if (r->method_id != METHOD_OPTIONS && r->method_id != METHOD_TRACE)
        return NULL;
    struct field *found = fields_find_name(f, S("max-forwards"));
    return found && slice_to_u64(found->value, value) == 0 ? found : NULL;
}

int hops_count_down(struct arena *a, const struct http_request *r, struct fields *out)
{
    uint64_t value;
    struct field *f = max_forwards(r, out, &value);
    if (!f || value == 0)
        return 0;
    f->value = slice_text(arena_printf(a, "%llu", (unsigned long long)value - 1));
    f->line_len = 0;
    return f->value.at ? 0 : -1;
}

/* What came, but for what may be a secret (RFC 9110 §9.3.8): only fields that tell of the way are shown. */
static void reflect(struct exchange *x)
{
    static const char *const shown[] = {"host", "via", "max-forwards", "user-agent", "x-request-id"};
    const struct http_request *r = &x->request;
    const char *version = x->protocol == 20 ? "HTTP/2" : r->minor ? "HTTP/1.1" : "HTTP/1.0";
    char *text = arena_printf(&x->arena, "TRACE %.*s %s\r\n", SLICE_FMT(r->target), version);
    for (uint32_t i = 0; text && i < r->fields.count; i++)
        for (size_t k = 0; text && k < COUNT_OF(shown); k++)
            if (slice_equal_nocase(r->fields.at[i].name, slice_text(shown[k])))
                text = arena_printf(&x->arena, "%s%.*s: %.*s\r\n", text, SLICE_FMT(r->fields.at[i].name),
                                    SLICE_FMT(r->fields.at[i].value));
    text = text ? arena_printf(&x->arena, "%s\r\n", text) : NULL;
    if (text)
        exchange_answer(x, 200, S("message/http"), slice_text(text), NULL);
    else
        exchange_fail(x, 503, "out of memory");
}

/* Of a route that takes all methods nothing is known here. */
static void tell_methods(struct exchange *x)
{
    const struct route *r = x->route;
    struct fields extra = {0};
    char *allow = NULL;
    for (size_t i = 0; i < r->method_count; i++) {
        allow = arena_printf(&x->arena, "%s%s%.*s", allow ? allow : "", allow ? ", " : "",
                             SLICE_FMT(r->methods[i]));
        if (!allow)
            break;
    }
    if (r->method_count &&
        (!allow || fields_add(&x->arena, &extra, FIELD_OTHER, S("Allow"), slice_text(allow)) != 0))
        exchange_fail(x, 503, "out of memory");
    else
        exchange_answer(x, 200, S(""), S(""), &extra);
}

bool hops_may_forward(struct exchange *x)
{
    uint64_t left;
    if (UNLIKELY(fields_find(&x->request.fields, FIELD_VIA) != NULL) &&
        hops_passed(&x->request.fields) >= HOPS_MAX) {
        x->termination = TERMINATION_LOOP;
        exchange_fail(x, 508, "the request has passed through weir too often: it goes round in a loop");
        return false;
    }
    if (!max_forwards(&x->request, &x->request.fields, &left) || left > 0)
        return true;
    if (x->request.method_id == METHOD_TRACE)
        reflect(x);
    else
        tell_methods(x);
    return false;
}
