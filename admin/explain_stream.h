/* What `weir explain` says of a URL whose bytes meet no route: its port is that of a tcp listener, or its
 * name is among a listener's `passthrough`. */
#pragma once

#include "admin/explain_text.h"

/* Looks for that, with out->request and out->listener (of HTTP, or NULL) known: true when it is so, and then
 * out->stream and out->stream_upstream are set. */
bool explain_stream(struct explained *out);

/* "upstream db, as it comes: nothing is decrypted". */
void explain_stream_action(const struct explained *e, FILE *out);
