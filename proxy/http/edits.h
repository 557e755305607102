/* Edits of header fields: request_headers and response_headers of a route, compiled.
 *
 * In this order, whatever the order in the file: `remove` takes fields away, `set` makes a field the only one
 * of its name (in the place of the first, or at the end), `add` puts one at the end. Values are templates;
 * they see the fields as they were before any edit. Names are compared without case. `remove: [x-*]` takes
 * every name that begins so.
 *
 * Fields that frame a message or belong to one connection (RFC 9110 §7.6.1: Connection, Content-Length,
 * Transfer-Encoding, TE, Trailer, Upgrade, Keep-Alive, Proxy-Connection) are weir's own: refused at load, and
 * left alone by `x-*`. Host may be set in requests.
 *
 * An expanded value loses bytes that no field value may hold (RFC 9110 §5.5: CTL but HTAB) and white space at
 * its ends, so that no request can put a field of its own into it. */
#pragma once

#include "config/option.h"
#include "proxy/http/message.h"
#include "proxy/http/template.h"

struct edits_settings {
    struct option_pairs set, add;
    struct option_texts remove;
};

extern const struct option_table edits_table;

enum edit_kind {
    EDIT_REMOVE,
    EDIT_REMOVE_PREFIX, /* `name` is what stands before the "*" */
    EDIT_SET,
    EDIT_ADD,
};

struct edit {
    enum edit_kind kind;
    uint16_t id;       /* enum field_id */
    struct slice name; /* as the file writes it */
    struct template value;
};

/* Zeroed: nothing to do. */
struct edits {
    struct edit *at; /* removes, then sets, then adds */
    size_t count;
    size_t set_count, add_count;
};

enum edits_side { EDITS_REQUEST, EDITS_RESPONSE };

/* Into c's arena. 0, or -1 with faults. */
int edits_compile(struct config *c, const struct edits_settings *s, enum edits_side side, struct edits *out);

/* The fields of a `respond` are checked as edits that add are. */
int edits_compile_fields(struct config *c, const struct option_pairs *pairs, struct edits *out);

/* Changes f in place; its array moves to the arena when it is too small. 0, or -1 when out of memory (f
 * unchanged). */
int edits_apply(const struct edits *e, struct fields *f, struct arena *arena, template_lookup *lookup,
                void *context);

/* The field belongs to a connection or frames the message: nobody's to edit. */
bool edits_name_is_framing(struct slice name);

/* The value without bytes that may not be in one: itself, or a copy from the arena ({NULL, 0} when out of
 * memory). */
struct slice edits_safe_value(struct arena *arena, struct slice value);
