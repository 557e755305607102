/* The admin interface: metrics, health, API, dashboard, access logs, and the control socket of the command
 * line. It may look into everything; the runtime knows it by its hooks and observers alone.
 *
 * Who may do what: everything asks for the token (settings.admin->token, when there is one) but /metrics and
 * /health; the control socket, which is of mode 0600, asks for none. Stop, upgrade and diff are the control
 * socket's alone. What changes something must not come from another site's page: Origin, Sec-Fetch-Site and -
 * without a token - the Host are looked at. */
#pragma once

#include "proxy/runtime.h"

struct admin;

/* NULL when out of memory. Without a runtime it serves `weir check`: access logs are checked, nothing else.
 */
struct admin *admin_create(void);
/* Before runtime_start. */
void admin_attach(struct admin *a, struct runtime *rt);
/* After runtime_run has returned. NULL is allowed. */
void admin_free(struct admin *a);

const struct observers *admin_observers(struct admin *a);
const struct runtime_hooks *admin_hooks(struct admin *a);
