/* Traces of requests: made up, or read from a file. */
#pragma once

#include "core/base.h"

struct request {
    uint64_t hash;
    uint64_t bytes;
};

struct trace {
    struct request *requests;
    size_t count, room;
    uint64_t footprint; /* bytes of all its objects, but for those that are asked for once by design */
};

struct trace_spec {
    double alpha; /* Zipf's: the i-th of the objects is asked for in proportion to 1 / i^alpha */
    uint64_t objects;
    size_t requests;
    bool by_gray;      /* drawn as YCSB does, by Gray's approximation; otherwise exactly */
    bool has_sizes;    /* lognormal: median 4 KiB, sigma 1.5, 64 B to 8 MiB; otherwise 1 byte each */
    double once;       /* this share of the requests is for keys that never come again, */
    size_t once_burst; /* in bursts of so many; 0 or 1 = here and there */
    uint64_t seed;
};

/* Stops the program when out of memory. */
void trace_make(struct trace *t, const struct trace_spec *spec);

/* Lines of TIME,KEY,SIZE[,…]; those whose third field is no number are passed over (a header). 0, or -1 when
 * the file cannot be read or has no request. */
int trace_read(struct trace *t, const char *path);

void trace_free(struct trace *t);

/* Any number to one that looks random. */
uint64_t trace_mix(uint64_t x);
