/* What the files of the collector's client share: otlp_target.c (where messages go), otlp_client.c (the
 * connection, from looking up the name to its end), otlp_answer.c (reading the answer). */
#pragma once

#include "admin/otlp_client.h"

/* otlp_client.c */

/* What is under way is over; the connection is kept, or not. */
void otlp_client_tell(struct otlp_client *c, const struct otlp_answer *answer, bool keep);
/* It is over without an answer: it is to be sent again later. */
void otlp_client_fail(struct otlp_client *c, const char *reason);

/* otlp_answer.c */

/* Bytes of the answer; *in becomes what is not used yet. False when the answer was told. */
bool otlp_take(struct otlp_client *c, struct slice *in);
/* Tells what came, by its status; `whole`: to its end. */
void otlp_answered(struct otlp_client *c, bool whole);
