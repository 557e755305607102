/* The responder that serves files from a directory. */
#pragma once

#include "proxy/http/exchange.h"

extern const struct responder files_responder;
