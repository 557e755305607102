#include "proxy/http/client_address.h"

#include "proxy/http/fields.h"
#include "proxy/http/forwarded.h"

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

/* The next one to the left: true when what stands before it is to be looked at too. */
static bool believe_one(struct exchange *x, struct slice node)
{
    struct ip ip;
    if (parse_element(node, &ip) != 0)
        return false; /* nonsense: what stands before it cannot be believed either */
    x->client = ip;
    return cidr_set_match(&x->listener->config->trusted, &ip) != 0;
}

static void believe_x_forwarded_for(struct exchange *x)
{
    const struct fields *f = &x->request.fields;
    for (uint32_t i = f->count; i-- > 0;) {
        if (f->at[i].id != FIELD_X_FORWARDED_FOR)
            continue;
        struct slice rest = f->at[i].value;
        while (rest.len) {
            size_t comma = rest.len;
            while (comma > 0 && rest.at[comma - 1] != ',')
                comma--;
            if (!believe_one(x, slice_trim(slice_of(rest.at + comma, rest.len - comma))))
                return;
            rest.len = comma ? comma - 1 : 0;
        }
    }
}

static void believe_forwarded(struct exchange *x)
{
    const struct fields *f = &x->request.fields;
    for (uint32_t i = f->count; i-- > 0;) {
        if (f->at[i].id != FIELD_FORWARDED)
            continue;
        struct slice value = f->at[i].value;
        struct slice *nodes = arena_alloc(&x->arena, forwarded_bound(value) * sizeof *nodes);
        ssize_t count = nodes ? forwarded_nodes(value, nodes) : -1;
        if (count < 0)
            return;
        while (count-- > 0)
            if (!believe_one(x, nodes[count]))
                return;
    }
}

/* A proxy that sets one of the two passes the other on as its client sent it. Most set X-Forwarded-For. */
static void believe(struct exchange *x)
{
    if (fields_find(&x->request.fields, FIELD_X_FORWARDED_FOR))
        believe_x_forwarded_for(x);
    else
        believe_forwarded(x);
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
