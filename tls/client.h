/* TLS towards the servers of one upstream. As tls_server: contexts for every worker, immutable, held by its
 * connections, so that tls_client_free may be called at any time.
 *
 * The server's certificate is verified (chain and name) unless the settings say otherwise. Sessions are
 * resumed: each worker keeps the last few, by address and name. */
#pragma once

#include "core/conn.h"
#include "tls/settings.h"

struct tls_files;
struct tls_client;

/* NULL after config_fault() for every problem, at the place that names it. `at` may be NULL: s->node. `s` is
 * not kept. */
struct tls_client *tls_client_create(struct config *c, const struct config_node *at,
                                     const struct tls_client_settings *s, unsigned workers);
void tls_client_free(struct tls_client *t);

/* Puts TLS over a connection that is being connected, or is; connected() or failed() of its handler follows.
 * Nothing may be written before connected().
 *
 * `server_name` is the SNI and the name to verify; the settings' server_name goes before it. An IP address is
 * verified as such, without SNI (RFC 6066 §3). `alpn` is in the wire's form, S("\x02h2\x08http/1.1"), or
 * empty.
 *
 * 0; or -1, the connection left plain (close it): ENOMEM, or EINVAL when there is no name to verify. */
int tls_client_connect(struct tls_client *t, unsigned worker, struct conn *c, struct slice server_name,
                       struct slice alpn);

/* As tls_server_changed, for ca, cert and key. */
bool tls_client_changed(const struct tls_client *t);
const struct tls_files *tls_client_files(const struct tls_client *t);
