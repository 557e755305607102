/* What the answers about upstreams share. */
#pragma once

#include "admin/internal.h"

/* A server's state and numbers. */
json_t *server_json(const struct runtime *rt, const struct upstream *u, struct server *s);
/* What a human wants of it, as PATCH takes it. */
const char *server_admin_word(enum server_admin admin);
/* 404, by the call's arguments (upstream, server); u NULL = there is no such upstream. */
void problem_no_server(struct http_call *c, const struct upstream *u);
