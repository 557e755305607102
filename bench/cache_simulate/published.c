/* The papers measure traces of companies, which are not made again in a few lines. These are the figures of
 * others who ran the papers' algorithms on traces that anybody can make: go-cache-benchmark
 * (github.com/scalalang2/go-cache-benchmark), with S3-FIFO and SIEVE of golang-fifo and with other libraries'
 * LRU and CLOCK; and what the README of bdcache (github.com/codeGROOVE-dev/bdcache) has of the same program.
 * It draws keys by the generator of YCSB, out of 0 to 500,000. At 10 % its S3-FIFO is an earlier one, whose
 * figure at 0.1 % was 48.85 before it was mended, and 47.17 afterwards; there is no later figure. */
#include "bench/cache_simulate/published.h"

#define TRACE(count)                                                                                         \
    {                                                                                                        \
        .alpha = 0.99, .objects = 500001, .requests = count, .by_gray = true, .seed = 3                      \
    }
#define NAME "Zipf 0.99, 500,000 keys, "
#define BY   "go-cache-benchmark"

const struct published published[] = {
    {NAME "7,500,000 requests",
     BY,
     TRACE(7500000),
     0.001,
     {{"lru", 36.59}, {"clock", 37.34}, {"s3fifo", 47.17}, {"sieve", 47.42}}},
    {NAME "7,500,000 requests",
     BY " (bdcache)",
     TRACE(7500000),
     0.01,
     {{"lru", 55.37}, {"clock", 56.11}, {"s3fifo", 63.57}, {"sieve", 63.40}}},
    {NAME "2,500,000 requests", BY, TRACE(2500000), 0.1, {{"lru", 75.52}, {"clock", 76.04}}},
    {NAME "2,500,000 requests", BY " (earlier)", TRACE(2500000), 0.1, {{"s3fifo", 78.78}}},
};
const size_t published_count = COUNT_OF(published);

const char *const published_reductions = "Published means of the same, (FIFO's miss ratio - the policy's) / "
                                         "FIFO's, over traces of companies: S3-FIFO 14 % with "
                                         "caches\nof 10 % (6,594 traces; SOSP 2023, section 5.2); LRU 12.6 "
                                         "%, CLOCK 13.7 %, SIEVE 18.8 % (1,559 traces; NSDI "
                                         "2024, figure 1).\n";
