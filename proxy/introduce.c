#include "proxy/introduce.h"

#include "core/proxy_protocol.h"
#include "tls/info.h"

static void tell_tls(struct proxy_details *d, const struct tls_info *info)
{
    d->alpn = info->alpn;
    d->authority = info->sni;
    d->tls_version = info->version;
    d->tls_cipher = info->cipher;
    d->tls_client_cn = info->client_cn;
    d->tls_client_shown = info->client_verified;
}

void introduce(struct conn *to, const struct upstream *u, const struct introduction *i)
{
    int version = u->settings->proxy_protocol;
    if (version == PROXY_NONE)
        return;
    struct proxy_header header = {.source = *i->client};
    struct proxy_details details = {.authority = i->server_name};
    struct address own;
    if (i->destination)
        header.destination = *i->destination;
    else if (i->from && conn_local(i->from, &own) == 0)
        header.destination = ip_of_address(&own);
    else
        header.local = true; /* the client is gone already */
    const struct tls_info *info = i->from ? tls_info(i->from) : NULL;
    if (info)
        tell_tls(&details, info);
    char bytes[PROXY_HEADER_SENT_MAX];
    struct iovec iov = {bytes, proxy_header_write(&header, version, &details, bytes)};
    conn_raw_write(to, &iov, 1);
}
