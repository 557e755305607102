/* HAProxy's times and log-format texts. */
#include "import/haproxy.h"

#include <ctype.h>

const char *hx_duration(struct haproxy *h, const char *s)
{
    static const struct {
        const char *name;
        long long us;
    } units[] = {{"", 1000},        {"us", 1},           {"ms", 1000},        {"s", 1000000},
                 {"m", 60000000LL}, {"h", 3600000000LL}, {"d", 86400000000LL}};
    long long value = 0;
    size_t digits = strspn(s, "0123456789");
    if (digits == 0 || digits > 10)
        return NULL;
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (s[i] - '0');
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (text_is(s + digits, units[i].name)) {
            long long ms = value * units[i].us / 1000;
            return import_duration(h->a, ms == 0 && value ? 1 : ms);
        }
    return NULL;
}

/* One sample between %[ and ]. */
static const char *sample(struct haproxy *h, const char *s)
{
    static const char *const known[][2] = {
        {"src", "${client}"},
        {"src_port", "${client_port}"},
        {"path", "${path}"},
        {"method", "${method}"},
        {"query", "${query}"},
        {"dst_port", "${port}"},
        {"ssl_fc_sni", "${tls_sni}"},
        {"unique-id", "${request_id}"},
        {"ssl_fc_protocol", "${tls_version}"},
        {"ssl_fc_cipher", "${tls_cipher}"},
        {"url", "${target}"},
        {"pathq", "${target}"},
        {"uuid()", "${request_id}"},
        {"ssl_c_s_dn(cn)", "${tls_client_cn}"},
        {"req.ver", "${protocol}"},
        {"capture.req.uri", "${target}"},
    };
    static const char *const groups[][2] = {
        {"req.hdr(", "header"}, {"hdr(", "header"}, {"req.fhdr(", "header"}, {"req.cook(", "cookie"},
        {"cook(", "cookie"},    {"urlp(", "arg"},   {"url_param(", "arg"},   {"res.hdr(", "response_header"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (text_is(s, known[i][0]))
            return known[i][1];
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        size_t len = strlen(groups[i][0]);
        if (!text_begins(s, groups[i][0]) || !text_ends(s, ")") || strchr(s + len, ','))
            continue;
        char *name = import_alloc(h->a, strlen(s));
        memcpy(name, s + len, strlen(s) - len - 1);
        for (char *p = name; *p && i != 3 && i != 4 && i != 5 && i != 6; p++)
            *p = ascii_lower(*p);
        if (text_is(name, "host") && text_is(groups[i][1], "header"))
            return "${header.host}";
        return import_printf(h->a, "${%s.%s}", groups[i][1], name);
    }
    return NULL;
}

const char *hx_template(struct haproxy *h, const char *s, const char **unknown)
{
    static const char *const short_names[][2] = {
        {"%ci", "${client}"}, {"%cp", "${client_port}"},   {"%ID", "${request_id}"},  {"%HM", "${method}"},
        {"%HP", "${path}"},   {"%HU", "${target}"},        {"%HV", "${protocol}"},    {"%ST", "${status}"},
        {"%%", "%"},          {"%sslv", "${tls_version}"}, {"%sslc", "${tls_cipher}"}};
    struct text out = {0};
    const char *result = NULL;
    text_add(&out, "");
    while (*s) {
        const char *close = s[0] == '%' && s[1] == '[' ? strchr(s, ']') : NULL, *value = NULL;
        size_t len = 1;
        if (*s == '$' && s[1] == '{') {
            text_add(&out, "$$");
            s++;
            continue;
        }
        if (*s != '%') {
            text_add_bytes(&out, s++, 1);
            continue;
        }
        if (close) {
            value = sample(h, import_copy(h->a, s + 2, (size_t)(close - s) - 2));
            len = (size_t)(close - s) + 1;
        }
        for (size_t i = 0; i < COUNT_OF(short_names) && !close; i++)
            if (text_begins(s, short_names[i][0])) {
                value = short_names[i][1];
                len = strlen(short_names[i][0]);
            }
        if (!value) {
            *unknown = close ? import_copy(h->a, s, len) : s;
            goto done;
        }
        text_add(&out, value);
        s += len;
    }
    result = import_copy(h->a, out.at, out.len);
done:
    text_free(&out);
    return result;
}

const char *hx_option(const struct hx_line *l, const char *word, size_t from)
{
    for (size_t i = from; i + 1 < l->count; i++)
        if (text_is(l->args[i], word))
            return l->args[i + 1];
    return NULL;
}
