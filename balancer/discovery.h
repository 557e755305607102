/* Servers that the file does not name: those behind a DNS name, SRV records, a list in another file, or added
 * by hand. A source gives the servers of one such entry of one upstream; it lives as long as some active
 * snapshot uses it, so a reload begins with what is known. Control thread alone.
 *
 *     discovery.c       sources, and who uses them
 *     discovery_dns.c   `dns:` and `srv:`
 *     discovery_file.c  `file:`
 *     discovery_hand.c  what the API adds and takes away
 *
 * A source that fails keeps its last answer: whatever befalls a resolver or a file must not empty a fleet. So
 * does one that is told that there is nothing (NXDOMAIN, no records). */
#pragma once

#include "balancer/resolve.h"
#include "balancer/server.h"
#include "balancer/settings.h"
#include "config/tree.h"

#define SOURCE_REASON_MAX 512

enum source_kind { SOURCE_DNS, SOURCE_SRV, SOURCE_FILE, SOURCE_HAND };

struct discovery;
struct source;
struct upstream;

/* A configuration whose arena several found servers point into. */
struct backing {
    unsigned references;
    struct config config;
};

/* A server that a source gives. Never changes; counted: the source holds it while it is in the answer, the
 * upstreams while they use it. */
struct found {
    unsigned references;
    /* DNS and SRV: the address; the weight is a factor of the entry's, and a backup is one in any case. FILE
     * and HAND: whole. */
    struct server_settings settings;
    struct slice host;       /* what TLS verifies; empty = as the address says */
    struct backing *backing; /* of settings; NULL = it is all in here */
    char text[];
};

/* NULL when out of memory. */
struct backing *backing_create(void);
void backing_release(struct backing *b);
/* A server whose settings lie in the backing, which it holds. NULL when out of memory. */
struct found *found_of(struct backing *b, const struct server_settings *s);

struct found *found_hold(struct found *f);
/* NULL is allowed. */
void found_release(struct found *f);

struct source {
    struct list link; /* the discovery's */
    struct discovery *discovery;
    enum source_kind kind;
    struct slice upstream, what; /* NUL-terminated */
    const char *name;            /* "dns api.internal:8000" */
    struct list uses;
    msec_t refresh; /* the shortest of its uses' */
    /* The last answer. */
    struct found **found;
    size_t found_count;
    uint64_t version;               /* another number = another answer; 0 = none came yet */
    bool answered;                  /* ever */
    int64_t changed_us;             /* wall clock; 0 = never */
    int64_t asked_us;               /* the last attempt's end */
    char reason[SOURCE_REASON_MAX]; /* why the last attempt gave none; "" = it did */
};

/* How one active upstream uses a source. */
struct source_use {
    struct list link;
    struct source *source;
    struct upstream *upstream;
    msec_t refresh;
    /* Another answer. Not from within discovery_use. */
    void (*changed)(struct source_use *);
};

/* NULL when out of memory. The resolver is asked for with the first name; it may give NULL. */
struct discovery *discovery_create(struct loop *l, struct resolver *(*resolver)(void *argument),
                                   void *argument);
/* After every use has left. */
void discovery_free(struct discovery *d);

/* NULL when nobody uses it. */
struct source *discovery_find(struct discovery *d, struct slice upstream, enum source_kind kind,
                              struct slice what);
/* Uses the source; makes and starts it if need be. 0, or -1 when out of memory. */
int discovery_use(struct discovery *d, struct slice upstream, enum source_kind kind, struct slice what,
                  struct source_use *use);
void discovery_leave(struct source_use *use);

/* The source's kind and text of an entry that is no address; false when it is one. */
bool discovery_entry(const struct server_settings *s, enum source_kind *kind, struct slice *what);
/* What the entry and what was found say together. */
struct server_settings discovery_settings(const struct source *s, const struct server_settings *entry,
                                          const struct found *f);

/* By hand; lasts until the other is done, or the process ends. `added` is taken over. `hides`: what other
 * sources give is removed too. 0, or -1 when out of memory. */
int hand_add(struct source *hand, struct found *added);
int hand_remove(struct source *hand, struct slice name, bool hides);
/* Whether a server of any source was removed by hand. */
bool hand_hides(const struct source *hand, struct slice name);
/* The servers that were removed by hand, in *count. */
const struct slice *hand_hidden(const struct source *hand, size_t *count);
