/* The health check of gRPC: grpc.health.v1.Health/Check (github.com/grpc/grpc, doc/health-checking.md), one
 * unary call over HTTP/2. The two messages are small enough to be read and written by hand:
 *
 *     message HealthCheckRequest  { string service = 1; }
 *     message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2;
 *                                   SERVICE_UNKNOWN = 3; }  ServingStatus status = 1; } */
#pragma once

#include "balancer/check_h2.h"
#include "balancer/settings.h"

#define CHECK_GRPC_SERVICE_MAX 512 /* bytes of a service's name */

/* The call, to be sent; `authority` is what the server is called. NULL when out of memory. */
struct check_h2 *check_grpc_create(const struct check_settings *c, struct slice authority, bool is_tls);

/* 1 = serving, -1 = not, with why in `text`; 0 = it cannot be said yet. */
int check_grpc_judge(const struct check_h2_answer *a, char *text, size_t size);

/* "application/grpc", with "+proto" or parameters behind it; not "application/grpc-web". */
bool check_grpc_is_type(struct slice type);

/* The name of a status of gRPC, "not found"; "unknown" for a number that has none. */
const char *grpc_status_words(int status);
