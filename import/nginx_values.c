/* nginx's times, sizes and variables. */
#include "import/nginx.h"

#include <ctype.h>

long long ng_duration_ms(const char *s)
{
    static const struct {
        const char *name;
        long long ms;
    } units[] = {{"ms", 1},       {"s", 1000},      {"m", 60000},        {"h", 3600000},
                 {"d", 86400000}, {"w", 604800000}, {"M", 2592000000LL}, {"y", 31536000000LL}};
    long long total = 0;
    if (!isdigit((unsigned char)*s))
        return -1;
    while (*s) {
        long long value = 0, unit = 1000;
        if (!isdigit((unsigned char)*s))
            return -1;
        for (; isdigit((unsigned char)*s); s++)
            if ((value = value * 10 + (*s - '0')) > 1000000000LL)
                return -1;
        size_t len = 0;
        while (isalpha((unsigned char)s[len]))
            len++;
        if (len) {
            unit = -1;
            for (size_t i = 0; i < COUNT_OF(units); i++)
                if (strlen(units[i].name) == len && strncmp(units[i].name, s, len) == 0)
                    unit = units[i].ms;
            if (unit < 0)
                return -1;
        }
        total += value * unit;
        s += len;
    }
    return total > 31536000000LL * 100 ? -1 : total;
}

const char *ng_duration(struct nginx *n, const char *s)
{
    long long ms = ng_duration_ms(s);
    return ms < 0 ? NULL : import_duration(n->a, ms);
}

long long ng_size_bytes(const char *s)
{
    size_t len = strlen(s);
    long long unit = 1;
    char digits[16] = "";
    if (len == 0 || len >= sizeof digits)
        return -1;
    memcpy(digits, s, len);
    switch (tolower((unsigned char)digits[len - 1])) {
    case 'k':
        unit = 1024;
        break;
    case 'm':
        unit = 1024 * 1024;
        break;
    case 'g':
        unit = 1024 * 1024 * 1024;
        break;
    default:
        break;
    }
    if (unit > 1)
        digits[len - 1] = '\0';
    long long value = text_number(digits);
    return value < 0 || value > 1000000000LL ? -1 : value * unit;
}

const char *ng_size(struct nginx *n, const char *s)
{
    return ng_size_bytes(s) < 0 ? NULL : import_printf(n->a, "%s", s);
}

/* Variables. */

struct variable {
    const char *nginx, *weir;
    bool response;
};

static const struct variable variables[] = {
    {"remote_addr", "${client}", false},
    {"remote_port", "${client_port}", false},
    {"binary_remote_addr", "${client}", false},
    {"realip_remote_addr", "${client}", false},
    {"request_method", "${method}", false},
    {"scheme", "${scheme}", false},
    {"host", "${host}", false},
    {"server_port", "${port}", false},
    {"request_uri", "${target}", false},
    {"uri", "${path}", false},
    {"document_uri", "${path}", false},
    {"args", "${query}", false},
    {"query_string", "${query}", false},
    {"server_protocol", "${protocol}", false},
    {"request_id", "${request_id}", false},
    {"request", "${method} ${target} ${protocol}", false},
    {"ssl_protocol", "${tls_version}", false},
    {"ssl_cipher", "${tls_cipher}", false},
    {"ssl_server_name", "${tls_sni}", false},
    {"time_iso8601", "${time}", false},
    {"time_local", "${time}", false},
    {"upstream_addr", "${server}", true},
    {"status", "${status}", true},
    {"body_bytes_sent", "${bytes_out}", true},
    {"bytes_sent", "${bytes_out}", true},
    {"request_length", "${bytes_in}", true},
    {"upstream_cache_status", "${cache}", true},
    {"remote_user", "-", false},
};

static const char *dashed(struct nginx *n, const char *s)
{
    char *copy = import_alloc(n->a, strlen(s) + 1);
    for (size_t i = 0; s[i]; i++)
        copy[i] = s[i] == '_' ? '-' : (char)tolower((unsigned char)s[i]);
    return copy;
}

static const char *prefixed(struct nginx *n, const char *name, bool response)
{
    if (text_begins(name, "http_"))
        return import_printf(n->a, "${header.%s}", dashed(n, name + 5));
    if (text_begins(name, "cookie_"))
        return import_printf(n->a, "${cookie.%s}", name + 7);
    if (text_begins(name, "arg_"))
        return import_printf(n->a, "${arg.%s}", name + 4);
    if (response && text_begins(name, "sent_http_"))
        return import_printf(n->a, "${response_header.%s}", dashed(n, name + 10));
    if (response && text_begins(name, "upstream_http_"))
        return import_printf(n->a, "${response_header.%s}", dashed(n, name + 14));
    return NULL;
}

/* The value of `set $name value;`, where there is one alone that applies. */
static struct ng *constant(const struct ng *scope, const char *name)
{
    struct ng *found = NULL;
    for (; scope; scope = scope->parent)
        for (struct ng *d = ng_child(scope, "set"); d; d = ng_next(d)) {
            if (d->arg_count != 2 || d->args[0][0] != '$' || !text_is(d->args[0] + 1, name))
                continue;
            if (found)
                return NULL;
            found = d;
        }
    return found;
}

static const char *value_of(struct nginx *n, const struct ng *scope, const char *name, bool response)
{
    struct ng *set = constant(scope, name);
    const char *unknown;
    if (set) {
        const char *value = ng_template(n, set->parent->parent, set->args[1], response, &unknown);
        set->done = value != NULL;
        return value;
    }
    for (size_t i = 0; i < COUNT_OF(variables); i++)
        if (text_is(variables[i].nginx, name) && (response || !variables[i].response))
            return variables[i].weir;
    if (text_is(name, "server_name") && n->server && n->server->first_name)
        return n->server->first_name;
    if (text_is(name, "http_host"))
        return "${header.host}";
    return prefixed(n, name, response);
}

const char *ng_template(struct nginx *n, const struct ng *scope, const char *s, bool response,
                        const char **unknown)
{
    struct text out = {0};
    const char *result = NULL;
    text_add(&out, "");
    while (*s) {
        if (text_begins(s, "$uri$is_args$args") || text_begins(s, "$document_uri$is_args$args")) {
            text_add(&out, "${target}");
            s += s[1] == 'u' ? 17 : 26;
            continue;
        }
        if (*s != '$') {
            text_add_bytes(&out, s++, 1);
            continue;
        }
        bool braced = s[1] == '{';
        const char *name = s + 1 + braced;
        size_t len = 0;
        while (isalnum((unsigned char)name[len]) || name[len] == '_')
            len++;
        *unknown = import_printf(n->a, "$%.*s", (int)len, name);
        const char *value = len ? value_of(n, scope, *unknown + 1, response) : NULL;
        if (!value)
            goto done;
        text_add(&out, value);
        s = name + len + (braced && name[len] == '}');
    }
    result = import_copy(n->a, out.at, out.len);
done:
    text_free(&out);
    return result;
}
