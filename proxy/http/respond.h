/* The responders that answer from the configuration alone: `respond` and `redirect`. */
#pragma once

#include "proxy/http/exchange.h"

extern const struct responder respond_responder;
extern const struct responder redirect_responder;
