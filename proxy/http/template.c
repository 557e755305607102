#include "proxy/http/template.h"

#include "proxy/http/message.h"

static const struct {
    const char *name;
    bool has_name;      /* `.NAME` follows */
    bool after_request; /* not known while the request is on its way */
} variables[TEMPLATE_ID_COUNT] = {
    [TEMPLATE_CLIENT] = {"client", false, false},
    [TEMPLATE_CLIENT_PORT] = {"client_port", false, false},
    [TEMPLATE_METHOD] = {"method", false, false},
    [TEMPLATE_SCHEME] = {"scheme", false, false},
    [TEMPLATE_HOST] = {"host", false, false},
    [TEMPLATE_PORT] = {"port", false, false},
    [TEMPLATE_TARGET] = {"target", false, false},
    [TEMPLATE_PATH] = {"path", false, false},
    [TEMPLATE_QUERY] = {"query", false, false},
    [TEMPLATE_PROTOCOL] = {"protocol", false, false},
    [TEMPLATE_STATUS] = {"status", false, true},
    [TEMPLATE_DURATION_MS] = {"duration_ms", false, true},
    [TEMPLATE_BYTES_IN] = {"bytes_in", false, true},
    [TEMPLATE_BYTES_OUT] = {"bytes_out", false, true},
    [TEMPLATE_REQUEST_ID] = {"request_id", false, false},
    [TEMPLATE_ROUTE] = {"route", false, false},
    [TEMPLATE_UPSTREAM] = {"upstream", false, false},
    [TEMPLATE_SERVER] = {"server", false, false},
    [TEMPLATE_UPSTREAM_MS] = {"upstream_ms", false, true},
    [TEMPLATE_CACHE] = {"cache", false, true},
    [TEMPLATE_TLS_VERSION] = {"tls_version", false, false},
    [TEMPLATE_TLS_CIPHER] = {"tls_cipher", false, false},
    [TEMPLATE_TLS_SNI] = {"tls_sni", false, false},
    [TEMPLATE_TLS_CLIENT_CN] = {"tls_client_cn", false, false},
    [TEMPLATE_HEADER] = {"header", true, false},
    [TEMPLATE_RESPONSE_HEADER] = {"response_header", true, true},
    [TEMPLATE_COOKIE] = {"cookie", true, false},
    [TEMPLATE_ARG] = {"arg", true, false},
    [TEMPLATE_TIME] = {"time", false, false},
    [TEMPLATE_LISTENER] = {"listener", false, false},
    [TEMPLATE_GRPC_STATUS] = {"grpc_status", false, true},
    [TEMPLATE_TERMINATION] = {"termination", false, true},
    [TEMPLATE_TRACE_ID] = {"trace_id", false, false},
    [TEMPLATE_SPAN_ID] = {"span_id", false, false},
    [TEMPLATE_QUEUE_MS] = {"queue_ms", false, true},
    [TEMPLATE_CONNECT_MS] = {"connect_ms", false, true},
    [TEMPLATE_TLS_MS] = {"tls_ms", false, true},
    [TEMPLATE_SEND_MS] = {"send_ms", false, true},
    [TEMPLATE_FIRST_BYTE_MS] = {"first_byte_ms", false, true},
    [TEMPLATE_BODY_MS] = {"body_ms", false, true},
};

const char *template_name(enum template_id id)
{
    return variables[id].name;
}

/* What nginx calls them. */
static const char *const foreign[][2] = {
    {"remote_addr", "client"},
    {"request_uri", "target"},
    {"uri", "path"},
    {"args", "query"},
    {"query_string", "query"},
    {"request_method", "method"},
    {"http_host", "host"},
    {"server_name", "host"},
    {"request_time", "duration_ms"},
    {"upstream_connect_time", "connect_ms"},
    {"upstream_header_time", "first_byte_ms"},
    {"upstream_response_time", "upstream_ms"},
    {"body_bytes_sent", "bytes_out"},
    {"upstream_addr", "server"},
    {"server_protocol", "protocol"},
    {"ssl_protocol", "tls_version"},
    {"ssl_cipher", "tls_cipher"},
    {"ssl_server_name", "tls_sni"},
    {"client_ip", "client"},
};

static int refuse_unknown(struct config *c, const struct config_node *at, struct slice word)
{
    const char *words[TEMPLATE_ID_COUNT];
    for (size_t i = 0; i < TEMPLATE_ID_COUNT; i++)
        words[i] = variables[i].name;
    for (size_t i = 0; i < COUNT_OF(foreign); i++)
        if (slice_equal_nocase(word, slice_text(foreign[i][0]))) {
            config_fault(c, at, "unknown variable ${%.*s}; did you mean \"%s\"?", SLICE_FMT(word),
                         foreign[i][1]);
            return -1;
        }
    config_fault(c, at, "unknown variable ${%.*s}%s", SLICE_FMT(word),
                 config_mend(c, word, words, TEMPLATE_ID_COUNT, false));
    return -1;
}

