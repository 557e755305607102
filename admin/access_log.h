/* The access log: one line for each finished exchange, formatted on its worker into a buffer of that worker
 * and handed to the writer's thread when the buffer is full or a tick (100 ms) has passed. A worker never
 * waits for it.
 *
 * Ownership: a log belongs to the listener of a snapshot (listener_config.access), so an exchange finds it by
 * its listener. A buffer belongs to one log and one worker; that it waits to be handed over is known by the
 * worker's list, under the worker's own lock, because the log may be closed (by the control thread, when no
 * worker holds its snapshot any more) while the list still names it. */
#pragma once

#include "core/writer.h"
#include "proxy/http/exchange.h"
#include "proxy/settings.h"

#define ACCESS_BUFFER (32u << 10)

/* What all logs share: who waits to be handed over. */
struct access_logs;
struct access_log;

/* NULL when out of memory. */
struct access_logs *access_logs_create(void);
/* Every log is closed. NULL is allowed. */
void access_logs_free(struct access_logs *a);

/* Checks the settings, and opens the log when `dry` is false: *out, or NULL there when dry. 0, or -1 after
 * config_fault(). */
int access_log_open(struct access_logs *a, struct writer *w, unsigned workers, struct config *c,
                    const struct access_settings *s, bool dry, struct access_log **out);
/* No exchange uses it any more: hands over what waits, frees. NULL is allowed. Control thread. */
void access_log_close(struct access_log *log);

/* On the worker's thread: see struct observers. */
void access_log_response_begins(struct exchange *x);
/* Whether that looks at anything. */
bool access_log_wants_response(const struct exchange *x);
void access_log_exchange_ended(struct exchange *x);
void access_logs_tick(struct access_logs *a, unsigned worker);
