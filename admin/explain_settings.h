/* What `weir explain` says of settings: each value in force for a request, and where it comes from. */
#pragma once

#include "admin/explain_text.h"

struct explained_setting {
    const char *name;  /* "timeouts.connect" */
    const char *value; /* "5s" */
    const char *from;  /* "default", or where the file says it: "listeners.web.timeouts.body (weir.yaml:4)" */
};

struct explained_settings {
    struct explained_setting *at;
    size_t count, capacity;
    struct arena *arena;
};

/* Of the route that it meets and its listener; or of a stream's listener. Memory that is wanting leaves some
 * out. */
void explain_settings(const struct explained *e, struct arena *a, struct explained_settings *out);
/* What the file says of an upstream, but for its servers; secrets are not shown. */
void explain_upstream_settings(const struct upstream *u, struct arena *a, struct explained_settings *out);

void explain_settings_print(const struct explained_settings *s, FILE *out);

/* "routes[3].timeouts.body (weir.yaml:40)"; "default" for NULL. In the arena. */
const char *explain_place(struct arena *a, const struct config_node *node);
/* "10m", "1500ms"; "1MiB"; "a, b". */
const char *explain_duration(struct arena *a, msec_t ms);
const char *explain_size(struct arena *a, uint64_t bytes);
const char *explain_texts(struct arena *a, const struct option_texts *texts);

/* Adds the value of the option that is called so below `base`. */
void explain_row(struct explained_settings *s, const struct config_node *base, const char *name,
                 const char *value);
