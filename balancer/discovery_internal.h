/* What the files of discovery share; nobody else includes it. */
#pragma once

#include "balancer/discovery.h"

struct discovery {
    struct loop *loop;
    struct resolver *(*resolver)(void *argument);
    void *argument;
    struct list sources;
    /* discovery_file.c */
    int inotify; /* -1 = not opened */
    struct event inotify_event;
};

/* One kind of source: its struct begins with struct source. */
struct source_kind_ops {
    const char *name;
    size_t size;
    /* 0, or -1 when out of memory. */
    int (*start)(struct source *s);
    /* Nothing of it is called any more. */
    void (*stop)(struct source *s);
    /* Its refresh is another one; may be NULL. */
    void (*refreshed)(struct source *s);
};

extern const struct source_kind_ops source_dns, source_srv, source_file, source_hand;

/* NULL when out of memory. */
struct found *found_create(const struct address *a, struct slice host, uint32_t weight, bool backup);

/* Takes the array and its references over. An answer that is the last one again is no change. `trouble`: what
 * could not be found of it; "" = nothing. */
void source_publish(struct source *s, struct found **found, size_t count, const char *trouble);
/* The last answer stays. */
void source_fail(struct source *s, const char *reason);

/* discovery_file.c: when no source is left. */
void discovery_close_files(struct discovery *d);
