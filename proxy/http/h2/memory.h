/* Where nghttp2's sessions get their memory from: each request's streams, frames and fields are a handful of
 * small pieces, which the worker keeps for the next request. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "proxy/worker.h"

/* For one of the nghttp2_session_*_new3, which copy it. Sessions stay on that worker and end before it. */
nghttp2_mem h2_memory(struct worker *w);
