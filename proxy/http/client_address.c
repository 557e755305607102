#include "proxy/http/client_address.h"

bool client_peer_is_trusted(const struct exchange *x)
{
    const struct cidr_set *trusted = &x->listener->config->trusted;
    return trusted->count && cidr_set_match(trusted, &x->peer);
}

/* An element of X-Forwarded-For: an address, perhaps with a port. */
static int parse_element(struct slice text, struct ip *out)
{
    if (ip_parse(text, out) == 0)
        return 0;
    size_t end = text.len;
    while (end > 0 && text.at[end - 1] != ':')
        end--;
    return end ? ip_parse(slice_of(text.at, end - 1), out) : -1;
}

static void believe(struct exchange *x)
{
    const struct cidr_set *trusted = &x->listener->config->trusted;
    const struct fields *f = &x->request.fields;
    for (uint32_t i = f->count; i-- > 0;) {
        if (f->at[i].id != FIELD_X_FORWARDED_FOR)
            continue;
        struct slice rest = f->at[i].value;
        while (rest.len) {
            size_t comma = rest.len;
            while (comma > 0 && rest.at[comma - 1] != ',')
                comma--;
            struct ip ip;
            if (parse_element(slice_trim(slice_of(rest.at + comma, rest.len - comma)), &ip) != 0)
                return; /* nonsense: what stands before it cannot be believed either */
            x->client = ip;
            if (!cidr_set_match(trusted, &ip))
                return;
            rest.len = comma ? comma - 1 : 0;
        }
    }
}

void set_client_address(struct exchange *x)
{
    x->client = x->peer;
    if (client_peer_is_trusted(x))
        believe(x);
    char *text = arena_alloc(&x->arena, 48);
    if (text)
        x->client_text = slice_of(text, ip_print(&x->client, text, 48));
}
