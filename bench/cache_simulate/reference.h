/* Eviction policies to compare with, which weir does not offer: fifo; clock (FIFO-Reinsertion, one bit);
 * sieve (Zhang et al., "SIEVE is simpler than LRU: an efficient turn-key eviction algorithm for web caches",
 * NSDI 2024, algorithm 1). Behind the same interface as weir's own. */
#pragma once

#include "cache/policy.h"

extern const struct cache_policy_ops reference_fifo;
extern const struct cache_policy_ops reference_clock;
extern const struct cache_policy_ops reference_sieve;
