/* The header fields of a request that nobody sent, as a server would get them, and of the answer, as far as
 * weir makes it. Traffic's own code says so (rehearsal.h). A value whose variables only traffic knows
 * (`${client_port}`, `${tls_version}`) stands as the file writes it. */
#pragma once

#include "proxy/http/explain.h"

/* e->action is EXPLAIN_ROUTED, and p->config is there. 0, or -1 when out of memory; everything is in the
 * arena. */
int explain_request_fields(const struct plain_request *p, const struct explanation *e, struct arena *arena,
                           struct fields *out);
/* Of weir's own answers all but what frames the message; of a server's what is put into it. */
int explain_response_fields(const struct plain_request *p, const struct explanation *e, struct arena *arena,
                            struct fields *out);
