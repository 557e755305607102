/* What a scraper wants: the format by Accept (RFC 9110 §12.5.1), compression by Accept-Encoding (§12.5.3). */
#pragma once

#include "admin/metrics_text.h"

/* OpenMetrics only to those who name it, and do not like Prometheus' text better: whoever takes anything gets
 * that text. An OpenMetrics of a version that is not 1.0.0 is not what we speak. */
enum metrics_format metrics_accept(struct slice accept);

/* Whether gzip is welcome. */
bool metrics_accept_gzip(struct slice accept_encoding);
