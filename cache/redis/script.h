/* What Redis runs for the fleet, each whole or not at all. The record is one sorted set, so that it is lost
 * whole or not at all: "r…" is a purge with its number as score; the rest stand below them with negative
 * scores: "e" epoch, "n" the newest number, "f" the floor (the highest number that had to be forgotten), "o"
 * and "m" the epoch before, and the highest number of it that any node has said it knew: who knew less has
 * missed something for good.
 *
 *     KEYS[1] the record   ARGV[1] an epoch to begin, if need be   ARGV[2], ARGV[3] the stamp that the node
 * has ARGV[4] the channel */
#pragma once

/* An epoch begins when there is no record, or when Redis is behind what a node has seen of it. */
#define REDIS_SCRIPT_OPEN                                                                                    \
    "local k = KEYS[1] "                                                                                     \
    "local function value(m) "                                                                               \
    "  local s = redis.call('ZSCORE', k, m) "                                                                \
    "  return s and -tonumber(s) "                                                                           \
    "end "                                                                                                   \
    "local epoch, last, floor = value('e'), value('n'), value('f') "                                         \
    "local known_epoch, known = tonumber(ARGV[2]), tonumber(ARGV[3]) "                                       \
    "if not (epoch and last and floor) or (known_epoch == epoch and known > last) then "                     \
    "  redis.call('DEL', k) "                                                                                \
    "  epoch, last, floor = tonumber(ARGV[1]), 0, 0 "                                                        \
    "  redis.call('ZADD', k, -epoch, 'e', 0, 'n', 0, 'f', -known_epoch, 'o', -known, 'm') "                  \
    "  redis.call('PUBLISH', ARGV[4], 'S') "                                                                 \
    "elseif known_epoch == value('o') and known > value('m') then "                                          \
    "  redis.call('ZADD', k, -known, 'm') "                                                                  \
    "  redis.call('PUBLISH', ARGV[4], 'S') "                                                                 \
    "end "

/* {epoch, newest, floor, epoch before, its number, record, number, record, number, …} of what the node does
 * not know. */
#define REDIS_SCRIPT_SYNC                                                                                    \
    REDIS_SCRIPT_OPEN                                                                                        \
    "local from = known_epoch == epoch and known or 0 "                                                      \
    "local list = redis.call('ZRANGEBYSCORE', k, '(' .. from, '+inf', 'WITHSCORES') "                        \
    "local out = {epoch, last, floor, value('o'), value('m')} "                                              \
    "for i = 1, #list, 2 do "                                                                                \
    "  out[#out + 1] = string.sub(list[i], 2) "                                                              \
    "  out[#out + 1] = tonumber(list[i + 1]) "                                                               \
    "end "                                                                                                   \
    "return out"

/* ARGV[5] the node, ARGV[6] how many records are kept, ARGV[7] the record. {epoch, number}. */
#define REDIS_SCRIPT_PURGE                                                                                   \
    REDIS_SCRIPT_OPEN                                                                                        \
    "last = last + 1 "                                                                                       \
    "redis.call('ZADD', k, -last, 'n', last, 'r' .. ARGV[7]) "                                               \
    "local over = redis.call('ZCARD', k) - 5 - tonumber(ARGV[6]) "                                           \
    "if over > 0 then "                                                                                      \
    "  local old = redis.call('ZRANGEBYSCORE', k, 1, '+inf', 'WITHSCORES', 'LIMIT', 0, over) "               \
    "  floor = tonumber(old[#old]) "                                                                         \
    "  redis.call('ZREMRANGEBYSCORE', k, 1, floor) "                                                         \
    "  redis.call('ZADD', k, -floor, 'f') "                                                                  \
    "end "                                                                                                   \
    "redis.call('PUBLISH', ARGV[4], epoch .. ' ' .. last .. ' ' .. ARGV[5] .. ' ' .. ARGV[7]) "              \
    "return {epoch, last}"