static int set_field_name(struct config *c, struct template_variable *v)
{
    struct slice lower = arena_copy(&c->arena, v->name);
    if (!lower.at) {
        c->out_of_memory = true;
        return -1;
    }
    char *at = (char *)(uintptr_t)lower.at;
    for (size_t i = 0; i < lower.len; i++)
        at[i] = ascii_lower(at[i]);
    v->name = lower;
    v->field_id = (uint16_t)field_id(lower);
    return 0;
}

/* What stands between the braces. */
static int read_variable(struct config *c, const struct config_node *at, struct slice inside,
                         enum template_stage stage, struct template_variable *out)
{
    size_t dot = slice_find(inside, '.');
    struct slice word = slice_of(inside.at, dot), name = slice_skip(inside, dot + 1);
    size_t id = 0;
    while (id < TEMPLATE_ID_COUNT && !slice_equal(slice_text(variables[id].name), word))
        id++;
    if (id == TEMPLATE_ID_COUNT)
        return refuse_unknown(c, at, word);
    if (variables[id].has_name != (dot < inside.len) || (variables[id].has_name && !is_token(name))) {
        config_fault(c, at,
                     variables[id].has_name ? "write ${%s.NAME}" : "${%s} has no parts; leave the dot away",
                     variables[id].name);
        return -1;
    }
    if (variables[id].after_request && stage == TEMPLATE_AT_REQUEST) {
        config_fault(c, at, "${%.*s} is not known yet when a request is handled", SLICE_FMT(inside));
        return -1;
    }
    *out = (struct template_variable){.id = (enum template_id)id, .name = name};
    bool is_field = id == TEMPLATE_HEADER || id == TEMPLATE_RESPONSE_HEADER;
    return is_field ? set_field_name(c, out) : 0;
}

static size_t count_variables(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i + 1 < text.len; i++)
        count += text.at[i] == '$' && text.at[i + 1] == '{';
    return count;
}

int template_compile(struct config *c, const struct config_node *at, struct slice text,
                     enum template_stage stage, struct template *out)
{
    size_t room = count_variables(text) + 1;
    struct template t = {.pieces = arena_zalloc(&c->arena, room * sizeof(struct template_piece))};
    char *literal = arena_alloc(&c->arena, text.len + 1);
    if (!literal || !t.pieces) {
        c->out_of_memory = true;
        return -1;
    }

    size_t start = 0, len = 0; /* of the literal of the piece at hand */
    while (text.len) {
        if (slice_begins(text, S("${"))) {
            size_t close = slice_find(text, '}');
            if (close == text.len) {
                config_fault(c, at, "\"${\" without \"}\"; write \"$${\" for the text itself");
                return -1;
            }
            struct template_piece *piece = &t.pieces[t.count++];
            if (read_variable(c, at, slice_of(text.at + 2, close - 2), stage, &piece->variable))
                return -1;
            piece->has_variable = true;
            piece->text = slice_of(literal + start, len - start);
            start = len;
            text = slice_skip(text, close + 1);
            continue;
        }
        literal[len++] = text.at[0];
        text = slice_skip(text, slice_begins(text, S("$$")) ? 2 : 1);
    }
    if (t.count == 0)
        t.literal = slice_of(literal, len);
    else if (len > start)
        t.pieces[t.count++].text = slice_of(literal + start, len - start);
    *out = t;
    return 0;
}

int template_expand(const struct template *t, struct arena *arena, template_lookup *lookup, void *context,
                    struct slice *out)
{
    if (LIKELY(t->count == 0)) {
        *out = t->literal;
        return 0;
    }

    struct slice small[16], *values = small;
    if (t->count > COUNT_OF(small) && !(values = arena_alloc(arena, t->count * sizeof *values)))
        return -1;
    size_t len = 0;
    for (size_t i = 0; i < t->count; i++) {
        values[i] = t->pieces[i].has_variable ? lookup(context, &t->pieces[i].variable) : S("");
        len += t->pieces[i].text.len + values[i].len;
    }

    char *text = arena_alloc(arena, len + 1), *to = text;
    if (!text)
        return -1;
    for (size_t i = 0; i < t->count; i++) {
        struct slice literal = t->pieces[i].text;
        if (literal.len)
            to = mempcpy(to, literal.at, literal.len);
        if (values[i].len)
            to = mempcpy(to, values[i].at, values[i].len);
    }
    *to = 0;
    *out = slice_of(text, len);
    return 0;
}
